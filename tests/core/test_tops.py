"""What else was likely: the alternatives of every token, and what a model thinks of its prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hoshikage._causal import Sampler, Stream
from hoshikage._core import Session
from hoshikage._fake import FakeModel
from hoshikage.errors import ParameterError
from tests.conftest import TinyModel
from tests.engine import make_canvas
from tests.fake import fake_logits
from tests.forward import forward
from tests.streams import alone, finish, open_session, random_ids

N_VOCAB = 40
CLOSE = 1e-5


@pytest.fixture(scope="module")
def llama(tiny_model: TinyModel) -> Path:
    return tiny_model("llama")


def logprobs_of(row: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = row.astype(np.float64)
    gaps = wide - wide.max()
    logprobs: NDArray[np.float64] = gaps - np.log(np.exp(gaps).sum())
    return logprobs


def assert_likeliest(found: list[tuple[int, float]], logprobs: NDArray[np.float64], k: int, close: float) -> None:
    order = np.argsort(-logprobs, kind="stable")[:k]
    assert np.allclose([logprob for _, logprob in found], logprobs[order], atol=close)
    # A tie may be read either way.
    assert np.allclose(logprobs[[token for token, _ in found]], logprobs[order], atol=close)


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.sampled_from([0.0, 1.0]),
    st.booleans(),
    st.sampled_from(["low_confidence", "joint_threshold"]),
)
def test_a_canvas_keeps_those_of_the_step_that_settled(
    salt: int, k: int, temperature: float, shift: bool, algorithm: str
) -> None:
    """Or that wrote another token over one that was settled before."""
    model = FakeModel(N_VOCAB, salt=salt)
    options = {
        "algorithm": algorithm,
        "schedule": "block",
        "steps": 3,
        "shift": shift,
        "temperature": temperature,
    }
    canvas = make_canvas([1, 2, *[model.mask_id] * 7], model.mask_id, n_top=k, **options)
    assert canvas.top(2) == []
    with Session(model, n_ctx=64) as session:
        session.add(canvas)
        while not canvas.done:
            before, step = canvas.tokens, canvas.step
            session.step()
            rows = fake_logits(before, N_VOCAB, salt)
            rows[:, model.mask_id] = -np.inf
            for position in np.flatnonzero(np.array(canvas.settled_at) == step):
                logprobs = logprobs_of(rows[position - shift])
                assert_likeliest(canvas.top(int(position)), logprobs, k, CLOSE)
                assert np.log(canvas.confidence[position]) == pytest.approx(
                    logprobs[canvas.tokens[position]], abs=CLOSE
                )


def test_fewer_where_fewer_are_possible() -> None:
    model = FakeModel(N_VOCAB)
    canvas = make_canvas([model.mask_id], model.mask_id, n_top=3, algorithm="low_confidence", schedule="block", steps=1,
                         logit_bias=dict.fromkeys(range(N_VOCAB - 2), -np.inf))  # fmt: skip
    with Session(model, n_ctx=64) as session:
        session.add(canvas)
        session.run()
    assert len(canvas.top(0)) == len({*range(N_VOCAB - 2, N_VOCAB)} - {model.mask_id})


@pytest.mark.parametrize("n_rows", [0, 5, 64])
@pytest.mark.parametrize("n_batch", [0, 4])
def test_a_prompt_is_judged_in_whatever_parts_it_is_read(llama: Path, n_rows: int, n_batch: int) -> None:
    prompt = random_ids(8, 37)
    logprobs = np.array([logprobs_of(row) for row in forward(llama, prompt)])
    with open_session(llama, n_seq=3, n_rows=n_rows, n_batch=n_batch, n_threads=2) as session:
        other = Stream(random_ids(9, 12), max_tokens=20, stop_ids=[])
        stream = Stream(prompt, max_tokens=4, stop_ids=[], n_top=3, score_prompt=True)
        finish(session, other, stream)
    assert stream.tokens == alone(llama, prompt, 4)
    assert other.tokens == alone(llama, other.prompt, 20)
    assert np.isnan(stream.prompt_logprobs[0]) and stream.top(-len(prompt)) == []
    wanted = [logprobs[i - 1, prompt[i]] for i in range(1, len(prompt))]
    assert np.abs(np.subtract(stream.prompt_logprobs[1:], wanted)).max() < 1e-3
    for i in range(1, len(prompt) + 1):  # the last place is that of the first written token
        assert_likeliest(stream.top(i - len(prompt)), logprobs[i - 1], 3, 1e-3)


def test_what_is_cached_of_a_prompt_was_not_read(llama: Path) -> None:
    prompt = random_ids(8, 37)
    with open_session(llama, n_seq=2) as session:
        streams = [Stream(prompt, max_tokens=2, stop_ids=[], score_prompt=scored) for scored in (False, True, False)]
        for stream in streams:
            finish(session, stream)
    assert [stream.n_prompt_computed for stream in streams] == [37, 37, 1]
    assert streams[0].prompt_logprobs == pytest.approx([np.nan], nan_ok=True)
    assert np.isfinite(streams[1].prompt_logprobs[1:]).all() and len(streams[1].prompt_logprobs) == 37


def test_a_stream_that_left_while_its_prompt_was_read_goes_on_there(llama: Path) -> None:
    prompt = random_ids(8, 37)
    wanted = Stream(prompt, max_tokens=2, stop_ids=[], score_prompt=True)
    parted = Stream(prompt, max_tokens=2, stop_ids=[], score_prompt=True, sampler=Sampler())
    with open_session(llama) as session:
        finish(session, wanted)
    for _ in range(2):
        with open_session(llama, n_batch=10) as session:
            session.add(parted)
            session.step()
            session.remove(parted)
    with open_session(llama) as session:
        finish(session, parted)
    assert np.allclose(parted.prompt_logprobs, wanted.prompt_logprobs, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("n_top", [-1, 65, 1.5])
def test_too_many_are_refused(n_top: int) -> None:
    with pytest.raises(ParameterError) as refused:
        Stream([1], n_top=n_top)
    assert refused.value.name == "n_top"
