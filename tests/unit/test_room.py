"""How large sessions are: short answers have room beside the longest, whatever it grows to."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage._core import Session
from hoshikage.engine.batch import SessionSize, room_for
from hoshikage.engine.sessions import Sessions
from hoshikage.engine.sizes import SHORT_CELLS, SHORT_ROWS, most_rows
from hoshikage.settings import Settings

VOCABULARIES = (300, 32_000, 126_464, 152_064)  # of large ones few rows fit in memory


class Vocabulary(NamedTuple):
    """All of a model that a session's rows depend on."""

    n_vocab: int
    n_ctx_train: int = 0


class Size:
    """All of an answer that its room depends on."""

    n_streams = 1

    def __init__(self, n_cells: int, n_rows: int = 1) -> None:
        self.n_cells = self.most_cells = n_cells
        self.n_rows = n_rows


def room_of(size: Any, n_together: int, rows_for: Any) -> SessionSize:
    return room_for([size], n_together, 4096, rows_for)


@given(st.integers(1, 20_000), st.integers(1, 512), st.integers(2, 8), st.sampled_from(VOCABULARIES), st.data())
def test_beside_the_longest_answer_there_is_room_for_a_short_one(
    n_long: int, n_short: int, n_together: int, n_vocab: int, data: st.DataObject
) -> None:
    n_rows, n_short_rows = data.draw(st.integers(1, most_rows(n_vocab))), data.draw(st.integers(1, SHORT_ROWS))
    long, short = Size(n_long, n_rows), Size(n_short, n_short_rows)
    rows_for = Sessions(Vocabulary(n_vocab), Settings(), Session).rows_for
    room = room_of(long, n_together, rows_for)
    assert room.holds([long, short]) or n_short > n_long


@given(st.integers(1, 5000), st.integers(0, 9000), st.integers(1, SHORT_CELLS), st.integers(2, 8))
def test_who_has_grown_leaves_the_room_that_was_kept_for_others(
    n_now: int, n_more: int, n_short: int, n_together: int
) -> None:
    """As long as the session is meant for answers of that length."""
    growing = Size(n_now)
    growing.most_cells = n_now + n_more
    room = room_of(growing, n_together, lambda n_rows: n_rows)
    growing.n_cells = n_grown = min(n_now + n_more, room.n_longest)
    assert room.holds([growing, Size(n_short)]) or n_short > n_grown
    n_side_by_side = min(n_together, 4096 // n_grown)
    assert room.holds([growing] * n_side_by_side)
    assert room.n_cells <= max(4096, growing.most_cells + SHORT_CELLS), "no more than before it could grow"


@pytest.mark.parametrize("n_vocab", VOCABULARIES)
def test_two_usual_answers_as_long_as_their_blocks_go_side_by_side(n_vocab: int) -> None:
    """And short ones beside them: `exact` takes the whole answer as one block."""
    long, short = Size(300, 256), Size(60, 32)
    room = room_of(long, 8, Sessions(Vocabulary(n_vocab), Settings(), Session).rows_for)
    assert room.holds([long, long, short, short])
