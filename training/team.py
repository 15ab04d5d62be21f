"""Several processes that train one model: each takes its own batches, gradients are averaged after every step.

On a busy CPU this beats several threads in one process, which wait for each other at every operation.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from torch import Tensor
from torch import distributed as group
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from .runs import RunError


@dataclass(frozen=True)
class Team:
    """Who this process is among how many. The first one writes the files."""

    rank: int = 0
    size: int = 1
    parent: int = 0

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def average(self, parameters: Iterable[Tensor]) -> None:
        """Replaces every gradient by its mean over the team; a missing one (an expert without work) counts as zero."""
        if self.size == 1:
            return
        if os.getppid() != self.parent:
            raise SystemExit("the process that started this one has ended")
        held = list(parameters)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in held])
        self.add_up(flat)
        flat /= self.size
        for parameter, part in zip(held, flat.split([p.numel() for p in held]), strict=True):
            parameter.grad = part.view_as(parameter)

    def add_up(self, part: Tensor) -> None:
        """Every member's part becomes the sum of all."""
        if self.size > 1:
            group.all_reduce(part)

    def agree(self, number: float) -> float:
        """The mean of every member's number."""
        if self.size == 1:
            return number
        held = torch.tensor(number, dtype=torch.float64)
        group.all_reduce(held)
        return float(held) / self.size


ALONE = Team()


def _member(
    rank: int,
    size: int,
    port: int,
    parent: int,
    refusals: SimpleQueue[str],
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    group.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    try:
        work(Team(rank, size, parent), *arguments)
    except RunError as error:
        refusals.put(str(error))  # before the others miss this one and complain of that
        raise SystemExit(1) from None
    finally:
        group.destroy_process_group()


def together(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """Runs work(team, *arguments) in `size` processes; in this one if it is alone. Raises a member's RunError."""
    if size == 1:
        work(Team(), *arguments)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    refusals = torch.multiprocessing.get_context("spawn").SimpleQueue()
    # Ctrl-C reaches the whole group. The members are born deaf to it, so that only one process has to say something.
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        members = torch.multiprocessing.start_processes(
            _member, (size, port, os.getpid(), refusals, work, arguments), size, join=False, start_method="spawn"
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    try:
        while not members.join():
            continue
    except (ProcessExitedException, ProcessRaisedException):
        if refusals.empty():
            raise
        raise RunError(refusals.get()) from None
    except KeyboardInterrupt:
        for process in members.processes:
            process.terminate()
            process.join()
        raise
