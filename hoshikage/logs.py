"""The log: one line for each thing that happened, to standard error or to a file a day. Any thread.

A file gets lines of JSON. Whoever logs gives a sentence, and what a program may want of it as
`extra={"event": {...}}`; neither holds prompts, answers or keys. A disk that is full loses lines and nothing else: how
many is said as soon as there is room.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from hoshikage.errors import ParameterError
from hoshikage.settings import Settings

NAME = "hoshikage"  # of our handler, to find it again
LONGEST = 2000  # characters of a text in a line
BREAKS = re.compile(r"""^$|[\s"'=\\]""")  # what in a value would look like the beginning of another
DATED = re.compile(r"(\d{4}-\d{2}-\d{2})(-\d+)?")


def start(settings: Settings) -> None:
    """Have the log written from now on; again: as these settings say. Raises ParameterError."""
    handler: logging.Handler
    if settings.log_file is None:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Plain())
    else:
        handler = DailyFile(Path(settings.log_file), settings.log_days)
        handler.setFormatter(Json())
    root, ours = logging.getLogger(), logging.getLogger("hoshikage")
    for old in [old for old in root.handlers if old.name == NAME]:
        root.removeHandler(old)
        old.close()
    handler.name = NAME
    root.addHandler(handler)
    ours.setLevel(settings.log_level.upper())
    logging.raiseExceptions = False  # a log that cannot be written says so itself, once


class Json(logging.Formatter):
    """A line that a program reads."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "message": shortened(record.getMessage()),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        # What happened cannot pass itself off as something else.
        told = {key: value for key, value in event_of(record).items() if key not in line}
        return json.dumps(line | told, default=repr)


class Plain(logging.Formatter):
    """A line that a person reads; nothing in it steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).isoformat(" ", timespec="seconds")
        facts = " ".join(f"{key}={one_word(value)}" for key, value in event_of(record).items())
        name = record.name.removeprefix("hoshikage.")
        line = f"{when} {record.levelname.lower()} {name}: {shortened(record.getMessage())} {facts}"
        lines = [line.rstrip(), *(self.formatException(record.exc_info).splitlines() if record.exc_info else ())]
        return "\n    ".join(map(visible, lines))


def event_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a program may want to know of it."""
    event = getattr(record, "event", None)
    if not isinstance(event, Mapping):
        return {}
    return {str(key): shortened(value) if isinstance(value, str) else value for key, value in event.items()}


def one_word(value: object) -> str:
    """In quotes where it would be several, or look like another field."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if BREAKS.search(text) else text


def visible(text: str) -> str:
    """With what a terminal would obey or not show spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"


class DailyFile(logging.Handler):
    """A file that is given the date of its lines as a second name when the day is over.

    Nothing is kept back: a line is in the file when `emit` returns.
    """

    def __init__(self, path: Path, n_days: int) -> None:
        super().__init__()
        self._path, self._n_days = path, n_days
        self._fd, self._inode, self._day = -1, (0, 0), date.min
        self._n_lost, self._is_torn, self._reason = 0, False, ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            cause = f"{path} cannot be written: {error.strerror}"
            raise ParameterError("LOG_FILE_PATH", cause, "name a file in a folder of yours") from None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. Called with the handler's lock."""
        try:
            line = self.format(record)
        except Exception as error:  # a line that somebody got wrong is no reason to stop
            line = json.dumps({"message": f"a line of {record.name} could not be made: {error!r}"})
        day = date.fromtimestamp(record.created)
        try:
            self._turn_to(day)
            self._write_lost()
            self._write(line)
        except OSError as error:
            self._n_lost, self._reason = self._n_lost + 1, error.strerror or str(error)

    def close(self) -> None:
        self.acquire()
        try:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
        finally:
            self.release()
        super().close()

    def _write(self, line: str) -> None:
        data = (b"\n" if self._is_torn else b"") + line.encode("utf-8", "replace") + b"\n"
        n_written = os.write(self._fd, data)
        self._is_torn = n_written < len(data)
        if self._is_torn:
            raise OSError(0, "the line was cut off: the disk is full")

    def _write_lost(self) -> None:
        if self._n_lost:
            self._write(json.dumps({"level": "error", "message": f"{self._n_lost} lines were lost: {self._reason}"}))
            self._n_lost = 0

    # -- days

    def _turn_to(self, day: date) -> None:
        """The file of this day; opened again where somebody has moved it away."""
        if self._fd >= 0 and day <= self._day and self._is_there():
            return
        self._open(day)

    def _is_there(self) -> bool:
        try:
            status = self._path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def _open(self, day: date | None = None) -> None:
        today = day or date.today()  # a day is what the owner's clock says it is
        self._put_aside(today)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o640)
        status = os.fstat(fd)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            os.close(fd)
            raise OSError(0, "it is no file")
        if self._fd >= 0:
            os.close(self._fd)
        self._is_torn = False
        self._fd, self._inode, self._day = fd, (status.st_dev, status.st_ino), max(today, self._day)

    def _put_aside(self, today: date) -> None:
        """Give a file of an earlier day its name, and remove those that are too old."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        written = date.fromtimestamp(status.st_mtime)
        if not stat.S_ISREG(status.st_mode) or written >= today or status.st_size == 0:
            return
        self._path.rename(self._free_name(written))
        self._remove_old(today)

    def _free_name(self, day: date) -> Path:
        name = self._path.with_name(f"{self._path.name}.{day.isoformat()}")
        number = 1
        while name.exists():
            name = self._path.with_name(f"{self._path.name}.{day.isoformat()}-{number}")
            number += 1
        return name

    def _remove_old(self, today: date) -> None:
        oldest = today - timedelta(days=self._n_days)
        for path in self._path.parent.glob(f"{glob_quoted(self._path.name)}.*"):
            found = DATED.fullmatch(path.name.removeprefix(f"{self._path.name}."))
            if self._n_days and found and date_of(found[1]) < oldest:
                path.unlink(missing_ok=True)


def date_of(text: str) -> date:
    """The date that a name tells; the last one, where it tells none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return date.max


def glob_quoted(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)
