"""The wiring: the table of all routes, BlackSheep behind it, and the shell in front."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from blacksheep import Application, Content, Request, Response, Router

from hoshikage.server import ending, health, jsons, manual, owner, tokens
from hoshikage.server.anthropic.lines import LINES as ANTHROPIC
from hoshikage.server.anthropic.messages import as_anthropic
from hoshikage.server.door import Line
from hoshikage.server.failures import noted
from hoshikage.server.llamacpp.lines import LINES as LLAMACPP
from hoshikage.server.mercury import fim
from hoshikage.server.openai import chat, completions, models, tables
from hoshikage.server.responses import answer as responses
from hoshikage.server.responses.tables import RESPONSES
from hoshikage.server.reynard.generate import as_reynard
from hoshikage.server.reynard.lines import BASE
from hoshikage.server.reynard.lines import LINES as REYNARD
from hoshikage.server.routes import Route, Routes
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import IN_SCOPE, Exchange
from hoshikage.server.shell.hosts import ANY, Hosts
from hoshikage.server.shell.keys import Access, Keys
from hoshikage.server.shell.shell import Shell

TELLERS = {"/v1/messages": as_anthropic, BASE: as_reynard}


def lines(*, reynard: bool = True) -> list[Line]:
    """Every route: method, path, what answers, for whom, and what it is for."""
    user, admin, anybody = Access.USER, Access.ADMIN, Access.OPEN
    openai_chat = partial(chat.answer, table=tables.OPENAI_CHAT)
    return [
        ("POST", "/v1/chat/completions", openai_chat, user, "Answer a conversation", {"table": tables.OPENAI_CHAT}),
        ("POST", "/chat/completions", chat.answer, user, "The same, as llama-server has it", {"table": tables.CHAT}),
        ("POST", "/v1/edit/completions", chat.answer, user, "The same, for Mercury's edits", {"table": tables.CHAT}),
        ("POST", "/v1/apply/completions", chat.answer, user, "The same, for Mercury's applies", {"table": tables.CHAT}),
        ("POST", "/v1/responses", responses.answer, user, "Answer a conversation, as items", {"table": RESPONSES}),
        ("POST", "/v1/completions", completions.answer, user, "Continue prompts", {"table": tables.COMPLETIONS}),
        ("POST", "/v1/fim/completions", fim.answer, user, "Fill a gap, Mercury's way", {"table": fim.FIM}),
        ("GET", "/v1/models", models.listing, user, "List the models", {}),
        ("GET", "/v1/models/{id}", models.one, user, "One model", {}),
        ("POST", "/tokenize", tokens.tokenize, user, "A text as tokens", {"table": tokens.TOKENIZE}),
        ("POST", "/detokenize", tokens.detokenize, user, "Tokens as a text", {"table": tokens.DETOKENIZE}),
        ("GET", "/tokenizer_info", tokens.info, user, "Special tokens and chat template", {"query": [tables.MODEL]}),
        ("GET", "/v1/status", owner.status, user, "That the server is there", {}),
        ("GET", "/v1/api/version", owner.version, user, "The version of the server", {}),
        ("POST", "/admin/models", owner.add, admin, "Give a model file a name", {"table": owner.ADD}),
        ("DELETE", "/admin/models/{name}", owner.remove, admin, "Forget the name of a model", {}),
        ("POST", "/admin/models/{name}/load", owner.load, admin, "Load a model", {"table": owner.WAKE}),
        ("POST", "/admin/models/{name}/unload", owner.unload, admin, "Unload a model", {}),
        ("POST", "/admin/reload", owner.reload, admin, "Read the file of models again", {}),
        ("POST", "/admin/stop", ending.stop, admin, "End the server in order", {}),
        ("GET", "/health", health.health, anybody, "Whether the process lives", {}),
        ("GET", "/v1/health", health.health, anybody, "The same, as llama-server has it", {}),
        ("GET", "/ready", health.ready, anybody, "Whether requests are served", {}),
        ("GET", "/metrics", health.metrics, user, "Numbers for Prometheus", {}),
        ("GET", "/openapi.json", manual.openapi, user, "This table as OpenAPI 3.1", {}),
        *ANTHROPIC,
        *LLAMACPP,
        *(REYNARD if reynard else ()),
    ]


def build(services: Services) -> Shell:
    """The ASGI app of one server."""
    known = (
        Route(method=method, path=path, handle=partial(answer, services), access=access, about=about, **more)
        for method, path, answer, access, about, more in lines(reynard=services.settings.reynard_enabled)
    )
    routes = Routes(known, TELLERS)
    services.routes.extend(routes.all)
    app = Application(router=Router())
    for route in routes.all:
        app.router.add(route.method, route.path, handler_of(route, services))
    settings = services.settings
    # Whoever has a key is no page that a browser was tricked into: then any name will do.
    hosts = (ANY,) if settings.api_keys and not settings.allowed_hosts else settings.allowed_hosts
    return Shell(
        app,
        routes,
        limits=services.limits,
        hosts=Hosts(settings.host, hosts, settings.allowed_origins),
        keys=Keys(settings.host, settings.api_keys, settings.admin_key),
        metrics=services.metrics,
        rates=services.rates,
    )


def handler_of(route: Route, services: Services) -> Callable[[Request], Awaitable[Response]]:
    """What BlackSheep calls."""

    async def handle(request: Request) -> Response:
        scope: Any = request.scope
        exchange: Exchange = scope[IN_SCOPE]
        try:
            return await route.handle(exchange)
        except Exception as error:
            problem = noted(error, exchange, services.metrics)
            headers = [(name.encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
            return Response(problem.status, headers, Content(b"application/json", jsons.write(exchange.told(problem))))

    return handle
