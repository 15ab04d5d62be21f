"""Grammars of schemas: whatever a grammar allows, the schema accepts; what cannot be promised is refused."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress
from decimal import Decimal
from typing import Any

import jsonschema as judge
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage import gbnf
from hoshikage.errors import ParameterError
from hoshikage.jsonschema import grammar_of
from hoshikage.jsonschema.convert import SECONDS
from hoshikage.jsonschema.keywords import READ
from hoshikage.jsonschema.numbers import integers, numbers
from tests.grammars import Grammar

names = st.sampled_from(["a", "b", 'quo"te', "back\\slash", "näme", "emoji😀", "line\nbreak", ""])
numbers_at = st.integers(-1200, 1200)


def bounded(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(values, values).map(sorted)
    return pairs.flatmap(
        lambda pair: st.sampled_from([{}, {low: pair[0]}, {high: pair[1]}, {low: pair[0], high: pair[1]}])
    )


def of(kind: str, more: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return more.map(lambda extra: {"type": kind, **extra})


decimals_at = st.tuples(numbers_at, st.integers(0, 5)).map(lambda pair: float(Decimal(pair[0]).scaleb(-pair[1])))
bounds_of_number = st.one_of(
    bounded(low, high, values).filter(lambda bounds: len({*bounds.values()}) == len(bounds))
    for low in ("minimum", "exclusiveMinimum")
    for high in ("maximum", "exclusiveMaximum")
    for values in (numbers_at, decimals_at)
)

leaves = st.one_of(
    of("integer", bounded("minimum", "maximum", numbers_at)),
    of("integer", bounded("exclusiveMinimum", "maximum", numbers_at).filter(lambda s: len(set(s.values())) == len(s))),
    of("number", bounds_of_number),
    of("string", bounded("minLength", "maxLength", st.integers(0, 6))),
    st.sampled_from(["date", "time", "date-time", "uuid"]).map(lambda form: {"type": "string", "format": form}),
    st.sampled_from(["boolean", "null", "string", "number", "integer"]).map(lambda kind: {"type": kind}),
    st.lists(st.one_of(names, st.integers(), st.booleans(), st.none()), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
    st.one_of(names, st.integers(), st.lists(st.booleans())).map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"]}),
    st.just(True),
    st.just({}),
)


def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(names, inner, max_size=5).flatmap(
        lambda properties: st.lists(st.sampled_from([*properties, "more"]), unique=True).map(
            lambda required: {"type": "object", "properties": properties, "required": required}
        )
    )
    arrays = st.tuples(inner, bounded("minItems", "maxItems", st.integers(0, 3))).map(
        lambda pair: {"type": "array", "items": pair[0], **pair[1]}
    )
    tuples = st.tuples(st.lists(inner, max_size=3), st.booleans(), st.integers(0, 3)).map(
        lambda parts: {
            "type": "array",
            "prefixItems": parts[0],
            "items": not parts[1],
            "minItems": min(parts[2], len(parts[0])) if parts[1] else parts[2],
        }
    )
    maps = inner.map(lambda schema: {"type": "object", "additionalProperties": schema})
    choices = st.lists(inner, min_size=1, max_size=3).map(lambda schemas: {"anyOf": schemas})
    return st.one_of(objects, arrays, tuples, maps, choices)


schemas = st.recursive(leaves, grow, max_leaves=8)


@given(schemas, st.integers(0, 2**32))
def test_whatever_a_grammar_allows_the_schema_accepts(schema: Any, seed: int) -> None:
    text = grammar_of(schema)
    gbnf.check(text)
    grammar = Grammar(text)
    checker = judge.Draft202012Validator(schema, format_checker=judge.Draft202012Validator.FORMAT_CHECKER)
    for i in range(5):
        written = grammar.draw(random.Random(seed + i))
        checker.validate(json.loads(written))


@given(numbers_at, numbers_at)
def test_whole_numbers_between_bounds_are_all_there_and_no_others(first: int, second: int) -> None:
    least, most = sorted((first, second))
    grammar = Grammar(f"root ::= {integers(least, most)}\n")
    near = {least - 1, least, least + 1, most - 1, most, most + 1, 0, -1, 1, 10 * most, -least}
    for number in {*near, *range(least, most, max(1, (most - least) // 50))}:
        assert grammar.allows(str(number)) == (least <= number <= most), number


@given(numbers_at, numbers_at, st.integers(0, 3))
def test_decimal_numbers_between_bounds_are_all_there_and_no_others(first: int, second: int, n_places: int) -> None:
    least, most = sorted((first, second))
    grammar = Grammar(f"root ::= {numbers(least, most, n_places)}\n")
    near = {least - 1, least, least + 1, most - 1, most, most + 1, 1, 10 * most, -least}
    for number in {*near, *range(least, most, max(1, (most - least) // 50))} - {0}:
        written = f"{Decimal(number).scaleb(-n_places):f}"
        is_within = least <= number <= most
        assert grammar.allows(written) == is_within, written
        assert grammar.allows(written.rstrip("0").rstrip(".") if "." in written else written) == is_within, written
    assert grammar.allows("0") == (least <= 0 <= most)


@given(bounds_of_number, st.integers(0, 2**32))
def test_a_number_keeps_to_its_bounds_and_can_be_its_edges(bounds: dict[str, float], seed: int) -> None:
    schema = {"type": "number", **bounds}
    checker = judge.Draft202012Validator(schema)
    try:
        grammar = Grammar(grammar_of(schema))
    except ParameterError as error:
        assert "no number of 15 digits" in error.cause
        middle = sum(Decimal(str(bound)) for bound in bounds.values()) / 2
        assert len(bounds) == 2
        assert not checker.is_valid(float(middle))
        return
    for i in range(5):
        checker.validate(json.loads(grammar.draw(random.Random(seed + i))))
    for bound in bounds.values():
        assert grammar.allows(f"{Decimal(str(bound)):f}") == checker.is_valid(bound)


@pytest.mark.parametrize(
    ("bounds", "allowed", "forbidden"),
    [
        ({"exclusiveMinimum": 0, "maximum": 1}, ["0.5", "1", "1.0", "0.00000000000001"], ["0", "0.0", "-0", "1.1"]),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, ["0.1", "0.99"], ["0", "1", "1.0"]),
        ({"minimum": 0, "maximum": 0.5}, ["0", "0.0", "0.25", "0.5", "0.50"], ["0.51", "0.6", "1", "-0.1"]),
        ({"minimum": 0.5}, ["0.5", "0.75", "1", "123456.75"], ["0.4", "0.49", "0", "-1"]),
        ({"minimum": -1.25, "maximum": -0.3}, ["-1.25", "-1", "-0.3"], ["-1.26", "-0.29", "0", "1"]),
        ({"minimum": 1e-8, "maximum": 1e-3}, ["0.00000001", "0.0005"], ["0", "0.000000001", "0.01"]),
        ({"minimum": 2, "maximum": 2}, ["2", "2.0"], ["2.1", "1.9"]),
    ],
    ids=str,
)
def test_numbers_may_have_decimal_places(bounds: dict[str, Any], allowed: list[str], forbidden: list[str]) -> None:
    grammar = Grammar(grammar_of({"type": "number", **bounds}))
    gbnf.check(grammar_of({"type": "number", **bounds}))
    assert [text for text in allowed if not grammar.allows(text)] == []
    assert [text for text in forbidden if grammar.allows(text)] == []


def test_objects_have_their_properties_in_order_and_the_optional_ones_may_be_missing() -> None:
    schema = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in "abc"},
        "required": ["b"],
        "additionalProperties": False,
    }
    grammar = Grammar(grammar_of(schema))
    for text in ('{"b":1}', '{"a":1,"b":2}', '{"b":2,"c":3}', '{"a":1,"b":2,"c":3}', '{ "a": 1, "b": 2 }'):
        assert grammar.allows(text), text
    for text in ("{}", '{"a":1}', '{"c":1,"b":2}', '{"a":1,"b":2,}', '{"b":1,"d":2}', '{"a":1 "b":2}', '{,"b":1}'):
        assert not grammar.allows(text), text


tags = st.sampled_from(["cat", "dog", 1, 1.0, True])
tagged = st.tuples(st.sampled_from(["kind", "sort"]), tags, leaves, st.booleans()).map(
    lambda parts: {
        "properties": {parts[0]: {"const": parts[1]}, "more": parts[2]},
        "required": [parts[0], "more"] if parts[3] else [parts[0]],
        **({"type": "object"} if parts[3] else {}),
    }
)
ones = st.lists(st.one_of(tagged, leaves, st.just({"$ref": "#/$defs/x"})), min_size=1, max_size=3)


@given(ones, tagged, st.integers(0, 2**32))
def test_one_of_several_is_kept_to_or_refused(schemas: list[Any], referred: Any, seed: int) -> None:
    schema = {"oneOf": schemas, "$defs": {"x": referred}}
    try:
        grammar = Grammar(grammar_of(schema))
    except ParameterError as error:
        assert "may be of one only" in error.cause
        return
    checker = judge.Draft202012Validator(schema, format_checker=judge.Draft202012Validator.FORMAT_CHECKER)
    for i in range(5):
        checker.validate(json.loads(grammar.draw(random.Random(seed + i))))


def tag(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"const": kind}, **more}, "required": ["kind"]}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.mark.parametrize(
    "schemas",
    [
        [TEXT, NUMBER, {"type": "null"}],
        [tag("cat", name=TEXT), tag("dog", name=TEXT)],
        [tag("cat"), {"anyOf": [tag("dog"), tag("cow")]}],
        [{"allOf": [tag("cat"), {"required": ["name"]}]}, tag("dog")],
        [{"enum": ["a", "b"]}, {"const": "c"}],
        [{"type": "object", "properties": {name: TEXT}, "required": [name]} for name in "ab"],
    ],
)
def test_schemas_that_exclude_each_other_may_stand_in_one_of(schemas: list[Any]) -> None:
    assert grammar_of({"oneOf": schemas}) == grammar_of({"anyOf": schemas})


@pytest.mark.parametrize(
    "schemas",
    [
        [TEXT, TEXT],
        [{"type": "integer"}, NUMBER],
        [TEXT, {}],
        [TEXT, {"properties": {"a": TEXT}}],
        [tag("cat"), tag("cat")],
        [tag("cat"), {"type": "object"}],
        [{"const": 1}, {"enum": [1.0]}],
        [{"type": "array"}, {"type": "array", "items": TEXT}],
    ],
)
def test_schemas_that_do_not_are_refused(schemas: list[Any]) -> None:
    with pytest.raises(ParameterError, match="may be of one only; write anyOf"):
        grammar_of({"oneOf": schemas})


def test_a_bomb_of_one_of_is_refused_soon() -> None:
    schema: Any = {"oneOf": [tag(str(i)) for i in range(300)]}
    with pytest.raises(ParameterError, match="takes too long"):
        grammar_of(schema)


def test_an_object_that_names_no_property_has_none() -> None:
    """So functions without arguments are offered; who names nothing, or `additionalProperties`, means any object."""
    for schema, is_open in (
        ({"properties": {}}, False),
        ({}, True),
        ({"properties": {}, "additionalProperties": True}, True),
    ):
        grammar = Grammar(grammar_of({"type": "object", **schema}))
        assert grammar.allows("{}")
        assert grammar.allows('{"a":1}') is is_open


@pytest.mark.parametrize("names", [{"type": "string"}, {}, True, {"type": "string", "description": "a key"}])
def test_that_names_are_texts_need_not_be_promised(names: Any) -> None:
    of_numbers = {"type": "object", "additionalProperties": {"type": "number"}}
    assert grammar_of({**of_numbers, "propertyNames": names}) == grammar_of(of_numbers)
    assert grammar_of({"allOf": [of_numbers, {"propertyNames": names}]}) == grammar_of({"allOf": [of_numbers, {}]})


@pytest.mark.parametrize(
    "reference",
    [
        {"$ref": "#/$defs/node"},
        {"allOf": [{"$ref": "#/$defs/node"}]},
        {"allOf": [{"$ref": "#/$defs/node"}], "description": "as pydantic 1 writes it"},
        {"$ref": "#/$defs/node", "description": "the next"},
        {"$ref": "#/$defs/node", "type": "object"},
        {"allOf": [{"$ref": "#/$defs/node"}, {"required": ["value"]}]},
        {"allOf": [{"allOf": [{"$ref": "#/$defs/node"}]}, {"$ref": "#/$defs/node"}]},
    ],
    ids=str,
)
def test_a_schema_may_refer_to_itself(reference: dict[str, Any]) -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"type": "integer"}, "next": {"anyOf": [reference, {"type": "null"}]}},
                "required": ["value", "next"],
            }
        },
        "$ref": "#/$defs/node",
    }
    grammar = Grammar(grammar_of(schema))
    gbnf.check(grammar_of(schema))
    assert grammar.allows('{"value":1,"next":{"value":2,"next":null}}')
    assert not grammar.allows('{"value":1,"next":{"value":2}}')


def test_what_holds_together_becomes_one() -> None:
    schema = {
        "$defs": {"base": {"properties": {"id": {"type": "integer", "minimum": 0}}, "required": ["id"]}},
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"id": {"maximum": 9}, "name": {"type": "string"}}}],
        "required": ["name"],
    }
    grammar = Grammar(grammar_of(schema))
    assert grammar.allows('{"id":7,"name":"x"}')
    for text in ('{"id":10,"name":"x"}', '{"id":-1,"name":"x"}', '{"id":7}'):
        assert not grammar.allows(text), text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (False, "false"),
        (5, "no schema"),
        ({"type": "strin"}, "no type"),
        ({"type": []}, "no type"),
        ({"type": "string", "pattern": "a+"}, "pattern"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "number", "multipleOf": 5}, "multipleOf"),
        ({"not": {}}, "not"),
        ({"if": {}, "then": {}}, "'if'"),
        ({"type": "object", "patternProperties": {"a": {}}}, "patternProperties"),
        ({"propertyNames": {"pattern": "a"}}, "propertyNames"),
        ({"propertyNames": {"enum": ["a"]}}, "propertyNames"),
        ({"propertyNames": False}, "propertyNames"),
        ({"allOf": [{"propertyNames": {"maxLength": 2}}, {}]}, "propertyNames"),
        ({"propertys": {}}, "did you mean 'properties'"),
        ({"enum": []}, "empty"),
        ({"anyOf": []}, "empty"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "bounds"),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, "bounds"),
        ({"type": "integer", "minimum": "5"}, "no number"),
        ({"type": "integer", "minimum": True}, "no number"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no text"),
        ({"type": "string", "minLength": -1}, "no count"),
        ({"type": "string", "maxLength": 10**9}, "more than 2000"),
        ({"type": "array", "minItems": 10**6}, "more than 2000"),
        ({"type": "array", "minItems": 2, "maxItems": 1}, "no array"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "http://example.com/schema"}, "out of the schema"),
        ({"$ref": 5}, "out of the schema"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no type in common"),
        ({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "allOf": [{"$ref": "#/$defs/a"}]}, "circle"),
        ({"$ref": "#"}, "circle"),
        ({"allOf": [{"$ref": "#"}]}, "circle"),
        ({"type": "object", "anyOf": [{"$ref": "#"}]}, "circle"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "circle"),
        ({"required": [1]}, "properties"),
        ({"properties": []}, "properties"),
        ({"$ref": {}}, "out of the schema"),
        ({"allOf": [{"required": 5}, {"required": ["a"]}]}, "not a list"),
        ({"allOf": [{"enum": 5}, {"enum": [5]}]}, "not a list"),
        ({"allOf": [{"properties": ["a"]}, {"properties": {}}]}, "properties"),
        ({"allOf": [{"minimum": {}}, {"minimum": 5}]}, "no number"),
        ({"minimum": 10**4000}, "no number"),
        ({"properties": {"x" * 10_000: {"minimum": "5"}}}, "^schema.xxx.{,500}$"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_cannot_be_promised_is_refused(schema: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=said.replace("'", ".")):
        gbnf.check(grammar_of(schema))


def nested(n: int, key: str) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(n):
        schema = {"type": "array", "items": schema} if key == "items" else {key: [schema, {"type": "null"}]}
    return schema


@pytest.mark.parametrize(
    "bomb",
    [
        nested(5000, "items"),
        nested(500, "anyOf"),
        {"enum": [str(i) for i in range(200_000)]},
        {"type": "object", "properties": {str(i): {"type": "integer", "minimum": i} for i in range(20_000)}},
        {
            "$defs": {str(i): {"type": "array", "prefixItems": [{"$ref": f"#/$defs/{i + 1}"}] * 9} for i in range(60)},
            "$ref": "#/$defs/0",
        },
        {"type": "array", "items": {"type": "array", "items": {"type": "string", "minLength": 2000}, "minItems": 2000}},
        {
            "$defs": {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(60)} | {"60": {}},
            "$ref": "#/$defs/0",
        },
        {"allOf": [{"enum": [f"{name}{i}" for i in range(40_000)]} for name in "ab"]},
        {"oneOf": [{"enum": [f"{name}{i}" for i in range(20_000)]} for name in "ab"]},
        {"required": [str(i) for i in range(40_000)], "properties": {str(i): {} for i in range(40_000)}},
        {"enum": ["x" * 10_000] * 2000},
    ],
    ids=["depth", "choices", "values", "properties", "references", "repetitions", "doubling", "common", "excluding",
         "required", "length"],
)  # fmt: skip
def test_a_bomb_is_refused_or_harmless(bomb: Any) -> None:
    began = time.thread_time()
    convert_bomb(bomb)
    assert time.thread_time() - began < 2 * SECONDS


def convert_bomb(bomb: Any) -> None:
    try:
        text = grammar_of(bomb)
    except ParameterError:
        return
    assert len(text) < 1_000_000


VALUES = st.recursive(
    st.sampled_from([None, True, 0, -1, 2.5, 1e300, "a", "string", "object", "#", "#/$defs/a", "date"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(READ)), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(READ)), VALUES, max_size=4), VALUES)
def test_whatever_it_is_becomes_a_grammar_or_is_refused(schema: dict[str, Any], other: Any) -> None:
    with suppress(ParameterError):
        gbnf.check(grammar_of({**schema, "$defs": {"a": other}}))
