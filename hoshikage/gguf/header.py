"""What a GGUF header says, as values: the types that the other files of this package read, judge and rewrite.

A header is kept as the file's own bytes plus an index into them. A vocabulary stays bytes (`Array`) until somebody
asks. Whoever keeps many models in mind keeps a few facts of each, not its header of some megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from struct import Struct, unpack_from
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

# The diffusion architectures, and for each the causal one that computes alike: see `twins`.
TWINS = {"llada": "llama", "dream": "qwen2", "rnd1": "qwen3moe", "llada-moe": "hy_v3"}
DIFFUSION = frozenset(TWINS)
RETAGGED_FROM = "hoshikage.retagged_from"  # the key of a header that was rewritten: what it said before

LENGTH = Struct("<Q")
SHORT_ARRAY = 64  # up to here an array is worth Python objects

# Value types by their number in the file: name and struct code. A string and an array have lengths of their own.
SCALARS = {0: ("u8", "B"), 1: ("i8", "b"), 2: ("u16", "H"), 3: ("i16", "h"), 4: ("u32", "I"), 5: ("i32", "i"),
           6: ("f32", "f"), 7: ("bool", "?"), 10: ("u64", "Q"), 11: ("i64", "q"), 12: ("f64", "d")}  # fmt: skip
STRING, ARRAY = 8, 9
BOOL, U16, U32, I32, F32 = 7, 2, 4, 5, 6
VALUE_NAMES = {number: name for number, (name, _) in SCALARS.items()} | {STRING: "string", ARRAY: "array"}


class TensorType(NamedTuple):
    """A number format: `block` elements take `size` bytes. Matrices of the others are not multiplied by ggml."""

    number: int
    name: str
    block: int
    size: int
    multiplies: bool = True


TENSOR_TYPES = {row[0]: TensorType(*row) for row in (
    (0, "f32", 1, 4), (1, "f16", 1, 2), (30, "bf16", 1, 2),
    (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22), (7, "q5_1", 32, 24), (8, "q8_0", 32, 34),
    (10, "q2_K", 256, 84), (11, "q3_K", 256, 110), (12, "q4_K", 256, 144), (13, "q5_K", 256, 176),
    (14, "q6_K", 256, 210), (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50), (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136), (29, "iq1_m", 256, 56), (34, "tq1_0", 256, 54), (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36), (41, "q1_0", 128, 18), (42, "q2_0", 64, 18),
    (9, "q8_1", 32, 36, False), (15, "q8_K", 256, 292, False), (24, "i8", 1, 1, False), (25, "i16", 1, 2, False),
    (26, "i32", 1, 4, False), (27, "i64", 1, 8, False), (28, "f64", 1, 8, False),
)}  # fmt: skip
REMOVED_TENSOR_TYPES = {4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8",
                        36: "iq4_nl_4_4", 37: "iq4_nl_4_8", 38: "iq4_nl_8_8"}  # fmt: skip


class TensorInfo(NamedTuple):
    """One tensor: `dims` fastest first, `offset` from the start of the data."""

    name: str
    dims: tuple[int, ...]
    type: TensorType
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Array:
    """A long array, left where it is in the header's bytes. `item` is the number of its value type."""

    raw: bytes = field(repr=False)
    start: int
    n: int
    item: int

    def __len__(self) -> int:
        return self.n

    def strings(self) -> Iterator[bytes]:
        """The strings as the file has them; they need not be text."""
        if self.item != STRING:
            raise TypeError(f"an array of {VALUE_NAMES[self.item]} has no strings")
        raw, position, length_at = self.raw, self.start, LENGTH.unpack_from
        for _ in range(self.n):
            begin = position + 8
            position = begin + length_at(raw, position)[0]
            yield raw[begin:position]

    def tolist(self, most: int | None = None) -> list[int] | list[float] | list[str]:
        """Its values, or the first `most` of them: in Python's objects they take many times their bytes."""
        n = self.n if most is None else min(self.n, most)
        if self.item == STRING:
            return [text.decode("utf-8", "replace") for text in islice(self.strings(), n)]
        return list(unpack_from(f"<{n}{SCALARS[self.item][1]}", self.raw, self.start))


Scalar: TypeAlias = int | float | str
Value: TypeAlias = Scalar | Array | tuple[Scalar, ...]


def shown(value: Scalar | Array) -> Value:
    return tuple(value.tolist()) if isinstance(value, Array) and value.n <= SHORT_ARRAY else value


class Field(NamedTuple):
    """A key's value and where it stands: its type's number begins at `start`, its last byte is before `end`.

    `item` is the value type, or an array's item type; `n` is -1 for a scalar.
    """

    value: Scalar | Array
    item: int
    n: int
    start: int
    end: int

    @property
    def type_name(self) -> str:
        return VALUE_NAMES[self.item] if self.n < 0 else f"array of {VALUE_NAMES[self.item]}"


@dataclass(frozen=True)
class Header:
    """A header that was read; `inspect` returns only those that were judged sound as well."""

    path: str
    identity: tuple[int, int, int, int]  # device, inode, size, change of contents (ns): the file that was read
    version: int
    alignment: int
    data_offset: int
    raw: bytes = field(repr=False)  # the start of the file, as far as it was read: the header and some data
    fields: Mapping[str, Field] = field(repr=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    tensor_span: tuple[int, int]  # the tensor table's bytes in `raw`

    @property
    def file_size(self) -> int:
        return self.identity[2]

    @property
    def data_size(self) -> int:
        """Bytes from the start of the data to the end of the last tensor."""
        return self.tensors[-1].offset + self.tensors[-1].n_bytes if self.tensors else 0

    @cached_property
    def metadata(self) -> Mapping[str, Value]:
        """Values by key: short arrays as tuples, long ones left as `Array`."""
        return MappingProxyType({key: shown(entry.value) for key, entry in self.fields.items()})

    def text(self, key: str) -> str | None:
        """A key's value where it is a string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        """A key's value where it is a whole number."""
        entry = self.fields.get(key)
        whole = entry is not None and isinstance(entry.value, int) and entry.item != BOOL
        return entry.value if whole else None  # type: ignore[union-attr,return-value]

    @property
    def architecture(self) -> str:
        return self.text("general.architecture") or ""

    @property
    def origin(self) -> str:
        """The architecture that the model is of, whatever its header was rewritten as."""
        said = self.text(RETAGGED_FROM) or ""
        return said if TWINS.get(said) == self.architecture else self.architecture

    @property
    def is_retagged(self) -> bool:
        """Whether this is the header of a diffusion model's twin."""
        return self.origin != self.architecture

    @property
    def name(self) -> str:
        return self.text("general.name") or ""

    @property
    def is_diffusion(self) -> bool:
        return self.origin in DIFFUSION

    @property
    def shift_logits(self) -> bool:
        """Whether the row before a position predicts it; llama.cpp takes that for granted where nothing is said."""
        return bool(self.metadata.get("diffusion.shift_logits", True))

    @property
    def mask_id(self) -> int | None:
        return self.whole("tokenizer.ggml.mask_token_id")

    @property
    def n_vocab(self) -> int:
        tokens = self.fields.get("tokenizer.ggml.tokens")
        return max(tokens.n, 0) if tokens else 0

    @property
    def n_ctx_train(self) -> int:
        return self.whole(f"{self.architecture}.context_length") or 0

    @property
    def n_layer(self) -> int:
        return self.whole(f"{self.architecture}.block_count") or 0

    @property
    def split(self) -> tuple[int, int]:
        """(number of this part from 0, parts); (0, 1) for a file that is whole."""
        return self.whole("split.no") or 0, self.whole("split.count") or 1
