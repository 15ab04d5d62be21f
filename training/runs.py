"""What a training run leaves on disk: a checkpoint to go on from, a log, the loss as a picture."""

from __future__ import annotations

import csv
import fcntl
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch

RUNS = Path(__file__).with_name("runs")
NANO = Path(__file__).parent.parent / "hoshikage" / "nano"  # where released files are
CHECKPOINT_SECONDS = 60.0
COLUMNS = ("step", "seconds", "tokens", "lr", "loss", "accuracy")
TORN = "?"  # where a line of the log has no more columns


class RunError(Exception):
    """What is asked of a run cannot be done; the text says what to do instead."""


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Where to write what takes the target's place when it is whole. Until then, and after a kill or on a full disk,
    the target is what it was."""
    partial = target.with_name(f"{target.name}.partial")
    with _written(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(target)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "what was there is as it was; make room or name another folder, and give the same command again"
        raise RunError(f"{target} cannot be written: {error.strerror or error}; {remedy}") from None


@dataclass
class Run:
    """The folder of one model's training."""

    name: str
    folder: Path
    _held: IO[str] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, name: str, root: Path = RUNS) -> Run:
        return cls(name, root / name)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def log(self) -> Path:
        return self.folder / "log.csv"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def flag(self) -> str:
        """What a command says to find it: nothing, where all runs are that nobody put elsewhere."""
        root = self.folder.parent
        return "" if root.resolve() == RUNS.resolve() else f" --runs {shlex.quote(str(root))}"

    @property
    def training(self) -> str:
        """The command that trains it."""
        return f"python -m training.train {self.name}{self.flag}"

    def released(self) -> Path:
        """The package's own file, where there is no run to take weights from."""
        path = NANO / f"{self.name}.gguf"
        if not path.exists():
            raise RunError(f"there is neither {self.checkpoint} nor {path}: run `{self.training}` first")
        return path

    def hold(self) -> None:
        """Until it is let go, or this process ends: two that train here would write over each other's checkpoints."""
        with _written(self.lock):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.lock.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(_occupied(self.folder, file)) from None
            file.truncate(0)
            print(os.getpid(), file=file, flush=True)
        self._held = file

    def let_go(self) -> None:
        if self._held:
            self._held.close()
            self._held = None

    def save(self, state: dict[str, Any]) -> None:
        """Whole or not at all: a kill while writing leaves the last one."""
        self._check_hold()
        whole = BytesIO()
        torch.save(state, whole)
        with replacing(self.checkpoint) as partial:
            partial.write_bytes(whole.getbuffer())

    def _check_hold(self) -> None:
        """Who was moved away while training may find another run in its place."""
        if not self._held:
            return
        if not self.lock.exists() or not os.path.samestat(self.lock.stat(), os.fstat(self._held.fileno())):
            raise RunError(f"{self.folder} was moved away while it was trained in; what is there now was left as it is")

    def load(self) -> dict[str, Any]:
        if not self.checkpoint.exists():
            raise RunError(f"{self.checkpoint} is missing: run `{self.training}` first")
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # torch says in many ways that this is none of its files
            remedy = f"move {self.folder} away and train anew: {self.training}"
            raise RunError(f"{self.checkpoint} cannot be read as a checkpoint; {remedy}") from error
        return state

    def rows(self) -> list[dict[str, str]]:
        """Those of the log that are whole: a kill or a full disk may leave a part of the last."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        ended = [line for line in lines if line.endswith("\n")]
        return [row for row in csv.DictReader(ended, restval=TORN) if _is_whole(row)]

    def cut_log(self, step: int) -> None:
        """Forgets the rows behind a checkpoint: they are about to be run again."""
        kept = [row for row in self.rows() if int(row["step"]) <= step]
        with replacing(self.log) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def append(self, **row: object) -> None:
        with _written(self.log), self.log.open("a", newline="") as file:
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
        with replacing(target) as partial:
            figure.savefig(partial, dpi=90, format="png")
        plt.close(figure)


def _occupied(folder: Path, lock: IO[str]) -> str:
    lock.seek(0)
    holder = lock.read().strip()
    lock.close()
    return f"process {holder} trains in {folder}: wait for its end, or end it (kill {holder})"


def _is_whole(row: Mapping[str, str]) -> bool:
    try:
        numbers = [int(row["step"]), *(float(row[name]) for name in COLUMNS[1:-1]), float(row["accuracy"] or 0)]
    except ValueError:
        return False
    return len(numbers) == len(row)
