"""A door: the lines of the table of routes by which one kind of client comes in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from blacksheep import Response

from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange
from hoshikage.server.shell.keys import Access

Answer: TypeAlias = Callable[[Services, Exchange], Awaitable[Response]]
# Method, path, what answers, for whom, what it is for, and what else `Route` has.
Line: TypeAlias = tuple[str, str, Answer, Access, str, Mapping[str, Any]]
