"""Our reading of grammars against llama.cpp's, on random texts that cannot hurt it."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage import gbnf
from hoshikage._libs import load_libraries
from hoshikage.errors import ParameterError

SYMBOLS = (
    '"a"', '"ab\\n"', '""', '"\\x41é"', '"', "[a-z]", "[^\\]x-]", "[]", "[", ".", "a", "b", "root", "undefined",
    "(", "(", ")", ")", "|", "*", "+", "?", "{2}", "{0,2}", "{1,}", "{,2}", "{3", " ", "\n", "# c\n", "\r\n", "\\",
    "<[5]>", "-",
)  # fmt: skip
LINE = st.lists(st.sampled_from(SYMBOLS), max_size=9).map(" ".join)


@cache
def llama_cpp() -> Callable[[bytes], bool]:
    """Whether llama.cpp takes a grammar. It needs no vocabulary as long as no token is named by its text."""
    library = ctypes.CDLL(str(next(load_libraries().glob("libllama.so*"))))
    library.llama_sampler_init_grammar.restype = ctypes.c_void_p
    library.llama_sampler_init_grammar.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
    library.llama_sampler_free.argtypes = [ctypes.c_void_p]

    def takes(text: bytes) -> bool:
        made = library.llama_sampler_init_grammar(None, text, b"root")
        library.llama_sampler_free(made)
        return made is not None

    return takes


def verdict(text: str) -> str:
    """What llama.cpp says: taken, slip (an error while reading), or refused (for what the rules say)."""
    sys.stderr.flush()
    keep = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            taken = llama_cpp()(text.encode())
        finally:
            os.dup2(keep, 2)
            os.close(keep)
        printed.seek(0)
        return "taken" if taken else "slip" if b"error parsing grammar" in printed.read() else "refused"


@settings(max_examples=400)
@given(LINE, LINE, LINE)
def test_our_reading_is_llama_cpps(root: str, a: str, b: str) -> None:
    text = f'root ::= {root}\na ::= {a}\nb ::= "b" {b}\n'
    try:
        gbnf.check(text)
    except ParameterError as error:
        if any(word in error.cause for word in ("never begin", "left-recursive", "too many ways")):
            return  # there it may never come back
        assert verdict(text) == "slip", error
    else:
        # Left recursion that does not grow is its own to refuse.
        assert verdict(text) in ("taken", "refused")
