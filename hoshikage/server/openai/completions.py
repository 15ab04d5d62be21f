"""`POST /v1/completions`: prompts continued, or a gap between two texts filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from blacksheep import Response

from hoshikage.errors import ParameterError
from hoshikage.manager.job import Job
from hoshikage.server.choosing import Chosen, label_of
from hoshikage.server.fields import Given, given_in
from hoshikage.server.openai.asking import engine_options, envelope_of, job_of, ways_of
from hoshikage.server.openai.form import FINISH, Choice, Envelope, EnvelopeForm, about_work, canvas_of
from hoshikage.server.openai.logprobs import LegacyLogprobs
from hoshikage.server.openai.mute import muted, wants_none
from hoshikage.server.openai.tables import COMPLETIONS, N_JOINT
from hoshikage.server.openai.values import Prompt
from hoshikage.server.reply import reply
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.work import value_of
from hoshikage.worker.ask import Answered, Ask, Said, Token


async def answer(services: Services, exchange: Exchange) -> Response:
    """Continue prompts."""
    return await answered(services, exchange, await given_in(exchange, COMPLETIONS), TextForm)


async def answered(services: Services, exchange: Exchange, given: Given, new_form: type[TextForm]) -> Response:
    """Continue prompts, and write the answer in this form."""
    gap = bool({"suffix", "template"} & given.values.keys())
    chosen = await services.choices.choose(await label_of(services, given, gap=gap))
    check(given, chosen)
    ways = ways_of(given, chosen, services.settings)
    if judges(given):  # what a prompt's tokens are like is known at the end, and stands in front of the answer's
        ways = replace(ways, watch="end", single=True)
    prompts: list[Prompt] = given.get("prompt", [""])
    form = new_form(
        envelope_of(given, chosen, ways, prefix="cmpl", kind="text_completion", chunk_kind="text_completion"),
        echoes=await echoes_of(services, exchange, given, chosen) if given.get("echo", False) else [""] * len(prompts),
        logprobs=given.get("logprobs") is not None,
        canvas=ways.watch == "canvas",
    )
    job = job_of_prompts(exchange, given, chosen, ways.watch)
    stream = given.get("stream", False)
    return await reply(services, exchange, job, muted(form, given), stream=stream, single=ways.single)


def judges(given: Given) -> bool:
    """Whether the probabilities of the prompt's own tokens are wanted."""
    return bool(given.get("echo", False)) and given.get("logprobs") is not None


def check(given: Given, chosen: Chosen) -> None:
    """Refuses wishes that contradict each other or the kind of model."""
    check_gaps(given, chosen)
    n_joint = len(given.get("prompt", [""])) * given.get("n", 1)
    if n_joint > N_JOINT:
        raise ParameterError("n", f"{n_joint} answers are too many for one request", f"ask for at most {N_JOINT}")
    if wants_none(given) and (chosen.is_diffusion or not given.get("echo", False)):
        cause = "0 asks for no answer, which makes sense with echo and an autoregressive model only"
        raise ParameterError("max_tokens", cause, "send 1 or more")
    if judges(given) and chosen.is_diffusion:
        cause = "a diffusion model writes in any order, so the tokens of a prompt have no probability of their own"
        raise ParameterError("echo", cause, "leave out echo or logprobs, or use an autoregressive model")


def check_gaps(given: Given, chosen: Chosen) -> None:
    """What is to be filled is said once, to a model that can."""
    if "template" not in given.values and "prompt" not in given.values:
        raise ParameterError("prompt", "it is missing", "send a text, token ids, or a list of either")
    if "template" in given.values:
        for name in ("prompt", "suffix", "length", "max_tokens", "echo"):
            if given.get(name):
                raise ParameterError(name, "a template says all of it", "send a template, or a prompt and a suffix")
        refuse_gap("template", chosen)
    if "suffix" in given.values and len(given["prompt"]) > 1:
        raise ParameterError("suffix", "there are several prompts", "send one prompt with a suffix")
    if "suffix" in given.values:
        refuse_gap("suffix", chosen)
    elif "length" in given.values:
        raise ParameterError("length", "there is no gap", "send a suffix, or max_tokens")


def refuse_gap(name: str, chosen: Chosen) -> None:
    """Raises ParameterError for a model that cannot fill one."""
    if not chosen.fills_gaps:
        cause = f"a {chosen.facts.kind} model reads from left to right and cannot fill a gap"
        raise ParameterError(name, cause, "leave it out, or use a masked diffusion model")


def job_of_prompts(exchange: Exchange, given: Given, chosen: Chosen, watch: Any) -> Job:
    """Prompts to be continued, or with a suffix a gap to be filled."""
    options = engine_options(given, chosen)
    if given.get("logprobs") is not None:
        options["logprobs"] = given["logprobs"]
        if judges(given):
            options["prompt_logprobs"] = given["logprobs"]
    # A prompt may have been rendered from a template, by the client; what a gap lies in is somebody's text.
    parses = given.get("parse_special", not {"template", "suffix"} & given.values.keys())
    body: dict[str, Any] = {"n": given.get("n", 1), "parse_special": parses, "options": options}
    if "template" in given.values:
        return job_of(exchange, given, chosen, "infill", {**body, "template": given["template"]}, watch)
    if "suffix" in given.values:
        gap = {"prefix": given["prompt"][0], "suffix": given["suffix"], "length": given.get("length")}
        return job_of(exchange, given, chosen, "infill", {**body, **gap}, watch)
    return job_of(exchange, given, chosen, "generate", {**body, "prompts": given["prompt"]}, watch)


async def echoes_of(services: Services, exchange: Exchange, given: Given, chosen: Chosen) -> list[str]:
    """The texts of the prompts; those sent as ids are spelled by their model."""
    return [
        prompt if isinstance(prompt, str) else await spelled(services, exchange, given, chosen, prompt)
        for prompt in given["prompt"]
    ]


async def spelled(services: Services, exchange: Exchange, given: Given, chosen: Chosen, ids: list[int]) -> str:
    ask = Ask(kind="detokenize", body={"ids": ids})
    job = Job(model=chosen.model.label, ask=ask, key=exchange.who, wait=given.get("queue_timeout") or None)
    return str((await value_of(services, exchange, job))["text"])


@dataclass(slots=True, kw_only=True)
class TextChoice(Choice):
    """The same of a completion, which may begin with its prompt."""

    echo: str
    legacy: LegacyLogprobs = field(default_factory=LegacyLogprobs)


class TextForm(EnvelopeForm[TextChoice]):
    """Writes completions as OpenAI did."""

    def __init__(self, envelope: Envelope, *, echoes: Sequence[str], logprobs: bool, canvas: bool = False) -> None:
        n = envelope.n
        super().__init__(envelope, [TextChoice(index=i, echo=echoes[i // n]) for i in range(len(echoes) * n)])
        self._logprobs = logprobs
        self._canvas = canvas

    def opening(self) -> Iterator[dict[str, Any]]:
        for choice in self._choices:
            warnings = self._envelope.warnings if choice.index == 0 else ()
            if choice.echo or warnings:
                yield self._chunk(choice, choice.echo, warnings=warnings)

    def said(self, event: Said) -> Iterator[dict[str, Any]]:
        choice = self._choices[event.index]
        tokens = choice.grow(event, event.delta)
        if event.delta or tokens or self._canvas:
            more = {"diffusion": canvas_of(event)} if self._canvas else {}
            yield self._chunk(choice, event.delta, tokens, more=more)

    def answered(self, event: Answered) -> Iterator[dict[str, Any]]:
        choice = self._choices[event.index]
        tokens = choice.grow(event, event.delta)
        choice.end = event
        self._envelope.count(event)
        more = {"hoshikage": about_work(event)}
        finish = FINISH[event.stop_reason]
        yield self._chunk(choice, event.delta, tokens, finish=finish, more=more, warnings=event.warnings)

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        return self._envelope.whole([self._whole_choice(choice) for choice in self._choices], self._warnings())

    def single(self) -> dict[str, Any]:
        """The whole answer as the only chunk of a stream."""
        return self._envelope.chunk([self._whole_choice(choice) for choice in self._choices], self._warnings())

    def _whole_choice(self, choice: TextChoice) -> dict[str, Any]:
        end = choice.end
        return {
            "index": choice.index,
            "text": choice.echo + "".join(choice.text),
            "logprobs": self._legacy(choice) if self._logprobs else None,
            "finish_reason": FINISH[end.stop_reason] if end else None,
            **({"hoshikage": about_work(end)} if end else {}),
        }

    def _legacy(self, choice: TextChoice) -> dict[str, Any]:
        prompt = choice.end.prompt if choice.end is not None else ()  # there where it was asked for
        return LegacyLogprobs().take([*prompt, *choice.tokens], opens=bool(prompt))

    def _chunk(
        self,
        choice: TextChoice,
        text: str,
        tokens: Sequence[Token] = (),
        *,
        finish: str | None = None,
        more: dict[str, Any] | None = None,
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        logprobs = choice.legacy.take(tokens) if self._logprobs and tokens else None
        entry = {"index": choice.index, "text": text, "logprobs": logprobs, "finish_reason": finish, **(more or {})}
        return self._envelope.chunk([entry], warnings)
