"""An answer in channels: thoughts, content and calls come out the same however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.engine.answer import spoken
from hoshikage.server.openai.channels import Channels
from hoshikage.server.openai.thoughts import joined
from tests.letters import EOT, Letters
from tests.linear import assert_linear

WHY = "<|channel|>analysis<|message|>why?<|end|>"
SO = "<|start|>assistant<|channel|>final<|message|>So."
CALL = '<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"x": 1}'
texts = st.lists(
    st.sampled_from([WHY, SO, CALL, "<|channel|>", "final", "<|message|>", "<|end|>", "<|st", "art|>", "<", "a", "\n"]),
    max_size=8,
).map("".join)


def read(parts: list[str], channels: Channels | None = None) -> tuple[str, str]:
    channels = channels or Channels({"f": None})
    return joined(part for said in [*map(channels.feed, parts), channels.finish()] for part in said)


@pytest.mark.parametrize(
    ("text", "thought", "content"),
    [
        (WHY + SO, "why?", "So."),
        (WHY, "why?", ""),
        (WHY.removesuffix("d|>"), "why?<|en", ""),  # cut where the answer ended
        (WHY + WHY.replace("why", "how") + SO, "why?\nhow?", "So."),
        ("<|channel|>final<|message|>2 < 3<|", "", "2 < 3<|"),
        ("<|channel|>commentary<|message|>I look.<|end|>" + SO, "", "I look.\nSo."),
        ("<|channel|>final", "", ""),
        ("and so on.<|end|>" + WHY, "why?", "and so on."),  # what the prompt began
        ("< 3", "", "< 3"),
        ("<", "", "<"),  # cut at once
        (" to", "", " to"),
        ("", "", ""),
    ],
)
def test_examples(text: str, thought: str, content: str) -> None:
    assert read([text]) == read(list(text)) == (thought, content)


@pytest.mark.parametrize("header", [WHY + "<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json",
                                    WHY + "<|start|>assistant<|channel|>analysis to=functions.f code",
                                    " to=functions.f<|channel|>commentary json"])  # fmt: skip
def test_a_message_to_a_function_is_a_call(header: str) -> None:
    channels = Channels({"f": None})
    arguments = '{"x": "</tool_call><|channel|>"}'
    said = read(list(f"{header}<|message|>{arguments}"), channels)
    assert said == ("why?" if WHY in header else "", "")
    assert [call["function"] for call in channels.calls] == [{"name": "f", "arguments": arguments}]


@pytest.mark.parametrize("text", ['{"x": "Pa', "", "5", "[]"])
def test_what_is_cut_or_no_object_is_no_call(text: str) -> None:
    channels = Channels({"f": None})
    assert read([f" to=functions.f<|channel|>commentary<|message|>{text}"], channels) == ("", text)
    assert not channels.calls


def test_a_function_that_nobody_offered_is_not_called() -> None:
    channels = Channels({})
    assert read([CALL], channels) == ("", '{"x": 1}')
    assert not channels.calls


@given(texts, st.data())
def test_how_it_is_cut_changes_nothing(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    assert read([text[lo:hi] for lo, hi in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == read([text])


def test_content_is_not_late() -> None:
    """No more is held than what may begin a mark."""
    channels = Channels({})
    channels.feed("<|channel|>final<|message|>")
    n_said = 0
    for number, character in enumerate("two < three <| four <|en", 1):
        n_said += len(joined(channels.feed(character))[1])
        assert number - n_said < len("<|start|>")


@pytest.mark.parametrize("piece", ["<|start|>", "<|channel|>", "<|message|>", "<", "<|end|><|message|>", "to=", "x"])
@pytest.mark.parametrize("head", ["", CALL])
def test_it_takes_no_longer_than_its_text(head: str, piece: str) -> None:
    assert_linear(lambda n: read([head, *([piece] * n)]))


def test_marks_have_a_text_and_other_special_tokens_none() -> None:
    letters = Letters(["<|channel|>", EOT], add_bos=False)
    piece = spoken(letters)
    (channel,), (eot,) = (letters.tokenize(text, parse_special=True) for text in ("<|channel|>", EOT))
    assert (piece(channel), piece(eot), letters.piece(channel)) == (b"<|channel|>", b"", b"")
