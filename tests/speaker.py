"""The fake model with a vocabulary: what an engine needs of a model, in a test without weights."""

from __future__ import annotations

from typing import Any

from hoshikage._fake import FakeModel
from hoshikage.worker.fake import CONTEXT
from tests.letters import BOS, EOS, EOT, MASK, Letters

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|eot|>{% endfor %}[assistant]"


class Speaker(FakeModel):
    """Bytes and four special tokens in the order in which FakeModel reserves ids: EOT, EOS, mask."""

    chat_template: str | None = TEMPLATE
    n_ctx_train = 512
    add_bos = False

    def __init__(self, **options: Any) -> None:
        self.letters = Letters([BOS, EOT, EOS, MASK], add_bos=False)
        super().__init__(self.letters.n_vocab, **options)
        self.bos_id = self.letters.bos_id
        self.eog_ids = frozenset({self.eos_id, self.eot_id})
        self.closed = False

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        return self.letters.tokenize(text, add_special=add_special, parse_special=parse_special)

    def piece(self, token: int, *, special: bool = False) -> bytes:
        return self.letters.piece(token, special=special)

    def detokenize(self, ids: list[int], *, special: bool = False) -> bytes:
        return b"".join(self.piece(token, special=special) for token in ids)

    def open_context(self, **options: Any) -> Any:
        """A context; how it would be laid out on a machine means nothing here."""
        return super().open_context(**{name: options[name] for name in CONTEXT if name in options})

    def close(self) -> None:
        self.closed = True
