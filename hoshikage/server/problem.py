"""What goes wrong, as a client is told of it: a status, a code, and a sentence with its cause and its remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from hoshikage.errors import ContextOverflowError, HoshikageError, ParameterError

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
NEVER = {"x-should-retry": "false"}  # the openai package tries 408, 409, 429 and all from 500 again, unless told


class Problem(Exception):  # noqa: N818 -- what a client sees of an error
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code, **(more or {})}}


# The body of an answer that is an error, as one kind of client reads it.
Teller: TypeAlias = Callable[[Problem], Any]


def as_openai(problem: Problem) -> Any:
    """As most clients know it."""
    return problem.body


class Rule(NamedTuple):
    """How a class of our errors is told."""

    status: int
    code: str
    headers: Mapping[str, str] = {}


# By name, the most special first that fits: the errors of those who compute cross processes by name as well.
RULES: dict[str, Rule] = {
    "UnknownModelError": Rule(404, "model_not_found"),
    "TemplateError": Rule(400, "template_error"),
    "QueueFullError": Rule(429, "queue_full", {"retry-after": "1"}),
    "WaitedTooLong": Rule(503, "processing_timeout", {"retry-after": "5"}),
    "TookTooLong": Rule(504, "processing_timeout", NEVER),
    "Stopping": Rule(503, "server_stopping", {"retry-after": "5"}),
    "NeverFitsError": Rule(500, "model_load_failed", NEVER),
    "MemoryExhausted": Rule(503, "model_load_failed", {"retry-after": "30"}),
    "LoadStuck": Rule(503, "model_load_failed", {"retry-after": "60"}),
    "NoRoomError": Rule(503, "no_room", {"retry-after": "10"}),
    "DiedLoading": Rule(500, "model_load_failed"),
    "WorkerDied": Rule(500, "inference_failed"),
    "InternalError": Rule(500, "internal_error"),
    "Cancelled": Rule(503, "cancelled", {"retry-after": "1"}),
    "NoTokenLeft": Rule(400, "no_token_left"),
    "DecodeError": Rule(500, "inference_failed"),
    "LibraryError": Rule(500, "model_load_failed", NEVER),
    "FileError": Rule(500, "model_load_failed", NEVER),
    "HoshikageError": Rule(500, "inference_failed"),
}


def problem_of(error: BaseException, subject: str | None = None) -> Problem:
    """The problem that a client is told; paths, prompts and what is not ours stay inside.

    `subject` is the field that holds what the model reads.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, ParameterError):
        return Problem(400, str(error), "validation_error", param=error.name)
    if isinstance(error, ContextOverflowError):
        more = {"n_prompt_tokens": error.n_prompt, "n_ctx": error.n_ctx}
        return Problem(400, str(error), "context_length_exceeded", param=subject, more=more)
    if isinstance(error, HoshikageError):
        return by_rule(error)
    return Problem(500, "the server made a mistake; its log says which", "internal_error")


def by_rule(error: HoshikageError) -> Problem:
    rule = next(RULES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in RULES)
    headers = dict(rule.headers)
    if (seconds := getattr(error, "retry_after", None)) is not None:
        headers["retry-after"] = str(max(1, round(seconds)))
    return Problem(rule.status, error.sentence, rule.code, headers=headers)
