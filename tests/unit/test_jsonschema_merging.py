"""Schemas that hold together: what is written keeps to each of them, or they are refused."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress
from typing import Any

import jsonschema as judge
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import gbnf
from hoshikage.errors import ParameterError
from hoshikage.jsonschema import grammar_of
from hoshikage.jsonschema.convert import SECONDS
from tests.grammars import Grammar
from tests.unit.test_jsonschema import bounded, leaves, numbers_at

INTEGER, STRING = {"type": "integer"}, {"type": "string"}

values = st.recursive(
    st.sampled_from(["a", "abc", "", 1, 1.0, 2, 2.5, -7, True, False, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
listed = st.lists(values, min_size=1, max_size=4).map(lambda some: {"enum": some}) | values.map(
    lambda value: {"const": value}
)
unnamed = st.one_of(
    bounded("minimum", "exclusiveMaximum", numbers_at),
    bounded("minLength", "maxLength", st.integers(0, 4)),
    bounded("minItems", "maxItems", st.integers(0, 3)),
)


def optional(key: str, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({}) | inner.map(lambda value: {key: value})


def joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda some: {key: value for part in some for key, value in part.items()})


def together(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    schemas = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    needed = st.lists(st.sampled_from("abc"), unique=True, max_size=2)
    others = st.booleans() | inner
    return st.one_of(
        schemas.map(lambda some: {"allOf": some}),
        joined(listed, unnamed, optional("anyOf", schemas), optional("allOf", schemas)),
        joined(inner.filter(lambda schema: isinstance(schema, dict)), listed),
        joined(optional("properties", named), optional("required", needed), optional("additionalProperties", others)),
        joined(optional("items", others), optional("prefixItems", schemas), unnamed),
        joined(
            named.map(lambda some: {"properties": some, "additionalProperties": False}),
            optional("anyOf", schemas),
            optional("oneOf", schemas),
        ),
    )


@given(st.recursive(leaves | listed | unnamed, together, max_leaves=8), st.integers(0, 2**32))
def test_whatever_holds_together_is_kept_to_or_refused(schema: Any, seed: int) -> None:
    with suppress(ParameterError):
        text = grammar_of(schema)
        gbnf.check(text)
        for i in range(5):
            judge.Draft202012Validator(schema).validate(json.loads(Grammar(text).draw(random.Random(seed + i))))


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string", "enum": ["a", None, 1]}, ["a"]),
        ({"type": "integer", "enum": [1, 2.5, 2.0, 3], "minimum": 2}, [2.0, 3]),
        ({"enum": ["abc", "a", 5], "minLength": 2}, ["abc", 5]),
        ({"enum": ["a", "b", "c"], "anyOf": [{"const": "a"}, {"const": "c"}, {"const": "d"}]}, ["a", "c"]),
        ({"enum": ["a", "b"], "oneOf": [{"const": "a"}, {"const": "c"}]}, ["a"]),
        ({"allOf": [{"enum": [1, 2]}, {"enum": [1.0, 3]}]}, [1]),
        ({"$defs": {"few": {"enum": ["b", "c"]}}, "$ref": "#/$defs/few", "enum": ["a", "b"]}, ["b"]),
        ({"enum": [{}, {"a": 1}, {"a": "x"}], "required": ["a"], "properties": {"a": INTEGER}}, [{"a": 1}]),
        ({"enum": [[], [1], ["x"], [1, 2]], "minItems": 1, "maxItems": 1, "items": INTEGER}, [[1]]),
        ({"const": "a", "enum": ["a", "b"], "type": ["string", "null"]}, ["a"]),
    ],
)
def test_of_listed_values_those_are_written_that_fit_all_else(schema: Any, written: list[Any]) -> None:
    grammar = Grammar(grammar_of(schema))
    assert {grammar.draw(random.Random(seed)) for seed in range(60)} == {
        json.dumps(value, separators=(",", ":")) for value in written
    }


A, B = ({"properties": {name: INTEGER}, "required": [name]} for name in "ab")
CLOSED = {"additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "allowed", "forbidden"),
    [
        ({"allOf": [{**A, **CLOSED}, {"properties": {"b": INTEGER}}]}, ['{"a":1}'], ['{"a":1,"b":2}']),
        ({**A, **CLOSED, "anyOf": [{"properties": {"x": STRING}}, {}]}, ['{"a":1}'], ['{"a":1,"x":""}']),
        ({"allOf": [{"additionalProperties": {"minimum": 5}}, B]}, ['{"b":5}'], ['{"b":4}']),
        ({"allOf": [A, B]}, ['{"a":1,"b":2}'], ['{"a":1}', '{"b":2}']),
        ({"allOf": [{"prefixItems": [STRING]}, {"items": STRING}]}, ['["a","b"]', "[]"], ['["a",1]', "[1]"]),
        ({"allOf": [{"items": {"minimum": 5}}, {"items": INTEGER}]}, ["[5,6]"], ["[4]", "[5.5]"]),
        (
            {"allOf": [{"prefixItems": [STRING], "items": False}, {"prefixItems": [{}, INTEGER]}]},
            ["[]", '["a"]'],
            ['["a",1]'],
        ),
    ],
    ids=str,
)
def test_one_schema_says_how_the_others_of_another_may_be(
    schema: Any, allowed: list[str], forbidden: list[str]
) -> None:
    grammar = Grammar(grammar_of(schema))
    assert [text for text in allowed if not grammar.allows(text)] == []
    assert [text for text in forbidden if grammar.allows(text)] == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string", "enum": [1, None]}, "no value of it fits"),
        ({"allOf": [{"enum": ["a", "b"]}, {"const": "c"}]}, "no value of it fits"),
        ({"allOf": [{"const": "a"}, {"const": "c"}]}, "differ in it"),
        ({"allOf": [{**A, **CLOSED}, B]}, "`false`"),
        ({"allOf": [{"additionalProperties": STRING}, B]}, "no type in common"),
        ({"allOf": [{"prefixItems": [STRING], "minItems": 1}, {"items": INTEGER}]}, "no type in common"),
        ({"allOf": [{"items": False}, {"prefixItems": [STRING], "minItems": 1}]}, "no array"),
        ({"allOf": [{"enum": ["a"]}, {"enum": ["c"]}]}, "no value in common"),
        ({"enum": ["a"], "anyOf": [{"pattern": "a"}]}, "pattern"),
        ({"enum": ["a"], "$ref": "#"}, "circle"),
    ],
    ids=str,
)
def test_what_nothing_can_keep_to_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        grammar_of(schema)


@pytest.mark.parametrize(
    "bomb",
    [
        {"enum": [str(i) for i in range(20_000)], "anyOf": [{"enum": [f"a{i}" for i in range(20_000)]}]},
        {"enum": ["x" * 400_000], "anyOf": [{"const": i} for i in range(30_000)]},
        {"enum": [1], "anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}] * 2}}},
    ],
    ids=["values", "length", "doubling"],
)
def test_values_that_take_long_to_judge_are_refused(bomb: Any) -> None:
    began = time.thread_time()
    with pytest.raises(ParameterError):
        grammar_of(bomb)
    assert time.thread_time() - began < 2 * SECONDS
