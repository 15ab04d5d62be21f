"""Accuracy against tokens per second for every plan and rule, on nano models: what speed costs, and where it is free.

    make bench-curves                                     1,008 questions, hours on two cores
    python bench/curves.py nano-llada nano-dream --only none             the three qualities alone
    python bench/curves.py nano-llada --items 2 --only threshold

Each question is asked in every way before the next one, so that the ways are paired and a busy machine slows all of
them alike. Writes docs/curves.md with a picture for each model, and the figures of the three qualities to
bench/results/; ends with status 1 where one of them misses what is asked of it, by the mean.

AUP (area under accuracy against tokens per pass, d3LLM) is given for each plan, over the rules tried with it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import hoshikage  # noqa: E402
from bench.results import record  # noqa: E402
from hoshikage.evaluate.questions import questions  # noqa: E402
from hoshikage.evaluate.score import Score, interval  # noqa: E402
from hoshikage.evaluate.subject import ModelFile, Reply  # noqa: E402
from hoshikage.evaluate.tasks import TASKS  # noqa: E402

DOCS = ROOT / "docs"
ITEMS, MAX_TOKENS = 48, 64
KINDS = [name for name in TASKS if name != "conversation"]  # whose canvases are longer
PLANS = ("full", "prefix", "window", "dual", "vicinity")
RULES: dict[str, dict[str, Any]] = {
    "one a pass": {"algorithm": "low_confidence", "schedule": "adaptive"},
    "threshold .95": {"algorithm": "threshold", "threshold": 0.95},
    "threshold .9": {"algorithm": "threshold"},
    "threshold .7": {"algorithm": "threshold", "threshold": 0.7},
    "factor": {"algorithm": "factor"},
    "entropy_bounded": {"algorithm": "entropy_bounded"},
    "hierarchical": {"algorithm": "hierarchical"},
    "credit": {"algorithm": "credit"},
    "saber": {"algorithm": "saber"},
}
QUALITIES = ("exact", "balanced", "fast")
ASKED = {"balanced": (12.0, 1.0), "fast": (18.0, 4.0)}  # times the tokens/s of exact, points of accuracy lost
COLOURS = dict(zip((*PLANS, "quality"), ("#7f7f7f", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "black"), strict=True))
WIDTH, HEIGHT, MARGIN = 760, 460, 60
AUP_DROP, AUP_STEEP = 5.0, 3.0  # points below the best that count for nothing; how soon less counts less


@dataclass
class Way:
    """One way of decoding, and what came of it."""

    plan: str
    rule: str
    options: dict[str, Any]
    subject: ModelFile | None = None
    replies: list[Reply] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.plan}, {self.rule}"

    @property
    def score(self) -> Score:
        return Score.of(self.replies)

    @property
    def speed(self) -> float:
        return self.score.tokens_per_second or 0.0


def all_ways(only: str) -> list[Way]:
    """The three qualities, and every plan with every rule."""
    named = [Way("quality", quality, {"quality": quality}) for quality in QUALITIES]
    pairs = [Way(plan, rule, {"plan": plan, **options}) for plan in PLANS for rule, options in RULES.items()]
    return [*named, *(way for way in pairs if only in way.name)]


def ask_all(ways: Sequence[Way], model: str, n_items: int, max_tokens: int) -> None:
    """Every question in every way; all answers are measured by the same engine, one at a time."""
    items = questions(n_items, KINDS)
    with hoshikage.load(model, n_threads=1, n_threads_batch=1) as engine:
        engine.get_ready()
        for way in ways:
            way.subject = ModelFile(engine, way.name, {"max_tokens": max_tokens, **way.options})
            way.subject.answer(items[0])  # the session is as large as it will be
        for number, item in enumerate(items, 1):
            for way in ways:
                assert way.subject is not None
                way.replies.append(way.subject.answer(item))
            if sys.stderr.isatty():
                print(f"\r{number} of {len(items)} questions", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def aup(points: Sequence[tuple[float, float]]) -> float:
    """Of (tokens a pass, accuracy in percent): an area in which points count less the further they fall behind."""
    kept = sorted(points)
    kept = [(rho, y) for rho, y in kept if y >= kept[0][1] - AUP_DROP]
    best = max(y for _, y in kept) or 1.0
    weighed = [(rho, y * min(math.exp(-AUP_STEEP * (1 - y / best)), 1.0)) for rho, y in kept]
    area = kept[0][0] * kept[0][1]
    for (left, low), (right, high) in pairwise(weighed):
        area += (right - left) * (low + high) / 2
    return area


def lost(way: Way, exact: Way) -> tuple[float, float]:
    """Points of accuracy that a way loses against exact, and half the 95 % interval of that, question by question."""
    losses = [100.0 * (b.right - a.right) for a, b in zip(way.replies, exact.replies, strict=True)]
    middle = mean(losses)
    spread = math.sqrt(sum((loss - middle) ** 2 for loss in losses) / max(1, len(losses) - 1))
    return middle, 1.96 * spread / math.sqrt(len(losses))


def page(measured: Mapping[str, Sequence[Way]], max_tokens: int, command: str) -> str:
    """The whole of it: each model's picture and tables."""
    n = len(next(iter(measured.values()))[0].replies)
    lines = [
        "# What speed costs",
        "",
        f"{n} questions of {len(KINDS)} kinds, answers of at most {max_tokens} tokens, temperature 0, one thread, one",
        f"question at a time. Printed by `{command}`.",
        "",
    ]
    return "\n".join([*lines, *(section(ways, model) for model, ways in measured.items())])


def section(ways: Sequence[Way], model: str) -> str:
    """A model: every way in a line, and each plan's AUP."""
    lines = [
        f"## {model}",
        "",
        f"![accuracy against tokens per second]({picture_of(model)})",
        "",
        "| plan | rule | accuracy | 95 % interval | tokens/s | tokens a pass | rows a token |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for way in sorted(ways, key=lambda way: -way.speed):
        score, (low, high) = way.score, interval(way.score.right, way.score.n)
        lines.append(
            f"| {way.plan} | {way.rule} | {score.accuracy:.1%} | {low:.1%} to {high:.1%} | {way.speed:.1f} "
            f"| {score.tokens_per_pass or 0:.2f} | {score.rows_per_token or 0:.1f} |"
        )
    lines += ["", "| plan | AUP |", "|---|---:|"]
    for plan in PLANS:
        points = [(w.score.tokens_per_pass or 0.0, 100 * w.score.accuracy) for w in ways if w.plan == plan]
        lines += [f"| {plan} | {aup(points):.0f} |"] if points else []
    return "\n".join([*lines, ""])


def picture_of(model: str) -> str:
    """The picture's file."""
    return f"curves-{model}.svg"


def picture(ways: Sequence[Way]) -> str:
    """Speed to the right, each line twice as fast, accuracy upwards, a colour for each plan.

    Names stand at the ways that no other beats in both, and at the qualities; at the others they show on pointing.
    """
    slowest, fastest = (pick(way.speed for way in ways) or 1.0 for pick in (min, max))
    octaves = max(1, math.ceil(math.log2(fastest / slowest)))
    lowest = math.floor(20 * min(way.score.accuracy for way in ways) - 0.5) / 20

    def across(speed: float) -> float:
        return MARGIN + math.log2(max(speed, slowest) / slowest) / octaves * (WIDTH - 2.5 * MARGIN)

    def up(accuracy: float) -> float:
        return HEIGHT - MARGIN - (accuracy - lowest) / (1 - lowest) * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, HEIGHT - 12, "tokens per second to the end of the answer", 'text-anchor="middle"'),
    ]
    for percent in range(round(100 * lowest), 101, 5):
        y = up(percent / 100)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(_text(MARGIN - 6, y + 4, f"{percent} %", 'text-anchor="end"'))
    for octave in range(octaves + 1):
        x = across(slowest * 2**octave)
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{MARGIN}" y2="{HEIGHT - MARGIN}" stroke="#eee"/>')
        parts.append(_text(x, HEIGHT - MARGIN + 16, f"{slowest * 2**octave:.0f}", 'text-anchor="middle"'))
    for number, (plan, colour) in enumerate(COLOURS.items()):
        parts.append(_text(MARGIN + 110 * number, 24, plan, f'fill="{colour}"'))
        for way in (way for way in ways if way.plan == plan):
            x, y = across(way.speed), up(way.score.accuracy)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{way.name}</title></circle>')
            if plan == "quality" or is_unbeaten(way, ways):
                parts.append(_text(x + 6, y - 4, way.rule, f'fill="{colour}" font-size="9"'))
    return "\n".join([*parts, "</svg>", ""])


def is_unbeaten(way: Way, ways: Sequence[Way]) -> bool:
    """Whether no faster way is as good."""
    return not any(other.speed > way.speed and other.score.accuracy >= way.score.accuracy for other in ways)


def _text(x: float, y: float, text: str, more: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def record_qualities(ways: Sequence[Way], model: str, max_tokens: int, command: str) -> list[str]:
    """How much faster than exact, and at what loss; a sentence for each figure that misses what is asked."""
    exact, *others = (way for way in ways if way.plan == "quality")
    missed = []
    for way in others:
        times, points = ASKED[way.rule]
        loss, spread = lost(way, exact)
        rows = way.score.rows_per_token or 0.0
        record(
            f"{way.rule} against exact, {model}", way.speed / exact.speed, "times the tokens/s",
            asked=f"{times:g} at no more than {points:g} points lost",
            detail=f"{loss:+.1f} +- {spread:.1f} points lost ({exact.score.accuracy:.1%}, {way.score.accuracy:.1%}), "
            f"{len(way.replies)} questions, {way.score.tokens_per_pass or 0:.1f} tokens a pass, "
            f"{rows:.1f} rows a token, at most {max_tokens} tokens",
            command=command,
        )  # fmt: skip
        if way.speed < times * exact.speed:
            missed.append(f"{model}: {way.rule} has {way.speed / exact.speed:.1f} times the tokens/s, not {times:g}.")
        if loss > points:
            missed.append(f"{model}: {way.rule} loses {loss:.1f} points of accuracy, more than {points:g}.")
    return missed


def main() -> None:
    """Ask, then write. Ends with status 1 and what was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="GGUF files, or names of embedded models")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"questions of each kind [{ITEMS}]")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help=f"the longest answer [{MAX_TOKENS}]")
    parser.add_argument("--only", default="", metavar="TEXT", help="ways whose name has this in it")
    parser.add_argument("--out", type=Path, help="the folder for the page and its pictures [docs, if all is asked]")
    arguments = parser.parse_args()
    command = f"python bench/curves.py {' '.join(sys.argv[1:])}"
    is_all = (arguments.items, arguments.max_tokens, arguments.only) == (ITEMS, MAX_TOKENS, "")
    out = arguments.out or (DOCS if is_all else None)
    measured: dict[str, list[Way]] = {}
    missed = []
    for path in arguments.models:
        model = Path(path).stem
        ways = measured[model] = all_ways(arguments.only)
        ask_all(ways, path, arguments.items, arguments.max_tokens)
        print(section(ways, model))
        if out:
            write(out, measured, arguments.max_tokens, command)  # after each: the next one takes hours
        missed += record_qualities(ways, model, arguments.max_tokens, command)
    if missed:
        raise SystemExit("\n".join(["bench: missed", *missed]))


def write(folder: Path, measured: Mapping[str, Sequence[Way]], max_tokens: int, command: str) -> None:
    """The page and a picture of each model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curves.md").write_text(page(measured, max_tokens, command), encoding="utf-8")
    for model, ways in measured.items():
        (folder / picture_of(model)).write_text(picture(ways), encoding="utf-8")


if __name__ == "__main__":
    main()
