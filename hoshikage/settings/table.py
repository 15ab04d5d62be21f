"""The table of settings: variable, type, default, bounds and meaning of each stand in one place. No state, any thread.

The flags of the commands, `hoshikage config`, `.env.example` and the manual are made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from hoshikage.settings.models import Asking, Finding, Loading
from hoshikage.settings.row import OF_A_MODEL, PARTS, Part, Row
from hoshikage.settings.serving import Managing, Reynard, Serving

GROUPS: dict[Part, type] = {
    "finding": Finding,
    "loading": Loading,
    "request": Asking,
    "manager": Managing,
    "server": Serving,
    "reynard": Reynard,
}


@dataclass(frozen=True, kw_only=True)
class Settings(Reynard, Serving, Managing, Asking, Loading, Finding):
    """What a person sets once for all requests. `None` leaves the choice to the model."""

    def __post_init__(self) -> None:
        for row in table():
            value = getattr(self, row.name)
            if value is not None or row.default is not None:
                object.__setattr__(self, row.name, row.check.check(row.name, value))


def table(*parts: Part) -> Iterator[Row]:
    """The settings in order, or those of some parts of the table."""
    for part in parts or PARTS:
        for entry in fields(GROUPS[part]):
            about = dict(entry.metadata)
            if about["of_model"] is None:
                about["of_model"] = part in OF_A_MODEL
            yield Row(name=entry.name, default=entry.default, part=part, **about)
