"""Grammars of demanded calls: each function's schema refers to itself, wherever it stands among others."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace
from typing import Any, cast

import jsonschema as judge
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import gbnf
from hoshikage.errors import ParameterError
from hoshikage.server.choosing import Chosen
from hoshikage.server.openai.constraint import read
from hoshikage.server.openai.tables import CHAT
from tests.grammars import Grammar

CHOSEN = cast("Chosen", SimpleNamespace(facts=SimpleNamespace(tells_of_tools=True, in_channels=False)))


def demanded(choice: Any, **parameters: Any) -> Grammar:
    """What an answer follows when one of these functions has to be called."""
    tools = [{"type": "function", "function": {"name": name, "parameters": p}} for name, p in parameters.items()]
    body = {"model": "toy", "messages": [{"role": "user", "content": "?"}], "tools": tools, "tool_choice": choice}
    text = read(CHAT.read(body), CHOSEN).options["grammar"]
    gbnf.check(text)
    return Grammar(text)


def call(name: str, arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments}, separators=(",", ":"))


def pointing_to(place: dict[str, Any]) -> dict[str, Any]:
    """What pydantic writes for a model that holds another."""
    return {
        "$defs": {"Place": place},
        "type": "object",
        "properties": {"places": {"type": "array", "items": {"$ref": "#/$defs/Place"}}},
        "required": ["places"],
    }


def having(name: str, kind: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}


CITY, POINT = pointing_to(having("city", "string")), pointing_to(having("x", "integer"))
TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["children"],
    "additionalProperties": False,
}


def test_one_name_in_two_functions_is_two_schemas() -> None:
    grammar = demanded("required", ask=CITY, go=POINT)
    city, point = {"places": [{"city": "Kyoto"}]}, {"places": [{"x": 1}, {"x": 2}]}
    assert grammar.allows(call("ask", city))
    assert grammar.allows(call("go", point))
    assert not grammar.allows(call("ask", point))
    assert not grammar.allows(call("go", city))


def test_one_function_of_several_is_called_with_its_own() -> None:
    grammar = demanded({"type": "function", "function": {"name": "go"}}, ask=CITY, go=POINT)
    assert grammar.allows(call("go", {"places": [{"x": 1}]}))
    assert not grammar.allows(call("ask", {"places": [{"city": "Kyoto"}]}))


def test_a_function_refers_to_its_own_root_and_not_to_the_call() -> None:
    grammar = demanded("required", grow=TREE)
    assert grammar.allows(call("grow", {"children": [{"children": []}]}))
    assert not grammar.allows(call("grow", {"children": [{"name": "grow", "arguments": {"children": []}}]}))


def test_what_only_looks_like_a_reference_stays() -> None:
    like = {"$ref": "#/a"}
    properties = {"$ref": {"type": "integer"}, "as": {"const": like}, "one": {"enum": [like]}}
    grammar = demanded("required", f={"type": "object", "properties": properties, "required": [*properties]})
    assert grammar.allows(call("f", {"$ref": 5, "as": like, "one": like}))


def test_a_reference_that_leads_nowhere_is_told_of_with_its_field() -> None:
    with pytest.raises(ParameterError, match=r"^tools.*leads nowhere"):
        demanded("required", f={"$ref": "#/$defs/None"})


def test_a_deep_schema_is_refused() -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"type": "array", "items": deep}
    with pytest.raises(ParameterError, match="deep"):
        demanded("required", f=deep)


@given(st.lists(st.sampled_from([CITY, POINT, TREE]), min_size=1, max_size=4), st.integers(0, 2**32))
def test_whatever_is_written_calls_a_function_as_its_own_schema_wants_it(schemas: list[Any], seed: int) -> None:
    parameters = {f"f{i}": schema for i, schema in enumerate(schemas)}
    said = json.loads(demanded("required", **parameters).draw(random.Random(seed)))
    judge.Draft202012Validator(parameters[said["name"]]).validate(said["arguments"])
