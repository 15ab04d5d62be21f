"""Random decodings for property tests: a canvas, the fake model behind it, and a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fake import FakeNetwork, fake_logits
from tests.reference import Result, decode

LLADA = ("low_confidence", "random")
DREAM = ("origin", "maskgit_plus", "topk_margin", "entropy")
SDAR = ("sequential",)
ALGORITHMS = LLADA + DREAM + SDAR
PARALLEL = ("threshold", "factor", "entropy_bounded", "hierarchical", "credit", "saber", "joint_threshold", "in_order")
SCHEDULES = ("block", "timestep")  # whose steps are counted
CACHING = ("prefix", "window", "dual", "vicinity")


@dataclass(frozen=True)
class Case:
    tokens: tuple[int, ...]
    mask_id: int
    n_vocab: int
    salt: int
    options: dict[str, Any]

    def forward(self, canvases: NDArray[Any]) -> NDArray[np.float32]:
        return np.stack([fake_logits(canvas, self.n_vocab, self.salt) for canvas in canvases])

    def decode(self, **changes: Any) -> Result:
        return decode(FakeNetwork(self.n_vocab, self.salt), self.tokens, self.mask_id, **{**self.options, **changes})

    @property
    def masked(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.array(self.tokens) == self.mask_id)


@st.composite
def canvases(draw: st.DrawFn, mask_id: int, n_vocab: int, max_length: int) -> tuple[int, ...]:
    """A prompt, masks, perhaps more fixed text, perhaps with holes on both sides: at least one mask."""
    given_token = st.integers(0, n_vocab - 1).filter(lambda token: token != mask_id)
    prompt = draw(st.lists(given_token, max_size=max_length // 3))
    answer = [mask_id] * draw(st.integers(1, max_length))
    suffix = draw(st.one_of(st.just([]), st.lists(given_token, max_size=max_length // 3)))
    holes = draw(st.sets(st.integers(0, max_length), max_size=3))
    return tuple(mask_id if i in holes else token for i, token in enumerate(prompt + answer + suffix))


@st.composite
def recipes(draw: st.DrawFn, n: int, n_vocab: int, mask_id: int, algorithms: Sequence[str]) -> dict[str, Any]:
    """Options of the oracle: the plain ones always, of the others none or each with an even chance."""
    token = st.integers(0, n_vocab - 1).filter(lambda t: t != mask_id)
    eos_id, eot_id = draw(st.lists(token, min_size=2, max_size=2, unique=True))
    options: dict[str, Any] = {
        "algorithm": draw(st.sampled_from(algorithms)),
        "schedule": draw(st.sampled_from(SCHEDULES)),
        "steps": draw(st.integers(1, n + 3)),
        "block_length": draw(st.integers(0, n + 2)),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "shift": draw(st.booleans()),
        "eos_id": eos_id,
        "eot_id": eot_id,
    }
    likely_ends = st.sampled_from([{eos_id: 2.0}, {eot_id: 3.0, eos_id: 3.0}])
    extras: dict[str, st.SearchStrategy[Any]] = {
        "temperature": st.sampled_from([0.3, 0.7, 1.0, 1.5]),
        "top_k": st.sampled_from([1, 2, 3, 5, n_vocab, n_vocab + 1]),
        "top_p": st.sampled_from([0.1, 0.5, 0.9, 0.99]),
        "alg_temp": st.sampled_from([0.05, 0.4, 2.0]),
        "eps": st.sampled_from([1e-5, 1e-2, 0.1]),
        "cfg_scale": st.sampled_from([0.5, 1.0, 2.5]),
        "logits_eos_inf": st.just(True),
        "confidence_eos_eot_inf": st.just(True),
        "logit_bias": likely_ends | st.dictionaries(token, st.sampled_from([-3.0, -0.5, 2.0]), max_size=3),
        "repetition_penalty": st.sampled_from([0.8, 1.1, 2.0]),
    }
    if draw(st.integers(0, 3)) > 0:
        options |= {name: draw(values) for name, values in extras.items() if draw(st.booleans())}
    return options


PROBABILITIES = st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.9, 1.0])
RULE_OPTIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "threshold": {"threshold": PROBABILITIES},
    "credit": {"threshold": PROBABILITIES},
    "in_order": {"threshold": PROBABILITIES},
    "factor": {"factor": st.sampled_from([0.3, 1.0, 2.0, 5.0])},
    "entropy_bounded": {"bound": st.sampled_from([0.0, 0.1, 1.0, 5.0])},
    "hierarchical": {"threshold": PROBABILITIES, "low": PROBABILITIES},
    "saber": {"least": st.integers(1, 5)},
    "joint_threshold": {
        "threshold": PROBABILITIES,
        "edit": st.sampled_from([0.0, 0.05, 0.5]),
        "most_edits": st.integers(0, 6),
    },
}


@st.composite
def plans(draw: st.DrawFn, names: Sequence[str]) -> dict[str, Any]:
    """A plan by name, and some of its numbers in place of the paper's, which these short canvases would never reach."""
    numbers: dict[str, st.SearchStrategy[Any]] = {
        "before": st.integers(0, 5), "behind": st.integers(0, 5), "window": st.integers(0, 12),
        "warm_up": st.integers(0, 4), "refresh": st.integers(0, 4), "whole": st.booleans(),
    }  # fmt: skip
    name = draw(st.sampled_from(names))
    kept = {"prefix": ("behind",), "window": ("behind",)}.get(name, ())
    options = {key: draw(values) for key, values in numbers.items() if key not in kept and draw(st.booleans())}
    return {"plan": name, "plan_options": options}


@st.composite
def cases(
    draw: st.DrawFn,
    /,
    algorithms: Sequence[str] = ALGORITHMS,
    max_length: int = 24,
    n_vocab: int = 0,
    plan_names: Sequence[str] = (),
    **fixed: Any,
) -> Case:
    """`n_vocab` 0: any from 4 to 40. `plan_names`: caching plans to draw from. `fixed` are options that are not drawn,
    and the model's `salt`."""
    salt = fixed.pop("salt") if "salt" in fixed else draw(st.integers(0, 2**64 - 1))
    n_vocab = n_vocab or draw(st.integers(4, 40))
    mask_id = draw(st.integers(0, n_vocab - 1))
    tokens = draw(canvases(mask_id, n_vocab, max_length))
    options = draw(recipes(len(tokens), n_vocab, mask_id, algorithms))
    if plan_names:
        options |= draw(plans(plan_names))
    options |= fixed
    numbers = RULE_OPTIONS.get(options["algorithm"], {})
    options["rule_options"] = {name: draw(values) for name, values in numbers.items() if draw(st.booleans())}
    return Case(tokens, mask_id, n_vocab, salt, options)


@st.composite
def batches(
    draw: st.DrawFn, /, max_size: int = 5, algorithms: Sequence[str] = ALGORITHMS, plan_names: Sequence[str] = ()
) -> list[Case]:
    """Unlike requests to one model; blocks of some end with a delimiter, and some canvases grow."""
    n_vocab, salt = draw(st.integers(4, 40)), draw(st.integers(0, 2**64 - 1))
    one = cases(algorithms=algorithms, max_length=20, n_vocab=n_vocab, salt=salt, plan_names=plan_names)
    return [varied(draw, case) for case in draw(st.lists(one, min_size=2, max_size=max_size))]


def varied(draw: st.DrawFn, case: Case) -> Case:
    """The same with a schedule that is served more often than the papers', and what changes blocks and lengths."""
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        more["schedule"] = "adaptive"
    match draw(st.sampled_from(("as it is", "lines", "growth"))):
        case "lines":
            ends = st.lists(st.integers(0, case.n_vocab - 1), min_size=1, max_size=5, unique=True)
            more |= {"delimiters": tuple(draw(ends)), "block_length": draw(st.integers(1, 8))}
        case "growth" if case.options["algorithm"] != "credit":  # which counts by place, and places move
            numbers = {"stride": draw(st.integers(2, 6)), "n_tail": draw(st.integers(1, 6))}
            more |= {"grow": draw(st.integers(1, 20)), "grow_options": numbers}
    return replace(case, options=case.options | more)
