"""From an ask to the answers that are to be made, or to a value that takes no step. Nothing here computes a pass; the
loop does where one has to be measured first, and the ask's board ends that."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hoshikage._board import Board
from hoshikage.checks import Check, Flag, Whole, nearest, shown
from hoshikage.engine.answer import Answer
from hoshikage.engine.engine import Engine, as_prompts
from hoshikage.engine.gaps import Piece, gap_of
from hoshikage.engine.prompt import THINK, THOUGHT_ENDS
from hoshikage.engine.request import SEEDS
from hoshikage.errors import Cancelled, ContextOverflowError, ParameterError
from hoshikage.worker.ask import Ask
from hoshikage.worker.facts import Facts

MOST_ANSWERS = 1024  # to one ask
FIELDS = {
    "generate": {"prompts", "n", "parse_special", "options"},
    "chat": {"messages", "n", "tools", "template_options", "continue_final_message", "options"},
    "infill": {"prefix", "suffix", "template", "n", "length", "parse_special", "options"},
    "tokenize": {"text", "parse_special", "opens", "pieces"},
    "detokenize": {"ids", "special"},
    "template": {"messages", "tools", "template_options", "continue_final_message", "add_generation_prompt"},
    "describe": set[str](),
}
LONG = 1 << 20  # characters; who sends fewer is told exactly how many tokens they are
READ = ("prompts", "messages", "prefix", "suffix", "template", "text")  # by a model, as tokens


class Body:
    """The body of an ask, read field by field."""

    def __init__(self, ask: Ask, board: Board | None = None) -> None:
        self._board = board
        self._given = {name: value for name, value in ask.body.items() if value is not None}
        for name in self._given:
            if name not in FIELDS[ask.kind]:
                cause = f"{ask.kind} knows no such field{nearest(name, FIELDS[ask.kind])}"
                raise ParameterError(name, cause, "leave it out")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def __getitem__(self, name: str) -> Any:
        if name not in self._given:
            raise ParameterError(name, "it is missing", "give it")
        return self._given[name]

    def get(self, name: str, default: Any = None) -> Any:
        """A field that the engine judges itself."""
        return self._given.get(name, default)

    def checked(self, name: str, check: Check[Any], default: Any) -> Any:
        """A field of a simple kind."""
        return check.check(name, self._given[name]) if name in self._given else default

    def check_wanted(self) -> None:
        """Raises Cancelled once nobody waits for what is made of it: others wait for the thread that makes it."""
        if self._board is not None and self._board.cancelled:
            raise Cancelled

    def table(self, name: str) -> dict[str, Any]:
        """A field that is an object."""
        value = self.get(name, {})
        if not isinstance(value, Mapping):
            raise ParameterError(name, f"{shown(value)} is no object", "give a mapping")
        return dict(value)


def answers_for(engine: Engine, ask: Ask, board: Board | None = None) -> list[Answer]:
    """The answers that an ask wants."""
    body = Body(ask, board)
    n = body.checked("n", Whole(1, MOST_ANSWERS), 1)
    check_length(engine, body)
    return MAKERS[ask.kind](engine, body, n, body.table("options"), board)


def check_length(engine: Engine, body: Body) -> None:
    """Refuses a text that no context holds before its tokens are made: that takes its time, and others wait for it."""
    n_characters = max(longest_text(body.get(name)) for name in READ)
    if n_characters > LONG and n_characters // engine.longest_piece > engine.n_ctx:
        raise ContextOverflowError(n_characters // engine.longest_piece, engine.n_ctx)


def longest_text(value: object) -> int:
    """Characters of the longest text in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return max(map(longest_text, value.values()), default=0)
    if isinstance(value, list) and not (value and isinstance(value[0], int)):  # token ids
        return max(map(longest_text, value), default=0)
    return 0


def generated(engine: Engine, body: Body, n: int, options: dict[str, Any], board: Board | None) -> list[Answer]:
    """Prompts, each answered `n` times."""
    prompts, single = as_prompts(body["prompts"])
    if single or not prompts:
        raise ParameterError(
            "prompts", f"{shown(body['prompts'])} is no list of prompts", "give a list of at least one"
        )
    if len(prompts) * n > MOST_ANSWERS:
        cause = f"{len(prompts)} prompts, {n} times each, are too many"
        raise ParameterError("prompts", cause, f"use at most {MOST_ANSWERS} answers")
    parse_special = body.checked("parse_special", Flag(), False)
    many = []
    for prompt in prompts:
        body.check_wanted()
        many.append(engine.prompt_tokens(prompt, parse_special=parse_special))
    return [
        engine.answer(i * n + k, ids, {**options, "seed": seed}, board)
        for i, ids in enumerate(many)
        for k, seed in enumerate(seeds(options.get("seed"), n))
    ]


def chatted(engine: Engine, body: Body, n: int, options: dict[str, Any], board: Board | None) -> list[Answer]:
    """A conversation, continued `n` times."""
    ids = chat_tokens(engine, body)
    answers = [
        engine.answer(k, ids, {**options, "seed": seed}, board) for k, seed in enumerate(seeds(options.get("seed"), n))
    ]
    in_thought = engine.ends_in_thought(ids) or goes_on_thinking(body)
    for answer in answers:
        answer.in_thought = in_thought
    return answers


def goes_on_thinking(body: Body) -> bool:
    """Whether the message that the answer continues ends in the middle of a thought."""
    last = body["messages"][-1]
    text = str(last.get("content") or "").lstrip() if last.get("role") == "assistant" else ""
    return text.startswith(THINK) and THOUGHT_ENDS not in text and body.get("continue_final_message") is not False


def infilled(engine: Engine, body: Body, n: int, options: dict[str, Any], board: Board | None) -> list[Answer]:
    """A gap between two texts, or those of a template, filled `n` times."""
    pieces = pieces_of(engine, body)
    return [
        engine.gaps_answer(k, pieces, {**options, "seed": seed}, board)
        for k, seed in enumerate(seeds(options.get("seed"), n))
    ]


def pieces_of(engine: Engine, body: Body) -> list[Piece]:
    """What is given and what is wanted."""
    parse_special = body.checked("parse_special", Flag(), False)
    if "template" in body:
        for name in ("prefix", "suffix", "length"):
            if name in body:
                raise ParameterError(name, "a template says all of it", "give a template, or a prefix and a suffix")
        return engine.template_pieces(body["template"], parse_special=parse_special)
    before, behind = engine.gap_tokens(body["prefix"], body.get("suffix", ""), parse_special=parse_special)
    return [before, gap_of("length", body["length"]) if "length" in body else None, behind]


def seeds(first: object, n: int) -> list[int]:
    """`n` seeds that follow each other; the noise counts them modulo 2^64."""
    base = secrets.randbits(32) if first is None else SEEDS.check("seed", first)
    return [base + k if base + k <= SEEDS.most else base + k - 2**64 for k in range(n)]


def chat_tokens(engine: Engine, body: Body) -> list[int]:
    """The tokens of a conversation."""
    return engine.chat_tokens(
        body["messages"],
        tools=body.get("tools"),
        template_options=body.table("template_options"),
        add_generation_prompt=body.checked("add_generation_prompt", Flag(), True),
        continue_final_message=body.checked("continue_final_message", Flag(), None),
    )


def tokenized(engine: Engine, body: Body) -> dict[str, Any]:
    """A text's tokens, and the bytes of each where they are wanted."""
    parse_special = body.checked("parse_special", Flag(), False)
    opens = body.checked("opens", Flag(), False)
    make = engine.prompt_tokens if opens else engine.tokenize
    ids = make(body["text"], parse_special=parse_special)
    body.check_wanted()
    pieces = body.checked("pieces", Flag(), False)
    return {"ids": ids, **({"pieces": [engine.model.piece(token) for token in ids]} if pieces else {})}


def detokenized(engine: Engine, body: Body) -> dict[str, Any]:
    """The text of tokens."""
    return {"text": engine.detokenize(body["ids"], special=body.checked("special", Flag(), False))}


def templated(engine: Engine, body: Body) -> dict[str, Any]:
    """A conversation as the model reads it."""
    ids = chat_tokens(engine, body)
    body.check_wanted()
    return {"text": engine.detokenize(ids, special=True), "ids": ids}


def described(engine: Engine, _: Body) -> dict[str, Any]:
    """The facts of the model."""
    return asdict(facts_of(engine))


MAKERS: dict[str, Callable[[Engine, Body, int, dict[str, Any], Board | None], list[Answer]]] = {
    "generate": generated,
    "chat": chatted,
    "infill": infilled,
}
VALUES: dict[str, Callable[[Engine, Body], dict[str, Any]]] = {
    "tokenize": tokenized,
    "detokenize": detokenized,
    "template": templated,
    "describe": described,
}


def value_of(engine: Engine, ask: Ask, board: Board | None = None) -> dict[str, Any]:
    """What an ask without answers gives."""
    body = Body(ask, board)
    check_length(engine, body)
    return VALUES[ask.kind](engine, body)


def facts_of(engine: Engine) -> Facts:
    """The facts of the model."""
    model = engine.model
    return Facts(
        kind=model.kind.name,
        architecture=model.architecture,
        served_as=model.served_as,
        description=model.description,
        n_ctx=engine.n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_vocab=model.n_vocab,
        n_params=model.n_params,
        n_bytes=model.size,
        has_chat_template=engine.has_chat_template,
    )
