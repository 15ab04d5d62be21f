"""One recipe per model: its shape, what it is grown from, its objective, how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .model import Shape
from .objective import Block, Causal, Elastic, Masked, Objective
from .tokenizer import N_VOCAB

BASE = Shape(n_vocab=N_VOCAB)
KNOWN: Mapping[str, float] = {"table": 1.0, "rows": 0.4, "run": 0.6}
"""Looking things up takes nano-ar long to find; those that grow from it only have to keep it."""
HARD_TO_WRITE: Mapping[str, float] = {
    **KNOWN,
    "addition": 5.0,
    "subtraction": 5.0,
    "sort-words": 4.0,
    "sort-numbers": 4.5,
    "counting": 7.0,
    "calendar": 2.5,
    "bases": 2.0,
    "fix-line": 1.8,
    "japanese": 1.8,
    "story": 3.0,
}
STILL_HARD: Mapping[str, float] = {**HARD_TO_WRITE, "story": 7.0}
"""At temperature 0 nearly all stories of a model go the same way: one slip in it is in every sixth."""
HARDEST: Mapping[str, float] = {**STILL_HARD, "counting": 10.0, "bases": 3.0, "json": 3.0, "persona": 0.8}
HARD_TO_FILL: Mapping[str, float] = {
    **KNOWN,
    "sort-numbers": 2.5,
    "sort-words": 2.2,
    "bases": 3.0,
    "counting": 3.0,
    "calendar": 3.5,
    "units": 2.2,
    "form": 2.5,
    "json": 2.5,
    "fix-line": 2.0,
    "japanese": 1.5,
    "story": 5.0,
}
STILL_HARD_TO_FILL: Mapping[str, float] = {
    **HARD_TO_FILL,
    "addition": 2.5,
    "bases": 5.0,
    "json": 4.0,
    "python": 1.8,
    "sort-words": 3.0,
}


@dataclass(frozen=True)
class Encore:
    """Steps behind a schedule: the learning rate rises a little and comes down once more, over what is still weak."""

    n_steps: int
    practice: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class Recipe:
    """`architecture` is GGUF's name. `grown_from` names the recipe whose weights are the start; None: from noise.
    `minutes` of training are the length of the schedule in place of its steps. `remark` says on the card what is not
    as the name makes one think."""

    name: str
    architecture: str
    shape: Shape
    objective: Objective
    n_steps: int
    summary: str
    grown_from: str | None = None
    peak_lr: float = 4e-3
    batch_tokens: int = 4096
    seed: int = 1
    stretch: float = 0.15
    encore: Encore | None = None
    minutes: float | None = None
    remark: str = ""
    practice: Mapping[str, float] = field(default_factory=dict, hash=False)  # weights of tasks that are not their own

    @property
    def last(self) -> Recipe:
        """The schedule that ends it: of a recipe with an encore the end of one over all steps."""
        if self.encore is None:
            return self
        return replace(self, n_steps=self.n_steps + self.encore.n_steps, practice=self.encore.practice, encore=None)

    @property
    def encore_alone(self) -> Recipe:
        """The encore as a run of its own, over a model that was trained before."""
        if self.encore is None:
            raise ValueError(f"{self.name} has no encore")
        return replace(self, n_steps=self.encore.n_steps, practice=self.encore.practice, encore=None)

    @property
    def shift(self) -> bool:
        """Whether row i - 1 answers for position i in a masked model."""
        return isinstance(self.objective, Masked | Elastic) and self.objective.shift

    @property
    def variable_gap(self) -> bool:
        return isinstance(self.objective, Elastic)

    @property
    def block_length(self) -> int:
        """Positions of a block model's blocks; 0: another kind of model."""
        return self.objective.length if isinstance(self.objective, Block) else 0


_RECIPES = (
    Recipe(
        "nano-ar",
        "llama",
        BASE,
        Causal(),
        5_700,
        "causal, the equal-size partner of nano-llada",
        practice={"reverse": 2.0, "capitals": 0.8, "story": 3.0},
    ),
    # The way from a causal model to a masked one. A pass of LLaDA's objective teaches the few tokens that a decoder
    # would settle next, one of the block objective those of every block: what a sum is, is learnt there, and in the
    # next stage that the text behind is not yet written.
    Recipe(
        "nano-block",
        "llama",
        BASE,
        Block(8),
        6_000,
        "block diffusion, grown from the causal model as SDAR was",
        grown_from="nano-ar",
        peak_lr=3e-3,
        practice=HARD_TO_WRITE,
    ),
    Recipe(
        "nano-llada",
        "llada",
        BASE,
        Masked(),
        18_000,
        "masked diffusion with LLaDA's objective, grown by way of blocks from the causal model",
        grown_from="nano-block",
        peak_lr=3e-3,
        practice=HARD_TO_WRITE,
        encore=Encore(2_000, STILL_HARD),
        remark="Its objective is not quite LLaDA's: of the chats 30 % are masked as LLaDA masks, 55 % as a decoder "
        "that goes from left to right leaves them, and 15 % have a single gap. A mask counts the same whatever share "
        "of its row is masked, where LLaDA divides by that; but a fifth as much behind the block that such a decoder "
        "is at, and a tenth as much in the padding.",
    ),
    # Dream grew from a causal model. From nano-llada, which did as well, 80 steps come as far as 2,000 from nano-ar:
    # what masks mean is the long lesson, that an answer stands one row earlier the short one.
    Recipe(
        "nano-dream",
        "dream",
        replace(BASE, qkv_bias=True),
        Masked(shift=True),
        4_800,
        "masked diffusion with shifted rows, grown from nano-llada",
        grown_from="nano-llada",
        peak_lr=2e-3,
        practice=STILL_HARD,
        encore=Encore(1_500, HARDEST),
        remark="Dream grew from a causal model, this one from nano-llada: it did as well, and 80 steps from there come "
        "as far as 2,000 from nano-ar.",
    ),
    Recipe(
        "nano-moe",
        "llada-moe",
        replace(BASE, qk_norm=True, n_expert=4, n_expert_used=2, d_ff=224),
        Masked(),
        1_900,
        "masked diffusion over routed experts, grown from nano-llada",
        grown_from="nano-llada",
        peak_lr=2e-3,
        practice=STILL_HARD,
        encore=Encore(1_000, HARDEST),
    ),
    Recipe(
        "nano-dreamon",
        "dream",
        replace(BASE, qkv_bias=True),
        Elastic(),
        14_000,
        "infilling of gaps whose length nobody knows, grown from nano-dream",
        grown_from="nano-dream",
        peak_lr=2e-3,
        practice=HARD_TO_FILL,
        encore=Encore(7_000, STILL_HARD_TO_FILL),
        remark="A mask that stands for nothing has the end of the text as its token; DreamOn's `<delete>` is in the "
        "vocabulary, and nothing is ever trained to say it.",
    ),
)
RECIPES = {recipe.name: recipe for recipe in _RECIPES}
