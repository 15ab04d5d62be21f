"""What a pass costs: measured once for a model on a machine, and kept in the cache folder of the person who runs it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from hoshikage._board import Board
from hoshikage._context import usable_cores
from hoshikage._devices import gpus
from hoshikage._libs import library_folder
from hoshikage.engine.quality import BLOCK_LENGTH, CURVE_ROWS, Curve
from hoshikage.settings import Settings

# What else a machine does makes a pass longer and never shorter: so the shortest time is the one to believe, when
# there are others like it.
ALIKE, NEAR = 3, 1.2  # so many of the shortest times of a size, of which none is so many times as long as another
USUAL_ROUNDS, SHORT = 8, 0.5  # rounds of a quick model, and seconds: a burst of other work would fill three of them
MOST_ROUNDS, PATIENCE = 32, 3.0  # the same for as long as times are not alike; then the next load goes on
AGAIN, QUICK = 4, 0.05  # times that a size is timed in a round, in as many seconds
LONGEST = 60.0  # seconds for the rounds that there should be at least: about what 8 B take on a few old cores
DECIDES = (  # what passes cost, of the settings
    *("n_threads", "n_threads_batch", "device_preference", "n_gpu_layers", "main_gpu", "split_mode", "tensor_split"),
    *("flash_attn", "type_k", "type_v"),
)
METHOD = 2  # one more whenever times are taken in another way: older ones are left aside
N_CTX = 256  # positions of the session that is measured: the most rows, and some that are cached


class MeasuredSession(Protocol):
    """What is timed."""

    def pass_by_hand(self, ids: Any, lo: int, hi: int, end: int, *, last: int, board: Board | None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Times:
    """The shortest times of each size, in order, so many that one sees whether they are alike."""

    shortest: Mapping[int, Sequence[float]] = field(default_factory=lambda: dict.fromkeys(CURVE_ROWS, ()))

    def __add__(self, seconds: Sequence[float]) -> Times:
        """With those of another round."""
        pairs = zip(CURVE_ROWS, seconds, strict=True)
        return Times({n: tuple(sorted([*self.shortest[n], one])[:ALIKE]) for n, one in pairs})

    @property
    def n_rounds(self) -> int:
        """How many there were, as far as that matters."""
        return min(map(len, self.shortest.values()))

    @property
    def certain(self) -> bool:
        """Whether another measurement would come to the same."""
        return self.n_rounds == ALIKE and all(times[-1] <= NEAR * times[0] for times in self.shortest.values())

    @property
    def curve(self) -> Curve:
        """The shortest of each size."""
        return Curve(CURVE_ROWS, tuple(self.shortest[n][0] for n in CURVE_ROWS))


def one_round(session: MeasuredSession, n_vocab: int, board: Board | None = None) -> list[float]:
    """Seconds that a pass of each size takes in a new session. No more rows of logits are fetched than a block has: a
    real pass reads no others."""
    ids = [i % n_vocab for i in range(N_CTX)]
    first = N_CTX - max(CURVE_ROWS)
    session.pass_by_hand(ids, 0, first, first, last=1, board=board)
    session.pass_by_hand(ids, first, first + 1, first + 1, last=1, board=board)
    seconds = []
    for n_rows in CURVE_ROWS:
        end, last = first + n_rows, min(n_rows, BLOCK_LENGTH)
        seconds.append(shortest(partial(session.pass_by_hand, ids, first, end, end, last=last, board=board)))
    return seconds


def shortest(compute: Callable[[], object]) -> float:
    """Seconds of the quickest of a few, unless they take long. A session's first pass of a size also pays for buffers
    and a graph, which one that a request makes finds there: on a GPU they cost more than the pass."""
    began = time.perf_counter()
    times: list[float] = []
    while not times or (len(times) < AGAIN and time.perf_counter() - began < QUICK):
        start = time.perf_counter()
        compute()
        times.append(time.perf_counter() - start)
    return min(times)


def measured(another: Callable[[], Sequence[float]], times: Times) -> Iterator[Times]:
    """What is known after each round more, until that is enough or takes too long."""
    began = time.perf_counter()
    for n_rounds in count(1):
        times += another()
        yield times
        if not goes_on(times, n_rounds, time.perf_counter() - began):
            return


def goes_on(times: Times, n_rounds: int, seconds: float) -> bool:
    """Whether there is to be another round after so many, which took so long."""
    if times.n_rounds < ALIKE:
        return seconds + seconds / n_rounds <= LONGEST
    if not times.certain:
        return n_rounds < MOST_ROUNDS and seconds < PATIENCE
    return n_rounds < USUAL_ROUNDS and seconds < SHORT


def stored(path: Path) -> Times | None:
    """The times in that file; None where there are none that can be used."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        shortest = {int(rows): tuple(map(float, times)) for rows, times in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    is_sound = set(shortest) == set(CURVE_ROWS) and all(map(are_sound, shortest.values()))
    return Times(shortest) if is_sound else None


def are_sound(times: Sequence[float]) -> bool:
    """Whether these can be a size's shortest times."""
    return 1 <= len(times) <= ALIKE and sorted(times) == list(times) and all(0 < one < 1e6 for one in times)


def store(path: Path, times: Times) -> None:
    """Write it whole or not at all. A folder that cannot be written to costs a measurement at each load."""
    text = json.dumps(dict(times.shortest))
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()


def processor() -> str:
    """Its name, as far as the system tells."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    names = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def place_of(model: Any, settings: Settings, environment: Mapping[str, str] = os.environ) -> Path:
    """The file for this model as it is loaded here."""
    # A read-only root has no folder for temporary files: it is looked for only where there is no home.
    home = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or tempfile.gettempdir()) / ".cache")
    machine = (platform.machine(), processor(), usable_cores(), *(gpu["description"] for gpu in gpus()))
    about = [
        METHOD,
        *(str(getattr(model, name, "")) for name in ("served_as", "description", "n_params", "size", "n_vocab")),
        *(getattr(settings, name) for name in DECIDES),
        *machine,
        str(library_folder()),  # llama.cpp may be another build
    ]
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]
    return Path(home) / "hoshikage" / "curves" / f"{name}.json"
