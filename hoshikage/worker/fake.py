"""A model made of a hash, with a vocabulary of bytes: a worker without weights, for tests and benches."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hoshikage._fake import FakeModel
from hoshikage.checks import Check, Flag, Whole, nearest
from hoshikage.errors import ParameterError

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
NAMES = ("<|eot|>", "</s>", "<|mask|>")  # the last ids, as FakeModel has them
OPTIONS: dict[str, tuple[Check[Any], Any]] = {
    "n_vocab": (Whole(256 + len(NAMES), 1 << 20), 256 + len(NAMES)),  # more of them make a pass slower
    "salt": (Whole(0, 2**63), 0),
    "shift": (Flag(), False),
    "n_ctx": (Whole(1, 1 << 20), 4096),
}
CONTEXT = ("n_threads", "n_ctx", "n_seq", "n_rows", "n_rungs")  # what the rest lays out on a machine means nothing here


class FakeSpeaker(FakeModel):
    """Token b is the byte b; those above write a letter, except for the three last."""

    description = "a model made of a hash"
    chat_template: str | None = TEMPLATE
    add_bos = False
    n_params = size = 0

    def __init__(self, **options: Any) -> None:
        for name in options:
            if name not in OPTIONS:
                raise ParameterError(name, f"a fake model has no such option{nearest(name, OPTIONS)}", "leave it out")
        given = {name: check.check(name, options.get(name, default)) for name, (check, default) in OPTIONS.items()}
        self.n_ctx_train = given.pop("n_ctx")
        super().__init__(given.pop("n_vocab"), **given)
        self.eog_ids = frozenset({self.eos_id, self.eot_id})
        self._names = {self.n_vocab - len(NAMES) + i: name for i, name in enumerate(NAMES)}
        self._ids = {name: token for token, name in self._names.items()}
        self._cut = re.compile(f"({'|'.join(map(re.escape, NAMES))})")

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:  # noqa: ARG002
        """Bytes, and special tokens where they are asked for."""
        parts = self._cut.split(text) if parse_special else [text]
        return [token for part in parts for token in ([self._ids[part]] if part in self._ids else part.encode())]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of a token."""
        if token in self._names:
            return self._names[token].encode() if special else b""
        return bytes([token if token < 256 else ord("a") + token % 26])

    def detokenize(self, ids: Iterable[int], *, special: bool = False) -> bytes:
        """The bytes of many."""
        return b"".join(self.piece(token, special=special) for token in ids)

    def open_context(self, **options: Any) -> Any:
        """A context."""
        return super().open_context(**{name: options[name] for name in CONTEXT if name in options})

    def close(self) -> None:
        """Nothing to give back."""
