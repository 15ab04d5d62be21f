"""The models in a folder: every GGUF file in it and below, under a label made of its name.

Links to folders are not followed, and links to files only where they stay inside. A model in several files is one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hoshikage.gguf.split import PART_NAME
from hoshikage.registry.facts import parts_of
from hoshikage.registry.labels import fault_of

DEPTH_MAX = 8  # folders below the first; a cache of downloads needs four

Remark = Callable[[str, str, str], None]  # (name of a file or folder, cause, remedy)


class Scan(NamedTuple):
    """Paths by label, and a sentence for each file that was left out."""

    paths: dict[str, Path]
    remarks: list[str]


def scan(folder: Path) -> Scan:
    """What is in the folder now. Files are not opened."""
    remarks: list[str] = []

    def remark(name: str, cause: str, remedy: str) -> None:
        remarks.append(f"{name!a} in MODEL_DIR is left out: {cause}; {remedy}")

    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        return Scan({}, [f"MODEL_DIR {str(folder)!a} is not a folder; create it or set another"])
    found = sorted(models_in(root, remark))
    n_stems = Counter(stem_of(path) for path in found)
    paths: dict[str, Path] = {}
    for path in found:
        alone = n_stems[stem_of(path)] == 1
        inside = path.relative_to(root).parent
        label = stem_of(path) if alone else "--".join([*inside.parts, stem_of(path)])
        if fault := fault_of(label):
            remark(str(path.relative_to(root)), f"as a label, {fault}", "rename it, or register it with hoshikage add")
        elif label in paths:
            remark(str(path.relative_to(root)), f"another is called {label!a} as well", "rename one of them")
        else:
            paths[label] = folder / path.relative_to(root)
    return Scan(paths, remarks)


def stem_of(path: Path) -> str:
    """A file's name without its ending, and without the number of a part."""
    match = PART_NAME.fullmatch(path.name)
    return match["stem"] if match else path.name[: -len(".gguf")]


def models_in(root: Path, remark: Remark) -> Iterator[Path]:
    """The first file of each model."""
    inside, outside = set[Path](), set[Path]()
    for entry in files_in(root, 0, remark):
        path = Path(entry.path)
        stays = not entry.is_symlink() or Path(os.path.realpath(path)).is_relative_to(root)
        (inside if stays else outside).add(path)
    for path in sorted(inside):
        match = PART_NAME.fullmatch(path.name)
        if match and int(match["no"]) != 1 and first_part(path, match["stem"], match["count"]) in inside:
            continue
        if not outside or outside.isdisjoint(parts_of(path)):
            yield path
        else:
            remark(str(path.relative_to(root)), "one of its parts is a link out of it", "copy that part into it")
    for path in sorted(outside):
        remark(str(path.relative_to(root)), "it is a link out of it", "copy the file, or register it: hoshikage add")


def first_part(path: Path, stem: str, count: str) -> Path:
    """The first part of the model that a part belongs to."""
    return path.with_name(f"{stem}-00001-of-{count}.gguf")


def files_in(folder: Path, depth: int, remark: Remark) -> Iterator[os.DirEntry[str]]:
    """GGUF files, those that links lead to as well; hidden ones are somebody's unfinished downloads."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted((entry for entry in listed if not entry.name.startswith(".")), key=lambda e: e.name)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and depth < DEPTH_MAX:
                yield from files_in(Path(entry.path), depth + 1, remark)
            elif entry.name.lower().endswith(".gguf") and entry.is_file():
                yield entry
    except OSError as error:
        remark(folder.name, f"it cannot be read ({error.strerror})", "give this user permission to read it")
