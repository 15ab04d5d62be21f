"""Streams on tiny models: what NumPy would write, whatever is batched, cut into parts or found in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage._causal import Sampler, Stream
from hoshikage.errors import ParameterError
from tests.conftest import TinyModel
from tests.streams import NEAR_TIE, alone, best_tokens, finish, open_session, random_ids, write
from tests.tiny import CAUSAL
from tests.tiny.mamba import write_mamba

MIXED: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0, "seed": 1},
    {"temperature": 0.7, "seed": 2, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
    {"temperature": 1.2, "seed": 3, "repetition_penalty": 1.3, "dry_multiplier": 0.8},
    {"temperature": 1.0, "seed": 4, "mirostat": 2},
    {"grammar": "root ::= [0-9a-f]+", "temperature": 0.9, "seed": 5},
]


@pytest.fixture(scope="module")
def llama(tiny_model: TinyModel) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mamba(tmp_path_factory.mktemp("mamba") / "mamba.gguf")


@pytest.mark.parametrize("length", [1, 9, 70])
@pytest.mark.parametrize("architecture", CAUSAL)
def test_greedy_equals_an_argmax_loop(architecture: str, length: int, tiny_model: TinyModel) -> None:
    path, prompt = tiny_model(architecture), random_ids(length, length)
    tokens, logprobs, margin = best_tokens(path, prompt, 20)
    assert margin > NEAR_TIE, "choose another prompt: this one meets a near-tie"
    with open_session(path) as session:
        stream = write(session, prompt, 20)
    assert stream.tokens == tokens
    assert np.abs(np.subtract(stream.logprobs, logprobs)).max() < 1e-3
    assert (stream.stop_reason, stream.n_passes, stream.n_prompt_computed) == ("length", 20, length)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_batched_equals_alone(architecture: str, tiny_model: TinyModel) -> None:
    """Streams of all kinds, each a step later than the one before, among them a prompt that needs many passes."""
    path = tiny_model(architecture)
    prompts = [random_ids(10 + k, length) for k, length in enumerate((5, 40, 1, 90, 17, 3))]
    streams = [
        Stream(prompt, max_tokens=16, sampler=Sampler(**kind), stop_ids=[])
        for prompt, kind in zip(prompts, MIXED, strict=True)
    ]
    with open_session(path, n_ctx=1024, n_seq=6, n_batch=16, n_threads=2) as session:
        for stream in streams:
            session.add(stream)
            session.step()
        finish(session, *streams)
    for stream, prompt, kind in zip(streams, prompts, MIXED, strict=True):
        assert stream.tokens == alone(path, prompt, 16, **kind), kind


@pytest.mark.parametrize("n_batch", [1, 7, 64])
def test_a_prompt_in_parts_is_the_same_prompt(llama: Path, n_batch: int) -> None:
    prompt = random_ids(3, 65)
    with open_session(llama, n_batch=n_batch) as session:
        stream = write(session, prompt)
    assert stream.tokens == alone(llama, prompt)
    assert stream.n_passes == -(-65 // n_batch) + 7


def test_a_long_prompt_does_not_hold_up_the_others(llama: Path) -> None:
    with open_session(llama, n_seq=3, n_batch=8) as session:
        writer = Stream(random_ids(1, 4), max_tokens=60, stop_ids=[])
        session.add(writer)
        session.step()
        long, short = Stream(random_ids(2, 200), max_tokens=1), Stream(random_ids(3, 6), max_tokens=1)
        for stream in (long, short):
            session.add(stream)
        for step in range(20):
            session.step()
            assert writer.n_tokens == step + 2
        assert short.done and not long.done


# -- what the cache holds


def test_the_next_turn_computes_only_what_is_new(llama: Path) -> None:
    prompt = random_ids(4, 50)
    with open_session(llama) as session:
        first = write(session, prompt)
        turn = [*prompt, *first.tokens, *random_ids(5, 9)]
        second = write(session, turn)
        again = write(session, turn)
        other = write(session, [*prompt[:20], 7, 7])
    # The last token that a stream writes is never put in, and of a prompt the last one is always computed.
    assert (second.n_prompt_computed, again.n_prompt_computed, other.n_prompt_computed) == (10, 1, 2)
    assert first.tokens == alone(llama, prompt)
    assert second.tokens == again.tokens == alone(llama, turn)
    assert other.tokens == alone(llama, [*prompt[:20], 7, 7])


def test_streams_at_work_share_what_they_have_in_common(llama: Path) -> None:
    prompt = random_ids(6, 60)
    with open_session(llama, n_seq=3) as session:
        first = Stream(prompt, max_tokens=30, stop_ids=[])
        session.add(first)
        session.step()
        more = [Stream([*prompt, *tail], max_tokens=10, stop_ids=[]) for tail in ([1, 2, 3], [4])]
        finish(session, first, *more)
    assert [stream.n_prompt_computed for stream in more] == [3, 1]
    for stream in (first, *more):
        assert stream.tokens == alone(llama, stream.prompt, stream.n_tokens)


def test_a_conversation_is_kept_while_another_sequence_is_free(llama: Path) -> None:
    """A prompt that shares a beginning takes a copy of it, and leaves the longer text as it is."""
    opening, one = random_ids(7, 20), random_ids(8, 40)
    with open_session(llama, n_seq=2) as session:
        write(session, [*opening, *one])
        assert write(session, [*opening, 1, 2]).n_prompt_computed == 2
        assert write(session, [*opening, *one, 3]).n_prompt_computed == 1


def test_the_oldest_makes_way_when_cells_are_short(llama: Path) -> None:
    prompts = [random_ids(20 + k, 100) for k in range(3)]
    with open_session(llama, n_ctx=256, n_seq=3) as session:
        for prompt in prompts:
            assert write(session, prompt).tokens == alone(llama, prompt)
        assert [write(session, [*p, 5], 1).n_prompt_computed for p in (prompts[2], prompts[1])] == [1, 1]
        assert write(session, [*prompts[0], 5], 1).n_prompt_computed == 101
        session.forget()
        assert write(session, [*prompts[0], 5], 1).n_prompt_computed == 101


def test_a_state_is_used_again_only_whole(mamba: Path) -> None:
    prompt = random_ids(9, 30)
    with open_session(mamba, n_seq=2) as session:
        first = write(session, prompt)
        turn = [*prompt, *first.tokens, 4, 5]
        second = write(session, turn)
        back = write(session, [*prompt, 9])
    assert (second.n_prompt_computed, back.n_prompt_computed) == (3, 31)
    assert second.tokens == alone(mamba, turn)
    assert back.tokens == alone(mamba, [*prompt, 9])


PROMPTS = st.lists(st.sampled_from([10, 11, 12]), min_size=1, max_size=24)


@pytest.mark.parametrize("architecture", ["llama", "mamba"])
def test_no_coming_and_going_changes_what_is_written(architecture: str, llama: Path, mamba: Path) -> None:
    """Prompts over three letters, so that beginnings are shared; some streams leave early, some come back."""
    path = llama if architecture == "llama" else mamba
    expected: dict[tuple[int, ...], list[int]] = {}

    @settings(max_examples=30)
    @given(st.lists(st.tuples(PROMPTS, st.integers(1, 6), st.integers(0, 9), st.booleans()), min_size=1, max_size=8))
    def check(plan: list[tuple[list[int], int, int, bool]]) -> None:
        everyone, left = [], []
        with open_session(path, n_ctx=256, n_seq=3, n_batch=5) as session:
            for prompt, n_tokens, n_steps, leaves in plan:
                stream = Stream(prompt, max_tokens=n_tokens, stop_ids=[])
                while not session.has_room(stream):
                    session.run()
                session.add(stream)
                everyone.append(stream)
                session.run(max_steps=n_steps) if n_steps else None
                if leaves and not stream.done:
                    session.remove(stream)
                    left.append(stream)
            while session.streams:
                session.run()
            finish(session, *left)
        for stream in everyone:
            if tuple(stream.prompt) not in expected:
                expected[tuple(stream.prompt)] = alone(path, stream.prompt, 6)
            assert stream.tokens == expected[tuple(stream.prompt)][: stream.max_tokens]
            assert stream in left or 1 <= stream.n_prompt_computed <= stream.n_prompt

    check()


# -- ends


def test_the_end_of_the_context_ends_a_stream(llama: Path) -> None:
    for length, n_tokens in ((250, 7), (256, 1)):
        with open_session(llama, n_ctx=256) as session:
            stream = Stream(random_ids(11, length), stop_ids=[])
            finish(session, stream)
        assert (stream.n_tokens, stream.stop_reason) == (n_tokens, "length")


def test_stop_ids_end_a_stream_and_belong_to_it(llama: Path) -> None:
    prompt = random_ids(12, 10)
    tokens = alone(llama, prompt, 12)
    at = next(k for k in range(3, 12) if tokens[k] not in tokens[:k])
    with open_session(llama) as session:
        stream = Stream(prompt, max_tokens=12, stop_ids=[tokens[at], 5])
        finish(session, stream)
    assert (stream.tokens, stream.stop_reason) == (tokens[: at + 1], "stop")


@pytest.mark.parametrize("eog", ["eos_id", "eot_id"])
def test_the_models_own_ends_are_the_default(llama: Path, eog: str) -> None:
    with open_session(llama) as session:
        token = getattr(session.context.model, eog)
        stream = Stream(random_ids(13, 10), max_tokens=5, sampler=Sampler(logit_bias={token: 1e3}))
        finish(session, stream)
        assert (stream.tokens, stream.stop_reason) == ([token], "stop")


@pytest.mark.parametrize("settings", MIXED)
@pytest.mark.parametrize("crowded", [False, True])
def test_a_stream_with_a_share_pauses_and_writes_the_same(llama: Path, settings: dict[str, Any], crowded: bool) -> None:
    """Wherever it is paused, and whoever takes its place meanwhile; its sampler goes on from where it was."""
    prompt = random_ids(3, 30)
    with open_session(llama) as session:
        expected = Stream(prompt, max_tokens=40, sampler=Sampler(**settings), stop_ids=[])
        finish(session, expected)
    with open_session(llama, n_ctx=256) as session:
        stream = Stream(prompt, max_tokens=40, sampler=Sampler(**settings), stop_ids=[], share=3)
        shares = [stream.share]
        while not stream.done:
            if stream.paused and crowded:
                session.forget()
                write(session, random_ids(len(shares), 200), 9)
            session.add(stream)
            while not (stream.done or stream.paused):
                session.run()
            assert stream not in session.streams
            shares.append(stream.share)
        assert stream.tokens == expected.tokens and stream.stop_reason == expected.stop_reason
        assert shares == [3, 6, 12, 24, 40, 40] or expected.stop_reason != "length"


def test_a_share_has_an_end_and_fits_where_all_would_not(llama: Path) -> None:
    with pytest.raises(ParameterError):
        Stream([1], share=4)
    with open_session(llama, n_ctx=256, n_seq=2) as session:
        streams = [Stream(random_ids(i, 20), max_tokens=200, stop_ids=[], share=5) for i in range(2)]
        for stream in streams:
            assert session.has_room(stream)
            session.add(stream)
        session.run()
        assert all(stream.paused and stream.n_tokens == 5 for stream in streams)
        large = Stream(random_ids(9, 20), max_tokens=10_000, stop_ids=[], share=250)
        assert not session.has_room(large)
