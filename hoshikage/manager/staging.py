"""Copies of models in the RAM disk: a model that left memory comes back from there without its slow disk.

A copy has the header that llama.cpp is to see, so that it is mapped as it lies. It is in a folder of its own, marked as
ours and locked for as long as its process lives: what a process that was killed has left, the next one finds unlocked
and removes. Folders without the mark are a person's, whatever they are called. Any thread; everything blocks.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hoshikage import gguf
from hoshikage.errors import Cancelled
from hoshikage.gguf.header import Header
from hoshikage.gguf.split import other_parts
from hoshikage.manager.speed import read_speed
from hoshikage.registry.facts import Identity, identity_from, identity_of
from hoshikage.settings import Settings

PREFIX, MARK = "hoshikage.staged.", ".hoshikage"
MEANING = "A copy of a model, which Hoshikage removes when the server that made it has ended.\n"
CHUNK = 16 << 20  # bytes between two looks at whether it is still wanted
MARGIN = 64 << 20  # bytes that stay free in the RAM disk
WORTH_SECONDS = 2.0  # a file that is read in less is not copied
FAST = 1.5e9  # bytes a second, from where on a disk is not what a load waits for

Tell: TypeAlias = Callable[[float], object]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the model: what is written before its data, where that lies, and the zeros behind."""

    path: Path
    identity: Identity
    head: bytes
    offset: int
    n_data: int
    n_zeros: int

    @property
    def n_bytes(self) -> int:
        return len(self.head) + self.n_data + self.n_zeros


class Staged:
    """A copy. It is there until it is removed, or its process ends and another one looks."""

    def __init__(self, folder: Path, lock: int, path: Path, sources: list[Source]) -> None:
        self.path = path  # what a worker loads
        self.n_bytes = sum(source.n_bytes for source in sources)
        self._folder, self._lock = folder, lock
        self._of = {source.path: source.identity for source in sources}

    def is_of(self, path: Path) -> bool:
        """Whether it is a copy of what is at this path now."""
        try:
            return path in self._of and all(identity_of(part) == known for part, known in self._of.items())
        except OSError:
            return False

    def remove(self) -> None:
        """Give its memory back, as far as no worker has it mapped. Again: nothing happens."""
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            remove_folder(self._folder)
            os.close(lock)


def stage(
    path: Path,
    settings: Settings,
    n_bytes_free: int,
    tell: Tell = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Staged | None:
    """A copy of a sound model, or None where it does not pay, finds no room or cannot be made; the log says why.

    `n_bytes_free` of memory may be taken for it. Raises Cancelled, and ModelFileError for a file that is no model.
    """
    if settings.staging == "off":
        return None
    disk = Path(settings.ramdisk_path)
    try:
        sources = sources_of(path)
        reason = reason_against(sources, disk, n_bytes_free, always=settings.staging == "on")
        if reason:
            log.info("%s is not staged: %s", path.name, reason)
            return None
        return copied(sources, disk, tell, cancelled)
    except OSError as error:
        log.warning("%s is not staged: %s", path.name, error.strerror or error)
        return None


def sources_of(path: Path) -> list[Source]:
    """The files of a model, as they are to be written."""
    header = gguf.inspect(path)
    retagged = gguf.retag(header)
    if retagged is None:
        return [source_of(part) for part in (header, *other_parts(header))]
    n_zeros = sum(part[1] for part in retagged.parts if part[0] == "zeros")
    return [Source(path, identity_at(header), retagged.header_bytes, header.data_offset, header.data_size, n_zeros)]


def source_of(header: Header) -> Source:
    return Source(Path(header.path), identity_at(header), b"", 0, header.file_size, 0)


def identity_at(header: Header) -> Identity:
    """What the file is now, which has to be what the header was read from."""
    identity = identity_of(Path(header.path))
    if identity[:4] != header.identity:
        raise OSError(errno.ESTALE, "the file was replaced meanwhile", header.path)
    return identity


def reason_against(sources: list[Source], disk: Path, n_bytes_free: int, *, always: bool) -> str:
    """Why no copy is to be made; empty: one is."""
    n_bytes = sum(source.n_bytes for source in sources)
    room = os.statvfs(disk)
    n_free = min(room.f_bavail * room.f_frsize - MARGIN, n_bytes_free)
    if n_bytes > n_free:
        return f"it has {n_bytes} bytes, and {max(0, n_free)} are free for it in the RAM disk"
    if sources[0].identity[0] == disk.stat().st_dev:
        return "it is in the RAM disk already"
    if always:
        return ""
    speed = read_speed(sources[0].path)
    if speed >= FAST or n_bytes / speed < WORTH_SECONDS:
        return f"its disk gives {speed / 1e6:.0f} MB/s, which is fast enough"
    return ""


# -- folders


def sweep(disk: Path) -> int:
    """Remove what processes that are gone have left; returns how many copies that were."""
    with suppress(OSError):
        return sum(map(removed_if_left, left_folders(disk)))
    return 0


def left_folders(disk: Path) -> Iterator[Path]:
    for folder in disk.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.stat(follow_symlinks=False).st_uid == os.geteuid():
                yield folder


def removed_if_left(folder: Path) -> bool:
    """Removes a folder of ours that nobody holds."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # removed by its owner just now, or no folder of ours at all
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / MARK).is_file():
            remove_folder(folder)
        else:
            folder.rmdir()  # killed before it was marked; what is not empty is not ours
        return True
    except OSError:  # held, or not ours
        return False
    finally:
        os.close(lock)


def locked_folder(disk: Path) -> tuple[Path, int]:
    """A new folder that is ours, and the descriptor that says so while it is open."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=disk))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # somebody swept it away before it was locked
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def remove_folder(folder: Path) -> None:
    """The mark goes last, so that a removal that was interrupted is taken up again."""
    with suppress(OSError):
        for file in sorted(folder.iterdir(), key=lambda file: file.name == MARK):
            file.unlink()
        folder.rmdir()
    if folder.exists():
        log.warning("%s could not be removed from the RAM disk; remove it by hand", folder.name)


# -- copying


def copied(sources: list[Source], disk: Path, tell: Tell, cancelled: Callable[[], bool]) -> Staged:
    """Copy all files of a model; nothing is left of a copy that is not whole."""
    sweep(disk)
    folder, lock = locked_folder(disk)
    work = Work(sum(source.n_bytes for source in sources), tell, cancelled)
    try:
        (folder / MARK).write_text(MEANING, encoding="ascii")
        for source in sources:
            # By their names a split model's other files are found, and some families of models are known.
            work.copy(source, folder / source.path.name)
        return Staged(folder, lock, folder / sources[0].path.name, sources)
    except BaseException:
        remove_folder(folder)
        os.close(lock)
        raise


class Work:
    """Copying under way."""

    def __init__(self, n_bytes: int, tell: Tell, cancelled: Callable[[], bool]) -> None:
        self._n_bytes, self._n_done = max(1, n_bytes), 0
        self._tell, self._cancelled = tell, cancelled

    def copy(self, source: Source, target: Path) -> None:
        """One file, which has to stay the same while it is copied."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with source.path.open("rb", buffering=0) as read, open(os.open(target, flags, 0o600), "wb", 0) as write:  # noqa: PTH123
            self._write(write.fileno(), source.head)
            for offset in range(source.offset, source.offset + source.n_data, CHUNK):
                n = min(CHUNK, source.offset + source.n_data - offset)
                self._transfer(read.fileno(), write.fileno(), offset, n)
            os.ftruncate(write.fileno(), source.n_bytes)
            if identity_from(os.fstat(read.fileno())) != source.identity or identity_of(source.path) != source.identity:
                raise OSError(errno.ESTALE, "the file was replaced or written to meanwhile", str(source.path))

    def _write(self, target: int, data: bytes) -> None:
        while data:
            data = data[os.write(target, data) :]

    def _transfer(self, source: int, target: int, offset: int, n: int) -> None:
        if self._cancelled():
            raise Cancelled("the copy to the RAM disk was cancelled")
        begin, end = offset, offset + n
        while offset < end:
            n_moved = os.sendfile(target, source, offset, end - offset)
            if n_moved == 0:
                raise OSError(errno.EIO, "the file ended before its end")
            offset += n_moved
        # What was copied need not be kept twice.
        os.posix_fadvise(source, begin, n, os.POSIX_FADV_DONTNEED)
        self._n_done += n
        self._tell(min(1.0, self._n_done / self._n_bytes))
