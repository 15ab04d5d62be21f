"""Reads a request's body: no more than the limit, no longer than the deadline, and nothing that is too large at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hoshikage.server.problem import Problem
from hoshikage.server.shell.exchange import Exchange, Receive
from hoshikage.server.shell.limits import Limits


class ClientLeft(Exception):  # noqa: N818 -- it happens, and is nobody's mistake
    """The client went away before its request was complete."""


async def read_body(exchange: Exchange, receive: Receive, limits: Limits) -> bytes:
    """The whole body; raises Problem 413 before buffering more than is allowed, 408 when it is too slow."""
    announced = exchange.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limits.body_bytes:
        # A client that waits for leave to send may take the answer for the end of its request.
        waits = {"connection": "close"} if "expect" in exchange.headers else {}
        raise too_large(limits, waits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _whole(receive, limits)
    except TimeoutError:
        cause = f"the body did not arrive within {limits.body_seconds:g} s"
        raise Problem(408, f"{cause}; send it faster", "request_timeout", headers={"connection": "close"}) from None


async def _whole(receive: Receive, limits: Limits) -> bytes:
    parts: list[bytes] = []
    n_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        n_bytes += len(part)
        if n_bytes > limits.body_bytes:
            raise too_large(limits)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def too_large(limits: Limits, headers: Mapping[str, str] | None = None) -> Problem:
    sentence = f"the body is larger than {limits.body_bytes} bytes; send less"
    return Problem(413, sentence, "request_too_large", headers=headers)
