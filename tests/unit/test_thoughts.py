"""Thoughts in the text of an answer: told apart however it is cut, and nothing of it is lost or late."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.engine.prompt import THINK
from hoshikage.engine.prompt import THOUGHT_ENDS as CLOSE
from hoshikage.server.openai.calls import CallReader
from hoshikage.server.openai.thoughts import Reading, Thoughts, joined
from hoshikage.worker.ask import Answered, Said
from tests.linear import assert_linear

CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
texts = st.lists(
    st.sampled_from([THINK, CLOSE, "<th", "ink>", "</", "think>", "<", ">", " ", "\n\n", "\u3000", "why", "so", CALL]),
    max_size=8,
).map("".join)


def split(text: str) -> tuple[str, str]:
    """What is meant, of a whole text."""
    begun = text.lstrip()
    if not begun.startswith(THINK):
        return "", text
    thought, _, content = begun.removeprefix(THINK).partition(CLOSE)
    return thought.strip(), content.lstrip()


def read(parts: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    return joined(part for said in [*map(thoughts.feed, parts), thoughts.finish()] for part in said)


def cut(text: str, data: st.DataObject) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[lo:hi] for lo, hi in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize(
    ("text", "thought", "content"),
    [
        ("hello", "", "hello"),
        (f"{THINK}\nwhy?\n{CLOSE}\n\nSo.\n", "why?", "So.\n"),
        (f"\n {THINK}a\n\nb{CLOSE}c", "a\n\nb", "c"),
        (f"{THINK}\n\n{CLOSE}\n\nhello", "", "hello"),
        (f"{THINK}why", "why", ""),  # cut where the answer ended
        (f"{THINK}why </th", "why </th", ""),
        (f"say {THINK}a{CLOSE}", "", f"say {THINK}a{CLOSE}"),
        (f"{THINK}a {THINK} b{CLOSE}c{CLOSE}", f"a {THINK} b", f"c{CLOSE}"),
        (f"{THINK}a{CLOSE}{THINK}b{CLOSE}", "a", f"{THINK}b{CLOSE}"),
        ("  <thin", "", "  <thin"),
        ("<thinking>", "", "<thinking>"),
        (" \n", "", " \n"),
        ("", "", ""),
    ],
)
def test_examples(text: str, thought: str, content: str) -> None:
    assert read([text]) == read(list(text)) == split(text) == (thought, content)


@given(texts, st.data())
def test_how_it_is_cut_changes_nothing(text: str, data: st.DataObject) -> None:
    assert read(cut(text, data)) == split(text)


@given(texts)
def test_nothing_is_lost_but_tags_and_space_round_them(text: str) -> None:
    thought, content = read(list(text))
    if (thought, content) == ("", text):
        return
    rest = text.lstrip().removeprefix(THINK).lstrip()
    assert rest.startswith(thought)
    rest = rest.removeprefix(thought).lstrip()
    assert rest.removeprefix(CLOSE).lstrip() == content and rest.startswith(CLOSE if CLOSE in text else "")


@given(texts, st.data())
def test_nothing_is_late(text: str, data: st.DataObject) -> None:
    """What is held back is white space, and what may become a tag."""
    thoughts, so_far, told = Thoughts(), "", ["", ""]
    for part in cut(text, data):
        so_far += part
        told = [before + more for before, more in zip(told, joined(thoughts.feed(part)), strict=True)]
        thought, content = split(so_far)
        assert thought.startswith(told[0])
        assert content.startswith(told[1])
        assert len(thought) - len(told[0]) < len(CLOSE) + len(so_far) - len("".join(so_far.split()))
        assert len(content.lstrip()) - len(told[1].lstrip()) < len(THINK)
        if content and not content.isspace() and not THINK.startswith(content.lstrip()):
            assert told[1] == content


def event(delta: str, *, ends: bool = False, in_thought: bool = False) -> Said | Answered:
    if not ends:
        return Said(index=0, delta=delta, step=0, n_steps=1, in_thought=in_thought)
    return Answered(index=0, delta=delta, text="", stop_reason="stop", counts={}, seed=0, in_thought=in_thought)


def taken(parts: list[str], thoughts: Thoughts | None, **about: Any) -> tuple[str, str, int]:
    reading = Reading(CallReader({"f": None}), thoughts)
    events = [event(part, ends=i == len(parts) - 1, **about) for i, part in enumerate(parts)]
    said = [joined(reading.take(one)) for one in events]
    return "".join(thought for thought, _ in said), "".join(content for _, content in said), len(reading.calls)


@given(texts, st.data(), st.booleans())
def test_a_prompt_may_open_the_thought(text: str, data: st.DataObject, in_thought: bool) -> None:
    thought, content, _ = taken(cut(text, data), Thoughts(), in_thought=in_thought)
    whole, rest = split(THINK + text if in_thought else text)
    assert thought == whole
    assert (content, 0) == taken([rest], None)[1:] or CALL in rest


@pytest.mark.parametrize("cuts", [False, True])
def test_calls_are_looked_for_in_the_content_alone(cuts: bool) -> None:
    text = f"{THINK}I could {CALL}{CLOSE}\n{CALL}"
    assert taken(list(text) if cuts else [text], Thoughts()) == (f"I could {CALL}", "", 1)
    assert taken([f"{THINK}{CALL}"], Thoughts()) == (CALL, "", 0)
    assert taken([text], None)[2] == 2, "where no thoughts are told apart, all is content"


@pytest.mark.parametrize("piece", [" ", "\n", "<", "</", "</think", "x"])
@pytest.mark.parametrize("head", ["", THINK, THINK + "a"])
def test_reading_takes_no_longer_than_the_text(head: str, piece: str) -> None:
    def work(n: int) -> None:
        thoughts = Thoughts()
        for part in (head, *[piece] * n):
            thoughts.feed(part)

    assert_linear(work)
