"""What kind of model a file is: masked, block or causal. A matter of its training, and not of its architecture.

What a person says comes first, as far as it does not contradict the file; then what the header says, then the table of
families, then the architecture. A file that could be two things is not guessed at: `AmbiguousKindError` asks.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hoshikage.checks import nearest, shown
from hoshikage.errors import AmbiguousKindError, ParameterError
from hoshikage.gguf.families import BLOCK, CAUSAL, FAMILIES, MASK_TOKENS, MASKED, Family
from hoshikage.gguf.header import Array, Header

# Architectures with a cache of keys and values for every position and no window of attention, whose passes in both
# directions were compared with an independent forward pass; the diffusion architectures bring their own mask.
CARRIERS = frozenset({"llama", "qwen2", "qwen3", "qwen3moe", "bailingmoe2"})
BLOCK_LENGTH_KEY = "diffusion.block_length"
SUB_BLOCK_KEY = "diffusion.sub_block_length"
NAME_KEYS = ("general.name", "general.basename", "general.finetune", "general.base_model.0.name")
LONGEST_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person says of a model; `None` and "auto": nothing."""

    kind: str = "auto"
    mask_token: str | None = None
    block_length: int | None = None
    sub_block: int | None = None
    shift: str = "auto"

    @classmethod
    def of(cls, settings: object) -> Wish:
        """What settings say, of a model or of everything."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(cls)})

    @classmethod
    def among(cls, values: Mapping[str, Any]) -> Wish:
        """What values by name say, among others."""
        return cls().unless(values)

    def unless(self, values: Mapping[str, Any]) -> Wish:
        """The same, unless values by name say otherwise, among others."""
        return replace(self, **{entry.name: values[entry.name] for entry in fields(self) if entry.name in values})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a model is run. `decoding`: options of a request that its authors use."""

    name: str
    mask_id: int | None = None
    block_length: int = 0
    sub_block: int = 0
    shift: bool = False
    family: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_diffusion(self) -> bool:
        return self.name != CAUSAL


def kind_of(header: Header, wish: Wish | None = None) -> Kind:
    """The kind of a sound file. Raises ParameterError for what contradicts it, AmbiguousKindError for what is open."""
    wish = wish or Wish()
    check_possible(header, wish)
    family = family_of(header)
    name = wish.kind if wish.kind != "auto" else said_kind(header, family, wish)
    if name == CAUSAL:
        return Kind(name=CAUSAL)
    mask_id = mask_of(header, wish, family)
    family = family if family is not None and family.kind == name else None
    kind = Kind(
        name=name,
        mask_id=mask_id,
        shift=shift_of(header, wish, family),
        family=family.name if family else "",
        decoding=family.decoding if family else {},
    )
    return kind if name == MASKED else with_blocks(header, kind, wish, family)


def said_kind(header: Header, family: Family | None, wish: Wish) -> str:
    """What the file is, when nobody says."""
    if header.is_diffusion:
        return MASKED
    if header.whole(BLOCK_LENGTH_KEY):
        return BLOCK
    if header.metadata.get(f"{header.architecture}.attention.causal") is False:
        return MASKED
    if family is not None:
        return family.kind
    if wish.mask_token is None and not (why := doubt_of(header)):
        return CAUSAL
    why = f"the mask token {shown(wish.mask_token)} was named" if wish.mask_token is not None else why
    raise AmbiguousKindError(header.path, f"it may be a causal, a block or a masked model: {why}", answers(header))


def doubt_of(header: Header) -> str:
    """Why a causal architecture may be something else."""
    if header.architecture not in CARRIERS:
        return ""
    if header.mask_id is not None:
        return "its header names a mask token"
    known = [token for token in MASK_TOKENS if token_id(header, token) is not None]
    if known:
        return f"its vocabulary has the token {known[0]}"
    named = [family.name for family in FAMILIES if family.pattern.search(names_of(header))]
    return f"its name is one of {named[0]}'s, whose mask token it lacks" if named else ""


def answers(header: Header) -> str:
    """The commands that say what it is."""
    file = shlex.quote(Path(header.path).name)  # servers tell nobody where it lies
    mask = next((token for token in MASK_TOKENS if token_id(header, token) is not None), "TOKEN")
    return (
        f"say `hoshikage add {file} LABEL --kind causal`, or --kind masked --mask-token {shlex.quote(mask)}, or "
        f"--kind block --block-length N --mask-token {shlex.quote(mask)}"
    )


def family_of(header: Header) -> Family | None:
    """The family that a file is of."""
    names = names_of(header)
    for family in FAMILIES:
        if header.architecture in family.architectures and family.pattern.search(names):
            return family if token_id(header, family.mask_token) is not None else None
    return None


def names_of(header: Header) -> str:
    return "\n".join([*(header.text(key) or "" for key in NAME_KEYS), Path(header.path).stem])


# -- what contradicts the file


def check_possible(header: Header, wish: Wish) -> None:
    """Refuses what cannot be of this file."""
    if header.is_diffusion and wish.kind not in ("auto", MASKED):
        cause = f"the file is a {header.origin} model, which is masked"
        raise ParameterError("kind", cause, "leave it out, or say masked")
    if wish.kind in (MASKED, BLOCK) and not header.is_diffusion and header.architecture not in CARRIERS:
        cause = f"the file is of the architecture {header.architecture}, which is run as a causal model only"
        raise ParameterError("kind", cause, f"say causal; {wish.kind} models are of {', '.join(sorted(CARRIERS))}")


def check_said(header: Header, wish: Wish) -> None:
    """Refuses what was said of this one file and would mean nothing for it. What is said of all files may."""
    kind = kind_of(header, wish)
    means_nothing = {CAUSAL: ("mask_token", "block_length", "sub_block", "shift"), MASKED: ("sub_block",)}
    for name in means_nothing.get(kind.name, ()):
        if getattr(wish, name) not in (None, "auto"):
            raise ParameterError(name, f"a {kind.name} model has none", "leave it out, or say another --kind")
    if kind.name == BLOCK and wish.block_length not in (None, kind.block_length):
        cause = f"the file's own is {kind.block_length}"
        raise ParameterError("block_length", cause, "leave it out, or say --kind block as well")


# -- its numbers


def mask_of(header: Header, wish: Wish, family: Family | None) -> int:
    """The id of the mask token."""
    if wish.mask_token is not None:
        return named_token(header, wish.mask_token)
    if header.mask_id is not None:
        return header.mask_id
    found = token_id(header, family.mask_token) if family else None
    if found is None:
        known = [token for token in MASK_TOKENS if token_id(header, token) is not None]
        hint = f", such as {known[0]}" if known else ""
        raise ParameterError("mask_token", "the file names none", f"say --mask-token TOKEN{hint}")
    return found


def named_token(header: Header, name: str) -> int:
    """The id of a token that is given by its text or its number."""
    if name.isdecimal() and len(name) < 10 and int(name) < header.n_vocab:
        return int(name)
    found = token_id(header, name)
    if found is None:
        texts = [text.decode("utf-8", "replace") for text in vocabulary_of(header) if b"mask" in text.lower()]
        cause = f"{shown(name)} is not in the file's vocabulary{nearest(name, texts)}"
        raise ParameterError(
            "mask_token", cause, f"it has {', '.join(map(shown, texts[:4]))}" if texts else "give its number"
        )
    return found


def vocabulary_of(header: Header) -> list[bytes]:
    entry = header.fields.get("tokenizer.ggml.tokens")
    return list(entry.value.strings()) if entry and isinstance(entry.value, Array) else []


def token_id(header: Header, text: str) -> int | None:
    """The number of the token that is written so."""
    wanted = text.encode()
    if wanted not in header.raw:  # quicker than a list of all
        return None
    vocabulary = vocabulary_of(header)
    return vocabulary.index(wanted) if wanted in vocabulary else None


def shift_of(header: Header, wish: Wish, family: Family | None) -> bool:
    """Whether the row before a position predicts it."""
    if wish.shift != "auto":
        return wish.shift == "on"
    if header.is_diffusion or "diffusion.shift_logits" in header.metadata:
        return header.shift_logits
    return family.shift if family else False


def with_blocks(header: Header, kind: Kind, wish: Wish, family: Family | None) -> Kind:
    """The same with its blocks."""
    # Said of many models at once, a length is not said of one whose file has its own.
    own = header.whole(BLOCK_LENGTH_KEY) or 0
    length = (own if wish.kind != BLOCK else 0) or wish.block_length or own
    length = length or (family.block_length_of(names_of(header)) if family else 0)
    if not length:
        cause = "the file does not say how long its blocks are"
        raise ParameterError("block_length", cause, "say --block-length N; SDAR's is 4, most others' 32")
    if not 0 < length <= LONGEST_BLOCK:
        raise ParameterError("block_length", f"{length} is no length", f"use a number from 1 to {LONGEST_BLOCK}")
    sub_block = wish.sub_block or header.whole(SUB_BLOCK_KEY) or (family.sub_block if family else 0) or length
    if not 0 < sub_block <= length or length % sub_block:
        raise ParameterError("sub_block", f"{sub_block} does not divide the block of {length}", "use a divisor of it")
    return replace(kind, block_length=length, sub_block=sub_block)
