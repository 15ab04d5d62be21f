"""Packs the source for a machine without network: what the libraries and the benches' peers are built from."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from pathlib import Path

from fetch import MARK, find_source, is_under
from pin import Pin, PinError


def write_pack(pin: Pin, folder: Path) -> Path:
    """Writes `llama.cpp-RELEASE.tar.gz` into `folder`, the same bytes for the same source."""
    source = find_source(pin)
    name = f"llama.cpp-{pin.release}"
    target = folder / f"{name}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with (
        part.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in packed_files(pin, source):
            tar.add(path, f"{name}/{path.relative_to(source)}", filter=anonymous)
    part.replace(target)
    return target


def packed_files(pin: Pin, source: Path) -> Iterator[Path]:
    """Every file to pack, in the order of their names."""
    for name in sorted([*pin.pack, MARK]):
        path = source / name
        if path.is_dir():
            inside = sorted(inner for inner in path.rglob("*") if inner.is_file())
            yield from (inner for inner in inside if not is_left(pin, source, inner))
        elif path.is_file():
            yield path
        elif name in ("CMakeLists.txt", "ggml", "include", "src"):
            raise PinError(f"{source} has no {name}, so it cannot be packed. Remove it to have it fetched again.")


def is_left(pin: Pin, source: Path, path: Path) -> bool:
    """Whether the pin leaves it out: llama-server's files are in the tree only where somebody has asked for it."""
    return is_under(path.relative_to(source).as_posix(), pin.leave)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Neither times nor owners: they say nothing about the source."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member
