"""Loads the model files named on its input, each in a child of its own, and says how each child ended.

A name after "unjudged " is loaded without being judged first. One line out per line in: "loaded", "refused" (by the
inspection), "failed" (an exception of ours from llama.cpp), "wrong" (any other exception; its traceback goes to
stderr), or "signal N". A child that hangs ends by signal 14.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback

from hoshikage import gguf
from hoshikage._core import Model, Session
from hoshikage.errors import HoshikageError, ModelFileError
from hoshikage.gguf.reader import read

UNJUDGED = "unjudged "
SECONDS = 60  # far more than a load takes on the slowest machine
ENDINGS = ("loaded", "refused", "failed", "wrong")
SAMPLE = "hello, the 12 worlds\n\t\u20ac \U0001f600 <|endoftext|>"


def use(path: str) -> None:
    """What a worker does with a model: the vocabulary is walked, text goes in and out, one pass is computed."""
    for retag in (True, False):
        with Model(path, retag=retag) as model:
            ids = model.tokenize(SAMPLE, add_special=True, parse_special=True)
            model.detokenize(ids, special=True)
            assert model.eog_ids <= set(range(model.n_vocab))
            with Session(model, n_ctx=64, n_threads=1) as session:
                session.logits([i % model.n_vocab for i in range(5)])
        if not model.is_diffusion:
            break


def ending(path: str) -> str:
    if path.startswith(UNJUDGED):
        path = path.removeprefix(UNJUDGED)
        gguf.inspect = read
    try:
        gguf.inspect(path)
    except ModelFileError:
        return "refused"
    try:
        use(path)
    except HoshikageError:
        return "failed"
    return "loaded"


def in_child(path: str) -> str:
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        code = ENDINGS.index("wrong")
        try:
            code = ENDINGS.index(ending(path))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else ENDINGS[os.WEXITSTATUS(status)]


if __name__ == "__main__":
    for line in sys.stdin:
        print(in_child(line.rstrip("\n")), flush=True)
