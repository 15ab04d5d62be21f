"""Where a model's weights come from before its first step: noise, another model, or a file that was released."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .grow import Weights
from .recipe import Recipe
from .runs import Run, RunError

OWN_RELEASE = "its own released file"


@dataclass(frozen=True)
class Origin:
    """`seconds` and `commands` are those of the models before it; None, where nobody knows how they were trained."""

    what: str
    digest: str = ""
    seconds: float | None = 0.0
    commands: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what}, SHA-256 {self.digest[:12]}" if self.digest else self.what


UNRECORDED = Origin("what nobody recorded", seconds=None)


def digest_of(weights: Weights) -> str:
    """Of the numbers themselves, however they are kept."""
    whole = hashlib.sha256()
    for name in sorted(weights):
        whole.update(f"{name}{tuple(weights[name].shape)}".encode())
        whole.update(weights[name].detach().float().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def origin_of(recipe: Recipe, root: Path, released: bool) -> Origin:
    """Of a run that begins now."""
    if released:
        return Origin(OWN_RELEASE, _file_digest(Run.of(recipe.name, root)), seconds=None)
    if not recipe.grown_from:
        return Origin("noise")
    parent = Run.of(recipe.grown_from, root)
    if not parent.checkpoint.exists():
        return Origin(f"the released file of {parent.name}", _file_digest(parent), seconds=None)
    return _grown(parent, parent.load())


def _grown(parent: Run, state: dict[str, Any]) -> Origin:
    """From a run that came to its end: half way, its learning rate is still high, and the card's commands go to the
    end."""
    record = state.get("record")
    if record is None:
        return Origin(f"the weights of {parent.name}", digest_of(state["model"]), seconds=None)
    if not state["finished"]:
        remedy = f"finish it first: {record['schedules'][-1]['command']}{parent.flag}"
        raise RunError(f"{parent.folder} has come to step {state['step']:,} only, which is not its end; {remedy}")
    before = Origin(**record["origin"])
    seconds = None if before.seconds is None else before.seconds + state["seconds"]
    commands = (*before.commands, *(schedule["command"] for schedule in record["schedules"]))
    return Origin(f"the weights of {parent.name}", digest_of(state["model"]), seconds, commands)


def _file_digest(run: Run) -> str:
    return hashlib.sha256(run.released().read_bytes()).hexdigest()
