"""A running server that is asked: any that speaks the OpenAI API; gaps are filled by ours."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any

import orjson

from hoshikage.errors import HoshikageError
from hoshikage.evaluate.subject import OPEN, THE_MODEL_ITSELF, USUAL, Reply, fills, gap_in, messages_of
from hoshikage.evaluate.tasks import TASKS, Item
from hoshikage.gguf.vocabulary import is_text

TIMEOUT = 300.0
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
OURS = "hoshikage"  # who owns a model, as our own server says; and what it says of the work stands under this name
PART = re.compile(r"bytes:(\\x[0-9a-f]{2})+")  # of a character, as OpenAI writes a token that is no text
BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """A server that sends elsewhere would have the key sent there as well."""

    def redirect_request(self, *_: Any) -> None:
        """Nowhere: the answer is the error that it says it is."""


_STRAIGHT = urllib.request.build_opener(_NoDetour)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a server is asked that is busy, or gone for a moment, and how long it is left alone in between."""

    n_tries: int = 6
    shortest: float = 1.0  # seconds; twice as many each time
    longest: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time

    def wait(self, n_failed: int, retry_after: str | None) -> None:
        """Not shorter than the server wishes, as far as that is bearable."""
        wish = seconds_wished(retry_after, self.now())
        self.sleep(min(max(self.shortest * 2**n_failed, wish), self.longest))


def seconds_wished(retry_after: str | None, now: float) -> float:
    """What a `Retry-After` asks for: so many seconds, or the date when they are over."""
    text = (retry_after or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0


class Server:
    """Any server that speaks the OpenAI API's chat completions."""

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None,
        options: Mapping[str, object],
        patience: Patience | None = None,
    ) -> None:
        self.name = model
        self._base = url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
        self._key = key
        self._given = options
        self._patience = patience or Patience()
        self._was_there = False

    def answer(self, item: Item) -> Reply:
        asked = {**self._options, "messages": messages_of(item)}
        reply = self._reply(CHAT, asked, lambda choice: choice["message"]["content"])
        return replace(reply, right=TASKS[item.task].passes(item, reply.text))

    @cached_property
    def _options(self) -> dict[str, object]:
        """What every question is asked with: of ours, what a file is asked with here."""
        return {**USUAL, **(THE_MODEL_ITSELF if self._is_ours() else {}), **self._given}

    def _is_ours(self) -> bool:
        """Whether the model is a Hoshikage's: others may refuse a request for a word in it that they do not know."""
        try:
            cards = self._asked(MODELS)[0]["data"]
            return any(card["owned_by"] == OURS and self.name in (card["id"], "") for card in cards)
        except ServerError as error:
            if isinstance(error, PassingError) or not error.status:
                raise
            return False
        except (LookupError, TypeError):  # a list of another form
            return False

    def _reply(self, path: str, body: Mapping[str, object], text_of: Callable[[Any], str | None]) -> Reply:
        """An answer and what it took, not judged yet."""
        said, seconds = self._asked(path, body)
        try:
            choice = said["choices"][0]
            text, n_tokens = str(text_of(choice) or ""), int(said["usage"]["completion_tokens"])
        except (KeyError, IndexError, TypeError):
            raise self._strange(path, said) from None
        return Reply(False, text, n_tokens, seconds, _counted(choice, "passes"), _counted(choice, "rows"))

    def _strange(self, path: str, said: object) -> ServerError:
        return ServerError(self._base + path, f"it answered {json.dumps(said)[:200]}", "ask an OpenAI API")

    def _asked(self, path: str, body: Mapping[str, object] | None = None) -> tuple[Any, float]:
        """What the server says, and after how many seconds of the time that it was not told to come again."""
        for n_failed in range(self._patience.n_tries - 1):
            try:
                return self._asked_once(path, body)
            except PassingError as error:
                self._patience.wait(n_failed, error.retry_after)
        return self._asked_once(path, body)

    def _asked_once(self, path: str, body: Mapping[str, object] | None) -> tuple[Any, float]:
        url = self._base + path
        started = time.perf_counter()
        try:
            with _STRAIGHT.open(self._request(url, body), timeout=TIMEOUT) as answer:
                data = answer.read()
        except urllib.error.HTTPError as error:
            self._was_there = True
            raise _refusal(url, error) from None
        except (OSError, ValueError, http.client.IncompleteRead) as error:
            raise self._silence(url, error) from None
        seconds = time.perf_counter() - started
        self._was_there = True
        try:
            return orjson.loads(data), seconds  # json's would let half a surrogate pair in, which no text can hold
        except ValueError:
            raise ServerError(url, f"it answered {data[:200]!r}", "ask an OpenAI API", HTTPStatus.OK) from None

    def _request(self, url: str, body: Mapping[str, object] | None) -> urllib.request.Request:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if body is None:
            return urllib.request.Request(url, headers=headers)
        data = json.dumps({"model": self.name, **body}).encode()
        return urllib.request.Request(url, data, {**headers, "Content-Type": "application/json"})

    def _silence(self, url: str, error: Exception) -> ServerError:
        """Why there was no answer. A server that was there and is not may be starting again."""
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            return ServerError(url, f"no answer within {TIMEOUT:g} s", "see its log, or ask for fewer --max-tokens")
        is_gone = isinstance(reason, ConnectionError | http.client.IncompleteRead)
        kind = PassingError if is_gone and self._was_there else ServerError
        return kind(url, str(reason), "is the server running, and the address right?")


def _counted(choice: Mapping[str, Any], name: str) -> int | None:
    """What a server of ours says of the work that an answer was."""
    work = choice.get(OURS)
    count = work.get(name) if isinstance(work, dict) else None
    return count if isinstance(count, int) else None


def _refusal(url: str, error: urllib.error.HTTPError) -> ServerError:
    said = f"{error.code} {error.read(300).decode(errors='replace')}"
    if error.code in BUSY:
        return PassingError(url, said, "ask again later", error.code, error.headers["Retry-After"])
    return ServerError(url, said, "see its log", error.code)


class GapServer(Server):
    """The same gaps as `GapFiller`'s, filled by a server of ours.

    A gap may cut a character in two. Of its parts a text says only that they are none, so a wrong byte would look like
    the right one: there the server is asked for every token's bytes, as it tells them beside their probabilities."""

    told_length = True

    def answer(self, item: Item) -> Reply:
        turns = messages_of(item)
        opening = self._rendered(turns)
        whole = self._rendered([*turns, {"role": "assistant", "content": item.answer}], add_generation_prompt=False)
        ending = whole.removeprefix(opening).removeprefix(item.answer)
        reply = self._pieces(item.answer)
        lo, n = gap_in(item, len(reply))
        before, behind = reply[:lo], reply[lo + n :]
        asked = {
            **self._options,
            "prompt": [*self._tokens(opening), *(token for token, _ in before)],
            "suffix": [*(token for token, _ in behind), *self._tokens(ending)[:1]],
            "length": n if self.told_length else OPEN,
        }
        left, right = (b"".join(piece for _, piece in part) for part in (before, behind))
        if is_text(left) and is_text(right):
            filled = self._reply("/v1/completions", asked, lambda choice: choice["text"])
        else:
            filled = self._reply("/v1/completions", {**asked, "logprobs": 0}, _written)
        text = (left + filled.text.encode(errors="surrogateescape") + right).decode(errors="replace")
        return replace(filled, right=fills(item, text), text=text)

    @cached_property
    def _options(self) -> dict[str, object]:
        """As of replies; another server would leave out what it does not know of a gap, and answer something else."""
        if not self._is_ours():
            cause = f"it lists no model {self.name!r} that is a Hoshikage's, and others fill no such gaps"
            raise ServerError(self._base + MODELS, cause, "name one that it lists, or leave out --gaps and --open-gaps")
        return super()._options

    def _rendered(self, messages: list[dict[str, str]], **options: object) -> str:
        return str(self._value("/apply-template", "prompt", messages=messages, **options))

    def _tokens(self, text: str) -> list[int]:
        return list(self._value("/tokenize", "tokens", content=text))

    def _pieces(self, text: str) -> list[tuple[int, bytes]]:
        """The tokens of a text, and what each of them writes: a text, or the bytes of what is none by itself."""
        told = self._value("/tokenize", "tokens", content=text, parse_special=False, with_pieces=True)
        pieces = ((one["id"], one["piece"]) for one in told)
        return [(token, piece.encode() if isinstance(piece, str) else bytes(piece)) for token, piece in pieces]

    def _value(self, path: str, name: str, **body: object) -> Any:
        said, _ = self._asked(path, body)
        if not isinstance(said, dict) or name not in said:
            raise self._strange(path, said)
        return said[name]


def _written(choice: Any) -> str:
    """What the tokens of an answer write, where bytes that are no text stand for themselves."""
    return b"".join(_bytes_of(token) for token in choice["logprobs"]["tokens"]).decode(errors="surrogateescape")


def _bytes_of(token: str) -> bytes:
    """Of a token as OpenAI writes it, of a part of a character its bytes."""
    is_part = PART.fullmatch(token) is not None
    return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", "")) if is_part else token.encode()


class OpenGapServer(GapServer):
    """The same, and the server's model has to find the length itself."""

    told_length = False


class ServerError(HoshikageError):
    """A server that was to be judged did not answer as one does; `status` is HTTP's, if it answered at all."""

    def __init__(self, url: str, cause: str, remedy: str, status: int = 0) -> None:
        super().__init__(f"{url}: {cause}; {remedy}")
        self.status = status


class PassingError(ServerError):
    """It may answer when it is asked again, after the time that its `Retry-After` says."""

    def __init__(self, url: str, cause: str, remedy: str, status: int = 0, retry_after: str | None = None) -> None:
        super().__init__(url, cause, remedy, status)
        self.retry_after = retry_after
