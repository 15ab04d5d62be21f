"""Diffusion models that follow a grammar: the oracle knows a grammar by its texts, and nothing of llama.cpp."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import hoshikage
from hoshikage import Board, Engine, jsonschema
from hoshikage._canvas import Canvas
from hoshikage._core import Session
from hoshikage._fake import FakeModel
from hoshikage._grammar import Grammar
from hoshikage.errors import NoTokenLeft, ParameterError
from hoshikage.strategies import make_form, make_rule, make_schedule
from hoshikage.strategies.grammar import Followed
from tests.conftest import TinyModel
from tests.tiny import CHAT_TEMPLATE, DIFFUSION, MASK

QUIET: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1, "type_k": "f32", "type_v": "f32", "flash_attn": "off"}
AS_BLOCKS: dict[str, Any] = {"kind": "block", "block_length": 4, "mask_token": MASK}
CLOSE_CALL = 1e-5  # decisions nearer than this may fall either way: a batch of another shape rounds differently
WORDS = ("the", "then", "hello", "hell", "and", "12", "123", "é", "日本", "日", "a\n")
LONGEST = 12
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "tags": {"type": "array", "items": {"type": "boolean"}}},
    "required": ["name", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=[*DIFFUSION, "qwen3"])
def engine(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Iterator[Engine]:
    said = AS_BLOCKS if request.param == "qwen3" else {}
    path = tiny_model(request.param, chat_template=CHAT_TEMPLATE, seed=5)
    with hoshikage.load(path, **said, **QUIET) as loaded:
        yield loaded


@pytest.fixture(scope="module", params=["nano-llada", "nano-dream", "nano-block"])
def nano(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with hoshikage.load(request.param, **QUIET) as loaded:
        yield loaded


def asked(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def grammar_of(words: Sequence[str]) -> str:
    return "root ::= " + " | ".join(json.dumps(word, ensure_ascii=False) for word in words)


class Oracle:
    """Decodes with the full canvas in every pass, and looks texts up in a list."""

    def __init__(self, engine: Engine, words: Sequence[str]) -> None:
        self.engine, self.model = engine, engine.model
        self.pieces = [self.model.piece(token) for token in range(self.model.n_vocab)]
        self.words = [word.encode() for word in words]
        self.closest = 1.0

    def allowed(self, text: bytes) -> NDArray[np.bool_]:
        """Which tokens may stand behind a text."""
        longer = [bool(piece) and any(w.startswith(text + piece) for w in self.words) for piece in self.pieces]
        for token in self.model.eog_ids:
            longer[token] = text in self.words
        return np.array(longer)

    def decode(self, prompt: Sequence[int], n: int, threshold: float) -> list[int]:
        written: list[int] = []
        while len(written) < n and not (written and written[-1] in self.model.eog_ids):
            written += self.one_pass(prompt, written, n, threshold)
        return written

    def one_pass(self, prompt: Sequence[int], written: Sequence[int], n: int, threshold: float) -> list[int]:
        """What this pass settles: up to the first that is not sure, or not the model's own choice."""
        canvas = [*prompt, *written, *[self.model.mask_id] * (n - len(written))]
        if self.model.block_length:
            canvas += [self.model.mask_id] * (-len(canvas) % self.model.block_length)
        rows = self.engine.logits([canvas])[0].astype(np.float64)
        rows[:, self.model.mask_id] = -np.inf
        new: list[int] = []
        start = len(prompt) + len(written)
        for row in rows[start - self.model.shift : self.end(start, len(prompt) + n) - self.model.shift]:
            text = b"".join(self.pieces[token] for token in [*written, *new])
            allowed = self.allowed(text)
            own = self.best(row)
            p = np.exp(row[own] - np.logaddexp.reduce(row))
            if new:
                self.closest = min(self.closest, abs(p - threshold))
            if new and (p < threshold or not allowed[own]):
                break
            new.append(own if allowed[own] else self.best(np.where(allowed, row, -np.inf)))
            if not allowed[own] or new[-1] in self.model.eog_ids:
                break
        return new

    def end(self, start: int, end: int) -> int:
        """A pass settles tokens of one block."""
        length = self.model.block_length
        return min(end, (start // length + 1) * length) if length else end

    def best(self, row: NDArray[np.float64]) -> int:
        second, first = np.sort(row)[-2:]
        self.closest = min(self.closest, first - second)
        return int(np.argmax(row))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6, unique=True),
    prompt=st.sampled_from(["hello", "the and the ", "12 12 12"]),
    n=st.integers(1, LONGEST),
    threshold=st.sampled_from([1.0, 0.02, 0.006, 0.001]),
)
def test_the_oracle_writes_the_same(engine: Engine, words: list[str], prompt: str, n: int, threshold: float) -> None:
    oracle = Oracle(engine, words)
    ids = engine.tokenize(prompt)
    expected = oracle.decode(ids, n, threshold)
    way: dict[str, Any] = {"algorithm": "in_order", "threshold": threshold, "schedule": "adaptive"}
    if threshold == 1.0:
        way = {"quality": "exact"}
    elif not engine.model.block_length:
        way["block_length"] = LONGEST
    result = engine.generate(ids, max_tokens=n, grammar=grammar_of(words), **way)
    if oracle.closest < CLOSE_CALL:
        pytest.skip(f"a decision is as near as {oracle.closest:.1e}")
    assert list(result.canvas[len(ids) : len(ids) + len(expected)]) == expected
    if result.stop_reason == "stop":
        assert result.text in words
    else:
        assert len(expected) == n


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    quality=st.sampled_from(["exact", "balanced", "fast"]),
    top_p=st.sampled_from([0.5, 1.0]),
)
def test_what_is_finished_keeps_to_the_schema(
    nano: Engine, seed: int, temperature: float, quality: str, top_p: float
) -> None:
    options: dict[str, Any] = {"seed": seed, "temperature": temperature, "quality": quality, "top_p": top_p}
    result = nano.chat(asked("Who is it?"), max_tokens=96, grammar=jsonschema.grammar_of(PERSON), **options)
    if result.stop_reason == "length":
        with pytest.raises(json.JSONDecodeError):
            json.loads(result.text)  # it has no end yet
        return
    person = json.loads(result.text)
    assert person.keys() == {"name", "tags"} and len(person["name"]) <= 6
    assert all(tag in (True, False) for tag in person["tags"])


@pytest.mark.parametrize("plan", ["full", "prefix", "window", "dual", "vicinity"])
def test_every_plan_finishes_a_text(plan: str) -> None:
    """Also where the end may only be written in a warm pass."""
    with hoshikage.load("nano-llada", **QUIET) as llada:
        result = llada.chat(
            asked("Who is it?"), max_tokens=60, plan=plan, grammar=grammar_of(["Leo is it", "Ann"]), quality="fast"
        )
        assert result.stop_reason == "stop" and result.text in ("Leo is it", "Ann")


def test_streams_and_neighbours_change_nothing(nano: Engine) -> None:
    grammar = jsonschema.grammar_of(PERSON)
    options: dict[str, Any] = {"max_tokens": 64, "seed": 3, "temperature": 0.8, "quality": "exact"}
    whole = nano.generate("A person: ", grammar=grammar, **options)
    parts = list(nano.generate("A person: ", grammar=grammar, stream=True, **options))
    assert "".join(part.delta for part in parts) == whole.text
    prompts = ["A person: ", "Somebody else as JSON: "]
    together = nano.generate(prompts, grammar=grammar, **options)
    assert [one.text for one in together] == [nano.generate(p, grammar=grammar, **options).text for p in prompts]


def test_logprobs_are_the_models_own(nano: Engine) -> None:
    """A token that the grammar chose may be as unlikely as it was."""
    result = nano.chat(asked("What is 12+35?"), grammar='root ::= "@#@#"', logprobs=2, quality="exact")
    assert result.text == "@#@#"
    assert min(token.logprob for token in result.logprobs) < -3
    assert all(token.logprob <= token.top[0][2] + 1e-6 for token in result.logprobs)


def test_other_orders_become_this_one(nano: Engine) -> None:
    result = nano.chat(asked("hello"), grammar='root ::= "yes"', algorithm="entropy", alg_temp=0.5, max_tokens=16)
    assert result.text == "yes"
    assert [w for w in result.warnings if "became in_order" in w] and [w for w in result.warnings if "alg_temp" in w]
    with pytest.raises(ParameterError, match="grammar"):
        nano.chat(asked("hello"), grammar="root ::= (")
    if not nano.model.block_length:
        with pytest.raises(ParameterError, match="in_order"):
            nano.chat(asked("hello"), grammar='root ::= "yes"', algorithm="entropy", strict=True)
        with pytest.raises(ParameterError, match="gap"):
            nano.infill("a", "b", grammar='root ::= "yes"')


WAYS = pytest.mark.parametrize(
    "way",
    [{"quality": "exact"}, {"quality": "balanced"}, {"quality": "fast"}, {"block_ends": "adaptive"}],
    ids=str,
)


@WAYS
def test_no_order_is_drawn_where_a_form_is_followed(nano: Engine, way: dict[str, Any]) -> None:
    result = nano.generate("a", grammar='root ::= "yes"', alg_temp=0.5, max_tokens=16, **way)
    assert result.text == "yes" and [w for w in result.warnings if "alg_temp" in w]


@WAYS
def test_a_dead_end_fails_alone(nano: Engine, way: dict[str, Any]) -> None:
    """The end is forbidden, and nothing else may stand there. A neighbour's passes are those that it takes alone."""
    never = dict.fromkeys(nano.model.eog_ids, -math.inf)
    with pytest.raises(NoTokenLeft, match="forbid every token"):
        nano.generate("a", grammar='root ::= "yes"', logit_bias=never, max_tokens=16)
    ids = nano.chat_tokens(asked("What is 12+35?"))  # no two tokens of its answer are equally likely
    neighbour = {"max_tokens": 40, "early_stop": False, "seed": 1, **way}
    if nano.model.block_length:
        neighbour = {"max_tokens": 40, "seed": 1}
    alone = nano.generate(ids, **neighbour)
    for doomed in ('root ::= ""', 'root ::= "a"', 'root ::= "ab"'):
        desk = nano.desk(n_expected=2)
        desk.join(nano.answer(0, ids, {"grammar": doomed, "logit_bias": never, "max_tokens": 40}))
        desk.join(nano.answer(1, ids, neighbour))
        news = {}
        while desk.busy:
            news |= {item.answer.index: item for item in desk.step(Board())}
        assert isinstance(news[0].error, NoTokenLeft)
        result = news[1].result
        assert result is not None and (result.tokens, result.counts.n_passes, result.counts.n_warm) == (
            alone.tokens, alone.counts.n_passes, alone.counts.n_warm,
        )  # fmt: skip


def test_a_form_is_followed_by_one_canvas_of_its_own_model(nano: Engine) -> None:
    form = make_form(nano.model, 'root ::= "yes"')
    canvas: dict[str, Any] = {"mask_id": 1, "rule": make_rule("in_order"), "schedule": make_schedule("adaptive")}
    one = Canvas([1], steps=1, form=form, **canvas)
    with pytest.raises(ParameterError, match="another canvas"):
        Canvas([1], steps=1, form=form, **canvas)
    with pytest.raises(RuntimeError, match="making failed"):
        Followed(Grammar.__new__(Grammar))
    other = Session(FakeModel(nano.model.n_vocab), n_ctx=8)
    with other, pytest.raises(ParameterError, match="another model"):
        other.add(one)


def test_a_canvas_refuses_a_rule_of_another_order(nano: Engine) -> None:
    form = make_form(nano.model, 'root ::= "yes"')
    canvas: dict[str, Any] = {"mask_id": 1, "schedule": make_schedule("adaptive"), "steps": 1, "form": form}
    with pytest.raises(ParameterError, match="left to right"):
        Canvas([1], rule=make_rule("entropy"), **canvas)
    Canvas([1], rule=make_rule("in_order"), **canvas)
