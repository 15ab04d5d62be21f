"""Loads libllama before the first compiled module that needs it: the packaged one, or that in HOSHIKAGE_LIB_PATH.

That variable is a setting like others, of the environment or a `.env` file at home; a command's flag reaches `use`.

The compiled modules find the packaged libraries by themselves. A person's own build has to be in the process before
them, so importing `hoshikage` puts a finder in front of Python's, which loads the libraries as soon as a compiled
module is asked for, and not before: the server imports none and never loads libllama.

llama.cpp promises no stable binary interface, so a build that is not of the same source, or not of the same shape, is
refused before anything is called that could crash.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from hoshikage import _fingerprint as fp
from hoshikage.envfile import expanded, own_files, variables_in
from hoshikage.errors import LibraryError, ParameterError

PACKAGED = Path(__file__).with_name("lib")
EXPECTED = "expected.json"  # beside the packaged libraries: their fingerprint, and the symbols that we call
VARIABLE = "HOSHIKAGE_LIB_PATH"
LOG_VARIABLE = "HOSHIKAGE_LOG"
LOG_LEVELS = ("debug", "info", "warn", "error", "none")  # those of _log.pyx
REMEDY = (
    "build it from the llama.cpp that this package was built from, with 'python llama.cpp build FOLDER' in the source "
    f"of hoshikage, or unset {VARIABLE}"
)
NOT_BUILT = "hoshikage is not built here: `make build` in its folder does that, and so does installing it with pip"

_loaded: Path | None = None
_used = ""


class LibrariesFirst:
    """A finder that finds nothing new: it only makes sure of the libraries."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith("hoshikage."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            load_libraries()
        return spec


def is_built() -> bool:
    """Whether the compiled modules are here; a fresh checkout has none."""
    return any(Path(__file__).with_name(f"_core{suffix}").exists() for suffix in EXTENSION_SUFFIXES)


def use(folder: str | None) -> None:
    """Names a folder, before anything else does and before the first compiled module; None names none."""
    global _used
    _used = folder or ""


def named_folder() -> str:
    """The folder of a person's own build; empty: the packaged one is meant."""
    given = [file[VARIABLE].value for file in map(variables_in, own_files(os.environ)) if VARIABLE in file]
    return next(filter(None, (_used, os.environ.get(VARIABLE), *reversed(given))), "")


def variables() -> dict[str, str]:
    """What a child process needs in its environment to load the same libraries."""
    folder = named_folder()
    return {VARIABLE: str(expanded(folder).resolve())} if folder else {}


def library_folder() -> Path:
    """Where the libraries come from in this process."""
    named = named_folder()
    return expanded(named).resolve() if named else PACKAGED


def load_libraries() -> Path:
    """Loads them once and returns their folder. Raises LibraryError again on every call after a refusal."""
    global _loaded
    if _loaded is None:
        check_log_level()
        folder = library_folder()
        try:
            llama = load_own(folder) if folder != PACKAGED else fp.open_llama(folder)
        except OSError as error:
            remedy = REMEDY if folder != PACKAGED else ""
            raise LibraryError(f"libllama could not be loaded from {folder}: {error}", remedy) from None
        refuse_stranger(llama, folder)
        load_plugins(folder)
        _loaded = folder
    return _loaded


def check_log_level() -> None:
    """What is said of llama.cpp's log is read by a compiled module, whose own complaint is no sentence for a person."""
    level = os.environ.get(LOG_VARIABLE, "none")
    if level not in LOG_LEVELS:
        raise ParameterError(LOG_VARIABLE, f"{level[:60]!a} is no level", f"use one of {', '.join(LOG_LEVELS)}")


def load_own(folder: Path) -> ctypes.CDLL:
    """A person's own build, compared with the packaged one from the safest question to the last."""
    if not folder.is_dir():
        raise LibraryError(
            f"{VARIABLE} names {folder}, which is no folder", "set it to the folder that libllama.so is in, or unset it"
        )
    expected = json.loads((PACKAGED / EXPECTED).read_text(encoding="utf-8"))
    refuse_other_source(folder, fp.versions(fp.open_base(folder)), expected)
    llama = fp.open_llama(folder)
    missing = [name for name in expected["symbols"] if not hasattr(llama, name)]
    if missing:
        raise LibraryError(f"the libllama in {folder} lacks {', '.join(missing[:3])}, which this package calls", REMEDY)
    found = fp.structure(llama)
    known = found.keys() & expected.keys()
    differing = [
        f"lays out {name}() differently"
        for name in fp.STRUCTS
        if name in known and not fp.agree(found[name], expected[name])
    ]
    if "llama_version" in known and found["llama_version"] != expected["llama_version"]:
        differing.insert(0, f"is version {found['llama_version'] or 'unknown'}, not {expected['llama_version']}")
    if differing:
        raise LibraryError(
            f"the libllama in {folder} {differing[0]}, and this package was compiled for another one", REMEDY
        )
    return llama


def refuse_other_source(folder: Path, found: fp.Fingerprint, expected: dict[str, str]) -> None:
    """ggml's version and llama.cpp's commit. A build outside of git knows no commit: there the structs decide alone."""
    if found["ggml_version"] != expected["ggml_version"]:
        raise LibraryError(
            f"the ggml in {folder} is version {found['ggml_version'] or 'unknown'}, and this package was compiled for "
            f"{expected['ggml_version']}",
            REMEDY,
        )
    ours, theirs = (values["ggml_commit"].removesuffix("-dirty") for values in (expected, found))
    if "unknown" in (ours, theirs):
        is_same = fp.STRUCTS[0] in expected
    else:
        is_same = theirs != "" and (ours.startswith(theirs) or theirs.startswith(ours))
    if not is_same:
        raise LibraryError(
            f"the libraries in {folder} were built from llama.cpp commit {theirs or 'unknown'}, and this package was "
            f"compiled for {ours}",
            REMEDY,
        )


def refuse_stranger(llama: ctypes.CDLL, folder: Path) -> None:
    """The compiled modules ask for libllama by its soname; that has to be the one just opened."""
    soname = fp.find_library(PACKAGED, "llama").name
    try:
        bound = ctypes.CDLL(soname, mode=os.RTLD_NOW | os.RTLD_NOLOAD)
    except OSError:
        raise LibraryError(f"the libllama in {folder} is not named {soname} inside", REMEDY) from None
    if bound._handle != llama._handle:
        raise LibraryError(
            f"another {soname} is in this process already, and the compiled modules would use it",
            "import hoshikage before any other package that brings its own llama.cpp",
        )


def load_plugins(folder: Path) -> None:
    """Where ggml's backends are plugins (a portable build), it has to be told where they are."""
    if not any(path.suffix == ".so" for path in folder.glob("libggml-*.so")):
        return
    ggml = fp.open_library(fp.find_library(folder, "ggml"))
    base = fp.open_base(folder)
    lines: list[str] = []

    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)  # type: ignore[untyped-decorator]
    def keep(level: int, line: bytes, user_data: int | None) -> None:  # noqa: ARG001
        lines.append(line.decode(errors="replace").strip())

    base.ggml_log_set(keep, None)
    try:
        ggml.ggml_backend_load_all_from_path(str(folder).encode())
    finally:
        base.ggml_log_set(None, None)
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    if ggml.ggml_backend_dev_count() == 0:
        raise LibraryError(f"no ggml backend in {folder} runs on this machine: {' '.join(lines[-3:])}")


if LibrariesFirst not in sys.meta_path:
    sys.meta_path.insert(0, LibrariesFirst)
