"""What can be seen of the manager from outside: values, made when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hoshikage.errors import HoshikageError
from hoshikage.registry import Facts, Model

State = Literal["cold", "staged", "loading", "resident", "draining", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model of the registry, and what is being done with it."""

    label: str
    state: State
    model: Model | None = None  # None for an entry that describes none
    facts: Facts | None = None  # None where the file cannot be read, which `error` explains
    error: HoshikageError | None = None  # why it failed, or what is wrong with its entry or file
    progress: float = 0.0  # of the load, from 0 to 1
    n_active: int = 0
    n_waiting: int = 0
    n_bytes: int = 0  # of memory: what its load was judged to take
    n_bytes_gpu: int = 0  # of them, on GPUs
    n_bytes_staged: int = 0
    unloads_in: float | None = None  # seconds; None: not by itself
    pid: int | None = None
    notes: tuple[str, ...] = ()  # what had to be given up so that it fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """Whether work moves. It is made without the manager's thread, so it is true even when that one hangs."""

    n_waiting: int
    n_active: int
    n_loading: int
    still_for: float  # seconds since anything moved, while there is something to do; 0 when there is nothing
    stuck: bool  # ... for longer than may be
    counters: Mapping[str, int] = field(default_factory=dict)
