"""Whether the server lives, whether it can serve, and what it counts."""

from __future__ import annotations

import asyncio

from blacksheep import Content, Response
from prometheus_client import CONTENT_TYPE_LATEST

from hoshikage.server.problem import Problem
from hoshikage.server.reply import json_response
from hoshikage.server.services import Services
from hoshikage.server.shell.exchange import Exchange


async def health(services: Services, exchange: Exchange) -> Response:
    """That the process is there and its loop turns."""
    del services, exchange
    return json_response({"status": "ok"})


async def ready(services: Services, exchange: Exchange) -> Response:
    """Whether requests are served: not while work waits and nothing moves."""
    del exchange
    pulse = services.manager.pulse()
    known = {"n_waiting": pulse.n_waiting, "n_active": pulse.n_active, "n_loading": pulse.n_loading}
    if pulse.stuck:
        sentence = f"work is there and nothing has moved for {pulse.still_for:.0f} s; look into the log, or start again"
        raise Problem(503, sentence, "stuck", headers={"retry-after": "10"}, more=known)
    return json_response({"status": "ok", **known})


async def metrics(services: Services, exchange: Exchange) -> Response:
    """The numbers for Prometheus."""
    del exchange
    await services.lookout.now()
    page = await asyncio.to_thread(services.metrics.text)
    return Response(200, None, Content(CONTENT_TYPE_LATEST.encode(), page))
