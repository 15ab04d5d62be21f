"""What an answer has to follow where it has a form, and functions may be called."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hoshikage import gbnf
from hoshikage.errors import ParameterError
from hoshikage.server.fields import Given
from hoshikage.server.openai.constraint import NO_CALLS, NO_TOOLS, Constraint, read
from hoshikage.server.openai.thoughts import joined
from hoshikage.worker.ask import Answered
from tests.grammars import Grammar

FORM = {
    "type": "json_schema",
    "schema": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"],
               "$defs": {"n": {"enum": [1, 2]}}},
}  # fmt: skip
PLACE = {"type": "object", "properties": {"place": {"enum": ["Oslo"]}}, "required": ["place"]}
CALL = '{"name": "weather", "arguments": {"place": "Oslo"}}'


def limits(parameters: Any = PLACE, *, tells: bool = True, **more: Any) -> Constraint:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    chosen: Any = SimpleNamespace(facts=SimpleNamespace(tells_of_tools=tells, in_channels=False))
    return read(Given({"response_format": FORM, "tools": tools, **more}, {}, ()), chosen)


def answered(limits: Constraint, text: str) -> tuple[str, int]:
    reading = limits.reading()
    end = Answered(index=0, delta=text, text=text, stop_reason="stop", counts={}, seed=0)
    return joined(reading.take(end))[1], len(reading.calls)


def test_a_function_may_be_called_before_the_answer_has_its_form() -> None:
    found = limits()
    gbnf.check(found.options["grammar"])
    grammar = Grammar(found.options["grammar"])
    assert all(map(grammar.allows, ['{"n": 1}', '{"n": 2}', CALL]))
    assert not any(map(grammar.allows, ['{"n": 3}', CALL.replace("Oslo", "Kyoto"), CALL.replace("weather", "wind")]))
    assert answered(found, CALL) == ("", 1) and answered(found, '{"n": 1}') == ('{"n": 1}', 0)
    assert not found.warnings


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ({"tool_choice": "none"}, None),
        ({"tells": False}, NO_TOOLS),
        ({"parameters": {"type": "object", "properties": {"place": {"type": "string", "pattern": "O"}}}}, NO_CALLS),
    ],
)
def test_an_answer_has_its_form_alone_where_nothing_can_be_called(more: dict[str, Any], warning: str | None) -> None:
    found = limits(**more)
    grammar = Grammar(found.options["grammar"])
    assert grammar.allows('{"n": 1}') and not grammar.allows(CALL)
    assert answered(found, CALL) == (CALL, 0)
    assert [each.split(":")[0] for each in found.warnings] == ([] if warning is None else [warning.split(":")[0]])


def test_a_call_that_is_demanded_is_the_answer_whatever_form_others_have() -> None:
    found = limits(tool_choice="required")
    grammar = Grammar(found.options["grammar"])
    assert grammar.allows(CALL) and not grammar.allows('{"n": 1}')
    assert answered(found, CALL) == ("", 1)


def test_a_demanded_call_has_an_object_for_its_arguments_whatever_its_schema_would_take() -> None:
    grammar = Grammar(limits({"description": "anything"}, tool_choice="required").options["grammar"])
    assert grammar.allows('{"name": "weather", "arguments": {"a": 1}}')
    assert not any(
        grammar.allows(f'{{"name": "weather", "arguments": {other}}}') for other in ("[]", "1", '"x"', "null")
    )
    with pytest.raises(ParameterError, match="no type in common"):
        limits({"type": "array"}, tool_choice="required")
