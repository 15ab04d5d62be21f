"""`--watch`: the canvas while it is denoised. Settled text stands, masked cells are shaded, new ones light up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hoshikage.cli.screen import Screen, meter, printable, width_of
from hoshikage.engine.result import MASK, Snapshot

FRESH = 2  # steps for which a new token is lit
SILENT = "·"  # a token without text, such as the end of the text: settled, and seen to be


class Watcher:
    """Draws snapshots of one answer on a screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._settled_at: list[int | None] = []

    def show(self, snapshot: Snapshot) -> None:
        """Draw the canvas as it is now."""
        n_columns, n_lines = self._screen.size
        self._notice(snapshot)
        cells = [SILENT if piece == b"" else cell for piece, cell in zip(snapshot.pieces, snapshot.cells, strict=True)]
        rows = around_first_mask(wrapped(cells, n_columns), cells, n_lines - 1)
        self._screen.draw([self._head(snapshot, n_columns), *(self._row(row, snapshot) for row in rows)])

    def _notice(self, snapshot: Snapshot) -> None:
        missing = len(snapshot.tokens) - len(self._settled_at)
        self._settled_at += [None] * missing
        for i, token in enumerate(snapshot.tokens):
            if token is None:
                self._settled_at[i] = None
            elif self._settled_at[i] is None:
                self._settled_at[i] = snapshot.step

    def _head(self, snapshot: Snapshot, n_columns: int) -> str:
        style = self._screen.style
        n_settled = sum(token is not None for token in snapshot.tokens)
        count = f"step {of(snapshot.step, snapshot.n_steps)}  {of(n_settled, len(snapshot.tokens))} tokens"
        done = n_settled / max(1, len(snapshot.tokens))
        return f"{style.dim}{meter(done, count, n_columns)}{style.reset}"

    def _row(self, row: Sequence[tuple[int, str]], snapshot: Snapshot) -> str:
        style = self._screen.style
        parts = []
        for kind, text in runs((self._kind(i, snapshot), text) for i, text in row):
            parts.append({"faint": style.dim, "fresh": style.bold, "settled": ""}[kind] + text)
            parts.append(style.reset if kind != "settled" else "")
        return "".join(parts)

    def _kind(self, position: int, snapshot: Snapshot) -> str:
        settled_at = self._settled_at[position]
        if settled_at is None or snapshot.pieces[position] == b"":
            return "faint"
        return "fresh" if snapshot.step - settled_at < FRESH else "settled"


def of(n: int, n_all: int) -> str:
    """' 7/64', as wide as it will ever be, so that nothing beside it moves."""
    return f"{n:>{len(str(n_all))}}/{n_all}"


def runs(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Neighbours of one kind as one piece."""
    kind, text = "", ""
    for next_kind, piece in pairs:
        if next_kind != kind and text:
            yield kind, text
            text = ""
        kind, text = next_kind, text + piece
    if text:
        yield kind, text


def wrapped(cells: Sequence[str | None], n_columns: int) -> list[list[tuple[int, str]]]:
    """Cells in rows of at most `n_columns`, as (position, text); a line break in a text ends its row."""
    rows: list[list[tuple[int, str]]] = [[]]
    column = 0
    for position, cell in enumerate(cells):
        text = MASK if cell is None else printable(cell).replace("\t", "    ")
        for character in text:
            width = 0 if character == "\n" else width_of(character)
            if character == "\n" or column + width > n_columns:
                rows.append([])
                column = 0
            if character != "\n":
                rows[-1].append((position, character))
                column += width
    return rows


def around_first_mask(
    rows: list[list[tuple[int, str]]], cells: Sequence[str | None], n_lines: int
) -> list[list[tuple[int, str]]]:
    """As many rows as fit, the first masked cell in their middle where not all do."""
    masked = next((i for i, cell in enumerate(cells) if cell is None), len(cells))
    middle = next((n for n, row in enumerate(rows) if any(position >= masked for position, _ in row)), len(rows))
    first = max(0, min(middle - n_lines // 2, len(rows) - n_lines))
    return rows[first : first + n_lines]
