"""Trains one model: `python -m training.train nano-llada`. Killed at any time, it goes on where it was."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from . import tokenizer as vocabulary
from .corpus import Stream
from .export import NANO
from .grow import grow
from .judge import judge
from .model import Transformer
from .objective import Sample
from .objective.block import twin_sight
from .optimise import Optimiser
from .recipe import RECIPES, Recipe
from .restore import trained, weights_of
from .runs import CHECKPOINT_SECONDS, RUNS, Run
from .team import ALONE, Team, together

LOG_EVERY = 20
BALANCE_WEIGHT = 0.01


def halves_are_quick(device: str) -> bool:
    """Whether the machine multiplies bfloat16 itself; where it is emulated, a step takes ten times as long."""
    known = torch.cpu.get_capabilities()
    return device == "cuda" or any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


class Trainer:
    """A model on its way: recipe, weights, optimiser, where it is and how long it took."""

    def __init__(
        self,
        recipe: Recipe,
        root: Path = RUNS,
        *,
        team: Team = ALONE,
        released: bool = False,
        compiled: bool = False,
        device: str = "cpu",
    ) -> None:
        self.recipe, self.team, self.device = recipe, team, device
        self.run = Run.of(recipe.name, root)
        tokenizer: Tokenizer = vocabulary.load()
        # A model of its own order of questions: grown from another, it would meet again what that was taught with.
        self.seed = zlib.crc32(f"{recipe.seed}/{recipe.name}".encode())
        share = recipe.batch_tokens // team.size
        self.stream = Stream(tokenizer, self.seed, share, stretch=recipe.stretch, practice=recipe.practice)
        torch.manual_seed(recipe.seed)
        self.model = Transformer(recipe.shape).to(device)
        self.step, self.n_steps, self.seconds, self.tokens = 0, recipe.n_steps, 0.0, 0
        self.released = ""  # the digest of the file it goes on from
        if self.run.checkpoint.exists():
            state = self.run.load()
            self.model.load_state_dict(state["model"])
        elif released:
            file = NANO / f"{recipe.name}.gguf"
            self.model.load_state_dict(weights_of(recipe, file))
            self.released = hashlib.sha256(file.read_bytes()).hexdigest()
        elif recipe.grown_from:
            grow(self.model, trained(RECIPES[recipe.grown_from], root))
        self.optimiser = Optimiser(self.model, recipe.peak_lr, team)
        if self.run.checkpoint.exists():
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]
            self.released = state.get("released", "")
            self.stream.state = state["stream"]
            while self.stream.n_drawn % team.size:  # the others' batches of the last step
                next(self.stream)
        if team.leads:
            self.run.cut_log(self.step)
        self.forward: Callable[..., Tensor] = torch.compile(self.model, dynamic=False) if compiled else self.model

    def save(self) -> None:
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        place = {"step": self.step, "n_steps": self.n_steps, "seconds": self.seconds, "tokens": self.tokens}
        device = torch.cuda.get_device_name() if self.device == "cuda" else "a CPU"
        how = {"processes": self.team.size, "device": device, "batch_tokens": self.recipe.batch_tokens}
        how |= {"peak_lr": self.recipe.peak_lr, "released": self.released}
        self.run.save(state | place | how | {"stream": self.stream.state})

    def samples(self) -> Iterator[Sample]:
        """From the seed, dealt out to the team."""
        recipe, team = self.recipe, self.team
        while True:
            number = self.stream.n_drawn
            batch = next(self.stream)
            if number % team.size == team.rank:
                yield recipe.objective.sample(batch, np.random.default_rng((self.seed, number)))

    def learn(self, sample: Sample) -> float:
        """One step; returns the loss."""
        inputs, targets, weight = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self.device)
            for part in (sample.inputs, sample.targets, sample.weight)
        )
        with torch.autocast(self.device, torch.bfloat16, enabled=halves_are_quick(self.device)):
            logits = self._logits(inputs)
        each = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        loss = (each * weight.flatten()).sum() / weight.sum()
        (loss + BALANCE_WEIGHT * self.model.balance()).backward()
        self.team.average(self.model.parameters())
        return float(loss.detach())

    def _logits(self, inputs: Tensor) -> Tensor:
        if block := self.recipe.block_length:
            sight = torch.from_numpy(twin_sight(inputs.shape[1] // 2, block)).to(self.device)
            return self.forward(inputs, sight=sight, n_twins=2)
        return self.forward(inputs, self.recipe.objective.causal)

    def judge(self, n_per_task: int) -> dict[str, float]:
        """Accuracy per task on questions of the test split, with the exact decoder."""
        scores = judge(self.recipe, self.model, n_per_task)
        return {task: right / n for task, (right, n) in scores.items()}

    def train(
        self,
        n_steps: int,
        *,
        minutes: float | None = None,
        judge_seconds: float = 600.0,
        judge_items: int = 8,
        stop_after: int | None = None,
    ) -> None:
        """To the end of the schedule: n_steps, or the minutes of training in all; or `stop_after` more steps."""
        last = self.step + stop_after if stop_after else None
        self.n_steps = n_steps
        saved = judged = time.monotonic()
        lr, mean, samples = 0.0, None, self.samples()
        bar = tqdm(initial=self.step, total=None if minutes else n_steps, mininterval=5, disable=not self.team.leads)
        while self.step != last and (progress := self._progress(minutes)) < 1.0:
            started = time.monotonic()
            sample = next(samples)
            loss = self.learn(sample)
            lr = self.optimiser.step(progress)
            self.step += 1
            self.tokens += sample.inputs.size * self.team.size
            mean = loss if mean is None else 0.97 * mean + 0.03 * loss
            self.seconds += time.monotonic() - started
            bar.update()
            if not self.team.leads:
                continue
            if self.step % LOG_EVERY == 0:
                bar.set_postfix(loss=f"{mean:.4f}", lr=f"{lr:.1e}", schedule=f"{progress:.1%}")
                self._log(lr, mean)
            if judge_items and time.monotonic() - judged > judge_seconds:
                self._log(lr, mean, self._report(judge_items))
                judged = time.monotonic()
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        bar.close()
        if minutes:
            self.n_steps = self.step
        if not self.team.leads:
            return
        self.save()
        if judge_items and mean is not None:
            self._log(lr, mean, self._report(judge_items))

    def _progress(self, minutes: float | None) -> float:
        """How much of the schedule is behind: the same for every member, whose clocks differ."""
        return self.team.agree(self.seconds / (60 * minutes)) if minutes else self.step / self.n_steps

    def _log(self, lr: float, loss: float, marks: dict[str, float] | None = None) -> None:
        self.run.append(
            step=self.step,
            seconds=f"{self.seconds:.1f}",
            tokens=self.tokens,
            lr=f"{lr:.2e}",
            loss=f"{loss:.5f}",
            accuracy=f"{sum(marks.values()) / len(marks):.4f}" if marks else "",
        )

    def _report(self, n_per_task: int) -> dict[str, float]:
        """Judges and says so on the terminal."""
        marks = self.judge(n_per_task)
        line = json.dumps({"step": self.step, "tasks": {task: round(mark, 3) for task, mark in marks.items()}})
        tqdm.write(f"mean {sum(marks.values()) / len(marks):.3f} {line}")
        return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--steps", type=int, help="length of the whole schedule; default: the recipe's")
    parser.add_argument("--minutes", type=float, help="its length in minutes of training instead: it ends on time")
    parser.add_argument("--batch-tokens", type=int, help="of a step, all processes together; default: the recipe's")
    parser.add_argument("--peak-lr", type=float, help="the highest learning rate; default: the recipe's")
    parser.add_argument("--processes", type=int, help="share the work of a step; default: 2, and 1 with a GPU")
    parser.add_argument("--threads", type=int, help="of each process; default: all cores")
    parser.add_argument("--from-release", action="store_true", help="start from the released file of this model")
    parser.add_argument("--compile", action="store_true", help="torch.compile: slow at first, then quicker")
    parser.add_argument("--judge-minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    usual = 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)
    together(arguments.processes or usual, work, arguments)


def work(team: Team, arguments: argparse.Namespace) -> None:
    """What each process does."""
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // team.size))
    recipe = RECIPES[arguments.model]
    recipe = replace(
        recipe,
        batch_tokens=arguments.batch_tokens or recipe.batch_tokens,
        peak_lr=arguments.peak_lr or Run.of(recipe.name).known("peak_lr", recipe.peak_lr),
    )
    device = "cuda" if torch.cuda.is_available() and team.size == 1 else "cpu"
    trainer = Trainer(recipe, team=team, released=arguments.from_release, compiled=arguments.compile, device=device)
    trainer.train(
        arguments.steps or recipe.n_steps, minutes=arguments.minutes, judge_seconds=60 * arguments.judge_minutes
    )
    if team.leads:
        trainer.run.draw(trainer.run.folder / "loss.png")


if __name__ == "__main__":
    main()
