"""What a training run leaves on disk: a checkpoint to go on from, a log, the loss as a picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

RUNS = Path(__file__).with_name("runs")
CHECKPOINT_SECONDS = 60.0
COLUMNS = ("step", "seconds", "tokens", "lr", "loss", "accuracy")


class RunError(Exception):
    """What is asked of a run cannot be done; the text says what to do instead."""


@dataclass
class Run:
    """The folder of one model's training."""

    name: str
    folder: Path

    @classmethod
    def of(cls, name: str, root: Path = RUNS) -> Run:
        return cls(name, root / name)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def log(self) -> Path:
        return self.folder / "log.csv"

    def save(self, state: dict[str, Any]) -> None:
        """Whole or not at all: a kill while writing leaves the last one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def load(self) -> dict[str, Any]:
        if not self.checkpoint.exists():
            raise RunError(f"{self.checkpoint} is missing: run `python -m training.train {self.name}` first")
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        return state

    def rows(self) -> list[dict[str, str]]:
        if not self.log.exists():
            return []
        with self.log.open(newline="") as file:
            return list(csv.DictReader(file))

    def cut_log(self, step: int) -> None:
        """Forgets the rows behind a checkpoint: they are about to be run again."""
        kept = [row for row in self.rows() if int(row["step"]) <= step]
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def append(self, **row: object) -> None:
        with self.log.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)

    def draw(self, target: Path) -> None:
        """Loss and, where it was measured, accuracy over the steps."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        rows = self.rows()
        figure, loss_axis = plt.subplots(figsize=(7, 4), layout="constrained")
        loss_axis.plot([int(r["step"]) for r in rows], [float(r["loss"]) for r in rows], color="tab:blue", lw=1)
        loss_axis.set(xlabel="step", ylabel="loss", yscale="log", title=self.name)
        judged = [(int(r["step"]), float(r["accuracy"])) for r in rows if r["accuracy"]]
        if judged:
            accuracy_axis = loss_axis.twinx()
            accuracy_axis.plot(*zip(*judged, strict=True), color="tab:orange", marker="o", ms=3)
            accuracy_axis.set(ylabel="accuracy", ylim=(0, 1))
        figure.savefig(target, dpi=90)
        plt.close(figure)
