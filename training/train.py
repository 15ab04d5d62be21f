"""Trains one model: `python -m training.train nano-llada`. Killed at any time, it goes on where it was."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from hoshikage.cli.parser import whole

from .grow import grow
from .judge import judge
from .learn import halves_are_quick, learn, n_twins
from .lessons import Lessons
from .model import Transformer
from .objective import Sample
from .optimise import Optimiser
from .origin import OWN_RELEASE
from .recipe import RECIPES, Recipe
from .record import Record, command_of, record_of, stages_of
from .restore import trained, weights_of
from .runs import CHECKPOINT_SECONDS, NANO, RUNS, Run, RunError
from .team import ALONE, Team, together

LOG_EVERY = 20
tqdm.set_lock(RLock())  # only one process writes; tqdm's own lock is one of all processes, which a kill leaves behind


class Trainer:
    """A model on its way: recipe, weights, optimiser, where it is and how long it took."""

    def __init__(
        self,
        recipe: Recipe,
        root: Path = RUNS,
        *,
        team: Team = ALONE,
        after: Recipe | None = None,
        released: bool = False,
        go_on: bool = False,
        compiled: bool = False,
        device: str = "cpu",
    ) -> None:
        """`go_on`: also where the run that is there is another one than this recipe's. `after`: whose encore it is."""
        self.recipe, self.team, self.device = recipe, team, device
        self.run = Run.of(recipe.name, root)
        self.record, begins = record_of(recipe, root, team.size, after=after, released=released, go_on=go_on)
        self.lessons = Lessons(recipe, team)
        torch.manual_seed(recipe.seed)
        self.model = Transformer(recipe.shape).to(device)
        self.optimiser = Optimiser(self.model, recipe.peak_lr, team)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.mean: float | None = None  # of the last losses
        self.finished = False
        if team.leads:
            self.run.hold()
        if self.run.checkpoint.exists():
            self._resume(self.run.load())
            self.finished = self.finished and not begins
        elif released:
            self.model.load_state_dict(weights_of(recipe, NANO / f"{recipe.name}.gguf"))
        elif recipe.grown_from:
            grow(self.model, trained(RECIPES[recipe.grown_from], root))
        if team.leads:
            self.run.cut_log(self.step)
        self.resumed = self.step
        self.compiled = compiled
        self.forward: Callable[..., Tensor] = torch.compile(self.model, dynamic=False) if compiled else self.model

    def _resume(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]
        self.mean, self.finished = state.get("mean"), state.get("finished", False)
        self.lessons.state = state["stream"]

    @property
    def n_steps(self) -> int:
        """Of the whole schedule; of one in minutes, those until now."""
        return self.step if self.recipe.minutes else self.recipe.n_steps

    def save(self) -> None:
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        place = {"step": self.step, "seconds": self.seconds, "tokens": self.tokens, "mean": self.mean}
        how = {"processes": self.team.size, "finished": self.finished}
        self.run.save(state | place | how | {"record": self._told().as_dict(), "stream": self.lessons.state})

    def _told(self) -> Record:
        """The record, with what it ran on until now and the command that trains as much again."""
        record = self.record.on(self._machine()) if self.step > self.resumed else self.record
        is_released = self.record.origin.what == OWN_RELEASE and not self.record.is_continued
        how = {"released": is_released, "continued": self.record.is_continued}
        command = command_of(self.recipe, self.team.size, self._length(), **how)
        return record.ending(self.n_steps, command)

    def _length(self) -> str:
        """As many steps again, wherever a minute has others; on the way nobody knows yet how many that will be."""
        minutes = self.recipe.minutes
        return f"--minutes {minutes:g}" if minutes and not self.finished else f"--steps {self.n_steps}"

    def _machine(self) -> str:
        """What the last bits of a result may depend on, and a run may go on without."""
        device = torch.cuda.get_device_name() if self.device == "cuda" else "a CPU"
        kinds = [device, "bfloat16" if halves_are_quick(self.device) else "", "compiled" if self.compiled else ""]
        return f"torch {torch.__version__} on {', '.join(filter(None, kinds))}"

    def learn(self, sample: Sample) -> float:
        """One step's gradients, the mean of the whole team's; returns the loss of this member's part."""
        loss = learn(self.recipe, self.model, self.forward, sample, self.device)
        self.team.average(self.model.parameters())
        return loss

    def judge(self, n_per_task: int) -> dict[str, float]:
        """Accuracy per task on questions of the test split, with the exact decoder."""
        scores = judge(self.recipe, self.model, n_per_task)
        return {task: right / n for task, (right, n) in scores.items()}

    def train(self, *, judge_seconds: float = 600.0, judge_items: int = 8, stop_after: int | None = None) -> None:
        """To the end of the schedule, or `stop_after` more steps. Then others may have the run."""
        try:
            self._train(judge_seconds, judge_items, stop_after)
        finally:
            self.run.let_go()

    def _train(self, judge_seconds: float, judge_items: int, stop_after: int | None) -> None:
        last = self.step + stop_after if stop_after else None
        saved = judged = time.monotonic()
        lr, bar = 0.0, self._bar()
        while self.step != last and (progress := self._progress()) < 1.0:
            started = time.monotonic()
            lr = self._advance(next(self.lessons), progress)
            self.seconds += time.monotonic() - started
            self._show(bar, progress, lr)
            if not self.team.leads:
                continue
            if self.step % LOG_EVERY == 0:
                self._log(lr)
            if judge_items and time.monotonic() - judged > judge_seconds:
                self._log(lr, self._report(judge_items))
                judged = time.monotonic()
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        bar.close()
        self.finished = self._progress() >= 1.0 and self.recipe.encore is None
        if not self.team.leads:
            return
        self.save()
        if judge_items and not self._is_judged():
            self._log(lr, self._report(judge_items))

    def _advance(self, sample: Sample, progress: float) -> float:
        """One step and what is counted of it; returns the learning rate."""
        loss = self.learn(sample)
        lr = self.optimiser.step(progress)
        self.step += 1
        self.tokens += sample.inputs.size // n_twins(self.recipe) * self.team.size
        self.mean = loss if self.mean is None else 0.97 * self.mean + 0.03 * loss
        return lr

    def _bar(self) -> tqdm[None]:
        """Of the schedule's steps; of one in minutes, of its seconds."""
        if self.recipe.minutes:
            form = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}{postfix}]"
            total, done = 60 * self.recipe.minutes, self.seconds
            return tqdm(initial=done, total=total, bar_format=form, mininterval=5, disable=not self.team.leads)
        return tqdm(initial=self.step, total=self.n_steps, mininterval=5, disable=not self.team.leads)

    def _show(self, bar: tqdm[None], progress: float, lr: float) -> None:
        if self.step % LOG_EVERY == 0:
            told = {"step": self.step} if self.recipe.minutes else {}
            bar.set_postfix(**told, loss=f"{self.mean:.4f}", lr=f"{lr:.1e}", schedule=f"{progress:.1%}", refresh=False)
        bar.update(min(self.seconds, bar.total) - bar.n if self.recipe.minutes else 1)

    def _progress(self) -> float:
        """How much of the schedule is behind: the same for every member, whose clocks differ."""
        if self.finished:
            return 1.0
        minutes = self.recipe.minutes
        return self.team.agree(self.seconds / (60 * minutes)) if minutes else self.step / self.n_steps

    def _log(self, lr: float, marks: dict[str, float] | None = None) -> None:
        self.run.append(
            step=self.step,
            seconds=f"{self.seconds:.1f}",
            tokens=self.tokens,
            lr=f"{lr:.2e}",
            loss=f"{self.mean:.5f}",
            accuracy=f"{sum(marks.values()) / len(marks):.4f}" if marks else "",
        )

    def _is_judged(self) -> bool:
        """As it is now. Who was killed while judging at the end judges when the run is begun again."""
        rows = self.run.rows()
        return bool(rows and rows[-1]["accuracy"]) and int(rows[-1]["step"]) == self.step

    def _report(self, n_per_task: int) -> dict[str, float]:
        """Judges and says so on the terminal."""
        marks = self.judge(n_per_task)
        line = json.dumps({"step": self.step, "tasks": {task: round(mark, 3) for task, mark in marks.items()}})
        tqdm.write(f"mean {sum(marks.values()) / len(marks):.3f} {line}")
        return marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=RECIPES)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=_above_zero(int), help="length of the whole schedule; default: the recipe's")
    length.add_argument("--minutes", type=_above_zero(float), help="or in minutes of training")
    parser.add_argument(
        "--batch-tokens", type=_above_zero(int), help="of a step, all processes together; default: the recipe's"
    )
    parser.add_argument("--peak-lr", type=_above_zero(float), help="the highest learning rate; default: the recipe's")
    parser.add_argument(
        "--processes", type=_above_zero(int), help="share the work of a step; default: 2, and 1 with a GPU or one core"
    )
    parser.add_argument("--threads", type=_above_zero(int), help="of each process; default: its share of the cores")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of all models' runs; default: %(default)s")
    parser.add_argument("--from-release", action="store_true", help="start from the released file of this model")
    length.add_argument("--encore", action="store_true", help="only the recipe's encore, on that released file")
    parser.add_argument(
        "--continue", dest="go_on", action="store_true",
        help="go on with a run although its recipe, length or data are others now: the card tells of one schedule more",
    )  # fmt: skip
    parser.add_argument("--compile", action="store_true", help="torch.compile: slow at first, then quicker")
    parser.add_argument("--judge-minutes", type=_above_zero(float), default=10.0, help="between two marks [10]")
    parser.add_argument(
        "--judge-items", type=whole(0, 10**6), default=8, help="questions per task for a mark; 0: no marks [8]"
    )
    arguments = parser.parse_args()
    if arguments.encore and RECIPES[arguments.model].encore is None:
        parser.error(f"the recipe of {arguments.model} has no encore")
    recipe, n_processes = _recipe_of(arguments), arguments.processes or _usual_processes()
    released = arguments.from_release or arguments.encore
    if n_processes > 1 and torch.cuda.is_available():
        parser.error("a GPU is trained on by one process: leave out --processes, or hide it (CUDA_VISIBLE_DEVICES=)")
    try:
        for stage, after in stages_of(recipe, arguments.runs):
            how = {"after": after, "released": released, "go_on": arguments.go_on}
            record_of(stage, arguments.runs, n_processes, **how)  # before others are started
            together(n_processes, work, stage, arguments, how)
    except RunError as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        kept = Run.of(recipe.name, arguments.runs).checkpoint
        told = f"goes on from {kept}" if kept.exists() else "begins again, as there was no checkpoint yet"
        parser.exit(130, f"\nstopped; the same command {told}\n")


def _above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A number that there can be so many of."""

    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    read.__name__ = kind.__name__  # argparse tells it to whoever writes no number
    return read


def _usual_processes() -> int:
    return 1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)


def _recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe, with what is wished otherwise."""
    recipe = RECIPES[arguments.model]
    recipe = recipe.encore_alone if arguments.encore else recipe
    return replace(
        recipe,
        n_steps=arguments.steps or recipe.n_steps,
        encore=None if arguments.steps or arguments.minutes else recipe.encore,
        minutes=arguments.minutes,
        batch_tokens=arguments.batch_tokens or recipe.batch_tokens,
        peak_lr=arguments.peak_lr or recipe.peak_lr,
    )


def work(team: Team, recipe: Recipe, arguments: argparse.Namespace, how: dict[str, Any]) -> None:
    """What each process does."""
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // team.size))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(recipe, arguments.runs, team=team, device=device, compiled=arguments.compile, **how)
    trainer.train(judge_seconds=60 * arguments.judge_minutes, judge_items=arguments.judge_items)
    if team.leads:
        trainer.run.draw(trainer.run.folder / "loss.png")


if __name__ == "__main__":
    main()
