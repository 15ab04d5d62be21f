"""Models in several files: all parts beside the first, under the names that llama.cpp looks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hoshikage.errors import ModelFileError
from hoshikage.gguf.header import U16, Header
from hoshikage.gguf.reader import read

PART_NAME = re.compile(r"(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf")


def parts_of(path: Path) -> Iterator[Path]:
    """The files of a model, by their names; one whose name is that of a later part stands alone."""
    match = PART_NAME.fullmatch(path.name)
    count = int(match["count"]) if match and int(match["no"]) == 1 else 1
    yield path
    for no in range(2, count + 1):
        yield nth_part(path, no)


def nth_part(path: Path, no: int) -> Path:
    """That part, from 1 on, of the model that a file belongs to; the file itself where its name names no part."""
    match = PART_NAME.fullmatch(path.name)
    return path.with_name(f"{match['stem']}-{no:05}-of-{match['count']}.gguf") if match else path


def is_later_part(path: Path) -> bool:
    """Whether its name says that another file comes before it."""
    return nth_part(path, 1) != path


def other_parts(header: Header) -> list[Header]:
    """The headers of parts 2 and on, checked against the first; none for a file that is whole."""
    no, count = header.split
    if count == 1:
        return []
    if not all(is_u16(header, key) for key in ("split.no", "split.count")):
        raise ModelFileError(header.path, "its split.no and split.count are not u16")
    path = Path(header.path)
    match = PART_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count or int(match["no"]) != no + 1:
        raise ModelFileError(header.path, f"it is part {no + 1} of {count} under another name",
                             f"call it NAME-{no + 1:05}-of-{count:05}.gguf, beside the others")  # fmt: skip
    if no != 0:
        raise ModelFileError(
            header.path, f"it is part {no + 1} of {count}", f"give the first part, {nth_part(path, 1).name}"
        )
    return [part(path, i) for i, path in enumerate(parts_of(path)) if i > 0]


def part(path: Path, no: int) -> Header:
    header = read(path)
    if not is_u16(header, "split.no") or header.split[0] != no:
        raise ModelFileError(header.path, f"it is not the part {no + 1} that its name says")
    return header


def is_u16(header: Header, key: str) -> bool:
    entry = header.fields.get(key)
    return entry is not None and entry.n < 0 and entry.item == U16
