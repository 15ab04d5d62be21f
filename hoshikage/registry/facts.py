"""What a listing says about a model file: a few facts of its header, read again only when the file is another one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from hoshikage import gguf
from hoshikage.errors import ModelFileError, ParameterError
from hoshikage.gguf.split import parts_of

Identity: TypeAlias = tuple[int, ...]

REMEMBERED = 4096  # files
THINKING = ("enable_thinking", "reasoning_effort")  # what a chat template may be told of how long to think
JUST_NOW = 1_000_000_000  # nanoseconds; the times of files are coarser than the clock


@dataclass(frozen=True, slots=True)
class Facts:
    """A model's header in a few words."""

    name: str
    kind: str  # masked, block or causal
    architecture: str
    n_ctx: int  # tokens it was trained for
    n_layer: int
    n_bytes: int  # of all its parts
    n_parts: int
    has_chat_template: bool
    tells_of_tools: bool  # its chat template does
    reads: tuple[str, ...] = ()  # of THINKING, its chat template
    in_channels: bool = False  # it answers so, as gpt-oss does
    block_length: int = 0  # of a block model


def facts_of(path: Path, wish: gguf.Wish | None = None) -> Facts:
    """The facts of a sound model file, of which somebody said more; raises ModelFileError as `gguf.inspect` does."""
    wish = wish or gguf.Wish()
    try:
        identities = tuple(identity_of(part) for part in parts_of(path))
    except (OSError, ValueError):
        return read_facts(path, [], wish)  # which says what is wrong
    outcome = _remembered(str(path), identities, wish)
    if isinstance(outcome, ModelFileError):
        raise outcome.anew()
    return outcome


def identity_of(path: Path) -> Identity:
    """Changes with the file, its contents and its permissions."""
    return identity_from(path.stat())


def identity_from(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def settled_identity(path: Path) -> Identity | None:
    """What changes with a file or a folder, () where there is none; None where it has just changed and could unseen."""
    try:
        status = path.stat()
    except OSError:
        return ()
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    return identity_from(status) if abs(time.time_ns() - changed) > JUST_NOW else None


@lru_cache(maxsize=REMEMBERED)
def _remembered(path: str, identities: tuple[Identity, ...], wish: gguf.Wish) -> Facts | ModelFileError:
    """The facts, or the refusal of what the file holds. A disk that fails is not remembered."""
    try:
        return read_facts(Path(path), [identity[2] for identity in identities], wish)
    except ModelFileError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return error.anew()  # what was raised keeps the header, by its frames and by what it was raised from


def kind_of(header: gguf.Header, wish: gguf.Wish) -> gguf.Kind:
    """The kind of a sound file; raises ModelFileError, for what was said of it and contradicts it as well."""
    try:
        return gguf.kind_of(header, wish)
    except ParameterError as error:
        raise ModelFileError(header.path, f"{error.name}: {error.cause}", error.remedy) from None


def read_facts(path: Path, sizes: list[int], wish: gguf.Wish) -> Facts:
    """The facts from the header; `sizes` are those of the files that its name stands for."""
    header = gguf.inspect(path)
    kind = kind_of(header, wish)
    n_parts = header.split[1]
    template = header.text("tokenizer.chat_template")
    return Facts(
        name=header.name,
        kind=kind.name,
        architecture=header.origin,
        n_ctx=header.n_ctx_train,
        n_layer=header.n_layer,
        n_bytes=header.file_size + sum(sizes[1:n_parts]),
        n_parts=n_parts,
        has_chat_template=template is not None,
        tells_of_tools="tools" in (template or ""),
        reads=tuple(name for name in THINKING if name in (template or "")),
        in_channels="<|channel|>" in (template or ""),
        block_length=kind.block_length,
    )
