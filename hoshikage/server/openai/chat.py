"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from blacksheep import Response

from hoshikage.errors import ParameterError
from hoshikage.manager.job import Job
from hoshikage.server.choosing import Chosen, label_of
from hoshikage.server.fields import Given, Table, given_in
from hoshikage.server.openai import calls, constraint
from hoshikage.server.openai.asking import engine_options, envelope_of, job_of, ways_of
from hoshikage.server.openai.constraint import Constraint
from hoshikage.server.openai.form import FINISH, Choice, Envelope, EnvelopeForm, about_work, canvas_of
from hoshikage.server.openai.logprobs import as_chat
from hoshikage.server.openai.mute import muted
from hoshikage.server.openai.tables import CHAT, IDLE
from hoshikage.server.openai.thoughts import Reading, joined
from hoshikage.server.reply import reply
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.worker.ask import Answered, Said, Token, Watch


async def answer(services: Services, exchange: Exchange, table: Table = CHAT) -> Response:
    """Answer one turn of a conversation."""
    given = await given_in(exchange, table)
    chosen = await services.choices.choose(await label_of(services, given))
    ways = ways_of(given, chosen, services.settings)
    job, limits = await asked(exchange, given, chosen, ways.watch, logprob_options(given))
    ways = ways.warning(*limits.warnings)
    form = ChatForm(
        envelope_of(given, chosen, ways, prefix="chatcmpl", kind="chat.completion", chunk_kind="chat.completion.chunk"),
        reading=limits.reading,
        logprobs=given.get("logprobs", False),
        canvas=ways.watch == "canvas",
    )
    stream = given.get("stream", False)
    return await reply(services, exchange, job, muted(form, given), stream=stream, single=ways.single)


async def asked(
    exchange: Exchange, given: Given, chosen: Chosen, watch: Watch, more: Mapping[str, Any] | None = None
) -> tuple[Job, Constraint]:
    """The job of a conversation, whoever's clients it came from, and what its answers have to follow."""
    limits = await constraint.of_chat(given, chosen)
    effort, warnings = told_effort(given, chosen)
    told = conversation(given)
    body = {
        **told,
        "template_options": effort | (told["template_options"] or {}),
        "n": given.get("n", 1),
        "options": engine_options(given, chosen) | limits.options | dict(more or {}),
    }
    return job_of(exchange, given, chosen, "chat", body, watch), replace(limits, warnings=(*limits.warnings, *warnings))


def conversation(given: Given) -> dict[str, Any]:
    """What a model's chat template is told. Who asks for a new message does not want the last one continued."""
    return {
        "messages": calls.for_template(given["messages"]),
        "tools": given.get("tools") if given.get("tool_choice", "auto") != "none" else None,
        "template_options": given.get("chat_template_kwargs"),
        "continue_final_message": given.get(
            "continue_final_message", False if given.get("add_generation_prompt") else None
        ),
    }


def told_effort(given: Given, chosen: Chosen) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a chat template is told of how long to think, as far as it reads of that; and warnings."""
    effort, reads = given.get("reasoning_effort"), chosen.facts.reads
    told = {"reasoning_effort": effort} if effort is not None and "reasoning_effort" in reads else {}
    if effort == "none" and "enable_thinking" in reads:
        told["enable_thinking"] = False
    useless = effort is not None and not told
    name = "reasoning.effort" if "reasoning" in given.values else "reasoning_effort"
    return told, (f"{name} has no effect: {IDLE['reasoning_effort']}",) if useless else ()


def logprob_options(given: Given) -> dict[str, int]:
    """What the engine is asked for, so that the answer can say how probable its tokens were."""
    if given.get("logprobs", False):
        return {"logprobs": given.get("top_logprobs", 0)}
    if given.get("top_logprobs", 0):
        raise ParameterError("top_logprobs", "it means nothing without logprobs", "send logprobs: true as well")
    return {}


@dataclass(slots=True, kw_only=True)
class ChatChoice(Choice):
    """The same of a chat, whose text is its content."""

    reading: Reading
    thought: list[str] = field(default_factory=list)


class ChatForm(EnvelopeForm[ChatChoice]):
    """Writes a chat's answers as OpenAI does."""

    def __init__(
        self, envelope: Envelope, *, reading: Callable[[], Reading], logprobs: bool = False, canvas: bool = False
    ) -> None:
        super().__init__(envelope, [ChatChoice(index=i, reading=reading()) for i in range(envelope.n)])
        self._logprobs = logprobs
        self._canvas = canvas

    def opening(self) -> Iterator[dict[str, Any]]:
        for choice in self._choices:
            delta = {"role": "assistant", "content": ""}
            yield self._chunk(choice, delta, warnings=self._envelope.warnings if choice.index == 0 else ())

    def said(self, event: Said) -> Iterator[dict[str, Any]]:
        yield from self._grown(event, {"diffusion": canvas_of(event)} if self._canvas else {})

    def answered(self, event: Answered) -> Iterator[dict[str, Any]]:
        choice = self._choices[event.index]
        choice.end = event
        self._envelope.count(event)
        yield from self._grown(event, {})
        if choice.reading.calls:
            yield self._chunk(choice, {"tool_calls": numbered(choice.reading.calls)})
        yield self._chunk(choice, {}, finish=finish_of(choice), more=about(event), warnings=event.warnings)

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        choices = [self._whole_choice(choice, "message") for choice in self._choices]
        return self._envelope.whole(choices, self._warnings())

    def single(self) -> dict[str, Any]:
        """The whole answer as the only chunk of a stream."""
        choices = [self._whole_choice(choice, "delta") for choice in self._choices]
        return self._envelope.chunk(choices, self._warnings())

    def _grown(self, event: Said | Answered, more: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What an event adds to an answer. Its thought comes in chunks of its own: some clients read one of the two."""
        choice = self._choices[event.index]
        thought, content = joined(choice.reading.take(event))
        tokens = choice.grow(event, content)
        choice.thought.append(thought)
        if thought:
            yield self._chunk(choice, {"reasoning_content": thought})
        if content or tokens or more:
            yield self._chunk(choice, {"content": content} if content else {}, tokens, more=more)

    def _whole_choice(self, choice: ChatChoice, where: str) -> dict[str, Any]:
        text, thought = "".join(choice.text), "".join(choice.thought)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        message |= {"annotations": []} if where == "message" else {}
        message |= {"reasoning_content": thought} if thought else {}
        if choice.reading.calls:
            calls = choice.reading.calls
            message |= {"content": text or None, "tool_calls": numbered(calls) if where == "delta" else calls}
        return {
            "index": choice.index,
            where: message,
            "logprobs": as_chat(choice.tokens) if self._logprobs else None,
            "finish_reason": finish_of(choice),
            **(about(choice.end) if choice.end else {}),
        }

    def _chunk(
        self,
        choice: ChatChoice,
        delta: dict[str, Any],
        tokens: Sequence[Token] = (),
        *,
        finish: str | None = None,
        more: dict[str, Any] | None = None,
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        logprobs = as_chat(tokens) if self._logprobs and tokens else None
        entry = {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish, **(more or {})}
        return self._envelope.chunk([entry], warnings)


def finish_of(choice: ChatChoice) -> str | None:
    """Why an answer ended."""
    if choice.end is None:
        return None
    if choice.reading.calls and choice.end.stop_reason == "stop":
        return "tool_calls"
    return FINISH[choice.end.stop_reason]


def numbered(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls as a stream sends them."""
    return [{"index": i, **call} for i, call in enumerate(calls)]


def about(event: Answered) -> dict[str, Any]:
    return {"hoshikage": about_work(event)}
