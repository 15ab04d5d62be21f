"""How much memory a model will take, from the numbers of its header: pure arithmetic, held to what llama.cpp takes.

Bytes. Never less than llama.cpp reserves, and little more: `tests/model/test_need.py` says how much. What is counted is
the peak of a step: weights, cache, what a pass computes with, and rows of logits on both sides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

from hoshikage.engine.sizes import SMALLEST, most_cells, most_tokens, rows_of_pass, streams_of
from hoshikage.manager.shape import Shape
from hoshikage.settings import Settings

CAUSAL_UBATCH, PARAMS_A_THREAD = 512, 8_000_000  # of `_context`, which is compiled; a test compares

# Bytes of an element, by the name of the cache's type.
CACHE_BYTES = {
    "f32": Fraction(4), "f16": Fraction(2), "bf16": Fraction(2), "q8_0": Fraction(34, 32), "q5_1": Fraction(24, 32),
    "q5_0": Fraction(22, 32), "q4_1": Fraction(20, 32), "q4_0": Fraction(18, 32), "iq4_nl": Fraction(18, 32),
}  # fmt: skip

MIB = 1 << 20
PROCESS = 64 * MIB  # Python, our modules, llama.cpp's own
TOKEN_TEXT = 320  # of each token of the vocabulary: its text, twice, in tables, and the header
SLACK = Fraction(9, 8)  # on what a pass computes with: alignment, and tensors that cannot share their place
PASS_LEAST = 2 * MIB
FORMS = 3  # of what a layer with a state computes from: as it comes, convolved, and in the order of the scan
TILES = 512 * 1024 + 64  # of a thread that multiplies with a quantised matrix in tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a context is."""

    cells: int  # positions of the cache
    n_seq: int
    n_tokens: int  # of one pass
    n_rows: int  # of logits, of one pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a load takes: of the host, and of each GPU in llama.cpp's order."""

    host: int
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings of a load that sizes depend on."""

    type_k: str
    type_v: str
    flash_attn: str
    n_threads: int = 0  # 0: as many as suit the model
    n_threads_batch: int = 0  # 0: the same number
    is_staged: bool = False  # the file lies in memory already, header rewritten

    @classmethod
    def of(cls, settings: Settings, *, is_staged: bool = False) -> Setup:
        """As the settings say."""
        return cls(
            type_k=settings.type_k,
            type_v=settings.type_v,
            flash_attn=settings.flash_attn,
            n_threads=settings.n_threads,
            n_threads_batch=settings.n_threads_batch,
            is_staged=is_staged,
        )


def usual_streams(shape: Shape, settings: Settings) -> int:
    """Canvases that a request takes where it does not say otherwise."""
    return streams_of(settings.cfg_scale) if shape.kind == "masked" else 1


def size_of(shape: Shape, n_ctx: int, n_seq: int, n_streams: int = 1) -> Size:
    """The context that serves requests of `n_ctx` tokens, `n_seq` of them side by side as far as that is worth it.

    A request usually takes `n_streams` canvases: two under guidance. One that asks for guidance by itself has its two
    in the same positions, with rows of the same number, and so may be half as long, its blocks too. Only a sequence
    more is kept for each, which costs next to nothing.
    """
    cells = most_cells(shape.kind, n_ctx, n_seq, n_streams)
    n_tokens = (
        most_tokens(n_ctx, n_streams) if shape.kind == "masked" else max(CAUSAL_UBATCH, n_seq * shape.block_length)
    )
    n_tokens = min(cells, n_tokens)
    n_rows = n_tokens if shape.is_native else min(n_tokens, rows_of_pass(shape.n_vocab))
    n_seq *= 2 if shape.kind == "masked" else 1
    return Size(cells=cells, n_seq=n_seq, n_tokens=n_tokens, n_rows=max(n_rows, n_seq))


def cache_of_layer(shape: Shape, layer: int, size: Size, setup: Setup) -> int:
    """The keys and values of one layer, or its part of a state."""
    keys, values = shape.kv[layer] if layer < len(shape.kv) else (0, 0)
    if values and setup.flash_attn == "off":  # transposed: as wide in each layer as in the widest
        values = max(values for _, values in shape.kv)
    bytes_of_cell = keys * CACHE_BYTES[setup.type_k] + values * CACHE_BYTES[setup.type_v]
    return int(size.cells * bytes_of_cell) + shape.states[layer] * size.n_seq


def compute_of(shape: Shape, size: Size, setup: Setup) -> int:
    """The buffer of a pass's results on the way: the largest of its stages, beside what goes in."""
    hidden = hidden_of(shape, size)
    scores = 4 * size.n_tokens * size.cells * shape.n_head if setup.flash_attn == "off" else 0
    attention = scores + 6 * hidden
    chosen = shape.n_embd if shape.n_used > 1 else 0  # what each expert says, before it is summed
    feed = 4 * size.n_tokens * shape.n_used * (3 * shape.n_ff + chosen) + 4 * hidden
    logits = 4 * size.n_rows * shape.n_vocab + 2 * hidden
    return mask_of(size, setup) + int(max(attention, recurrence_of(shape, size), feed, logits) * SLACK) + PASS_LEAST


def recurrence_of(shape: Shape, size: Size) -> int:
    """What a layer with a state computes with: its positions in a few forms, and the states as read and as written."""
    pairs = 3 * 4 * size.n_tokens**2 * shape.n_head if shape.is_lightning else 0
    return FORMS * 4 * size.n_tokens * shape.n_mixed + pairs + 2 * size.n_seq * max(shape.states, default=0)


def operands_of(shape: Shape, size: Size, setup: Setup) -> int:
    """The other buffer that a pass computes in: what is multiplied with a matrix is written anew in a form that suits
    its type. The CPU's (`ggml_graph_plan`) is as large as the operation that takes most of it, and never shrinks.

    Without flash attention, that is what attention's scores become before they are multiplied with the values.
    """
    operands = size.n_tokens * max(shape.operand, 2 * shape.n_q)
    if setup.flash_attn == "off" and not shape.is_native and setup.type_v != "f32":
        operands = max(operands, 2 * size.n_tokens * size.cells * shape.n_head)
    return operands


def notes_of(shape: Shape, size: Size, setup: Setup) -> int:
    """What the CPU's threads write down for themselves, behind the operands."""
    head = shape.n_q // max(1, shape.n_head)
    flash = 4 * 64 * (4 * head + 2 * 64)  # tiles of 64 queries and 64 keys
    return threads_of(shape, setup) * max(TILES, flash, 4 * size.cells)


def threads_of(shape: Shape, setup: Setup) -> int:
    """Threads that compute a pass, as the core chooses them."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(setup.n_threads or min(n_cores, max(1, shape.n_params // PARAMS_A_THREAD)), setup.n_threads_batch)


def computing_of(shape: Shape, size: Size, setup: Setup) -> int:
    """All buffers that passes compute in. The second context never computes one, but llama.cpp makes it able to."""
    return operands_of(shape, size, setup) + sum(
        compute_of(shape, context, setup) for context in contexts_of(shape, size)
    )


def second_of(shape: Shape, size: Size) -> Size | None:
    """The small context beside the first one, which lets a pass compute a block alone (`Context.open_bare`)."""
    if shape.kind != "masked" or shape.is_native:
        return None
    return Size(cells=SMALLEST, n_seq=size.n_seq, n_tokens=size.n_seq, n_rows=size.n_seq)


def contexts_of(shape: Shape, size: Size) -> tuple[Size, ...]:
    """All that are open at a time."""
    second = second_of(shape, size)
    return (size,) if second is None else (size, second)


def bill_of(shape: Shape, size: Size, setup: Setup, n_gpu: int = 0) -> dict[str, int]:
    """What the host gives, and for what, with so many layers on GPUs."""
    first, *others = contexts_of(shape, size)
    on_host = range(min(shape.n_layer, shape.n_layer + 1 - n_gpu))
    compute = compute_of if on_host else input_of
    beside = operands_of(shape, first, setup) + notes_of(shape, first, setup) if on_host else 0

    def cache(context: Size) -> int:
        return sum(cache_of_layer(shape, layer, context, setup) for layer in on_host)

    def rows(context: Size) -> int:
        return 4 * context.n_rows * shape.n_vocab

    return {
        "weights": weights_on_host(shape, n_gpu, setup),
        "cache": cache(first),
        "pass": compute(shape, first, setup) + beside,
        "rows": rows(first),
        "second_context": sum(cache(other) + compute(shape, other, setup) + rows(other) for other in others),
        "process": PROCESS + TOKEN_TEXT * shape.n_vocab,
    }


def input_of(shape: Shape, size: Size, setup: Setup) -> int:
    """What the host computes with when a GPU does the rest."""
    return mask_of(size, setup) + 4 * hidden_of(shape, size) + PASS_LEAST


def hidden_of(shape: Shape, size: Size) -> int:
    """The widest vectors of a pass, one for each position."""
    return 4 * size.n_tokens * max(shape.n_embd, shape.n_q)


def mask_of(size: Size, setup: Setup) -> int:
    """Which position attends to which."""
    return (4 if setup.flash_attn == "off" else 2) * size.n_tokens * size.cells


def need_of(shape: Shape, size: Size, setup: Setup, spread: tuple[int, ...] = ()) -> Need:
    """What a load takes with so many layers on each GPU, the last of all on the last; the output counts as a layer."""
    n_gpu = min(sum(spread), shape.n_layer + 1)
    first = shape.n_layer + 1 - n_gpu
    compute = computing_of(shape, size, setup)
    gpus = []
    for n in spread:
        span = range(first, min(first + n, shape.n_layer + 1))
        gpus.append(sum(part(shape, layer, size, setup) for layer in span) + (compute if span else 0))
        first += n
    return Need(host=sum(bill_of(shape, size, setup, n_gpu).values()), gpus=tuple(gpus))


def part(shape: Shape, layer: int, size: Size, setup: Setup) -> int:
    """A layer's weights and cache; the last one is the output."""
    if layer == shape.n_layer:
        return shape.output
    caches = (cache_of_layer(shape, layer, context, setup) for context in contexts_of(shape, size))
    return shape.layers[layer] + sum(caches)


def weights_on_host(shape: Shape, n_gpu: int, setup: Setup) -> int:
    """Weights that stay on the host. Those of a staged file are there already, but llama.cpp may write them anew."""
    kept = shape.data if n_gpu == 0 else shape.input + sum(shape.layers[: shape.n_layer + 1 - n_gpu])
    return min(kept, shape.repacked) if setup.is_staged else kept
