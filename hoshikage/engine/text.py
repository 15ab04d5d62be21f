"""Tokens that arrive from left to right, read as text: whole characters, cut at the first stop.

What is handed out is never taken back: bytes of an unfinished character and characters that may begin a
stop string are held until they are decided, so the pieces put together equal the text read at once.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Iterable, Set
from functools import lru_cache

Piece = Callable[[int], bytes]  # the bytes of one token


class StopTable:
    """Stop strings as Aho and Corasick (1975) read them. A node is a string that begins some stop."""

    def __init__(self, stops: Iterable[str]) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.depth = [0]
        self.completed = [0]  # length of the longest stop that ends at this node
        for stop in stops:
            self._insert(stop)
        self.fall = self._link()

    def _insert(self, stop: str) -> None:
        node = 0
        for character in stop:
            if character not in self.next[node]:
                self.next[node][character] = len(self.next)
                self.next.append({})
                self.depth.append(self.depth[node] + 1)
                self.completed.append(0)
            node = self.next[node][character]
        self.completed[node] = len(stop)

    def _link(self) -> list[int]:
        # fall[n]: the node of the longest proper suffix of n's string that begins a stop. Breadth first, as
        # a node's fall is shallower than itself.
        fall = [0] * len(self.next)
        nodes = deque(self.next[0].values())
        while nodes:
            node = nodes.popleft()
            for character, child in self.next[node].items():
                back = fall[node]
                while back and character not in self.next[back]:
                    back = fall[back]
                fall[child] = self.next[back].get(character, 0)
                self.completed[child] = self.completed[child] or self.completed[fall[child]]
                nodes.append(child)
        return fall


table_of = lru_cache(maxsize=16)(StopTable)  # many answers have the same stops, and a table is large


class StopScanner:
    """Finds the first stop string to be completed, one character at a time.

    Of several completed by the same character the longest counts.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._table = table_of(tuple(stops))
        self._node = 0

    @property
    def held(self) -> int:
        """Characters at the end of the text that begin some stop string."""
        return self._table.depth[self._node]

    def step(self, character: str) -> int:
        """The length of the stop string that this character completes, or 0."""
        table = self._table
        while self._node and character not in table.next[self._node]:
            self._node = table.fall[self._node]
        self._node = table.next[self._node].get(character, 0)
        return table.completed[self._node]


class TextReader:
    """The text of one answer as its tokens are settled.

    `stop_ids` end it and are no part of it; stop strings end it before they begin. Bytes that are no UTF-8
    show as U+FFFD, but never those of a character that is still to be completed or was cut off by the end.
    """

    def __init__(self, piece: Piece, *, stop_ids: Set[int] = frozenset(), stops: Iterable[str] = ()) -> None:
        self._piece = piece
        self._stop_ids = stop_ids
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scanner = StopScanner(stops)
        self._characters: list[str] = []
        self._n_shown = 0
        self.tokens: list[int] = []
        self.stopped = False
        self.stopped_by = ""  # the stop string, where it was one

    @property
    def text(self) -> str:
        """All that has been handed out."""
        return "".join(self._characters[: self._n_shown])

    def feed(self, tokens: Iterable[int]) -> str:
        """Take the next tokens; returns the text that is certain now and was not before."""
        for token in tokens:
            if self.stopped:
                break
            if token in self._stop_ids:
                return self._stop(cut=0)
            self.tokens.append(token)
            for character in self._decoder.decode(self._piece(token)):
                self._characters.append(character)
                if completed := self._scanner.step(character):
                    return self._stop(cut=completed)
        return self._show(0 if self.stopped else self._scanner.held)

    def finish(self) -> str:
        """No more tokens will come: what was held for a stop string belongs to the text."""
        return self._show(0)

    def _stop(self, cut: int) -> str:
        self.stopped = True
        at = len(self._characters) - cut
        self.stopped_by = "".join(self._characters[at:])
        del self._characters[at:]
        return self._show(0)

    def _show(self, held: int) -> str:
        start, self._n_shown = self._n_shown, max(self._n_shown, len(self._characters) - held)
        return "".join(self._characters[start : self._n_shown])
