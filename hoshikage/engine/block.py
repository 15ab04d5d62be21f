"""Answers of block models: settled block after block, each block in any order. Two calls to such a model share what is
cached of the text that they begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hoshikage import strategies
from hoshikage._block import BlockCanvas, BlockSession
from hoshikage.checks import Whole
from hoshikage.engine.answer import Answer, spoken, stop_ids
from hoshikage.engine.batch import SessionSize, room_for
from hoshikage.engine.diffusion import CanvasAnswer, common_options
from hoshikage.engine.recipe import RULE_OPTIONS, given, in_order, useless_rule_options
from hoshikage.engine.request import BlockRequest, check_bias, fitted, read
from hoshikage.engine.result import Result
from hoshikage.engine.sessions import Sessions
from hoshikage.engine.sizes import SHARED_CELLS, SHARES
from hoshikage.engine.text import TextReader
from hoshikage.errors import ParameterError
from hoshikage.settings import Settings

KEPT_CELLS = 4096  # a session has as many at least, for the next turn of a chat
QUALITIES: Mapping[str, Mapping[str, Any]] = {  # "exact": as the model's authors decode
    "balanced": {"algorithm": "threshold", "threshold": 0.9, "schedule": "adaptive"},
    "fast": {"algorithm": "hierarchical", "schedule": "adaptive"},
}
FROM_THE_LEFT: Mapping[str, Any] = {"algorithm": "in_order", "threshold": 0.9, "schedule": "adaptive"}
ONE_BY_ONE: Mapping[str, Any] = {"algorithm": "sequential", "schedule": "adaptive"}


@dataclass(frozen=True, slots=True)
class BlockRecipe:
    """How blocks are decoded, with nothing left open."""

    algorithm: str
    schedule: str
    block_length: int
    sub_block: int
    steps: int
    rule_options: Mapping[str, Any] = field(default_factory=dict)
    alg_temp: float = 0.0

    def __str__(self) -> str:
        parts = f", {self.sub_block} at a time" if self.sub_block < self.block_length else ""
        more = "".join(f", {name} {value}" for name, value in self.rule_options.items())
        return f"{self.algorithm}, {self.schedule} schedule, a model's blocks of {self.block_length}{parts}{more}"


def block_recipe_of(request: BlockRequest, kind: Any) -> tuple[BlockRecipe, tuple[str, ...]]:
    """What the request says; where it is silent its quality, or the way of the model's authors.

    Naming a rule that settles a fixed number gives it a step for each token, unless `steps` says otherwise.
    """
    request, changes = in_order(request)
    if request.grammar is not None:
        way = ONE_BY_ONE if request.quality == "exact" else FROM_THE_LEFT
    else:
        way = QUALITIES.get(request.quality or "") or kind.decoding or QUALITIES["balanced"]
    algorithm = request.algorithm or way["algorithm"]
    sub_block = Whole(1, kind.block_length).check("sub_block", request.sub_block or kind.sub_block or kind.block_length)
    if kind.block_length % sub_block:
        cause = f"{sub_block} does not divide the blocks of {kind.block_length}"
        raise ParameterError("sub_block", cause, "use a divisor")
    if algorithm == way["algorithm"] and request.steps is None:
        schedule = way["schedule"]
    else:
        schedule = "adaptive" if algorithm in RULE_OPTIONS and request.steps is None else "denoising"
    options = {name: value for name, value in way.items() if name in RULE_OPTIONS.get(algorithm, {})}
    options = {RULE_OPTIONS[algorithm][name]: value for name, value in options.items()}
    schedule = request.schedule or schedule
    recipe = BlockRecipe(
        algorithm,
        schedule,
        kind.block_length,
        sub_block,
        request.steps or sub_block,
        {**(options if algorithm == way["algorithm"] else {}), **given(request, RULE_OPTIONS.get(algorithm, {}))},
        request.alg_temp,
    )
    return recipe, (*changes, *useless_rule_options(request, recipe))


@dataclass(slots=True, kw_only=True)
class BlockAnswer(CanvasAnswer):
    """An answer in the blocks of a canvas, from behind the prompt to `max_tokens` tokens later."""

    request: BlockRequest  # type: ignore[assignment]  # of what is read here both kinds have the same
    recipe: BlockRecipe  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.lo = self.n_read = self.n_prompt

    @property
    def hi(self) -> int:
        return self.lo + self.request.max_tokens

    @property
    def n_streams(self) -> int:
        return 1

    @property
    def ends_early(self) -> bool:
        return bool(self.request.stop)  # tokens that end it are the canvas's business

    @property
    def progress(self) -> tuple[int, int]:
        return self.n_read - self.lo, self.request.max_tokens

    def result(self, cancelled: bool) -> Result:
        whole = CanvasAnswer.result(self, cancelled)
        return replace(whole, canvas=whole.canvas[: self.hi])


class BlockDenoiser:
    """How a block model answers."""

    def __init__(self, model: Any, settings: Settings, sessions: Sessions[BlockSession]) -> None:
        self._model = model
        self._settings = settings
        self._sessions = sessions
        self._eog_ids = model.eog_ids
        self._piece = spoken(model)

    def prepare(self, index: int, ids: Sequence[int], options: Mapping[str, object]) -> BlockAnswer:
        """A prompt to be continued, at most to where the last whole block of the context ends."""
        model = self._model
        if model.mask_id in ids:
            remedy = "leave it out; send a text that names it with parse_special false"
            raise ParameterError("prompt", "it holds the mask token", remedy)
        if model.shift and not ids:
            raise ParameterError(
                "prompt", "it is empty, and this model begins no text by itself", "give it one to go on"
            )
        request, warnings = read(BlockRequest, options, self._settings)
        n_ctx = self._sessions.n_ctx // model.block_length * model.block_length
        request, more = fitted(request, len(ids), n_ctx, options)
        check_bias(request, model.n_vocab)
        recipe, useless = block_recipe_of(request, model.kind)
        ends = stop_ids(model, self._eog_ids, request.stop)
        return BlockAnswer(
            index=index,
            request=request,
            recipe=recipe,
            warnings=(*warnings, *more, *useless),
            n_prompt=len(ids),
            reader=TextReader(self._piece, stop_ids=ends, stops=request.stop),
            piece=self._piece,
            work=make_block_canvas(model, request, recipe, ids, ends),
        )

    def room(self, answers: Sequence[Answer], n_together: int) -> SessionSize:
        """A session's size for these, so many of them side by side."""
        room = room_for(answers, n_together, SHARED_CELLS["block"], self._sessions.rows_for)
        n_cells = max(room.n_cells, min(self._sessions.n_ctx, KEPT_CELLS))
        return replace(room, n_cells=n_cells, n_longest=n_cells)

    def open(self, room: SessionSize) -> BlockSession:
        """A session of this size, with as many streams as there may ever be: what one has left serves another."""
        n_seq = max(self._settings.n_seq, room.n_streams)
        return self._sessions.open(room.n_cells, n_seq, max(room.n_rows, n_seq))

    def close(self) -> None:
        """Nothing here is its own."""


def make_block_canvas(
    model: Any, request: BlockRequest, recipe: BlockRecipe, ids: Sequence[int], ends: frozenset[int]
) -> BlockCanvas:
    """A canvas that is decoded as the recipe says, with everything else from the request."""
    forbidden = (model.eos_id,) if request.logits_eos_inf else ()
    n = len(ids) + request.max_tokens + recipe.block_length
    return BlockCanvas(
        ids,
        max_tokens=request.max_tokens,
        grid=recipe.block_length,
        sub_block=recipe.sub_block,
        stop_ids=ends - set(forbidden),
        mask_id=model.mask_id,
        rule=strategies.make_rule(recipe.algorithm, alg_temp=recipe.alg_temp, **recipe.rule_options),
        schedule=strategies.make_schedule(recipe.schedule, eps=request.eps),
        edits=strategies.make_edits(
            model.mask_id,
            logit_bias=dict(request.logit_bias),
            repetition_penalty=request.repetition_penalty,
            forbidden=forbidden,
            n_credited=n if recipe.algorithm == "credit" else 0,
        ),
        steps=recipe.steps,
        share=SHARES["block"],
        **common_options(model, request),
    )
