"""From what a body said to a job: the engine's options, and how the answer is watched on its way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hoshikage.manager.job import Job
from hoshikage.server.choosing import Chosen
from hoshikage.server.fields import Given
from hoshikage.server.openai.form import Envelope
from hoshikage.server.openai.logprobs import check_size
from hoshikage.server.openai.mute import wants_none
from hoshikage.server.shell.exchange import Exchange
from hoshikage.settings import Settings
from hoshikage.worker.ask import Ask, Kind, Watch


@dataclass(frozen=True, slots=True)
class Ways:
    """How an answer is watched, and what of the wishes about it means nothing."""

    watch: Watch
    single: bool  # streamed as one chunk
    warnings: tuple[str, ...] = ()

    def warning(self, *sentences: str) -> Ways:
        """The same, and what else has no effect."""
        return replace(self, warnings=(*self.warnings, *sentences))


def ways_of(given: Given, chosen: Chosen, settings: Settings) -> Ways:
    """Nobody is told of steps that nobody looks at."""
    stream, diffusing = given.get("stream", False), given.get("diffusing", False)
    warnings = []
    if diffusing and not chosen.is_diffusion:
        warnings.append("diffusing has no effect on a causal model")
    elif diffusing and not stream:
        warnings.append("diffusing has no effect without stream")
    if given.get("stream_options", False) and not stream:
        warnings.append("stream_options has no effect without stream")
    canvas = diffusing and stream and chosen.is_diffusion
    single = stream and chosen.is_diffusion and not canvas and settings.diffusion_stream == "single"
    watch: Watch = "canvas" if canvas else "text" if stream and not single else "end"
    return Ways(watch, single, tuple(warnings))


def envelope_of(given: Given, chosen: Chosen, ways: Ways, *, prefix: str, kind: str, chunk_kind: str) -> Envelope:
    """What stands round the answer to a request."""
    return Envelope(
        prefix=prefix,
        kind=kind,
        chunk_kind=chunk_kind,
        model=chosen.model.label,
        usage=given.get("stream_options", False),
        n=given.get("n", 1),
        warnings=[*given.warnings, *ways.warnings],
    )


def engine_options(given: Given, chosen: Chosen) -> dict[str, Any]:
    """The options as they cross to another process: what JSON knows."""
    options = {**given.options, **({"max_tokens": 1} if wants_none(given) else {})}
    if "logit_bias" in options:
        options["logit_bias"] = {str(token): bias for token, bias in options["logit_bias"]}
    if stop := chosen.model.stops_with(options.get("stop", ())):
        options["stop"] = list(stop)
    return options


def job_of(exchange: Exchange, given: Given, chosen: Chosen, kind: Kind, body: dict[str, Any], watch: Watch) -> Job:
    """The job of a request."""
    check_size(body["options"], body.get("n", 1) * len(body.get("prompts", "1")), chosen.facts.n_ctx)
    return Job(
        model=chosen.model.label,
        ask=Ask(kind=kind, body=body, watch=watch),
        key=exchange.who,
        wait=given.get("queue_timeout") or None,  # no limit is the owner's to give
        time=given.get("timeout"),
        keep_alive=given.get("keep_alive"),
    )
