"""`POST /completion` and `POST /infill`: a prompt continued, or a gap filled, as llama-server tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from blacksheep import Response

from hoshikage.errors import ParameterError
from hoshikage.manager.job import Job
from hoshikage.server.choosing import Chosen, label_of
from hoshikage.server.fields import Given, given_in, warned
from hoshikage.server.llamacpp.tables import COMPLETION, INFILL
from hoshikage.server.openai import constraint
from hoshikage.server.openai.asking import engine_options, job_of, ways_of
from hoshikage.server.openai.completions import refuse_gap
from hoshikage.server.openai.form import Choice, about_work
from hoshikage.server.openai.logprobs import text_of
from hoshikage.server.openai.mute import muted
from hoshikage.server.reply import Form, reply
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.wire import EVENTS
from hoshikage.worker.ask import Answered, Said, Token


async def complete(services: Services, exchange: Exchange) -> Response:
    """Continue a prompt, or several."""
    given = await given_in(exchange, COMPLETION)
    prompts = given["prompt"]
    shown = prompts[0] if len(prompts) == 1 and isinstance(prompts[0], str) else ""
    body = {"prompts": prompts, "parse_special": given.get("parse_special", True)}
    return await answered(services, exchange, given, "generate", body, shown, len(prompts))


async def infill(services: Services, exchange: Exchange) -> Response:
    """Fill the gap between two texts."""
    given = await given_in(exchange, INFILL)
    before = "".join(map(piece_of, given.get("input_extra", ())))
    prefix = before + given.get("input_prefix", "") + given.get("prompt", "")
    body = {"prefix": prefix, "suffix": given.get("input_suffix", ""), "length": given.get("length")}
    return await answered(services, exchange, given, "infill", body, prefix, 1)


def piece_of(chunk: dict[str, str]) -> str:
    """A piece of another file, as it stands before the text."""
    return f"--- {chunk['filename']} ---\n{chunk['text']}\n\n" if chunk["filename"] else f"{chunk['text']}\n\n"


async def answered(
    services: Services, exchange: Exchange, given: Given, kind: Any, body: dict[str, Any], prompt: str, n: int
) -> Response:
    """What both routes do once they know what is asked."""
    chosen = await services.choices.choose(await label_of(services, given, gap=kind == "infill"))
    if kind == "infill":
        refuse_gap("model", chosen)
    options = engine_options(given, chosen) | await schema_options(given)
    if given.get("n_probs", 0):
        options["logprobs"] = given["n_probs"]
    ways = ways_of(given, chosen, services.settings)
    job: Job = job_of(exchange, given, chosen, kind, {**body, "options": options}, ways.watch)
    form = LlamaForm(
        chosen,
        prompt,
        n,
        probabilities="logprobs" in options,
        warnings=given.warnings,
        wanted=given.get("response_fields", ()),
    )
    stream, single = given.get("stream", False), ways.single and n == 1  # several answers are no one event
    return await reply(services, exchange, job, muted(form, given), stream=stream, single=single, wire=EVENTS)


async def schema_options(given: Given) -> dict[str, str]:
    """The grammar of a schema."""
    if "json_schema" not in given.values:
        return {}
    if given.options.get("grammar"):
        raise ParameterError("grammar", "the answer has another form to follow already", "send one of them")
    return {"grammar": await constraint.apart(constraint.grammar, "json_schema", given["json_schema"])}


class LlamaForm(Form):
    """Writes answers as llama-server does: one object for one prompt, a list for several."""

    def __init__(
        self,
        chosen: Chosen,
        prompt: str,
        n: int,
        *,
        probabilities: bool,
        warnings: Sequence[str],
        wanted: Sequence[str],
    ) -> None:
        self._model = chosen.model.label
        self._n_ctx = chosen.facts.n_ctx
        self._wanted = wanted
        self._prompt = prompt
        self._probabilities = probabilities
        self._warnings = warnings
        self._choices = [Choice(index=i) for i in range(n)]

    def said(self, event: Said) -> Iterator[dict[str, Any]]:
        yield from self._take(event)

    def answered(self, event: Answered) -> Iterator[dict[str, Any]]:
        choice = self._choices[event.index]
        choice.end = event
        yield from self._take(event)
        yield self._picked(self._end(choice, ""))

    def whole(self) -> Any:
        """The answer in one piece."""
        ends = [self._end(choice, "".join(choice.text)) for choice in self._choices]
        if self._probabilities:
            for end, choice in zip(ends, self._choices, strict=True):
                end["completion_probabilities"] = [probability_of(token) for token in choice.tokens]
        ends = [*map(self._picked, ends)]
        return ends[0] if len(ends) == 1 else ends

    def _picked(self, end: dict[str, Any]) -> dict[str, Any]:
        """What is wanted of it, each by the place that was asked for."""
        if not self._wanted:
            return end
        found = ((place, at_place(end, place)) for place in self._wanted)
        return {place: value for place, value in found if value is not None}

    def _take(self, event: Said | Answered) -> Iterator[dict[str, Any]]:
        choice = self._choices[event.index]
        tokens = choice.grow(event, event.delta)
        if not (event.delta or tokens):
            return
        part = {"index": event.index, "content": event.delta, "tokens": [], "stop": False, "id_slot": -1}
        if self._probabilities:
            part["completion_probabilities"] = [probability_of(token) for token in tokens]
        yield part

    def _end(self, choice: Choice, content: str) -> dict[str, Any]:
        """What stands at the end of an answer, or all of it."""
        end = choice.end
        assert end is not None, "written only once the answer is complete"
        n_prompt, n_tokens = int(end.counts["n_prompt"]), int(end.counts["n_tokens"])
        return {
            "index": choice.index,
            "content": content,
            "tokens": [],
            "id_slot": -1,
            "stop": True,
            "model": self._model,
            "tokens_predicted": n_tokens,
            "tokens_evaluated": n_prompt,
            "prompt": self._prompt,
            "generation_settings": {"seed": end.seed, "n_ctx": self._n_ctx},
            "has_new_line": "\n" in end.text,
            "truncated": False,
            "stop_type": stop_type(end),
            "stopping_word": end.stopped_by,
            "tokens_cached": n_prompt + n_tokens,
            "timings": timings(n_prompt, n_tokens, end.counts.get("seconds", 0.0)),
            "hoshikage": about_work(end),
            **warned([*self._warnings, *end.warnings]),
        }


def at_place(value: Any, place: str) -> Any:
    """What stands where these names lead; None where nothing does."""
    for name in place.split("/"):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def stop_type(end: Answered) -> str:
    """Why an answer ended."""
    if end.stopped_by:
        return "word"
    return {"stop": "eos", "length": "limit", "cancelled": "none"}[end.stop_reason]


def timings(n_prompt: int, n_tokens: int, seconds: float) -> dict[str, float]:
    """What an answer took; a prompt's time is in it, for a diffusion model reads it again at every step."""
    milliseconds = 1000 * seconds
    return {
        "prompt_n": n_prompt,
        "prompt_ms": 0.0,
        "prompt_per_token_ms": 0.0,
        "prompt_per_second": 0.0,
        "predicted_n": n_tokens,
        "predicted_ms": milliseconds,
        "predicted_per_token_ms": milliseconds / n_tokens if n_tokens else 0.0,
        "predicted_per_second": n_tokens / seconds if seconds > 0 else 0.0,
    }


def probability_of(token: Token) -> dict[str, Any]:
    """A token, how probable it was, and the likeliest at its place."""
    top = [entry(number, piece, logprob) for number, piece, logprob in token.top]
    return entry(token.id, token.piece, token.logprob) | {"top_logprobs": top}


def entry(number: int, piece: bytes, logprob: float) -> dict[str, Any]:
    return {"id": number, "token": text_of(piece), "bytes": list(piece), "logprob": logprob}
