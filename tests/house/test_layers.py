"""Imports go down only. An import inside a function, one for the type checker and a cimport count like any other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.house.sources import CYTHON, code

# From the ground up: a module may import what is on its own floor and below.
FLOORS = (
    {"_version", "_fingerprint", "errors"},
    {"_libs", "architectures", "checks", "envfile"},
    {"gguf", "settings", "logs", "gbnf", "jsonschema", "nano"},
    {"_csrc", "_llama"},
    {path.stem for path in (ROOT / "hoshikage").glob("_*.pyx")},  # the core
    {"strategies"},
    {"engine"},
    {"llada", "evaluate", "worker", "registry", "probe"},
    {"manager"},
    {"server"},
    {"cli"},
    {"__init__", "__main__"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+([^#\n(]*)|c?import\s+([\w.]+))", re.MULTILINE)

FILES = code(".py", *CYTHON, under="hoshikage")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "hoshikage").with_suffix("").parts
    return ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])


def room_of(module: str) -> str:
    return module.split(".")[0]


def names_imported(path: Path) -> Iterator[str]:
    """Every module of ours that `path` imports, without the leading `hoshikage.`."""
    text = path.read_text(encoding="utf-8")
    found: list[tuple[str, list[str]]] = []
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                found.append((absolute(path, node), [alias.name for alias in node.names]))
            elif isinstance(node, ast.Import):
                found += [(alias.name, []) for alias in node.names]
    else:
        for source, names, plain in CYTHON_IMPORT.findall(text):
            found.append((source or plain, [name.split()[0] for name in names.split(",") if name.strip()]))
    for source, names in found:
        if source == "hoshikage":
            yield from (
                name if (ROOT / "hoshikage" / name).is_dir() or is_module(name) else "__init__" for name in names
            )
        elif source.startswith("hoshikage."):
            yield source.removeprefix("hoshikage.")


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The full name of what a `from . import` is from."""
    if node.level == 0:
        return node.module or ""
    parts = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*parts, node.module or ""]).strip(".")


def is_module(name: str) -> bool:
    return any((ROOT / "hoshikage" / f"{name}{suffix}").exists() for suffix in (".py", *CYTHON))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    room = room_of(module_of(path))
    assert room in FLOOR_OF, f"{room} has no floor yet: give it one in FLOORS"
    for imported in names_imported(path):
        target = room_of(imported)
        assert target in FLOOR_OF, f"{target} has no floor yet: give it one in FLOORS"
        assert FLOOR_OF[target] <= FLOOR_OF[room], f"{room} stands below {target} and may not import it"


def test_strategies_do_not_know_each_other() -> None:
    for path in FILES:
        module = module_of(path)
        if module.startswith("strategies."):
            others = [name for name in names_imported(path) if name.startswith("strategies") and name != module]
            assert not others, f"{module} imports {others}"


def test_the_c_layer_stands_alone() -> None:
    for path in code(".c", under="hoshikage/csrc"):
        assert not {"Python.h", "llama.h", "ggml.h", "gguf.h"} & includes(path), path


def includes(path: Path) -> set[str]:
    """What a file of C includes, itself or through our own headers."""
    named = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', path.read_text(encoding="utf-8"), re.MULTILINE)
    own = [path.with_name(name) for name in named if path.with_name(name).exists()]
    return set(named).union(*map(includes, own))


def test_importing_the_package_loads_no_library_and_no_compiled_module() -> None:
    program = (
        "import hoshikage, sys\n"
        "print(*sorted(n for n, m in sys.modules.items() if n.startswith('hoshikage')"
        " and str(getattr(m, '__file__', '')).endswith('.so')))\n"
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'llama' in line and '.so' in line})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_server_never_imports_the_core() -> None:
    for path in FILES:
        if room_of(module_of(path)) in ("server", "manager", "registry"):
            core = range(FLOOR_OF["_csrc"], FLOOR_OF["engine"])
            inner = [name for name in names_imported(path) if FLOOR_OF[room_of(name)] in core]
            assert not inner, f"{path} imports {inner}: models live in worker processes"


def test_a_compiled_module_gets_its_libraries_first() -> None:
    program = "import sys, hoshikage; from hoshikage import _libs; print(sys.meta_path[0] is _libs.LibrariesFirst)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True", "hoshikage/__init__.py has to import hoshikage._libs"


def test_what_only_reads_headers_and_settings_stays_small() -> None:
    """NumPy alone takes more memory than a server with nothing loaded should."""
    program = "import sys, hoshikage.registry, hoshikage.settings, hoshikage.gguf; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
