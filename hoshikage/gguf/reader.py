"""A GGUF header from the file: every count, length, type, size and offset is checked before it is believed.

What passes is well formed and lies inside the file. Whether llama.cpp survives it is judged elsewhere (judge.py).
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from struct import Struct, error
from types import MappingProxyType
from typing import TypeAlias

from hoshikage.checks import shown
from hoshikage.errors import AnyPath, ModelFileError
from hoshikage.gguf.header import (
    ARRAY,
    LENGTH,
    REMOVED_TENSOR_TYPES,
    SCALARS,
    STRING,
    TENSOR_TYPES,
    U32,
    Array,
    Field,
    Header,
    TensorInfo,
)  # fmt: skip
from hoshikage.gguf.sniff import name_stranger

FIRST_READ = 8 << 20  # most headers are smaller, vocabulary and merges included
HEADER_MAX = 512 << 20  # far beyond any real one
COUNT_MAX = 1 << 17  # keys, tensors
STRINGS_MAX = 1 << 21  # in an array, as a vocabulary is: ten of the largest in use
KEY_MAX = 512  # characters, several times the longest in use
NAME_MAX = 63  # ggml's, bytes
DIMS_MAX = 4
INT64_MAX = (1 << 63) - 1

SCALAR_STRUCTS = {number: Struct("<" + code) for number, (_, code) in SCALARS.items()}
PREAMBLE = Struct("<4sIQQ")  # magic, version, tensors, keys
U32_AT = Struct("<I").unpack_from

Refuse: TypeAlias = Callable[..., ModelFileError]  # (cause, remedy)


class Beyond(Exception):  # noqa: N818 -- a request for more bytes, not a failure
    """The header goes on to `end`, past the bytes at hand."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


def read(path: AnyPath) -> Header:
    """The header of a regular file; raises ModelFileError with the cause and the remedy."""
    name = os.fspath(path)
    refuse = partial(ModelFileError, name)
    fd = open_regular(name, refuse)
    try:
        return read_open(fd, name, refuse)
    except OSError as failure:
        raise refuse(f"it cannot be read ({failure.strerror})", "check the disk or the mount") from failure
    finally:
        os.close(fd)


def open_regular(path: str, refuse: Refuse) -> int:
    """A descriptor of a regular file. Nothing else is opened: opening a FIFO or a device may hang or act."""
    try:
        check_regular(Path(path).stat().st_mode, refuse)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a NUL, or half of a surrogate pair
        raise refuse("no file can have such a path", "check the path") from None
    except OSError as failure:
        raise refuse(*what_open_said(failure)) from failure
    try:
        check_regular(os.fstat(fd).st_mode, refuse)  # what was there a moment ago may have been replaced
    except ModelFileError:
        os.close(fd)
        raise
    return fd


def what_open_said(failure: OSError) -> tuple[str, str]:
    match failure.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return "there is no such file", "check the path"
        case errno.EACCES | errno.EPERM:
            return "it is not readable for this user", "give read permission, for the folders above as well"
        case errno.ELOOP:
            return "its links lead in a circle", "link to the file itself"
    return f"it cannot be opened ({failure.strerror})", "check the path and the disk"


def check_regular(mode: int, refuse: Refuse) -> None:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
             stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}  # fmt: skip
    if not stat.S_ISREG(mode):
        raise refuse(f"it is {kinds.get(stat.S_IFMT(mode), 'not a file')}", "give the path of a .gguf file")


def read_open(fd: int, path: str, refuse: Refuse) -> Header:
    """Parses as much as was read, and reads more when that was not enough: seldom more than once."""
    status = os.fstat(fd)
    size = status.st_size
    identity = status.st_dev, status.st_ino, size, status.st_mtime_ns
    if size == 0:
        raise refuse("it is empty")
    wanted = FIRST_READ
    while True:
        raw = read_start(fd, min(wanted, size))
        if len(raw) < min(wanted, size):
            raise refuse("it shrank while it was read", "wait until it is complete")
        try:
            return Parser(raw, path, identity, refuse).header()
        except Beyond as beyond:
            if beyond.end > size:
                raise refuse(f"it is cut: its header goes on past its end at byte {size}") from None
            if beyond.end > HEADER_MAX:
                raise refuse(f"its header claims more than {HEADER_MAX >> 20} MiB") from None
            wanted = max(2 * wanted, beyond.end)


def read_start(fd: int, n_bytes: int) -> bytes:
    chunks: list[bytes] = []
    at = 0
    while at < n_bytes and (chunk := os.pread(fd, n_bytes - at, at)):
        chunks.append(chunk)
        at += len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@dataclass
class Parser:
    """One pass over the bytes; `at` is the next one."""

    raw: bytes
    path: str
    identity: tuple[int, int, int, int]
    refuse: Refuse
    at: int = 0

    def header(self) -> Header:
        version, n_tensors, n_keys = self.preamble()
        fields = self.fields(n_keys)
        alignment = self.alignment(fields)
        start = self.at
        tensors = self.tensors(n_tensors, alignment)
        span = start, self.at
        data_offset = padded(self.at, alignment)
        size = self.identity[2]
        if tensors and data_offset + tensors[-1].offset + tensors[-1].n_bytes > size:
            needed = data_offset + tensors[-1].offset + tensors[-1].n_bytes
            raise self.refuse(f"it is cut: its tensors take {needed} bytes, it has {size}")
        return Header(self.path, self.identity, version, alignment, data_offset, self.raw, MappingProxyType(fields),
                      tuple(tensors), span)  # fmt: skip

    def preamble(self) -> tuple[int, int, int]:
        if self.raw[:4] != b"GGUF":
            raise self.refuse(*name_stranger(self.raw, self.identity[2]))
        _magic, version, n_tensors, n_keys = PREAMBLE.unpack_from(self.raw, self.take(PREAMBLE.size))
        if version & 0xFFFF == 0 and version:
            raise self.refuse("it is a big-endian GGUF", "convert it for little-endian machines")
        if version not in (2, 3):
            raise self.refuse(f"it is a GGUF of version {version}; versions 2 and 3 are known", "convert it again")
        for n, what in ((n_tensors, "tensors"), (n_keys, "keys")):
            if n > COUNT_MAX:
                raise self.refuse(f"it claims {n} {what}")
        return version, n_tensors, n_keys

    def take(self, n: int) -> int:
        """Where the next n bytes begin."""
        start = self.at
        self.at = start + n
        if self.at > len(self.raw):
            raise Beyond(self.at)
        return start

    def u32(self) -> int:
        value: int = U32_AT(self.raw, self.take(4))[0]
        return value

    def u64(self) -> int:
        value: int = LENGTH.unpack_from(self.raw, self.take(8))[0]
        return value

    def text(self, what: str) -> str:
        start = self.take(self.u64())
        raw = self.raw[start : self.at]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise self.refuse(f"{what} is not UTF-8") from None
        if "\0" in text:
            raise self.refuse(f"{what} holds a NUL")
        return text

    # -- keys

    def fields(self, n: int) -> dict[str, Field]:
        fields: dict[str, Field] = {}
        for i in range(n):
            key = self.text(f"key {i}")
            if not 0 < len(key) <= KEY_MAX:
                raise self.refuse(f"key {i} is not 1 to {KEY_MAX} characters long" if key else f"key {i} is empty")
            if key in fields:
                raise self.refuse(f"the key {shown(key)} stands in it twice")
            fields[key] = self.field(key)
        return fields

    def field(self, key: str) -> Field:
        start = self.at
        item, n = self.u32(), -1
        if item == ARRAY:
            item, n = self.u32(), self.u64()
        if item not in SCALARS and item != STRING:
            what = "an array in an array" if item == ARRAY else f"of type {item}, which does not exist"
            raise self.refuse(f"the value of {shown(key)} is {what}")
        value = self.scalar(key, item) if n < 0 else self.array(item, n)
        return Field(value, item, n, start, self.at)

    def scalar(self, key: str, item: int) -> int | float | str:
        if item == STRING:
            return self.text(f"the value of {shown(key)}")
        layout = SCALAR_STRUCTS[item]
        value: int | float = layout.unpack_from(self.raw, self.take(layout.size))[0]
        return value

    def array(self, item: int, n: int) -> Array:
        start = self.at
        if item == STRING:
            if n > STRINGS_MAX:
                raise self.refuse(f"it claims {n} strings in one array")
            self.skip_strings(n)
        else:
            self.take(n * SCALAR_STRUCTS[item].size)
        return Array(self.raw, start, n, item)

    def skip_strings(self, n: int) -> None:
        """The one loop over a vocabulary that cannot be avoided: each length tells where the next one stands."""
        if self.at + 8 * n > len(self.raw):
            raise Beyond(self.at + 8 * n)
        raw, position, length_at = self.raw, self.at, LENGTH.unpack_from
        try:
            for _ in range(n):
                position += 8 + length_at(raw, position)[0]
        except (error, OverflowError):  # unpack_from refuses a position past the end
            raise Beyond(position + 8) from None
        self.take(position - self.at)

    def alignment(self, fields: dict[str, Field]) -> int:
        entry = fields.get("general.alignment")
        if entry is None:
            return 32
        value = entry.value
        if entry.item != U32 or not isinstance(value, int):
            raise self.refuse(f"general.alignment is {entry.type_name}, not u32")
        # ggml maps weights at 32-byte boundaries and aborts on others; 64 KiB is the largest page in use.
        if value & (value - 1) or not 32 <= value <= 1 << 16:
            raise self.refuse(f"general.alignment is {value}, not a power of two from 32 to 65536")
        return value

    # -- tensors

    def tensors(self, n: int, alignment: int) -> list[TensorInfo]:
        tensors: list[TensorInfo] = []
        names: set[str] = set()
        offset = 0
        for i in range(n):
            tensor = self.tensor(i)
            if tensor.name in names:
                raise self.refuse(f"the tensor {shown(tensor.name)} stands in it twice")
            if tensor.offset != offset:  # neither a gap nor an overlap, as llama.cpp wants it
                raise self.refuse(f"the tensor {shown(tensor.name)} is at {tensor.offset} instead of {offset}")
            offset = padded(offset + tensor.n_bytes, alignment)
            names.add(tensor.name)
            tensors.append(tensor)
        return tensors

    def tensor(self, i: int) -> TensorInfo:
        name = self.text(f"the name of tensor {i}")
        if not 0 < len(name.encode()) <= NAME_MAX:
            raise self.refuse(f"the name of tensor {i} is not 1 to {NAME_MAX} bytes long")
        what = f"the tensor {shown(name)}"
        n_dims = self.u32()
        if not 1 <= n_dims <= DIMS_MAX:
            raise self.refuse(f"{what} has {n_dims} dimensions")
        dims = tuple(self.u64() for _ in range(n_dims))
        number, offset = self.u32(), self.u64()
        kind = TENSOR_TYPES.get(number)
        if kind is None:
            raise self.refuse(*what_type(what, number))
        n_elements = math.prod(dims)
        n_bytes = n_elements // kind.block * kind.size
        if not 0 < n_elements <= INT64_MAX or n_bytes > INT64_MAX:
            raise self.refuse(f"{what} has the shape {dims}")
        if dims[0] % kind.block:
            raise self.refuse(f"rows of {dims[0]} in {what} are no multiple of {kind.name}'s {kind.block}")
        return TensorInfo(name, dims, kind, offset, n_bytes)


def what_type(tensor: str, number: int) -> tuple[str, str]:
    if number in REMOVED_TENSOR_TYPES:
        return f"{tensor} is {REMOVED_TENSOR_TYPES[number]}, which llama.cpp dropped", "quantize it again"
    return f"{tensor} is of type {number}, which the pinned llama.cpp does not know", ""


def padded(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
