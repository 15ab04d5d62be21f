"""Whether llama.cpp survives a vocabulary: on loading it, and on any text that is tokenized later.

llama.cpp throws out of `llama_tokenize` where a byte has no token, and no C caller can catch that; it asserts that
tokens differ and that a token it has to add exists; one of its tokenizers walks in a circle on a vocabulary with
gaps. Tokens are compared as llama.cpp sees them: cut at a NUL, and named where they are empty.
"""

from __future__ import annotations

from collections.abc import Iterable

from hoshikage.checks import shown
from hoshikage.errors import ModelFileError
from hoshikage.gguf.header import BOOL, F32, I32, STRING, U32, Array, Field, Header, TensorInfo

PREFIX = "tokenizer.ggml."
MODELS = frozenset({"llama", "gpt2", "gemma4", "t5", "rwkv", "plamo2", "hybriddna", "whitespace", "test"})
BYTE_PAIR = frozenset({"gpt2", "gemma4", "hybriddna", "whitespace"})
TRIES = frozenset({"t5", "rwkv", "plamo2"})
TRIE_TOKEN_MAX = 1024  # bytes; llama.cpp walks these vocabularies recursively, or takes all suffixes of a token

# What llama.cpp assumes where the file says nothing: BOS, EOS, and whether it adds them to a text.
DEFAULT_BOS = {"llama": 1, "gpt2": 11, "hybriddna": 11, "whitespace": 11}
DEFAULT_EOS = {"llama": 2, "gpt2": 11, "hybriddna": 11, "whitespace": 11, "t5": 1}
DEFAULT_T5_UNKNOWN = 2
NO_BOS_PRE = frozenset({"chatglm-bpe", "glm4", "glm5"})
ADD_BOS_PRE = frozenset({"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
                         "jina-v5-nano", "tekken", "chameleon"})  # fmt: skip
ALWAYS_BOS_PRE = frozenset({"gemma4", "granite-embed-multi-311m"})
CHECKED_IDS = ("bos", "eos", "eot", "mask")  # of the others llama.cpp ignores those that do not exist


def judge_vocabulary(header: Header, embedding: TensorInfo | None) -> None:
    model = header.text(PREFIX + "model")
    if model in (None, "none", "no_vocab"):
        raise ModelFileError(header.path, "it has no vocabulary", "convert it again with its tokenizer")
    if model not in MODELS:
        raise ModelFileError(header.path, f"its tokenizer {shown(model)} is not one for generating text")
    listed = judge_arrays(header)
    n = listed.n
    if embedding is not None and embedding.dims[1:] != (n,):
        rows = embedding.dims[1] if len(embedding.dims) > 1 else 1
        raise ModelFileError(header.path, f"its vocabulary has {n} tokens and its embedding {rows} rows")
    tokens = texts(listed)
    known = set(tokens)
    if len(known) != n:
        raise ModelFileError(header.path, f"the token {shown(first_twin(tokens))} stands in its vocabulary twice")
    judge_ids(header, n)
    judge_added(header, model, n)
    if model == "llama":
        judge_bytes(header, {b for b in range(256) if b"<0x%02X>" % b in known or (b and bytes([b]) in known)})
    if model in TRIES:
        judge_trie(header, model, tokens)


def judge_arrays(header: Header) -> Array:
    """The tokens, with arrays beside them that are long enough."""
    tokens = array(header, "tokens", STRING)
    if tokens is None or tokens.n == 0:
        raise ModelFileError(header.path, "its vocabulary is empty", "convert it again with its tokenizer")
    merges = header.text(PREFIX + "model") in BYTE_PAIR and header.text(PREFIX + "pre") != "kimi-k2"
    if merges and array(header, "merges", STRING) is None:
        raise ModelFileError(header.path, f"it lacks {PREFIX}merges", "convert it again with its tokenizer")
    for name, items in (("scores", (F32, I32)), ("token_type", (I32,))):
        beside = array(header, name, *items)
        if beside is not None and beside.n < tokens.n:
            raise ModelFileError(header.path, f"{PREFIX}{name} has {beside.n} items for {tokens.n} tokens")
    return tokens


def array(header: Header, name: str, *items: int) -> Array | None:
    entry = header.fields.get(PREFIX + name)
    if entry is None:
        return None
    if not isinstance(entry.value, Array) or entry.item not in items:
        raise ModelFileError(header.path, f"{PREFIX}{name} is {entry.type_name}")
    return entry.value


def texts(tokens: Array) -> list[bytes]:
    seen = list(tokens.strings())
    if b"\0" in b"".join(seen):
        seen = [text.split(b"\0", 1)[0] for text in seen]
    return [text or b"[EMPTY_%d]" % i for i, text in enumerate(seen)] if b"" in seen else seen


def first_twin(tokens: Iterable[bytes]) -> str:
    seen: set[bytes] = set()
    for token in tokens:
        if token in seen:
            return token.decode("utf-8", "replace")
        seen.add(token)
    raise AssertionError("all tokens differ")


def scalar(header: Header, name: str, item: int) -> Field | None:
    entry = header.fields.get(PREFIX + name)
    if entry is not None and (entry.n >= 0 or entry.item != item):
        raise ModelFileError(header.path, f"{PREFIX}{name} is {entry.type_name}")
    return entry


def judge_ids(header: Header, n: int) -> None:
    for name in CHECKED_IDS:
        entry = scalar(header, f"{name}_token_id", U32)
        if entry is not None and isinstance(entry.value, int) and entry.value >= n:
            raise ModelFileError(header.path, f"{PREFIX}{name}_token_id is {entry.value}, outside its {n} tokens")


def judge_added(header: Header, model: str, n: int) -> None:
    """A token that is added to every text has to exist; llama.cpp aborts on the first text otherwise."""
    pre = "gemma4" if model == "gemma4" else header.text(PREFIX + "pre") or ""
    always = model in BYTE_PAIR and pre in ALWAYS_BOS_PRE
    adds_bos = always or flag(header, "add_bos_token", model == "llama" or (model in BYTE_PAIR and pre in ADD_BOS_PRE))
    adds_eos = flag(header, "add_eos_token", model == "t5")
    if model in TRIES - {"t5"} or model == "test":
        return  # these add none, whatever the file says
    bos = DEFAULT_BOS.get(model, n) if pre not in NO_BOS_PRE else n
    for adds, name, default in ((adds_bos, "bos", bos), (adds_eos, "eos", DEFAULT_EOS.get(model, n))):
        if adds and default >= n and header.whole(f"{PREFIX}{name}_token_id") is None:
            raise ModelFileError(header.path, f"it wants a {name.upper()} token at each text and names none",
                                 f"set {PREFIX}{name}_token_id or {PREFIX}add_{name}_token")  # fmt: skip


def flag(header: Header, name: str, default: bool) -> bool:
    entry = scalar(header, name, BOOL)
    return default if entry is None else bool(entry.value)


def judge_bytes(header: Header, covered: set[int]) -> None:
    missing = sorted(set(range(256)) - covered)
    if missing:
        raise ModelFileError(header.path, f"its vocabulary has no token for {len(missing)} of the 256 bytes, the first "
                             f"is {missing[0]:#04x}", "convert it again with byte tokens")  # fmt: skip


def judge_trie(header: Header, model: str, tokens: list[bytes]) -> None:
    longest = max(map(len, tokens))
    if longest > TRIE_TOKEN_MAX:
        raise ModelFileError(header.path, f"a token of its vocabulary has {longest} bytes")
    if model == "plamo2" and not all(map(is_text, tokens)):
        raise ModelFileError(header.path, "a token of its vocabulary is not UTF-8")
    if model == "rwkv":  # where no token matches, llama.cpp starts over at the beginning, or writes token -1
        judge_bytes(header, {piece[0] for piece in map(unescaped, tokens) if len(piece) == 1})
    if model == "t5":
        unknown = header.whole(PREFIX + "unknown_token_id")
        if len(tokens) <= DEFAULT_T5_UNKNOWN and (unknown is None or unknown >= len(tokens)):
            raise ModelFileError(header.path, "it names no token for what its vocabulary does not hold")


def is_text(part: bytes) -> bool:
    """Whether it neither begins nor ends inside a character."""
    try:
        part.decode()
    except UnicodeDecodeError:
        return False
    return True


def unescaped(token: bytes) -> bytes:
    """RWKV's tokens are written with \\t, \\n, \\r, \\xNN; hexadecimal digits are read as llama.cpp reads them."""
    if b"\\" not in token:
        return token
    out = bytearray()
    position = 0
    while position < len(token):
        letter = token[position]
        position += 1
        if letter != 0x5C:
            out.append(letter)
        elif position < len(token):
            letter = token[position]
            position += 1
            if letter != 0x78:
                out.append({0x74: 9, 0x6E: 10, 0x72: 13}.get(letter, letter))
            elif position + 2 <= len(token):
                out.append((digit(token[position]) * 16 + digit(token[position + 1])) & 0xFF)
                position += 2
            else:
                break
    return bytes(out)


def digit(letter: int) -> int:
    return letter - 0x57 if 0x61 <= letter < 0x80 else letter - 0x30
