"""`hoshikage inspect FILE`: what a model file is, read from its header."""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hoshikage import gguf
from hoshikage import settings as table
from hoshikage.cli.models import add_registry_flags, registry_rows
from hoshikage.cli.parser import add_flags, read_flags, whole
from hoshikage.cli.screen import human_size, one_line
from hoshikage.engine.sizes import guided_ctx
from hoshikage.errors import ModelFileError
from hoshikage.gguf import Array, Header
from hoshikage.gguf.split import other_parts
from hoshikage.manager.need import Setup, bill_of, size_of, usual_streams
from hoshikage.manager.shape import shape_from
from hoshikage.registry import Registry
from hoshikage.registry.entry import FILE
from hoshikage.registry.facts import kind_of

LONG = 100  # characters of a value that are shown
# Settings that sizes depend on. Those of a model are its own, unless a flag says otherwise.
SIZED_BY = ("n_seq", "n_threads", "n_threads_batch", "flash_attn", "type_k", "type_v", "cfg_scale")
SAYS_WHAT_IT_IS = tuple(entry.name for entry in fields(gguf.Wish))


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a GGUF file, or the name of a model")
    parser.add_argument(
        "--ctx",
        metavar="N",
        type=whole(1, 1 << 24),
        help="say what memory requests of N tokens take at most, on the CPU",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--metadata", action="store_true", help="print every key of the header as well")
    parser.add_argument("--tensors", action="store_true", help="print every tensor as well")
    add_flags(parser, "what it is, where the file does not say", rows_named(SAYS_WHAT_IT_IS))
    add_flags(parser, "what that memory depends on", rows_named(SIZED_BY))
    add_registry_flags(parser)


def rows_named(names: Collection[str]) -> list[table.Row]:
    """The settings of these names."""
    return [row for row in table.table("loading", "request") if row.name in names]


def main(arguments: argparse.Namespace) -> int:
    flags = read_flags(arguments, rows_named(SAYS_WHAT_IT_IS + SIZED_BY))
    settings = table.read({**read_flags(arguments, registry_rows()), **flags})
    model = Registry.of(settings).choose(arguments.file)
    parts, wish = parts_in(model.path), model.wish.unless(flags)
    named = {} if model.origin == FILE else {"label": model.label}
    facts = named | facts_of(parts, wish)
    if arguments.ctx is not None:
        settings = table.replaced(settings, {**model.settings, **flags})
        facts["memory"] = memory_of(parts, wish, arguments.ctx, settings)
    if arguments.metadata:
        facts["metadata"] = {key: value_of(value) for key, value in parts[0].metadata.items()}
    if arguments.tensors:
        facts["tensors"] = [
            {"name": t.name, "dims": list(t.dims), "type": t.type.name, "bytes": t.n_bytes}
            for part in parts
            for t in part.tensors
        ]
    if arguments.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False))
    else:
        print(as_text(facts))
    return 0


def parts_in(path: Path) -> list[Header]:
    """The header of a sound file, and of the others that its model has beside it."""
    header = gguf.inspect(path)
    return [header, *other_parts(header)]


def memory_of(parts: Sequence[Header], wish: gguf.Wish, n_ctx: int, settings: table.Settings) -> dict[str, int]:
    """Requests side by side and the positions that they share; bytes, as a load with these settings is held to them."""
    kind_of(parts[0], wish)  # whose refusal names the file
    shape = shape_from(parts[0], parts, wish)
    size = size_of(shape, n_ctx, settings.n_seq, usual_streams(shape, settings))
    bill = bill_of(shape, size, Setup.of(settings))
    guided = guided_ctx(n_ctx, size.cells, size.n_tokens, settings.n_seq) if shape.kind == "masked" else 0
    counts = {"n_seq": settings.n_seq, "n_ctx": n_ctx, "guided_ctx": guided, "cells": size.cells}
    return {**counts, **bill, "total": sum(bill.values())}


def memory_lines(memory: dict[str, int]) -> Iterable[str]:
    """For how many requests that is, and what takes it."""
    n_seq, n_ctx, guided, cells = (memory[name] for name in COUNTS)
    length = f"{n_ctx} tokens" + (f" ({guided} under guidance)" if guided else "")
    yield f"for {n_seq} request{'s' * (n_seq > 1)} at once, of up to {length}, that share {cells} positions"
    for part, n in memory.items():
        if part not in COUNTS:
            yield f"{part.replace('_', ' '):<17}{human_size(n)}"


def facts_of(parts: Sequence[Header], wish: gguf.Wish) -> dict[str, Any]:
    """What decides how a model is run, in the order in which a person asks."""
    header = parts[0]
    retagged = gguf.retag(header)
    try:
        kind, problem = kind_of(header, wish), None
    except ModelFileError as error:
        kind, problem = gguf.Kind(name="unknown"), error.sentence
    tensors = [tensor for part in parts for tensor in part.tensors]
    facts: dict[str, Any] = {
        "file": header.path,
        "name": header.name,
        "architecture": header.origin,
        "kind": kind.name,
        "bytes": sum(part.file_size for part in parts),
        "parameters": sum(math.prod(tensor.dims) for tensor in tensors),
        "types": dict(Counter(tensor.type.name for tensor in tensors).most_common()),
        "layers": header.n_layer,
        "context": header.n_ctx_train,
        "vocabulary": header.n_vocab,
        "chat_template": header.text("tokenizer.chat_template") is not None,
    }
    if problem is not None:
        facts["problem"] = problem
    if kind.family:
        facts["family"] = kind.family
    if kind.block_length:
        facts |= {"block_length": kind.block_length, "sub_block": kind.sub_block}
    if kind.mask_id is not None:
        facts |= {"mask_token": kind.mask_id, "shifted_rows": kind.shift}
    if header.is_diffusion:
        facts["served_as"] = retagged.architecture if retagged else header.architecture
        facts["cache"] = retagged is not None
    if len(parts) > 1:
        facts["parts"] = len(parts)
    facts["gguf_version"] = header.version
    return facts


def value_of(value: Any) -> Any:
    """A header's value as JSON; a long array as its length, and as text what is no number there."""
    if isinstance(value, Array):
        return f"array of {value.n}"
    if isinstance(value, tuple):
        return [value_of(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def as_text(facts: dict[str, Any]) -> str:
    """One fact a line; nested ones below."""
    lines = []
    for name, value in facts.items():
        if name in NESTED:
            lines += [name, *(f"  {line}" for line in NESTED[name](value))]
        else:
            label = OTHER_LABELS.get(name, name.replace("_", " "))
            lines.append(f"{label:<14} {SAID.get(name, said)(value)}")
    return "\n".join(lines)


def said(value: object) -> str:
    """A value as a person says it. A whole number is never yes or no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else one_line(str(value))


def shortened(value: object) -> str:
    """A value on one line."""
    text = one_line(str(value)[: LONG + 1])  # a file may hold megabytes of it
    return text if len(text) <= LONG else text[: LONG - 3] + "..."


COUNTS = ("n_seq", "n_ctx", "guided_ctx", "cells")
OTHER_LABELS = {"bytes": "size"}
SAID: dict[str, Callable[[Any], str]] = {
    "name": lambda name: shortened(name or "none"),
    "bytes": human_size,
    "parameters": lambda n: f"{n / 1e9:.2f} B" if n >= 1e8 else f"{n / 1e6:.2f} M",
    "types": lambda types: ", ".join(f"{kind} x {n}" for kind, n in types.items()),
}
NESTED: dict[str, Callable[[Any], Iterable[str]]] = {
    "metadata": lambda keys: (f"{one_line(key)} = {shortened(item)}" for key, item in keys.items()),
    "tensors": lambda tensors: (f"{one_line(t['name'])} {t['dims']} {t['type']}" for t in tensors),
    "memory": memory_lines,
}
