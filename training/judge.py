"""How far a model has come, measured by torch: the exact decoder on questions of the test split."""

from __future__ import annotations

from tokenizers import Tokenizer

from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.tasks import TASKS

from . import tokenizer as vocabulary
from .decode import fills, replies
from .model import Transformer
from .recipe import Recipe

Score = tuple[int, int]
"""Right answers and questions."""


def judge(recipe: Recipe, model: Transformer, n_per_task: int) -> dict[str, Score]:
    """Right answers per task: whole replies, or for a model of variable gaps, gaps of unknown length."""
    tokenizer: Tokenizer = vocabulary.load()
    items = questions(n_per_task)
    if recipe.variable_gap:
        marks = fills(model, tokenizer, items)
    else:
        how = {"causal": recipe.objective.causal, "shift": recipe.shift, "block_length": recipe.block_length}
        texts = replies(model, tokenizer, items, **how)
        marks = [TASKS[item.task].passes(item, text) for item, text in zip(items, texts, strict=True)]
    scores = dict.fromkeys(TASKS, (0, 0))
    for item, mark in zip(items, marks, strict=True):
        right, n = scores[item.task]
        scores[item.task] = (right + mark, n + 1)
    return scores
