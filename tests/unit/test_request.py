"""Request values: whatever is given in, a clean value or a sentence comes out, and never anything else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.engine.quality import Shape
from hoshikage.engine.recipe import recipe_of
from hoshikage.engine.request import (
    KINDS,
    CausalRequest,
    DiffusionRequest,
    Request,
    options_of,
    read,
)
from hoshikage.errors import ParameterError
from hoshikage.settings import Settings, table

NAMES = sorted({option.name for kind in KINDS.values() for option in options_of(kind)})
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([10**400, "\ud800", object(), np.float32(1.5), np.int64(3), np.ones(2), 2**63, 2**64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(KINDS)), st.sampled_from(NAMES), ANYTHING)
def test_any_value_is_clean_or_refused_with_its_name(kind: str, name: str, value: object) -> None:
    try:
        request, warnings = read(KINDS[kind], {name: value}, Settings())
    except ParameterError as error:
        assert error.name == name
        assert error.remedy
        assert len(str(error)) < 400
        return
    assert replace(request) == request
    for option in options_of(type(request)):
        clean = getattr(request, option.name)
        assert clean is None or not isinstance(clean, float) or math.isfinite(clean)
    assert value is None or bool(warnings) != hasattr(request, name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 0}, "steps: 0 is out of range; use 1 to"),
        ({"block_length": 0}, "block_length: 0 is out of range; use 1 to"),
        ({"max_tokens": 0}, "max_tokens: 0 is out of range"),
        ({"max_tokens": 2**63}, "max_tokens: 9223372036854775808 is out of range"),
        ({"max_tokens": 3.0}, "not a whole number"),
        ({"max_tokens": True}, "not a whole number"),
        ({"max_tokens": np.ones(2)}, "not a whole number"),
        ({"temperature": np.ones(2)}, "not a number"),
        ({"temperature": math.nan}, "temperature: nan is out of range"),
        ({"temperature": -0.1}, "temperature: -0.1 is out of range; use 0 to 100"),
        ({"temperature": "0.5"}, "not a number"),
        ({"top_p": 0}, "use more than 0 to 1"),
        ({"algorithm": "entrophy"}, "did you mean 'entropy'"),
        ({"algorithm": 5}, "use one of origin, entropy, margin, random, low_confidence, maskgit_plus"),
        ({"algorithm": True}, "True is unknown"),
        ({"schedule": "blok"}, "did you mean 'block'"),
        ({"temprature": 1}, "there is no such option, did you mean 'temperature'"),
        ({"stop": ["a", ""]}, "would match everywhere"),
        ({"stop": ["x"] * 257}, "257 strings are too many"),
        ({"stop": "\ud800"}, "half of a surrogate pair"),
        ({"logit_bias": {"a": 1.0}}, "not a whole number"),
        ({"logit_bias": {5: math.inf}}, "out of range"),
        ({"logit_bias": {-1: 0.0}}, "out of range"),
        ({"logits_eos_inf": 1}, "neither true nor false"),
        ({"eps": 0}, "out of range"),
    ],
)
def test_bad_options_are_refused_with_a_remedy(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        read(DiffusionRequest, given, Settings())
    assert words in str(caught.value)


def test_numpy_numbers_and_json_keys_are_numbers() -> None:
    given = {"steps": np.int64(4), "temperature": np.float32(0.5), "logit_bias": {"7": -math.inf, 3: 1}}
    request, warnings = read(DiffusionRequest, given, Settings())
    assert (request.steps, request.temperature) == (4, 0.5)
    assert request.logit_bias == ((3, 1.0), (7, -math.inf))
    assert warnings == ()


def test_settings_are_the_defaults_and_none_means_default() -> None:
    settings = Settings(steps=50, temperature=0.3, algorithm="random", repeat_last_n=9)
    diffusion, _ = read(DiffusionRequest, {"temperature": None, "steps": 7}, settings)
    causal, _ = read(CausalRequest, {}, settings)
    assert (diffusion.steps, diffusion.temperature, diffusion.algorithm) == (7, 0.3, "random")
    assert (causal.repeat_last_n, causal.temperature) == (9, 0.3)


@pytest.mark.parametrize(
    ("kind", "given", "warning"),
    [
        (DiffusionRequest, {"min_p": 0.1}, "min_p has no effect on a masked model"),
        (CausalRequest, {"steps": 3}, "steps has no effect on a causal model"),
    ],
)
def test_an_option_of_the_other_kind_is_named(kind: type[Request], given: dict[str, Any], warning: str) -> None:
    assert read(kind, given, Settings())[1] == (warning,)
    with pytest.raises(ParameterError):
        read(kind, dict.fromkeys(given, "x"), Settings())


def test_a_missing_seed_is_drawn_and_a_given_one_kept() -> None:
    drawn = {DiffusionRequest().seed for _ in range(8)}
    assert len(drawn) > 1
    assert DiffusionRequest(seed=0).seed == 0


@pytest.mark.parametrize(
    ("given", "shift", "expected"),
    [
        ({"quality": "exact"}, False, ("low_confidence", "adaptive", 32, 100)),
        ({"quality": "exact", "block_length": 8}, True, ("entropy", "adaptive", 8, 100)),
        ({"quality": "exact", "steps": 50}, False, ("low_confidence", "block", 32, 50)),
        ({"steps": 50, "block_length": 50}, True, ("entropy", "timestep", 50, 50)),
        ({"quality": "exact"}, True, ("entropy", "timestep", 100, 100)),
        ({"schedule": "timestep"}, False, ("low_confidence", "timestep", 100, 50)),
        ({"algorithm": "entropy"}, False, ("entropy", "block", 32, 50)),
        ({"algorithm": 4, "block_length": 1}, False, ("low_confidence", "block", 1, 100)),
        ({"schedule": "block", "steps": 10}, True, ("entropy", "block", 32, 10)),
        ({"block_length": 500, "steps": 7}, False, ("low_confidence", "block", 100, 7)),
        ({"block_length": 10, "steps": 3}, False, ("low_confidence", "block", 10, 10)),
    ],
)
def test_the_model_fills_in_its_own_way(given: dict[str, Any], shift: bool, expected: tuple[Any, ...]) -> None:
    recipe, warnings = recipe_of(DiffusionRequest(**given), Shape(100, shift=shift))
    assert (recipe.algorithm, recipe.schedule, recipe.block_length, recipe.steps) == expected
    assert any("steps 3 became 10" in warning for warning in warnings) == (given.get("steps") == 3)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"eps": 0.01, "schedule": "block"}, "eps"),
        ({"alg_temp": 1, "algorithm": "origin"}, "alg_temp"),
        ({"confidence_eos_eot_inf": True, "algorithm": "origin"}, "confidence_eos_eot_inf"),
        ({"top_k": 5, "algorithm": "low_confidence"}, "top_k"),
    ],
)
def test_a_value_that_changes_nothing_is_named(given: dict[str, Any], word: str) -> None:
    _, warnings = recipe_of(DiffusionRequest(**given), Shape(10))
    assert len(warnings) == 1
    assert warnings[0].startswith(word)
    assert recipe_of(DiffusionRequest(), Shape(10))[1] == ()


def test_every_option_is_described_and_its_default_is_clean() -> None:
    for kind in KINDS.values():
        for option in options_of(kind):
            assert option.meaning
            assert option.default is None or option.check.check(option.name, option.default) == option.default


def test_a_setting_and_the_option_it_stands_for_have_the_same_bounds() -> None:
    checks = {option.name: option.check for kind in KINDS.values() for option in options_of(kind)}
    shared = [row for row in table() if row.name in checks]
    assert len(shared) >= 8
    assert all(checks[row.name] == row.check for row in shared)
