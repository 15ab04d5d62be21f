"""The table of routes: method, path, who may ask, and the function that answers. There is no other way in."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from blacksheep import Response

from hoshikage.checks import closest
from hoshikage.server.fields import Field, Table
from hoshikage.server.problem import Teller, as_openai
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.shell.keys import Access

Handler: TypeAlias = Callable[[Exchange], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A line of the table; `{name}` in its path stands for one segment."""

    method: str
    path: str
    handle: Handler
    about: str  # one sentence, for the manual and openapi.json
    access: Access = Access.USER
    table: Table | None = None  # of the body's fields
    query: Sequence[Field] = ()


class Routes:
    """Finds the routes of a path, and how its clients read an error."""

    def __init__(self, routes: Iterable[Route], tellers: Mapping[str, Teller]) -> None:
        self.all: Sequence[Route] = tuple(routes)
        self._tellers = tellers  # by what the paths of a door begin with
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
        for route in self.all:
            if route.path not in self._patterns:
                pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
                self._patterns[route.path] = (re.compile(pattern), {})
            self._patterns[route.path][1][route.method] = route

    def find(self, raw_path: str) -> tuple[dict[str, Route], dict[str, str]]:
        """(routes by method, values of the names in the path); both empty where there is nothing.

        The path is matched as it was sent, so an escaped slash stays inside its segment.
        """
        for pattern, by_method in self._patterns.values():
            if matched := pattern.fullmatch(raw_path):
                return by_method, {name: unquote(value) for name, value in matched.groupdict().items()}
        return {}, {}

    def meant_by(self, raw_path: str) -> str | None:
        """The path that was probably meant; of a forgotten /v1 it is known."""
        plain = [path for path in self._patterns if "{" not in path]
        return f"/v1{raw_path}" if f"/v1{raw_path}" in plain else closest(raw_path, plain, 0.8)

    def teller(self, raw_path: str) -> Teller:
        """How an error is told there, also where a path leads nowhere or is refused before it is looked at."""
        doors = (start for start in self._tellers if f"{raw_path}/".startswith(f"{start}/"))
        return self._tellers.get(next(doors, ""), as_openai)
