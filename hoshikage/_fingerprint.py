"""What a build of libllama looks like to code that was compiled against its headers.

Needs the standard library only: the build runs this file on the libraries it made, before there is a package
(`python _fingerprint.py FOLDER`), and `_libs` compares the answer with that of somebody's own build.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import TypeAlias

Fingerprint: TypeAlias = dict[str, str]

# The structs that we pass by value; their defaults give away every field's place.
STRUCTS = ("llama_model_default_params", "llama_context_default_params")
ROOM = 4096  # bytes; the structs have some 150
VERSIONED = re.compile(r"lib(?P<stem>[\w.+-]+?)\.so(?P<version>\.\d+)?$")


def open_base(folder: Path) -> ctypes.CDLL:
    """The library that needs no other, and no GPU driver; it knows which llama.cpp this is."""
    return open_library(find_library(folder, "ggml-base"))


def open_llama(folder: Path) -> ctypes.CDLL:
    """libllama and, before it, all that it needs from the same folder, wherever its own rpath points."""
    open_base(folder)
    for path in sorted(folder.glob("libggml-*.so.*")):
        matched = VERSIONED.fullmatch(path.name)
        if matched and matched["stem"] != "ggml-base":
            open_library(path)
    open_library(find_library(folder, "ggml"))
    return open_library(find_library(folder, "llama"))


def find_library(folder: Path, stem: str) -> Path:
    """`libstem.so.N`, or `libstem.so` where nothing else is."""
    candidates = [path for path in sorted(folder.glob(f"lib{stem}.so*")) if VERSIONED.fullmatch(path.name)]
    if not candidates:
        raise OSError(f"{folder} has no lib{stem}.so")
    return candidates[-1]


def open_library(path: Path) -> ctypes.CDLL:
    # Bound now: a symbol missing later would end the process.
    return ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)


def versions(base: ctypes.CDLL) -> Fingerprint:
    """ggml's version, and the llama.cpp commit that it was built from."""
    return {name: text(base, name) for name in ("ggml_version", "ggml_commit")}


def structure(llama: ctypes.CDLL) -> Fingerprint:
    """llama.cpp's version and the bytes of its default structs."""
    found = {"llama_version": text(llama, "llama_version")}
    if platform.machine() == "x86_64":
        found |= {name: defaults(llama, name) for name in STRUCTS}
    return found


def text(library: ctypes.CDLL, name: str) -> str:
    """What a `const char * name(void)` says; "" where there is no such function."""
    function = getattr(library, name, None)
    if function is None:
        return ""
    function.restype = ctypes.c_char_p
    return (function() or b"").decode(errors="replace")


def defaults(library: ctypes.CDLL, name: str) -> str:
    """The bytes that `struct name(void)` writes, as hex, with ".." for those it leaves alone.

    On x86-64 a large struct is returned through a pointer passed as the first argument, so we can watch how far the
    function writes. Elsewhere the pointer has a register of its own, which ctypes does not reach.
    """
    function = getattr(library, name, None)
    if function is None:
        return ""
    function.restype, function.argtypes = None, [ctypes.c_void_p]
    seen = []
    for canary in (b"\xa5", b"\x5a"):
        buffer = ctypes.create_string_buffer(canary * ROOM, ROOM)
        function(buffer)
        seen.append(buffer.raw)
    marks = [f"{left:02x}" if left == right else ".." for left, right in zip(*seen, strict=True)]
    while marks and marks[-1] == "..":
        marks.pop()
    return "".join(marks)


def agree(left: str, right: str) -> bool:
    """Whether two answers of `defaults` are of one layout. Padding is written or not as the compiler likes."""
    pairs = zip(split(left), split(right), strict=False)
    same_size = (len(left) + 15) // 16 == (len(right) + 15) // 16  # in units of 8 bytes, the alignment
    return same_size and all(one == other or ".." in (one, other) for one, other in pairs)


def split(marks: str) -> list[str]:
    return [marks[at : at + 2] for at in range(0, len(marks), 2)]


def fingerprint(folder: Path) -> Fingerprint:
    """All of it; what needs a driver that this machine does not have is left out, with the reason on stderr."""
    found = versions(open_base(folder))
    try:
        return found | structure(open_llama(folder))
    except OSError as error:
        print(f"hoshikage: libllama cannot be loaded here ({error}); its structs go unrecorded", file=sys.stderr)
        return found


if __name__ == "__main__":
    print(json.dumps(fingerprint(Path(sys.argv[1]).resolve()), indent=1))
