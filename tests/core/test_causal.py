"""The session of autoregressive streams: who is let in, the board, ends that are errors. Its tokens: tests/model."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from hoshikage._board import Board
from hoshikage._causal import CausalSession, Sampler, Stream
from hoshikage._core import Model
from hoshikage.errors import Cancelled, ContextOverflowError, DecodeError, ParameterError
from tests.conftest import TinyModel
from tests.streams import alone, finish, load, open_session, random_ids, write
from tests.tiny import Shape
from tests.tiny import write as write_model

PROMPT = random_ids(1, 12)


@pytest.fixture(scope="module")
def llama(tiny_model: TinyModel) -> Path:
    return tiny_model("llama")


# -- joining and leaving


def test_a_session_says_what_it_is(llama: Path) -> None:
    with open_session(llama, n_ctx=300, n_seq=3) as session:
        assert (session.n_ctx, session.n_seq, session.n_batch) == (512, 3, 512)
        assert not session.streams and session.run() == []
        stream = Stream(PROMPT, max_tokens=2, stop_ids=[])
        assert (stream.tokens, stream.done, stream.stop_reason, stream.error) == ([], False, None, None)
        session.add(stream)
        assert list(session.streams) == [stream]
        assert session.run() == [stream] and not session.streams
        assert stream.prompt == PROMPT and stream.tail(1) == stream.tokens[1:] and stream.n_tokens == 2


def test_a_session_is_as_full_as_its_sequences_and_positions(llama: Path) -> None:
    with open_session(llama, n_ctx=256, n_seq=2) as session:
        for stream in (Stream(PROMPT, max_tokens=10), Stream(PROMPT, max_tokens=10)):
            assert session.has_room(stream)
            session.add(stream)
        third = Stream(PROMPT, max_tokens=10)
        assert not session.has_room(third)
        with pytest.raises(ParameterError, match="2 streams have taken"):
            session.add(third)
        session.remove(session.streams[0])
        # The last token that is written needs no position.
        for max_tokens, fits in ((256 - 12 - 21 + 1, True), (256 - 12 - 21 + 2, False), (None, False)):
            assert session.has_room(Stream(PROMPT, max_tokens=max_tokens)) == fits


def test_a_stream_that_left_goes_on_where_it_was(llama: Path) -> None:
    whole = alone(llama, PROMPT, 20, temperature=1.0, seed=3, repetition_penalty=1.2)
    sampler = Sampler(temperature=1.0, seed=3, repetition_penalty=1.2)
    stream = Stream(PROMPT, max_tokens=20, sampler=sampler, stop_ids=[])
    for _ in range(3):
        with open_session(llama) as session:
            session.add(stream)
            session.run(max_steps=6)
            session.remove(stream)
    with open_session(llama) as session:
        finish(session, stream)
    assert stream.tokens == whole


def test_what_is_refused_leaves_the_session_as_it_was(llama: Path, tiny_model: TinyModel) -> None:
    done = Stream(PROMPT, max_tokens=1)
    foreign = Stream(PROMPT, max_tokens=9)
    with CausalSession(load(tiny_model("qwen2")), n_ctx=256) as other:
        other.add(foreign)
        other.step()
        other.remove(foreign)
    with open_session(llama, n_seq=4) as session:
        finish(session, done)
        working = Stream(PROMPT, max_tokens=9)
        session.add(working)
        for stream, name in ((done, "stream"), (working, "stream"), (foreign, "stream"), (Stream([300]), "tokens")):
            with pytest.raises(ParameterError) as caught:
                session.add(stream)
            assert caught.value.name == name
        with pytest.raises(ParameterError, match="not in this session"):
            session.remove(done)
        with pytest.raises(ContextOverflowError) as overflow:
            session.add(Stream([1] * 513))
        assert (overflow.value.n_prompt, overflow.value.n_ctx) == (513, 512)
        for value in (None, 5, PROMPT):
            with pytest.raises(TypeError):
                session.add(value)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="was not made"):
            session.add(Stream.__new__(Stream))
        assert session.streams == (working,)
        finish(session, working)
    assert working.tokens == alone(llama, PROMPT, 9)[: working.n_tokens]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"tokens": []}, "tokens"), ({"tokens": [-1]}, "tokens"), ({"tokens": [2**31]}, "tokens"),
        ({"tokens": [1.5]}, "tokens"), ({"tokens": "abc"}, "tokens"), ({"tokens": 7}, "tokens"),
        ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": -3}, "max_tokens"), ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"), ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop_ids": [-1]}, "stop_ids"), ({"stop_ids": ["x"]}, "stop_ids"), ({"stop_ids": 5}, "stop_ids"),
    ],
)  # fmt: skip
def test_a_bad_stream_is_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        Stream(**{"tokens": PROMPT, **options})
    assert caught.value.name == name and caught.value.remedy


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_seq": 0}, "n_ctx"), ({"n_seq": 10_000}, "n_seq"), ({"n_ctx": -1}, "n_ctx"), ({"n_batch": -1}, "n_batch"),
        ({"n_seq": 4, "n_batch": 3}, "n_batch"), ({"type_k": "f8"}, "type_k"),
    ],
)  # fmt: skip
def test_a_bad_session_is_named(llama: Path, options: dict[str, Any], name: str) -> None:
    with pytest.raises(ParameterError) as caught:
        open_session(llama, **options)
    assert caught.value.name == name


def test_a_pass_is_no_longer_than_the_context(llama: Path) -> None:
    with open_session(llama, n_ctx=256, n_batch=10_000) as session:
        assert session.n_batch == 256
    with pytest.raises(RuntimeError, match="not opened"):
        CausalSession.__new__(CausalSession).run()


@pytest.mark.parametrize("architecture", ["llada", "dream"])
def test_a_diffusion_model_is_refused(tiny_model: TinyModel, architecture: str) -> None:
    with pytest.raises(ParameterError, match="is a diffusion model"):
        CausalSession(load(tiny_model(architecture)))
    with pytest.raises(TypeError):
        CausalSession(None)  # type: ignore[arg-type]


def test_a_closed_session_refuses_and_frees_its_model(llama: Path) -> None:
    model = Model(llama)
    session = CausalSession(model, n_ctx=256)
    stream = Stream(PROMPT, max_tokens=9)
    session.add(stream)
    session.step()
    session.close()
    session.close()
    assert session.streams == () and stream.n_tokens == 1
    with pytest.raises(RuntimeError, match="closed"):
        session.add(stream)
    with pytest.raises(RuntimeError, match="closed"):
        session.forget()
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        CausalSession(model)


# -- running


def test_a_run_ends_with_the_first_stream_that_ends(llama: Path) -> None:
    streams = [Stream(PROMPT, max_tokens=n, stop_ids=[]) for n in (9, 4, 4)]
    with open_session(llama, n_seq=3) as session:
        for stream in streams:
            session.add(stream)
        board = Board()
        assert session.run(board) == streams[1:]
        assert board.steps == 4 and streams[0].n_tokens == 4
        assert session.step(board) == [] and board.steps == 5
        board.attend()
        assert session.run(board) == [] and board.steps == 6
        assert session.run(board) == streams[:1] and board.steps == 9


def test_steps_may_be_counted_out(llama: Path) -> None:
    whole = alone(llama, PROMPT, 15, temperature=0.8, seed=2)
    for stride in (1, 4):
        with open_session(llama) as session:
            stream = Stream(PROMPT, max_tokens=15, sampler=Sampler(temperature=0.8, seed=2), stop_ids=[])
            session.add(stream)
            while not stream.done:
                assert stream.n_tokens % stride == 0
                session.run(max_steps=stride)
        assert stream.tokens == whole


ENDLESS = 1 << 14  # positions: nobody sees the end of them before a cancel arrives


def test_a_cancelled_run_goes_on_as_if_nothing_had_been(llama: Path) -> None:
    """A cancel is seen within one step, and inside a forward pass; what had been written stands."""
    prompt = random_ids(2, 200)
    with open_session(llama, n_ctx=ENDLESS) as session:
        stream = Stream(prompt, stop_ids=[])
        session.add(stream)
        for n_steps in (0, 1, 3, 20):
            board = Board()
            seen: list[int] = []

            def cancel(board: Board = board, seen: list[int] = seen, n_steps: int = n_steps) -> None:
                while board.steps < n_steps:
                    pass
                board.cancel()
                seen.append(board.steps)

            thread = threading.Thread(target=cancel)
            thread.start()
            with pytest.raises(Cancelled):
                session.run(board)
            thread.join()
            assert n_steps <= board.steps <= seen[0] + 1
        with pytest.raises(Cancelled):
            session.run(board)
        board.reset()
        session.run(board, max_steps=10)
        session.remove(stream)
        session.forget()
        assert stream.tokens == write(session, prompt, stream.n_tokens).tokens


def test_one_thread_at_a_time(llama: Path) -> None:
    board = Board()
    with open_session(llama, n_ctx=ENDLESS) as session:
        session.add(Stream(PROMPT, stop_ids=[]))
        failures: list[BaseException] = []

        def run() -> None:
            try:
                session.run(board)
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        while board.steps < 2:
            pass
        stream = Stream(PROMPT)
        for use in (
            lambda: session.add(stream),
            lambda: session.remove(session.streams[0]),
            session.step,
            session.close,
        ):
            with pytest.raises(RuntimeError, match="another thread"):
                use()
        board.cancel()
        thread.join()
        assert [type(failure) for failure in failures] == [Cancelled]


JUDGED = """
import sys
from hoshikage._causal import CausalSession, Sampler, Stream
from hoshikage._core import Model
model = Model(sys.argv[1], n_gpu_layers=0)
def drawn(n_threads):
    with CausalSession(model, n_ctx=256, n_rows=64, n_threads=n_threads, n_threads_batch=1) as session:
        stream = Stream(range(32), max_tokens=1, sampler=Sampler(temperature=1.0, seed=1), score_prompt=True)
        session.add(stream)
        session.run()
        return stream.tokens, stream.prompt_logprobs[1:]
assert all(drawn(n_threads) == drawn(1) for n_threads in (2, 3, 8) * 10)
"""


def test_a_token_is_drawn_in_room_of_its_own_behind_a_prompt_that_threads_judge(llama: Path) -> None:
    """In a process of its own: what is written past the end of the room ends it, at the latest at one of so many."""
    command = [sys.executable, "-P", "-c", JUDGED, str(llama)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


# -- ends that are errors


def test_logits_that_are_no_numbers_end_a_stream_with_an_error(tmp_path: Path) -> None:
    path = write_model(tmp_path / "nan.gguf", Shape("llama"))
    norm = next(tensor for tensor in GGUFReader(path, "r+").tensors if tensor.name == "output_norm.weight")
    norm.data[:] = np.nan
    with CausalSession(Model(path), n_ctx=256) as session:
        stream = Stream(PROMPT, max_tokens=5)
        assert session.has_room(stream)
        finish(session, stream)
    assert (stream.stop_reason, stream.n_tokens) == ("error", 0)
    assert isinstance(stream.error, DecodeError) and "not numbers" in str(stream.error)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_stream_with_nothing_left_does_not_touch_the_others(llama: Path, temperature: float) -> None:
    ban = dict.fromkeys(range(300), -np.inf)
    broken = Stream(PROMPT, max_tokens=5, sampler=Sampler(temperature=temperature, logit_bias=ban))
    sound = Stream(PROMPT, max_tokens=5, stop_ids=[])
    with open_session(llama, n_seq=2) as session:
        finish(session, broken, sound)
        assert write(session, PROMPT, 5).tokens == sound.tokens
    assert (broken.stop_reason, broken.tokens) == ("error", [])
    assert broken.error is not None and "every token is forbidden" in str(broken.error)
    assert sound.tokens == alone(llama, PROMPT, 5)
