"""The child's loop with an answer that no frame holds: its ask fails, once, and the worker goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from hoshikage.errors import ParameterError
from hoshikage.worker import wire
from hoshikage.worker.ask import Answered, Ask, Done, Failed
from hoshikage.worker.frames import event_of
from hoshikage.worker.loop import Loop, Task
from hoshikage.worker.prepare import answers_for
from hoshikage.worker.speech import Speech
from hoshikage.worker.wire import Frames

SETTINGS = {"n_threads": 1, "n_threads_batch": 1, "n_gpu_layers": 0, "quality": "exact"}


class Talk:
    """A loop with a model made of a hash, driven by the test, and what it says."""

    def __init__(self) -> None:
        self.parent, self.child = socket.socketpair()
        self.parent.setblocking(False)
        self.loop = Loop(Speech(self.child), None)
        self.loop.load({"fake": {"salt": 5}, "settings": SETTINGS})
        (self.loaded,) = self._heard()

    def ask(self, number: int, *prompts: str, max_tokens: int, watch: Any = "end") -> list[Any]:
        """The events of an ask, to the end of all work."""
        options = {"max_tokens": max_tokens, "seed": 1, "early_stop": False, "logits_eos_inf": True}
        ask = Ask(kind="generate", body={"prompts": list(prompts), "options": options}, watch=watch)
        task = self.loop.tasks[number] = Task(number, ask)
        assert self.loop.engine is not None and self.loop._desk is not None
        self.loop.join(task, answers_for(self.loop.engine, ask))
        while self.loop._desk.busy:
            self.loop._step()
        told = [event_of(frame) for frame in self._heard() if "id" in frame]
        assert {of for of, _ in told} == {number}
        return [event for _, event in told]

    def _heard(self) -> list[dict[str, Any]]:
        return list(Frames().feed(self.parent.recv(1 << 20)))


@pytest.fixture
def talk() -> Iterator[Talk]:
    talk = Talk()
    yield talk
    talk.parent.close()
    talk.child.close()


@pytest.mark.parametrize("prompts", [["a"], ["a", "bb", "ccc"]])
@pytest.mark.parametrize("watch", ["end", "text", "canvas"])
def test_an_answer_that_no_frame_holds_fails_alone(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, prompts: list[str], watch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wire, "MOST", 300)
        events = talk.ask(1, *prompts, max_tokens=60, watch=watch)
    failures = [event for event in events if isinstance(event, Failed | Done)]
    assert failures == [events[-1]] and isinstance(events[-1], Failed), "it ends once"
    assert isinstance(events[-1].error, ParameterError) and "ask for less" in str(events[-1].error)
    assert not talk.loop.tasks
    *answers, last = talk.ask(2, *prompts, max_tokens=4)
    assert [type(event) for event in answers] == [Answered] * len(prompts) and isinstance(last, Done)
