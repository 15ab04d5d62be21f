"""A llama.cpp of a few lines, packed like the real one, and a folder that pip takes for an index."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pin import Pin, read_pin

from tests.house import ROOT

PROJECT, RELEASE = "hoshikage-fake-pin", "1.0"
STEM = "hoshikage_fake_pin-1.0"
INSIDE = f"{STEM}/vendor/llama.cpp"

CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(fake C)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
option(GGML_RPC "never" OFF)
add_library(ggml-base src/base.c)
add_library(ggml src/ggml.c)
add_library(llama src/llama.c)
target_compile_definitions(ggml-base PRIVATE COMMIT="${LLAMA_BUILD_COMMIT}")
target_link_libraries(ggml PUBLIC ggml-base)
target_link_libraries(llama PUBLIC ggml)
set_target_properties(ggml-base ggml llama PROPERTIES VERSION 0.1.2 SOVERSION 0)
"""
TREE = {
    "CMakeLists.txt": CMAKE,
    "LICENSE": "MIT\n",
    "include/llama.h": "int llama_answer(void);\n",
    "ggml/include/ggml.h": "int ggml_answer(void);\n",
    "src/llama.cpp": "// for the check of the tree\n",
    "src/base.c": "const char * ggml_commit(void) { return COMMIT; }\n",
    "src/ggml.c": "int ggml_answer(void) { return 42; }\n",
    "src/llama.c": "int ggml_answer(void);\nint llama_answer(void) { return ggml_answer(); }\n",
    "tools/bench.c": "// a program\n",
    "tools/ui/page.html": "left out\n",
    "models/vocab.gguf": "left out\n",
}
PROJECT_FILES = {
    "pyproject.toml": f'[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
    f'[project]\nname = "{PROJECT.replace("-", "_")}"\ndynamic = ["version"]\n',
    "PKG-INFO": f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {RELEASE}\n",
}


def make_archive(changes: Mapping[str, str] = MappingProxyType({}), extra: Sequence[tarfile.TarInfo] = ()) -> bytes:
    """The archive's bytes, the same each time; `changes` replaces files of the tree by name."""
    files = {f"{STEM}/{name}": text for name, text in PROJECT_FILES.items()}
    files |= {f"{INSIDE}/{name}": text for name, text in {**TREE, **changes}.items()}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return gzip.compress(plain.getvalue(), mtime=0)


def make_pin(home: Path, archive: bytes) -> Pin:
    """A home for the tools whose pin is `archive`."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "shim").exists():
        shutil.copytree(ROOT / "llama.cpp" / "shim", home / "shim", ignore=shutil.ignore_patterns("__pycache__"))
    pinned = (
        f'project = "{PROJECT}"\nrelease = "{RELEASE}"\narchive = "{STEM}.tar.gz"\n'
        f'sha256 = "{hashlib.sha256(archive).hexdigest()}"\ninside = "{INSIDE}"\ncommit = "0fake0fake"\n'
        'keep = ["CMakeLists.txt", "LICENSE", "ggml", "include", "src", "tools"]\nleave = ["tools/ui"]\n'
        'pack = ["CMakeLists.txt", "LICENSE", "ggml", "include", "src", "tools"]\n'
    )
    (home / "pin.toml").write_text(pinned, encoding="utf-8")
    return read_pin(home)
