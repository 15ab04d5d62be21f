"""The engine: one model that answers prompts, chats, gaps to fill, and questions for its raw logits.

It may be shared by threads: one works, the others wait their turn. Nothing here touches a logit; the loop
is in `hoshikage._core` and needs no Python between two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from os import PathLike, fspath
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hoshikage import nano
from hoshikage import settings as table
from hoshikage._block import BlockSession
from hoshikage._board import Board
from hoshikage._core import Model, Session
from hoshikage._model import gpu_offload
from hoshikage.checks import shown
from hoshikage.engine.answer import Answer
from hoshikage.engine.block import BlockDenoiser
from hoshikage.engine.causal import Writer
from hoshikage.engine.desk import Desk
from hoshikage.engine.diffusion import Denoiser
from hoshikage.engine.findings import Does
from hoshikage.engine.gaps import Piece, gap_of, template_pieces
from hoshikage.engine.prompt import THINK, chat_ids, checked_ids, text_ids
from hoshikage.engine.renderer import Renderer
from hoshikage.engine.result import Result, Snapshot
from hoshikage.engine.sessions import Sessions
from hoshikage.engine.turn import Turn
from hoshikage.errors import Cancelled, ParameterError, UnsupportedModelError
from hoshikage.gguf import Wish
from hoshikage.settings import Settings

Ids: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
Prompt: TypeAlias = str | Ids
Messages: TypeAlias = Sequence[Mapping[str, Any]]

N_ENDING = 16  # tokens at the end of a prompt that may write a tag and white space


def load(
    path: str | PathLike[str],
    *,
    settings: Settings | None = None,
    board: Board | None = None,
    progress: Callable[[float], object] | None = None,
    mmap: bool | None = None,
    retag: bool = True,
    check_tensors: bool = False,
    **overrides: Any,
) -> Engine:
    """Load a GGUF file, or an embedded model by its name.

    `overrides` are settings by name: `n_ctx=2048`, `n_gpu_layers=0`, `temperature=0.7`. The others come from
    an embedded model's own, the environment, `.env` files and defaults unless given. `progress` is called with
    fractions from 0 to 1; `board.cancel()` ends the load. `retag=False` leaves a diffusion model without a cache,
    as llama.cpp loads it: slower, for comparison.
    """
    if settings is None:
        own = nano.settings_of(fspath(path)) if nano.is_embedded(path) else {}
        settings = table.replaced(table.read(), own)
    settings = table.replaced(settings, overrides)
    model = Model(
        nano.resolve(path),
        n_gpu_layers=gpu_layers(settings),
        main_gpu=settings.main_gpu,
        tensor_split=settings.tensor_split,
        split_mode=settings.split_mode,
        mmap=mmap,
        retag=retag,
        check_tensors=check_tensors,
        board=board,
        progress=progress,
        wish=Wish.of(settings),
    )
    try:
        return Engine(model, settings)
    except BaseException:
        model.close()
        raise


def gpu_layers(settings: Settings) -> int:
    """Layers to put on a GPU, as far as that is wanted; -1: all."""
    if settings.device_preference == "cuda" and not gpu_offload():
        raise ParameterError("DEVICE_PREFERENCE", "llama.cpp finds no GPU", "use auto, or install a build with CUDA")
    return 0 if settings.device_preference == "cpu" else settings.n_gpu_layers


class Engine:
    """A loaded model and everything one can ask it. Closing it closes the model."""

    def __init__(self, model: Any, settings: Settings | None = None) -> None:
        if model.is_diffusion and model.mask_id < 0:
            cause = "a diffusion model needs a mask token, and this file names none"
            raise UnsupportedModelError(model.path, cause, "set tokenizer.ggml.mask_token_id in the file")
        self.model = model
        self.settings = settings if settings is not None else Settings()
        self._turn = Turn()
        self._does: Does = self._in_turn
        self._sessions: Sessions[Any] = Sessions(model, self.settings, BlockSession if model.block_length else Session)
        template = model.chat_template
        self._renderer = Renderer(template) if template else None
        self._way: Denoiser | BlockDenoiser | Writer
        if model.block_length:
            self._way = BlockDenoiser(model, self.settings, self._sessions)
        elif model.is_diffusion:
            self._way = Denoiser(model, self.settings, self._sessions, lambda work: self._does(work))
        else:
            self._way = Writer(model, self.settings)
        self._closed = False

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all memory back. Waits for another thread's work to end."""
        with self._turn:
            self._closed = True
            self._way.close()
            self._sessions.close()
            if self._renderer is not None:
                self._renderer.close()
            self.model.close()

    def get_ready(self, board: Board | None = None) -> None:
        """Compute now what requests will rely on; otherwise the first that does so has it computed. Raises Cancelled
        when the board says so."""
        if isinstance(self._way, Denoiser):
            self._way.get_ready(board)

    def compute_by(self, does: Does) -> None:
        """Have such things computed by whoever runs a desk of this engine: its passes are not to meet others."""
        self._does = does

    def abandon(self) -> None:
        """End what this process would leave behind when it ends here and now; the engine is of no use afterwards."""
        if self._renderer is not None:
            self._renderer.abandon()

    @property
    def n_ctx(self) -> int:
        """Tokens that one request may have, prompt and answer together."""
        return self._sessions.n_ctx

    @property
    def has_chat_template(self) -> bool:
        """Whether `chat` can be used."""
        return self._renderer is not None

    # -- asking

    @overload
    def generate(
        self, prompt: Prompt, *, stream: Literal[False] = ..., board: Board | None = ..., parse_special: bool = ...,
        **options: Any,
    ) -> Result: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: Sequence[Prompt], *, stream: Literal[False] = ..., board: Board | None = ...,
        parse_special: bool = ..., **options: Any,
    ) -> list[Result]: ...  # fmt: skip
    @overload
    def generate(
        self, prompt: Prompt | Sequence[Prompt], *, stream: Literal[True], board: Board | None = ...,
        parse_special: bool = ..., **options: Any,
    ) -> Iterator[Snapshot]: ...  # fmt: skip
    def generate(
        self,
        prompt: Any,
        *,
        stream: bool = False,
        board: Board | None = None,
        parse_special: bool = False,
        **options: Any,
    ) -> Any:
        """Answer a prompt: text or token ids, or a list of either, which is answered side by side.

        `options` are the fields of `DiffusionRequest` or `CausalRequest`. `stream=True` gives an iterator of
        snapshots instead of results. `board.cancel()`, from any thread, ends the work with what is there.
        Special tokens written in a prompt are plain text unless `parse_special`.
        """
        prompts, single = as_prompts(prompt)
        ids = [self.prompt_tokens(one, parse_special=parse_special) for one in prompts]
        answers = [self.answer(index, one, options, board) for index, one in enumerate(ids)]
        return self._answered(answers, single, stream, board)

    def chat(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
        continue_final_message: bool | None = None,
        stream: bool = False,
        board: Board | None = None,
        **options: Any,
    ) -> Any:
        """Answer a conversation, `[{"role": "user", "content": "..."}]`, by the model's own chat template.

        Gives a Result, or with `stream=True` an iterator of snapshots. `tools` and `template_options` (such
        as `enable_thinking`) are what the template knows by these names. A conversation that ends with a text of the
        assistant's is gone on with there, unless `continue_final_message` is false.
        """
        ids = self.chat_tokens(
            messages,
            tools=tools,
            template_options=template_options,
            continue_final_message=continue_final_message,
        )
        return self._answered([self.answer(0, ids, options, board)], True, stream, board)

    def infill(
        self,
        prefix: Prompt,
        suffix: Prompt = "",
        *,
        length: int | Sequence[int] | None = None,
        stream: bool = False,
        board: Board | None = None,
        parse_special: bool = False,
        **options: Any,
    ) -> Any:
        """Fill a gap of `length` tokens (by default `max_tokens`) between two texts, reading both.

        A DreamOn model finds the length itself where none is given, or between the two numbers of a range. Gives a
        Result, or with `stream=True` an iterator of snapshots; `text` is what stands in the gap.
        """
        gap = None if length is None else gap_of("length", length)
        before, behind = self.gap_tokens(prefix, suffix, parse_special=parse_special)
        return self._answered([self.gaps_answer(0, [before, gap, behind], options, board)], True, stream, board)

    def fill(
        self,
        template: Sequence[str | int | Sequence[int]],
        *,
        stream: bool = False,
        board: Board | None = None,
        parse_special: bool = False,
        **options: Any,
    ) -> Any:
        """Fill all gaps of a template, `["Dear ", 8, ", thank you for ", [2, 32], "."]`, at the same time.

        `text` begins with the first gap and ends with the last; the text between them is in it.
        """
        pieces = self.template_pieces(template, parse_special=parse_special)
        return self._answered([self.gaps_answer(0, pieces, options, board)], True, stream, board)

    def logits(self, ids: ArrayLike, mask: ArrayLike | None = None) -> NDArray[np.float32]:
        """The model's raw logits, float32 [batch, position, vocabulary], for ids [batch, position].

        `mask` (like `ids`) is false on padding, which may stand at the ends of a row; its logits are NaN.
        """
        tokens = as_table("ids", ids)
        if tokens.size == 0:
            raise ParameterError("ids", "there are none", "give at least one token")
        checked_ids(self.model, [int(tokens.min()), int(tokens.max())], name="ids")
        real = None if mask is None else as_table("mask", mask).astype(bool)
        n_positions = tokens.shape[1]
        self._sessions.check_fits(n_positions)
        with self.session(n_positions, n_rows=self._sessions.rows_for(n_positions)) as session:
            return session.logits(tokens.astype(np.int32), real)

    @contextmanager
    def session(self, n_ctx: int, n_seq: int = 1, n_rows: int = 0, n_tokens: int = 0) -> Iterator[Session]:
        """A session of at least this size, for direct work with `hoshikage._core`; other threads wait meanwhile.

        `n_rows` is how many rows of logits a pass returns, by default one for each position; `n_tokens` how many
        positions it computes, by default all. Leave no canvas in it.
        """
        with self._turn:
            self._check_open()
            yield self._sessions.open(n_ctx, n_seq, n_rows or n_ctx, n_tokens)

    # -- text and tokens

    def tokenize(self, text: str, *, parse_special: bool = False) -> list[int]:
        """The tokens of a text, without BOS; special tokens written in it are plain text unless asked."""
        self._check_open()
        return self._ids(text, "text", parse_special, opens=False)

    def chat_tokens(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_options: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool | None = None,
    ) -> list[int]:
        """The tokens of a conversation, up to where the answer begins, or without `add_generation_prompt` to the end of
        what was said.
        """
        self._check_open()
        return chat_ids(
            self.model,
            self._renderer,
            messages,
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            template_options=template_options,
        )

    def ends_in_thought(self, ids: Sequence[int]) -> bool:
        """Whether the answer to a prompt begins inside a thought: DeepSeek-R1's template opens one, for example."""
        return self.detokenize(ids[-N_ENDING:], special=True).rstrip().endswith(THINK)

    @cached_property
    def longest_piece(self) -> int:
        """Bytes of the longest token: a text of more characters has more tokens than one."""
        return max(1, *(len(self.model.piece(token)) for token in range(self.model.n_vocab)))

    def detokenize(self, ids: Ids, *, special: bool = False) -> str:
        """The text of tokens; special ones are left out unless asked for."""
        self._check_open()
        raw: bytes = self.model.detokenize(checked_ids(self.model, as_ids(ids, "ids"), name="ids"), special=special)
        return raw.decode(errors="replace")

    def prompt_tokens(self, prompt: Prompt, *, parse_special: bool = False) -> list[int]:
        """The tokens of a prompt, as the model wants it to begin."""
        return self._ids(prompt, "prompt", parse_special)

    def gap_tokens(self, prefix: Prompt, suffix: Prompt, *, parse_special: bool = False) -> tuple[list[int], list[int]]:
        """The tokens before a gap and those behind it."""
        before = self._ids(prefix, "prefix", parse_special)
        return before, self._ids(suffix, "suffix", parse_special, opens=False)

    def template_pieces(self, template: object, *, parse_special: bool = False) -> list[Piece]:
        """The tokens of a template's texts, and its gaps."""
        self._check_open()
        return template_pieces(template, lambda text, opens: self._ids(text, "template", parse_special, opens=opens))

    # -- answers that somebody else brings to their end

    def answer(
        self, index: int, ids: Sequence[int], options: Mapping[str, object], board: Board | None = None
    ) -> Answer:
        """An answer to be made: nothing is computed yet but what `get_ready` would, and `board` ends that."""
        self._check_open()
        if isinstance(self._way, Denoiser):
            return self._way.prepare(index, ids, options, board)
        return self._way.prepare(index, ids, options)

    def gaps_answer(
        self, index: int, pieces: Sequence[Piece], options: Mapping[str, object], board: Board | None = None
    ) -> Answer:
        """The same for what stands between given texts."""
        self._check_open()
        if not isinstance(self._way, Denoiser):
            cause = f"a {self.model.kind.name} model reads from left to right and cannot fill a gap"
            raise UnsupportedModelError(self.model.path, cause, "use a masked diffusion model")
        return self._way.prepare_gaps(index, pieces, options, board)

    def desk(self, *, n_expected: int = 1, gate: AbstractContextManager[Any] | None = None) -> Desk:
        """Where answers of this engine are worked on. It has the engine to itself while it is busy."""
        return Desk(self._way, self.settings.n_seq, n_expected, gate or nullcontext())

    # -- inside

    def _in_turn(self, work: Callable[[], Any]) -> Any:
        with self._turn:
            self._check_open()
            return work()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"the engine of {self.model.path} is closed")

    def _ids(self, prompt: object, name: str, parse_special: bool, *, opens: bool = True) -> list[int]:
        """The tokens of a prompt, or of a text that does not open one and so has no BOS."""
        self._check_open()
        if not isinstance(prompt, str):
            return checked_ids(self.model, as_ids(prompt, name), name=name)
        return text_ids(self.model, prompt, name=name, parse_special=parse_special, opens=opens)

    def _answered(self, answers: Sequence[Answer], single: bool, stream: bool, board: Board | None) -> Any:
        snapshots = self._snapshots(answers, board if board is not None else Board(), watched=stream)
        if stream:
            return snapshots
        ended = {snapshot.index: snapshot.result for snapshot in snapshots if snapshot.result is not None}
        return ended[0] if single else [ended[answer.index] for answer in answers]

    def _snapshots(self, answers: Sequence[Answer], board: Board, watched: bool) -> Iterator[Snapshot]:
        if not answers:
            return
        with self._turn:
            self._check_open()
            yield from work_through(self.desk(), answers, board, watched)


def work_through(desk: Desk, answers: Sequence[Answer], board: Board, watched: bool) -> Iterator[Snapshot]:
    """Bring all answers to their end; snapshots of each step when watched, otherwise of each answer's end."""
    for answer in answers:
        desk.join(answer, watched=watched)
    try:
        while desk.busy:
            for news in desk.step(board):
                yield news.snapshot()
    except Cancelled:
        for news in desk.leave():
            yield news.snapshot()
    finally:
        desk.clear()


def as_prompts(prompt: Any) -> tuple[Sequence[Any], bool]:
    """A list of prompts, and whether it was one alone."""
    if hasattr(prompt, "tolist"):
        prompt = prompt.tolist()  # an array or a tensor
    if isinstance(prompt, str):
        return [prompt], True
    if not isinstance(prompt, (list, tuple)):
        raise ParameterError("prompt", f"{shown(prompt)} is no prompt", "give text, token ids, or a list of either")
    is_ids = bool(prompt) and not any(isinstance(one, (str, list, tuple)) or hasattr(one, "tolist") for one in prompt)
    return ([prompt], True) if is_ids else (prompt, False)


def as_ids(ids: Any, name: str) -> Sequence[object]:
    """A sequence of what should be token ids."""
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    if not isinstance(ids, (list, tuple)):
        raise ParameterError(name, f"{shown(ids)} is neither text nor a list of token ids", "give one of them")
    return ids


def as_table(name: str, values: ArrayLike) -> NDArray[Any]:
    """Whole numbers in rows: one row, or several of one length."""
    try:
        rows = np.atleast_2d(np.asarray(values))
    except ValueError:
        raise ParameterError(name, "its rows differ in length", "pad them, and give a mask") from None
    if rows.ndim != 2 or rows.dtype.kind not in "iub":
        cause = f"an array of {rows.dtype} with {rows.ndim} dimensions is not a table of whole numbers"
        raise ParameterError(name, cause, "give integers [batch, position]")
    return rows
