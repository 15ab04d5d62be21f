"""The Python API on tiny GGUF files: answers are the papers' on the model's own logits, and errors are sentences."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hoshikage
from hoshikage import Board, Engine, HoshikageError, nano
from hoshikage._model import gpu_offload
from hoshikage.engine.recipe import SCHEDULED_STEPS
from hoshikage.engine.result import Result
from hoshikage.errors import Cancelled, ContextOverflowError, ModelFileError, ParameterError, TemplateError
from hoshikage.settings import ALGORITHMS
from tests.conftest import TinyModel
from tests.house import ROOT
from tests.reference import decode
from tests.tiny import CHAT_TEMPLATE, DIFFUSION, Shape
from tests.tiny.writer import write_parts

EXACT: dict[str, Any] = {"flash_attn": "off", "type_k": "f32", "type_v": "f32", "n_threads": 1, "n_gpu_layers": 0}
CLOSE_CALL = 1e-5  # decisions nearer than this may fall either way: a batch of another shape rounds differently


@pytest.fixture(scope="module", params=DIFFUSION)
def engine(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Iterator[Engine]:
    with hoshikage.load(tiny_model(request.param, chat_template=CHAT_TEMPLATE), **EXACT) as loaded:
        yield loaded


def same(left: Result, right: Result) -> bool:
    return (left.text, left.tokens, left.stop_reason) == (right.text, right.tokens, right.stop_reason)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 5},
        {"block_length": 4, "schedule": "block", "algorithm": 4},
        {"algorithm": "origin", "schedule": 0, "temperature": 0.8, "seed": 3},
        {"algorithm": "maskgit_plus", "schedule": "timestep", "temperature": 0.6, "top_k": 40, "top_p": 0.9, "seed": 4},
        {"algorithm": "random", "schedule": 1, "cfg_scale": 1.0, "steps": 6, "seed": 5},
        {"algorithm": 2, "alg_temp": 0.5, "seed": 6, "repetition_penalty": 1.3, "logit_bias": {5: 3.0}},
        {"logits_eos_inf": True, "confidence_eos_eot_inf": True},
    ],
    ids=str,
)
def test_answers_are_the_papers_on_the_models_own_logits(engine: Engine, options: dict[str, Any]) -> None:
    model, prompt = engine.model, engine.tokenize("hello and the ")
    result = engine.generate(prompt, max_tokens=12, early_stop=False, **{"quality": "exact", **options})
    algorithm = ALGORITHMS[str(options.get("algorithm", "entropy" if model.shift else "low_confidence"))]
    schedule = str(options.get("schedule", 0 if model.shift else 1))
    expected = decode(
        lambda canvases: np.stack([engine.logits([row])[0] for row in canvases]),
        [*prompt, *[model.mask_id] * 12],
        model.mask_id,
        **{
            **options,
            "algorithm": {"margin": "topk_margin"}.get(algorithm, algorithm),
            "schedule": {"0": "timestep", "1": "block"}.get(schedule, schedule),
            "steps": options.get("steps", SCHEDULED_STEPS if {"algorithm", "schedule"} & options.keys() else 12),
        },
        shift=model.shift,
        eos_id=model.eos_id,
        eot_id=model.eot_id,
    )
    if expected.margin < CLOSE_CALL:
        pytest.skip(f"a decision is as near as {expected.margin:.1e}")
    assert result.canvas == tuple(expected.tokens.tolist())
    assert result.counts.n_passes == expected.n_passes


def test_every_way_of_asking_gives_one_answer(engine: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 10, "steps": 5, "seed": 1}
    alone = engine.generate("hello", **options)
    streamed = list(engine.generate("hello", stream=True, **options))
    assert streamed[-1].result is not None
    assert same(streamed[-1].result, alone)
    assert "".join(snapshot.delta for snapshot in streamed) == alone.text
    assert same(engine.generate("hello", **options), alone)
    assert len(engine.generate(["hello", "the", "and 12"], **options)) == 3


def test_a_chat_is_the_models_own_template(engine: Engine) -> None:
    message = {"role": "user", "content": "the <|eot_id|> is plain "}
    ids = engine.chat_tokens([message])
    shown = engine.detokenize(ids, special=True)
    assert shown.endswith("user: the <|eot_id|> is plain<|eot_id|>assistant: ")
    assert ids.count(engine.model.eot_id) == 1
    assert ids.count(engine.model.bos_id) == int(engine.model.add_bos)
    assert same(engine.chat([message], max_tokens=6, seed=2), engine.generate(ids, max_tokens=6, seed=2))


def test_gaps_are_filled_and_text_round_trips(engine: Engine) -> None:
    filled = engine.infill("the ", " and", length=4, early_stop=False)
    before, after = engine.tokenize("the "), engine.tokenize(" and")
    assert list(filled.canvas[-len(after) :]) == after
    assert list(filled.canvas[: -4 - len(after)][-len(before) :]) == before
    assert filled.stop_reason == "stop" or len(filled.tokens) == 4
    text = "hello 世界 12 \0 <|eot_id|>\ufeff"
    assert engine.detokenize(engine.tokenize(text)) == text
    assert engine.tokenize("<|eot_id|>", parse_special=True) == [engine.model.eot_id]


def test_padding_changes_no_logit(engine: Engine) -> None:
    ids = engine.tokenize("hello and")
    alone = engine.logits([ids])[0]
    padded = engine.logits([[0, *ids, 0, 0]], [[False, *[True] * len(ids), False, False]])[0]
    assert np.allclose(padded[1 : len(ids) + 1], alone, atol=1e-4)
    assert np.isnan(padded[[0, -1, -2]]).all()


def test_prompts_that_do_not_fit_are_refused(engine: Engine) -> None:
    n_ctx = engine.n_ctx
    with pytest.raises(ContextOverflowError, match=f"{n_ctx} tokens, .* context size of {n_ctx}"):
        engine.generate([5] * n_ctx)
    cut = engine.generate([5] * (n_ctx - 2), max_tokens=50, steps=1)
    assert "max_tokens 50 became 2" in cut.warnings[0]


def test_a_cancel_is_heard_from_another_thread(engine: Engine) -> None:
    board = Board()
    stream = engine.generate("hello", max_tokens=200, stream=True, board=board, logits_eos_inf=True)
    next(stream)
    thread = threading.Thread(target=board.cancel)
    thread.start()
    thread.join()
    last = list(stream)[-1].result
    assert last is not None
    assert last.stop_reason in ("cancelled", "stop")
    assert engine.generate("hello", max_tokens=2, steps=1).counts.n_passes == 1


def test_a_pass_shows_that_it_moves(engine: Engine) -> None:
    board = Board()
    engine.generate("hello", max_tokens=1, board=board)
    assert board.steps == 1
    assert board.nodes > 10, "it is asked between the nodes of its graph"


# -- loading


def test_loading_tells_how_far_it_is_and_can_be_stopped(tiny_model: TinyModel) -> None:
    told: list[float] = []
    hoshikage.load(tiny_model(), progress=told.append, **EXACT).close()
    assert told == sorted(told)
    assert told[-1] == 1.0
    board = Board()
    board.cancel()
    with pytest.raises(Cancelled):
        hoshikage.load(tiny_model(), board=board, **EXACT)


def test_what_is_no_model_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe.gguf")
    for name in ("missing.gguf", "text.gguf", "pipe.gguf", "."):
        with pytest.raises(ModelFileError) as caught:
            hoshikage.load(tmp_path / name)
        assert caught.value.cause
        assert caught.value.remedy


def test_bad_settings_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="did you mean 'n_ctx'"):
        hoshikage.load(tmp_path / "missing.gguf", nctx=5)
    with pytest.raises(ParameterError, match="n_gpu_layers: -2"):
        hoshikage.load(tmp_path / "missing.gguf", n_gpu_layers=-2)


def test_a_gpu_is_used_as_it_is_preferred(tiny_model: TinyModel) -> None:
    with hoshikage.load(tiny_model(), **EXACT | {"n_gpu_layers": -1}, device_preference="cpu") as engine:
        assert engine.settings.n_gpu_layers == -1
    if not gpu_offload():
        with pytest.raises(ParameterError, match=r"DEVICE_PREFERENCE: llama\.cpp finds no GPU; use auto"):
            hoshikage.load(tiny_model(), **EXACT, device_preference="cuda")


def test_without_a_template_a_chat_is_refused(tiny_model: TinyModel) -> None:
    with hoshikage.load(tiny_model(), **EXACT) as engine, pytest.raises(TemplateError, match="plain text"):
        engine.chat([{"role": "user", "content": "a"}])


@pytest.mark.parametrize("architecture", ["llada", "llama"])
def test_a_file_in_several_parts_is_the_same_model(architecture: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    shape = Shape(architecture)
    parts = write_parts(tmp_path / "big.gguf", shape)
    with hoshikage.load(tiny_model(architecture), **EXACT) as whole, hoshikage.load(parts[0], **EXACT) as split:
        assert split.model.native == shape.is_diffusion  # llama.cpp opens the other parts itself, by their names
        assert np.allclose(split.logits([5, 6, 7]), whole.logits([5, 6, 7]), atol=1e-4)
        assert same(*(one.generate("hello", max_tokens=8, seed=1, quality="exact") for one in (split, whole)))
    with pytest.raises(ModelFileError, match="part 2 of 3; give the first"):
        hoshikage.load(parts[1], **EXACT)
    parts[2].unlink()
    with pytest.raises(ModelFileError, match="no such file"):
        hoshikage.load(parts[0], **EXACT)


def test_the_native_path_gives_the_same_answer(tiny_model: TinyModel) -> None:
    with hoshikage.load(tiny_model("llada"), **EXACT) as cached:
        served = cached.generate("hello", max_tokens=8, steps=4)
    with hoshikage.load(tiny_model("llada"), retag=False, **EXACT) as native:
        assert same(native.generate("hello", max_tokens=8, steps=4), served)


def test_closing_gives_everything_back_and_opening_again_works(tiny_model: TinyModel) -> None:
    n_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a folder of links
    for _ in range(3):
        with hoshikage.load(tiny_model(chat_template=CHAT_TEMPLATE), **EXACT) as engine:
            engine.chat([{"role": "user", "content": "a"}], max_tokens=2, steps=1)
        with pytest.raises(RuntimeError, match="closed"):
            engine.generate("a")
    assert len(os.listdir("/proc/self/fd")) == n_files  # noqa: PTH208


def test_every_error_of_ours_is_one_kind() -> None:
    assert issubclass(ParameterError, HoshikageError)
    assert issubclass(ParameterError, ValueError)


INTERRUPTED = """
import os, signal, sys, threading, hoshikage
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without it
board, engine = hoshikage.Board(), hoshikage.load(sys.argv[1], n_threads=1, n_threads_batch=1)

def press():
    while board.steps < 20:
        pass
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    while True:
        engine.generate("A story", max_tokens=100, early_stop=False, quality="exact", board=board)
except KeyboardInterrupt:
    print("interrupted", engine.generate("A story", max_tokens=4, quality="exact").counts.n_passes > 0)
"""


def test_ctrl_c_ends_an_answer_and_the_engine_serves_on() -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(nano.resolve(nano.DEFAULT))]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert (told.stdout, told.stderr) == ("interrupted True\n", "")
