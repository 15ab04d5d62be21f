"""The tokenizer of the nano models: byte-level BPE of GPT-2's kind, cut by Qwen2's rules, digits single.

One twist: a merge that makes a run of Latin letters longer must start at a space or a capital. So a word in running
text is one or two tokens, while a word in quotes is spelled letter by letter, which is what reversing and counting
letters need. It is still plain BPE: any GPT-2 tokenizer runs it.

`tokenizer.json` stays as it is while models are grown from one another: their rows are its entries. It was trained on
an earlier corpus; to make another one means to train every model again from noise.
"""

# ruff: noqa: SIM905 -- word lists read better as sentences
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

EOS, EOT, MASK, SYSTEM, USER, ASSISTANT, EXPAND, DELETE, GAP_PREFIX, GAP_SUFFIX, GAP_MIDDLE = range(11)
SPECIAL = (
    "<|eos|> <|eot|> <|mask|> <|system|> <|user|> <|assistant|> <expand> <delete> "
    "<|fim_prefix|> <|fim_suffix|> <|fim_middle|>"
).split()
N_SPECIAL = 16
"""The first ids: those above, then reserved ones."""
SPECIAL += [f"<|reserved_{k}|>" for k in range(len(SPECIAL), N_SPECIAL)]
N_VOCAB = 1024
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
PATH = Path(__file__).with_name("tokenizer.json")

PRE_TOKENIZER = "qwen2"
"""The name llama.cpp knows these rules by; its own spelling of them, without the case-insensitive group."""
_PIECES = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _may_merge(left: str, right: str) -> bool:
    """`Ġ` is the space. Letters only join what began with a space or a capital, and capitals join nothing."""
    if not any(c.isascii() and c.isalpha() for c in left + right):
        return True
    starts_word = left[0] == "Ġ" or (left[0].isascii() and left[0].isupper())
    return (
        starts_word
        and not any(c.isascii() and c.isupper() for c in right[1:] if left != "Ġ")
        and (left == "Ġ" or not right[0].isupper())
    )


def train(texts: Iterable[str]) -> Tokenizer:
    """Merges the most frequent allowed pair until the vocabulary is full; ties go to the pair that sorts first."""
    splitter = _splitter()
    words = Counter(piece for text in texts for piece, _ in splitter.pre_tokenize_str(text))
    spelled = {word: list(word) for word in words}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    while N_SPECIAL + len(alphabet) + len(merges) < N_VOCAB:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in spelled.items():
            for pair in pairwise(parts):
                if _may_merge(*pair):
                    pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts in spelled.values():
            _join(parts, best)
    return _build(alphabet, merges)


def _join(parts: list[str], pair: tuple[str, str]) -> None:
    k = 0
    while k + 1 < len(parts):
        if (parts[k], parts[k + 1]) == pair:
            parts[k : k + 2] = ["".join(pair)]
        k += 1


def _build(alphabet: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    tokens = [*SPECIAL, *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def load() -> Tokenizer:
    if not PATH.exists():
        raise FileNotFoundError(f"{PATH} is missing: take it from the repository, as the released files hold the same")
    return Tokenizer.from_file(str(PATH))


def vocabulary(tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """Tokens by id and merges as GGUF wants them: `left right`."""
    by_token = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(by_token, key=by_token.__getitem__)
    return tokens, [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def main() -> None:
    from .corpus import tokenizer_texts

    tokenizer = train(tokenizer_texts())
    tokenizer.save(str(PATH))
    print(f"{PATH}: {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
