"""An evaluation of a server: what it is asked, what it is asked again; and what is left of any that ends too early."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hoshikage.cli import INTERRUPTED, eval_, main
from hoshikage.evaluate import server as server_module
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.score import evaluate
from hoshikage.evaluate.server import GapServer, Patience, Server, ServerError, seconds_wished
from hoshikage.evaluate.show import table
from hoshikage.evaluate.subject import messages_of
from hoshikage.evaluate.tasks import Item, Turn
from tests.house import ROOT
from tests.unit.test_cli import on_terminal

ITEMS = questions(3, ["json"])
ANSWERS = {item.turns[-1].text: item.answer for item in ITEMS}
OURS = {"data": [{"id": "other", "owned_by": "hoshikage"}, {"id": "nano", "owned_by": "hoshikage"}]}
WORK = {"passes": 5, "rows": 40, "seconds": 0.1}
NOW = 1_800_000_000.0
Refusal = tuple[int, Mapping[str, str]]


@dataclass
class Stage:
    """A server that answers right; what it was asked and how it answers the next questions is open to a test."""

    models: Any = None  # None: it has no list of them
    work: Any = None
    refusals: list[Refusal | None] = field(default_factory=list)  # of the next questions; None: it is answered
    before: Callable[[], object] = lambda: None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        choice = {"message": {"content": ANSWERS[body["messages"][-1]["content"]]}}
        if self.work is not None:
            choice["hoshikage"] = self.work
        return {"choices": [choice], "usage": {"completion_tokens": 10}}


class _Handler(BaseHTTPRequestHandler):
    stage: Stage

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self._say(404, {}) if self.stage.models is None else self._say(200, self.stage.models)

    def do_POST(self) -> None:
        stage = self.stage
        stage.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        stage.before()
        refusal = stage.refusals.pop(0) if stage.refusals else None
        if refusal is None:
            self._say(200, stage.reply(stage.bodies[-1]))
        else:
            self._say(refusal[0], {"error": "later"}, refusal[1])

    def _say(self, status: int, said: Any, headers: Mapping[str, str] | None = None) -> None:
        raw = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        with suppress(ConnectionError):  # whoever asked is gone
            self.end_headers()
            self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def listening(stage: Stage, port: int = 0) -> Iterator[HTTPServer]:
    handler = type("Handler", (_Handler,), {"stage": stage})
    with HTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        stage.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    with listening(stage):
        yield stage


def patient(pauses: list[float], also: Callable[[], None] = lambda: None) -> Patience:
    """No time passes."""

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        also()

    return Patience(sleep=sleep, now=lambda: NOW)


# -- what is asked, and what is read


@pytest.mark.parametrize("name", ["nano", ""])
def test_ours_is_asked_for_what_a_file_is_and_says_what_it_took(stage: Stage, name: str) -> None:
    stage.models, stage.work = OURS, WORK
    report = evaluate(Server(stage.url, name, None, {}), ITEMS, {})
    assert [(body["quality"], body["repetition_penalty"]) for body in stage.bodies] == [("exact", 1.0)] * 3
    assert (report.total.n_tokens, report.total.n_passes, report.total.n_rows) == (30, 15, 120)
    assert table(report).splitlines()[2].split()[-3:] == ["15", "2.00", "4.0"]


def test_what_a_person_asks_for_counts_more(stage: Stage) -> None:
    stage.models = OURS
    Server(stage.url, "nano", None, {"quality": "fast", "steps": 8, "max_tokens": 9}).answer(ITEMS[0])
    assert stage.bodies[0] == {
        "model": "nano", "temperature": 0.0, "max_tokens": 9, "quality": "fast", "steps": 8,
        "repetition_penalty": 1.0, "messages": messages_of(ITEMS[0]),
    }  # fmt: skip


@pytest.mark.parametrize(
    "models",
    [None, {"data": [{"id": "nano", "owned_by": "openai"}]}, {"data": [{"id": "nano"}]}, {"data": None}, [], b"hello",
     {"data": [{"id": "nano", "owned_by": "someone"}, {"id": "other", "owned_by": "hoshikage"}]}],
    ids=lambda models: str(models)[:40],
)  # fmt: skip
def test_another_server_is_sent_no_word_that_it_does_not_know(stage: Stage, models: Any) -> None:
    stage.models = models
    Server(stage.url, "nano", None, {}).answer(ITEMS[0])
    assert stage.bodies[0].keys() == {"model", "messages", "temperature", "max_tokens"}


def test_another_server_is_asked_to_fill_no_gap(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have routes of the same names, and leave out what it does not know of a gap."""
    monkeypatch.setattr(GapServer, "_rendered", lambda *_, **__: "")
    monkeypatch.setattr(GapServer, "_tokens", lambda *_: [])
    monkeypatch.setattr(GapServer, "_pieces", lambda _, text: list(enumerate(text.encode())))
    stage.models = {"data": [{"id": "nano", "owned_by": "llamacpp"}]}
    with pytest.raises(ServerError, match=r"lists no model 'nano' that is a Hoshikage's.*leave out --gaps"):
        GapServer(stage.url, "nano", None, {}).answer(ITEMS[0])
    assert not stage.bodies


@pytest.mark.parametrize("work", [None, "much", {"passes": "5"}])
def test_what_is_not_said_is_not_known(stage: Stage, work: Any) -> None:
    stage.work = work
    reply = Server(stage.url, "nano", None, {}).answer(ITEMS[0])
    assert (reply.right, reply.n_passes, reply.n_rows) == (True, None, None)


# -- what is asked again


@pytest.mark.parametrize(
    ("refusals", "pauses"),
    [
        ([(429, {}), (503, {}), (429, {})], [1.0, 2.0, 4.0]),
        ([(429, {"Retry-After": "7"}), (503, {"Retry-After": "1"})], [7.0, 2.0]),
        ([(503, {"Retry-After": "86400"})], [60.0]),
        ([(429, {"Retry-After": formatdate(NOW + 20, usegmt=True)})], [20.0]),
        ([(429, {"Retry-After": formatdate(NOW - 20, usegmt=True)})], [1.0]),
        ([(429, {"Retry-After": "soon"})], [1.0]),
    ],
)
def test_a_busy_server_is_asked_again_when_it_wishes(
    stage: Stage, refusals: list[Refusal | None], pauses: list[float]
) -> None:
    waited: list[float] = []
    stage.refusals = [None, *refusals]
    total = evaluate(Server(stage.url, "nano", None, {}, patient(waited)), ITEMS, {}).total
    assert (total.right, waited) == (3, pauses)
    assert len(stage.bodies) == 3 + len(refusals)


@pytest.mark.parametrize("retry_after", [None, "", "-5", "nan", "inf", "1e9", "Mon", "99 99 99", "0" * 9999, "²"])
def test_no_header_makes_anybody_wait_without_end_or_fail(retry_after: str | None) -> None:
    assert seconds_wished(retry_after, NOW) <= 0


def test_a_server_that_stays_busy_is_given_up(stage: Stage) -> None:
    waited: list[float] = []
    stage.refusals = [(429, {})] * 99
    with pytest.raises(ServerError, match=r"429 .*later.*; ask again later"):
        Server(stage.url, "nano", None, {}, patient(waited)).answer(ITEMS[0])
    assert waited == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert len(stage.bodies) == 6


@pytest.mark.parametrize("status", [400, 401, 404, 500, 504])
def test_what_would_be_refused_again_is_not_asked_again(stage: Stage, status: int) -> None:
    stage.refusals = [(status, {"Retry-After": "1"})]
    with pytest.raises(ServerError, match=str(status)):
        Server(stage.url, "nano", None, {}, Patience(sleep=pytest.fail)).answer(ITEMS[0])


def test_a_server_that_was_there_may_come_back() -> None:
    stage = Stage()
    with listening(stage) as first:
        asked = Server(stage.url, "nano", None, {}, patient([], lambda: back.__enter__()))
        asked.answer(ITEMS[0])
        port = first.server_port
    back = listening(stage, port)
    try:
        assert asked.answer(ITEMS[1]).right
    finally:
        back.__exit__(None, None, None)


def test_a_server_that_never_was_there_is_not_waited_for() -> None:
    with pytest.raises(ServerError, match="is the server running"):
        Server("http://127.0.0.1:9", "nano", None, {}, Patience(sleep=pytest.fail)).answer(ITEMS[0])


def test_a_server_that_does_not_answer_is_waited_for_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    stage.before = partial(hanging.wait, 60)
    monkeypatch.setattr(server_module, "TIMEOUT", 0.2)
    try:
        with pytest.raises(ServerError, match=r"no answer within 0.2 s; .*--max-tokens"):
            Server(stage.url, "nano", None, {}, Patience(sleep=pytest.fail)).answer(ITEMS[0])
    finally:
        hanging.set()


# -- what is left when it ends too early


def ask(stage: Stage, *more: str) -> list[str]:
    return ["eval", "nano", "--server", stage.url, "--items", "3", "--task", "json", *more]


def test_what_was_found_before_a_failure_is_printed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eval_, "Server", partial(Server, patience=patient([])))
    drawing, earlier = tmp_path / "drawing.svg", tmp_path / "earlier.svg"
    earlier.write_text("<svg/>")
    stage.refusals = [None, None, *[(429, {})] * 6]
    assert main(ask(stage, "--plot", str(drawing))) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "partial: 2 of 3 questions were answered"
    assert printed.out.splitlines()[2].split()[:2] == ["json", "100.0%"]
    assert "429" in printed.err
    stage.refusals = [None, (500, {})]
    assert main(ask(stage, "--json", "--plot", str(earlier))) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["partial"], report["questions"], report["questions_left"]) == (True, 1, 2)
    assert (drawing.exists(), earlier.read_text()) == (False, "<svg/>")


def test_where_nothing_was_found_nothing_is_printed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.refusals = [(500, {})]
    assert main(ask(stage)) == 2
    assert capsys.readouterr().out == ""


def test_a_whole_evaluation_says_so_and_a_part_is_drawn_as_one(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ask(stage, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["partial"], report["questions_left"]) == (False, 0)
    part, drawing = tmp_path / "part.json", tmp_path / "drawing.svg"
    part.write_text(json.dumps(report | {"partial": True, "model": "other"}))
    assert main(ask(stage, "--with", str(part), "--plot", str(drawing))) == 0
    assert "partial" not in capsys.readouterr().out
    assert ">other (partial)<" in drawing.read_text() and ">nano<" in drawing.read_text()


@pytest.mark.parametrize("how", [[], ["--gaps"]])
def test_ctrl_c_in_a_forward_pass_prints_what_was_found(how: list[str]) -> None:
    model = ["nano-llada", "--n-threads", "1", "--quality", "fast"]
    code, written = on_terminal("eval", *model, *how, "--items", "200", "--task", "json", interrupt_at=b" of 200")
    assert code == INTERRUPTED
    assert re.search(r"^partial: \d+ of 200 questions were answered\s*\Z", written, re.MULTILINE)


def test_ctrl_c_prints_what_a_server_was_found_to_be(stage: Stage) -> None:
    ended = threading.Event()

    def interrupt() -> None:
        if len(stage.bodies) == 3:
            process.send_signal(signal.SIGINT)
            ended.wait(60)

    stage.before = interrupt
    command = [sys.executable, "-m", "hoshikage", *ask(stage, "--json")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job begins without it
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HOSHIKAGE_CONFIG_PATH": ""}, **pipes) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            ended.set()
    assert (process.returncode, err) == (INTERRUPTED, "")
    report = json.loads(out)
    assert (report["partial"], report["questions"], report["accuracy"]) == (True, 2, 1.0)


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ([r"bytes:\xe6", r"bytes:\x9c"], True),
        ([r"bytes:\xe6", r"bytes:\x9d"], False),
        ([r"bytes:\xe6"], False),
        (["木"], False),
    ],
)
def test_a_byte_of_a_character_is_judged_as_a_byte(
    written: list[str], right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gap that ends inside a character: as texts, all of its fillings would look the same."""
    answer = "月曜日です。"
    item = Item("japanese", "", (Turn("user", "日曜日の次の日は？"),), answer, "月曜日です")
    bodies: list[dict[str, Any]] = []

    def asked(_: Server, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, float]:
        body = body or {}
        bodies.append({"path": path, **body})
        if path == "/apply-template":
            prompt = "".join(message["content"] for message in body["messages"])
            return {"prompt": prompt + ("" if body.get("add_generation_prompt", True) else ".")}, 0.0
        if path == "/tokenize":
            pieces = [{"id": byte, "piece": [byte]} for byte in body["content"].encode()]
            return {"tokens": pieces if body.get("with_pieces") else [one["id"] for one in pieces]}, 0.0
        choice = {"text": "\ufffd", "logprobs": {"tokens": written} if body.get("logprobs") == 0 else None}
        return {"choices": [choice], "usage": {"completion_tokens": len(written)}}, 0.0

    monkeypatch.setattr(Server, "_asked", asked)
    monkeypatch.setattr(Server, "_is_ours", lambda _: True)
    monkeypatch.setattr(server_module, "gap_in", lambda *_: (0, 2))
    reply = GapServer("http://nowhere", "nano", None, {}).answer(item)
    assert bodies[-1]["suffix"] == [*answer.encode()[2:], ord(".")]
    assert (reply.right, reply.text == answer) == (right, right)
