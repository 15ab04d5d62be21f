"""Conversations as chat templates take them: templates here are cut down from those that models come with."""

from __future__ import annotations

from typing import Any

import pytest

from hoshikage.engine.prompt import chat_ids
from hoshikage.engine.renderer import Renderer
from hoshikage.engine.telling import tellings
from hoshikage.errors import TemplateError
from tests.letters import Letters

QWEN = (
    "{% for message in messages %}"
    "{% if message.role == 'system' and not loop.first %}{{ raise_exception('System must come first') }}{% endif %}"
    "{{ message.role }}:{{ message.content }}|{% endfor %}"
)
ALTERNATING = (
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{{ message.role }}:{{ message.content }}|{% endfor %}"
)
MISTRAL = """{% for message in messages %}{% if message.tool_calls %}{% for call in message.tool_calls %}
{%- if not call.id is defined or call.id|length != 9 %}{{ raise_exception("9!") }}{% endif %}{{ call.id }}|{% endfor %}
{%- elif message.role == "tool" %}
{%- if not message.tool_call_id is defined or message.tool_call_id|length != 9 %}{{ raise_exception("9!") }}{% endif %}
{{- message.tool_call_id }}|{% endif %}{% endfor %}"""
DEEPSEEK = (
    "{% for message in messages %}{% if message.role == 'system' and not loop.first %}{{ raise_exception('late') }}"
    "{% endif %}{% for call in message.tool_calls or [] %}{{ 'json ' + call.function.arguments }}|{% endfor %}"
    "{{ message.content }}|{% endfor %}"
)
ANY = "{% for message in messages %}{{ message.role }}:{{ message.content }}|{% endfor %}"


def told(template: str, messages: list[dict[str, Any]]) -> str:
    renderer, letters = Renderer(template), Letters(add_bos=False)
    try:
        return letters.show(chat_ids(letters, renderer, messages, continue_final_message=False))
    finally:
        renderer.close()


def turns(*said: str) -> list[dict[str, Any]]:
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant"}
    return [{"role": roles[each[0]], "content": each} for each in said]


@pytest.mark.parametrize("template", [QWEN, ANY])
def test_what_the_system_says_first_is_one_message(template: str) -> None:
    assert told(template, turns("s1", "d2", "s3", "u", "a")) == "system:s1\n\nd2\n\ns3|user:u|assistant:a|"


def test_what_the_system_says_later_is_told_as_it_is_where_that_is_taken() -> None:
    assert told(ANY, turns("s1", "u", "s2", "u")) == "system:s1|user:u|system:s2|user:u|"


def test_what_the_system_says_later_is_else_the_users() -> None:
    assert told(QWEN, turns("s1", "u1", "a", "s2", "s3")) == "system:s1|user:u1|assistant:a|user:s2\n\ns3|"
    assert told(ALTERNATING, turns("u1", "u2")) == "user:u1\n\nu2|", "Codex says two things before it asks"
    assert told(ALTERNATING, turns("u1", "s1", "a", "s2", "u2")) == "user:u1\n\ns1|assistant:a|user:s2\n\nu2|"


def calling(*names: str) -> list[dict[str, Any]]:
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": {}}} for name in names]
    results = [{"role": "tool", "tool_call_id": name, "content": "sunny"} for name in names]
    return [*turns("u"), {"role": "assistant", "content": "", "tool_calls": calls}, *results]


def test_ids_of_calls_are_as_short_as_mistral_wants_them() -> None:
    messages = calling("call_00112233445566778899aabb", "toolu_1", "9characters", "a1B2c3D4e")
    ids = told(MISTRAL, messages).strip("|").split("|")
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert ids[:4] == ids[4:] and len(set(ids)) == 4 and ids[3] == "a1B2c3D4e"
    assert ids == told(MISTRAL, messages).strip("|").split("|"), "of the same id the same is told every time"


@pytest.mark.parametrize(
    "check",
    [
        "message['tool_call_id']|length == 9",
        "(m.tool_call_id | length) != 9",
        "call.id|length!=9",
        'c["id"]|length != 9',
    ],
)
def test_templates_ask_for_short_ids_in_several_ways(check: str) -> None:
    messages = calling("functions.f:0")
    assert short_ids(messages, "{# " + check + " #}") != short_ids(messages, "") == ["functions.f:0"] * 2
    assert short_ids(messages, "{# names|length != 9, call.id|length != 90 #}") == ["functions.f:0"] * 2


def short_ids(messages: list[dict[str, Any]], template: str) -> list[str]:
    way = next(iter(tellings(template, messages)))
    return [way[1]["tool_calls"][0]["id"], way[2]["tool_call_id"]]


def test_arguments_are_text_where_a_template_adds_them_to_text() -> None:
    messages = calling("a")
    messages[1]["tool_calls"][0]["function"]["arguments"] = {"x": ["é", 1]}
    messages[1]["tool_calls"] += [5, {"function": {"arguments": "{"}}]
    wrong = told(DEEPSEEK.replace("or [] %}", "or [] if call.function %}"), messages)
    assert wrong == 'u|json {"x": ["é", 1]}|json {||sunny|'
    late = told(DEEPSEEK.replace("or [] %}", "or [] if call.function %}"), [*messages, *turns("s")])
    assert late == f"{wrong}s|", "both ways at once"
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"x": ["é", 1]}, "what was sent is not changed"


def test_what_is_refused_in_every_way_is_told_as_it_was_refused_first() -> None:
    template = "{{ raise_exception(messages[-1].role) }}"
    with pytest.raises(TemplateError, match="system"):
        told(template, turns("s1", "u1", "s2"))
