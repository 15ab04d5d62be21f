"""A running server, as the commands that speak to one see it. One connection for each question; any thread.

Its address and key come from the settings that it was started with itself, so on the same machine nothing has to be
said; `--url` names another one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from hoshikage import settings as table
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.errors import NoServerError, ParameterError, RefusedError

SECONDS = 30.0  # for an answer: a server that looks at files on a slow disk takes some
IN_PASSING = 2.0  # where the answer is not what the command is about
SUCCESS = range(200, 300)
LARGEST = 1 << 26  # bytes of an answer
HERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # who listens everywhere is found here


class Remote:
    """One server, which need not be there."""

    def __init__(self, url: str, key: str | None = None, seconds: float = SECONDS) -> None:
        self._parts = parts_of(url)
        self._key = key
        self._seconds = seconds
        self.url = url_of(self._parts)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request. Raises NoServerError, or RefusedError with what the server says."""
        status, said = self.answer(method, path, body)
        if status not in SUCCESS:
            raise refused(said, status)
        return said

    def answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """The same with its status, whatever that is. Raises NoServerError."""
        try:
            status, data = self._exchange(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise NoServerError(f"no server answers at {self.url}: {self._reason(error)}") from None
        try:
            said = json.loads(data)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise NoServerError(f"what answers at {self.url} is not Hoshikage")
        return status, said

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, bytes]:
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._parts.path + path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read(LARGEST)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=self._seconds)

    def _reason(self, error: Exception) -> str:
        """Why a connection came to nothing."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._seconds:g} s"
        if isinstance(error, http.client.HTTPException):
            return "it does not speak HTTP"
        number = error.errno if isinstance(error, OSError) else None
        return os.strerror(number) if number and number > 0 else str(error)


def add_url_flag(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--url", metavar="URL", help=about)


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    add_url_flag(parser, "the server; without it, the one of these settings, such as http://127.0.0.1:3030")
    add_flags(parser, "whose settings", config_rows())


def config_rows() -> list[table.Row]:
    return [row for row in table.table("finding") if row.name == "config_path"]


def server_of(arguments: argparse.Namespace, seconds: float = SECONDS) -> Remote:
    """The server that `--url` or the settings name, with the strongest key that the settings have."""
    settings = table.read(read_flags(arguments, config_rows()))
    key = settings.admin_key or next(iter(settings.api_keys), None)
    if arguments.url is not None:
        return Remote(arguments.url, key, seconds)
    if settings.port == 0:
        raise ParameterError("PORT", "0 stands for any free port, so the server's is not known", "say it with --url")
    host = HERE.get(settings.host, settings.host)
    return Remote(f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}", key, seconds)


def asked_in_passing(arguments: argparse.Namespace, method: str, path: str) -> tuple[str, int]:
    """The address of the server of these settings and the status of its answer; 0 where none is there."""
    try:
        server = server_of(arguments, IN_PASSING)
        return server.url, server.answer(method, path)[0]
    except (NoServerError, ParameterError):
        return "", 0


def parts_of(url: str) -> SplitResult:
    """The parts of an address; `host:port` is enough of one."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ParameterError("--url", f"{url[:60]!a} is no address of a server", "write it like http://127.0.0.1:3030")
    path = parts.path.rstrip("/").removesuffix("/v1")  # what OpenAI's clients call the base of the address
    return parts._replace(path=path, query="", fragment="")


def url_of(parts: SplitResult) -> str:
    """The address as it may be shown: without a name and password that stood in it."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def refused(said: Mapping[str, Any], status: int) -> RefusedError:
    """The server's own sentence, and where a key would have helped, how one is given."""
    error = said.get("error")
    sentence = str(error.get("message")) if isinstance(error, dict) else f"the server answered with {status}"
    cause, _, remedy = sentence.partition("; ")
    if status == http.client.UNAUTHORIZED:
        remedy = "set HOSHIKAGE_ADMIN_KEY or HOSHIKAGE_API_KEYS to one that it has"
    return RefusedError(cause, remedy, status)


def segment(label: str) -> str:
    """A label in a path."""
    return quote(label, safe="")
