"""What no client should send: the status, an error that names the parameter, and the next request served."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.client import CHAT, request
from tests.server.conftest import Server

HELLO = [{"role": "user", "content": "hello"}]


def body(**more: Any) -> bytes:
    return json.dumps({"model": "fake", "messages": HELLO, **more}).encode()


def raw(text: str) -> bytes:
    """A body with one more member, written as it is."""
    return body()[:-1] + b", " + text.encode("utf-8", "surrogatepass") + b"}"


WRONG_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": 2**63}, "max_tokens"),
    ({"max_tokens": 10**100}, "max_tokens"),
    ({"max_tokens": -2}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": "10"}, "max_tokens"),
    ({"n": 10**9}, "n"),
    ({"n": 0}, "n"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.1}, "top_p"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["x"] * 1_000_000}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": [1]}, "stop"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"1e3": 1}}, "logit_bias"),
    ({"logit_bias": [1]}, "logit_bias"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usages": True}}, "stream_options.include_usages"),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"keep_alive": "soon"}, "keep_alive"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": -1}, "timeout"),
    ({"steps": 0}, "steps"),
    ({"algorithm": "magic"}, "algorithm"),
    ({"cfg_scale": -1}, "cfg_scale"),
    ({"steps": 3, "diffusion_steps": 4}, "diffusion_steps"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "wizard", "content": "hello"}]}, "messages"),
    ({"messages": [{"content": "hello"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": "x"}] * 5000}, "messages"),
    ({"model": 5}, "model"),
    ({"model": "x" * 10_000}, "model"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"tools": [{"type": "function", "function": {"name": "../f"}}]}, "tools[0].function.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"chat_template_kwargs": {str(i): 0 for i in range(100)}}, "chat_template_kwargs"),
]


DOUBLING = {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(60)} | {"60": {}}
NO_SCHEMAS = [{"$ref": {}}, {"allOf": [{"required": 5}, {"required": ["a"]}]},
              {"allOf": [{"minimum": {}}, {"minimum": 5}]}, {"$defs": DOUBLING, "$ref": "#/$defs/0"}]  # fmt: skip


@pytest.mark.parametrize("schema", NO_SCHEMAS, ids=lambda value: str(value)[:30])
def test_a_schema_that_is_none_or_never_ends_is_refused(server: Server, schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    answer = server.client.chat(model="nano-ar", response_format=form, max_tokens=2)
    assert (answer.status, answer.error["code"]) == (400, "validation_error"), answer.body[:500]
    assert answer.error["param"].startswith("response_format.schema")


@pytest.mark.parametrize("model", ["nano-ar", "nano-llada", "nano-block"])
def test_a_form_that_leaves_no_token_is_the_requests_fault(server: Server, model: str) -> None:
    """Clients ask again after a 500; this one would end the same way every time."""
    answer = server.client.chat(model=model, grammar="root ::= <[999999]>", max_tokens=4)
    assert (answer.status, answer.error["code"]) == (400, "no_token_left"), answer.body[:500]
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("more", "param"), WRONG_VALUES, ids=lambda value: str(value)[:40])
def test_a_wrong_value_is_named(server: Server, more: dict[str, Any], param: str) -> None:
    answer = server.client.post(CHAT, body(**more))
    assert answer.status == 400, answer.body[:500]
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["param"] == param
    assert len(answer.body) < 2000


@pytest.mark.parametrize(
    ("path", "name"), [(CHAT, "messages"), ("/v1/completions", "prompt"), ("/v1/messages", "model")]
)
def test_what_is_missing_is_named(server: Server, path: str, name: str) -> None:
    whole = {"model": "fake", "messages": HELLO, "prompt": "hello", "max_tokens": 2}
    del whole[name]
    answer = server.client.post(path, whole)
    assert (answer.status, answer.error["param"]) == (400, name)


NO_JSON: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("not JSON", b"hello"),
    ("cut off", body()[:-5]),
    ("two values", body() + body()),
    ("an array", b"[]"),
    ("null", b"null"),
    ("a number", b"5"),
    ("NaN", raw('"temperature": NaN')),
    ("infinity", raw('"temperature": 1e999')),
    ("digits without end", raw('"seed": ' + "9" * 100_000)),
    ("invalid UTF-8", body().replace(b"hello", b"\xff\xfe")),
    ("an overlong slash", body().replace(b"hello", b"\xc0\xaf")),
    ("a raw surrogate", body().replace(b"hello", b"\xed\xa0\x80")),
    ("an escaped lone surrogate", body().replace(b"hello", b"\\ud800")),
    ("UTF-16", body().decode().encode("utf-16")),
    ("a byte order mark", b"\xef\xbb\xbf" + body()),
    ("a raw zero byte", body().replace(b"hello", b"\0")),
    ("a key twice", raw('"model": "tiny"')),
    ("a key twice inside", raw('"stream_options": {"include_usage": true, "include_usage": false}')),
    ("100,000 levels of lists", raw('"x": ' + "[" * 100_000 + "]" * 100_000)),
    ("100,000 levels of objects", raw('"x": ' + '{"a":' * 100_000 + "1" + "}" * 100_000)),
    ("1,000 levels", raw('"x": ' + "[" * 1000 + "]" * 1000)),
    ("three million values", raw('"x": [' + "0," * 3_000_000 + "0]")),
]


@pytest.mark.parametrize("data", [data for _, data in NO_JSON], ids=[name for name, _ in NO_JSON])
def test_what_is_no_json_object_is_refused(server: Server, data: bytes) -> None:
    answer = server.client.post(CHAT, data)
    assert answer.status == 400, answer.body[:300]
    assert answer.error["code"] == "invalid_json"


def test_a_zero_character_is_a_character(server: Server) -> None:
    assert server.client.chat("\0", max_tokens=2).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_another_content_type_is_refused(server: Server, kind: str) -> None:
    """A page can send these without asking, so they may not do anything."""
    answer = server.client.post(CHAT, body(), **{"Content-Type": kind})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


def test_json_without_its_content_type_is_read(server: Server) -> None:
    data = body(max_tokens=2)
    answer = server.client.raw(request(CHAT, data, Content_Type="", Connection="close"))
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("name", "right"),
    [("temprature", "temperature"), ("max_token", "max_tokens"), ("Temperature", "temperature"), ("top-p", "top_p"),
     ("diffusion_step", "diffusion_steps"), ("cfgscale", "cfg_scale"), ("message", "messages")],
)  # fmt: skip
def test_a_misspelt_parameter_is_an_error_with_the_right_name(server: Server, name: str, right: str) -> None:
    answer = server.client.chat(**{name: 1})
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unknown_parameter", name)
    assert repr(right) in answer.error["message"]


def test_what_has_no_effect_is_warned_of(server: Server) -> None:
    answer = server.client.chat(max_tokens=2, user="me", xyzzy=1, frequency_penalty=0.5, min_tokens=3)
    assert answer.status == 200
    for name in ("user", "xyzzy", "frequency_penalty", "min_tokens"):
        assert name in answer.json["warning"]
    events = server.client.chat(max_tokens=2, xyzzy=1, frequency_penalty=0.5, stream=True).events
    warned = " ".join(event.get("warning", "") for event in events[:-1])
    assert "xyzzy" in warned and "frequency_penalty" in warned


def test_null_is_as_if_it_were_absent(server: Server) -> None:
    names = ("temperature", "max_tokens", "n", "stop", "seed", "stream", "tools", "response_format", "logit_bias")
    answer = server.client.chat(**dict.fromkeys([*names, "temperatur", "foo", "user"]))
    assert answer.status == 200 and "warning" not in answer.json


def test_so_many_unknown_names_are_refused(server: Server) -> None:
    answer = server.client.chat(**{f"p{i}": 1 for i in range(6000)})
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unknown_parameter", "p20")
    answer = server.client.chat(**{f"p{i}": 1 for i in range(20)}, max_tokens=2)
    assert answer.status == 200 and "p19" in answer.json["warning"]


@pytest.mark.parametrize("asked", [("GET", "/props"), ("GET", "/slots"), ("GET", "/tokenizer_info"),
                                   ("DELETE", "/models")])  # fmt: skip
def test_a_query_of_many_parts_is_read_to_its_end(server: Server, asked: tuple[str, str]) -> None:
    method, path = asked
    parts = "&".join(f"a{i}=1" for i in range(5000))
    answer = server.client.ask(method, f"{path}?{parts}&model=nobody")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found"), answer.body[:300]


def test_an_unknown_model_is_not_found(server: Server) -> None:
    for name in ("fakee", "../fake", "fake/../../etc/passwd", "/etc/passwd", "fake\0", " ", "\u202efake"):
        answer = server.client.chat(model=name)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found"), name
        assert answer.error["type"] == "invalid_request_error"
    assert "'fake'" in server.client.chat(model="fakee").error["message"]


def test_a_broken_model_file_says_so_without_its_path(server: Server) -> None:
    for stream in (False, True):
        answer = server.client.chat(model="broken", stream=stream)
        assert answer.status == 500
        assert answer.error["code"] == "model_load_failed"
        assert answer.headers["x-should-retry"] == "false"
        assert str(server.folder) not in answer.body.decode()


def test_context_fits_exactly_and_overflows_by_one(server: Server) -> None:
    """The fake model reads bytes; its context is 512."""
    n_round = len("[user]<|eot|>[assistant]") - len("<|eot|>") + 1
    fits = server.client.chat("x" * (511 - n_round), max_tokens=1)
    assert fits.status == 200, fits.body
    assert fits.json["usage"]["prompt_tokens"] == 511
    for n in (512, 51_200):
        answer = server.client.chat("x" * (n - n_round), max_tokens=1)
        assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
        assert (answer.error["n_prompt_tokens"], answer.error["n_ctx"]) == (n, 512)
    cut = server.client.chat("x" * (500 - n_round), max_tokens=100, seed=1, temperature=1, early_stop=False).json
    assert cut["choices"][0]["finish_reason"] == "length" and "max_tokens 100 became 12" in cut["warning"]


def test_special_tokens_in_a_message_are_plain_text(server: Server) -> None:
    plain = server.client.chat("a" * 7, max_tokens=1).json["usage"]["prompt_tokens"]
    typed = server.client.chat("<|eot|>", max_tokens=1).json["usage"]["prompt_tokens"]
    assert typed == plain  # seven bytes each


def test_every_wrong_request_left_the_server_well(server: Server) -> None:
    assert server.client.chat(max_tokens=2).status == 200
    assert "internal_error" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


def test_a_text_that_no_context_holds_is_refused_before_it_is_read(server: Server) -> None:
    """Its tokens would take their time, and whoever asks the same model would wait for them."""
    answer = server.client.chat("x" * (1 << 21), max_tokens=1)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert answer.error["n_prompt_tokens"] > 512
