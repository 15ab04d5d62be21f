"""A report as a table for people and as a picture of accuracy against speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hoshikage.evaluate.score import Report, Score, interval

HEAD = ("task", "accuracy", "95 % interval", "n", "tok/s", "passes", "tok/pass", "rows/tok")
WIDTH, HEIGHT, MARGIN, LINE = 640, 400, 60, 15
GOLDEN_ANGLE = 137.508
FEW = 3  # tasks that a line has room to name
ASKED = ("what", "tasks", "items", "seed", "server")  # in this order
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")


def table(report: Report) -> str:
    """One line per task, the total last."""
    rows = [HEAD, *(_cells(name, score) for name, score in report.tasks.items()), _cells("all", report.total)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _cells(name: str, score: Score) -> tuple[str, ...]:
    low, high = interval(score.right, score.n)
    return (
        name,
        f"{score.accuracy:.1%}",
        f"{low:.1%} - {high:.1%}",
        str(score.n),
        _figure(score.tokens_per_second, ".1f"),
        _figure(score.n_passes, "d"),
        _figure(score.tokens_per_pass, ".2f"),
        _figure(score.rows_per_token, ".1f"),
    )


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def picture(reports: Sequence[Mapping[str, Any]]) -> str:
    """An SVG: a dot per report (a `Report.as_dict`), speed to the right, accuracy upwards with its interval. Below it
    stands what each of them is, one line each."""
    fastest = max((report["tokens_per_second"] or 0.0 for report in reports), default=0.0) or 1.0
    labels = _labels(reports)
    dots = [part for number, report in enumerate(reports) for part in _dot(report, labels[number], number, fastest)]
    height = HEIGHT + LINE * len(reports)
    font = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, ground, *_axes(fastest), *dots, "</svg>", ""])


def _text(x: float, y: float, text: str, more: str = 'text-anchor="middle"') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _x(speed: float, fastest: float) -> float:
    return MARGIN + speed / (1.1 * fastest) * (WIDTH - 2 * MARGIN)


def _y(accuracy: float) -> float:
    return HEIGHT - MARGIN - accuracy * (HEIGHT - 2 * MARGIN)


def _axes(fastest: float) -> list[str]:
    middle = HEIGHT / 2
    parts = [
        _text(WIDTH / 2, HEIGHT - 15, "tokens per second to the end of the answer"),
        _text(15, middle, "accuracy", f'text-anchor="middle" transform="rotate(-90 15 {middle})"'),
    ]
    for fifth in range(6):
        y = _y(fifth / 5)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(MARGIN - 8, y + 4, f"{fifth * 20} %", 'text-anchor="end"'))
    speeds = [fastest * quarter / 4 for quarter in range(5)]
    return parts + [_text(_x(speed, fastest), HEIGHT - MARGIN + 18, f"{speed:.0f}") for speed in speeds]


def _labels(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who answered, with which options, and of what was asked that in which the reports differ."""
    asked = [{name: _asked(name, value) for name, value in report.get("asked", {}).items()} for report in reports]
    apart = [name for name in ASKED if len({one.get(name, "") for one in asked}) > 1]
    labels = []
    for report, one in zip(reports, asked, strict=True):
        told = [one.get(name, "") for name in apart] + [f"{name} {value}" for name, value in report["options"].items()]
        labels.append(f"{report['model']} {', '.join(filter(None, told))}".strip())
    return labels


def _asked(name: str, value: Any) -> str:
    match name:
        case "what":
            return str(value)
        case "tasks":
            return ", ".join(value) if len(value) <= FEW else f"{len(value)} tasks"
        case "server":
            return str(value or "")
    return f"{name} {value}"


def _dot(report: Mapping[str, Any], label: str, number: int, fastest: float) -> list[str]:
    x, colour = _x(report["tokens_per_second"] or 0.0, fastest), _colour(number)
    low, high = report["interval"]
    return [
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(low):.1f}" y2="{_y(high):.1f}" stroke="{colour}" stroke-width="2"/>',
        f'<circle cx="{x:.1f}" cy="{_y(report["accuracy"]):.1f}" r="5" fill="{colour}"/>',
        _text(MARGIN, HEIGHT + LINE * number, label, f'fill="{colour}"'),
    ]


def _colour(number: int) -> str:
    """Its own for each report: hues that lie far apart, and never come again, once the named ones are used up."""
    return COLOURS[number] if number < len(COLOURS) else f"hsl({number * GOLDEN_ANGLE % 360:.1f}, 60%, 40%)"
