"""What the commands about named models share: the registry that is meant, and how a model is told of."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from hoshikage import settings as table
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.cli.screen import human_size, one_line, width_of
from hoshikage.errors import ModelFileError
from hoshikage.registry import Model, Registry


def registry_rows() -> list[table.Row]:
    """The settings that say where models are registered and found."""
    return list(table.table("finding"))


def add_registry_flags(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, "where models are named", registry_rows())


def registry_of(arguments: argparse.Namespace) -> Registry:
    """The registry that flags, environment and `.env` files name."""
    return Registry.of(table.read(read_flags(arguments, registry_rows())))


def told(model: Model) -> dict[str, Any]:
    """A line of the list as JSON. Only the header of the file is read, and only when it is a new one."""
    known: dict[str, Any] = {"label": model.label, "origin": model.origin, "file": str(model.path)}
    try:
        facts = model.facts()
    except ModelFileError as error:
        return known | {"problem": str(error)}
    return known | {
        "kind": facts.kind,
        **({"block_length": facts.block_length} if facts.block_length else {}),
        "architecture": facts.architecture,
        "bytes": facts.n_bytes,
        "context": facts.n_ctx,
    }


def line_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the list as JSON, of what a server tells of a model; it never tells where the file is."""
    known = {"label": card.get("id"), "origin": "server", "file": "-"}
    if problem := card.get("problem"):
        return known | {"problem": problem}
    names = {"kind": "kind", "architecture": "model_architecture", "bytes": "bytes", "context": "context_length"}
    return known | {ours: card.get(theirs) for ours, theirs in names.items()}


def cells(line: dict[str, Any]) -> list[str]:
    """A line of the list as a person reads it; other servers tell less of their models, or other things."""
    if "problem" in line:
        return [one_line(str(line["label"])), one_line(str(line["problem"]))]
    file = "comes with hoshikage" if line["origin"] == "embedded" else line["file"]
    n_bytes = line["bytes"]
    size = human_size(n_bytes) if isinstance(n_bytes, int) else n_bytes
    facts = line["label"], line["kind"], line["architecture"], size, line["context"], file
    return ["-" if fact is None else one_line(str(fact)) for fact in facts]


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows with their cells below each other; what is last in a row takes the place it needs."""
    widths = [0] * max(map(len, rows), default=0)
    for row in rows:
        for i, cell in enumerate(row[:-1]):
            widths[i] = max(widths[i], width_of(cell))
    lines = ((cell + " " * (widths[i] - width_of(cell)) for i, cell in enumerate(row)) for row in rows)
    return "\n".join("  ".join(line).rstrip() for line in lines)
