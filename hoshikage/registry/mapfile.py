"""A JSON object in a file that many processes change, any of which may be killed at any point.

A change happens under a lock: read, edit, write a file beside it, fsync, rename, fsync the folder. So a reader needs
no lock and sees the state before or after a change, never one between. What cannot be read is never written over.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from hoshikage.checks import shown
from hoshikage.errors import BrokenMapError, RegistryError

Entries: TypeAlias = dict[str, Any]

SIZE_MAX = 16 << 20  # bytes; ten thousand entries are 2 MiB
LOCK_SECONDS = 10.0
PAUSE_SECONDS = 0.01
SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Contents:
    """What the file holds, and the line on which each key stands."""

    entries: Entries
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class MapFile:
    """The file at a path, which need not exist yet. Safe to use from several threads and processes."""

    path: Path
    lock_seconds: float = LOCK_SECONDS

    def read(self) -> Contents:
        """What is in it now; nothing where there is no file."""
        try:
            text = read_text(self.path)
        except FileNotFoundError:
            return Contents({}, {})
        except OSError as error:
            raise RegistryError(self.path, *what_reading_said(error)) from error
        except ValueError as error:
            raise self._broken(str(error)) from None
        return self._parsed(text)

    def change(self, edit: Callable[[Entries], None], *, set_aside: bool = False) -> None:
        """Let `edit` change the entries, and write them if it did.

        What `edit` raises leaves the file as it is. `set_aside` keeps a file that cannot be understood under another
        name and begins a new one.
        """
        try:
            with self._locked() as file:
                broken = False
                try:
                    entries = file.read().entries
                except BrokenMapError:
                    if not set_aside:
                        raise
                    entries, broken = {}, True
                before = encoded(entries)
                edit(entries)
                if broken:
                    free_name(file.path).hardlink_to(file.path)
                if broken or encoded(entries) != before:
                    write(file.path, encoded(entries))
        except OSError as error:
            raise RegistryError(self.path, *what_writing_said(error)) from error

    @contextmanager
    def _locked(self) -> Iterator[MapFile]:
        """The file itself, behind any link to it, while nobody else changes it."""
        target = Path(os.path.realpath(self.path))
        make_folder(target.parent)
        fd = open_lock(beside(target, ".lock"))
        try:
            self._lock(fd)
            yield MapFile(target)
        finally:
            os.close(fd)

    def _lock(self, fd: int) -> None:
        end = time.monotonic() + self.lock_seconds
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    cause = f"another process has been changing it for {self.lock_seconds:g} seconds"
                    raise RegistryError(self.path, cause, "try again, or end that process") from None
                time.sleep(PAUSE_SECONDS)

    def _broken(self, cause: str) -> BrokenMapError:
        return BrokenMapError(self.path, cause)

    def _parsed(self, text: str) -> Contents:
        if not text.strip():
            raise self._broken("it is empty")
        entries: Entries = {}
        lines: dict[str, int] = {}
        line = 1
        try:
            if not isinstance(json.loads(text), dict):
                raise self._broken("line 1: it is not a JSON object of labels")
            for line, label, start in keys_of(text):
                if label in entries:
                    raise self._broken(f"line {line}: {shown(label)} stands in it twice")
                entries[label] = STRICT.raw_decode(text, start)[0]
                lines[label] = line
        except json.JSONDecodeError as error:
            raise self._broken(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, BrokenMapError):
                raise
            raise self._broken(f"line {line}: {error}") from None
        return Contents(entries, lines)


# -- reading


def read_text(path: Path) -> str:
    """The text of a regular file; opening anything else may hang."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if status.st_size > SIZE_MAX:
            raise ValueError(f"it has more than {SIZE_MAX >> 20} MiB")
        raw = b""
        while chunk := os.read(fd, SIZE_MAX):
            raw += chunk
    finally:
        os.close(fd)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line}: it is not UTF-8") from None


def keys_of(text: str) -> Iterator[tuple[int, str, int]]:
    """(line, key, start of the value) for each key of the outermost object of a text that is sound JSON."""
    at = after_space(text, after_space(text, 0) + 1)
    while text[at] == '"':
        line = text.count("\n", 0, at) + 1
        key, at = LOOSE.raw_decode(text, at)
        start = after_space(text, after_space(text, at) + 1)
        yield line, key, start
        at = after_space(text, LOOSE.raw_decode(text, start)[1])
        if text[at] == "}":
            return
        at = after_space(text, at + 1)


def after_space(text: str, at: int) -> int:
    matched = SPACE.match(text, at)
    return matched.end() if matched else at


def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return table


def finite(text: str) -> float:
    """A number that can be written again; JSON has no infinity."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a number that can be kept")
    return number


LOOSE = json.JSONDecoder()
STRICT = json.JSONDecoder(object_pairs_hook=without_doubles, parse_float=finite, parse_constant=finite)


# -- writing


def as_json(value: object) -> str:
    """As a person would write it. Names of files that are no UTF-8 are written with escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def encoded(entries: Entries) -> bytes:
    return f"{as_json(entries)}\n".encode()


def write(path: Path, data: bytes) -> None:
    """Replace a file by another in one step. Only the holder of the lock may call this."""
    part = beside(path, ".part")
    part.unlink(missing_ok=True)  # left behind by a writer that was killed
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            keep_owner(path, fd)
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    fsync_folder(path.parent)


def open_lock(path: Path) -> int:
    """For writing, because NFS locks nothing else for one alone; for reading, where it belongs to somebody else."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)


def keep_owner(path: Path, fd: int) -> None:
    """Who may read the old file may read the new one, also when root writes it."""
    with suppress(FileNotFoundError):
        status = path.stat()
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        if os.geteuid() == 0:
            os.fchown(fd, status.st_uid, status.st_gid)


def fsync_folder(folder: Path) -> None:
    """Put names on the disk; some network file systems do that at once and refuse to be asked."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """With those above it, each put on the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def free_name(path: Path) -> Path:
    """Where a file is kept aside: NAME.broken, NAME.broken.2, ..."""
    aside, n = beside(path, ".broken"), 1
    while os.path.lexists(aside):
        n += 1
        aside = beside(path, f".broken.{n}")
    return aside


def what_reading_said(error: OSError) -> tuple[str, str]:
    cause = f"it cannot be read ({error.strerror})"
    if error.errno in (errno.EACCES, errno.EPERM):
        return cause, "give this user read permission, or name another file"
    return cause, "look at what is there, or set MODEL_MAP_FILE to a file elsewhere"


def what_writing_said(error: OSError) -> tuple[str, str]:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            cause = f"it cannot be written: there is no room ({error.strerror})"
            return f"{cause}, and it is as it was", "free some space and try again"
        case errno.EROFS | errno.EACCES | errno.EPERM | errno.ENOTDIR | errno.EEXIST:
            cause = f"it cannot be written ({error.strerror})"
            return cause, "make its folder writable for this user, or set MODEL_MAP_FILE to a file elsewhere"
    return f"it cannot be written ({error.strerror})", "check the disk and try again"
