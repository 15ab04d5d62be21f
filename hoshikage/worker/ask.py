"""What can be asked of a model, and what comes back: the values that cross from process to process.

They are made of what JSON knows, and they say nothing about processes: whoever asks (a server, a command) gets the
same events from a model that waits for memory, loads or is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from hoshikage.engine.result import Token as Token
from hoshikage.errors import HoshikageError

Kind = Literal["generate", "chat", "infill", "tokenize", "detokenize", "template", "describe"]
LIGHT = frozenset({"tokenize", "detokenize", "template", "describe"})  # no forward pass: they need no place in a batch
Watch = Literal["end", "text", "canvas"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing asked of one model.

    The body of each kind; `options` are those of `engine.request`, and `n` answers each prompt so many times, with
    seeds that follow each other:

        generate    prompts (list of texts or lists of ids), n, parse_special, options
        chat        messages, n, tools, template_options, continue_final_message, options
        infill      prefix, suffix (text or ids), length, or a template of texts and gaps; n, parse_special, options
        tokenize    text, parse_special, opens (whether BOS stands before it), pieces (whether they are told)
                                                                               -> {"ids": [...], "pieces": [...]}
        detokenize  ids, special                                               -> {"text": ...}
        template    messages, tools, template_options, continue_final_message, add_generation_prompt
                                                                               -> {"text": ..., "ids": [...]}
        describe                                                               -> facts of the loaded model
    """

    kind: Kind
    body: Mapping[str, Any] = field(default_factory=dict)
    watch: Watch = "end"  # what is told on the way: nothing, text as it is settled, or the whole canvas of each step


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An ask whose body is checked and written as it crosses, which of a long one takes the better part of a second."""

    kind: Kind
    body: orjson.Fragment
    watch: Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The request stands in the queue, so many before it."""

    n_ahead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The model is being loaded: from 0 to 1."""

    progress: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer at one moment; `delta` is text that is certain now and was not before, `tokens` what it came from."""

    index: int  # of the answer: prompt number x n + its number
    delta: str
    step: int
    n_steps: int
    in_thought: bool = False  # the answer began inside one, which the prompt opens
    tokens: tuple[Token, ...] = ()  # only when logprobs were asked for
    cells: tuple[str | None, ...] = ()  # watch="canvas": the text at each position, None where it is masked
    confidence: tuple[float, ...] = ()  # watch="canvas": how sure each settled position was


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer is complete. What `Said` told before is all of `text`; the rest of its text is in `delta`."""

    index: int
    delta: str
    text: str
    stop_reason: Literal["stop", "length", "cancelled"]
    counts: Mapping[str, float]  # engine.result.Counts as a mapping
    seed: int
    stopped_by: str = ""  # the stop string that ended it, where one did
    how: str = ""  # a canvas was decoded, in words
    in_thought: bool = False  # as `Said` has it
    warnings: tuple[str, ...] = ()
    tokens: tuple[Token, ...] = ()  # those behind the last `Said`, when logprobs were asked for
    prompt: tuple[Token, ...] = ()  # the prompt's, when they were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The last event of what went well; `value` is what kinds without answers give."""

    value: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The last event of what went wrong."""

    error: HoshikageError


Event: TypeAlias = Waiting | Loading | Said | Answered | Done | Failed
