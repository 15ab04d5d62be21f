"""How a canvas is decoded: what a request names, what its quality chooses, and what becomes of the impossible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import strategies
from hoshikage.engine import curve
from hoshikage.engine.curve import ALIKE, Times
from hoshikage.engine.engine import Engine
from hoshikage.engine.quality import CURVE_ROWS, WORTH_IT, Curve, Shape, Way, chosen_way, ways
from hoshikage.engine.recipe import PATCHING, PLAN_OPTIONS, RULE_OPTIONS, Able, quality_of, recipe_of
from hoshikage.engine.request import DiffusionRequest, read
from hoshikage.errors import ParameterError
from hoshikage.settings import ALGORITHMS, PLANS, SCHEDULES, Settings
from tests.cases import PARALLEL
from tests.speaker import Speaker

SHAPES = st.builds(Shape, st.integers(1, 2000), st.integers(0, 2000), st.integers(0, 50), st.booleans())
CURVES = st.lists(st.floats(1e-4, 10.0), min_size=len(CURVE_ROWS), max_size=len(CURVE_ROWS)).map(
    lambda seconds: Curve(CURVE_ROWS, seconds)
)
FLAT = Curve(CURVE_ROWS, (1.0,) * len(CURVE_ROWS))
BROKEN = Able(block_fault=lambda: "it saw double")


def test_the_tables_name_what_there_is() -> None:
    assert set(ALGORITHMS.values()) == set(strategies.RULES)
    assert set(SCHEDULES.values()) == set(strategies.SCHEDULES)
    assert set(PLANS) == set(strategies.PLANS) == set(PLAN_OPTIONS)
    assert set(RULE_OPTIONS) == set(PARALLEL)
    assert set(PATCHING) == {name for name in PLANS if strategies.make_plan(name).patches}


# -- qualities


@given(st.sampled_from(["balanced", "fast"]), SHAPES, CURVES, st.booleans(), st.booleans())
def test_a_choice_can_be_followed_and_is_not_much_dearer_than_any_other(
    quality: str, shape: Shape, measured: Curve, caches: bool, patches: bool
) -> None:
    way = chosen_way(quality, shape, lambda: measured, caches, lambda: patches)
    assert way == chosen_way(quality, shape, lambda: measured, caches, lambda: patches)
    plan = strategies.make_plan(way.plan, **way.plan_options)
    assert caches or not plan.caches
    assert (caches and patches) or not plan.patches
    others = [
        other
        for other in ways(quality, shape)
        if (caches or other.plan == "full") and (patches or other.plan not in PATCHING)
    ]
    cheapest = min(other.seconds(shape, measured) for other in others)
    assert way.seconds(shape, measured) <= WORTH_IT * cheapest


def test_what_rows_cost_decides() -> None:
    """Where they cost nothing nothing is cached, where they cost little changes less than where they cost much."""
    long, short = Shape(256, 100), Shape(8, 4)
    assert chosen_way("fast", long, lambda: FLAT, True, lambda: True).plan == "full"
    assert chosen_way("balanced", long, Curve, True, lambda: True).plan == "window"
    assert chosen_way("fast", long, Curve, True, lambda: True).plan == "dual"
    assert chosen_way("fast", long, Curve, True, lambda: False).plan == "window"
    assert chosen_way("balanced", short, lambda: FLAT, True, lambda: True).plan == "full"
    # Nothing is free for ever: what was measured ends at 128 rows.
    assert chosen_way("balanced", Shape(256, 3800), lambda: FLAT, True, lambda: True).plan == "window"


def test_text_behind_a_gap_is_computed_as_well() -> None:
    """A block of a gap costs the text that follows, whatever its length: so fewer, longer blocks are worth it."""
    gap = Shape(64, 20, n_suffix=100)
    assert chosen_way("fast", Shape(64, 20), Curve, True, lambda: True).block_length == 16
    assert chosen_way("fast", gap, Curve, True, lambda: True).block_length == 32


def test_what_is_said_of_blocks_and_windows_is_reckoned_with() -> None:
    """A model that is known to do with short ones gets them in balanced and fast; exact sees the whole canvas."""
    able, asked = Able(window=8), DiffusionRequest(block_length=8)
    recipe, warnings = recipe_of(asked, Shape(256, 100), able=able)
    assert (recipe.plan, recipe.block_length, recipe.plan_options, warnings) == ("window", 8, {"window": 8}, ())
    fast, _ = recipe_of(replace(asked, quality="fast"), Shape(256, 100), able=able)
    assert (fast.plan, fast.block_length, fast.plan_options) == ("window", 8, {"window": 2})
    exact, _ = recipe_of(replace(asked, quality="exact"), Shape(256, 100), able=able)
    assert (exact.plan, exact.block_length, exact.plan_options) == ("full", 8, {})


def test_blocks_and_refreshes_are_chosen_as_well() -> None:
    """Short blocks where every row costs; long ones, of which fewer are begun, refreshes, and less cached where passes
    have much in common whatever their size."""

    def chosen(common: float, shape: Shape) -> Way:
        curve = Curve(CURVE_ROWS, tuple(n + common for n in CURVE_ROWS))
        return chosen_way("fast", shape, lambda: curve, True, lambda: True)

    assert (chosen(0, Shape(256, 100)).plan, chosen(0, Shape(256, 100)).block_length) == ("dual", 16)
    assert (chosen(100, Shape(256, 100)).plan, chosen(100, Shape(256, 100)).block_length) == ("window", 16)
    assert chosen(1000, Shape(256, 100)).block_length == 32
    assert chosen(0, Shape(256, 2000)).plan == "window", "beside the first pass over such a prompt it costs little more"
    assert chosen(50, Shape(256, 4, window=64)).plan_options["refresh"] == 4


@given(st.sampled_from(["balanced", "fast"]), SHAPES, CURVES)
def test_an_answer_that_grows_is_seen_to_its_end(quality: str, shape: Shape, measured: Curve) -> None:
    """Behind a window masks would be added that nobody sees, and one pass would be as the other."""
    growing = replace(shape, n_suffix=0, moves=True)
    recipe, warnings = recipe_of(DiffusionRequest(quality=quality, grow=True), growing, curve=lambda: measured)
    assert recipe.plan in ("full", "prefix", "dual")
    assert "window" not in recipe.plan_options
    assert warnings == ()


def test_a_canvas_that_grows_costs_what_an_answer_is_expected_to_need() -> None:
    """And not what it may come to: prefix is worth it where there is a prompt to be left out."""
    way = Way("threshold", "adaptive", 32, "full")
    assert way.seconds(Shape(2000, 10, moves=True), Curve()) < way.seconds(Shape(2000, 10), Curve()) / 10
    assert chosen_way("balanced", Shape(2000, 10, moves=True), Curve, True, lambda: True).plan == "prefix"


def test_exact_asks_for_no_measurement() -> None:
    def never() -> Any:
        raise AssertionError("measured")

    exact = DiffusionRequest(quality="exact")
    recipe, warnings = recipe_of(exact, Shape(40, 5), able=Able(block_fault=never), curve=never)
    assert (recipe.algorithm, recipe.schedule, recipe.plan, recipe.steps) == ("low_confidence", "adaptive", "full", 40)
    assert not warnings


@given(st.sampled_from(["exact", "balanced", "fast"]), SHAPES, st.data())
def test_what_is_named_is_done(quality: str, shape: Shape, data: st.DataObject) -> None:
    options: dict[str, Any] = {
        "algorithm": st.sampled_from(sorted(set(ALGORITHMS.values()))),
        "schedule": st.sampled_from(sorted(set(SCHEDULES.values()))),
        "plan": st.sampled_from(sorted(PLANS)),
        "block_length": st.integers(1, shape.n_masked),
        "window": st.integers(0, 100),
    }
    named = {name: data.draw(values) for name, values in options.items() if data.draw(st.booleans())}
    recipe, _ = recipe_of(DiffusionRequest(quality=quality, **named), shape)
    for name in {"algorithm", "schedule", "plan", "block_length"} & named.keys():
        assert getattr(recipe, name) == named[name]
    if "window" in named:
        assert recipe.plan_options["window"] == named["window"]
    assert strategies.make_plan(recipe.plan, **recipe.plan_options)
    assert strategies.make_rule(recipe.algorithm, **recipe.rule_options)


@pytest.mark.parametrize(
    ("named", "quality"),
    [
        ({}, "balanced"),
        ({"block_length": 8, "plan": "dual", "cfg_scale": 1.0}, "balanced"),
        ({"steps": 9}, "exact"),
        ({"algorithm": "threshold"}, "exact"),
        ({"schedule": "block"}, "exact"),
        ({"steps": 9, "quality": "fast"}, "fast"),
    ],
)
def test_who_says_nothing_wants_an_answer_soon(named: dict[str, Any], quality: str) -> None:
    assert quality_of(DiffusionRequest(**named), Shape(40)) == quality
    assert quality_of(DiffusionRequest(), Shape(40, moves=True, elastic=True)) == "exact"


def test_without_a_cache_nothing_is_measured() -> None:
    def never() -> Any:
        raise AssertionError("measured")

    recipe, warnings = recipe_of(DiffusionRequest(), Shape(40, 5), able=Able(caches=False), curve=never)
    assert (recipe.algorithm, recipe.plan, warnings) == ("threshold", "full", ())


# -- what cannot be done


@pytest.mark.parametrize(
    ("named", "able", "becomes", "word"),
    [
        ({"plan": "dual"}, BROKEN, {"plan": "window"}, "saw double"),
        ({"plan": "vicinity"}, BROKEN, {"plan": "window"}, "saw double"),
        ({"plan": "window"}, Able(caches=False), {"plan": "full"}, "without a cache"),
        ({"block_length": 64}, Able(), {"block_length": 20}, "block_length 64 became 20"),
        ({"block_length": 5, "steps": 2}, Able(), {"steps": 4}, "steps 2 became 4"),
        ({"block_length": 18}, Able(most_rows=16), {"block_length": 16}, "no memory beyond that"),
    ],
)
def test_the_impossible_becomes_the_nearest_or_is_refused(
    named: dict[str, Any], able: Able, becomes: dict[str, Any], word: str
) -> None:
    recipe, warnings = recipe_of(DiffusionRequest(**named), Shape(20), able=able)
    assert {name: getattr(recipe, name) for name in becomes} == becomes
    assert len(warnings) == 1
    assert word in warnings[0]
    with pytest.raises(ParameterError, match=word):
        recipe_of(DiffusionRequest(**named, strict=True), Shape(20), able=able)


def test_a_quality_says_which_plan_it_cannot_have() -> None:
    shape, word = Shape(256, 100), "fast took the window plan, as it cannot have dual: a block alone cannot be computed"
    for asked in (DiffusionRequest(quality="fast"), DiffusionRequest(quality="fast", strict=True)):
        recipe, warnings = recipe_of(asked, shape, able=BROKEN)
        assert (recipe.plan, *warnings) == ("window", f"{word} (it saw double)")
        assert recipe_of(asked, shape)[1] == ()
    for named in ({"quality": "balanced"}, {"quality": "exact"}, {"quality": "fast", "plan": "prefix"}):
        assert recipe_of(DiffusionRequest(**named), shape, able=BROKEN)[1] == ()
    assert recipe_of(DiffusionRequest(quality="fast"), Shape(8, 4), able=BROKEN, curve=lambda: FLAT)[1] == ()
    assert recipe_of(DiffusionRequest(quality="fast"), shape, able=Able(caches=False))[1] == ()


def test_no_window_goes_with_growth() -> None:
    growing = Shape(400, 10, moves=True)
    recipe, warnings = recipe_of(DiffusionRequest(grow=True, plan="window"), growing)
    assert (recipe.plan, *warnings) == (
        "prefix", "the window plan became prefix: the end of an answer that grows is looked at"
    )  # fmt: skip
    with pytest.raises(ParameterError, match="became prefix"):
        recipe_of(DiffusionRequest(grow=True, plan="window", strict=True), growing)
    assert recipe_of(DiffusionRequest(grow=True, plan="dual"), growing, able=BROKEN)[0].plan == "prefix"
    for plan in PLANS:
        if plan != "window":
            recipe, warnings = recipe_of(DiffusionRequest(grow=True, plan=plan, window=8, strict=True), growing)
            assert (recipe.plan, recipe.plan_options.get("window")) == (plan, None)
            assert warnings == ("window has no effect: the end of an answer that grows is looked at",)


def test_what_was_changed_before_is_refused_as_well() -> None:
    assert recipe_of(DiffusionRequest(), Shape(20), changes=["a became b"])[1] == ("a became b",)
    with pytest.raises(ParameterError, match="a became b"):
        recipe_of(DiffusionRequest(strict=True), Shape(20), changes=["a became b"])


def test_what_a_model_is_used_to_asks_for_nothing() -> None:
    used = Able(block_length=8)
    for quality in ("exact", "balanced"):
        for n, length in ((40, 8), (5, 5)):
            recipe, warnings = recipe_of(DiffusionRequest(quality=quality, strict=True), Shape(n), able=used)
            assert (recipe.block_length, warnings) == (length, ())
    assert recipe_of(DiffusionRequest(block_length=16), Shape(40), able=used)[0].block_length == 16
    assert read(DiffusionRequest, {}, Settings(block_length=8))[0].block_length is None


@pytest.mark.parametrize(
    ("named", "word"),
    [
        ({"threshold": 0.5}, "threshold has no effect with low_confidence"),
        ({"low_threshold": 0.5, "algorithm": "threshold"}, "low_threshold has no effect with threshold"),
        ({"refresh": 3}, "refresh has no effect with full plan"),
        ({"margin": 3, "plan": "dual"}, "margin has no effect with dual plan"),
        ({"alg_temp": 0.5, "algorithm": "saber"}, "alg_temp has no effect with the saber"),
        ({"saber_least": 3}, "saber_least has no effect with low_confidence"),
        ({"block_end_threshold": 0.5}, "block_end_threshold has no effect with fixed block ends"),
    ],
)
def test_what_changes_nothing_is_said(named: dict[str, Any], word: str) -> None:
    _, warnings = recipe_of(DiffusionRequest(quality="exact", **named), Shape(20))
    assert len(warnings) == 1
    assert warnings[0].startswith(word)
    recipe_of(DiffusionRequest(quality="exact", **named, strict=True), Shape(20))


@pytest.mark.parametrize(
    "named",
    [{"threshold": 1.5}, {"threshold": 0}, {"factor": -1}, {"entropy_bound": "much"}, {"plan": "b"}, {"window": -1}],
)
def test_nonsense_is_refused_by_name(named: dict[str, Any]) -> None:
    with pytest.raises(ParameterError) as refused:
        DiffusionRequest(**named)
    assert refused.value.name == next(iter(named))


# -- on an engine


@pytest.fixture
def rows_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of passes' costs is kept elsewhere, see `keep_costs`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def keep_costs(engine: Engine) -> None:
    """As if each row had been measured to cost as much as any other."""
    curve.store(curve.place_of(engine.model, engine.settings), Times({n: (n / 1000,) * ALIKE for n in CURVE_ROWS}))


@pytest.mark.usefixtures("rows_cost")
@pytest.mark.parametrize("quality", ["balanced", "fast"])
def test_qualities_answer_and_say_how(quality: str) -> None:
    with Engine(Speaker(salt=5)) as engine:
        keep_costs(engine)
        result = engine.generate("a question", max_tokens=200, quality=quality, early_stop=False)
        assert ("window plan" if quality == "balanced" else "dual plan") in result.how
        assert engine.model.mask_id not in result.canvas
        assert 0 < result.counts.n_warm < result.counts.n_passes
        assert result.counts.n_rows < result.counts.n_passes * 200
        named = engine.generate("a question", max_tokens=200, quality=quality, plan="full", algorithm="threshold")
        assert "threshold" in named.how
        assert "full plan" in named.how


def test_a_model_that_cannot_compute_blocks_alone_falls_back() -> None:
    model = Speaker(salt=5)
    model.patches = False
    with Engine(model) as engine:
        result = engine.generate("a", max_tokens=20, plan="dual")
        assert "window plan" in result.how
        assert any("dual plan became window" in warning for warning in result.warnings)
        with pytest.raises(ParameterError, match="became window"):
            engine.generate("a", max_tokens=20, plan="dual", strict=True)


@pytest.mark.usefixtures("rows_cost")
def test_that_a_model_cannot_compute_blocks_alone_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = Speaker(salt=5)
    model.patches = False
    with Engine(model) as engine:
        keep_costs(engine)
        engine.get_ready()
        result = engine.generate("a question", max_tokens=200, quality="fast", strict=True)
        assert "window plan" in result.how
        assert result.warnings == (
            "fast took the window plan, as it cannot have dual: a block alone cannot be computed "
            "(the context keeps nothing behind the block)",
        )
    assert [record.message for record in caplog.records if "a block alone" in record.message] == [
        "a block alone cannot be computed (the context keeps nothing behind the block): the plans dual and vicinity "
        "become window, and the quality fast takes another than dual"
    ]


def test_blocks_may_end_with_lines() -> None:
    with Engine(Speaker(salt=5)) as engine:
        bias = {10: 9.0}  # a line's end is likely everywhere
        fixed = engine.generate("a", max_tokens=40, logit_bias=bias, early_stop=False, block_length=8)
        adaptive = engine.generate(
            "a", max_tokens=40, logit_bias=bias, early_stop=False, block_length=8, block_ends="adaptive"
        )
        assert adaptive.canvas != fixed.canvas
        assert not adaptive.warnings
        assert engine.model.mask_id not in adaptive.canvas


def test_rules_and_block_ends_take_the_numbers_that_they_are_given() -> None:
    asked: dict[str, Any] = {"max_tokens": 400, "algorithm": "saber", "saber_least": 5, "block_ends": "adaptive"}
    with Engine(Speaker(salt=5)) as engine:
        work = engine.answer(0, engine.tokenize("a"), {**asked, "block_end_threshold": 0.7, "block_length": 8}).work
        assert (work.rule.least, work.ends.enough) == (5, 0.7)
        assert "saber_least" not in str(engine.generate("a", **asked).warnings)
        usual = engine.answer(0, engine.tokenize("a"), {"algorithm": "saber", "block_ends": "adaptive"}).work
        assert (usual.rule.least, usual.ends.enough) == (2, 0.3)


def test_a_line_s_end_is_looked_for_in_a_few_blocks_however_long_an_answer_may_become() -> None:
    with Engine(Speaker(salt=5)) as engine:
        for max_tokens, n_rows in ((40, 10), (120, 30), (200, 32), (500, 32)):
            options = {"max_tokens": max_tokens, "block_length": 8, "block_ends": "adaptive"}
            assert engine.answer(0, engine.tokenize("a"), options).n_rows == n_rows


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"max_tokens": 600}, "max_tokens 600 became 511"),
        ({"grow": True, "max_tokens": 90, "block_ends": "adaptive"}, "block_ends became fixed"),
    ],
)
def test_nothing_becomes_something_else_where_that_is_not_wanted(options: dict[str, Any], word: str) -> None:
    with Engine(Speaker(salt=5)) as engine:
        assert any(word in warning for warning in engine.generate("a", **options).warnings)
        with pytest.raises(ParameterError, match=word):
            engine.generate("a", **options, strict=True)


def test_a_length_that_nobody_asked_for_is_cut_in_any_case() -> None:
    """The default is what is usual, and no promise."""
    with Engine(Speaker(salt=5), Settings(n_ctx=64)) as engine:
        result = engine.generate("a", strict=True)
        assert (len(result.canvas), result.warnings) == (64, ())


def test_a_stop_that_no_gap_can_have_is_refused_by_the_strict() -> None:
    template = ["a", 3, "b", 3]
    with Engine(Speaker(salt=5)) as engine:
        assert engine.fill(template, stop=["x"]).warnings == ("stop became nothing: there are several gaps",)
        with pytest.raises(ParameterError, match="several gaps"):
            engine.fill(template, stop=["x"], strict=True)
