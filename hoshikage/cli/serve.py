"""`hoshikage serve`: the server, in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hoshikage import _libs
from hoshikage import settings as table
from hoshikage.cli import complain
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.server.listening import bind
from hoshikage.server.shell.hosts import is_loopback
from hoshikage.settings import Settings
from hoshikage.settings.row import Row

if TYPE_CHECKING:
    from hoshikage.registry import Registry


def rows() -> list[Row]:
    """Every setting has a meaning for a server."""
    return list(table.table())


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="do not say how to talk to it")
    for part, title in table.PARTS.items():
        add_flags(parser, title, table.table(part))


def main(arguments: argparse.Namespace) -> int:
    if not _libs.is_built():  # the server itself would start, and find out with the first request
        raise ImportError(_libs.NOT_BUILT)
    _libs.check_log_level()
    flags = read_flags(arguments, rows())
    settings = table.read(flags)
    for remark in table.misspelt(flags):
        complain(remark)
    warn(settings)

    # It listens before the server and all that it needs are imported: who comes meanwhile is served once they are.
    bound = bind(settings)
    from hoshikage import logs
    from hoshikage.manager.manager import Manager
    from hoshikage.registry import Registry
    from hoshikage.server.metrics import Metrics
    from hoshikage.server.serve import serve
    from hoshikage.server.services import Services
    from hoshikage.server.shell.limits import Limits

    logs.start(settings)
    registry = Registry.of(settings)
    services = Services(
        settings=settings,
        registry=registry,
        manager=Manager(settings, registry),
        metrics=Metrics(),
        limits=Limits.of(settings),
    )
    serve(services, lambda url: started(url, registry, quiet=arguments.quiet), bound)
    return 0


def warn(settings: Settings) -> None:
    """What an owner should know before others do."""
    if not is_loopback(settings.host) and not settings.api_keys:
        complain(f"everybody who reaches {settings.host} may use the models; HOSHIKAGE_API_KEYS asks them for a key")


def started(url: str, registry: Registry, *, quiet: bool) -> None:
    """What an owner should know of the models, and how to talk to them."""
    catalogue = registry.catalogue()
    for remark in catalogue.remarks:
        complain(remark)
    if not quiet:
        welcome(url, list(catalogue.models))


def welcome(url: str, names: list[str]) -> None:
    """How to talk to it, in the words that can be copied."""
    example: Any = names[0] if names else "MODEL"
    print(
        f"""hoshikage serves {len(names)} model{"" if len(names) == 1 else "s"} at {url}

  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{{"model": "{example}", "messages": [{{"role": "user", "content": "Sort these numbers: 7, 2, 5."}}]}}'

  OpenAI's clients: base_url="{url}/v1", api_key="any"

Ctrl-C stops it.""",
        file=sys.stderr,
        flush=True,
    )
