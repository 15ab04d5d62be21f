"""A worker's end, whoever brings it about: the child dies, hangs or talks nonsense, or the parent is gone."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hoshikage.errors import DiedLoading, LibraryError, WorkerDied
from hoshikage.worker.client import Worker
from hoshikage.worker.one_pass import Gate, OnePass
from hoshikage.worker.wire import HEAD, MOST, frame
from tests.conftest import TinyModel
from tests.house import ROOT
from tests.workers import PATIENCE, SLOW, ask, eventually, generate, gone, suspend, working

LONG: dict[str, Any] = {"max_tokens": 1024, "early_stop": False}


def test_a_killed_worker_fails_its_own_asks_at_once() -> None:
    deaths: list[WorkerDied] = []
    died = threading.Event()

    def on_death(error: WorkerDied) -> None:
        deaths.append(error)
        died.set()

    with working() as other, working(SLOW, on_death=on_death) as worker:
        whole = generate(other, "a", seed=1, **LONG)[0].answers()[0].text
        beside = generate(other, "a", seed=1, **LONG)[0]
        asked = [generate(worker, "a", watch="text", **LONG)[0] for _ in range(3)]
        for heard in asked:
            heard.something()
        start = time.monotonic()
        os.kill(worker.pid, signal.SIGKILL)
        errors = [heard.error() for heard in asked]
        assert time.monotonic() - start < 5, "its end is seen, not waited for"
        assert [type(error) for error in errors] == [WorkerDied] * 3
        assert "was killed by signal 9 (SIGKILL)" in str(errors[0])
        assert died.wait(PATIENCE)
        assert (len(deaths), worker.alive, worker.n_active) == (1, False, 0)
        with pytest.raises(WorkerDied):
            generate(worker, "a")
        assert beside.answers()[0].text == whole


def test_a_death_while_loading_says_so(tiny_model: TinyModel) -> None:
    worker = Worker("tiny")
    suspend(worker.pid)
    killer = threading.Thread(target=lambda: eventually(lambda: worker.loading) and os.kill(worker.pid, signal.SIGKILL))
    killer.start()
    try:
        with pytest.raises(DiedLoading, match=r"SIGKILL.* while it loaded: most likely out of memory"):
            worker.load(tiny_model("llama"))
    finally:
        killer.join()
        worker.close()


def test_a_library_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOSHIKAGE_LIB_PATH", str(tmp_path))
    worker = Worker("tiny")
    with pytest.raises(LibraryError, match="HOSHIKAGE_LIB_PATH"):
        worker.load("nano-ar")
    worker.close()


def test_a_worker_that_ends_by_itself_while_loading_was_not_out_of_memory(impostor: Callable[..., Worker]) -> None:
    worker = impostor(b"")
    with pytest.raises(WorkerDied, match="ended with status 3; its lines in the log say why") as caught:
        worker.load("nano-ar")
    assert not isinstance(caught.value, DiedLoading)
    worker.close()


def test_what_a_terminal_sends_does_not_end_it() -> None:
    with working() as worker:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker.pid, number)
        assert generate(worker, "a")[0].answers()
        assert os.getsid(worker.pid) != os.getsid(0)


def test_closing_fails_what_is_asked_and_leaves_no_process() -> None:
    deaths: list[WorkerDied] = []
    worker = Worker("tiny", on_death=deaths.append)
    worker.load(SLOW)
    heard = generate(worker, "a", **LONG)[0]
    worker.close()
    worker.close()
    assert gone(worker.pid, 0)
    assert "was told to end" in str(heard.error())
    assert not deaths


def test_a_stopped_worker_is_ended_by_force() -> None:
    with working() as worker:
        suspend(worker.pid)
        heard = generate(worker, "a")[0]
        worker.close(patience=0.05)
        assert gone(worker.pid, 0)
        assert isinstance(heard.error(), WorkerDied)


def test_a_worker_that_reads_nothing_makes_nobody_wait() -> None:
    with working(patience=PATIENCE) as worker:
        suspend(worker.pid)
        for _ in range(3):
            generate(worker, "x" * 1_000_000)  # more than a socket holds
        assert worker.alive, "it was not waited for until it was given up"
        assert worker.n_active == 3
        worker.close(patience=0.05)


def test_a_worker_that_reads_nothing_is_given_up() -> None:
    with working(patience=0.2) as worker:
        suspend(worker.pid)
        asked = [generate(worker, "x" * 1_000_000)[0] for _ in range(3)]
        assert all("has read nothing for 0.2 s" in str(heard.error()) for heard in asked)


PARENT = """
import sys, threading
from hoshikage.worker.ask import Ask
from hoshikage.worker.client import Fake, Worker
worker = Worker("tiny")
if sys.argv[1] == "works":
    worker.load(Fake({"n_vocab": 1 << 17}))
    said = threading.Event()
    body = {"prompts": ["a"], "options": {"max_tokens": 1024}}
    worker.ask(Ask(kind="generate", body=body, watch="canvas"), lambda _: said.set())
    said.wait()
print(worker.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["works", "starts"])
def test_a_worker_does_not_outlive_its_parent(state: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, state], stdin=-1, stdout=-1, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert gone(pid)


def test_the_end_of_the_interpreter_ends_it_too() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT, "works"], input=b"", capture_output=True, cwd=ROOT, check=True)
    assert gone(int(done.stdout))


def test_a_cancel_of_what_has_ended_is_no_nonsense() -> None:
    with working() as worker:
        worker._outgoing.put(frame({"cancel": 77}))
        assert generate(worker, "a")[0].answers()


@pytest.mark.parametrize(
    "junk",
    [
        frame({"ask": {"id": 1, "kind": "describe"}}) * 2,
        HEAD.pack(MOST + 1), HEAD.pack(2) + b"{]", HEAD.pack(2) + b"{}", HEAD.pack(9) + b'{"ask":1}',
        HEAD.pack(14) + b'{"cancel":"x"}', HEAD.pack(10) + b'{"exec":{}}',
    ],
)  # fmt: skip
def test_a_parent_that_talks_nonsense_is_left(junk: bytes) -> None:
    lines: list[str] = []
    with working(SLOW, on_log=lambda _, line: lines.append(line)) as worker:
        heard = generate(worker, "a", **LONG)[0]
        worker._outgoing.put(junk)
        heard.end()
        assert gone(worker.pid)
    assert any("the parent sent what is no frame" in line for line in lines)


IMPOSTOR = """
import os, signal, sys
junk = open({junk!r}, "rb").read()
os.write(int(sys.argv[4]), junk)
if not junk:
    os.read(int(sys.argv[4]), 1)
    sys.exit(3)
signal.pause()
"""


@pytest.mark.parametrize(
    "junk",
    [
        HEAD.pack(MOST + 1), HEAD.pack(4) + b"null", HEAD.pack(2) + b"{}", HEAD.pack(15) + b'{"steps":"many"}',
        HEAD.pack(29) + b'{"id":77,"done":{"value":{}}}', HEAD.pack(15) + b'{"loading":0.5}',
        HEAD.pack(12) + b'{"id":1,"x":1', HEAD.pack(30) + b'{"refused":["SystemExit",[1]]}',
    ],
)  # fmt: skip
def test_a_worker_that_talks_nonsense_is_ended(junk: bytes, impostor: Callable[..., Worker]) -> None:
    deaths: list[WorkerDied] = []
    worker = impostor(junk, on_death=deaths.append)
    assert eventually(lambda: deaths)
    assert gone(worker.pid, 0)
    worker.close()
    assert [str(error).count("it sent what is no frame") for error in deaths] == [1]
    assert not worker.alive


@pytest.fixture
def impostor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Worker]:
    """A process that says some bytes, and stays; without any it ends when it is asked for something."""
    program = tmp_path / "impostor"
    program.write_text(f"#!{sys.executable}\n{IMPOSTOR.format(junk=str(tmp_path / 'junk'))}")
    program.chmod(0o700)

    def start(junk: bytes, **options: Any) -> Worker:
        (tmp_path / "junk").write_bytes(junk)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(program))
            return Worker("impostor", **options)

    return start


def test_what_a_worker_prints_is_heard_with_its_name_after_a_crash_too() -> None:
    lines: list[tuple[str, str]] = []
    with working(on_log=lambda label, line: lines.append((label, line))) as worker:
        os.kill(worker.pid, signal.SIGSEGV)
        assert gone(worker.pid)
        worker.close()
    assert {label for label, _ in lines} == {"tiny"}
    assert any("Segmentation fault" in line for _, line in lines)


def descriptors(pid: int) -> list[str]:
    """What the descriptors of a process are."""
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]


def tasks(pid: int) -> list[Path]:
    """The threads of a process."""
    return list(Path(f"/proc/{pid}/task").iterdir())


def test_nothing_is_left_behind() -> None:
    def held() -> tuple[int, int]:
        return len(descriptors(os.getpid())), threading.active_count()

    Worker("warm").close(0)
    before = held()
    for _ in range(100):
        worker = Worker("tiny")
        worker.close(0)
        assert gone(worker.pid, 0)
    with working():
        pass
    assert held() == before


def test_a_process_that_cannot_be_started_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = len(descriptors(os.getpid())), threading.active_count()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(WorkerDied, match="could be started: No such file"):
        Worker("tiny")
    assert (len(descriptors(os.getpid())), threading.active_count()) == before


def test_without_a_thread_for_it_there_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before, children = len(descriptors(os.getpid())), own_children()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            Worker("tiny")
    gc.collect()
    assert len(descriptors(os.getpid())) == before
    assert own_children() == children


def test_the_process_that_renders_templates_goes_with_its_worker() -> None:
    with working() as worker:
        ask(worker, "chat", messages=[{"role": "user", "content": "a"}])[0].answers()
        children = [int(pid) for task in tasks(worker.pid) for pid in (task / "children").read_text().split()]
        assert len(children) == 1
        os.kill(worker.pid, signal.SIGKILL)
        assert gone(children[0])


def own_children() -> set[str]:
    """Other tests' servers are among them."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_closed_worker_leaves_no_orphan() -> None:
    children = own_children()
    set_subreaper = partial(ctypes.CDLL(None).prctl, 36)  # PR_SET_CHILD_SUBREAPER: as process 1 of a container is
    set_subreaper(1)
    try:
        with working() as worker:
            ask(worker, "chat", messages=[{"role": "user", "content": "a"}])[0].answers()
        assert gone(worker.pid, 0)
        assert own_children() == children
    finally:
        set_subreaper(0)


def test_a_hundred_asks_and_cancels_leave_a_worker_as_it_was() -> None:
    def held() -> tuple[int, int]:
        return len(descriptors(worker.pid)), len(tasks(worker.pid))

    with working() as worker:
        generate(worker, "a")[0].answers()
        before = held()
        for number in range(100):
            heard, ticket = generate(worker, "a", watch="text")
            if number % 2:
                ticket.cancel()
            heard.end()
        assert held() == before


def test_a_worker_has_only_the_descriptors_it_needs(tmp_path: Path) -> None:
    with (tmp_path / "unrelated").open("w") as unrelated, OnePass() as one_pass:
        os.set_inheritable(unrelated.fileno(), True)
        with working(one_pass=one_pass) as worker, working() as another:
            held, n = descriptors(worker.pid), len(descriptors(another.pid))
    assert sum("socket" in kind for kind in held) == 1
    assert not any("unrelated" in kind for kind in held)
    assert len(held) == n + 1 <= 8, held


def test_workers_wait_for_the_pass_that_another_has() -> None:
    def waits(pid: int) -> bool:
        blocked = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
        return any(str(pid) in words for words in blocked)

    options: dict[str, Any] = {"max_tokens": 20, "watch": "text"}
    with OnePass() as one_pass, working(one_pass=one_pass) as worker:
        gate = Gate(one_pass.descriptor)
        with gate:
            heard = generate(worker, "a", **options)[0]
            assert eventually(lambda: waits(worker.pid))
            assert not heard.events
        assert heard.answers()
        with working(one_pass=one_pass, passes="many") as free, gate:
            assert generate(free, "a", **options)[0].answers()
