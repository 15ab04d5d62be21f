"""What a run is, and the schedules that made it: it goes on from its checkpoint only as what it was begun as.

A learning rate that has come down to zero and rises again, or data that change half way, make another model than one
run from the seed does. So whoever asks for anything else than before has to say so (`--continue`), and the card tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from . import sources
from .origin import OWN_RELEASE, UNRECORDED, Origin, origin_of
from .recipe import RECIPES, Recipe
from .runs import Run, RunError

Identity = dict[str, str]
OF_A_RUN = ("length", "processes", "started from", "sources")  # no matter of the recipe
MINUTES = "minutes"
NAMED_OTHERWISE = ("name", "summary", "remark", "n_steps", "encore", "minutes", "grown_from")


@dataclass(frozen=True)
class Schedule:
    """One way of the learning rate up and down to zero, begun after `begins` steps and over after `ends` in all.
    An encore is part of the command that trained what is before it."""

    begins: int
    ends: int
    command: str
    is_encore: bool = False


@dataclass(frozen=True)
class Record:
    identity: Identity
    origin: Origin
    schedules: tuple[Schedule, ...]
    machines: tuple[str, ...] = ()  # that it ran on, one after the other

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Record | None:
        """Of a checkpoint; those of an older program have none."""
        return cls.read(state["record"]) if "record" in state else None

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Record:
        schedules = tuple(Schedule(**schedule) for schedule in kept["schedules"])
        return cls(dict(kept["identity"]), Origin(**kept["origin"]), schedules, tuple(kept.get("machines", ())))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def ending(self, n_steps: int, command: str) -> Record:
        """Whose last schedule has so many steps, as those of one in minutes are known only when it is over."""
        last = replace(self.schedules[-1], ends=n_steps, command=command)
        return replace(self, schedules=(*self.schedules[:-1], last))

    def on(self, machine: str) -> Record:
        """As it goes on there."""
        return self if machine in self.machines else replace(self, machines=(*self.machines, machine))

    @property
    def is_continued(self) -> bool:
        """Whether somebody said `--continue`."""
        return not all(schedule.is_encore for schedule in self.schedules[1:])


def record_of(
    recipe: Recipe,
    root: Path,
    n_processes: int,
    *,
    after: Recipe | None = None,
    released: bool = False,
    go_on: bool = False,
) -> tuple[Record, bool]:
    """Of the run that is there, or of a new one; and whether a schedule begins now. `go_on` allows what it was not;
    an encore begins by itself `after` the recipe's schedule."""
    run = Run.of(recipe.name, root)
    state = run.load() if run.checkpoint.exists() else None
    if state is None:
        origin = origin_of(recipe, root, released)
        identity = identity_of(recipe, n_processes, str(origin))
        return Record(identity, origin, (Schedule(0, recipe.n_steps, ""),)), True
    kept = Record.of(state)
    origin_now = _began_as(kept, recipe, root, released)
    identity = identity_of(recipe, n_processes, origin_now)
    if kept and kept.identity == identity:
        return kept, False
    before = identity_of(after, n_processes, origin_now) if after else None
    is_encore = bool(kept and kept.identity == before)
    if not is_encore and not go_on:
        raise RunError(_refusal(run, kept, identity, before))
    _check_going_on(run, recipe, kept, identity, state)
    known = kept or Record({}, UNRECORDED, (Schedule(0, state["step"], "(not recorded)"),))
    begun = Schedule(state["step"], recipe.n_steps, "", is_encore)
    return replace(known, identity=identity, schedules=(*known.schedules, begun)), True


def stages_of(recipe: Recipe, root: Path) -> list[tuple[Recipe, Recipe | None]]:
    """The schedules that a run still has to go through, each with the one that it is the encore of."""
    if recipe.encore is None:
        return [(recipe, None)]
    run = Run.of(recipe.name, root)
    n_steps = run.load()["step"] if run.checkpoint.exists() else 0
    encore = (recipe.last, recipe)
    return [encore] if n_steps >= recipe.n_steps else [(recipe, None), encore]


def _began_as(kept: Record | None, recipe: Recipe, root: Path, released: bool) -> str:
    """What a run was begun from, whatever became of that: its weights are its own now."""
    if kept is None:
        return str(UNRECORDED)
    if released and kept.origin.what != OWN_RELEASE:
        return str(origin_of(recipe, root, released))
    return kept.identity["started from"]


def identity_of(recipe: Recipe, n_processes: int, started_from: str) -> Identity:
    """All that decides what comes out, by name."""
    length = f"{recipe.minutes:g} {MINUTES}" if recipe.minutes else f"{recipe.n_steps} steps"
    told = {"length": length, "processes": str(n_processes), "started from": started_from}
    return told | {"sources": sources.digest()[:12]} | _told_by(recipe)


def _told_by(recipe: Recipe) -> Identity:
    told: Identity = {}
    for field in fields(recipe):
        if field.name not in NAMED_OTHERWISE:
            told |= dict(_flat(field.name, getattr(recipe, field.name)))
    return told


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """A value as data, its parts one by one: so a refusal names no more than what differs."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _flat(f"{name}.{key}", value[key])
    elif is_dataclass(value):
        yield name, type(value).__name__
        for field in fields(value):
            yield from _flat(f"{name}.{field.name}", getattr(value, field.name))
    else:
        yield name, str(value)


def check_recipe(run: Run, recipe: Recipe, record: Record | None) -> None:
    """Whether today's recipe is the one that was trained: a file or a card made by another would say what is not so.
    What the command says may be otherwise."""
    if record is None:
        return
    kept, command = _of_the_recipe(record), record.schedules[-1].command
    today = _told_by(_stage_of(recipe, record))
    different = [name for name in _different(kept, today) if _flag_of(name) not in command]
    if different:
        cause = f"the run in {run.folder} is of another recipe than {recipe.name} has now:"
        remedy = f"Check out the sources that it was trained with, or move it away and train anew: {run.training}"
        raise RunError("\n".join([cause, *_differences(kept, today, different), remedy]))


def is_in_encore(recipe: Recipe, record: Record | None) -> bool:
    """Whether the last steps of a run were those of the recipe's encore."""
    return recipe.encore is not None and record is not None and _stage_of(recipe, record) == recipe.last


def _stage_of(recipe: Recipe, record: Record) -> Recipe:
    """That schedule of the recipe's which differs the least from what was trained last."""
    kept = _of_the_recipe(record)
    return min((recipe, recipe.last), key=lambda stage: len(_different(kept, _told_by(stage))))


def _of_the_recipe(record: Record) -> Identity:
    return {name: value for name, value in record.identity.items() if name not in OF_A_RUN}


def _flag_of(name: str) -> str:
    return f" --{name.replace('_', '-')} "


def _different(kept: Identity, identity: Identity) -> list[str]:
    return [name for name in sorted(kept.keys() | identity.keys()) if kept.get(name) != identity.get(name)]


def _refusal(run: Run, kept: Record | None, identity: Identity, before: Identity | None) -> str:
    """`before`: what a run that the asked one is the encore of would be."""
    remedy = f"Move {run.folder} away to train from the start, or say --continue to go on nevertheless: the card tells."
    if kept is None:
        return f"the checkpoint in {run.folder} does not say what it was trained as (an older program's).\n{remedy}"
    asked = min((identity, before or identity), key=lambda other: len(_different(kept.identity, other)))
    told = _differences(kept.identity, asked, _different(kept.identity, asked))
    return "\n".join([f"the run in {run.folder} is another one than is asked for now:", *told, remedy])


def _differences(kept: Identity, identity: Identity, names: Iterable[str]) -> list[str]:
    return [f"  {name}: {kept.get(name, 'nothing')}, now {identity.get(name, 'nothing')}" for name in names]


def _check_going_on(run: Run, recipe: Recipe, kept: Record | None, identity: Identity, state: dict[str, Any]) -> None:
    """What cannot go on even so."""
    different = _different(kept.identity, identity) if kept else []
    if shapes := [name for name in different if name.startswith("shape.")]:
        raise RunError(f"the model in {run.folder} has another {', '.join(shapes)}; move it away")
    is_over = state["seconds"] >= 60 * recipe.minutes if recipe.minutes else state["step"] >= recipe.n_steps
    if is_over:
        behind = f"{state['step']:,} steps and {state['seconds'] / 60:.1f} minutes"
        raise RunError(f"the run in {run.folder} has {behind} behind it; --steps or --minutes has to say more, in all")


def schedules_of(record: Record | None, state: Mapping[str, Any]) -> str:
    """How often the learning rate came down, once as in one run from the seed or oftener, and how far the last time."""
    n_steps = state["step"]
    if record is None:
        return f"{n_steps:,} steps in schedules that nobody recorded"
    if len(record.schedules) > 1:
        ends = [*(schedule.begins for schedule in record.schedules[1:]), n_steps]
        told = [_steps_of(schedule, end) for schedule, end in zip(record.schedules, ends, strict=True)]
        return f"{n_steps:,} steps in {len(told)} schedules ({', then '.join(told)}{_of_minutes(record, state)})"
    if rest := _of_minutes(record, state):
        return f"{n_steps:,} steps of one run{rest}"
    rest = "" if state["finished"] else f", of which {n_steps:,} are done"
    return f"one run of {record.schedules[0].ends:,} steps{rest}"


def _steps_of(schedule: Schedule, end: int) -> str:
    """The steps of a schedule, and how many it was to have, where it was not followed to its end."""
    n, planned = end - schedule.begins, schedule.ends - schedule.begins
    kind = "an encore of " if schedule.is_encore else ""
    return f"{kind}{n:,}" if n == planned else f"{kind}{n:,} of {planned:,}"


def _of_minutes(record: Record, state: Mapping[str, Any]) -> str:
    """Where a schedule in minutes is on its way: how many steps it will have, nobody knows."""
    length = record.identity["length"]
    if state["finished"] or not length.endswith(MINUTES):
        return ""
    return f", of whose {length} {state['seconds'] / 60:.1f} are done"


def _stage(recipe: Recipe) -> tuple[object, ...]:
    return (recipe.n_steps, recipe.encore, recipe.practice)


def command_of(recipe: Recipe, n_processes: int, length: str, *, released: bool, continued: bool) -> str:
    """What trains as much again, on as many tokens a step: both schedules, where a recipe has an encore."""
    usual = RECIPES[recipe.name]
    stages = [_stage(usual), _stage(usual.last)]
    is_whole = usual.encore is not None and not recipe.minutes and _stage(recipe) in stages
    is_alone = usual.encore is not None and released and _stage(recipe) == _stage(usual.encore_alone)
    flags = [
        " --encore" if is_alone else " --from-release" if released else "",
        "" if is_whole or is_alone else f" {length}",
        f" --processes {n_processes}",
        f" --batch-tokens {recipe.batch_tokens}" if recipe.batch_tokens != usual.batch_tokens else "",
        f" --peak-lr {recipe.peak_lr:g}" if recipe.peak_lr != usual.peak_lr else "",
        " --continue" if continued else "",
    ]
    return f"python -m training.train {recipe.name}{''.join(flags)}"
