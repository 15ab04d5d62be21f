"""How much one key may ask for in a minute: requests, and tokens read and written. Belongs to the event loop.

What is counted is counted by the `limits` package, which is loaded only where somebody has set a limit: in this
process, or in a Redis that several servers share. While that one cannot be reached, each server counts by itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from hoshikage.errors import ParameterError
from hoshikage.server.problem import Problem
from hoshikage.settings import Settings

log = logging.getLogger(__name__)

Act: TypeAlias = Callable[[Any], Awaitable[Any]]  # what is done with a counter

HERE = "async+memory://"
PATIENCE = 1.0  # seconds in which a counter that others share has to answer
AGAIN = 10.0  # seconds for which one that did not is left alone
LAST = 2.0  # seconds in which a server that stops still counts what was answered last


class Rates:
    """One server's. Those who have no key are told apart by their addresses."""

    def __init__(self, settings: Settings) -> None:
        self._counters: Counters | None = None
        self._requests: Any = None
        self._tokens: Any = None
        self._spending: set[asyncio.Task[Any]] = set()
        if settings.requests_per_minute or settings.tokens_per_minute:
            self._count(settings)

    def _count(self, settings: Settings) -> None:
        from limits import RateLimitItemPerMinute as Minute
        from limits.aio.strategies import FixedWindowRateLimiter

        shared = None if settings.limits_url is None else FixedWindowRateLimiter(storage(settings.limits_url))
        self._counters = Counters(FixedWindowRateLimiter(storage(HERE)), shared)
        self._requests = settings.requests_per_minute and Minute(settings.requests_per_minute, namespace="requests")
        self._tokens = settings.tokens_per_minute and Minute(settings.tokens_per_minute, namespace="tokens")

    async def enter(self, who: str) -> None:
        """A request has come. Raises Problem 429 for one too many."""
        if self._tokens and not await self._ask(lambda counter: counter.test(self._tokens, who)):
            raise await self._refusal(self._tokens, who, "tokens")
        if self._requests and not await self._ask(lambda counter: counter.hit(self._requests, who)):
            raise await self._refusal(self._requests, who, "requests")

    def spend(self, who: str, n_tokens: int) -> None:
        """An answer is complete: nobody knew before how long it would be, so it is the next one that is refused.

        It waits for no count: what is still to be sent of it goes its way meanwhile.
        """
        if self._tokens and n_tokens > 0:
            task = asyncio.ensure_future(self._ask(lambda counter: counter.hit(self._tokens, who, cost=n_tokens)))
            self._spending.add(task)
            task.add_done_callback(self._spent)

    def _spent(self, task: asyncio.Task[Any]) -> None:
        self._spending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an answer's tokens could not be counted", exc_info=error)

    async def finish(self) -> None:
        """Have counted what was spent, before the loop ends."""
        if self._spending:
            await asyncio.wait(self._spending, timeout=LAST)

    async def _refusal(self, item: Any, who: str, what: str) -> Problem:
        stats = await self._ask(lambda counter: counter.get_window_stats(item, who))
        seconds = max(1, math.ceil(stats.reset_time - time.time()))
        sentence = f"this key may have {item.amount} {what} a minute and has had them; ask again in {seconds} s"
        return Problem(429, sentence, "rate_limit_exceeded", headers={"retry-after": str(seconds)})

    async def _ask(self, act: Act) -> Any:
        assert self._counters is not None, "asked only where there is a limit"
        return await self._counters.ask(act)


class Counters:
    """The counter that several servers share, and this one's own for the time that the other is away."""

    def __init__(self, own: Any, shared: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._shared = shared
        self._clock = clock
        self._is_away = False
        self._again_at = 0.0

    async def ask(self, act: Act) -> Any:
        """Ask the counter that is there. Of all who ask while the other is away one tries it now and then."""
        if self._shared is None or (self._is_away and self._clock() < self._again_at):
            return await act(self._own)
        tries = self._is_away
        self._again_at = self._clock() + AGAIN
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await act(self._shared)
        except Exception as error:
            self._lost(error)
            return await act(self._own)
        if tries:
            self._is_away = False
            log.info("what keys ask for is counted together with others again")
        return answer

    def _lost(self, error: Exception) -> None:
        self._again_at = self._clock() + AGAIN
        if not self._is_away:
            self._is_away = True
            log.warning("what keys ask for is counted here alone: %s", type(error).__name__)


def storage(url: str) -> Any:
    """Where is counted. Raises ParameterError for an address of which nothing is known."""
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    asynchronous = url if url.startswith("async+") else f"async+{url}"
    quick: dict[str, Any] = {"implementation": "redispy", "socket_connect_timeout": 1, "socket_timeout": 1}
    try:
        return storage_from_string(asynchronous, **({} if url == HERE else quick))
    except ConfigurationError as error:
        # The address may hold a password: it is not repeated.
        missing = "prerequisite" in str(error)
        cause = "the redis package is missing" if missing else "it is no address of a Redis"
        remedy = "pip install 'hoshikage[redis]'" if missing else "write for example redis://127.0.0.1:6379"
        raise ParameterError("HOSHIKAGE_LIMITS_URL", cause, remedy) from None
