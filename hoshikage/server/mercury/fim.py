"""`POST /v1/fim/completions`: a gap filled, for editors. Some read `text`, some `delta.content`: both are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from blacksheep import Response

from hoshikage.server.fields import Table, alias, given_in
from hoshikage.server.openai import completions
from hoshikage.server.openai.completions import TextChoice, TextForm
from hoshikage.server.openai.tables import COMPLETIONS
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.worker.ask import Token

PARSES = replace(
    COMPLETIONS.by_name["parse_special"], meaning="read special tokens in the texts as such", default=False
)
FIM = Table(
    [PARSES if row.name == PARSES.name else row for row in COMPLETIONS.fields] + [alias("random_seed", "seed")],
    COMPLETIONS.idle,
)


async def answer(services: Services, exchange: Exchange) -> Response:
    """Fill a gap, or continue a text that nothing stands behind."""
    given = await given_in(exchange, FIM)
    if given.get("suffix") == "":
        given = given.without("suffix")
    given = given.having(parse_special=given.get("parse_special", False))
    return await completions.answered(services, exchange, given, FimForm)


class FimForm(TextForm):
    """A completion whose text can be read at three places."""

    def _whole_choice(self, choice: TextChoice) -> dict[str, Any]:
        whole = super()._whole_choice(choice)
        message = {"role": "assistant", "content": whole["text"]}
        return whole | {"message": message, "delta": message}

    def _chunk(self, choice: TextChoice, text: str, tokens: Sequence[Token] = (), **more: Any) -> dict[str, Any]:
        chunk = super()._chunk(choice, text, tokens, **more)
        for entry in chunk["choices"]:
            entry["delta"] = {"role": "assistant", "content": text}
        return chunk
