"""The parent's side of `template.py`: starts the process at the first rendering, bounds it, ends it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hoshikage.errors import TemplateError, TemplateRefusal

SECONDS = 5.0  # of computing, for one rendering, the first one's start included
BUSY = 8  # times as long it may last on a machine that computes other things meanwhile
LOOK = 0.25  # seconds between two looks at what it has computed
MOST = 1 << 24  # characters of one prompt
TICKS = os.sysconf("SC_CLK_TCK")
PROGRAM = Path(__file__).with_name("template.py")


class Renderer:
    """Renders one model's chat template, in a process that can be ended without harm."""

    def __init__(self, template: str, *, seconds: float = SECONDS, most: int = MOST) -> None:
        self.template = template
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = nothing

    def render(self, context: Mapping[str, Any]) -> str:
        """The prompt; raises TemplateError when the template meets a limit, TemplateRefusal when it fails."""
        request = {"template": self.template, "context": context, "most": self._most}
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            answer = self._ask(line)
        if "error" in answer:
            raise TemplateRefusal(f"the model's chat template failed: {answer['error']}")
        return answer["text"]

    def close(self) -> None:
        """End the process; the next rendering starts another."""
        with self._lock:
            self._stop()

    def abandon(self) -> None:
        """End the process in the middle of a rendering as well: nobody will want another."""
        self._end()

    def _ask(self, line: bytes) -> dict[str, str]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        began, before = time.monotonic(), computed(process.pid)
        received = bytearray()
        answers = select.poll()
        answers.register(process.stdout, select.POLLIN)
        try:
            process.stdin.write(line)
            process.stdin.flush()  # the process reads a request whole before it works on it
            while not received.endswith(b"\n"):
                if not answers.poll(1000 * min(LOOK, self._seconds)):
                    if max(computed(process.pid) - before, (time.monotonic() - began) / BUSY) >= self._seconds:
                        raise TemplateError(f"the model's chat template did not end within {self._seconds:g} s")
                    continue
                if not (chunk := os.read(process.stdout.fileno(), 1 << 16)):
                    raise BrokenPipeError
                received += chunk
        except BrokenPipeError:
            raise TemplateError(f"the process of the chat template ended: {self._last_words()}") from None
        except BaseException:
            self._stop()  # or its answer would be taken for that to the next request
            raise
        answer: dict[str, str] = json.loads(received)
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            # -P: the folder of the program, which is part of the package, is no place to import from.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self._end = weakref.finalize(self, end, self._process)
        return self._process

    def _last_words(self) -> str:
        process = self._process
        assert process is not None and process.stderr is not None
        code = process.wait()
        last = process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        self._stop()
        return last[0] if last else f"exit code {code}"

    def _stop(self) -> None:
        self._end()
        self._process, self._end = None, nothing


def computed(pid: int) -> float:
    """Seconds of processor time that a child has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def nothing() -> None:
    """There is no process to end."""


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill it and collect what is left of it."""
    process.kill()
    process.communicate()
