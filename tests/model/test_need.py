"""What a load is reckoned to take, held to what llama.cpp says that it takes, and to what a process really took.

The bounds: weights and cache are llama.cpp's own to 1 %; the buffer of a pass is never less than llama.cpp's, and at
most a quarter and 6 MiB more. What llama.cpp does not tell, the operands, is in the peak of a process.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import _context, gguf
from hoshikage.cli.inspect import memory_of
from hoshikage.engine import sizes
from hoshikage.engine.batch import room_for
from hoshikage.engine.engine import Engine
from hoshikage.engine.sizes import SHARED_CELLS, SMALLEST, most_rows, rounded_up, rows_of_pass
from hoshikage.errors import ContextOverflowError
from hoshikage.manager import need
from hoshikage.manager.fit import Room, fit
from hoshikage.manager.need import (
    MIB,
    Setup,
    Size,
    bill_of,
    cache_of_layer,
    compute_of,
    computing_of,
    input_of,
    need_of,
    operands_of,
    size_of,
)
from hoshikage.manager.shape import Shape, shape_of
from hoshikage.nano import resolve
from hoshikage.settings import Settings
from tests.conftest import TinyModel
from tests.speaker import Speaker

WIDE = {"n_embd": 256, "n_head": 8, "n_head_kv": 4, "n_ff": 512, "n_vocab": 1000}
EXPERTS = {"n_expert": 32, "n_expert_used": 8}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", WIDE, {}),
    ("llama", WIDE | {"n_ff": 2048}, {}),
    ("llama", WIDE | {"n_vocab": 20_000}, {"n_rows": 512}),
    ("llama", WIDE | {"n_layer": 5, "tied": True}, {"n_ctx": 4096, "n_seq": 8}),
    ("llama", WIDE | {"n_head_kv": 8}, {"type_k": "q8_0", "type_v": "q8_0"}),
    ("llama", WIDE, {"flash_attn": "off", "type_k": "f32", "type_v": "f32"}),
    ("qwen2", WIDE | {"n_embd": 1024}, {"n_rows": 1}),
    ("qwen3moe", WIDE | EXPERTS | {"n_ff": 128, "n_embd": 512}, {}),
    ("llada", WIDE, {}),
    ("llada", WIDE | {"n_vocab": 20_000}, {"n_rows": 512}),
    ("llada", WIDE | {"n_head": 32, "n_embd": 512}, {"n_ctx": 512, "flash_attn": "off"}),
    ("dream", WIDE, {"n_ctx": 2048, "n_seq": 4}),
    ("llada-moe", WIDE | EXPERTS | {"n_ff": 64, "n_embd": 512}, {}),
    ("rnd1", {}, {"n_ctx": 256, "n_seq": 1, "n_rows": 1}),
    ("nano-ar", {}, {}),
]
LOAD = """
import json, sys
from hoshikage._model import Model
for path, options in json.loads(sys.argv[1]):
    print("# case", file=sys.stderr, flush=True)
    with Model(path) as model:
        model.open_context(**options).close()
"""


ONE_PASS = """
import json, sys, hoshikage
path, n_requests, n_prompt, options, ask = json.loads(sys.argv[1])
with hoshikage.load(path, n_threads=1, n_threads_batch=1, **options) as engine:
    heard = engine.generate([[5] * n_prompt] * n_requests, quality="exact", stream=True, **ask)
    for _ in range(n_requests):
        next(heard)
    heard.close()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def options_of(changed: dict[str, Any]) -> dict[str, Any]:
    return {"n_ctx": 1024, "n_seq": 2, "n_rows": 64, "n_threads": 1} | changed


def setup_of(options: dict[str, Any]) -> Setup:
    given = {"type_k": "f16", "type_v": "f16", "flash_attn": "auto"} | options
    return Setup(**{name: given[name] for name in ("type_k", "type_v", "flash_attn")})


def told_sizes(log: str) -> dict[str, float]:
    """MiB by the kind of buffer, as llama.cpp reports them."""
    kinds = ("model", "KV", "compute")
    return {kind: sum(map(float, re.findall(rf"{kind} buffer size =\s*([\d.]+) MiB", log))) for kind in kinds}


@pytest.fixture(scope="module")
def measured(tiny_model: TinyModel) -> list[tuple[Path, dict[str, Any], dict[str, float]]]:
    """All cases loaded by one process, with what llama.cpp said about each."""
    paths = [Path(resolve("nano-ar")) if name == "nano-ar" else tiny_model(name, **shape) for name, shape, _ in CASES]
    cases = [(str(path), options_of(changed)) for path, (_, _, changed) in zip(paths, CASES, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(cases)],
        env={"HOSHIKAGE_LOG": "info", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    logs = done.stderr.split("# case\n")[1:]
    assert len(logs) == len(cases)
    return [(path, case[1], told_sizes(log)) for path, case, log in zip(paths, cases, logs, strict=True)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}-{i}")
def test_a_load_takes_what_was_reckoned(number: int, measured: list[tuple[Path, dict[str, Any], Any]]) -> None:
    path, options, taken = measured[number]
    shape, setup = shape_of(path), setup_of(options)
    cells = -(-options["n_ctx"] // 256) * 256
    n_tokens = cells if shape.kind == "masked" else min(cells, need.CAUSAL_UBATCH)
    size = Size(cells=cells, n_seq=options["n_seq"], n_tokens=n_tokens, n_rows=max(options["n_rows"], options["n_seq"]))
    cache = sum(cache_of_layer(shape, layer, size, setup) for layer in range(shape.n_layer))
    compute = compute_of(shape, size, setup)
    assert shape.data / MIB == pytest.approx(taken["model"], rel=0.01, abs=0.02)
    assert cache / MIB == pytest.approx(taken["KV"], rel=0.01, abs=0.01)
    assert taken["compute"] <= compute / MIB <= taken["compute"] * 1.25 + 6


def test_what_was_reckoned_on_is_what_the_core_does() -> None:
    assert (need.CAUSAL_UBATCH, SMALLEST) == (_context.CAUSAL_UBATCH, _context.CELL_MULTIPLE)
    assert need.PARAMS_A_THREAD == _context.PARAMS_A_THREAD
    shape = causal_shape(n_params=7 * need.PARAMS_A_THREAD)
    assert need.threads_of(shape, Setup(type_k="f16", type_v="f16", flash_attn="on")) == _context.threads_for(
        shape.n_params
    )
    assert set(need.CACHE_BYTES) == set(_context.CACHE_TYPES)


class Part:
    """An answer's size."""

    def __init__(self, n_cells: int, most_cells: int, n_rows: int) -> None:
        self.n_cells, self.most_cells, self.n_streams, self.n_rows = n_cells, most_cells, 1, n_rows


def causal_shape(**numbers: Any) -> Shape:
    given: dict[str, Any] = {
        "kind": "causal", "n_layer": 2, "layers": (10, 20), "input": 5, "output": 7, "repacked": 0, "data": 42,
        "is_native": False, "is_private": False, "n_ctx_train": 4096, "n_vocab": 1000, "n_embd": 8, "n_head": 2,
        "n_q": 8, "kv": ((8, 8), (8, 8)), "n_ff": 16, "n_used": 1, "operand": 32, "n_params": 40,
        "states": (0, 0),
    }  # fmt: skip
    return Shape(**given | numbers)


@given(st.sampled_from([("masked", 1), ("masked", 2), ("causal", 1)]), st.integers(1, 20_000), st.data())
def test_no_session_is_larger_than_was_reckoned(of: tuple[str, int], n_ctx: int, data: st.DataObject) -> None:
    kind, n_streams = of
    n_together = data.draw(st.integers(1, 64))
    shape = causal_shape(kind=kind, n_vocab=data.draw(st.sampled_from([1000, 150_000])))
    most_in_block = most_rows(shape.n_vocab, n_streams)
    size = st.integers(1, n_ctx).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(n, n_ctx), st.integers(1, min(n, most_in_block)))
    )
    drawn = data.draw(st.lists(size, min_size=1, max_size=5))
    parts: Any = [Part(*(number * n_streams for number in numbers)) for numbers in drawn]
    most = size_of(shape, n_ctx, n_together, n_streams)

    def rows_for(n: int) -> int:
        return min(n, rows_of_pass(shape.n_vocab))

    room = room_for(parts, n_together, SHARED_CELLS[kind], rows_for)
    assert max(256, rounded_up(room.n_cells)) <= max(most.cells, 256)
    assert min(room.n_rows, most.n_tokens) <= most.n_rows


@given(
    st.integers(1, 300),
    st.integers(1, 8),
    st.sampled_from([0.0, 1.0]),
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.fixed_dictionaries(
                {"max_tokens": st.integers(1, 300), "cfg_scale": st.sampled_from([0.0, 1.5])},
                optional={"block_length": st.integers(1, 300), "quality": st.just("exact"), "grow": st.booleans()},
            ),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_no_request_asks_for_more_than_was_reckoned(
    n_ctx: int, n_seq: int, usual_scale: float, asked: list[tuple[int, dict[str, Any]]]
) -> None:
    """Whoever asks for guidance, growth or long blocks; and a short one always finds room beside the others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LARGEST_LOGITS": 0, "MOST_ROWS": 96, "SHORT_CELLS": 64}.items():
            patch.setattr(sizes, name, value)
        patch.setitem(sizes.SHARED_CELLS, "masked", 512)
        engine = Engine(Speaker(), Settings(n_ctx=n_ctx, n_seq=n_seq, cfg_scale=usual_scale))
        most = size_of(causal_shape(kind="masked"), n_ctx, n_seq, 2 if usual_scale else 1)
        answers = []
        for n_prompt, options in asked:
            try:
                answers.append(engine.answer(0, [5] * n_prompt, options))
            except ContextOverflowError:
                assert n_prompt >= n_ctx or (options["cfg_scale"] and not usual_scale and 2 * n_prompt >= n_ctx)
        short = engine.answer(0, [5] * min(16, n_ctx - 1), {"max_tokens": 16, "cfg_scale": 0.0})
        for answer in answers:
            room = engine._way.room([answer], n_seq)
            assert room.n_cells <= most.cells and room.n_streams <= most.n_seq and room.n_rows <= sizes.rows_of_pass(1)
            assert min(rounded_up(room.n_cells), rounded_up(room.n_longest)) <= max(most.n_tokens, SMALLEST)
            assert room.holds([answer])
            assert n_seq == 1 or room.holds([answer, short]) or short.n_cells > answer.n_cells


@pytest.mark.parametrize("flash_attn", ["on", "off"])
@pytest.mark.parametrize(
    ("n_requests", "options", "ask"),
    [
        (1, {"n_ctx": 1024, "n_seq": 1}, {"max_tokens": 1000}),
        (4, {"n_ctx": 256, "n_seq": 4}, {"max_tokens": 232}),
        (2, {"n_ctx": 512, "n_seq": 2}, {"max_tokens": 232, "cfg_scale": 1.5}),
    ],
)
def test_a_pass_over_whole_canvases_takes_no_more_than_inspect_says(
    n_requests: int, options: dict[str, int], ask: dict[str, Any], flash_attn: str, tiny_model: TinyModel
) -> None:
    """1,024 positions in all. Many heads: their scores are what takes memory without flash attention."""
    path = tiny_model("llada", **WIDE | {"n_head": 32})
    given = options | {"flash_attn": flash_attn}
    done = subprocess.run(
        [sys.executable, "-c", ONE_PASS, json.dumps([str(path), n_requests, 24, given, ask])],
        capture_output=True,
        text=True,
        check=True,
    )
    told = memory_of([gguf.inspect(path)], gguf.Wish(), options["n_ctx"], Settings(n_threads=1, **given))
    assert told["cells"] == 1024
    least = told["total"] * 2 // 3 if n_requests == 1 else 0  # several are more rows than share a pass
    assert least < int(done.stdout) * 1024 <= told["total"]


@pytest.mark.parametrize("settings", [{}, {"n_seq": 1}, {"cfg_scale": 1.0}, {"flash_attn": "off", "n_threads": 3}])
def test_inspect_prints_what_a_load_is_held_to(settings: dict[str, Any]) -> None:
    path, wanted = Path(resolve("nano-llada")), Settings(n_ctx=700, **settings)
    room = Room(1 << 50)
    plan = fit(shape_of(path), wanted, room, room).plans[0]
    assert memory_of([gguf.inspect(path)], gguf.Wish(), 700, wanted)["total"] == plan.need.host


def test_operands_are_what_ggml_makes_of_them() -> None:
    """Numbers of `ggml_graph_plan`, by hand."""
    size = Size(cells=1024, n_seq=1, n_tokens=512, n_rows=8)
    shape = causal_shape(n_head=4, n_q=64, operand=300)
    off, on = (Setup(type_k="f16", type_v="f16", flash_attn=flash_attn) for flash_attn in ("off", "on"))
    assert operands_of(shape, size, off) == 2 * 512 * 1024 * 4
    assert operands_of(shape, size, on) == 512 * 300
    assert operands_of(shape, size, Setup(type_k="f16", type_v="f32", flash_attn="off")) == 512 * 300
    native = causal_shape(kind="masked", is_native=True, n_head=4, n_q=64, operand=0)
    assert operands_of(native, size, off) == 512 * 2 * 64


def test_a_process_takes_no_more_than_its_need() -> None:
    """nano-ar in a process of its own, with four prompts side by side: the peak of its memory."""
    path = Path(resolve("nano-ar"))
    program = (
        "import sys, hoshikage\n"
        "with hoshikage.load(sys.argv[1], n_threads=1, n_threads_batch=1, n_ctx=512) as engine:\n"
        "    engine.generate([[5] * 200] * 4, max_tokens=50)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    shape = shape_of(path)
    setup = Setup(type_k="f16", type_v="f16", flash_attn="auto")
    reckoned = need_of(shape, size_of(shape, 512, 8), setup).host
    assert int(done.stdout) * 1024 <= reckoned < 200 * MIB


@pytest.mark.parametrize("flash_attn", ["auto", "off"])
@pytest.mark.parametrize("numbers", [{}, {"kind": "masked"}, {"kind": "masked", "is_native": True}])
def test_who_has_a_second_context_pays_for_it(numbers: dict[str, Any], flash_attn: str) -> None:
    shape, setup = causal_shape(**numbers), Setup(type_k="f32", type_v="f16", flash_attn=flash_attn)
    bill = bill_of(shape, size_of(shape, 2000, 4), setup)
    assert (bill["second_context"] > 0) == (numbers == {"kind": "masked"})


def test_a_process_that_computes_blocks_alone_takes_no_more_than_its_need(tiny_model: TinyModel) -> None:
    """Its second context and the proof counted."""
    path = tiny_model("llada", **WIDE | {"n_vocab": 20_000})
    program = (
        "import sys, hoshikage\n"
        "with hoshikage.load(sys.argv[1], n_threads=1, n_threads_batch=1, n_ctx=512) as engine:\n"
        "    engine.get_ready()\n"
        "    engine.generate([5] * 20, max_tokens=64, plan='dual', steps=12, block_length=16)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    shape, setup = shape_of(path), Setup(type_k="f16", type_v="f16", flash_attn="auto")
    assert int(done.stdout) * 1024 <= need_of(shape, size_of(shape, 512, 1), setup).host


def test_layers_on_gpus_leave_the_host() -> None:
    shape = causal_shape(layers=(1000, 2000), input=500, output=700, data=4200)
    size, setup = size_of(shape, 256, 1), Setup(type_k="f32", type_v="f16", flash_attn="auto")
    compute, cache = computing_of(shape, size, setup), 256 * 8 * (4 + 2)
    none, one, all_of_it, two_gpus = (need_of(shape, size, setup, spread) for spread in ((), (1,), (3,), (1, 2)))
    assert one.gpus == (700 + compute,)
    assert all_of_it.gpus == (1000 + 2000 + 700 + 2 * cache + compute,)
    assert two_gpus.gpus == (1000 + cache + compute, 2000 + 700 + cache + compute)
    assert none.host - one.host == 700
    assert two_gpus.host == all_of_it.host < one.host - 3000
    idle = need_of(shape, size, setup, (3, 0))
    assert idle.gpus == (*all_of_it.gpus, 0)
    bill = bill_of(shape, size, setup, 3)
    assert (bill["weights"], bill["cache"], bill["pass"]) == (500, 0, input_of(shape, size, setup))


def test_a_staged_file_is_in_memory_already_but_for_what_is_written_anew() -> None:
    shape = causal_shape(repacked=30, data=4200)
    size = size_of(shape, 256, 1)
    cold, staged = (
        need_of(shape, size, Setup(type_k="f16", type_v="f16", flash_attn="auto", is_staged=is_staged)).host
        for is_staged in (False, True)
    )
    assert cold - staged == 4200 - 30
