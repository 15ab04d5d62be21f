"""Calls of functions in the text of an answer: found however it is cut, and text that is none comes out whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.server import jsons
from hoshikage.server.anthropic.messages import tool_use
from hoshikage.server.openai import markup
from hoshikage.server.openai.calls import CLOSE, OPEN, CallReader, for_template
from hoshikage.server.openai.channels import Channels
from tests.linear import assert_linear

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}, "z": {"type": "array"}}}
QWEN = "<function=f>\n<parameter=x>\n1\n</parameter>\n<parameter=y>\n 2\n\n</parameter>\n</function>"
GLM = "f\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n<arg_key>y</arg_key><arg_value> 2\n</arg_value>"
CALL = '{"name": "f", "arguments": {"x": 1}}'
MISTRAL = '[TOOL_CALLS]f[ARGS]{"x": 1}'
LFM = "<|tool_call_start|>[f(x=1, y='2'), g()]<|tool_call_end|>"
pieces = st.sampled_from(
    [
        OPEN,
        CLOSE,
        CALL,
        QWEN,
        GLM,
        "<function=",
        "<arg_key>",
        "{",
        "}",
        "<",
        "<tool",
        "_call>",
        " ",
        "text",
        "\n",
        '"name"',
        "<|python_tag|>",
        MISTRAL,
        LFM,
        "[TOOL",
        "_CALLS]",
        "f[ARGS]",
        "<|tool_call_",
        "start|>",
        "[f(x=1)]",
    ]
)


def read(parts: list[str]) -> tuple[str, list[tuple[str, str]]]:
    reader = CallReader({"f": SCHEMA, "g": None})
    content = "".join([*map(reader.feed, parts), reader.finish()])
    return content, [(call["function"]["name"], call["function"]["arguments"]) for call in reader.calls]


@pytest.mark.parametrize(
    ("text", "content", "names"),
    [
        ("hello", "hello", []),
        (f"{OPEN}{CALL}{CLOSE}", "", ["f"]),
        (f"{OPEN}\n{CALL}\n{CLOSE}\n{OPEN}{CALL}{CLOSE}", "", ["f", "f"]),
        (f"I call.\n{OPEN}{CALL}{CLOSE}", "I call.", ["f"]),
        (f"{OPEN}\n{QWEN}\n{CLOSE}\n{OPEN}{GLM}{CLOSE}{OPEN}g{CLOSE}", "", ["f", "f", "g"]),
        (f"{OPEN}{QWEN}", "", ["f"]),
        (f"{OPEN}<function=h></function>{CLOSE}", f"{OPEN}<function=h></function>{CLOSE}", []),
        (f"{OPEN}{CALL}", "", ["f"]),  # cut where the answer ended
        (CALL, "", ["f"]),
        (f"  {CALL}\n", "", ["f"]),
        (f"<|python_tag|>{CALL}", "", ["f"]),
        ('{"name": "f", "parameters": {"x": 1}}', "", ["f"]),
        ('{"name": "h", "arguments": {}}', '{"name": "h", "arguments": {}}', []),  # nobody offered it
        ('{"answer": 5}', '{"answer": 5}', []),
        (f"{OPEN}no JSON{CLOSE} and on", f"{OPEN}no JSON{CLOSE} and on", []),
        ("a < b and <tools", "a < b and <tools", []),
        (f"see {CALL}", f"see {CALL}", []),
        (f"I call.{MISTRAL}{MISTRAL}", "I call.", ["f", "f"]),
        ('[TOOL_CALLS]f[CALL_ID]1a[ARGS]{"x": 1}', "", ["f"]),
        (f"[TOOL_CALLS] [{CALL}, {CALL}]", "", ["f", "f"]),
        (f"[TOOL_CALLS][{CALL}, 5]", f"[TOOL_CALLS][{CALL}, 5]", []),
        ("[TOOL_CALLS]h[ARGS]{}", "[TOOL_CALLS]h[ARGS]{}", []),
        (f"{MISTRAL}\n\nI called it.", "I called it.", ["f"]),
        ('[TOOL_CALLS]f[ARGS]{"y": "say [TOOL_CALLS]g[ARGS]{}"}', "", ["f"]),
        *((cut, cut, []) for cut in ("[TOOL_CALLS]f", "[TOOL_CALLS]f[ARGS]", MISTRAL[:-1], MISTRAL[:-3] + '"Pa')),
        *((cut, cut, []) for cut in (f"{OPEN}f", f"{OPEN}{GLM[:-6]}", f"{OPEN}{GLM}", f"{OPEN}{QWEN[:60]}")),
        (f"I call. {LFM} ", "I call.", ["f", "g"]),
        (LFM.replace("g()", "h()"), LFM.replace("g()", "h()"), []),
        *(
            (LFM.replace("g()", wrong), LFM.replace("g()", wrong), [])
            for wrong in (
                "g(1)",
                "g(**{})",
                "g(x=y)",
                "g(x={1})",
                "g(x=1e999)",
                "g(x=b'')",
                "g",
                "g(x=__import__('os'))",
            )
        ),
        ("[" * 100_000, "[" * 100_000, []),
        ("{" + '"a":{' * 50_000, "{" + '"a":{' * 50_000, []),
    ],
    ids=lambda value: str(value)[:30],
)
def test_examples(text: str, content: str, names: list[str]) -> None:
    said, calls = read([text])
    assert said == content
    assert [name for name, _ in calls] == names
    assert all(json.loads(arguments).get("x", 1) == 1 for _, arguments in calls)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [('{"x":1}', {"x": 1}), ("null", {}), ('""', {}), ('"{\\"x\\": 1}"', {"x": 1}),
     ('{"y": "\\ud83d!"}', {"y": "\ufffd!"}),
     ('{"y": "\\ud83d\\ude00"}', {"y": "\U0001f600"}), ("[1]", None), ("5", None), ('"5"', None), ('"x"', None),
     ('"null"', None), ('{"x": NaN}', None), ('{"x": -Infinity}', None), ('{"x": [1e999]}', None),
     ('"{\\"x\\": NaN}"', None)],
)  # fmt: skip
def test_arguments_are_objects_that_every_client_reads(said: str, arguments: dict[str, Any] | None) -> None:
    """What is none is no call, and stays text."""
    for text in (f'{OPEN}{{"name": "f", "arguments": {said}}}{CLOSE}', f'{{"name": "f", "parameters": {said}}}'):
        content, calls = read([text])
        assert [json.loads(each) for _, each in calls] == ([] if arguments is None else [arguments])
        assert content == (text if arguments is None else "")
        "".join(each for _, each in calls).encode()


@pytest.mark.parametrize("said", ['{"x": 1' + "0" * 30 + "}", '{"x": ' + "[" * 300 + "]" * 300 + "}"])
def test_a_block_holds_the_text_of_arguments_that_no_answer_can(said: str) -> None:
    reader = CallReader({"f": None})
    reader.feed(f"[TOOL_CALLS]f[ARGS]{said}")
    assert reader.finish() == ""
    assert jsons.read(jsons.write(tool_use(reader.calls[0])))["input"] == {"arguments": said}


@pytest.mark.parametrize("said", ['{"y": "\\ud83d"}', '{"x": 1e999}', "null", "[1]"])
def test_arguments_behind_a_name_are_such_objects_too(said: str) -> None:
    content, calls = read([text := f"[TOOL_CALLS]f[ARGS]{said}"])
    channels = Channels({"f": None})
    told = [*channels.feed(f"<|channel|>commentary to=functions.f<|message|>{said}"), *channels.finish()]
    assert [call["function"]["arguments"] for call in channels.calls] == [each for _, each in calls]
    if "y" in said:
        assert (content, calls) == ("", [("f", '{"y": "\ufffd"}')])
    else:
        assert (content, calls) == (text, []) and said in "".join(part for _, part in told)


@given(st.lists(pieces, max_size=8).map("".join), st.data())
def test_how_it_is_cut_changes_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[lo:hi] for lo, hi in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(parts) == read([text])


@given(st.text(st.sampled_from("<tool_call>{} ab\n"), max_size=40))
def test_text_without_calls_comes_out_whole(text: str) -> None:
    assert read(list(text)) == (text, [])


def test_messages_are_as_templates_want_them() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    broken = {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{"}}
    spoke = {"role": "assistant", "content": "", "tool_calls": [call, broken, 5]}
    messages = [{"role": "developer", "content": "x"}, spoke]
    first, second = for_template(messages)
    assert first["role"] == "system"
    assert second["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert second["tool_calls"][1:] == [broken, 5]
    assert call["function"]["arguments"] == '{"x": 1}', "what was sent is not changed"


@pytest.mark.parametrize("text", [QWEN, GLM])
def test_arguments_in_tags_are_what_the_schema_says(text: str) -> None:
    ((_, arguments),) = read([OPEN + text + CLOSE])[1]
    assert json.loads(arguments) == {"x": 1, "y": " 2\n"}


@pytest.mark.parametrize("name", ["translate", "get-weather", "mcp:a.b", "class"])
def test_python_of_others_is_read(name: str) -> None:
    """Names that are none in Python, constants of JSON, and strings that look like either."""
    reader = CallReader({name: None})
    reader.feed(f"<|tool_call_start|>[{name}(from='a, to=b(true)', to=\"it's\", in=[true, None, {{'a': null}}])]")
    assert reader.finish() == ""
    (call,) = reader.calls
    assert call["function"]["name"] == name
    arguments = {"from": "a, to=b(true)", "to": "it's", "in": [True, None, {"a": None}]}
    assert json.loads(call["function"]["arguments"]) == arguments


def test_a_value_that_is_not_what_the_schema_says_is_text() -> None:
    ((_, arguments),) = read([f"{OPEN}<function=f><parameter=z>[1, 2</parameter></function>{CLOSE}"])[1]
    assert json.loads(arguments) == {"z": "[1, 2"}


@pytest.mark.parametrize(
    ("schema", "value", "meant"),
    [({"type": ["string", "null"]}, "2024", "2024"), ({"type": ["string", "null"]}, "null", None),
     ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5), ({"type": "number"}, "NaN", "NaN"),
     ({"type": "number"}, "-1e999", "-1e999"), ({"type": "number"}, "1e3", 1000),
     ({}, "5", "5"), (None, "5", "5"), ({"type": "boolean"}, "true", True), ({"type": 5}, "5", "5")],
)  # fmt: skip
def test_an_optional_argument_is_what_one_of_its_schemas_says(schema: Any, value: str, meant: Any) -> None:
    reader = CallReader({"f": {"properties": {"x": schema}}})
    reader.feed(f"{OPEN}<function=f><parameter=x>{value}</parameter></function>{CLOSE}")
    assert reader.finish() == ""
    assert json.loads(reader.calls[0]["function"]["arguments"]) == {"x": meant}


@pytest.mark.parametrize("mark", list(markup.MARKS))
@pytest.mark.parametrize(
    "piece",
    ["<arg_key>a</arg_key><arg_value>", "<arg_key>", "<parameter=x>", "<function=f>", " ", "</parameter>", "[CALL_ID]",
     "[ARGS]", "[f(x=", "f(),", "-", "'", '"\\', "(", "=", "true", "[TOOL_CALLS]", "{"],
)  # fmt: skip
@pytest.mark.parametrize("head", ["f", "<function=f>", "[f(x=1),"])
def test_markup_takes_no_longer_than_its_text(mark: str, piece: str, head: str) -> None:
    """A model in a loop writes such things, and all others wait for whoever reads them."""

    def work(n: int) -> None:
        text = head + piece * n + "x"
        markup.end_of(mark, text)
        markup.calls_in(mark, text, True, {"f": None})

    assert_linear(work)


@pytest.mark.parametrize(
    "piece", [" ", "\n" * 16, "a ", "<", "<tool_call", "[TOOL_CALLS", "<tool_call>", "[TOOL_CALLS]f"]
)
@pytest.mark.parametrize("head", ["", "x", "{"])
def test_reading_takes_no_longer_than_what_is_read(piece: str, head: str) -> None:
    assert_linear(lambda n: read([head, *([piece] * n)]))
