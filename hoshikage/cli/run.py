"""`hoshikage run MODEL PROMPT`: one answer in the terminal, as it is settled."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from hoshikage import settings as table
from hoshikage.cli import INTERRUPTED, complain
from hoshikage.cli.background import Background
from hoshikage.cli.parser import add_flags, read_flags
from hoshikage.cli.placing import chosen_here, loading_rows
from hoshikage.cli.screen import meter, printable, screen_on
from hoshikage.cli.watch import Watcher, of
from hoshikage.engine.request import BlockRequest, CausalRequest, DiffusionRequest, Option, Request, options_of
from hoshikage.engine.result import Result, Snapshot, Token
from hoshikage.errors import Cancelled, ParameterError, TemplateError

Event: TypeAlias = float | Snapshot  # how far the loading is; then the answer


def options() -> list[tuple[str, list[Option]]]:
    """Every option once, by who has a use for it."""
    shared = {option.name for option in options_of(Request)} | {row.name for row in loading_rows()}
    diffusion = {row.name: row for kind in (DiffusionRequest, BlockRequest) for row in options_of(kind)}
    return [
        ("answer", shared_options()),
        ("diffusion models", [row for row in diffusion.values() if row.name not in shared]),
        ("autoregressive models", [row for row in options_of(CausalRequest) if row.name not in shared]),
    ]


def shared_options() -> list[Option]:
    """Those of every model; where kinds have different defaults, both are said. That of a length is in its meaning."""
    causal = {option.name: option for option in options_of(CausalRequest)}
    return [
        row
        if row.default == causal[row.name].default or row.name == "max_tokens"
        else row._replace(meaning=f"{row.meaning}; {row.check.spelled(causal[row.name].default)} autoregressively")
        for row in options_of(Request)
    ]


def describe(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s MODEL [PROMPT] [flags]"
    parser.add_argument("model", metavar="MODEL", help="a GGUF file, or the name of a model")
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="the prompt; - for standard input, as for a pipe")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--chat", action="store_true", help="PROMPT is a message: usual where the file has a chat format")
    ways.add_argument("--raw", action="store_true", help="PROMPT is a text to be continued: usual where it has none")
    ways.add_argument("--suffix", metavar="TEXT", help="fill the gap between PROMPT and this text")
    parser.add_argument("--system", metavar="TEXT", help="the system message of a chat")
    parser.add_argument(
        "--parse-special", action="store_true", help="read special tokens written in a raw PROMPT as such"
    )
    parser.add_argument("--watch", action="store_true", help="show the canvas while it is denoised")
    parser.add_argument("--json", action="store_true", help="print the result with its counts as JSON")
    for title, rows in options():
        add_flags(parser, title, rows)
    add_flags(parser, "loading", loading_rows())


def main(arguments: argparse.Namespace) -> int:
    check(arguments)
    prompt = prompt_of(arguments)
    given: dict[str, Any] = {
        name: value for _, rows in options() for name, value in read_flags(arguments, rows).items()
    }
    model, settings = chosen_here(arguments)
    given["stop"] = model.stops_with(given.get("stop", ()))
    show = Show(arguments)

    from hoshikage._board import Board

    board = Board()
    events: Background[Event] = Background(
        lambda tell: work(model.path, arguments, prompt, given, settings, board, tell), board.cancel
    )
    try:
        for event in events:
            show.event(event)
    except Cancelled:
        show.end(None)
        return INTERRUPTED
    except BaseException:
        show.end(None)
        raise
    show.end(show.result)
    return INTERRUPTED if events.interrupted else 0


def check(arguments: argparse.Namespace) -> None:
    """Refuses flags that contradict each other, before a large file is loaded for them."""
    if arguments.system is not None and (arguments.raw or arguments.suffix is not None):
        raise ParameterError("--system", "only a chat has a system message", "leave it out, or write it into the text")
    if arguments.parse_special and (arguments.chat or arguments.system is not None):
        raise ParameterError("--parse-special", "a chat's message is plain text", "leave it out")


def prompt_of(arguments: argparse.Namespace) -> str:
    """The prompt, from the command line or from standard input."""
    if arguments.prompt not in (None, "-"):
        return as_utf8(arguments.prompt)
    if sys.stdin.isatty() and arguments.prompt is None:
        raise ParameterError("PROMPT", "there is none", "write it behind the model, pipe it in, or say - to type it")
    if sys.stdin.isatty():
        complain("type the prompt; Ctrl-D on a line of its own ends it")
    try:
        typed = as_utf8(sys.stdin.read())
    except UnicodeDecodeError as error:
        raise ParameterError("PROMPT", f"standard input is not UTF-8: {error.reason}", "convert it") from None
    if not typed:  # what was to write it has failed, or nothing was piped in at all
        raise ParameterError("PROMPT", "standard input is empty", 'pipe one in, or write "" behind the model for none')
    return typed.removesuffix("\n")


def as_utf8(text: str) -> str:
    """The text whose bytes these are: outside a UTF-8 locale Python hands some of them through as half surrogates."""
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError as error:
        raise ParameterError("PROMPT", f"it is not UTF-8: {error.reason}", "convert it") from None


def work(
    path: Path,
    arguments: argparse.Namespace,
    prompt: str,
    given: dict[str, object],
    settings: table.Settings,
    board: Any,
    tell: Callable[[Event], None],
) -> None:
    """Load and answer; runs in the background."""
    from hoshikage.engine.engine import load

    with load(path, settings=settings, board=board, progress=tell) as engine:
        for snapshot in answer(engine, arguments, prompt, {**given, "board": board, "stream": True}):
            tell(snapshot)


def answer(engine: Any, arguments: argparse.Namespace, prompt: str, how: dict[str, object]) -> Iterator[Snapshot]:
    """The snapshots of what was asked for."""
    if is_chat(arguments, engine.has_chat_template):
        system = [{"role": "system", "content": arguments.system}] if arguments.system else []
        try:
            return iter(engine.chat([*system, {"role": "user", "content": prompt}], **how))
        except TemplateError as error:
            raise TemplateError(error.cause, "say --raw to have the prompt continued as it is") from error
    how["parse_special"] = arguments.parse_special
    if arguments.suffix is not None:
        return iter(engine.infill(prompt, arguments.suffix, **how))
    return iter(engine.generate(prompt, **how))


def is_chat(arguments: argparse.Namespace, has_format: bool) -> bool:
    """Whether the prompt is a message: what was taught to converse continues a bare text badly. One whose own tokens
    are to be judged is meant as it stands."""
    if arguments.chat or arguments.system is not None:
        return True
    is_text = arguments.raw or arguments.parse_special or arguments.prompt_logprobs is not None
    return has_format and not is_text and arguments.suffix is None


def as_json(result: Result) -> dict[str, Any]:
    """A result in what JSON knows: tokens as text, probabilities where they were asked for."""
    said = {key: value for key, value in asdict(result).items() if key not in ("canvas", "logprobs", "prompt_logprobs")}
    counts = asdict(result.counts) | {"tokens_per_pass": result.counts.tokens_per_pass}
    judged = {"logprobs": result.logprobs, "prompt_logprobs": result.prompt_logprobs}
    return said | {"counts": counts} | {name: [*map(judgement, tokens)] for name, tokens in judged.items() if tokens}


def judgement(token: Token) -> dict[str, Any]:
    """A token with its logprob; None for the first of a prompt, which follows nothing."""
    top = [{"token": piece.decode(errors="replace"), "logprob": logprob} for _, piece, logprob in token.top]
    logprob = token.logprob if math.isfinite(token.logprob) else None
    return {"token": token.piece.decode(errors="replace"), "logprob": logprob, "top": top}


class Show:
    """What is seen of it: progress and remarks on standard error, the answer on standard output."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._name = Path(arguments.model).name
        self._json = arguments.json
        self._screen = screen_on(sys.stderr)
        self._watcher = Watcher(self._screen) if arguments.watch and self._screen and not arguments.json else None
        self._terminal = sys.stdout.isatty()
        self._wrote = ""
        self.result: Result | None = None
        if arguments.watch and self._watcher is None:
            complain("--watch needs a terminal and no --json; the answer is printed as usual")

    def event(self, event: Event) -> None:
        """One thing happened."""
        if isinstance(event, float):
            self._measure(event, f"{event:4.0%} loading {printable(self._name)}")
            return
        self.result = event.result
        if self._watcher:
            self._watcher.show(event)
            return
        self._progress(event)
        if not self._json:
            self._write(event.delta)

    def end(self, result: Result | None) -> None:
        """Take drawings away and print what is to stay."""
        if self._screen:
            self._screen.clear()
        if result is not None and self._json:
            print(json.dumps(as_json(result), ensure_ascii=False))
        elif result is not None and self._watcher:
            self._write(result.text)
        if self._wrote and not self._wrote.endswith("\n"):
            print(flush=True)
        if result is not None:
            self._remark(result)

    def _progress(self, snapshot: Snapshot) -> None:
        """How far the answer is, as long as none of it stands in that place."""
        stands_there = self._terminal and not self._json and (self._wrote or snapshot.delta)
        if not (stands_there or snapshot.result):
            step = f"step {of(snapshot.step, snapshot.n_steps)}"
            self._measure(snapshot.step / max(1, snapshot.n_steps), step)
        elif self._screen:
            self._screen.clear()

    def _measure(self, fraction: float, text: str) -> None:
        if self._screen:
            style = self._screen.style
            self._screen.draw([f"{style.dim}{meter(fraction, text, self._screen.size[0])}{style.reset}"])

    def _write(self, text: str) -> None:
        # A model can write anything; a terminal obeys some of it.
        sys.stdout.write(printable(text) if self._terminal else text)
        sys.stdout.flush()
        self._wrote = text or self._wrote

    def _remark(self, result: Result) -> None:
        for warning in result.warnings:
            complain(warning)
        if self._screen and not self._json:
            counts, style = result.counts, self._screen.style
            work = f"{counts.n_tokens} tokens, {counts.n_passes} passes, {counts.n_rows} rows"
            lines = [f"{work}, {counts.tokens_per_second:.1f} tokens/s, {result.stop_reason}", result.how]
            print(*(f"{style.dim}{line}{style.reset}" for line in lines if line), sep="\n", file=sys.stderr)
