"""Texts with gaps: what a template is, what a canvas makes of it, and gaps whose length the model finds."""

from __future__ import annotations

from typing import Any

import pytest

from hoshikage._fake import FakeModel
from hoshikage.engine.engine import Engine
from hoshikage.engine.gaps import START, Gap, gap_of, laid_out, template_pieces
from hoshikage.errors import ContextOverflowError, ParameterError
from tests.letters import BOS, EOS, EOT, MASK, Letters
from tests.speaker import Speaker

EXPAND = "<|expand|>"


class Stretcher(Speaker):
    """A speaker that was trained to find the length of a gap, by its name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.letters = Letters([BOS, EXPAND, EOT, EOS, MASK], add_bos=False)
        FakeModel.__init__(self, self.letters.n_vocab, **options)
        self.metadata = {"general.name": "DreamOn v0 7B"}
        self.bos_id = self.letters.bos_id
        self.eog_ids = frozenset({self.eos_id, self.eot_id})
        self.expand_id = self.letters.specials[EXPAND]


def tokens_of(text: str, opens: bool) -> list[int]:
    return [*[1] * opens, *text.encode()]


def test_a_template_becomes_a_canvas() -> None:
    pieces = template_pieces(["ab", 2, "c", [1, 9]], tokens_of)
    assert pieces == [[1, 97, 98], Gap(2, 2), [99], Gap(1, 9)]
    layout = laid_out([piece for piece in pieces if piece is not None], 0)
    assert layout.tokens == [1, 97, 98, 0, 0, 99, 0, 0, 0, 0]
    assert layout.gaps == [(3, 5, 2, 2), (6, 10, 1, 9)]
    assert (layout.lo, layout.hi, layout.n_more) == (3, 10, 5)
    assert template_pieces([3], tokens_of) == [[1], Gap(3, 3)]


@pytest.mark.parametrize(
    ("value", "gap", "n_start"),
    [(5, Gap(5, 5), 5), ((0, 9), Gap(0, 9), START), ([6, 9], Gap(6, 9), 6), ([0, 2], Gap(0, 2), 2)],
)
def test_a_gap_is_a_number_or_a_range(value: object, gap: Gap, n_start: int) -> None:
    assert gap_of("length", value) == gap
    assert gap.n_start == n_start


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "4", [1], [1, 2, 3], [3, 2], [-1, 2], [0, 0], None, 2**30, {}])
def test_what_is_no_gap_is_refused(value: object) -> None:
    with pytest.raises(ParameterError) as refused:
        gap_of("length", value)
    assert refused.value.name == "length"


@pytest.mark.parametrize("template", ["text", ["text"], [], {}, None, ["a", None], ["a"] * 300, [["a", "b"]]])
def test_what_is_no_template_is_refused(template: object) -> None:
    with pytest.raises(ParameterError) as refused:
        template_pieces(template, tokens_of)
    assert refused.value.name.startswith("template")


def test_several_gaps_are_filled_at_once() -> None:
    with Engine(Speaker(salt=2)) as engine:
        result = engine.fill(["a", 5, "\nand ", 3, "!"], logits_eos_inf=True)
        assert "\nand " in result.text
        assert len(result.tokens) == 5 + len("\nand ") + 3
        assert bytes(result.canvas[:1] + result.canvas[-1:]) == b"a!"
        assert result.counts.n_prompt == len("a\nand !")
        deltas = [snapshot.delta for snapshot in engine.fill(["a", 5, "b", 3], stream=True, seed=4, temperature=1.0)]
        assert "".join(deltas) == engine.fill(["a", 5, "b", 3], seed=4, temperature=1.0).text


def test_what_one_gap_says_does_not_end_the_next() -> None:
    with Engine(Speaker(salt=2)) as engine:
        result = engine.fill(["a", 2, "b", 3], logit_bias={engine.model.eos_id: 50.0})
        assert result.text == "b"
        assert len(result.tokens) == 6


@pytest.mark.parametrize("options", [{}, {"length": [2, 9]}, {"length": 6}, {"quality": "fast"}, {"temperature": 1.0}])
def test_the_length_of_a_gap_is_found(options: dict[str, Any]) -> None:
    with Engine(Stretcher(salt=3)) as engine:
        model = engine.model
        bias = {model.expand_id: 3.0, model.eos_id: 2.0}
        lengths = set()
        for seed in range(12):
            given = {"max_tokens": 12, "logit_bias": bias, "seed": seed, "temperature": 0.5} | options
            result = engine.infill("abc", "xyz", **given)
            assert not result.warnings
            lengths.add(len(result.tokens))
            assert not {model.expand_id, model.eos_id, model.mask_id} & set(result.tokens)
            assert list(result.canvas[:4]) == [model.bos_id, *b"abc"]
            assert list(result.canvas[-4:]) == [*b"xyz", model.eos_id]
            assert len(result.canvas) == len(result.tokens) + 8
        least, most = {"[2, 9]": (2, 9), "6": (6, 6)}.get(str(options.get("length")), (0, 12))
        assert least <= min(lengths) <= max(lengths) <= most
        assert (len(lengths) > 2) == (least < most)


def test_an_answer_of_such_a_model_is_as_long_as_its_canvas() -> None:
    with Engine(Stretcher(salt=3)) as engine:
        result = engine.generate("a", max_tokens=12, logit_bias={engine.model.expand_id: 50.0}, logits_eos_inf=True)
        assert len(result.tokens) == 12
        assert engine.model.expand_id not in result.tokens


def test_a_template_may_mix_lengths() -> None:
    with Engine(Stretcher(salt=3)) as engine:
        bias = {engine.model.expand_id: 4.0}
        result = engine.fill(["a", [1, 9], "-", 2, "b"], logit_bias=bias, temperature=0.5, seed=3)
        first, _, second = bytes(token for token in result.tokens if token < 256).partition(b"-")
        assert len(second) <= 2
        assert 3 + 4 < len(result.tokens) <= 12
        assert first


def test_a_stream_of_a_gap_that_grows_says_what_its_result_says() -> None:
    with Engine(Stretcher(salt=3)) as engine:
        bias = {engine.model.expand_id: 3.0}
        options: dict[str, Any] = {"max_tokens": 10, "seed": 8, "temperature": 0.7, "logit_bias": bias}
        snapshots = list(engine.infill("a", "b", stream=True, **options))
        assert "".join(snapshot.delta for snapshot in snapshots) == engine.infill("a", "b", **options).text
        assert len({len(snapshot.tokens) for snapshot in snapshots}) > 1


def test_steps_enough_change_nothing_and_few_are_kept_to() -> None:
    with Engine(Stretcher(salt=3)) as engine:
        options: dict[str, Any] = {"length": [2, 24], "logit_bias": {engine.model.expand_id: 3.0}}
        as_needed = engine.infill("a", "b", **options)
        assert len(as_needed.tokens) > 4 and engine.infill("a", "b", steps=500, **options).tokens == as_needed.tokens
        few = engine.infill("a", "b", steps=3, **options)
        assert few.counts.n_passes < as_needed.counts.n_passes


def test_other_models_keep_to_the_length() -> None:
    with Engine(Speaker(salt=3)) as engine:
        result = engine.infill("a", "b", length=[2, 7], logits_eos_inf=True)
        assert len(result.tokens) == 7
        assert any("does not find lengths" in warning for warning in result.warnings)
        with pytest.raises(ParameterError, match="does not find lengths"):
            engine.infill("a", "b", length=[2, 7], strict=True)


def test_what_does_not_fit_or_go_together_is_refused() -> None:
    with Engine(Stretcher(salt=3), None) as engine:
        with pytest.raises(ContextOverflowError):
            engine.infill("a", "b", length=[2, 5000])
        with pytest.raises(ParameterError, match="credit"):
            engine.infill("a", "b", length=[2, 9], algorithm="credit")
        with pytest.raises(ParameterError, match="mask token"):
            engine.infill([5, engine.model.mask_id], "b", length=3)
        warned = engine.infill("a", "b", length=[2, 9], block_length=4, block_ends="adaptive", grow=True).warnings
        assert len(warned) == 3
        assert engine.infill("a", "b", length=[2, 9]).text is not None


def test_an_answer_grows_as_the_model_asks() -> None:
    """A hash is never sure of the end: so it grows as far as it may."""
    with Engine(Speaker(salt=5)) as engine:
        result = engine.generate("a", max_tokens=200, grow=True, early_stop=False, quality="exact")
        assert len(result.canvas) == 1 + 200
        assert engine.model.mask_id not in result.canvas
        whole = engine.generate("a", max_tokens=200, early_stop=False, quality="exact")
        assert result.counts.n_passes > whole.counts.n_passes  # the first ones only found the length
        assert len(engine.generate("a", max_tokens=20, grow=True, early_stop=False).canvas) == 21
