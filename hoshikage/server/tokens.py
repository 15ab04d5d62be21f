"""Text and tokens: `/tokenize`, `/detokenize` and `/tokenizer_info`, in the words of vLLM's and llama-server's clients.

A request that names no model means the one that is in memory, or else the first of the list. The first two load it.
"""

from __future__ import annotations

from typing import Any

from blacksheep import Response

from hoshikage import gguf
from hoshikage.checks import Text
from hoshikage.errors import ParameterError
from hoshikage.manager.job import Job
from hoshikage.registry import Model
from hoshikage.server.choosing import default_label, label_of
from hoshikage.server.fields import Field, Table, called, given_in, queried
from hoshikage.server.openai.tables import MODEL
from hoshikage.server.openai.values import FLAG, Ids
from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.work import value_of
from hoshikage.worker.ask import Ask, Kind

TOKENIZE = Table(
    [
        MODEL,
        Field(name="prompt", check=Text(2**24), meaning="the text"),
        Field(name="content", check=Text(2**24), meaning="another name of prompt"),
        Field(name="add_special_tokens", check=FLAG, meaning="begin as a prompt does: with BOS", default=False),
        Field(name="add_special", check=FLAG, meaning="another name of add_special_tokens", default=False),
        Field(name="parse_special", check=FLAG, meaning="read special tokens in the text as such", default=True),
        Field(name="with_pieces", check=FLAG, meaning="say also what each token writes", default=False),
    ]
)
DETOKENIZE = Table([MODEL, Field(name="tokens", check=Ids(), meaning="token ids", required=True)])


async def tokenize(services: Services, exchange: Exchange) -> Response:
    """A text as tokens."""
    given = await given_in(exchange, TOKENIZE)
    text = given.get("prompt", given.get("content"))
    if text is None:
        raise ParameterError("prompt", "it is missing", "send the text")
    label = await label_of(services, given)
    opens = given.get("add_special_tokens", given.get("add_special", False))
    pieces = given.get("with_pieces", False)
    body = {"text": text, "parse_special": given.get("parse_special", True), "opens": opens, "pieces": pieces}
    value = await asked(services, exchange, label, "tokenize", body)
    ids = value["ids"]
    tokens = with_pieces(ids, value["pieces"]) if pieces else ids
    chosen = await services.choices.choose(label)
    return json_response({"tokens": tokens, "count": len(ids), "max_model_len": chosen.facts.n_ctx, **given.beside})


async def detokenize(services: Services, exchange: Exchange) -> Response:
    """Tokens as a text."""
    given = await given_in(exchange, DETOKENIZE)
    label = await label_of(services, given)
    with called(ids="tokens"):
        value = await asked(services, exchange, label, "detokenize", {"ids": given["tokens"], "special": True})
    return json_response({"prompt": value["text"], "content": value["text"], **given.beside})


async def info(services: Services, exchange: Exchange) -> Response:
    """What a model's tokenizer is called and how its special tokens are written. Loads nothing."""
    label = queried(exchange, "model") or await default_label(services)
    return json_response(await tokenizer(services, label))


async def tokenizer(services: Services, label: str) -> dict[str, Any]:
    """The same, of a label."""
    return await services.files.look(("tokenizer", label), lambda: tokenizer_of(services.registry.find(label)))


def tokenizer_of(model: Model) -> dict[str, Any]:
    """The facts of its header; a token that it does not have is null."""
    header = gguf.inspect(model.path)
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    texts = list(tokens.strings()) if isinstance(tokens, gguf.Array) else []

    def text_of(name: str) -> str | None:
        token = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if not isinstance(token, int) or not 0 <= token < len(texts):
            return None
        return texts[token].decode("utf-8", "replace")

    special = {f"{short}_token": text_of(name) for short, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    template = header.text("tokenizer.chat_template")
    kind = header.text("tokenizer.ggml.model")
    return {"tokenizer_class": kind, "model_max_length": header.n_ctx_train, **special, "chat_template": template}


async def asked(services: Services, exchange: Exchange, label: str, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    job = Job(model=label, ask=Ask(kind=kind, body=body), key=exchange.who)
    return await value_of(services, exchange, job)


def with_pieces(ids: list[int], pieces: list[str]) -> list[dict[str, Any]]:
    """As llama-server shows them: a piece is a text, or the bytes of what is none by itself."""
    return [{"id": token, "piece": shown(piece.encode("latin-1"))} for token, piece in zip(ids, pieces, strict=True)]


def shown(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
