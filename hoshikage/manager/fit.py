"""Where a model goes: which layers onto which GPU and how long its context is, so that it fits. Pure arithmetic.

What fits is tried in this order: all as it is wanted; fewer layers on the GPUs; smaller contexts, down to 256
tokens; the CPU alone. Whoever loads takes the plans one after the other, as long as memory runs out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hoshikage.errors import NeverFitsError, ParameterError
from hoshikage.manager.memory import Host
from hoshikage.manager.need import MIB, Need, Setup, computing_of, need_of, part, size_of, usual_streams
from hoshikage.manager.shape import Shape
from hoshikage.settings import Settings

USUAL_CTX = 8192  # tokens that are made room for before layers leave a GPU, where nobody named a number
LEAST_CTX = 256
FEWER = (1.0, 0.75, 0.5, 0.25)  # of the layers that fit, for a machine that has less than it says


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device that layers can be put on, in llama.cpp's order."""

    name: str
    description: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that a load may take: of the host, and of each GPU."""

    host: int
    gpus: tuple[int, ...] = ()

    def holds(self, need: Need) -> bool:
        return need.host <= self.host and all(need <= free for need, free in zip(need.gpus, self.gpus, strict=True))

    def lacks(self, need: Need) -> int:
        """How much more it would have to be, all in all."""
        pairs = [(need.host, self.host), *zip(need.gpus, self.gpus, strict=True)]
        return sum(max(0, needed - free) for needed, free in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to load a model."""

    need: Need
    spread: tuple[int, ...]  # layers on each GPU; the output counts as one
    n_ctx: int  # tokens that a request may have
    n_seq: int  # requests side by side
    notes: tuple[str, ...] = ()  # what had to be given up

    @property
    def rank(self) -> tuple[int, int]:
        """More is better."""
        return sum(self.spread), self.n_ctx

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that a worker gets instead of those that were wished for."""
        split = tuple(map(float, self.spread)) if len(self.spread) > 1 and any(self.spread) else None
        return {"n_gpu_layers": sum(self.spread), "tensor_split": split, "n_ctx": self.n_ctx, "n_seq": self.n_seq}


@dataclass(frozen=True, slots=True)
class Fit:
    """The plans for what is free now, the best first, and what is missing for the best that this machine could do."""

    plans: tuple[Plan, ...]
    n_bytes_short: int


def fit(shape: Shape, settings: Settings, now: Room, ever: Room, *, is_staged: bool = False) -> Fit:
    """Plans for a load. `ever` is what there would be with nothing else in memory.

    Raises NeverFitsError where even that is too little, and ParameterError where a GPU is a must and there is none.
    """
    planner = Planner(shape, settings, is_staged=is_staged)
    best = next(planner.plans(ever), None)
    if best is None:
        raise NeverFitsError(*planner.figures(ever))
    plans = list(planner.plans(now))
    if not plans or plans[0].rank < best.rank:
        return Fit(tuple(plans), max(1, now.lacks(best.need)))
    widest = planner.widened(plans[0], now)
    return Fit((widest, *(plan for plan in plans if plan != widest)), 0)


def rooms(settings: Settings, host: Host, gpus: Sequence[Gpu], n_bytes_held: int) -> tuple[Room, Room]:
    """What is free now and what there would be with nothing in memory; `n_bytes_held` of the host are ours already."""
    spare = 128 * MIB + host.total // 32
    budget = settings.memory_budget if settings.memory_budget is not None else host.total
    share = settings.gpu_share
    now = Room(
        max(0, min(host.available - spare, budget - n_bytes_held)),
        tuple(max(0, gpu.free - spare_of(gpu, share)) for gpu in gpus),
    )
    ever = Room(
        max(0, min(host.total - spare, budget)), tuple(max(0, gpu.total - spare_of(gpu, share)) for gpu in gpus)
    )
    return now, ever


def spare_of(gpu: Gpu, share: float = 1.0) -> int:
    """What stays free on a GPU: for what its libraries take beside what llama.cpp counts, and for its other users."""
    return max(256 * MIB + gpu.total // 64, gpu.total - int(share * gpu.total))


class Planner:
    """Plans for one model and the settings that it is wanted with."""

    def __init__(self, shape: Shape, settings: Settings, *, is_staged: bool) -> None:
        self._shape = shape
        self._settings = settings
        self._setup = Setup.of(settings, is_staged=is_staged)
        self._n_streams = usual_streams(shape, settings)
        most = shape.n_layer + 1
        self._n_wanted = most if settings.n_gpu_layers < 0 else min(settings.n_gpu_layers, most)
        self._longest = settings.n_ctx or shape.n_ctx_train or USUAL_CTX
        self._n_ctx = settings.n_ctx or min(self._longest, USUAL_CTX)

    def plans(self, room: Room) -> Iterator[Plan]:
        """All that fit into a room, the best first; none that would take as much as one before it."""
        known: set[Need] = set()
        for plan in self._ladder(room):
            if plan.need not in known and room.holds(plan.need):
                known.add(plan.need)
                yield plan

    def widened(self, plan: Plan, room: Room) -> Plan:
        """With as long a context as half of what is left would hold, where nobody named one: the rest is for others."""
        if self._settings.n_ctx:
            return plan
        gpus = (need + (free - need) // 2 for need, free in zip(plan.need.gpus, room.gpus, strict=True))
        room = Room(plan.need.host + (room.host - plan.need.host) // 2, tuple(gpus))
        longer = (self._plan(n_ctx, plan.n_seq, plan.spread) for n_ctx in halves(self._longest) if n_ctx > plan.n_ctx)
        return next((longest for longest in longer if room.holds(longest.need)), plan)

    def figures(self, room: Room) -> tuple[int, int, int]:
        """The least that it takes, and what there is: of the host, and of all GPUs."""
        none = (0,) * len(room.gpus)
        return self._need(min(LEAST_CTX, self._n_ctx), 1, none).host, room.host, sum(room.gpus)

    def _ladder(self, room: Room) -> Iterator[Plan]:
        must = self._settings.device_preference == "cuda"
        n_wanted = self._n_wanted if self._settings.device_preference != "cpu" else 0
        if must and not room.gpus:
            raise ParameterError(
                "DEVICE_PREFERENCE", "llama.cpp finds no GPU", "use auto, or install a build with CUDA"
            )
        contexts = [(n_ctx, max(1, self._settings.n_seq >> i)) for i, n_ctx in enumerate(halves(self._n_ctx))]
        for n_ctx, n_seq in contexts if room.gpus and n_wanted else ():
            most = self._most(room, n_ctx, n_seq, n_wanted)
            for share in FEWER if n_ctx == self._n_ctx else FEWER[:1]:
                n = int(most * share)
                if n and (spread := self._spread(room, n_ctx, n_seq, n)):
                    yield self._plan(n_ctx, n_seq, spread)
        for n_ctx, n_seq in contexts if not must or n_wanted == 0 else ():
            yield self._plan(n_ctx, n_seq, (0,) * len(room.gpus))

    def _plan(self, n_ctx: int, n_seq: int, spread: tuple[int, ...]) -> Plan:
        need, notes = self._need(n_ctx, n_seq, spread), self._notes(n_ctx, n_seq, spread)
        return Plan(need=need, spread=spread, n_ctx=n_ctx, n_seq=n_seq, notes=notes)

    def _notes(self, n_ctx: int, n_seq: int, spread: tuple[int, ...]) -> tuple[str, ...]:
        notes = []
        n, n_all = sum(spread), self._shape.n_layer + 1
        if spread and n < self._n_wanted and self._settings.device_preference != "cpu":
            where = f"{n} of {n_all} layers are on the GPU" if n else "it runs on the CPU"
            notes.append(f"{where}: more do not fit")
        if n_ctx < self._n_ctx:
            notes.append(
                f"requests may have {n_ctx} tokens instead of {self._n_ctx}, {n_seq} at a time: more do not fit"
            )
        return tuple(notes)

    def _need(self, n_ctx: int, n_seq: int, spread: tuple[int, ...]) -> Need:
        return need_of(self._shape, size_of(self._shape, n_ctx, n_seq, self._n_streams), self._setup, spread)

    # -- layers over GPUs

    def _most(self, room: Room, n_ctx: int, n_seq: int, n_wanted: int) -> int:
        """The largest number of layers that the GPUs hold, up to what is wanted."""
        lo, hi = 0, n_wanted
        while lo < hi:
            middle = (lo + hi + 1) // 2
            if self._spread(room, n_ctx, n_seq, middle) is None:
                hi = middle - 1
            else:
                lo = middle
        return lo

    def _spread(self, room: Room, n_ctx: int, n_seq: int, n: int) -> tuple[int, ...] | None:
        """So many layers over the GPUs, each filled to the same share of its room; None where they do not fit."""
        settings, n_gpus = self._settings, len(room.gpus)
        if settings.split_mode == "none":
            at = min(settings.main_gpu, n_gpus - 1)
            chosen = [tuple(n if i == at else 0 for i in range(n_gpus))]
        elif settings.tensor_split is not None:
            chosen = [proportional(n, settings.tensor_split[:n_gpus], n_gpus)]
        else:
            costs, fixed = self._costs(n_ctx, n_seq)
            shares = (filled(costs[len(costs) - n :], fixed, room.gpus, share / 16) for share in range(1, 17))
            chosen = [next(filter(None, shares), (0,) * n_gpus)]
        on_gpus = replace(room, host=1 << 62)
        return next((one for one in chosen if sum(one) == n and on_gpus.holds(self._need(n_ctx, n_seq, one))), None)

    def _costs(self, n_ctx: int, n_seq: int) -> tuple[list[int], int]:
        """What each layer takes of a GPU, and what a GPU that has any layer takes beside them."""
        shape, size = self._shape, size_of(self._shape, n_ctx, n_seq, self._n_streams)
        costs = [part(shape, layer, size, self._setup) for layer in range(shape.n_layer + 1)]
        return costs, computing_of(shape, size, self._setup)


def filled(costs: Sequence[int], fixed: int, gpus: Sequence[int], share: float) -> tuple[int, ...] | None:
    """How many layers each GPU gets when they are filled one after the other up to a share of their room."""
    spread, i, left = [0] * len(gpus), 0, gpus[0] * share - fixed
    for cost in costs:
        while cost > left:
            i += 1
            if i == len(gpus):
                return None
            left = gpus[i] * share - fixed
        left -= cost
        spread[i] += 1
    return tuple(spread)


def halves(n_ctx: int) -> Iterator[int]:
    """A length, and its halves as long as they are worth it."""
    yield n_ctx
    while n_ctx // 2 >= LEAST_CTX:
        n_ctx //= 2
        yield n_ctx


def proportional(n: int, shares: Sequence[float], n_gpus: int) -> tuple[int, ...]:
    """Layers over GPUs as llama.cpp splits them by shares."""
    shares = [*shares, *[0.0] * (n_gpus - len(shares))]
    total = sum(shares)
    if total <= 0:
        return tuple(n if i == 0 else 0 for i in range(n_gpus))
    bounds = [sum(shares[: i + 1]) / total for i in range(n_gpus)]
    counts = [0] * n_gpus
    for layer in range(n):
        counts[next((i for i, bound in enumerate(bounds) if bound > layer / n), n_gpus - 1)] += 1
    return tuple(counts)
