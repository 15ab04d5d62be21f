"""The oracle of block models: SDAR's block_diffusion_generate and what others made of it, in NumPy float64.

The canvas is cut into blocks of B from its first token on; a block sees itself and everything before it. Prefill: the
prompt's whole blocks, one pass each. Then block after block: denoise x[s : s + B] against the cache (store_kv=False),
and one more pass over what it has become, which stores its keys and values. In the papers' words as in `reference.py`;
what is ours: `max_tokens` need not be a multiple of B, blocks are whole all the same and what is over is not looked at;
confidence is that of the full distribution (SDAR takes the one after temperature, top-k and top-p).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fake import noise_key
from tests.margin import Margin
from tests.reference import Floats, Ints, Recipe, Result, Scene, model_rows, proposals, quota, surprise_of, transfer
from tests.reference_growth import Canvas, Growth
from tests.reference_rules import Credit, edited, remasked

REMASKING = ("saber", "joint_threshold")
MOST_EDITS = 16


@dataclass
class Block:
    """One decoding. `network(x[None], lo, hi, hi)`: float[1, n, vocab], with what earlier passes have cached."""

    network: Callable[..., NDArray[Any]]
    prompt: Sequence[int]
    mask_id: int
    recipe: Recipe
    max_tokens: int
    length: int  # B
    sub_block: int  # Fast-dLLM v2: so many positions of a block are revealed before the next
    stop_ids: Sequence[int]
    margin: Margin = field(default_factory=Margin)
    credit: Credit = field(default_factory=Credit)
    together: int = 8  # blocks that one pass may compute
    waiting: int = 0  # whole blocks whose keys and values nothing has needed yet
    step: int = 0
    n_passes: int = 0
    n_computed: int = 0  # blocks, in all passes

    def __post_init__(self) -> None:
        n = -(-(len(self.prompt) + self.max_tokens) // self.length) * self.length
        self.x = np.full(n, self.mask_id)
        self.x[: len(self.prompt)] = self.prompt
        self.settled_at = np.where(self.x == self.mask_id, -2, -1)
        self.conf = np.zeros(n)

    @property
    def options(self) -> dict[str, Any]:
        return self.recipe.rule_options or {}

    @property
    def most_edits(self) -> int:
        joint = self.recipe.algorithm == "joint_threshold"
        return int(self.options.get("most_edits", MOST_EDITS)) if joint else 0

    def forward(self, s: int) -> Floats:
        """A pass over the block at s, and over those that wait before it. Where rows are shifted they go apart."""
        self.write_waiting(0 if self.recipe.shift else self.together - 1)
        self.count(self.waiting + 1)
        self.waiting = 0
        return self.seen(s)

    def feed(self, s: int) -> Floats:
        """The block at s is what it will be: it is computed with what needs it first."""
        self.waiting += 1
        return self.seen(s)

    def write_waiting(self, most_left: int) -> None:
        while self.waiting > most_left:
            n = min(self.waiting, self.together)
            self.waiting -= n
            self.count(n)

    def count(self, n_blocks: int) -> None:
        self.n_passes += 1
        self.n_computed += n_blocks

    def seen(self, s: int) -> Floats:
        """The rows of the block at s, which sees all before it and itself."""
        end = s + self.length
        rows = np.array(self.network(self.x[None, :end], s, end, end)[0], dtype=np.float64)
        out = np.full((len(self.x), rows.shape[-1]), np.nan)
        out[s:end] = rows[s:end]
        return out

    def rows(self, out: Floats, positions: Ints) -> Floats:
        """The logits that positions are decided on."""

        class Once:
            @staticmethod
            def run(_: Any) -> Floats:
                return out[None].copy()

        canvas = Canvas.of(self.x, self.mask_id)
        return model_rows(Once(), canvas, positions, self.recipe, Growth())  # type: ignore[arg-type]

    def decode(self) -> None:
        first = len(self.prompt) // self.length * self.length
        out = np.empty(0)
        for s in range(0, first, self.length):
            out = self.feed(s)
        for s in range(first, len(self.x), self.length):
            n_masked = [int(np.count_nonzero(self.x[lo : lo + self.sub_block] == self.mask_id))
                        for lo in range(s, s + self.length, self.sub_block)]  # fmt: skip
            if self.recipe.shift and s > 0 and self.x[s] == self.mask_id:
                # Fast-dLLM v2: the next block's first token is the causal one, from the last row of the block before.
                self.write_waiting(0)
                self.reveal(self.rows(out, np.array([s])), np.array([s]), np.array([True]), 1)
                self.step += 1
                over = self.over(s, s + self.sub_block, 0, changed=True)  # a part of one token is full with it
                if self.ends(s + self.sub_block if over else s):
                    return
            clean = False
            for number, lo in enumerate(range(s, s + self.length, self.sub_block)):
                if n_masked[number] == 0:
                    continue
                ended, clean = self.denoise(s, max(lo, len(self.prompt)), lo + self.sub_block, n_masked[number])
                if ended:
                    return
            if not clean or self.recipe.shift:
                out = self.feed(s)

    def denoise(self, s: int, lo: int, hi: int, n_start: int) -> tuple[bool, bool]:
        """Reveal [lo, hi). Whether the text has ended, and whether the last pass saw what stands there now."""
        n_after, changed = 0, True
        for j in itertools.count():
            mask_index = lo + np.flatnonzero(self.x[lo:hi] == self.mask_id)
            if self.over(lo, hi, n_after, changed):
                return False, not changed
            keys = noise_key(self.recipe.seed, self.step, mask_index)
            eligible, k = self.quota(keys, n_start, j)
            n_after += not len(mask_index)
            if k or self.recipe.algorithm == "joint_threshold":
                before = self.x.copy()
                self.reveal_and_edit(s, lo, hi, mask_index[eligible], k)
                changed = bool((before != self.x).any())
            self.step += 1
            over = self.over(lo, hi, n_after, changed)
            if self.ends(hi if over or self.recipe.algorithm not in REMASKING else lo):
                return True, False
        raise AssertionError

    def over(self, lo: int, hi: int, n_after: int, changed: bool) -> bool:
        if (self.x[lo:hi] == self.mask_id).any():
            return False
        return n_after >= self.most_edits or (n_after > 0 and not changed)

    def quota(self, keys: Any, n_start: int, j: int) -> tuple[NDArray[np.bool_], int]:
        n_steps = self.recipe.steps or self.sub_block
        return quota(self.recipe, keys, n_start, j, n_steps, self.sub_block)

    def reveal_and_edit(self, s: int, lo: int, hi: int, mask_index: Ints, k: int) -> None:
        out = self.forward(s)
        revealed = lo + np.flatnonzero(self.settled_at[lo:hi] >= 0)
        if self.recipe.shift and s > 0:
            revealed = revealed[revealed != s]  # its row was another block's
        block = self.rows(out, np.arange(lo, hi))
        if len(mask_index):
            chosen = self.reveal(block[mask_index - lo], mask_index, np.full(len(mask_index), True), k)
        if self.recipe.algorithm == "saber":
            now = np.exp(-surprise_of(block[revealed - lo], self.x[revealed]))
            n_left = int(np.count_nonzero(self.x[lo:hi] == self.mask_id))
            dropped = self.conf[revealed] - now
            back = revealed[remasked(dropped, chosen, n_left, self.margin, **self.options)]
            self.x[back], self.settled_at[back] = self.mask_id, -2
        if self.recipe.algorithm == "joint_threshold" and len(revealed):
            self.edit(block[revealed - lo], revealed)

    def reveal(self, logits: Floats, positions: Ints, eligible: NDArray[np.bool_], k: int) -> int:
        """Reveal some of these positions; how many."""
        logits, positions = logits[eligible], positions[eligible]
        if self.recipe.algorithm == "credit":
            logits = self.credit.fuse(logits, positions)
        keys = noise_key(self.recipe.seed, self.step, positions)
        so_far = self.conf[self.settled_at >= 0]
        scene = Scene(positions, self.x == self.mask_id, float(np.mean(so_far)) if len(so_far) else 2.0)
        if self.recipe.algorithm == "sequential":
            _, x0 = proposals(logits, keys, self.recipe, self.margin)
            index: Ints = np.arange(min(k, len(positions)))
            x0 = x0[index]
        else:
            index, x0 = transfer(logits, keys, k, self.recipe, self.margin, scene)
        where = positions[index]
        self.x[where], self.settled_at[where] = x0, self.step
        self.conf[where] = np.exp(-surprise_of(logits[index], x0))
        return len(where)

    def edit(self, logits: Floats, positions: Ints) -> None:
        """The prompt is not touched."""
        tokens, p = edited(logits, self.x[positions], self.margin, **self.options)
        where = positions[p > 0]
        self.x[where], self.settled_at[where], self.conf[where] = tokens[p > 0], self.step, p[p > 0]

    def ends(self, bound: int) -> bool:
        """Whether an end is revealed for good with nothing masked before it, or all that was asked for is."""
        limit = len(self.prompt) + self.max_tokens
        bound = bound if self.recipe.algorithm in REMASKING else limit
        for i in range(len(self.prompt), min(bound, limit)):
            if self.x[i] == self.mask_id:
                return False
            if self.x[i] in self.stop_ids:
                return True
        return bound >= limit


def decode_blocks(
    network: Callable[..., NDArray[Any]],
    prompt: Sequence[int],
    mask_id: int,
    *,
    max_tokens: int,
    length: int,
    sub_block: int = 0,
    stop_ids: Sequence[int] = (),
    together: int = 8,
    **options: Any,
) -> Result:
    """Prompt and answer, masks behind its end; `options` are the fields of Recipe, `steps` those of one block."""
    one = Block(
        network,
        prompt,
        mask_id,
        Recipe(**options),
        max_tokens,
        length,
        sub_block or length,
        stop_ids,
        together=together,
    )
    one.decode()
    return Result(one.x, one.settled_at, one.n_passes, one.margin.least, one.n_computed * length, one.n_passes)
