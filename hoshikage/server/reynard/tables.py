"""The fields that Reynard's routes read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from hoshikage.checks import Check, Flag, Shape, Text, Whole, shown
from hoshikage.errors import ParameterError
from hoshikage.server.fields import Field, Table, alias, engine_fields
from hoshikage.server.openai.tables import GAP_LENGTH, LABEL, OTHER_NAMES, WAITING
from hoshikage.server.openai.values import FLAG, table_of
from hoshikage.server.reynard.office import rows

N_BATCH = 50


@dataclass(frozen=True, slots=True)
class Written(Check[str]):
    """A text in which something stands."""

    shape: ClassVar[Shape] = {"type": "string", "minLength": 1}

    most: int

    def check(self, name: str, value: object) -> str:
        text = Text(self.most).check(name, value)
        if not text.strip():
            raise ParameterError(name, "nothing stands in it", "send a text")
        return text


@dataclass(frozen=True, slots=True)
class Several(Check[list[dict[str, Any]]]):
    """A list of requests; what is in each is read by the table of one."""

    shape: ClassVar[Shape] = {"type": "array", "minItems": 1, "maxItems": N_BATCH}

    key: str = ""  # what an entry that is a text alone is the value of

    def check(self, name: str, value: object) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value:
            raise ParameterError(name, f"{shown(value)} is no list of requests", f"send 1 to {N_BATCH}")
        if len(value) > N_BATCH:
            raise ParameterError(name, f"{len(value)} requests are too many", f"send at most {N_BATCH}")
        return [self._one(f"{name}[{i}]", item) for i, item in enumerate(value)]

    def _one(self, name: str, item: object) -> dict[str, Any]:
        if self.key and isinstance(item, str):
            return {self.key: item}
        return dict(table_of(name, item, ()))


TEXT = Written(2**24)
GIVEN = [
    Field(name="model_id", check=LABEL, meaning="dreamon, llada, or the name of a model; unset: the default one"),
    alias("max_length", "max_tokens", "tokens of the answer"),
    *engine_fields(leave_out=("max_tokens", "logprobs", "prompt_logprobs")),
    *OTHER_NAMES,
    *WAITING,
    Field(name="stream", check=FLAG, meaning="what the path says: /stream or not"),
]
GENERATE = Table([Field(name="text", check=TEXT, meaning="what the answer continues", required=True), *GIVEN])
INFILL = Table(
    [
        Field(name="prefix", check=TEXT, meaning="the text before the gap", required=True),
        Field(name="suffix", check=TEXT, meaning="the text behind it", required=True),
        GAP_LENGTH,
        *GIVEN,
    ]
)
SHARED = [
    *GIVEN,
    Field(name="batch_size", check=Whole(1, 16), meaning="requests at work at once", default=4),
    Field(name="parallel_processing", check=Flag(), meaning="false: one after the other", default=True),
]
MANY_TEXTS = Table(
    [
        Field(name="texts", check=Several("text"), meaning=f"1 to {N_BATCH} texts"),
        Field(name="requests", check=Several("text"), meaning="the same with parameters of their own"),
        *SHARED,
    ]
)
MANY_GAPS = Table(
    [
        Field(name="infill_requests", check=Several(), meaning=f"1 to {N_BATCH} gaps: [{{prefix, suffix}}, ...]"),
        Field(name="requests", check=Several(), meaning="the same with parameters of their own"),
        *SHARED,
    ]
)
CONFIG = Table(
    [
        Field(name="enabled", check=FLAG, meaning="that these routes are there; only true", default=True),
        *(
            Field(name=name, check=row.check, meaning=row.meaning, default=row.default, nullable=row.default is None)
            for name, row in rows().items()
        ),
    ]
)
