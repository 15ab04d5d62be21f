"""Diffusion answers: canvases made from requests, and read from left to right while they are settled in any order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from hoshikage import strategies
from hoshikage._board import Board
from hoshikage._canvas import Canvas, Ends, Growth
from hoshikage._core import Session
from hoshikage.engine.answer import Answer, spoken, stop_ids
from hoshikage.engine.batch import SessionSize, room_for
from hoshikage.engine.findings import Does, Findings, unless_cancelled
from hoshikage.engine.gaps import Gap, Layout, Piece, laid_out
from hoshikage.engine.quality import Curve, Shape
from hoshikage.engine.recipe import Able, Recipe, recipe_of
from hoshikage.engine.request import BlockRequest, DiffusionRequest, check_bias, fitted, read
from hoshikage.engine.result import Result, Snapshot
from hoshikage.engine.sessions import UNBOUNDED, Sessions
from hoshikage.engine.sizes import (
    SHARED_CELLS,
    SHARES,
    guided_ctx,
    most_cells,
    most_rows,
    most_tokens,
    streams_of,
)
from hoshikage.engine.text import TextReader
from hoshikage.errors import ContextOverflowError, ParameterError
from hoshikage.settings import Settings
from hoshikage.strategies.elastic import Elastic

GROWN_FROM = 64  # masks that an answer begins with when the model says how many it needs
EXPANDS = ("<|expand|>", "<expand>")
LINE_ENDS = ("\n", "\n\n", "\r\n")
SURE_OF_LINE = {False: 0.3, True: 0.5}  # AdaBlock's for LLaDA, and for Dream, whose rows are shifted


@dataclass(slots=True, kw_only=True)
class CanvasAnswer(Answer):
    """An answer that a canvas holds, in the positions from `lo` to `hi`."""

    request: DiffusionRequest
    recipe: Recipe
    work: Canvas
    lo: int = field(init=False)
    n_read: int = field(init=False)

    def __post_init__(self) -> None:
        self.lo = self.n_read = self.work.lo

    @property
    def hi(self) -> int:
        return self.work.hi

    @property
    def n_cells(self) -> int:
        return self.work.n_kept * self.n_streams

    @property
    def most_cells(self) -> int:
        return self.work.n_most * self.n_streams

    @property
    def paused(self) -> bool:
        return self.work.paused

    @property
    def n_streams(self) -> int:
        return streams_of(self.request.cfg_scale)

    @property
    def n_rows(self) -> int:
        return self.work.most_rows * self.n_streams

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
        if canvas.error is not None:
            raise canvas.error
        return self._result(
            cancelled,
            n_passes=canvas.n_passes,
            n_rows=canvas.n_rows,
            n_warm=canvas.n_warm,
            how=str(self.recipe),
            canvas=canvas.tokens,
        )


class Denoiser:
    """How a diffusion model answers. What has to be computed before the first answers, `does` has computed.

    Where a board is given it is heard meanwhile. Who is cancelled gets an answer all the same: it will end before its
    first pass.
    """

    def __init__(self, model: Any, settings: Settings, sessions: Sessions[Session], does: Does) -> None:
        self._model = model
        self._settings = settings
        self._sessions = sessions
        self._eog_ids = model.eog_ids
        self._piece = spoken(model)
        self._findings = Findings(model, settings, sessions, does)

    def prepare(
        self, index: int, ids: Sequence[int], options: Mapping[str, object], board: Board | None = None
    ) -> CanvasAnswer:
        """A prompt with its answer behind it, cut where the context ends."""
        request, warnings = read(DiffusionRequest, options, self._settings)
        n_ctx = self._n_ctx(request)
        request, changes = fitted(request, len(ids), n_ctx, options, is_halved=n_ctx < self._sessions.n_ctx)
        n_start = min(GROWN_FROM, request.max_tokens) if request.grow else request.max_tokens
        layout = laid_out([ids, Gap(n_start, n_start)], self._model.mask_id)
        growth = strategies.make_growth(request.max_tokens - n_start) if request.grow else None
        shape = Shape(request.max_tokens, len(ids), 0, self._model.shift, moves=request.grow)
        return self._answer(index, layout, shape, growth, request, changes, warnings, board)

    def prepare_gaps(
        self, index: int, pieces: Sequence[Piece], options: Mapping[str, object], board: Board | None = None
    ) -> CanvasAnswer:
        """Given text and gaps. Where the model can, it finds the length of those whose length is open."""
        request, warnings = read(DiffusionRequest, options, self._settings)
        if request.grammar is not None:
            raise ParameterError("grammar", "a gap is filled to its length, which no grammar knows", "leave it out")
        if request.grow:
            warnings += ("grow has no effect on gaps: give a range",)
        least = 0 if self._expand_id >= 0 else request.max_tokens
        known = [Gap(least, request.max_tokens) if piece is None else piece for piece in pieces]
        changes: tuple[str, ...] = ()
        if self._expand_id < 0 and any(isinstance(piece, Gap) and not piece.is_fixed for piece in known):
            changes = ("a gap of open length became as long as it may be: this model does not find lengths",)
            known = [Gap(piece.most, piece.most) if isinstance(piece, Gap) else piece for piece in known]
        is_elastic = self._expand_id >= 0  # with a fixed length, too: then it is kept to that
        layout = laid_out(self._framed(known) if is_elastic else known, self._model.mask_id)
        n_behind = len(layout.tokens) - layout.hi
        n_region = layout.hi - layout.lo + layout.n_more
        n_all, n_ctx = layout.lo + n_region + n_behind, self._n_ctx(request)
        if n_all > n_ctx:
            raise ContextOverflowError(n_all, n_ctx, n_ctx < self._sessions.n_ctx)
        growth = None
        if is_elastic:
            growth = strategies.make_gaps(layout.gaps, expand_id=self._expand_id, delete_id=self._model.eos_id)
        shape = Shape(n_region, layout.lo, n_behind, self._model.shift, moves=is_elastic, elastic=is_elastic)
        request = replace(request, max_tokens=n_region)
        return self._answer(index, layout, shape, growth, request, changes, warnings, board)

    def room(self, answers: Sequence[Answer], n_together: int) -> SessionSize:
        """A session's size for these, so many of them side by side, as far as memory was reckoned with."""
        room = room_for(answers, n_together, SHARED_CELLS["masked"], self._sessions.rows_for)
        n_cells, n_longest = min(room.n_cells, self._most_cells), min(room.n_longest, self._most_tokens)
        return replace(room, n_cells=n_cells, n_longest=n_longest)

    def open(self, room: SessionSize) -> Session:
        """A session of this size."""
        return self._sessions.open(room.n_cells, room.n_streams, room.n_rows, room.n_longest)

    def get_ready(self, board: Board | None = None) -> None:
        """Prove and measure now what the first requests would. Raises Cancelled when the board says so."""
        if not self._model.native:
            self._findings.block_fault(board)
            self._findings.curve(board)

    def close(self) -> None:
        """Nothing here is its own."""

    @cached_property
    def _most_cells(self) -> int:
        """Positions that a load was reckoned with: no bound where nobody said how long requests are."""
        settings = self._settings
        if not settings.n_ctx:
            return UNBOUNDED
        return most_cells("masked", settings.n_ctx, settings.n_seq, streams_of(settings.cfg_scale))

    @cached_property
    def _most_tokens(self) -> int:
        """Positions that a pass was reckoned with, in the same way."""
        settings = self._settings
        return most_tokens(settings.n_ctx, streams_of(settings.cfg_scale)) if settings.n_ctx else UNBOUNDED

    def _n_ctx(self, request: DiffusionRequest) -> int:
        """Tokens that a request may have: fewer under guidance, where memory was reckoned without it."""
        n_ctx = self._sessions.n_ctx
        if request.cfg_scale == 0:
            return n_ctx
        return guided_ctx(n_ctx, self._most_cells, self._most_tokens, self._settings.n_seq)

    def _answer(
        self,
        index: int,
        layout: Layout,
        shape: Shape,
        growth: Growth | None,
        request: DiffusionRequest,
        changes: tuple[str, ...],
        warnings: tuple[str, ...],
        board: Board | None,
    ) -> CanvasAnswer:
        """What became of what was asked for, `changes`, is refused when the request is strict."""
        model = self._model
        n_given = len(layout.tokens) - sum(hi - lo for lo, hi, *_ in layout.gaps)
        if layout.tokens.count(model.mask_id) > len(layout.tokens) - n_given:
            remedy = "use infill to say where an answer belongs; send a text that names it with parse_special false"
            raise ParameterError("prompt", "it holds the mask token", remedy)
        check_bias(request, model.n_vocab)
        line_ends = self._line_ends if request.block_ends == "adaptive" and not shape.moves else ()
        if request.block_ends == "adaptive" and not line_ends:
            why = "the canvas changes its length" if shape.moves else "no token of this model ends a line"
            changes += (f"block_ends became fixed: {why}",)
        # What stands in one gap does not end the next, nor does given text between them.
        stops = request.stop if len(layout.gaps) == 1 else ()
        if stops != request.stop:
            changes += ("stop became nothing: there are several gaps",)
        ends = stop_ids(model, self._eog_ids, stops) if len(layout.gaps) == 1 else frozenset()
        able = replace(self._able(board), most_rows=rows_of_block(model.n_vocab, request, growth))
        curve = partial(self._curve, board)
        recipe, more = recipe_of(request, shape, able=able, curve=curve, changes=changes)
        return CanvasAnswer(
            index=index,
            request=request,
            recipe=recipe,
            warnings=warnings + more,
            n_prompt=n_given,
            reader=TextReader(self._piece, stop_ids=ends, stops=stops),
            piece=self._piece,
            work=make_canvas(
                model, request, recipe, layout.tokens, line_ends, growth, () if shape.elastic else self._never
            ),
        )

    def _framed(self, pieces: list[Sequence[int] | Gap]) -> list[Sequence[int] | Gap]:
        """DreamOn's models have seen texts from the first token to the end of the text."""
        model = self._model
        opens = isinstance(pieces[0], Gap) or list(pieces[0][:1]) != [model.bos_id]
        closes = isinstance(pieces[-1], Gap) or list(pieces[-1][-1:]) != [model.eos_id]
        first = [[model.bos_id]] if opens and model.bos_id >= 0 else []
        return [*first, *pieces, *([[model.eos_id]] if closes else [])]

    @cached_property
    def _expand_id(self) -> int:
        """The token by which a model says that a mask stands for several; -1 if it was not trained to."""
        if "dreamon" not in self._model.metadata.get("general.name", "").lower().replace(" ", ""):
            return -1
        named = [self._model.tokenize(text, parse_special=True) for text in EXPANDS]
        return next((ids[0] for ids in named if len(ids) == 1 and not self._piece(ids[0])), -1)

    @cached_property
    def _never(self) -> tuple[int, ...]:
        """What may not be written where nothing is to become longer."""
        return (self._expand_id,) if self._expand_id >= 0 else ()

    @cached_property
    def _line_ends(self) -> tuple[int, ...]:
        """The tokens that end a line and are nothing else."""
        texts = [self._model.tokenize(text) for text in LINE_ENDS]
        return tuple(ids[0] for ids in texts if len(ids) == 1)

    def _able(self, board: Board | None) -> Able:
        return Able(
            not self._model.native,
            lambda: unless_cancelled(partial(self._findings.block_fault, board), None),
            window=self._settings.usual_window,
            block_length=self._settings.block_length,
        )

    def _curve(self, board: Board | None) -> Curve:
        return unless_cancelled(partial(self._findings.curve, board), Curve())


def common_options(model: Any, request: DiffusionRequest | BlockRequest) -> dict[str, Any]:
    """What canvases of every kind take from the model and the request as it stands there."""
    return {
        "seed": request.seed,
        "temperature": request.temperature,
        "top_k": request.top_k,
        "top_p": request.top_p,
        "shift": model.shift,
        "eos_last": request.confidence_eos_eot_inf,
        "eos_id": model.eos_id,
        "eot_id": model.eot_id,
        "n_top": request.n_top,
        "form": None if request.grammar is None else strategies.make_form(model, request.grammar),
    }


def make_canvas(
    model: Any,
    request: DiffusionRequest,
    recipe: Recipe,
    tokens: Sequence[int],
    line_ends: Sequence[int] = (),
    growth: Growth | None = None,
    never: tuple[int, ...] = (),
) -> Canvas:
    """A canvas that is decoded as the recipe says, with everything else from the request."""
    forbidden = (*never, model.eos_id) if request.logits_eos_inf else never
    most = rows_of_block(model.n_vocab, request, growth)
    return Canvas(
        tokens,
        mask_id=model.mask_id,
        rule=strategies.make_rule(recipe.algorithm, alg_temp=recipe.alg_temp, **recipe.rule_options),
        schedule=strategies.make_schedule(recipe.schedule, eps=request.eps),
        plan=strategies.make_plan(recipe.plan, **recipe.plan_options),
        ends=ends_of(request, recipe, line_ends, enough=SURE_OF_LINE[bool(model.shift)], most=most),
        edits=strategies.make_edits(
            model.mask_id,
            cfg_scale=request.cfg_scale,
            logit_bias=dict(request.logit_bias),
            repetition_penalty=request.repetition_penalty,
            forbidden=forbidden,
            n_credited=len(tokens) if recipe.algorithm == "credit" else 0,
            gaps=growth if isinstance(growth, Elastic) else None,
        ),
        growth=growth,
        steps=recipe.steps,
        block_length=recipe.block_length,
        share=SHARES["masked"],
        **common_options(model, request),
    )


def rows_of_block(n_vocab: int, request: DiffusionRequest, growth: Growth | None) -> int:
    """Rows that a block may have, in each of its canvases, beside those that tell whether the answer is long enough."""
    n_tail = growth.n_tail if growth is not None else 0
    return most_rows(n_vocab, streams_of(request.cfg_scale)) - n_tail


def ends_of(
    request: DiffusionRequest, recipe: Recipe, line_ends: Sequence[int], *, enough: float, most: int
) -> Ends | None:
    """What ends a block of at most `most` positions, when it is not its length alone."""
    if not line_ends:
        return None
    n_looked_at = min(request.max_tokens, 4 * most)
    enough = request.block_end_threshold or enough
    return strategies.make_ends(line_ends, length=recipe.block_length, n_masked=n_looked_at, enough=enough)
