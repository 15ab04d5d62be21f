"""A running server, as the commands that speak to one see it. One connection for each question; any thread.

A server says beside its file of names where it listens; one that does not is looked for at the address of the
settings, which it was started with itself. The key is theirs too. So on the same machine nothing has to be said, and
`--url` names another server. A key goes beyond this machine only where its owner has said so: neither unasked nor to
an address that a downloaded folder has brought.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from hoshikage import settings as table
from hoshikage.cli import complain
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.errors import NoServerError, ParameterError, RefusedError
from hoshikage.registry import Registry
from hoshikage.registry.presence import Presence, found
from hoshikage.server.listening import url_at
from hoshikage.server.shell.hosts import is_loopback
from hoshikage.settings import Settings

SECONDS = 30.0  # for an answer: a server that looks at files on a slow disk takes some
IN_PASSING = 2.0  # where the answer is not what the command is about
SUCCESS = range(200, 300)
LARGEST = 1 << 26  # bytes of an answer
BEYOND_US = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, *range(500, 600)}  # whatever is asked
INSTEAD = "work on the file itself with --here; the server sees what is changed there"


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
        if isinstance(error, ssl.SSLError):
            return f"it does not speak TLS as we do ({error.reason or error}); is it http:// that is meant?"
        number = error.errno if isinstance(error, OSError) else None
        return os.strerror(number) if number and number > 0 else str(error)


class Neighbour(Remote):
    """The server of the very file of names that a command is about. What it does not do can be done to the file."""

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            return super().ask(method, path, body)
        except NoServerError as error:
            raise NoServerError(error.cause, f"look into its log, or {INSTEAD}") from None
        except RefusedError as error:
            if error.status not in BEYOND_US:
                raise
            raise RefusedError(error.cause, f"{error.remedy}, or {INSTEAD}", error.status) from None


def add_url_flag(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--url", metavar="URL", help=about)


def add_place_flags(parser: argparse.ArgumentParser, about: str) -> None:
    """Where a command about names does its work: nothing said, through the server of the file, if one runs."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--url", metavar="URL", help=about)
    place.add_argument("--here", action="store_true", help="work on the file of names itself, also when a server runs")


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    add_url_flag(parser, "the server; without it, the one of these settings, such as http://127.0.0.1:3030")
    add_flags(parser, "whose settings", config_rows())


def config_rows() -> list[table.Row]:
    return [row for row in table.table("finding") if row.name == "config_path"]


def settings_of(arguments: argparse.Namespace) -> Settings:
    """What the command's flags, as far as it has them, and everything else say."""
    return table.read(flags_of(arguments))


def flags_of(arguments: argparse.Namespace) -> dict[str, object]:
    return read_flags(arguments, [row for row in table.table("finding") if hasattr(arguments, row.name)])


def server_of(arguments: argparse.Namespace, seconds: float = SECONDS) -> Remote:
    """The server that is meant: of `--url`, or that of the settings' file of names, or at the settings' address."""
    settings = settings_of(arguments)
    url = arguments.url if arguments.url is not None else url_of_neighbour(settings)
    if url is not None:
        return Remote(url, key_of(settings), seconds)
    url = url_of_settings(settings)
    if is_near(url) or (stranger := brought_by(arguments)) is None:
        return Remote(url, key_of(settings), seconds)
    if key_of(settings):
        complain(f"{stranger} says where the server is, so it is asked without a key; --url {url} sends yours")
    return Remote(url, None, seconds)


def server_of_names(arguments: argparse.Namespace) -> Remote | None:
    """The server through which names are asked for and changed; None: the file itself, as no server serves it."""
    settings = settings_of(arguments)
    if arguments.url is not None:
        return Remote(arguments.url, key_of(settings))
    presence = None if arguments.here else presence_of(settings)
    if presence is None:
        return None
    if not presence.is_here:
        cause = f"the server of this file of names (process {presence.pid}) is in another container or machine"
        raise NoServerError(cause, f"say its address with --url, or {INSTEAD}")
    return Neighbour(presence.url, key_of(settings))


def url_of_settings(settings: Settings) -> str:
    """Where the server of these settings would listen."""
    if settings.port == 0:
        raise ParameterError("PORT", "0 stands for any free port, so the server's is not known", "say it with --url")
    return url_at(settings.host, settings.port)


def url_of_neighbour(settings: Settings) -> str | None:
    """Where a server of this machine has said that it listens."""
    presence = presence_of(settings)
    return presence.url if presence is not None and presence.is_here else None


def is_near(url: str) -> bool:
    """Whether only this machine can be meant."""
    return is_loopback(parts_of(url).hostname or "")


def brought_by(arguments: argparse.Namespace) -> str | None:
    """The line of the working directory's `.env` that says where the server is, where the key is from elsewhere."""
    known = table.found(flags_of(arguments))
    key = known["admin_key"] if known["admin_key"].value else known["api_keys"]
    lines = [known[name].origin for name in ("host", "port") if known[name].is_from_here]
    return lines[0] if lines and not key.is_from_here else None


def presence_of(settings: Settings) -> Presence | None:
    """The server that serves the settings' file of names."""
    return found(Registry.of(settings).map_file)


def key_of(settings: Settings) -> str | None:
    """The strongest key that the settings have."""
    return settings.admin_key or next(iter(settings.api_keys), None)


def asked_in_passing(arguments: argparse.Namespace, method: str, path: str) -> tuple[str, int]:
    """The address of the server of these settings and the status of its answer; 0 where none is there."""
    try:
        settings = settings_of(arguments)
        url = url_of_neighbour(settings) or url_of_settings(settings)
        server = Remote(url, key_of(settings) if is_near(url) else None, IN_PASSING)
        return server.url, server.answer(method, path)[0]
    except (NoServerError, ParameterError):
        return "", 0


def parts_of(url: str, flag: str = "--url") -> SplitResult:
    """The parts of an address; `host:port` is enough of one."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and (parts.hostname or "").encode("idna") and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close, a name that no name server can be asked for
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ParameterError(flag, f"{url[:60]!a} is no address of a server", "write it like http://127.0.0.1:3030")
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
    if status == HTTPStatus.UNAUTHORIZED:
        remedy = "set HOSHIKAGE_ADMIN_KEY or HOSHIKAGE_API_KEYS to one that it has"
    return RefusedError(cause, remedy, status)


def segment(label: str) -> str:
    """A label in a path."""
    return quote(label, safe="")
