"""Diffusion answers: canvases made from requests, and read from left to right while they are settled in any order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any, TypeAlias

from hoshikage import strategies
from hoshikage._canvas import Canvas, Ends
from hoshikage._core import Session
from hoshikage._raw import PROOF_LENGTH, fault_of_block_passes
from hoshikage.engine import curve
from hoshikage.engine.answer import Answer, stop_ids
from hoshikage.engine.batch import Room, room_for
from hoshikage.engine.quality import CURVE_ROWS, Curve, Shape
from hoshikage.engine.recipe import Able, Recipe, recipe_of
from hoshikage.engine.request import DiffusionRequest, check_bias, fitted, read
from hoshikage.engine.result import Result, Snapshot
from hoshikage.engine.sessions import Sessions
from hoshikage.engine.text import TextReader
from hoshikage.errors import ParameterError
from hoshikage.settings import Settings

Does: TypeAlias = Callable[[Callable[[], Any]], Any]  # runs a function where passes may be computed

LINE_ENDS = ("\n", "\n\n", "\r\n")
PROOF_CTX = 256  # positions of the session that block passes are tried in
SHARED_CELLS = 4096  # positions that canvases share in one pass, unless one alone is longer


@dataclass(slots=True, kw_only=True)
class CanvasAnswer(Answer):
    """An answer that a canvas holds, in the positions from `lo` to `hi`."""

    request: DiffusionRequest
    recipe: Recipe
    work: Canvas
    lo: int = field(init=False)
    hi: int = field(init=False)
    n_read: int = field(init=False)

    def __post_init__(self) -> None:
        self.lo, self.hi = self.work.lo, self.work.hi
        self.n_read = self.lo

    @property
    def n_cells(self) -> int:
        return self.work.n * self.n_streams

    @property
    def n_streams(self) -> int:
        return 2 if self.request.cfg_scale > 0 else 1

    @property
    def n_rows(self) -> int:
        return self.work.block_length * self.n_streams

    @property
    def ends_early(self) -> bool:
        return self.request.early_stop

    @property
    def progress(self) -> tuple[int, int]:
        return self.work.step, self.work.n_steps

    def read(self) -> str:
        end = min(self.work.settled_prefix(self.n_read), self.hi)
        if end == self.n_read:
            return ""
        tokens = self.work.tokens[self.n_read : end]
        self.n_read = end
        return self.reader.feed(tokens)

    def logprobs(self, lo: int) -> list[float]:
        settled = self.work.confidence[self.lo + lo : self.lo + len(self.reader.tokens)]
        return [math.log(probability) if probability > 0 else -math.inf for probability in settled]

    def top(self, number: int) -> list[tuple[int, float]]:
        return self.work.top(self.lo + number)

    def confidence(self) -> list[float]:
        return self.work.confidence[self.lo : self.hi]

    def snapshot(self, delta: str, result: Result | None = None) -> Snapshot:
        canvas = self.work
        pairs = zip(canvas.tokens[self.lo : self.hi], canvas.settled_at[self.lo : self.hi], strict=True)
        tokens = [token if settled_at >= 0 else None for token, settled_at in pairs]
        return self._snapshot(delta, result, tokens)

    def result(self, cancelled: bool) -> Result:
        canvas = self.work
        return self._result(
            cancelled,
            n_passes=canvas.n_passes,
            n_rows=canvas.n_rows,
            n_warm=canvas.n_warm,
            how=str(self.recipe),
            canvas=canvas.tokens,
        )


class Denoiser:
    """How a diffusion model answers. What has to be computed before the first answers, `does` has computed."""

    def __init__(self, model: Any, settings: Settings, sessions: Sessions[Session], does: Does) -> None:
        self._model = model
        self._settings = settings
        self._sessions = sessions
        self._eog_ids = model.eog_ids
        self._piece = cache(model.piece)
        self._able = Able(not model.native, cache(partial(does, self._block_fault)))
        self._curve = cache(partial(does, self._measured_curve))

    def prepare(self, index: int, ids: Sequence[int], options: Mapping[str, object]) -> CanvasAnswer:
        """A prompt with its answer behind it, cut where the context ends."""
        request, warnings = read(DiffusionRequest, options, self._settings)
        request, more = fitted(request, len(ids), self._sessions.n_ctx)
        return self._answer(index, ids, [], request, warnings + more)

    def prepare_gap(
        self, index: int, prefix: Sequence[int], suffix: Sequence[int], options: Mapping[str, object]
    ) -> CanvasAnswer:
        """Two texts and the gap between them, which is as long as it was asked to be."""
        request, warnings = read(DiffusionRequest, options, self._settings)
        self._sessions.check_fits(len(prefix) + request.max_tokens + len(suffix))
        return self._answer(index, prefix, suffix, request, warnings)

    def room(self, answers: Sequence[Answer], n_together: int) -> Room:
        """A session's size for these, so many of them side by side."""
        return room_for(answers, n_together, SHARED_CELLS, self._sessions.rows_for)

    def open(self, room: Room) -> Session:
        """A session of this size."""
        return self._sessions.open(room.n_cells, room.n_streams, room.n_rows)

    def get_ready(self) -> None:
        """Prove and measure now what the first requests would."""
        if self._able.caches:
            self._able.block_fault()
            self._curve()

    def close(self) -> None:
        """Nothing here is its own."""

    def _answer(
        self,
        index: int,
        prefix: Sequence[int],
        suffix: Sequence[int],
        request: DiffusionRequest,
        warnings: tuple[str, ...],
    ) -> CanvasAnswer:
        model = self._model
        if model.mask_id in prefix or model.mask_id in suffix:
            raise ParameterError("prompt", "it holds the mask token", "use infill to say where an answer belongs")
        shape = Shape(request.max_tokens, len(prefix), len(suffix), model.shift)
        recipe, more = recipe_of(request, shape, able=self._able, curve=self._curve)
        check_bias(request, model.n_vocab)
        line_ends = self._line_ends if request.block_ends == "adaptive" else ()
        if request.block_ends == "adaptive" and not line_ends:
            more = (*more, "block_ends became fixed: no token of this model ends a line")
        return CanvasAnswer(
            index=index,
            request=request,
            recipe=recipe,
            warnings=warnings + more,
            n_prompt=len(prefix) + len(suffix),
            reader=TextReader(self._piece, stop_ids=stop_ids(model, self._eog_ids, request.stop), stops=request.stop),
            piece=self._piece,
            work=make_canvas(
                model, request, recipe, [*prefix, *[model.mask_id] * request.max_tokens, *suffix], line_ends
            ),
        )

    @cached_property
    def _line_ends(self) -> tuple[int, ...]:
        """The tokens that end a line and are nothing else."""
        texts = [self._model.tokenize(text) for text in LINE_ENDS]
        return tuple(ids[0] for ids in texts if len(ids) == 1)

    def _block_fault(self) -> str | None:
        """Why a pass over a block alone cannot be used; proved on a small case, before the first that would use it."""
        with self._sessions.apart(PROOF_CTX, PROOF_LENGTH) as session:
            return fault_of_block_passes(session)

    def _measured_curve(self) -> Curve:
        """What passes cost here: from an earlier load of this model on this machine, or measured now."""
        path = curve.place_of(self._model, self._settings)
        known = curve.stored(path)
        if known is None:
            with self._sessions.apart(curve.N_CTX, max(CURVE_ROWS)) as session:
                known = curve.measure(session, self._model.n_vocab)
            curve.store(path, known)
        return known


def make_canvas(
    model: Any, request: DiffusionRequest, recipe: Recipe, tokens: Sequence[int], line_ends: Sequence[int] = ()
) -> Canvas:
    """A canvas that is decoded as the recipe says, with everything else from the request."""
    forbidden = (model.eos_id,) if request.logits_eos_inf else ()
    return Canvas(
        tokens,
        mask_id=model.mask_id,
        rule=strategies.make_rule(recipe.algorithm, alg_temp=request.alg_temp, **recipe.rule_options),
        schedule=strategies.make_schedule(recipe.schedule, eps=request.eps),
        plan=strategies.make_plan(recipe.plan, **recipe.plan_options),
        ends=ends_of(request, recipe, line_ends),
        edits=strategies.make_edits(
            model.mask_id,
            cfg_scale=request.cfg_scale,
            logit_bias=dict(request.logit_bias),
            repetition_penalty=request.repetition_penalty,
            forbidden=forbidden,
            n_credited=len(tokens) if recipe.algorithm == "credit" else 0,
        ),
        steps=recipe.steps,
        block_length=recipe.block_length,
        seed=request.seed,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        shift=model.shift,
        eos_last=request.confidence_eos_eot_inf,
        eos_id=model.eos_id,
        eot_id=model.eot_id,
        n_top=request.n_top,
    )


def ends_of(request: DiffusionRequest, recipe: Recipe, line_ends: Sequence[int]) -> Ends | None:
    """What ends a block, when it is not its length alone."""
    if not line_ends:
        return None
    return strategies.make_ends(line_ends, length=recipe.block_length, n_masked=request.max_tokens)
