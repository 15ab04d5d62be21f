"""The engine with block models: answers, streams, stops, limits, turns of a chat, many at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hoshikage
from hoshikage.engine.engine import Engine
from hoshikage.errors import AmbiguousKindError, ContextOverflowError, ParameterError, UnsupportedModelError
from tests.conftest import TinyModel
from tests.forward import block_mask, forward
from tests.tiny import CHAT_TEMPLATE, MASK

LENGTH = 4
SAID: dict[str, Any] = {"kind": "block", "block_length": LENGTH, "mask_token": MASK}
QUIET: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1, "type_k": "f32", "type_v": "f32", "flash_attn": "off"}


@pytest.fixture(scope="module")
def path(tiny_model: TinyModel) -> Path:
    return tiny_model("qwen3", chat_template=CHAT_TEMPLATE, seed=11)


@pytest.fixture(scope="module")
def engine(path: Path) -> Iterator[Engine]:
    with hoshikage.load(path, **SAID, **QUIET) as engine:
        yield engine


def test_an_answer_and_what_it_took(engine: Engine) -> None:
    result = engine.generate("hello", max_tokens=11, algorithm="low_confidence")
    assert (result.stop_reason, result.counts.n_tokens) in {("length", 11), ("stop", result.counts.n_tokens)}
    assert result.how.startswith("low_confidence, denoising schedule, a model's blocks of 4")
    n_whole = (result.counts.n_prompt + result.counts.n_tokens - 1) // LENGTH  # each computed with what comes behind it
    assert result.counts.n_rows == LENGTH * (result.counts.n_passes + n_whole)
    assert len(result.canvas) == result.counts.n_prompt + 11
    assert engine.generate("hello", max_tokens=11, algorithm="low_confidence").tokens == result.tokens


def test_a_stream_says_what_the_whole_answer_says(engine: Engine) -> None:
    whole = engine.generate("one two", max_tokens=17, temperature=0.8, seed=5)
    parts = list(engine.generate("one two", max_tokens=17, temperature=0.8, seed=5, stream=True))
    assert "".join(part.delta for part in parts) == whole.text == parts[-1].result.text
    steps = [part.step for part in parts]
    assert steps == sorted(steps)


def test_many_at_once_are_as_alone(engine: Engine) -> None:
    prompts = ["a", "be", "see the", "12 12 12 12 12", "hello and hello"]
    options: dict[str, Any] = {"max_tokens": 13, "temperature": 0.5, "seed": 3}
    together = engine.generate(prompts, **options)
    assert [one.tokens for one in together] == [engine.generate(prompt, **options).tokens for prompt in prompts]


def test_the_next_turn_computes_rows_only_for_what_is_new(path: Path) -> None:
    with hoshikage.load(path, **SAID, **QUIET) as engine:
        messages = [{"role": "user", "content": "hello there, how are you this morning?"}]
        first = engine.chat(messages, max_tokens=24)
        ids = engine.chat_tokens(messages)
        more = [*ids, *first.tokens, 1, 2, 3]
        second = engine.generate(more, max_tokens=8)
    with hoshikage.load(path, **SAID, **QUIET) as engine:
        fresh = engine.generate(more, max_tokens=8)
    assert second.tokens == fresh.tokens
    saved = fresh.counts.n_rows - second.counts.n_rows
    assert len(ids) - LENGTH < saved <= len(more)
    assert saved >= (len(ids) + len(first.tokens)) // LENGTH * LENGTH - 2 * LENGTH


def test_it_ends_with_a_stop_string_and_with_the_end_of_text(engine: Engine) -> None:
    long = engine.generate("hello", max_tokens=40, seed=1, logit_bias={engine.model.eos_id: -100.0})
    assert long.counts.n_tokens == 40
    word = long.text[5:8]
    stopped = engine.generate("hello", max_tokens=40, stop=[word], logit_bias={engine.model.eos_id: -100.0})
    assert (stopped.stop_reason, stopped.text) == ("stop", long.text[: long.text.index(word)])
    assert stopped.counts.n_passes < long.counts.n_passes
    ended = engine.generate("hello", max_tokens=40, logit_bias={engine.model.eos_id: 100.0})
    assert (ended.stop_reason, ended.text) == ("stop", "")
    assert ended.counts.n_passes < long.counts.n_passes


def test_probabilities_are_told(engine: Engine) -> None:
    told = engine.generate("hello", max_tokens=6, logprobs=2, logit_bias={engine.model.eos_id: -100.0})
    assert len(told.logprobs) == 6
    assert all(token.logprob <= 0 and len(token.top) == 2 for token in told.logprobs)


def test_raw_logits_are_those_of_its_blocks(engine: Engine, path: Path) -> None:
    ids = np.arange(10, 25)
    expected = forward(path, ids, causal=False, allowed=block_mask(len(ids), LENGTH))
    assert np.max(np.abs(engine.logits(ids)[0] - expected)) <= 1e-4 * np.max(np.abs(expected))


def test_raw_logits_of_several_texts_keep_padding_out(engine: Engine) -> None:
    ids = np.arange(10, 34).reshape(2, 12)
    mask = np.ones(ids.shape, bool)
    mask[1, :3] = False
    told = engine.logits(ids, mask)
    assert np.array_equal(told[0], engine.logits(ids[0])[0])
    assert np.array_equal(told[1, 3:], engine.logits(ids[1, 3:])[0])
    assert np.isnan(told[1, :3]).all()
    for wrong in (mask[:1], mask[:, :5]):
        with pytest.raises(ParameterError, match="shape"):
            engine.logits(ids, wrong)
    mask[1, 6] = False
    with pytest.raises(ParameterError, match="hole"):
        engine.logits(ids, mask)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"sub_block": 3}, "does not divide"),
        ({"sub_block": 8}, "out of range"),
        ({"algorithm": "no such"}, "no such"),
        ({"threshold": 0}, "threshold"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"edit_threshold": 2}, "edit_threshold"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], cause: str, engine: Engine) -> None:
    with pytest.raises(ParameterError, match=cause):
        engine.generate("hello", **options)


def test_what_means_nothing_here_is_said(engine: Engine) -> None:
    warnings = engine.generate("hello", max_tokens=4, cfg_scale=2.0, plan="dual").warnings
    assert {"cfg_scale has no effect on a block model", "plan has no effect on a block model"} <= set(warnings)


def test_it_fills_no_gap_and_its_context_ends(engine: Engine, path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="block model reads from left to right"):
        engine.infill("a", "b")
    with pytest.raises(ParameterError, match="mask token"):
        engine.generate([1, engine.model.mask_id])
    with hoshikage.load(path, **SAID, **QUIET, n_ctx=30) as short:
        answer = short.generate(list(range(20)), max_tokens=100, logit_bias={short.model.eos_id: -100.0})
        assert answer.counts.n_tokens == 8  # of 30 positions 28 are whole blocks
        with pytest.raises(ContextOverflowError):
            short.generate(list(range(28)))


def test_an_ambiguous_file_asks(tiny_model: TinyModel) -> None:
    file = tiny_model("qwen3", mask_text="<|MASK|>")
    with pytest.raises(AmbiguousKindError, match="--kind block"):
        hoshikage.load(file, **QUIET)
    with hoshikage.load(file, kind="block", block_length=8, mask_token="<|MASK|>", **QUIET) as engine:
        assert engine.generate("hello", max_tokens=4).how.count("blocks of 8") == 1


def test_a_family_decodes_as_its_authors_do(tmp_path: Path, tiny_model: TinyModel) -> None:
    known = {
        "SDAR-1.7B-Chat": ("qwen3", "<|MASK|>", "threshold, denoising schedule, a model's blocks of 4, threshold 0.85"),
        "Fast_dLLM_v2_1.5B": (
            "qwen2", "|<MASK>|", "threshold, adaptive schedule, a model's blocks of 32, 8 at a time, threshold 0.9",
        ),
    }  # fmt: skip
    for name, (architecture, mask, how) in known.items():
        file = tmp_path / f"{name}.gguf"
        file.symlink_to(tiny_model(architecture, mask_text=mask))
        with hoshikage.load(file, **QUIET) as engine:
            assert engine.generate("hello", max_tokens=8).how == how


def test_a_causal_architecture_as_a_masked_model(tiny_model: TinyModel) -> None:
    """All that masked models can, with a cache: plans and gaps."""
    with hoshikage.load(tiny_model("qwen3"), kind="masked", mask_token=MASK, block_length=8, **QUIET) as engine:
        answer = engine.generate("hello", max_tokens=16, plan="dual", algorithm="threshold")
        assert "dual plan" in answer.how
        assert "blocks of 8" in answer.how
        gap = engine.infill("hello ", " world", length=5)
        assert gap.counts.n_tokens <= 5
