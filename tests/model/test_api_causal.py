"""The Python API on tiny autoregressive models: the same calls, llama.cpp's samplers, a cache that is used again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import hoshikage
from hoshikage import Board, Engine
from hoshikage.engine import causal, sizes
from hoshikage.engine.result import Result
from hoshikage.errors import ContextOverflowError, NoTokenLeft, ParameterError, UnsupportedModelError
from tests.conftest import TinyModel
from tests.tiny import CAUSAL, CHAT_TEMPLATE

EXACT: dict[str, Any] = {"flash_attn": "off", "type_k": "f32", "type_v": "f32", "n_threads": 1, "n_gpu_layers": 0}
GREEDY: dict[str, Any] = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0}
BAN = -float("inf")
CLOSE_CALL = 1e-4  # logits nearer than this may change places in a batch of another shape
PROMPT = "hello and the "


@pytest.fixture(scope="module", params=CAUSAL)
def engine(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Iterator[Engine]:
    with hoshikage.load(tiny_model(request.param, chat_template=CHAT_TEMPLATE), **EXACT, **GREEDY) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def llama(tiny_model: TinyModel) -> Iterator[Engine]:
    with hoshikage.load(tiny_model("llama", chat_template=CHAT_TEMPLATE), **EXACT, **GREEDY) as loaded:
        yield loaded


def same(left: Result, right: Result) -> bool:
    return (left.text, left.tokens, left.stop_reason) == (right.text, right.tokens, right.stop_reason)


def greedy(engine: Engine, ids: list[int], n: int) -> tuple[list[int], float]:
    """The likeliest tokens one after the other by the raw logits, and the narrowest decision among them."""
    tokens, narrowest = list(ids), np.inf
    for _ in range(n):
        row = engine.logits([tokens])[0, -1]
        best = int(row.argmax())
        narrowest = min(narrowest, float(row[best] - np.partition(row, -2)[-2]))
        if best in engine.model.eog_ids:
            break
        tokens.append(best)
    return tokens[len(ids) :], narrowest


def ids_of(engine: Engine, text: str) -> list[int]:
    return [engine.model.bos_id] * engine.model.add_bos + engine.tokenize(text)


def test_at_temperature_0_the_likeliest_token_is_written(engine: Engine) -> None:
    expected, narrowest = greedy(engine, ids_of(engine, PROMPT), 12)
    if narrowest < CLOSE_CALL:
        pytest.skip(f"two logits are as near as {narrowest:.1e}")
    alone = engine.generate(PROMPT, max_tokens=12)
    assert list(alone.tokens) == expected
    side_by_side = engine.generate([PROMPT, "12", PROMPT], max_tokens=12)
    assert same(side_by_side[0], alone)
    assert same(side_by_side[2], alone)
    for certain in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}):
        assert same(engine.generate(PROMPT, max_tokens=12, temperature=3.0, **certain), alone)


def test_a_stream_says_what_the_result_says(engine: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 16, "temperature": 1.5, "seed": 4, "stop": ["q", "zz"]}
    snapshots = list(engine.generate(PROMPT, stream=True, **options))
    last = snapshots[-1].result
    assert last is not None
    assert "".join(snapshot.delta for snapshot in snapshots) == last.text
    assert [snapshot.step for snapshot in snapshots] == list(range(1, len(snapshots) + 1))
    assert same(engine.generate(PROMPT, **options), last)


def test_a_drawn_text_is_cut_at_its_stop_string_and_only_there(llama: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 40, "temperature": 1.0, "seed": 2, "logit_bias": {297: BAN, 298: BAN}}
    whole = llama.generate(PROMPT, **options)
    assert (whole.stop_reason, len(whole.tokens), whole.counts.n_passes) == ("length", 40, 40)
    middle = whole.text[len(whole.text) // 2 : len(whole.text) // 2 + 2]
    cut = llama.generate(PROMPT, stop=[middle], **options)
    assert cut.stop_reason == "stop"
    assert cut.text == whole.text[: whole.text.index(middle)]
    assert cut.counts.n_passes < 40


def test_what_the_cache_holds_is_not_computed_again(llama: Engine) -> None:
    prompt = ids_of(llama, "the hello and the hello 12 " * 3)
    first = llama.generate(prompt, max_tokens=4)
    assert first.counts.n_rows >= len(prompt) - 1
    again = llama.generate(prompt, max_tokens=4)
    assert same(again, first)
    assert again.counts.n_rows == 4  # the prompt's last token, and those written but the last
    turn = llama.generate([*prompt, *first.tokens, 5, 6], max_tokens=4)
    assert turn.counts.n_rows <= 7


def test_a_grammar_is_followed_and_a_bad_one_refused(llama: Engine) -> None:
    result = llama.generate(PROMPT, max_tokens=20, grammar='root ::= "the" | "and"', temperature=1.0, seed=1)
    assert result.text in ("the", "and")
    assert result.stop_reason == "stop"
    with pytest.raises(ParameterError, match="grammar"):
        llama.generate(PROMPT, grammar="root ::= (")


def test_a_chat_is_the_models_own_template(engine: Engine) -> None:
    message = {"role": "user", "content": "the <|eot_id|> is plain"}
    ids = engine.chat_tokens([message])
    assert ids.count(engine.model.bos_id) == int(engine.model.add_bos)
    assert ids.count(engine.model.eot_id) == 1
    assert same(engine.chat([message], max_tokens=6), engine.generate(ids, max_tokens=6))


def test_the_end_of_the_context_is_a_length(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError):
        engine.generate([5] * engine.n_ctx)
    last = engine.generate([5] * (engine.n_ctx - 2), max_tokens=50, logit_bias={297: BAN, 298: BAN})
    assert (last.stop_reason, len(last.tokens)) == ("length", 2)
    assert "max_tokens 50 became 2" in last.warnings[0]


def test_a_cancelled_answer_keeps_what_was_written(llama: Engine) -> None:
    board = Board()
    snapshots = []
    for snapshot in llama.generate(
        [PROMPT, "12"], max_tokens=100, stream=True, board=board, logit_bias={297: BAN, 298: BAN}
    ):
        snapshots.append(snapshot)
        if snapshot.step == 9:
            board.cancel()
    results = [snapshot.result for snapshot in snapshots if snapshot.result is not None]
    assert [result.stop_reason for result in results] == ["cancelled", "cancelled"]
    assert all(8 <= len(result.tokens) <= 9 for result in results)
    assert len(llama.generate(PROMPT, max_tokens=3).tokens) <= 3


def test_what_has_no_effect_or_no_sense_is_said(llama: Engine) -> None:
    assert llama.generate(PROMPT, max_tokens=2, steps=5).warnings == ("steps has no effect on a causal model",)
    with pytest.raises(UnsupportedModelError, match="cannot fill a gap"):
        llama.infill("a", "b")
    with pytest.raises(ParameterError, match="it is empty"):
        llama.generate([[]])
    with pytest.raises(NoTokenLeft, match="every token is forbidden"):
        llama.generate(PROMPT, logit_bias=dict.fromkeys(range(llama.model.n_vocab), BAN))
    assert len(llama.generate(PROMPT, max_tokens=3).tokens) <= 3


def test_every_option_is_taken(llama: Engine) -> None:
    options: dict[str, Any] = {
        "temperature": 0.9, "top_k": 50, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.95, "seed": -5,
        "repetition_penalty": 1.1, "frequency_penalty": 0.1, "presence_penalty": 0.1, "repeat_last_n": -1,
        "dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 1, "dry_penalty_last_n": 50,
        "dry_sequence_breakers": ["\n"], "xtc_probability": 0.3, "xtc_threshold": 0.05, "logit_bias": {5: 1.0},
    }  # fmt: skip
    first = llama.generate(PROMPT, max_tokens=8, **options)
    assert first.warnings == ()
    assert same(llama.generate(PROMPT, max_tokens=8, **options), first)
    for version in (1, 2):
        steady = llama.generate(
            PROMPT, max_tokens=8, temperature=0.9, seed=1, mirostat=version, mirostat_tau=4.0, mirostat_eta=0.2
        )
        assert len(steady.tokens) <= 8


def test_answers_without_room_side_by_side_take_turns(llama: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets room for a share of its tokens first; who needs more than there is waits, and goes on."""
    prompts = [[*range(3 + i, 40 + i)] for i in range(3)]
    options: dict[str, Any] = {"max_tokens": 150, "temperature": 1.0, "seed": 2, "logit_bias": {297: BAN, 298: BAN}}
    expected = [llama.generate(prompt, **options) for prompt in prompts]
    monkeypatch.setitem(causal.SHARES, "causal", 8)
    monkeypatch.setattr(sizes, "SHORT_CELLS", 0)
    monkeypatch.setitem(causal.SHARED_CELLS, "causal", 1)
    found = llama.generate(prompts, **options)
    assert [list(one.tokens) for one in found] == [list(one.tokens) for one in expected]
    assert [one.stop_reason for one in found] == ["length"] * 3
