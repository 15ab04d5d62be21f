"""What is written to a terminal: harmless characters, their widths, a bar, and a drawing that is redrawn in place."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TextIO

BAR = 24  # cells of a progress bar
SHORTEST_BAR = 4  # below that it says nothing
EIGHTHS = " ▏▎▍▌▋▊▉█"
TURNING = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Characters that have what follows written from the other side: a name that has one reads as another name."""
BREAKING = {"\n": "\\n", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def printable(text: str) -> str:
    """The text with control characters shown, not obeyed; line breaks and tabs stay."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    if character < " ":
        return chr(0x2400 + ord(character))  # the control pictures block has them in order
    hidden = character in TURNING or unicodedata.category(character) in ("Cc", "Cs")
    return "\ufffd" if hidden else character


def one_line(text: str) -> str:
    """The same, and without line breaks."""
    return printable("".join(BREAKING.get(character, character) for character in text))


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def human_size(n_bytes: int) -> str:
    """1.5 GiB for 1610612736."""
    size = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def bar(fraction: float, n_cells: int = BAR) -> str:
    """A bar that grows by an eighth of a cell."""
    eighths = round(max(0.0, min(1.0, fraction)) * n_cells * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + EIGHTHS[rest] * (rest > 0)).ljust(n_cells)


def meter(fraction: float, text: str, n_columns: int) -> str:
    """A bar and what it measures on one line: a narrow terminal gets a shorter bar, or none, or less of the text."""
    text = shortened(text, n_columns)
    n_cells = min(BAR, n_columns - width_of(text) - 1)
    return f"{bar(fraction, n_cells)} {text}" if n_cells >= SHORTEST_BAR else text


def shortened(text: str, n_columns: int) -> str:
    """The text cut to so many columns, and marked where it was."""
    if width_of(text) <= n_columns:
        return text
    kept = ""
    for character in text:
        if width_of(kept + character) >= n_columns:
            break
        kept += character
    return kept + "…"


class Style:
    """Escape sequences, or none where colours are not wanted."""

    def __init__(self, colours: bool) -> None:
        self.dim, self.bold, self.reset = ("\x1b[2m", "\x1b[1;36m", "\x1b[0m") if colours else ("", "", "")


class Screen:
    """A drawing at the bottom of a terminal, redrawn in place; more than fits is not drawn."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._n_lines = 0
        self.style = Style(not os.environ.get("NO_COLOR"))

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines that a drawing may take."""
        columns, lines = shutil.get_terminal_size()
        return max(columns - 1, 10), max(lines - 2, 2)

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the drawing. Every line is cleared as it is written, so that nothing flickers."""
        drawn = "".join(f"{line}\x1b[K\n" for line in lines)
        self._out.write(f"{self._home()}{drawn}\x1b[J")
        self._out.flush()
        self._n_lines = len(lines)

    def clear(self) -> None:
        """Take the drawing away."""
        if self._n_lines:
            self._out.write(f"{self._home()}\x1b[J")
            self._out.flush()
        self._n_lines = 0

    def _home(self) -> str:
        return f"\x1b[{self._n_lines}A\r" if self._n_lines else "\r"


def screen_on(out: TextIO) -> Screen | None:
    """A screen where `out` is a terminal that can move its cursor and has block characters."""
    able = os.environ.get("TERM") != "dumb" and (out.encoding or "").lower().startswith("utf")
    return Screen(out) if out.isatty() and able else None
