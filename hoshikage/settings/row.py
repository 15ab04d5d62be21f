"""A line of the table of settings."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal, NamedTuple, TypeAlias

from hoshikage.checks import Check

Part: TypeAlias = Literal["finding", "loading", "request", "manager", "server", "reynard"]
PARTS: dict[Part, str] = {
    "finding": "where files are found",
    "loading": "what a model is loaded with",
    "request": "every request, unless it says otherwise",
    "manager": "which models are in memory, and who is served",
    "server": "the server",
    "reynard": "Reynard's routes, /api/diffusion, and no others",
}
OF_A_MODEL: tuple[Part, ...] = ("loading", "request")


class Row(NamedTuple):
    """A line of the table."""

    name: str
    variable: str
    check: Check[Any]
    default: Any
    meaning: str
    part: Part
    of_model: bool  # a model may have its own; the others hold for all models
    secret: bool  # its value is shown to nobody

    def spelled(self, value: Any) -> str:
        """A value as a person writes it; nothing for what is unset."""
        return "" if value is None else self.check.spelled(value)


def setting(
    variable: str, check: Check[Any], default: Any, meaning: str, *, of_model: bool | None = None, secret: bool = False
) -> Any:
    """A field of a dataclass that is a line of the table; whether it is a model's follows from its part."""
    about = {"variable": variable, "check": check, "meaning": meaning, "of_model": of_model, "secret": secret}
    return field(default=default, metadata=about, repr=not secret)
