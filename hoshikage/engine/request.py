"""Request values: what one generation is asked to do, frozen and checked before any of it reaches C.

The two classes are the table of options: type, default, bounds and meaning of each stand in one line,
and the Python API, the command line and the manual are made from them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, TypeVar

from hoshikage.checks import Check, Choice, Flag, Number, TextOrNone, Texts, TokenBias, Whole, nearest
from hoshikage.errors import ContextOverflowError, ParameterError
from hoshikage.settings import ALGORITHMS, BLOCK_ENDS, PLANS, QUALITIES, SCHEDULES, Settings

MAX_TOKENS = 2**20
EPS = 1e-3
SEEDS = Whole(-(2**63), 2**64 - 1)
PROBABILITY = Number(0, 1)
POSITIVE_PROBABILITY = Number(0, 1, open_least=True)
PENALTY = Number(0.001, 100)  # float32 logits divided by it stay finite
LOGPROBS = Whole(0, 20)
TEXTS = Texts(most=256, most_characters=1024, most_together=8192)


class Option(NamedTuple):
    """A line of the table."""

    name: str
    check: Check[Any]
    default: Any
    meaning: str


def _option(check: Check[Any], default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"check": check, "meaning": meaning})


def _default(name: str, default: Any) -> Any:
    """The option of `Request`, with another default."""
    return field(default=default, metadata=Request.__dataclass_fields__[name].metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of every model. A setting of the same name is the default where one is not given."""

    max_tokens: int = _option(
        Whole(1, MAX_TOKENS),
        256,
        "tokens of the answer at most: the canvas of a masked model; unset: 256, 1024 of a block model, and of an "
        "autoregressive one as many as the context has room for",
    )
    temperature: float = _option(Number(0, 100), 0.0, "0: always the likeliest token; more: more variety")
    top_k: int = _option(Whole(0, 2**31 - 1), 0, "draw among so many tokens; 0: all")
    top_p: float = _option(POSITIVE_PROBABILITY, 1.0, "draw among the likeliest up to this probability; 1: all")
    repetition_penalty: float = _option(PENALTY, 1.0, "above 1: tokens already there become less likely")
    logit_bias: tuple[tuple[int, float], ...] = _option(TokenBias(1024), (), "added to the logits of token ids")
    seed: int = _option(SEEDS, None, "the same seed draws the same text; unset: a new one, named in the result")
    stop: tuple[str, ...] = _option(TEXTS, (), "end before the first of these strings")
    logprobs: int | None = _option(LOGPROBS, None, "tell each token's probability, and so many of the likeliest")
    grammar: str | None = _option(
        TextOrNone(2**20),
        None,
        "a GBNF grammar that the answer follows; a diffusion model then writes from left to right",
    )

    @property
    def n_top(self) -> int:
        """Alternatives that are kept of each token."""
        return self.logprobs or 0

    def __post_init__(self) -> None:
        for option in options_of(type(self)):
            value = getattr(self, option.name)
            if value is None and option.name == "seed":
                value = secrets.randbits(32)
            if value is not option.default:
                object.__setattr__(self, option.name, option.check.check(option.name, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoisingRequest(Request):
    """What masked and block models have in common. `None`: the model's own way."""

    steps: int | None = _option(
        Whole(1, 2**20),
        None,
        "denoising steps, of a block model in each block; unset: 50 of a masked model where an algorithm that settles "
        "a fixed number is named, or a schedule but adaptive; otherwise as many as it takes",
    )
    algorithm: str | None = _option(
        Choice(ALGORITHMS),
        None,
        "what is settled first: origin, entropy, margin, random, confidence, maskgit_plus, sequential; or as many as "
        "are sure: threshold, factor, entropy_bounded, hierarchical, credit, saber, joint_threshold, in_order",
    )
    schedule: str | None = _option(
        Choice(SCHEDULES), None, "tokens that a step settles: timestep, block, denoising, or adaptive (one at least)"
    )
    quality: str | None = _option(
        Choice(QUALITIES),
        None,
        "exact, balanced or fast: what is not asked for by name is chosen by this; unset: balanced, or exact where "
        "steps, an algorithm or a schedule is named; of a block model its authors' way",
    )
    threshold: float | None = _option(
        POSITIVE_PROBABILITY,
        None,
        "tokens at least so probable are settled; unset: 0.9, with joint_threshold 0.5; 0.95 where "
        "balanced chooses for a masked model, and what a block model's authors chose for it",
    )
    low_threshold: float | None = _option(
        POSITIVE_PROBABILITY, None, "hierarchical: enough for the surest token of a run of masks; unset: 0.6"
    )
    edit_threshold: float | None = _option(
        PROBABILITY, None, "joint_threshold: a likelier token takes the place of a settled one; unset: 0"
    )
    most_edits: int | None = _option(
        Whole(0, 1024), None, "joint_threshold: passes over a full block that may edit it; unset: 16"
    )
    factor: float | None = _option(
        Number(0, 1000, open_least=True), None, "factor: n tokens are settled when (n + 1)(1 - p) is no more; unset: 1"
    )
    entropy_bound: float | None = _option(
        Number(0, 1000), None, "entropy_bounded: nats that settled tokens may know of each other; unset: 0.1"
    )
    saber_least: int | None = _option(
        Whole(1, 1024), None, "saber: tokens that a step settles where none is sure enough; unset: 2"
    )
    alg_temp: float = _option(Number(0, 100), 0.0, "above 0: draw which positions are settled, instead of the surest")
    eps: float = _option(Number(0, 0.5, open_least=True), EPS, "where the timestep schedule ends")
    logits_eos_inf: bool = _option(Flag(), False, "never write the end-of-text token")
    confidence_eos_eot_inf: bool = _option(Flag(), False, "settle end-of-text and end-of-turn tokens last")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionRequest(DenoisingRequest):
    """The options of a masked diffusion model, see `recipe_of`."""

    plan: str | None = _option(
        Choice(PLANS), None, "what a pass computes again: full, prefix, window, dual or vicinity; the rest is cached"
    )
    window: int | None = _option(
        Whole(0, MAX_TOKENS), None, "masks that are seen behind the block; unset: all, 32 with the window plan"
    )
    margin: int | None = _option(
        Whole(0, MAX_TOKENS), None, "positions around the block that the vicinity plan computes; unset: 16"
    )
    refresh: int | None = _option(
        Whole(0, MAX_TOKENS), None, "n: every n-th pass of a block computes all that it sees; 0: only its first"
    )
    warm_up: int | None = _option(
        Whole(0, 1024), None, "passes at the start that compute everything; unset: 1, 4 with the vicinity plan"
    )
    whole_refresh: bool | None = _option(
        Flag(), None, "a block's first pass computes everything, or only the block before and what follows it"
    )
    block_length: int | None = _option(
        Whole(1, MAX_TOKENS), None, "settle the canvas from left to right in blocks of this length"
    )
    block_ends: str = _option(
        Choice(BLOCK_ENDS), "fixed", "fixed, or adaptive: with a line, where the model is sure enough of its end"
    )
    block_end_threshold: float | None = _option(
        POSITIVE_PROBABILITY,
        None,
        "adaptive block ends: a line's end so probable ends a block; unset: 0.3, where rows are shifted 0.5",
    )
    grow: bool = _option(
        Flag(), False, "begin with 64 masks and add as many as the model asks for, up to max_tokens (DAEDAL)"
    )
    strict: bool = _option(Flag(), False, "refuse what cannot be done as asked, in place of the nearest that can")
    cfg_scale: float = _option(Number(0, 100), 0.0, "classifier-free guidance; above 0 a pass computes two canvases")
    early_stop: bool = _option(Flag(), True, "leave the rest of the canvas masked once the text cannot change")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRequest(DenoisingRequest):
    """The options of a block model, see `block_recipe_of`."""

    max_tokens: int = _default("max_tokens", 1024)
    sub_block: int | None = _option(
        Whole(1, MAX_TOKENS), None, "settle a model's blocks in parts of this length; unset: as the model's authors do"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalRequest(Request):
    """The options of an autoregressive model: llama.cpp's samplers, with the defaults of our ancestor."""

    max_tokens: int = _default("max_tokens", MAX_TOKENS)
    temperature: float = _default("temperature", 0.2)
    top_p: float = _default("top_p", 0.8)
    repetition_penalty: float = _default("repetition_penalty", 1.1)
    min_p: float = _option(PROBABILITY, 0.0, "drop tokens less likely than this share of the likeliest; 0: none")
    typical_p: float = _option(POSITIVE_PROBABILITY, 1.0, "locally typical sampling; 1: off")
    frequency_penalty: float = _option(Number(-2, 2), 0.0, "taken from a token's logit for each time it is there")
    presence_penalty: float = _option(Number(-2, 2), 0.0, "taken from a token's logit once it is there")
    repeat_last_n: int = _option(Whole(-1, 2**24), 64, "tokens the penalties look back; -1: all, 0: none")
    dry_multiplier: float = _option(Number(0, 100), 0.0, "strength of the penalty on repeated sequences; 0: off")
    dry_base: float = _option(Number(1, 100), 1.75, "growth of that penalty with the length of the sequence")
    dry_allowed_length: int = _option(Whole(0, 2**24), 2, "sequences up to this length may repeat")
    dry_penalty_last_n: int = _option(Whole(-1, 2**24), -1, "tokens it looks back; -1: all, 0: none")
    dry_sequence_breakers: tuple[str, ...] = _option(
        Texts(most=64, most_characters=64), ("\n", ":", '"', "*"), "a sequence does not reach over these"
    )
    xtc_probability: float = _option(PROBABILITY, 0.0, "how often the likeliest tokens are left out; 0: never")
    xtc_threshold: float = _option(PROBABILITY, 0.1, "tokens likelier than this can be left out")
    mirostat: int = _option(Whole(0, 2), 0, "hold the surprise constant: 1 or 2 for the version; 0: off")
    mirostat_tau: float = _option(Number(0, 100, open_least=True), 5.0, "the surprise to hold")
    mirostat_eta: float = _option(Number(0, 1, open_least=True), 0.1, "how fast it is corrected")
    prompt_logprobs: int | None = _option(
        LOGPROBS, None, "tell the probability of each token of the prompt as well, and so many of the likeliest"
    )

    @property
    def n_top(self) -> int:
        """Alternatives that are kept of each token."""
        return max(self.logprobs or 0, self.prompt_logprobs or 0)


AnyRequest = TypeVar("AnyRequest", bound=Request)
USUAL = {"block_length"}  # the settings of these names ask for nothing: they say what a model is used to
KINDS: dict[str, type[Request]] = {"masked": DiffusionRequest, "block": BlockRequest, "causal": CausalRequest}


def options_of(kind: type[Request]) -> Iterator[Option]:
    """The options of a kind of request, in order."""
    for entry in fields(kind):
        yield Option(entry.name, entry.metadata["check"], entry.default, entry.metadata["meaning"])


def read(kind: type[AnyRequest], given: Mapping[str, object], settings: Settings) -> tuple[AnyRequest, tuple[str, ...]]:
    """A request from keyword arguments, and a warning for each that this kind of model has no use for."""
    own = {option.name for option in options_of(kind)}
    known = {option.name for other in KINDS.values() for option in options_of(other)}
    values = {name: value for name in own - USUAL if (value := getattr(settings, name, None)) is not None}
    warnings = []
    for name, value in given.items():
        if name not in known:
            cause = f"there is no such option{nearest(name, known)}"
            raise ParameterError(name, cause, "hoshikage run --help lists them all")
        if value is None:
            continue
        if name in own:
            values[name] = value
        else:
            _check_unused(name, value)
            warnings.append(f"{name} has no effect on a {kind_name(kind)} model")
    return kind(**values), tuple(warnings)


def fitted(
    request: AnyRequest, n_prompt: int, n_ctx: int, given: Mapping[str, object], *, is_halved: bool = False
) -> tuple[AnyRequest, tuple[str, ...]]:
    """The request with its answer cut where the context ends, and a warning if somebody wanted more.

    It ends sooner, `is_halved`, where a second canvas, guidance's, has to find room as well.
    """
    n_free = n_ctx - n_prompt
    if n_free < 1:
        raise ContextOverflowError(n_prompt, n_ctx, is_halved)
    if request.max_tokens <= n_free:
        return request, ()
    shorter = replace(request, max_tokens=n_free)
    if given.get("max_tokens") is None:
        return shorter, ()
    why = "under guidance two canvases share a pass" if is_halved else "the context ends there"
    return shorter, (f"max_tokens {request.max_tokens} became {n_free}: {why}",)


def check_bias(request: Request, n_vocab: int) -> None:
    """Refuses a bias on a token that the vocabulary does not have."""
    for token, _ in request.logit_bias:
        if token >= n_vocab:
            cause = f"id {token} is outside the vocabulary of {n_vocab}"
            raise ParameterError("logit_bias", cause, "use ids that tokenize returned")


def kind_name(kind: type[Request]) -> str:
    """'masked', 'block' or 'causal'."""
    return next(name for name, known in KINDS.items() if known is kind)


def _check_unused(name: str, value: object) -> None:
    """A bad value is refused even where it would have no effect: it is a mistake all the same."""
    for kind in KINDS.values():
        for option in options_of(kind):
            if option.name == name:
                option.check.check(name, value)
