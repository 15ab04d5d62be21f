"""`hoshikage eval MODEL`: how good and how fast a model is, on the fixed questions."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hoshikage.cli.background import Background
from hoshikage.cli.parser import add_flags, flag_of, read_flags, whole
from hoshikage.cli.placing import chosen_here, loading_rows
from hoshikage.cli.remote import parts_of, settings_of, url_of
from hoshikage.cli.run import options
from hoshikage.cli.screen import meter, screen_on
from hoshikage.errors import Cancelled, NoServerError, ParameterError
from hoshikage.evaluate.questions import N_PER_TASK, SEED, chosen_tasks, questions
from hoshikage.evaluate.score import Evaluation, Report
from hoshikage.evaluate.server import GapServer, OpenGapServer, Server
from hoshikage.evaluate.show import picture, table
from hoshikage.evaluate.subject import GapFiller, ModelFile, OpenGapFiller, Subject
from hoshikage.evaluate.tasks import TASKS, Item
from hoshikage.registry.entry import FILE
from hoshikage.server.shell.hosts import is_loopback

T = TypeVar("T")
REDRAW_SECONDS = 0.1


def describe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a GGUF file, or the name of a model; with --server, its name there"
    )
    parser.add_argument("--server", metavar="URL", help="ask a running server through the OpenAI API")
    parser.add_argument(
        "--items", metavar="N", type=whole(1, 10**6), default=N_PER_TASK, help=f"questions per task [{N_PER_TASK}]"
    )
    parser.add_argument(
        "--task", metavar="NAME", action="append", default=[], help=f"only this; of: {', '.join(TASKS)}"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--gaps", action="store_true", help="fill gaps of given length instead of answering")
    instead.add_argument("--open-gaps", action="store_true", help="fill gaps whose length the model has to find")
    parser.add_argument(
        "--question-seed", metavar="N", type=whole(0, 2**32), default=SEED, help=f"another set of questions [{SEED}]"
    )
    parser.add_argument("--rule", metavar="NAME", dest="algorithm", help="the same as --algorithm")
    parser.add_argument("--json", action="store_true", help="print JSON: the totals at the top level, `tasks` below")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw accuracy against speed as an SVG")
    parser.add_argument(
        "--with", metavar="FILE", dest="others", type=Path, action="append", default=[],
        help="draw this earlier --json output beside it",
    )  # fmt: skip
    parser.add_argument("--wrong", action="store_true", help="print every wrong answer on standard error")
    for title, rows in options():
        add_flags(parser, title, rows)
    add_flags(parser, "loading", loading_rows())


def main(arguments: argparse.Namespace) -> int:
    given = {name: value for _, rows in options() for name, value in read_flags(arguments, rows).items()}
    check(arguments)
    others = [_earlier(path) for path in arguments.others]
    items = questions(arguments.items, chosen_tasks(arguments.task), arguments.question_seed)
    _tell_of_fewer(items, arguments.items)
    report = _judged(arguments, given, items)
    print(_shown(report, arguments.json))
    if arguments.plot:
        arguments.plot.write_text(picture([*others, report.as_dict()]), encoding="utf-8")
    return 0


def _tell_of_fewer(items: Sequence[Item], wanted: int) -> None:
    for task, n in Counter(item.task for item in items).items():
        if n < wanted:
            print(f"hoshikage: {task} has {n} questions, no more", file=sys.stderr)


def _shown(report: Report, as_json: bool) -> str:
    """The report, which says of itself whether it is whole."""
    if as_json:
        return json.dumps(report.as_dict(), ensure_ascii=False, indent=2)
    n = report.total.n
    mark = f"\npartial: {n} of {n + report.n_left} questions were answered" if report.is_partial else ""
    return table(report) + mark


def check(arguments: argparse.Namespace) -> None:
    """Refuses what would come to nothing, before a long evaluation is made for it."""
    if arguments.plot is not None:
        _check_plot(arguments.plot)
    elif arguments.others:
        raise ParameterError("--with", "there is no picture that it is drawn in", "leave it out, or say --plot FILE")
    if arguments.server:
        parts_of(arguments.server, "--server")
        wishes = [name for name in read_flags(arguments, loading_rows()) if name != "config_path"]
        if wishes:
            cause = "it is about a file that is loaded here, and a server has its own"
            raise ParameterError(flag_of(wishes[0]), cause, "leave it out, or leave out --server")


def _check_plot(path: Path) -> None:
    """Opens it as it is opened when there is something to draw, and leaves everything as it was."""
    try:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise ParameterError("--plot", f"{path} is no file in a folder that is there", "name another")
        if path.is_file():
            path.open("ab").close()
        elif not path.exists():  # a pipe is left alone: its reader would take this for the end
            target = Path(os.path.realpath(path))
            target.open("xb").close()
            target.unlink()
    except OSError as error:
        raise ParameterError("--plot", f"{path} cannot be written: {error.strerror}", "name another") from None


def _judged(arguments: argparse.Namespace, given: dict[str, Any], items: list[Item]) -> Report:
    """Loads or connects, asks, lets go."""
    progress = Progress()
    judged = _judged_there if arguments.server else _judged_here
    try:
        return judged(arguments, given, items, progress)
    finally:
        progress.clear()


def _judged_there(
    arguments: argparse.Namespace, given: dict[str, Any], items: list[Item], progress: Progress
) -> Report:
    kind = chosen(arguments, OpenGapServer, GapServer, Server)
    try:
        subject = kind(url_of(parts_of(arguments.server, "--server")), arguments.model, _key(arguments), given)
        return _asked(subject, arguments, given, items, progress)
    except http.client.HTTPException:
        raise NoServerError(f"what answers at {arguments.server} does not speak HTTP") from None


def _judged_here(arguments: argparse.Namespace, given: dict[str, Any], items: list[Item], progress: Progress) -> Report:
    """In the background: a forward pass that Ctrl-C comes into is to end in order."""
    model, settings = chosen_here(arguments)

    from hoshikage._board import Board
    from hoshikage.engine.engine import load

    board = Board()

    def work(tell: Callable[[Report], None]) -> None:
        with load(model.path, settings=settings, board=board) as engine:
            name = model.path.stem if model.origin == FILE else model.label
            kind = chosen(arguments, OpenGapFiller, GapFiller, ModelFile)
            subject = kind(engine, name, {**given, "stop": model.stops_with(given.get("stop", ())), "board": board})
            tell(_asked(subject, arguments, given, items, progress))

    try:
        (report,) = Background(work, board.cancel)
    except Cancelled:
        raise KeyboardInterrupt from None
    return report


def _asked(
    subject: Subject, arguments: argparse.Namespace, given: dict[str, Any], items: list[Item], progress: Progress
) -> Report:
    """What all questions came to. What those before it came to is printed where one of them ends everything."""
    evaluation = Evaluation(_telling(subject, arguments.wrong, progress), items, given, _what(arguments))
    try:
        evaluation.run(progress)
    except BaseException:
        progress.clear()
        report = evaluation.report()
        if report.total.n:
            print(_shown(report, arguments.json), flush=True)
        raise
    return evaluation.report()


def _key(arguments: argparse.Namespace) -> str | None:
    """What the server is shown: the settings' key of a user, otherwise OpenAI's where nobody on the way can read it."""
    parts = parts_of(arguments.server, "--server")
    is_safe = parts.scheme == "https" or is_loopback(parts.hostname or "")
    theirs = os.environ.get("OPENAI_API_KEY") if is_safe else None
    return next(iter(settings_of(arguments).api_keys), theirs)


def _what(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked, of whom, as a report says it."""
    return {
        "what": chosen(arguments, "open gaps", "gaps", "replies"),
        "tasks": chosen_tasks(arguments.task),
        "items": arguments.items,
        "seed": arguments.question_seed,
        "server": url_of(parts_of(arguments.server, "--server")) if arguments.server else None,
    }


def chosen(arguments: argparse.Namespace, open_gaps: T, gaps: T, replies: T) -> T:
    """What is asked for."""
    return open_gaps if arguments.open_gaps else gaps if arguments.gaps else replies


def _telling(subject: Subject, wanted: bool, progress: Progress) -> Subject:
    return Telling(subject, progress.clear) if wanted else subject


class Telling:
    """Prints what a subject got wrong."""

    def __init__(self, subject: Subject, before: Callable[[], None]) -> None:
        self.name = subject.name
        self._subject, self._before = subject, before

    def answer(self, item: Item) -> Any:
        reply = self._subject.answer(item)
        if not reply.right:
            self._before()
            print(
                f"{item.task}: {item.turns[-1].text!r}\n  said  {reply.text!r}\n  right {item.answer!r}",
                file=sys.stderr,
            )
        return reply


class Progress:
    """A bar on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._screen = screen_on(sys.stderr)
        self._drawn = 0.0

    def __call__(self, done: int, n: int) -> None:
        now = time.monotonic()
        if self._screen and now - self._drawn > REDRAW_SECONDS:
            self._drawn = now
            self._screen.draw([meter(done / n, f"{done} of {n}", self._screen.size[0])])

    def clear(self) -> None:
        if self._screen:
            self._screen.clear()


def _earlier(path: Path) -> dict[str, Any]:
    """A report that was written before, and that can be drawn."""
    try:
        report = json.loads(path.read_text())
        picture([report])
    except OSError as error:
        raise ParameterError("--with", f"{path} cannot be read: {error.strerror}", "name an output of --json") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise ParameterError("--with", f"{path} is no evaluation", "name an output of --json") from None
    return {**report, "model": f"{report['model']} (partial)"} if report.get("partial") else dict(report)
