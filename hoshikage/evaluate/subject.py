"""Who is asked: a model file in this process, or a running server through the OpenAI API."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.evaluate.tasks import TASKS, Item

LONGEST_GAP = 12
LONGEST_OPEN_GAP = 32  # what may be put there
USUAL: dict[str, object] = {"temperature": 0.0, "max_tokens": 128}
"""What is asked for unless a person says otherwise: the likeliest answer, with room to spare for the longest right one.
A diffusion model computes the whole room at every step."""
THE_MODEL_ITSELF: dict[str, object] = {"quality": "exact", "repetition_penalty": 1.0}
TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and what it took. None: not known, as from a server that does not say."""

    right: bool
    text: str
    n_tokens: int
    seconds: float
    n_passes: int | None = None
    n_rows: int | None = None


class Subject(Protocol):
    name: str

    def answer(self, item: Item) -> Reply: ...


def messages_of(item: Item) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in item.turns]


class ModelFile:
    """A loaded engine; `options` are those of its requests."""

    def __init__(self, engine: Any, name: str, options: Mapping[str, object]) -> None:
        self.name = name
        self._engine, self._options = engine, {**USUAL, **THE_MODEL_ITSELF, **options}

    def answer(self, item: Item) -> Reply:
        result = self._engine.chat(messages_of(item), **self._options)
        return self._reply(result, TASKS[item.task].passes(item, result.text))

    @staticmethod
    def _reply(result: Any, right: bool) -> Reply:
        counts = result.counts
        return Reply(right, result.text, counts.n_tokens, counts.seconds, counts.n_passes, counts.n_rows)


class GapFiller(ModelFile):
    """The same engine, asked to fill a gap in the right reply and told how long it is. Right is what stood there, and
    in a story whatever keeps it consistent."""

    told_length = True

    def answer(self, item: Item) -> Reply:
        engine = self._engine
        prompt, reply = engine.chat_tokens(messages_of(item)), engine.tokenize(item.answer)
        rng = Random(f"{item.task}/{item.key}")
        n = rng.randint(1, min(LONGEST_GAP, len(reply)))
        lo = rng.randint(0, len(reply) - n)
        length = n if self.told_length else [0, LONGEST_OPEN_GAP]
        suffix = [*reply[lo + n :], *self._end()]
        result = engine.infill([*prompt, *reply[:lo]], suffix, length=length, **self._options)
        text = engine.detokenize([*reply[:lo], *result.tokens, *reply[lo + n :]])
        free = item.task == "story" and TASKS[item.task].passes(item, text)
        return self._reply(result, free or text == item.answer)

    def _end(self) -> list[int]:
        """The token that ends a turn: behind the reply, so that the model knows where it stops."""
        model = self._engine.model
        end = model.eot_id if model.eot_id >= 0 else model.eos_id
        return [end] if end >= 0 else []


class OpenGapFiller(GapFiller):
    """The same, and it has to find the length itself."""

    told_length = False


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """A server that sends elsewhere would have the key sent there as well."""

    def redirect_request(self, *_: Any) -> None:
        """Nowhere: the answer is the error that it says it is."""


_STRAIGHT = urllib.request.build_opener(_NoDetour)


class Server:
    """Any server that speaks the OpenAI API's chat completions."""

    def __init__(self, url: str, model: str, key: str | None, options: Mapping[str, object]) -> None:
        self.name = model
        base = url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
        self._url, self._key = f"{base}/v1/chat/completions", key
        self._body = {"model": model, **USUAL, **options}

    def answer(self, item: Item) -> Reply:
        started = time.perf_counter()
        said = self._post({**self._body, "messages": messages_of(item)})
        seconds = time.perf_counter() - started
        try:
            text = str(said["choices"][0]["message"]["content"] or "")
            n_tokens = int(said["usage"]["completion_tokens"])
        except (KeyError, IndexError, TypeError):
            raise ServerError(
                self._url, f"it answered {json.dumps(said)[:200]}", "ask a chat completions API"
            ) from None
        return Reply(TASKS[item.task].passes(item, text), text, n_tokens, seconds)

    def _post(self, body: Mapping[str, object]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            with _STRAIGHT.open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ServerError(
                self._url, f"{error.code} {error.read(300).decode(errors='replace')}", "see its log"
            ) from None
        except (OSError, ValueError) as error:
            raise ServerError(self._url, str(error), "is the server running, and the address right?") from None


class ServerError(HoshikageError):
    """A server that was to be judged did not answer as one does."""

    def __init__(self, url: str, cause: str, remedy: str) -> None:
        super().__init__(f"{url}: {cause}; {remedy}")


def check_url(url: str) -> str:
    """An http or https address."""
    if not url.startswith(("http://", "https://")):
        raise ParameterError("--server", f"{url!r} is no address", "write it as http://localhost:8080")
    return url
