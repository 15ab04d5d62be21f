"""Gaps anywhere in a text, of a fixed length or a range, by each of the doors that have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hoshikage
from hoshikage import nano
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.score import evaluate
from hoshikage.evaluate.server import GapServer, OpenGapServer
from hoshikage.evaluate.server import Server as ChatServer
from hoshikage.evaluate.subject import GapFiller, ModelFile, OpenGapFiller, Subject
from tests.conftest import TinyModel
from tests.server.client import Answer
from tests.server.conftest import NewServer, Server

WISH: dict[str, Any] = {"model": "fake", "seed": 9, "temperature": 1, "early_stop": False, "logits_eos_inf": True}


def fill(server: Server, template: Any, **more: Any) -> Answer:
    return server.client.post("/v1/completions", {**WISH, "template": template, **more})


def text_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["text"])


def test_a_template_of_one_gap_is_a_gap_between_two_texts(server: Server) -> None:
    gap = server.client.post("/v1/completions", {**WISH, "prompt": "def f(", "suffix": "):", "max_tokens": 20})
    answer = fill(server, ["def f(", 20, "):"])
    assert text_of(answer) == text_of(gap)
    assert answer.json["usage"] == gap.json["usage"]
    stream = fill(server, ["def f(", 20, "):"], stream=True)
    pieces = [choice["text"] for event in stream.events[:-1] for choice in event["choices"]]
    assert "".join(pieces) == text_of(answer)


def test_the_text_between_two_gaps_is_in_the_answer(server: Server) -> None:
    text = text_of(fill(server, ["Dear ", 8, ", thank you for ", 4, "."], n=2))
    assert ", thank you for " in text and not text.startswith("Dear ")


def test_what_a_gap_lies_in_is_text(server: Server) -> None:
    """Special tokens in it are read as such only where somebody says so."""
    text = "def f(<|eot|>"

    def n_read(path: str, **body: Any) -> int:
        answer = server.client.post(path, {**WISH, "length": 4, **body})
        assert answer.status == 200, answer.body
        return int(answer.json["usage"]["prompt_tokens"])

    given = {"prompt": text, "suffix": ")"}
    for path in ("/v1/completions", "/v1/fim/completions"):
        assert n_read(path, **given) == n_read(path, parse_special=False, **given) == len(text) + 1
        assert n_read(path, parse_special=True, **given) == len("def f()") + 1
    alone = {"prompt": text, "length": None, "max_tokens": 4}
    assert [n_read(path, **alone) for path in ("/v1/completions", "/v1/fim/completions")] == [
        len("def f(") + 1,
        len(text),
    ]


def test_a_suffix_may_be_token_ids(server: Server) -> None:
    body = {**WISH, "prompt": "def f(", "length": 7}
    ids = server.client.post("/tokenize", {"model": "fake", "content": "):"}).json["tokens"]
    told = [server.client.post("/v1/completions", {**body, "suffix": suffix}) for suffix in ("):", ids)]
    assert text_of(told[0]) == text_of(told[1])
    wrong = server.client.post("/v1/completions", {**body, "suffix": ["a"]})
    assert (wrong.status, wrong.error["param"]) == (400, "suffix")


@pytest.mark.parametrize(
    ("model", "filler", "over_http"),
    [("nano-llada", GapFiller, GapServer), ("nano-dream", GapFiller, GapServer),
     ("nano-dreamon", OpenGapFiller, OpenGapServer)],
    ids=["llada", "dream", "dreamon"],
)  # fmt: skip
def test_gaps_are_judged_over_http_as_here(
    server: Server, model: str, filler: type[GapFiller], over_http: type[GapServer]
) -> None:
    """Several turns, Japanese and the end of a turn behind the gap: all of it reaches the model as it does here."""
    asked = over_http(server.url, model, None, {})
    rounded_alike = {"flash_attn": "off", "type_k": "f32", "type_v": "f32", "n_threads": 1, "n_threads_batch": 1}
    with hoshikage.load(model, **{**nano.settings_of(model), **rounded_alike}) as engine:
        here = filler(engine, model, {})
        for item in questions(2):
            one, other = here.answer(item), asked.answer(item)
            assert (one.right, one.n_tokens, one.n_passes) == (other.right, other.n_tokens, other.n_passes)


def test_a_server_set_to_be_fast_is_judged_as_the_file_is(new_server: NewServer) -> None:
    """Exactly, whatever its owner prefers, unless its own way is asked for."""
    url = new_server(DIFFUSION_QUALITY="fast").url
    items = questions(1, ["addition", "json"])

    def costs(subject: Subject) -> tuple[int, int, int | None, int | None]:
        total = evaluate(subject, items, {}).total
        return total.right, total.n_tokens, total.n_passes, total.n_rows

    with hoshikage.load("nano-llada", **nano.settings_of("nano-llada")) as engine:
        assert costs(ChatServer(url, "nano-llada", None, {})) == costs(ModelFile(engine, "", {}))
        assert costs(GapServer(url, "nano-llada", None, {})) == costs(GapFiller(engine, "", {}))
        fast = costs(ChatServer(url, "nano-llada", None, {"quality": "fast"}))
        assert (fast[3] or 0) < (costs(ModelFile(engine, "", {}))[3] or 0)
    with hoshikage.load("nano-dreamon", **nano.settings_of("nano-dreamon")) as engine:
        assert costs(OpenGapServer(url, "nano-dreamon", None, {})) == costs(OpenGapFiller(engine, "", {}))


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/fim/completions"])
def test_the_length_of_a_gap(server: Server, path: str) -> None:
    body = {**WISH, "prompt": "def f(", "suffix": "):"}
    seven = server.client.post(path, {**body, "length": 7, "max_tokens": 20})
    assert text_of(seven) == text_of(server.client.post(path, {**body, "max_tokens": 7}))
    theirs = {**WISH, "input_prefix": "def f(", "input_suffix": "):", "length": 7}
    assert server.client.post("/infill", theirs).json["content"] == text_of(seven)


@pytest.mark.parametrize(
    ("more", "param"),
    [({"template": ["a", "b"]}, "template"), ({"template": []}, "template"), ({"template": "a"}, "template"),
     ({"template": [4] * 257}, "template"), ({"template": ["a", 0]}, "template[1]"),
     ({"template": ["a", [5, 2]]}, "template[1]"), ({"template": ["a", [1, 2, 3]]}, "template[1]"),
     ({"template": ["a", {}]}, "template[1]"), ({"template": ["a", 4], "prompt": "b"}, "prompt"),
     ({"template": ["a", 4], "suffix": "b"}, "suffix"), ({"template": ["a", 4], "model": "nano-ar"}, "template"),
     ({"template": ["a", 2**40]}, "template[1]"), ({}, "prompt"), ({"prompt": "a", "length": 4}, "length"),
     ({"prompt": "a", "suffix": "b", "length": [3]}, "length")],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_no_template_is_named(server: Server, more: dict[str, Any], param: str) -> None:
    answer = server.client.post("/v1/completions", {**WISH, **more})
    assert (answer.status, answer.error["param"]) == (400, param), answer.body


def test_a_gap_longer_than_the_canvas(server: Server) -> None:
    answer = fill(server, ["a", 600, "b"])
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")


def test_a_model_finds_the_length_of_a_gap(tmp_path: Path, tiny_model: TinyModel) -> None:
    """By every door: at least and at most as many tokens as its range says."""
    file = tiny_model("dream", with_expand=True, metadata={"general.name": "DreamOn, tiny"})
    entry = {"path": str(file.parent), "model": file.name, "stop": []}
    (tmp_path / "model_map.json").write_text(json.dumps({"elastic": entry}))
    server = Server(tmp_path)
    try:
        lengths = {
            door: found_lengths(server, door) for door in ("completions", "fim/completions", "infill", "template")
        }
    finally:
        server.close()
    assert all(2 <= n <= 9 for found in lengths.values() for n in found)
    assert all(len(found) > 2 for found in lengths.values())


def found_lengths(server: Server, door: str) -> set[int]:
    """Tokens that came to stand in a gap of two to nine, for some seeds."""
    expand, eos = (server.client.post("/tokenize", {"model": "elastic", "content": token, "parse_special": True}).json
                   ["tokens"][0] for token in ("<|expand|>", "<|endoftext|>"))  # fmt: skip
    body: dict[str, Any] = {"model": "elastic", "temperature": 1, "logit_bias": {expand: 4.0, eos: 3.0}}
    before, behind = ("input_prefix", "input_suffix") if door == "infill" else ("prompt", "suffix")
    gap = (
        {"template": ["def f(", [2, 9], "):"]}
        if door == "template"
        else {before: "def f(", behind: "):", "length": [2, 9]}
    )
    path = {"infill": "/infill", "template": "/v1/completions"}.get(door, f"/v1/{door}")
    answers = [server.client.post(path, {**body, **gap, "seed": seed}) for seed in range(10)]
    assert {answer.status for answer in answers} == {200}, answers[0].body
    told = [answer.json for answer in answers]
    return {one["tokens_predicted"] if door == "infill" else one["usage"]["completion_tokens"] for one in told}
