"""What results say of probabilities: the same that the raw logits say."""

from __future__ import annotations

import numpy as np
import pytest

import hoshikage
from hoshikage.engine.result import Token
from hoshikage.errors import ParameterError
from tests.conftest import TinyModel

CLOSE = 2e-3  # a batch of other shape moves logits a little
EXACT = {"n_threads": 1, "n_threads_batch": 1, "flash_attn": "off", "type_k": "f32", "type_v": "f32"}


def logprobs_of(engine: hoshikage.Engine, ids: list[int]) -> np.ndarray:
    rows = engine.logits([ids])[0].astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def assert_judged(token: Token, logprobs: np.ndarray, n_top: int) -> None:
    assert token.logprob == pytest.approx(logprobs[token.id], abs=CLOSE)
    assert len(token.top) == n_top
    best = np.sort(logprobs)[::-1][:n_top]
    assert [logprob for _, _, logprob in token.top] == pytest.approx(list(best), abs=CLOSE)
    assert [logprobs[other] for other, _, _ in token.top] == pytest.approx(list(best), abs=CLOSE)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_of_an_autoregressive_answer_and_its_prompt(tiny_model: TinyModel, temperature: float) -> None:
    with hoshikage.load(tiny_model("llama"), **EXACT) as engine:
        prompt = engine.prompt_tokens("Abracadabra")
        how = {"max_tokens": 6, "temperature": temperature, "seed": 1, "logprobs": 3, "prompt_logprobs": 2}
        plain = engine.generate(prompt, max_tokens=6, temperature=temperature, seed=1)
        result, short = engine.generate([prompt, prompt[:3]], **how)
        assert result.tokens == plain.tokens and plain.logprobs == plain.prompt_logprobs == ()
        assert [token.id for token in result.logprobs] == list(result.tokens)
        assert [token.id for token in result.prompt_logprobs] == prompt
        assert len(short.prompt_logprobs) == 3
        logprobs = logprobs_of(engine, [*prompt, *result.tokens])
    first, *rest = [*result.prompt_logprobs, *result.logprobs]
    assert np.isnan(first.logprob) and first.top == ()
    for i, token in enumerate(rest):
        assert_judged(token, logprobs[i], 2 if i + 1 < len(prompt) else 3)


def test_of_a_canvas_at_the_step_that_settled(tiny_model: TinyModel) -> None:
    with hoshikage.load(tiny_model("llada"), **EXACT) as engine:
        prompt = engine.prompt_tokens("Abra")
        result = engine.generate(prompt, max_tokens=4, quality="exact", block_length=1, logprobs=2, early_stop=False)
        for i, token in enumerate(result.logprobs):
            masks = [engine.model.mask_id] * (4 - i)
            logprobs = logprobs_of(engine, [*prompt, *result.tokens[:i], *masks])[len(prompt) + i]
            logprobs[engine.model.mask_id] = -np.inf  # it is never written, and what is left adds up to 1
            logprobs -= np.log(np.exp(logprobs).sum())
            assert_judged(token, logprobs, 2)
    assert len(result.logprobs) == len(result.tokens) > 0


@pytest.mark.parametrize("given", [{"logprobs": 21}, {"logprobs": -1}, {"prompt_logprobs": 21}, {"logprobs": True}])
def test_what_is_no_number_of_alternatives(tiny_model: TinyModel, given: dict[str, int]) -> None:
    with hoshikage.load(tiny_model("llama"), **EXACT) as engine, pytest.raises(ParameterError) as refused:
        engine.generate("a", **given)
    assert refused.value.name == next(iter(given))


def test_a_diffusion_model_has_no_opinion_of_its_prompt(tiny_model: TinyModel) -> None:
    with hoshikage.load(tiny_model("llada"), **EXACT) as engine:
        result = engine.generate("a", max_tokens=2, prompt_logprobs=1)
    assert any("prompt_logprobs" in warning for warning in result.warnings) and not result.prompt_logprobs
