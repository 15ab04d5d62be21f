"""The oracle: exact diffusion decoding in NumPy float64, written to be compared with the papers line by line.

It keeps the names of the papers' code (LLaDA's generate.py, Dream's generation_utils.py); ours are:

    x, prompt_index          the canvas; its given positions          un_x       the unguided canvas
    mask_index               masked positions of the active block     x0         the token each would be settled to
    x0_p                     the score: how sure, higher is surer     remasking / alg     the rule (algorithm)
    transfer_index           the positions settled in this step       num_transfer_tokens the schedule's quota

Where the papers' code is quirky, the comment at that line says what we hold to be right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tests.fake import ALG_TEMP_DRAW, ORIGIN_REVEAL, RANDOM_SCORE, noise_gumbel, noise_key, noise_uniform
from tests.margin import Margin
from tests.reference_growth import Canvas, Growth, make_growth
from tests.reference_plans import PLANS, Passes
from tests.reference_rules import RULES, Choice, Credit, edited, remasked

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Keys = NDArray[np.uint64]  # of the noise, one per position
SCORED_AFTER_CUT = ("maskgit_plus", "topk_margin", "entropy")  # Dream's
Forward = Callable[..., NDArray[Any]]  # int[streams, n] -> float[streams, n, vocab]; with a cache: see Network


@dataclass(frozen=True)
class Recipe:
    algorithm: str  # low_confidence, random (LLaDA); origin, maskgit_plus, topk_margin, entropy (Dream); or of RULES
    schedule: str  # block (LLaDA), timestep (Dream), denoising (SDAR), adaptive (as many steps as it takes)
    steps: int
    block_length: int = 0  # 0: one block
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    alg_temp: float = 0.0
    eps: float = 1e-3
    cfg_scale: float = 0.0
    seed: int = 0
    shift: bool = False
    eos_id: int = -1
    eot_id: int = -1
    logits_eos_inf: bool = False
    confidence_eos_eot_inf: bool = False
    logit_bias: dict[int, float] | None = None
    repetition_penalty: float = 1.0
    delimiters: tuple[int, ...] = ()  # AdaBlock: tokens that end a block
    end_threshold: float = 0.0  # if so sure; 0: as its code has it
    rule_options: dict[str, Any] | None = None  # of the function in RULES
    plan: str = "full"
    plan_options: dict[str, Any] | None = None  # fields of Plan, in place of the named one's
    gaps: tuple[tuple[int, int, int, int], ...] = ()  # DreamOn: lo, hi, least and most length of each
    expand_id: int = -1
    grow: int = 0  # DAEDAL: so many positions more
    grow_options: dict[str, Any] | None = None


OPEN = ("adaptive", "denoising")  # schedules of blocks that are over when nothing in them is masked


@dataclass
class Result:
    tokens: Ints
    settled_at: Ints  # the step that settled a position; -1: given
    n_passes: int
    margin: float  # the narrowest decision, see Margin
    n_rows: int = 0  # positions computed in the passes
    n_warm: int = 0


class Rows(NamedTuple):
    """What the score functions look at, one row per candidate position."""

    logits: Floats  # after the row edits
    cut: Floats  # the same / temperature, -inf where top-p and top-k cut
    x0: Ints
    keys: Keys


class Block(NamedTuple):
    """A pass over a block, seen by whatever reveals something of it."""

    lo: int
    hi: int
    rows: Floats  # of all its positions
    logits: Floats  # of the masked ones
    keys: Keys
    mask_index: Ints
    step: int


def decode(forward: Forward, tokens: ArrayLike, mask_id: int, **options: Any) -> Result:
    """Fill every masked position of `tokens`; `options` are the fields of Recipe."""
    recipe = Recipe(**options)
    canvas, growth, margin, credit = Canvas.of(tokens, mask_id), make_growth(recipe), Margin(), Credit()
    passes = Passes(forward, replace(PLANS[recipe.plan], **(recipe.plan_options or {})), canvas, recipe.shift)
    longest = longest_block(canvas, recipe, growth.most)
    step = 0
    block_ends: list[int] = []
    for lo, hi, n_steps in blocks(canvas, recipe, longest, growth.most, block_ends):
        if not canvas.masked[lo:hi].any():
            continue
        passes.enter(lo, hi)
        n_start, j = int(np.count_nonzero(canvas.masked[lo:hi])), 0
        while True:
            mask_index = lo + np.flatnonzero(canvas.masked[lo:hi])
            if not len(mask_index) and (j >= n_steps or recipe.schedule in OPEN):
                break
            keys = noise_key(recipe.seed, step, mask_index)
            eligible, k = quota(recipe, keys, n_start, j, n_steps, hi - lo)
            looks = True
            if k or (recipe.algorithm == "joint_threshold" and len(mask_index)):  # which settles what is sure enough
                first = passes.of_block == 0
                rows = model_rows(passes, canvas, np.arange(lo, hi), recipe, growth)
                logits = rows[mask_index - lo]
                if recipe.algorithm == "credit":
                    logits = credit.fuse(logits, mask_index)
                if first and recipe.delimiters:
                    hi = adablock(logits, keys, mask_index, (lo, hi), recipe, margin)
                    block_ends.append(hi)
                    kept = mask_index < hi
                    logits, keys, mask_index = logits[kept], keys[kept], mask_index[kept]
                    n_start = len(mask_index)
                    eligible, k = quota(recipe, keys, n_start, j, n_steps, hi - lo)
                looks = growth.looks(canvas, passes.tail(growth.n_tail), margin)
                if looks:
                    block = Block(lo, hi, rows, logits, keys, mask_index, step)
                    kept, c = reveal(canvas, passes, block, eligible, k, recipe, margin)
                    growth.after(canvas, mask_index[kept], c, margin)
                # Where positions came or went, the block has as many as it may; otherwise it is as it was.
                hi = min(lo + longest, canvas.hi) if canvas.grown else hi
                passes.moved(canvas, hi)
            # A step that settles nothing counts too: the noise does not depend on what happened. A pass that only made
            # the canvas longer is none.
            step, j = step + looks, j + looks
    return Result(canvas.x, canvas.settled_at, passes.n_passes, margin.least, passes.n_rows, passes.n_warm)


def reveal(
    canvas: Canvas, passes: Passes, block: Block, eligible: Flags, k: int, recipe: Recipe, margin: Margin
) -> tuple[Flags, Floats]:
    """One step's tokens are written. Which rows might have been, and how probable what each proposed was."""
    logits, keys, mask_index = block.logits, block.keys, block.mask_index
    late = np.full(len(mask_index), False) if passes.warm else ends(logits, keys, recipe, margin)
    chosen = eligible & ~late
    revealed = block.lo + np.flatnonzero(canvas.settled_at[block.lo : block.hi] >= 0)  # before this step
    if chosen.any():
        so_far = canvas.conf[canvas.settled_at >= 0]
        scene = Scene(mask_index[chosen], canvas.masked, float(np.mean(so_far)) if len(so_far) else 2.0)
        index, x0 = transfer(logits[chosen], keys[chosen], k, recipe, margin, scene)
        where = mask_index[chosen][index]
        canvas.write(where, x0, block.step, np.exp(-surprise_of(logits[chosen][index], x0)))
        if recipe.algorithm == "saber":
            now = np.exp(-surprise_of(block.rows[revealed - block.lo], canvas.x[revealed]))
            n_left = int(np.count_nonzero(canvas.masked[block.lo : block.hi]))
            options = recipe.rule_options or {}
            canvas.mask(revealed[remasked(canvas.conf[revealed] - now, len(where), n_left, margin, **options)])
    if recipe.algorithm == "joint_threshold":
        edit(canvas, passes, block, revealed, recipe, margin)
    n_left = int(np.count_nonzero(canvas.masked[block.lo : block.hi]))
    passes.only_ends = 0 < n_left == int(np.count_nonzero(late))
    if not recipe.grow:
        return ~late, np.zeros(np.count_nonzero(~late))
    cut, x0 = proposals(logits, keys, recipe, margin)
    scored = cut if recipe.algorithm in SCORED_AFTER_CUT else logits
    return ~late, np.exp(-surprise_of(scored, x0))[~late]


def edit(canvas: Canvas, passes: Passes, block: Block, revealed: Ints, recipe: Recipe, margin: Margin) -> None:
    """Other tokens over those that were revealed before; what is given stays."""
    rows = block.rows[revealed - block.lo]
    tokens, p = edited(rows, canvas.x[revealed], margin, **(recipe.rule_options or {}))
    changed = p > 0
    if not passes.warm:
        changed &= (tokens != recipe.eos_id) & (tokens != recipe.eot_id)
    canvas.write(revealed[changed], tokens[changed], block.step, p[changed])


def ends(logits: Floats, keys: Keys, recipe: Recipe, margin: Margin) -> Flags:
    """Rows that would write an end of text. Old keys and values make them too likely, so that only a warm pass may
    write one: the others leave such a position masked, and the block takes the steps that this costs it."""
    _, x0 = proposals(logits, keys, recipe, margin)
    late: Flags = (x0 == recipe.eos_id) | (x0 == recipe.eot_id)
    return late


def adablock(logits: Floats, keys: Keys, positions: Ints, span: tuple[int, int], recipe: Recipe, margin: Margin) -> int:
    """AdaBlock: in the next quarter of the answer the delimiter of highest confidence, if above .3 (Dream: .5), ends
    the block; otherwise it has its default length. The first masked position is always inside."""
    enough = recipe.end_threshold or (0.5 if recipe.shift else 0.3)
    cut, x0 = proposals(logits, keys, recipe, margin)
    scored = cut if recipe.algorithm in SCORED_AFTER_CUT else logits  # its code takes the confidence that Dream's has
    doubt = np.where(np.isin(x0, recipe.delimiters), surprise_of(scored, x0), np.inf)
    c = np.exp(-doubt)
    margin.absolute(c, enough)
    best = int(np.argmin(doubt))
    for other in np.delete(doubt, best) if c[best] >= enough else ():
        margin.relative(doubt[best], float(other))
    end = int(positions[best]) + 1 if c[best] >= enough else span[0] + recipe.block_length
    return min(max(end, int(positions[0]) + 1), span[1])


def longest_block(canvas: Canvas, recipe: Recipe, n_more: int) -> int:
    """What a block has of the masked region, which may become longer by `n_more`.

    AdaBlock looks at a quarter of the answer. We look at four of its default blocks at most, so that this is no cost of
    an answer that may become long.
    """
    most = canvas.hi - canvas.lo + n_more
    length = recipe.block_length if 0 < recipe.block_length < most else most
    return max(length, min(int(np.count_nonzero(canvas.masked)) // 4, 4 * length)) if recipe.delimiters else length


def blocks(
    canvas: Canvas, recipe: Recipe, longest: int, n_more: int = 0, ends: list[int] | None = None
) -> Iterator[tuple[int, int, int]]:
    """(lo, hi, steps) of each block.

    LLaDA asserts that blocks divide the answer and steps divide the blocks. We let the last block be shorter and the
    first blocks take one step more. Blocks span the masked region, not prompt + answer (as llama-diffusion-cli has it).
    Where that may become longer, steps are shared among as many as there may come to be.
    AdaBlock looks at more than a block; whoever then ends one puts its end into `ends`.
    """
    lo, n_blocks = canvas.lo, -(-(canvas.hi - canvas.lo + n_more) // (recipe.block_length or longest))
    for b in itertools.count():
        if lo >= canvas.hi:
            return
        n_steps = recipe.steps // n_blocks + (b < recipe.steps % n_blocks)
        yield lo, min(lo + longest, canvas.hi), max(1, n_steps)
        lo = ends.pop() if ends else min(lo + longest, canvas.hi)


# ---- how many -------------------------------------------------------------------------------------------------------


def quota(recipe: Recipe, keys: Keys, n_start: int, j: int, n_steps: int, length: int) -> tuple[Flags, int]:
    """Which of the masked positions may be settled in step j of a block of this length, and how many of them are."""
    n_mask = len(keys)
    if recipe.schedule == "adaptive":
        count, share = min(1, n_mask), 1.0 / max(1, n_mask)
    elif recipe.schedule == "block" and (recipe.gaps or recipe.grow):
        # Masks come and go: as if the block began now, with the steps that are left.
        count, share = block_based(n_mask, n_mask, 0, max(1, n_steps - j))
    elif recipe.schedule == "block":
        count, share = block_based(n_start, n_mask, j, n_steps)
    elif recipe.schedule == "denoising":  # SDAR: however much of the block is there already
        count, share = block_based(length, n_mask, j, n_steps)
    else:
        count, share = timestep_based(n_mask, j, n_steps, recipe.eps)
    if recipe.gaps or recipe.grow:  # a canvas finds its length by what is settled
        count = max(count, min(1, n_mask))
    if recipe.algorithm != "origin":
        return np.full(n_mask, True), count
    # Dream's origin has no confidence: every masked position is revealed with the same probability, by its own coin.
    coins = noise_uniform(keys, ORIGIN_REVEAL)
    return coins < share, int(np.count_nonzero(coins < share))


def num_transfer_tokens(n_start: int, n_steps: int, j: int) -> int:
    """LLaDA: as even as integers allow, the larger ones first."""
    return n_start // n_steps + (j < n_start % n_steps)


def block_based(n_start: int, n_mask: int, j: int, n_steps: int) -> tuple[int, float]:
    if j >= n_steps - 1:
        return n_mask, 1.0  # what num_transfer_tokens says as well, unless something was withheld
    count = min(num_transfer_tokens(n_start, n_steps, j), n_mask)
    return count, count / max(1, n_mask)


def timestep_based(n_mask: int, j: int, n_steps: int, eps: float) -> tuple[int, float]:
    """Dream: times go from 1 to eps, the share 1 - s/t of what is masked now. Where Dream's times are float32, ours are
    float64 in just this order of operations, so that a whole number of tokens is the same number everywhere."""
    if j >= n_steps - 1:
        return n_mask, 1.0
    t, s = (1.0 + i * ((eps - 1.0) / n_steps) for i in (j, j + 1))
    share = 1.0 - s / t
    return int(n_mask * share), share


# ---- the rows -------------------------------------------------------------------------------------------------------


def model_rows(passes: Passes, canvas: Canvas, positions: Ints, recipe: Recipe, growth: Growth) -> Floats:
    """The logits that the positions are decided on, float64[len(positions), vocab]."""
    rows = np.maximum(positions - 1, 0) if recipe.shift else positions  # Dream: row i - 1 predicts i; row 0 also 0
    x = canvas.x
    if recipe.cfg_scale > 0.0:
        # All that was given at the start is hidden, on both sides of the masks. (LLaDA's newer batched code duplicates
        # an attention mask that may be None and fails: not copied.)
        un_x = np.where(canvas.prompt_index, canvas.mask_id, x)
        cond, uncond = passes.run(np.stack([x, un_x]))[:, rows]
        logits: Floats = uncond + (recipe.cfg_scale + 1.0) * (cond - uncond)
    else:
        logits = passes.run(x[None])[0, rows]
    for token, bias in (recipe.logit_bias or {}).items():
        logits[:, token] += bias
    if recipe.repetition_penalty != 1.0:
        r = recipe.repetition_penalty
        for row, position in zip(logits, positions, strict=True):
            seen = np.setdiff1d(np.delete(x, position), [canvas.mask_id])  # elsewhere; once, however often it occurs
            row[seen] = np.where(row[seen] > 0.0, row[seen] / r, row[seen] * r)
    # The papers' code can propose the mask token itself; the position would then stay masked though it was counted.
    # We take it out of the distribution.
    logits[:, canvas.mask_id] = -np.inf
    if recipe.logits_eos_inf and recipe.eos_id >= 0:
        logits[:, recipe.eos_id] = -np.inf
    growth.forbid(logits, positions)
    return logits


def keep_likely(logits: Floats, recipe: Recipe, margin: Margin) -> Floats:
    """Dream's order: temperature, top-p, top-k; what they cut is -inf. Equal logits: top-p takes the lower token first,
    top-k keeps all that equal the k-th."""
    scaled = logits / recipe.temperature if recipe.temperature > 0.0 else logits
    kept = np.isfinite(logits)
    if 0.0 < recipe.top_p < 1.0:
        order = np.argsort(-logits, axis=-1, kind="stable")
        p = softmax(np.take_along_axis(scaled, order, -1))
        before = np.pad(np.cumsum(p, axis=-1)[:, :-1], ((0, 0), (1, 0)))
        margin.absolute(before, recipe.top_p)
        np.put_along_axis(kept, order, before <= recipe.top_p, axis=-1)  # up to and with the one that exceeds top_p
        kept &= np.isfinite(logits)
    if 0 < recipe.top_k < logits.shape[-1]:
        kth = -np.sort(-np.where(kept, logits, -np.inf), axis=-1)[:, recipe.top_k - 1 : recipe.top_k]
        kept &= logits >= kth
    lowest_kept = np.min(logits, axis=-1, where=kept, initial=np.inf)
    margin.absolute(lowest_kept, np.max(logits, axis=-1, where=~kept, initial=-np.inf))
    cut: Floats = np.where(kept, scaled, -np.inf)
    return cut


# ---- which ----------------------------------------------------------------------------------------------------------


class Scene(NamedTuple):
    """Where the rows are, and what is around them."""

    positions: Ints
    masked: Flags  # of the canvas
    mean_conf: float


def transfer(logits: Floats, keys: Keys, k: int, recipe: Recipe, margin: Margin, scene: Scene) -> tuple[Ints, Ints]:
    """The k surest rows, or as many as the rule wants, and the tokens to write there."""
    cut, x0 = proposals(logits, keys, recipe, margin)
    rows = Rows(logits, cut, x0, keys)
    x0_p, doubt = (low_confidence if recipe.algorithm in {*RULES, "sequential"} else SCORES[recipe.algorithm])(rows)
    if recipe.algorithm == "entropy_bounded":
        x0_p, doubt = entropy(Rows(logits, logits, x0, keys))
    if recipe.algorithm == "sequential":
        x0_p, doubt = -scene.positions.astype(float), scene.positions.astype(float)
    entropies = doubt
    if recipe.confidence_eos_eot_inf:
        # LLaDA assigns -inf before the softmax, which at temperature 0 also renormalises the others and at T > 0 spares
        # EOS. Its intention: an answer's end is settled last. Such a row stays eligible.
        late = (x0 == recipe.eos_id) | (x0 == recipe.eot_id)
        x0_p, doubt = np.where(late, -np.inf, x0_p), np.where(late, np.inf, doubt)
    if recipe.alg_temp > 0.0 and recipe.algorithm not in ("origin", *RULES):
        # Dream draws positions without replacement from softmax(confidence / alg_temp): the k largest of
        # confidence / alg_temp + Gumbel noise are such a draw.
        doubt = -(x0_p / recipe.alg_temp + noise_gumbel(keys, ALG_TEMP_DRAW))
    order = np.argsort(doubt, kind="stable")  # equally sure: the earlier position
    if recipe.algorithm in RULES:
        choice = Choice(order, x0_p, doubt, entropies, scene.positions, scene.masked, k, scene.mean_conf, margin)
        index = RULES[recipe.algorithm](choice, **(recipe.rule_options or {}))
        return index, x0[index]
    if k < len(order):
        margin.relative(doubt[order[k - 1]], doubt[order[k]], floor=1.0 if recipe.alg_temp > 0.0 else 1e-9)
    return order[:k], x0[order[:k]]


def proposals(logits: Floats, keys: Keys, recipe: Recipe, margin: Margin) -> tuple[Floats, Ints]:
    """The rows as temperature, top-p and top-k leave them, and the token that each proposes."""
    dream_scores = recipe.algorithm in SCORED_AFTER_CUT
    sharpest = recipe.temperature if 0.0 < recipe.temperature < 1.0 else 1.0
    margin.spread = max(1.0, float(np.max(np.abs(logits), where=np.isfinite(logits), initial=0.0)) / sharpest)
    cut = keep_likely(logits, recipe, margin) if recipe.temperature > 0.0 or dream_scores else logits
    return cut, propose(np.where(np.isneginf(cut), -np.inf, logits), keys, recipe.temperature, margin)


def propose(logits: Floats, keys: Keys, temperature: float, margin: Margin) -> Ints:
    """Gumbel-max: LLaDA's argmax of exp(l) / (-ln u)^T is argmax of l + T gumbel, a draw from softmax(l / T)."""
    noisy = logits
    if temperature > 0.0:
        noisy = logits + temperature * noise_gumbel(keys[:, None], np.arange(logits.shape[-1]))
    top_two = np.sort(noisy, axis=-1)[:, -2:]
    margin.absolute(top_two[:, 1], top_two[:, 0])
    x0: Ints = np.argmax(noisy, axis=-1)  # equal logits: the lower token
    return x0


# Each returns (x0_p, doubt). Doubt orders the rows as x0_p does, the other way round, and keeps full relative precision
# where x0_p rounds to 1.


def low_confidence(rows: Rows) -> tuple[Floats, Floats]:
    """LLaDA: the probability of x0, noise-free, at temperature 1, over all tokens."""
    surprise = surprise_of(rows.logits, rows.x0)
    return np.exp(-surprise), surprise


def random(rows: Rows) -> tuple[Floats, Floats]:
    uniform = noise_uniform(rows.keys, RANDOM_SCORE)
    return uniform, -uniform


def maskgit_plus(rows: Rows) -> tuple[Floats, Floats]:
    """Dream: the probability of x0 after temperature, top-p and top-k."""
    surprise = surprise_of(rows.cut, rows.x0)
    return np.exp(-surprise), surprise


def topk_margin(rows: Rows) -> tuple[Floats, Floats]:
    """Dream: p(1) - p(2). Of the two largest, whatever was drawn. (llama-diffusion-cli reads an unsorted array.)"""
    best = np.argmax(rows.cut, axis=-1)
    second = np.sort(softmax(rows.cut), axis=-1)[:, -2]
    doubt = -np.expm1(-surprise_of(rows.cut, best)) + second
    return 1.0 - doubt, doubt


def entropy(rows: Rows) -> tuple[Floats, Floats]:
    """Dream: the negative entropy, surest first (llama-diffusion-cli has the sign wrong). Dream adds 1e-10 inside the
    logarithm against ln 0; we take 0 ln 0 = 0."""
    best = np.argmax(rows.cut, axis=-1)
    surprise_best = surprise_of(rows.cut, best)[:, None]
    below = np.take_along_axis(rows.cut, best[:, None], -1) - rows.cut
    surprise = surprise_best + np.where(np.isinf(below), 0.0, below)
    h = np.sum(softmax(rows.cut) * surprise, axis=-1)
    return -h, h


def origin(rows: Rows) -> tuple[Floats, Floats]:
    return np.ones(len(rows.x0)), np.zeros(len(rows.x0))


SCORES: dict[str, Callable[[Rows], tuple[Floats, Floats]]] = {
    f.__name__: f for f in (low_confidence, random, maskgit_plus, topk_margin, entropy, origin)
}


def softmax(logits: Floats) -> Floats:
    weights: Floats = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return weights / np.sum(weights, axis=-1, keepdims=True, dtype=np.float64)


def surprise_of(logits: Floats, tokens: Ints) -> Floats:
    """-ln softmax(logits)[token], precise down to certainty: ln(1 + the sum of the others' odds)."""
    odds = logits - np.take_along_axis(logits, tokens[:, None], -1)
    np.put_along_axis(odds, tokens[:, None], -np.inf, axis=-1)
    surprise: Floats = np.logaddexp(0.0, np.logaddexp.reduce(odds, axis=-1))
    return surprise
