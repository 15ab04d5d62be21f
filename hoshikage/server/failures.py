"""Every failure goes through here once: counted, noted for the log, and told to the client."""

from __future__ import annotations

import logging

from hoshikage.server.metrics import Metrics
from hoshikage.server.problem import Problem, problem_of
from hoshikage.server.shell.exchange import Exchange

log = logging.getLogger(__name__)


def noted(error: BaseException, exchange: Exchange, metrics: Metrics) -> Problem:
    """The problem to be told; what only the owner may know goes to the log."""
    problem = problem_of(error, exchange.subject)
    exchange.notes["error"] = problem.code
    metrics.error(problem.code)
    if problem.code == "internal_error":
        log.error("request %s failed", exchange.id, exc_info=error)
    elif problem.status >= 500:
        log.warning("request %s: %s", exchange.id, problem)
    return problem
