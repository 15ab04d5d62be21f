"""The converter: one rule for each place of a schema that others refer to, and expressions for the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from hoshikage.checks import shown
from hoshikage.errors import ParameterError
from hoshikage.gbnf import MAX_REPEATS
from hoshikage.jsonschema.exclusion import Exclusion
from hoshikage.jsonschema.fitting import Fitting
from hoshikage.jsonschema.keywords import Schema, check_keywords, merged, plain, refuse, types_of
from hoshikage.jsonschema.numbers import N_EXACT, bounds_of, integers, n_places_of, numbers

MAX_SCHEMA = 1_000_000  # characters of JSON
SECONDS = 1.0  # of processor time: a short schema can refer to itself in ways that double its work at every step
MAX_DEPTH = 48  # schemas within schemas
MAX_PARTS = 1000  # schemas that hold together
MAX_RULES = 4000
MAX_LENGTH = 400_000  # characters of a grammar
EMPTY = '""'

BASICS = {
    "ws": '" "?',
    "string": '"\\"" char* "\\""',
    "char": r'[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" unit)',
    "unit": "[0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2}",
    "hex": "[0-9a-fA-F]",
    "integer": integers(None, None),
    "number": numbers(None, None),
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" ws (string ":" ws value ("," ws string ":" ws value)*)? ws "}"',
    "array": '"[" ws (value ("," ws value)*)? ws "]"',
    "year": "[12] [0-9]{3}",
    "day": '("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])',  # those that every month has
    "clock": '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})?',
    "zone": '"Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]',
}
FORMATS = {
    "date": 'year "-" day',
    "time": "clock zone",
    "date-time": 'year "-" day "T" clock zone',
    "uuid": 'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
}


def grammar_of(schema: Any) -> str:
    """The grammar; raises ParameterError, named after the place in the schema, for what it cannot promise."""
    return Converter(schema).grammar()


class Converter:
    """Converts one schema."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._rules: dict[str, str] = {}
        self._referred: dict[str, str] = {}  # what refers, as JSON -> rule
        self._open: list[str] = []  # what led here, and nothing was written since
        self._length = 0
        self._depth = 0
        self._until = time.thread_time() + SECONDS
        self._exclusion = Exclusion(self._opened_whole)
        self._fitting = Fitting(self._found, self._check_time)

    def grammar(self) -> str:
        """The rules of the schema, and those of JSON that they use."""
        try:
            if len(as_json(self._schema)) > MAX_SCHEMA:
                raise refuse("schema", f"it has more than {MAX_SCHEMA} characters", "write a smaller schema")
            root = self._expression("schema", self._schema)
        except RecursionError:
            raise refuse("schema", "it is nested too deeply") from None
        made = {"root": root, **self._rules}
        return "\n".join(f"{name} ::= {body}" for name, body in {**made, **BASICS}.items()) + "\n"

    def _check_time(self) -> None:
        if time.thread_time() > self._until:
            raise refuse("schema", "it takes too long to read", "write a simpler schema")

    def _expression(self, where: str, schema: Any) -> str:
        """What a value of this schema is written as."""
        self._check_time()
        if schema is True or schema == {}:
            return "value"
        if not isinstance(schema, dict):
            cause = "nothing can be an answer to `false`" if schema is False else f"{shown(schema)} is no schema"
            raise refuse(where, cause, "correct it")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise refuse(where, f"it lies more than {MAX_DEPTH} levels deep", "write a flatter schema")
        try:
            check_keywords(where, schema)
            return self._read(where, schema)
        finally:
            self._depth -= 1

    def _read(self, where: str, schema: Schema) -> str:
        for key in ("const", "enum"):
            if key in schema:
                return self._literals(where, key, schema)
        if "$ref" in schema or "allOf" in schema:
            return self._referring(where, plain(schema))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._any_of(where, schema, key)
        parts = [self._typed(where, kind, schema) for kind in types_of(where, schema)]
        return parts[0] if len(parts) == 1 else self._rule(" | ".join(parts))

    def _typed(self, where: str, kind: str, schema: Schema) -> str:
        around, self._open = self._open, []  # what is inside of a value may refer to what is round it
        try:
            return self._typed_alone(where, kind, schema)
        finally:
            self._open = around

    def _typed_alone(self, where: str, kind: str, schema: Schema) -> str:
        match kind:
            case "object":
                return self._object(where, schema)
            case "array":
                return self._array(where, schema)
            case "string":
                return self._string(where, schema)
            case "integer" | "number":
                return self._number(where, kind, schema)
        return kind  # boolean, null

    # -- combining

    def _referring(self, where: str, schema: Schema) -> str:
        """What refers to others, alone or together with them, has one rule wherever it stands: it may hold itself."""
        key = json.dumps(schema, sort_keys=True)
        if key in self._open:
            raise refuse(where, "its references lead in a circle", "correct it")
        if key not in self._referred:
            name = self._referred[key] = self._name()
            self._open.append(key)
            self._rules[name] = self._expression(*self._meant(where, schema))
            self._open.pop()
        return self._referred[key]

    def _meant(self, where: str, schema: Schema) -> tuple[str, Any]:
        """The schema in whose place it stands, and where that is."""
        if schema.keys() == {"$ref"}:
            pointer = schema["$ref"]
            return f"{where}: {pointer}", self._found(where, pointer)
        together = list_of(f"{where}.allOf", schema.get("allOf", []))
        if schema.keys() == {"allOf"} and len(together) == 1:
            return where, together[0]
        return where, self._all_of(where, {**schema, "allOf": together})

    def _found(self, where: str, pointer: Any) -> Any:
        """What a reference into this schema refers to."""
        if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
            raise refuse(f"{where}.$ref", f"{shown(pointer)} leads out of the schema", "use #/$defs/...")
        found = self._schema
        for part in pointer.split("/")[1:]:
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                raise refuse(f"{where}.$ref", f"{shown(pointer)} leads nowhere", "correct it")
        return found

    def _all_of(self, where: str, schema: Schema) -> dict[str, Any]:
        """One schema in place of several that hold together."""
        parts = [*list_of(f"{where}.allOf", schema["allOf"])]
        if "$ref" in schema:
            parts.append({"$ref": schema["$ref"]})
        whole = {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}
        for _ in range(MAX_DEPTH):
            references = [part for part in parts if isinstance(part, dict) and ("$ref" in part or "allOf" in part)]
            if not references:
                break
            parts = self._opened_once(where, parts)
        else:
            raise refuse(where, "its references lead in a circle", "correct it")
        for part in parts:
            if part is not True:
                if not isinstance(part, dict):
                    raise refuse(where, f"{shown(part)} is no schema", "correct it")
                check_keywords(where, part)
                self._check_time()
                whole = merged(where, whole, part)
        return whole

    def _opened_once(self, where: str, parts: list[Any]) -> list[Any]:
        """The same parts with what each of them refers to or holds together in its place."""
        opened: list[Any] = []
        for part in parts:
            opened += self._opened(where, part)
            if len(opened) > MAX_PARTS:
                raise refuse(where, f"more than {MAX_PARTS} schemas hold together", "write a simpler schema")
        return opened

    def _opened(self, where: str, part: Any) -> list[Any]:
        """A part of `allOf` with its reference or its own `allOf` taken out."""
        if not isinstance(part, dict):
            return [part]
        inner = list_of(f"{where}.allOf", part.get("allOf", []))
        rest = {key: value for key, value in part.items() if key not in ("$ref", "allOf")}
        referred = [self._found(where, part["$ref"])] if "$ref" in part else []
        return [rest, *inner, *referred]

    def _any_of(self, where: str, schema: Schema, key: str) -> str:
        options = list_of(f"{where}.{key}", schema[key])
        if not options:
            raise refuse(f"{where}.{key}", "it is empty", "name at least one schema")
        base = {name: value for name, value in plain(schema).items() if name != key}
        wholes = [{**base, "allOf": [option]} if base else option for option in options]
        parts = [self._expression(f"{where}.{key}[{i}]", whole) for i, whole in enumerate(wholes)]
        if key == "oneOf":
            self._check_excluding(where, wholes)
        return self._rule(" | ".join(dict.fromkeys(parts)))

    def _check_excluding(self, where: str, options: list[Any]) -> None:
        """What is written for one of them must not be accepted by another."""
        for i, first in enumerate(options):
            for k, second in enumerate(options):
                if i != k and not self._exclusion.holds(first, second):
                    cause = f"an answer could be both of [{i}] and of [{k}], and may be of one only"
                    raise refuse(f"{where}.oneOf", cause, "write anyOf, or give each a property of its own `const`")

    def _opened_whole(self, schema: Any) -> Schema:
        """A schema without references and `allOf`."""
        self._check_time()
        if not isinstance(schema, dict) or not {"$ref", "allOf"} & schema.keys():
            return schema if isinstance(schema, dict) else {}
        return self._all_of("oneOf", {**schema, "allOf": schema.get("allOf", [])})

    def _literals(self, where: str, key: str, schema: Schema) -> str:
        """Of the values that it lists those that fit all that stands beside them."""
        values = [schema["const"]] if key == "const" else schema["enum"]
        if not values:
            raise refuse(f"{where}.{key}", "it is empty", "name at least one value")
        beside = {name: wanted for name, wanted in plain(schema).items() if name != key}
        fitting = [value for value in values if self._fitting.holds(where, value, beside)] if beside else values
        if not fitting:
            raise refuse(f"{where}.{key}", "no value of it fits what else is demanded", "correct it")
        return self._rule(" | ".join(map(literal, dict.fromkeys(map(as_json, fitting)))))

    # -- types

    def _object(self, where: str, schema: Schema) -> str:
        properties = schema.get("properties", {})
        required = list_of(f"{where}.required", schema.get("required", []))
        if not isinstance(properties, dict) or not all(isinstance(name, str) for name in required):
            raise refuse(f"{where}.properties", "it is no object of schemas with their names", "correct it")
        others = schema.get("additionalProperties", True)
        properties = {**properties, **{name: others for name in required if name not in properties}}
        if not properties:  # a function without arguments names them so; who wants any object names nothing
            return self._map(where, schema.get("additionalProperties", "properties" not in schema))
        pairs = [
            f'{literal(as_json(name))} ":" ws {self._expression(f"{where}.{name}", value)}'
            for name, value in properties.items()
        ]
        needed = {*required}
        return self._rule(f'"{{" ws {self._members(pairs, [name in needed for name in properties])} ws "}}"')

    def _map(self, where: str, others: Any) -> str:
        if others is False:
            return '"{}"'
        value = self._expression(f"{where}.additionalProperties", others)
        pair = f'string ":" ws {value}'
        return "object" if value == "value" else self._rule(f'"{{" ws ({pair} ("," ws {pair})*)? ws "}}"')

    def _members(self, pairs: Sequence[str], required: Sequence[bool]) -> str:
        """Properties in order, commas between those that are there. `rest` follows one, `first` opens the object."""
        rest = first = ""
        for pair, needed in zip(reversed(pairs), reversed(required), strict=True):
            opens = f"{pair} {rest}"
            first = self._rule(opens if needed else f"{opens} | {first or EMPTY}")
            follows = f'"," ws {pair}'
            rest = self._rule(f"{follows} {rest}" if needed else f"({follows})? {rest}")
        return first

    def _array(self, where: str, schema: Schema) -> str:
        heads = list_of(f"{where}.prefixItems", schema.get("prefixItems", []))
        least, most = self._counts(where, schema, "minItems", "maxItems")
        items = [self._expression(f"{where}.prefixItems[{i}]", head) for i, head in enumerate(heads)][:most]
        tail = schema.get("items", True)
        if tail is False:
            most = min(len(items), len(items) if most is None else most)
        if most is not None and least > most:
            raise refuse(where, f"no array has at least {least} and at most {most} items", "correct it")
        item = "" if most is not None and most <= len(items) else self._expression(f"{where}.items", tail)
        return self._rule(f'"[" ws {self._items(items, item, least, most)} ws "]"')

    def _items(self, heads: Sequence[str], item: str, least: int, most: int | None) -> str:
        """The items of an array with commas between them; from the last to the first, as they depend."""
        n = len(heads)
        inner = ""
        if item:
            low, high = max(least - n, 0), None if most is None else most - n
            if n == 0:
                inner = repeated(f'"," ws {item}', max(low - 1, 0), None if high is None else high - 1)
                return f"{item} {inner}" if low else f"({item} {inner})?"
            inner = repeated(f'"," ws {item}', low, high)
        for i in reversed(range(n)):
            lead = f'"," ws {heads[i]}' if i else heads[i]
            inner = self._rule(f"{lead} {inner}" if i < least else f"({lead} {inner})?")
        return inner

    def _string(self, where: str, schema: Schema) -> str:
        least, most = self._counts(where, schema, "minLength", "maxLength")
        form = schema.get("format")
        if isinstance(form, str) and form in FORMATS:
            if "minLength" in schema or "maxLength" in schema:
                raise refuse(where, f"a length and the format {form} cannot be promised together")
            return self._rule(f'"\\"" {FORMATS[form]} "\\""')
        if most is not None and least > most:
            raise refuse(where, f"no text has at least {least} and at most {most} characters", "correct it")
        if least == 0 and most is None:
            return "string"
        return self._rule(f'"\\"" {repeated("char", least, most)} "\\""')

    def _number(self, where: str, kind: str, schema: Schema) -> str:
        bounds = [
            number_of(where, schema, key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        ]
        if bounds == [None] * 4:
            return kind
        n_places = n_places_of(bounds) if kind == "number" else 0
        least, most = bounds_of(n_places, *bounds)
        if least is not None and most is not None and least > most:
            noun = "whole number" if kind == "integer" else f"number of {N_EXACT} digits"
            raise refuse(where, f"no {noun} lies between its bounds", "correct it")
        return self._rule(integers(least, most) if kind == "integer" else numbers(least, most, n_places))

    def _counts(self, where: str, schema: Schema, low: str, high: str) -> tuple[int, int | None]:
        least, most = (number_of(where, schema, key) for key in (low, high))
        for key, value in ((low, least), (high, most)):
            if value is not None and (value < 0 or value != int(value)):
                raise refuse(f"{where}.{key}", f"{shown(schema[key])} is no count", "use a whole number from 0 on")
            if value is not None and value > MAX_REPEATS:
                cause = f"more than {MAX_REPEATS} cannot be promised"
                raise refuse(f"{where}.{key}", cause, f"use at most {MAX_REPEATS}, or leave it out")
        return int(least or 0), None if most is None else int(most)

    # -- rules

    def _name(self) -> str:
        if len(self._rules) >= MAX_RULES:
            raise refuse("schema", f"it takes more than {MAX_RULES} rules", "write a smaller schema")
        name = f"r{len(self._rules)}"
        self._rules[name] = ""
        return name

    def _rule(self, body: str) -> str:
        """The name of a rule with this body."""
        self._length += len(body)
        if self._length > MAX_LENGTH:
            raise refuse("schema", f"its grammar has more than {MAX_LENGTH} characters", "write a smaller schema")
        name = self._name()
        self._rules[name] = body
        return name


def repeated(symbol: str, least: int, most: int | None) -> str:
    """So many of a symbol."""
    if most == 0:
        return ""
    return f"({symbol}){{{least},{'' if most is None else most}}}"


def list_of(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise refuse(where, f"{shown(value)} is not a list", "correct it")
    return value


def number_of(where: str, schema: Schema, key: str) -> float | None:
    value = schema.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 2**63:  # NaN is not either
        raise ParameterError(f"{where}.{key}", f"{shown(value)} is no number that can be used", "correct it")
    return value


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def literal(text: str) -> str:
    """A text as a grammar writes it."""
    escaped = "".join(escape(character) for character in text)
    return f'"{escaped}"'


def escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
