"""Diffusion answers: canvases made from requests, decoded side by side, read from left to right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from hoshikage import strategies
from hoshikage._board import Board
from hoshikage._canvas import Canvas
from hoshikage._core import Session
from hoshikage.engine.answer import Answer, stop_ids
from hoshikage.engine.request import DiffusionRequest, Recipe, check_bias, read, recipe_of
from hoshikage.engine.result import Snapshot
from hoshikage.engine.sessions import Sessions
from hoshikage.engine.text import TextReader
from hoshikage.errors import Cancelled, ContextOverflowError, ParameterError
from hoshikage.settings import Settings

SHARED_CELLS = 4096  # positions that canvases share in one pass, unless one alone is longer


@dataclass(slots=True, kw_only=True)
class CanvasAnswer(Answer):
    """An answer that a canvas holds, in the positions from `lo` to `hi`."""

    request: DiffusionRequest
    canvas: Canvas
    lo: int = field(init=False)
    hi: int = field(init=False)
    n_streams: int = field(init=False)
    n_read: int = field(init=False)

    def __post_init__(self) -> None:
        self.lo, self.hi = self.canvas.lo, self.canvas.hi
        self.n_read = self.lo
        self.n_streams = 2 if self.request.cfg_scale > 0 else 1

    @property
    def n_cells(self) -> int:
        return self.canvas.n * self.n_streams

    @property
    def n_rows(self) -> int:
        return self.canvas.block_length * self.n_streams

    @property
    def complete(self) -> bool:
        """Whether no further step can change the text."""
        return self.canvas.done or (self.reader.stopped and self.request.early_stop)

    def read(self) -> str:
        """The text that the last steps made certain."""
        end = min(self.canvas.settled_prefix(self.n_read), self.hi)
        if end == self.n_read:
            return ""
        tokens = self.canvas.tokens[self.n_read : end]
        self.n_read = end
        return self.reader.feed(tokens)

    def state(self, delta: str, *, ended: bool = False, cancelled: bool = False) -> Snapshot:
        """The snapshot now; with the result in it, once ended."""
        canvas = self.canvas
        tokens = canvas.tokens
        settled = canvas.settled_at
        result = None
        if ended:
            delta += self.reader.finish()
            result = self.result(n_passes=canvas.n_passes, n_rows=canvas.n_rows, cancelled=cancelled, canvas=tokens)
        shown = [tokens[i] if settled[i] >= 0 else None for i in range(self.lo, self.hi)]
        return self.snapshot(delta, step=canvas.step, n_steps=canvas.n_steps, tokens=shown, result=result)


class Denoiser:
    """How a diffusion model answers."""

    def __init__(self, model: Any, settings: Settings, sessions: Sessions) -> None:
        self._model = model
        self._settings = settings
        self._sessions = sessions
        self._eog_ids = model.eog_ids
        self._piece = cache(model.piece)

    def prepare(self, index: int, ids: Sequence[int], options: Mapping[str, object]) -> CanvasAnswer:
        """A prompt with its answer behind it, cut where the context ends."""
        request, warnings = read(DiffusionRequest, options, self._settings)
        n_free = self._sessions.n_ctx - len(ids)
        if n_free < 1:
            raise ContextOverflowError(len(ids), self._sessions.n_ctx)
        if request.max_tokens > n_free:
            warnings += (f"max_tokens {request.max_tokens} became {n_free}: the context ends there",)
            request = replace(request, max_tokens=n_free)
        return self._answer(index, ids, [], request, warnings)

    def prepare_gap(self, prefix: Sequence[int], suffix: Sequence[int], options: Mapping[str, object]) -> CanvasAnswer:
        """Two texts and the gap between them, which is as long as it was asked to be."""
        request, warnings = read(DiffusionRequest, options, self._settings)
        self._sessions.check_fits(len(prefix) + request.max_tokens + len(suffix))
        return self._answer(0, prefix, suffix, request, warnings)

    def run(self, answers: Sequence[CanvasAnswer], board: Board, watched: bool) -> Iterator[Snapshot]:
        """Decode all answers; snapshots of each step when watched, otherwise of each answer's end."""
        room = room_for(answers, self._settings.n_seq, self._sessions.rows_for)
        session = self._sessions.open(room.n_cells, room.n_streams, room.n_rows)
        return decode(session, answers, room, board, watched)

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
        recipe, more = recipe_of(request, shift=model.shift, n_masked=request.max_tokens)
        check_bias(request, model.n_vocab)
        return CanvasAnswer(
            index=index,
            request=request,
            warnings=warnings + more,
            n_prompt=len(prefix) + len(suffix),
            reader=TextReader(self._piece, stop_ids=stop_ids(model, self._eog_ids, request.stop), stops=request.stop),
            piece=self._piece,
            canvas=make_canvas(model, request, recipe, [*prefix, *[model.mask_id] * request.max_tokens, *suffix]),
        )


def make_canvas(model: Any, request: DiffusionRequest, recipe: Recipe, tokens: Sequence[int]) -> Canvas:
    """A canvas that is decoded as the recipe says, with everything else from the request."""
    forbidden = (model.eos_id,) if request.logits_eos_inf else ()
    return Canvas(
        tokens,
        mask_id=model.mask_id,
        rule=strategies.make_rule(recipe.algorithm, alg_temp=request.alg_temp),
        schedule=strategies.make_schedule(recipe.schedule, eps=request.eps),
        edits=strategies.make_edits(
            model.mask_id,
            cfg_scale=request.cfg_scale,
            logit_bias=dict(request.logit_bias),
            repetition_penalty=request.repetition_penalty,
            forbidden=forbidden,
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
    )


@dataclass(frozen=True, slots=True)
class Room:
    """What the canvases that are decoded side by side may take together."""

    n_cells: int
    n_streams: int
    n_rows: int


def room_for(answers: Sequence[CanvasAnswer], n_side_by_side: int, rows_for: Callable[[int], int]) -> Room:
    """Enough for the largest alone, and for as many side by side as are worth one pass."""
    n_streams = max(answer.n_streams for answer in answers)
    n_together = min(n_side_by_side, len(answers))
    n_cells = max(answer.n_cells for answer in answers)
    n_rows = max(answer.n_rows for answer in answers)
    return Room(
        n_cells=min(n_cells * n_together, max(n_cells, SHARED_CELLS)),
        n_streams=n_streams * n_together,
        n_rows=max(n_rows, rows_for(n_rows * n_together)),
    )


def decode(
    session: Session, answers: Sequence[CanvasAnswer], room: Room, board: Board, watched: bool
) -> Iterator[Snapshot]:
    """Decode all answers; snapshots of each step when watched, otherwise of each answer's end."""
    waiting = deque(answers)
    working: list[CanvasAnswer] = []
    # A text that may end early is looked at after every step, so that the same request takes the same passes.
    max_steps = 1 if watched or any(answer.request.early_stop for answer in answers) else 0
    try:
        while waiting or working:
            admit(session, waiting, working, room)
            session.run(board, max_steps)
            for answer in list(working):
                delta = answer.read()
                if answer.complete:
                    leave(session, working, answer)
                if answer.complete or watched:
                    yield answer.state(delta, ended=answer.complete)
    except Cancelled:
        for answer in [*working, *waiting]:
            yield answer.state(answer.read(), ended=True, cancelled=True)
    finally:
        for answer in list(working):
            leave(session, working, answer)


def admit(session: Session, waiting: deque[CanvasAnswer], working: list[CanvasAnswer], room: Room) -> None:
    """Let in, in order, those for whom there is room."""
    while waiting:
        answer = waiting[0]
        fits = sum(other.n_cells for other in working) + answer.n_cells <= room.n_cells
        fits = fits and sum(other.n_streams for other in working) + answer.n_streams <= room.n_streams
        if not (fits and sum(other.n_rows for other in working) + answer.n_rows <= room.n_rows):
            return
        session.add(answer.canvas)
        working.append(waiting.popleft())


def leave(session: Session, working: list[CanvasAnswer], answer: CanvasAnswer) -> None:
    """Take an answer out; the session has let go of a finished canvas by itself."""
    working.remove(answer)
    if answer.canvas in session.canvases:
        session.remove(answer.canvas)
