"""The models in a folder: every GGUF file in it and below, under a label made of its name.

Links to folders are not followed, and links to files only where they stay inside. A model in several files is one. All
is looked at again only when one of the folders, or what a link leads to, is another one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hoshikage.gguf.split import PART_NAME, is_later_part, nth_part, parts_of
from hoshikage.registry.facts import Identity, settled_identity
from hoshikage.registry.labels import fault_of

DEPTH_MAX = 8  # folders below the first; a cache of downloads needs four


@dataclass(frozen=True, slots=True)
class Scan:
    """Paths by label, a sentence for each file that was left out, and what both follow from."""

    root: Path
    paths: dict[str, Path] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    marks: dict[Path, Identity | None] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether another look would find the same."""
        return all(mark is not None and settled_identity(path) == mark for path, mark in self.marks.items())

    def mark(self, path: Path) -> None:
        """What is found depends on this path; to be said before it is looked at."""
        self.marks[path] = settled_identity(path)

    def remark(self, path: str | Path, cause: str, remedy: str) -> None:
        """A file or folder is left out."""
        name = os.path.relpath(path, self.root)
        self.remarks.append(f"{name!a} in MODEL_DIR is left out: {cause}; {remedy}")


class Folder:
    """A folder of models, and what was in it when it was last looked through. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Scan | None = None

    def scan(self) -> Scan:
        """What is in it now."""
        seen = self._seen
        if seen is None or not seen.holds:
            seen = self._seen = scan(self._path)
        return seen


def scan(folder: Path) -> Scan:
    """Look through a folder. Files are not opened."""
    found = Scan(Path(os.path.realpath(folder)))
    found.mark(folder)
    if os.path.isdir(found.root):  # noqa: PTH112 -- Path's own raises where it may not look
        name_models(folder, found)
    else:
        found.remarks.append(f"MODEL_DIR {str(folder)!a} is not a folder; create it or set another")
    return found


def name_models(folder: Path, found: Scan) -> None:
    """Give each model a label."""
    root, paths = found.root, found.paths
    models = sorted(models_in(found))
    n_stems = Counter(stem_of(path) for path in models)
    for path in models:
        alone = n_stems[stem_of(path)] == 1
        inside = path.relative_to(root).parent
        label = stem_of(path) if alone else "--".join([*inside.parts, stem_of(path)])
        if fault := fault_of(label):
            found.remark(path, f"as a label, {fault}", "rename it, or register it with hoshikage add")
        elif label in paths:
            found.remark(path, f"another is called {label!a} as well", "rename one of them")
        else:
            paths[label] = folder / path.relative_to(root)


def stem_of(path: Path) -> str:
    """A file's name without its ending, and without the number of a part."""
    match = PART_NAME.fullmatch(path.name)
    return match["stem"] if match else path.name[: -len(".gguf")]


def models_in(found: Scan) -> Iterator[Path]:
    """The first file of each model."""
    inside, outside = set[Path](), set[Path]()
    for entry in files_in(found.root, 0, found):
        path = Path(entry.path)
        stays = not entry.is_symlink() or Path(os.path.realpath(path)).is_relative_to(found.root)
        (inside if stays else outside).add(path)
    for path in sorted(inside):
        if is_later_part(path) and nth_part(path, 1) in inside:
            continue
        if not outside or outside.isdisjoint(parts_of(path)):
            yield path
        else:
            found.remark(path, "one of its parts is a link out of it", "copy that part into it")
    for path in sorted(outside):
        found.remark(path, "it is a link out of it", "copy the file, or register it: hoshikage add")


def files_in(folder: Path, depth: int, found: Scan) -> Iterator[os.DirEntry[str]]:
    """GGUF files, those that links lead to as well; hidden ones are somebody's unfinished downloads."""
    found.mark(folder)
    try:
        with os.scandir(folder) as listed:
            entries = sorted((entry for entry in listed if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        found.remark(folder, f"it cannot be read ({error.strerror})", "give this user permission to read it")
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and depth < DEPTH_MAX:
            yield from files_in(Path(entry.path), depth + 1, found)
        elif entry.name.lower().endswith(".gguf") and is_file(entry, found):
            yield entry


def is_file(entry: os.DirEntry[str], found: Scan) -> bool:
    """Whether it is a file, or a link to one; a link that cannot be followed is left out alone."""
    if entry.is_symlink():
        found.mark(Path(entry.path))
    try:
        return entry.is_file()
    except OSError as error:
        found.remark(entry.path, f"it cannot be followed ({error.strerror})", "make it lead to a file, or remove it")
        return False
