"""Laws of reading an answer from left to right: nothing is taken back, and no cut of the tokens shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.engine.text import StopScanner, TextReader

END = 999  # an end-of-generation token
LETTERS = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=5), max_size=4)
UNICODE = st.text(st.characters(codec="utf-8"), max_size=30)


def cut_naively(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The oracle: walk until some stop string ends here; of several, the longest."""
    for end in range(len(text) + 1):
        lengths = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if lengths:
            return text[: end - max(lengths)], True
    return text, False


def read(pieces: Sequence[bytes], stops: Sequence[str] = ()) -> tuple[TextReader, list[str]]:
    """A reader that was fed one token at a time, and what it handed out each time."""
    reader = TextReader(pieces.__getitem__, stop_ids={END}, stops=stops)
    deltas = [reader.feed([token]) for token in range(len(pieces))]
    return reader, [*deltas, reader.finish()]


def cut_at(raw: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(raw)) for place in places), len(raw)]
    return [raw[lo:hi] for lo, hi in pairwise(edges)]


@given(LETTERS, STOPS, st.lists(st.integers(0, 30), max_size=8))
def test_text_is_cut_at_the_first_stop_string_however_tokens_divide_it(
    text: str, stops: list[str], places: list[int]
) -> None:
    reader, deltas = read(cut_at(text.encode(), places), stops)
    expected, stopped = cut_naively(text, stops)
    assert "".join(deltas) == reader.text == expected
    assert reader.stopped == stopped


@given(LETTERS, STOPS)
def test_what_is_held_back_is_what_could_still_become_a_stop_string(text: str, stops: list[str]) -> None:
    scanner = StopScanner(stops)
    for end in range(1, len(text) + 1):
        if scanner.step(text[end - 1]):
            return
        begins = [k for stop in stops for k in range(1, len(stop)) if text[:end].endswith(stop[:k])]
        assert scanner.held == max(begins, default=0)


@given(UNICODE, st.lists(st.integers(0, 120), max_size=30))
def test_characters_split_over_tokens_come_out_whole(text: str, places: list[int]) -> None:
    reader, deltas = read(cut_at(text.encode(), places))
    assert "".join(deltas) == reader.text == text


@given(UNICODE, st.integers(0, 120))
def test_a_character_cut_off_by_the_end_is_left_out(text: str, length: int) -> None:
    raw = text.encode()[:length]
    reader, _ = read([bytes([byte]) for byte in raw])
    assert reader.text == raw.decode(errors="ignore")


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=8))
def test_any_bytes_read_the_same_at_once_and_in_parts(raw: bytes, places: list[int]) -> None:
    parts, deltas = read(cut_at(raw, places))
    whole, _ = read([raw])
    assert parts.text == whole.text == "".join(deltas)


def test_bytes_that_are_no_utf8_are_shown_as_such() -> None:
    reader, _ = read([b"a\xffb"])
    assert reader.text == "a\ufffdb"


def test_an_end_token_ends_the_text_and_is_no_part_of_it() -> None:
    reader = TextReader({1: b"one", 2: b"two"}.__getitem__, stop_ids={END})
    assert reader.feed([1, END, 2]) == "one"
    assert reader.stopped
    assert reader.tokens == [1]
    assert reader.feed([2]) == reader.finish() == ""
    assert reader.text == "one"


def test_tokens_up_to_the_one_that_completed_a_stop_string_are_counted() -> None:
    reader, deltas = read([b"ab<", b"|e", b"|>c", b"d"], ["<|e|>"])
    assert deltas == ["ab", "", "", "", ""]
    assert reader.tokens == [0, 1, 2]


@pytest.mark.parametrize("text", ["aab", "aaab", "aaaaab"])
def test_a_stop_string_that_begins_with_itself_is_found(text: str) -> None:
    reader, _ = read([character.encode() for character in text], ["aab"])
    assert reader.text == text[:-3]
    assert reader.stopped


def test_the_stop_string_that_ended_a_text_is_known() -> None:
    reader = TextReader(lambda token: bytes([token]), stops=["xy", "wxy"])
    assert reader.feed(b"abwxyz") == "ab" and reader.stopped_by == "wxy"
    ended = TextReader(lambda token: bytes([token]), stop_ids={0}, stops=["xy"])
    assert ended.feed(b"ab\0") == "ab" and ended.stopped and ended.stopped_by == ""
