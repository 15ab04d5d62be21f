"""A running server that is asked: any that speaks the OpenAI API; gaps are filled by ours."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.evaluate.subject import OPEN, USUAL, Reply, gap_in, messages_of
from hoshikage.evaluate.tasks import TASKS, Item

TIMEOUT = 300.0
CHAT = "/v1/chat/completions"


class _NoDetour(urllib.request.HTTPRedirectHandler):
    """A server that sends elsewhere would have the key sent there as well."""

    def redirect_request(self, *_: Any) -> None:
        """Nowhere: the answer is the error that it says it is."""


_STRAIGHT = urllib.request.build_opener(_NoDetour)


class Server:
    """Any server that speaks the OpenAI API's chat completions."""

    def __init__(self, url: str, model: str, key: str | None, options: Mapping[str, object]) -> None:
        self.name = model
        self._base = url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1")
        self._key = key
        self._options = {**USUAL, **options}

    def answer(self, item: Item) -> Reply:
        asked = {**self._options, "messages": messages_of(item)}
        text, n_tokens, seconds = self._timed(CHAT, asked, lambda choice: choice["message"]["content"])
        return Reply(TASKS[item.task].passes(item, text), text, n_tokens, seconds)

    def _timed(
        self, path: str, body: Mapping[str, object], text_of: Callable[[Any], str | None]
    ) -> tuple[str, int, float]:
        """The text of an answer, how many tokens it has, and how long it took."""
        started = time.perf_counter()
        said = self._post(path, body)
        seconds = time.perf_counter() - started
        try:
            return str(text_of(said["choices"][0]) or ""), int(said["usage"]["completion_tokens"]), seconds
        except (KeyError, IndexError, TypeError):
            raise self._strange(path, said) from None

    def _strange(self, path: str, said: object) -> ServerError:
        return ServerError(self._base + path, f"it answered {json.dumps(said)[:200]}", "ask an OpenAI API")

    def _post(self, path: str, body: Mapping[str, object]) -> Any:
        url = self._base + path
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(url, json.dumps({"model": self.name, **body}).encode(), headers)
        try:
            with _STRAIGHT.open(request, timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ServerError(url, f"{error.code} {error.read(300).decode(errors='replace')}", "see its log") from None
        except (OSError, ValueError) as error:
            raise ServerError(url, str(error), "is the server running, and the address right?") from None


class GapServer(Server):
    """The same gaps as `GapFiller`'s, filled by a server of ours."""

    told_length = True

    def answer(self, item: Item) -> Reply:
        turns = messages_of(item)
        opening = self._rendered(turns)
        whole = self._rendered([*turns, {"role": "assistant", "content": item.answer}], add_generation_prompt=False)
        ending = whole.removeprefix(opening).removeprefix(item.answer)
        reply = self._tokens(item.answer, parse_special=False)
        lo, n = gap_in(item, len(reply))
        asked = {
            **self._options,
            "prompt": [*self._tokens(opening), *reply[:lo]],
            "suffix": [*reply[lo + n :], *self._tokens(ending)[:1]],
            "length": n if self.told_length else OPEN,
        }
        text, n_tokens, seconds = self._timed("/v1/completions", asked, lambda choice: choice["text"])
        left, middle, right = (self._text(part) for part in (reply[:lo], reply[lo : lo + n], reply[lo + n :]))
        free = item.task == "story" and TASKS[item.task].passes(item, left + text + right)
        return Reply(free or text == middle, left + text + right, n_tokens, seconds)

    def _rendered(self, messages: list[dict[str, str]], **options: object) -> str:
        return str(self._value("/apply-template", "prompt", messages=messages, **options))

    def _tokens(self, text: str, parse_special: bool = True) -> list[int]:
        return list(self._value("/tokenize", "tokens", content=text, parse_special=parse_special))

    def _text(self, tokens: list[int]) -> str:
        return str(self._value("/detokenize", "content", tokens=tokens))

    def _value(self, path: str, name: str, **body: object) -> Any:
        said = self._post(path, body)
        if not isinstance(said, dict) or name not in said:
            raise self._strange(path, said)
        return said[name]


class OpenGapServer(GapServer):
    """The same, and the server's model has to find the length itself."""

    told_length = False


class ServerError(HoshikageError):
    """A server that was to be judged did not answer as one does."""

    def __init__(self, url: str, cause: str, remedy: str) -> None:
        super().__init__(f"{url}: {cause}; {remedy}")


def check_url(url: str) -> str:
    """An http or https address."""
    if not url.startswith(("http://", "https://")):
        raise ParameterError("--server", f"{url!r} is no address", "write it as http://localhost:8080")
    return url
