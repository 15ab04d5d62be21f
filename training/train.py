"""Trains one model: `python -m training.train nano-llada`. Killed at any time, it goes on where it was."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from . import tokenizer as vocabulary
from .card import judge
from .corpus import batches
from .grow import grow
from .model import Transformer
from .objective import Sample
from .optimise import Optimiser
from .recipe import RECIPES, Recipe
from .runs import CHECKPOINT_SECONDS, RUNS, Run

LOG_EVERY = 20
BALANCE_WEIGHT = 0.01


class Trainer:
    """A model on its way: recipe, weights, optimiser, where it is and how long it took."""

    def __init__(self, recipe: Recipe, root: Path = RUNS, *, compiled: bool = False, device: str = "cpu") -> None:
        self.recipe, self.device = recipe, device
        self.run = Run.of(recipe.name, root)
        self.tokenizer: Tokenizer = vocabulary.load()
        torch.manual_seed(recipe.seed)
        self.model = Transformer(recipe.shape).to(device)
        self.step, self.n_steps, self.seconds, self.tokens = 0, recipe.n_steps, 0.0, 0
        if self.run.checkpoint.exists():
            state = self.run.load()
            self.model.load_state_dict(state["model"])
        elif recipe.grown_from:
            grow(self.model, Run.of(recipe.grown_from, root).load()["model"])
        self.optimiser = Optimiser(self.model, recipe.peak_lr)
        if self.run.checkpoint.exists():
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]
        self.run.cut_log(self.step)
        self.forward: Callable[..., Tensor] = torch.compile(self.model, dynamic=False) if compiled else self.model

    def save(self) -> None:
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        place = {"step": self.step, "n_steps": self.n_steps, "seconds": self.seconds, "tokens": self.tokens}
        self.run.save(state | place)

    def samples(self) -> Iterator[Sample]:
        """From the seed; after a restart the batches that were used are drawn again and skipped."""
        recipe = self.recipe
        source = batches(self.tokenizer, recipe.seed, recipe.batch_tokens, stretch=recipe.stretch)
        for number, batch in enumerate(source):
            if number >= self.step:
                yield recipe.objective.sample(batch, np.random.default_rng((recipe.seed, number)))

    def learn(self, sample: Sample) -> float:
        """One step; returns the loss."""
        inputs, targets, weight = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self.device)
            for part in (sample.inputs, sample.targets, sample.weight)
        )
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.forward(inputs, self.recipe.objective.causal)
        each = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        loss = (each * weight.flatten()).sum() / weight.sum()
        (loss + BALANCE_WEIGHT * self.model.balance()).backward()
        return float(loss.detach())

    def judge(self, n_per_task: int) -> dict[str, float]:
        """Accuracy per task on questions of the test split, with the exact decoder."""
        scores = judge(self.recipe, self.model, n_per_task)
        return {task: right / n for task, (right, n) in next(iter(scores.values())).items()}

    def train(
        self, n_steps: int, *, judge_seconds: float = 600.0, judge_items: int = 8, stop_after: int | None = None
    ) -> None:
        """Up to n_steps in all (the length of the schedule), or `stop_after` more of them."""
        self.n_steps = n_steps
        last = min(n_steps, self.step + stop_after) if stop_after else n_steps
        saved = judged = time.monotonic()
        mean: float | None = None
        bar = tqdm(itertools.islice(self.samples(), last - self.step), initial=self.step, total=n_steps, mininterval=5)
        for sample in bar:
            started = time.monotonic()
            loss = self.learn(sample)
            lr = self.optimiser.step(self.step / n_steps)
            self.step += 1
            self.tokens += sample.inputs.size
            mean = loss if mean is None else 0.97 * mean + 0.03 * loss
            self.seconds += time.monotonic() - started
            marks: dict[str, float] = {}
            if judge_items and (time.monotonic() - judged > judge_seconds or self.step == last):
                marks = self.judge(judge_items)
                judged = time.monotonic()
                self._report(marks)
            if self.step % LOG_EVERY == 0 or marks:
                bar.set_postfix(loss=f"{mean:.4f}", lr=f"{lr:.1e}")
                self._log(lr, mean, marks)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()

    def _log(self, lr: float, loss: float, marks: dict[str, float]) -> None:
        mean = f"{sum(marks.values()) / len(marks):.4f}" if marks else ""
        self.run.append(
            step=self.step,
            seconds=f"{self.seconds:.1f}",
            tokens=self.tokens,
            lr=f"{lr:.2e}",
            loss=f"{loss:.5f}",
            accuracy=mean,
        )

    def _report(self, marks: dict[str, float]) -> None:
        line = json.dumps({"step": self.step, "tasks": {task: round(mark, 3) for task, mark in marks.items()}})
        tqdm.write(f"mean {sum(marks.values()) / len(marks):.3f} {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--steps", type=int, help="length of the whole schedule; default: the recipe's")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--compile", action="store_true", help="torch.compile: worth it on a GPU")
    parser.add_argument("--judge-minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.model]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(recipe, compiled=arguments.compile, device=device)
    trainer.train(arguments.steps or recipe.n_steps, judge_seconds=60 * arguments.judge_minutes)
    trainer.run.draw(trainer.run.folder / "loss.png")


if __name__ == "__main__":
    main()
