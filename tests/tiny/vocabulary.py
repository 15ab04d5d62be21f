"""A byte-level BPE vocabulary (tokenizer model "gpt2") small enough for a tiny model: any text round-trips."""

from __future__ import annotations

from dataclasses import dataclass

from gguf import TokenType

BOS, EOS, EOT, MASK = "<|startoftext|>", "<|endoftext|>", "<|eot_id|>", "<|mdm_mask|>"
EXPAND = "<|expand|>"
SPECIALS = (BOS, EOS, EOT, MASK)
MERGES = (
    "t h", "h e", "i n", "e r", "a n", "o n", "r e", "a t", "e n", "o u", "l l", "th e", "an d", "in g",
    "Ġ t", "Ġ a", "Ġ s", "Ġ w", "Ġt he", "Ġa n", "Ġan d", "h o", "ho w", "w o", "r l", "he ll", "hell o", "1 2",
)  # fmt: skip
SMALLEST = 256 + len(SPECIALS)


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in GPT-2's vocabulary."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    stand_in = {byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in shown)}
    return [stand_in.get(byte, chr(byte)) for byte in range(256)]


@dataclass(frozen=True)
class Vocabulary:
    """Ids: the 256 bytes, merged tokens, unused ones as filling, the four special tokens last."""

    tokens: list[str]
    types: list[int]
    merges: list[str]

    @classmethod
    def of_size(cls, n_vocab: int) -> Vocabulary:
        if n_vocab < SMALLEST:
            raise ValueError(f"a byte-level vocabulary needs at least {SMALLEST} tokens, not {n_vocab}")
        merges = list(MERGES[: n_vocab - SMALLEST])
        text = byte_characters() + [merge.replace(" ", "") for merge in merges]
        filling = [f"[PAD{i}]" for i in range(len(text), n_vocab - len(SPECIALS))]
        kinds = [(text, TokenType.NORMAL), (filling, TokenType.UNUSED), (list(SPECIALS), TokenType.CONTROL)]
        return cls(text + filling + list(SPECIALS), [int(kind) for part, kind in kinds for _ in part], merges)

    def id(self, token: str) -> int:
        return self.tokens.index(token)
