"""Which running server serves a file of names: it leaves a note beside the file, for as long as it lives. Any thread.

`model_map.json.server` is locked by the process that wrote it. The kernel lets that lock go when the process ends,
however it does, so a note without a lock is only what a killed server has left behind.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hoshikage.registry.mapfile import beside, make_folder

SUFFIX = ".server"
LARGEST = 4096  # bytes of a note
BOOT, NETWORK = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/net")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Presence:
    """A server that lives."""

    url: str
    pid: int
    place: str  # where its address means what it says

    @property
    def is_here(self) -> bool:
        """Whether its address leads to it from this process: not into another container, or to another machine."""
        return self.place == this_place()


def this_place() -> str:
    """The machine since its start, and the network that this process sees."""
    return f"{BOOT.read_text(encoding='ascii').strip()}/{NETWORK.stat().st_ino}"


@contextmanager
def announced(map_file: Path, url: str) -> Iterator[None]:
    """Says that this process serves the file, until the end of the block. Where it cannot be said, nothing is.

    Of two servers of one file the first is the one that is found; the other reads the file as it is changed.
    """
    try:
        note = note_of(map_file)
        fd = None if found(map_file) else published(note, Presence(url, os.getpid(), this_place()))
    except OSError as error:
        log.info("the commands will not find this server by its file of names (%s)", error.strerror)
        fd = None
    try:
        yield
    finally:
        if fd is not None:
            withdraw(note, fd)


def found(map_file: Path) -> Presence | None:
    """The server of a file; None where none lives, or none that may be believed."""
    try:
        fd = os.open(note_of(map_file), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not is_ours(fd, map_file) or not is_locked(fd):
            return None
        said = json.loads(os.read(fd, LARGEST))
        return Presence(str(said["url"]), int(said["pid"]), str(said["place"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(fd)


def published(note: Path, presence: Presence) -> int:
    """Writes the note under another name, locks it, and only then lets it be seen; the lock's descriptor."""
    make_folder(note.parent)
    part = beside(note, f".{presence.pid}")
    part.unlink(missing_ok=True)  # left behind by a process of this number
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        said = {"url": presence.url, "pid": presence.pid, "place": presence.place}
        os.write(fd, json.dumps(said).encode())
        part.rename(note)
    except BaseException:
        os.close(fd)
        part.unlink(missing_ok=True)
        raise
    return fd


def withdraw(note: Path, fd: int) -> None:
    """Takes the note away, if it is still the one of this descriptor."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(fd), note.lstat()):
            note.unlink()
    os.close(fd)


def note_of(map_file: Path) -> Path:
    """Where the note of a file is: beside the file itself, whatever links lead to it."""
    return beside(Path(os.path.realpath(map_file)), SUFFIX)


def is_ours(fd: int, map_file: Path) -> bool:
    """Whether a key may be sent where the note leads: in a folder of all, a stranger could have written it."""
    status = os.fstat(fd)
    owners = {os.geteuid(), note_of(map_file).parent.stat().st_uid}
    return stat.S_ISREG(status.st_mode) and status.st_uid in owners


def is_locked(fd: int) -> bool:
    """Whether the process that wrote it lives."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
