"""The engine on a model made of a hash: what is answered, and that nothing about the way there shows in it."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import strategies
from hoshikage._board import Board
from hoshikage.engine.engine import Engine
from hoshikage.engine.gaps import Gap
from hoshikage.engine.recipe import SCHEDULED_STEPS
from hoshikage.engine.result import Result, Snapshot, cells_of
from hoshikage.errors import ContextOverflowError, HoshikageError, ParameterError, TemplateError, UnsupportedModelError
from hoshikage.settings import ALGORITHMS, SCHEDULES, Settings
from tests.cases import PARALLEL
from tests.fake import fake_logits
from tests.reference import decode
from tests.speaker import Speaker

BAN = -float("inf")
LETTERS = {token: BAN for token in range(256) if not 97 <= token <= 100}  # abcd and the special tokens
PROMPTS = st.text("abc é", max_size=6)
OPTIONS = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 24), "seed": st.integers(0, 2**32), "logit_bias": st.just(LETTERS)},
    optional={
        "algorithm": st.sampled_from(sorted(ALGORITHMS)),
        "schedule": st.sampled_from(sorted(SCHEDULES)),
        "steps": st.integers(1, 30),
        "block_length": st.integers(1, 30),
        "temperature": st.sampled_from([0.0, 0.7, 2.0]),
        "cfg_scale": st.sampled_from([0.0, 1.0]),
        "stop": st.sampled_from([(), ("a",), ("ab", "ca"), "bb"]),
        "confidence_eos_eot_inf": st.booleans(),
    },
)
MODELS = st.builds(Speaker, salt=st.integers(0, 1000), shift=st.booleans())
CHATTER = Engine(Speaker())  # one for all examples: a process renders its template


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(Speaker(salt=7)) as made:
        yield made


def same(left: Result, right: Result) -> bool:
    return (left.text, left.tokens, left.stop_reason) == (right.text, right.tokens, right.stop_reason)


# -- what is answered


@given(MODELS, PROMPTS, OPTIONS)
def test_the_canvas_is_the_one_that_the_papers_define(model: Speaker, prompt: str, options: dict[str, Any]) -> None:
    result = Engine(model).generate(prompt, early_stop=False, quality="exact", **options)
    ids, n = model.tokenize(prompt), options["max_tokens"]
    algorithm = ALGORITHMS[options.get("algorithm", "entropy" if model.shift else "low_confidence")]
    own_schedule = "timestep" if model.shift else "block"
    if algorithm in PARALLEL:
        own_schedule = "block" if "steps" in options else "adaptive"
    elif not {"algorithm", "schedule", "steps"} & options.keys() and (not model.shift or "block_length" in options):
        own_schedule = "adaptive"
    schedule = SCHEDULES[options.get("schedule", own_schedule)]
    expected = decode(
        lambda canvases: np.stack([fake_logits(canvas, model.n_vocab, model.salt) for canvas in canvases]),
        [*ids, *[model.mask_id] * n],
        model.mask_id,
        algorithm={"margin": "topk_margin"}.get(algorithm, algorithm),
        schedule=schedule,
        steps=options.get("steps", SCHEDULED_STEPS if {"algorithm", "schedule"} & options.keys() else n),
        block_length=options.get("block_length", 0 if schedule == "timestep" else 32),
        shift=model.shift,
        eos_id=model.eos_id,
        eot_id=model.eot_id,
        **{name: options[name] for name in ("seed", "logit_bias")},
        **{name: options[name] for name in ("temperature", "cfg_scale", "confidence_eos_eot_inf") if name in options},
    )
    if expected.margin > 1e-4:
        assert result.canvas == tuple(expected.tokens.tolist())
        assert result.counts.n_passes == expected.n_passes
    answer = result.canvas[len(ids) :]
    ends = [i for i, token in enumerate(answer) if token in model.eog_ids]
    stopped = ends or result.text != model.detokenize(answer).decode()
    assert result.stop_reason == ("stop" if stopped else "length")


@given(MODELS, PROMPTS, st.integers(1, 24), st.integers(1, 30))
def test_exact_takes_a_pass_for_each_token(model: Speaker, prompt: str, max_tokens: int, block_length: int) -> None:
    options: dict[str, Any] = {"max_tokens": max_tokens, "block_length": block_length, "logit_bias": LETTERS}
    result = Engine(model).generate(prompt, quality="exact", early_stop=False, **options)
    assert result.counts.n_passes == max_tokens


@given(MODELS, PROMPTS, OPTIONS)
def test_stopping_early_changes_nothing_but_the_work(model: Speaker, prompt: str, options: dict[str, Any]) -> None:
    engine = Engine(model)
    early, whole = (engine.generate(prompt, early_stop=early, **options) for early in (True, False))
    assert same(early, whole)
    assert early.counts.n_passes <= whole.counts.n_passes


@given(MODELS, PROMPTS, OPTIONS)
def test_a_stream_says_what_the_result_says(model: Speaker, prompt: str, options: dict[str, Any]) -> None:
    engine = Engine(model)
    snapshots = list(engine.generate(prompt, stream=True, **options))
    last = snapshots[-1].result
    assert last is not None
    assert all(snapshot.result is None for snapshot in snapshots[:-1])
    assert pickle.loads(pickle.dumps(snapshots)) == snapshots
    assert "".join(snapshot.delta for snapshot in snapshots) == last.text
    assert same(last, engine.generate(prompt, **options))
    settled = [sum(token is not None for token in snapshot.tokens) for snapshot in snapshots]
    assert settled == sorted(settled) or options.get("algorithm") == "saber"


@given(MODELS, st.lists(PROMPTS, max_size=5), OPTIONS, st.integers(1, 3))
def test_prompts_side_by_side_are_answered_as_alone(
    model: Speaker, prompts: list[str], options: dict[str, Any], n_seq: int
) -> None:
    together = Engine(model, Settings(n_seq=n_seq)).generate(prompts, **options)
    alone = [Engine(model).generate(prompt, **options) for prompt in prompts]
    assert len(together) == len(alone)
    assert all(same(left, right) for left, right in zip(together, alone, strict=True))
    assert [one.counts.n_passes for one in together] == [one.counts.n_passes for one in alone]


def test_text_and_its_tokens_are_the_same_prompt(engine: Engine) -> None:
    ids = engine.tokenize("abc")
    text = engine.generate("abc", seed=1)
    assert same(text, engine.generate(ids, seed=1))
    assert same(text, engine.generate(np.array(ids), seed=1))
    assert len(engine.generate([ids, "abc"], seed=1)) == 2
    nothing: list[str] = []
    assert engine.generate(nothing) == []


def test_a_chat_is_its_template_and_its_special_tokens(engine: Engine) -> None:
    answer = engine.chat([{"role": "user", "content": "a<|eot|>"}], max_tokens=5, seed=1)
    ids = [*engine.tokenize("[user]a<|eot|>"), engine.model.eot_id, *engine.tokenize("[assistant]")]
    assert same(answer, engine.generate(ids, max_tokens=5, seed=1))
    streamed = list(engine.chat([{"role": "user", "content": "a<|eot|>"}], max_tokens=5, seed=1, stream=True))
    assert streamed[-1].result is not None
    assert same(streamed[-1].result, answer)


def test_a_gap_is_filled_between_what_stands(engine: Engine) -> None:
    result = engine.infill("ab", "yz", length=5, seed=0, logit_bias=LETTERS, early_stop=False)
    assert result.canvas[:2] == (97, 98)
    assert result.canvas[-2:] == (121, 122)
    assert len(result.canvas) == 9
    assert result.counts.n_prompt == 4
    assert len(list(engine.infill("", "yz", length=3, stream=True))) >= 1


def test_a_stop_string_that_names_a_special_token_stops_at_it() -> None:
    engine = Engine(Speaker(salt=1))
    only_bos = {token: BAN for token in range(260) if token != engine.model.bos_id}
    free = engine.generate("a", max_tokens=4, logit_bias=only_bos)
    assert (free.text, free.stop_reason, len(free.tokens)) == ("", "length", 4)
    stopped = engine.generate("a", max_tokens=4, logit_bias=only_bos, stop="<s>")
    assert (stopped.text, stopped.stop_reason, stopped.tokens) == ("", "stop", ())


def test_logits_are_the_models(engine: Engine) -> None:
    logits = engine.logits([[1, 2, 3], [4, 5, 0]], [[1, 1, 1], [1, 1, 0]])
    assert logits.dtype == np.float32
    assert np.array_equal(logits[0], fake_logits([1, 2, 3], engine.model.n_vocab, engine.model.salt))
    assert np.array_equal(logits[1, :2], fake_logits([4, 5], engine.model.n_vocab, engine.model.salt))
    assert np.isnan(logits[1, 2]).all()
    assert engine.logits([1, 2]).shape == (1, 2, engine.model.n_vocab)


def test_seeds_are_drawn_and_named(engine: Engine) -> None:
    drawn = engine.generate(["a", "a"], temperature=5, max_tokens=20)
    assert drawn[0].seed != drawn[1].seed
    again = engine.generate("a", temperature=5, max_tokens=20, seed=drawn[1].seed)
    assert same(again, drawn[1])


def test_what_has_no_effect_is_named(engine: Engine) -> None:
    result = engine.generate("a", max_tokens=4, min_p=0.1, top_k=3)
    assert result.warnings == (
        "min_p has no effect on a masked model",
        "top_k and top_p have no effect at temperature 0",
    )


def test_every_name_of_the_settings_is_known_to_the_strategies() -> None:
    assert set(ALGORITHMS.values()) == set(strategies.RULES)
    assert set(SCHEDULES.values()) == set(strategies.SCHEDULES)
    for spelled, name in ALGORITHMS.items():
        assert type(strategies.make_rule(spelled)) is strategies.RULES[name]
    for spelled, name in SCHEDULES.items():
        assert type(strategies.make_schedule(spelled)) is strategies.SCHEDULES[name]


# -- views


def test_cells_hold_whole_characters_at_their_first_position() -> None:
    raw = "aé😀".encode()
    pieces: list[bytes | None] = [bytes([byte]) for byte in raw]
    assert cells_of(pieces) == ("a", "é", "", "😀", "", "", "")
    assert cells_of([*pieces[:2], None, *pieces[3:]]) == ("a", "·", None, "😀", "", "", "")
    assert cells_of([b"ab", b"", None]) == ("ab", "", None)


@given(st.lists(st.none() | st.binary(max_size=3), max_size=12))
def test_cells_and_masks_never_mix(pieces: list[bytes | None]) -> None:
    cells = cells_of(pieces)
    assert [cell is None for cell in cells] == [piece is None for piece in pieces]
    view = Snapshot(index=0, delta="", step=0, n_steps=1, tokens=(None, 1), pieces=(None, b"x")).view("?")
    assert view == "?x"


# -- sizes


def test_a_request_may_fill_its_context_and_is_told_when_it_cannot() -> None:
    engine = Engine(Speaker(), Settings(n_ctx=16))
    assert engine.generate("a" * 8, max_tokens=8).warnings == ()
    cut = engine.generate("a" * 8, max_tokens=9, logits_eos_inf=True, early_stop=False)
    assert len(cut.canvas) == 16
    assert cut.warnings == ("max_tokens 9 became 8: the context ends there",)
    for n in (16, 17, 1600):
        with pytest.raises(ContextOverflowError) as caught:
            engine.generate("a" * n)
        assert (caught.value.n_prompt, caught.value.n_ctx) == (n, 16)
    with pytest.raises(ContextOverflowError):
        engine.infill("a" * 8, "b" * 8, length=1)
    with pytest.raises(ContextOverflowError):
        engine.logits([[1] * 17])
    assert same(engine.generate("a", seed=1), Engine(Speaker(), Settings(n_ctx=16)).generate("a", seed=1))


def test_two_canvases_of_guidance_share_the_memory_that_was_reckoned_with() -> None:
    """Unless guidance is what requests usually have, or nobody said how long they are."""
    engine, options = Engine(Speaker(), Settings(n_ctx=2048, n_seq=1)), {"cfg_scale": 1.0, "max_tokens": 1500}
    cut = engine.answer(0, [5] * 24, options)
    assert cut.warnings[0] == "max_tokens 1500 became 1000: under guidance two canvases share a pass"
    assert (cut.most_cells, cut.n_streams) == (2048, 2)
    with pytest.raises(ContextOverflowError, match="1024, in which guidance needs two canvases; leave cfg_scale out"):
        engine.answer(0, [5] * 1024, options)
    with pytest.raises(ContextOverflowError, match="guidance"):
        engine.gaps_answer(0, [[5] * 24, Gap(1001, 1001)], options)
    assert engine.gaps_answer(0, [[5] * 24, Gap(1000, 1000)], options).most_cells == 2048
    with pytest.raises(ContextOverflowError, match="use a shorter prompt"):
        engine.answer(0, [5] * 2048, {})
    for settings in (Settings(n_ctx=2048, n_seq=1, cfg_scale=1.0), Settings()):
        speaker = Speaker()
        speaker.n_ctx_train = 2048
        assert Engine(speaker, settings).answer(0, [5] * 24, options).most_cells == 2 * 1524


def test_a_larger_request_opens_a_larger_context(engine: Engine) -> None:
    small = engine.generate("a", max_tokens=4, seed=1)
    large = engine.generate("a" * 300, max_tokens=200, seed=1)
    assert len(large.canvas) == 500
    assert same(engine.generate("a", max_tokens=4, seed=1), small)


def test_room_for_a_long_answer_is_taken_as_it_grows() -> None:
    """Eight that may come to have 1,200 tokens are at work at once where three such would fit; when they become as long
    they wait for each other, and each is as it is alone."""
    endless = LETTERS | dict.fromkeys(range(256, 259), BAN)
    options = {"max_tokens": 1200, "plan": "window", "algorithm": "threshold", "logit_bias": endless, "seed": 3}
    speaker = Speaker(salt=7)
    speaker.n_ctx_train = 2048
    with Engine(speaker, Settings(n_seq=8)) as engine:
        desk, board, results = engine.desk(), Board(), {}
        answers = [engine.answer(i, [97, 98, 97 + i], options) for i in range(8)]
        for answer in answers:
            desk.join(answer)
        desk.step(board)
        assert all(answer.progress[0] > 0 for answer in answers)
        while desk.busy:
            results |= {item.answer.index: item.result for item in desk.step(board)}
        assert all(answer.n_cells > 1024 for answer in answers)
        for i, result in results.items():
            alone = engine.generate([97, 98, 97 + i], **options)
            assert len(result.tokens) == 1200
            assert same(result, alone) and result.counts.n_passes == alone.counts.n_passes
    exact = Engine(Speaker()).answer(0, [97], {"plan": "full", "max_tokens": 500})
    assert exact.n_cells == 501, "a whole canvas is seen from the first pass on"


# -- bad input: a sentence, and the next call works


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: e.generate("a", steps=0), "steps: 0 is out of range"),
        (lambda e: e.generate("a", temperature=float("nan")), "temperature: nan"),
        (lambda e: e.generate("a", algoritm=1), "did you mean 'algorithm'"),
        (lambda e: e.generate("a", logit_bias={260: 1}), "outside the vocabulary of 260"),
        (lambda e: e.generate([260]), "outside the vocabulary of 260"),
        (lambda e: e.generate([1, "a"]), "neither text nor a list"),
        (lambda e: e.generate(5), "no prompt"),
        (lambda e: e.generate(b"a"), "no prompt"),
        (lambda e: e.generate("\ud800"), "surrogate"),
        (lambda e: e.generate([e.model.mask_id]), "use infill"),
        (lambda e: e.infill("a", "b", length=0), "length: 0 is out of range"),
        (lambda e: e.logits([[1, 2], [3]]), "differ in length"),
        (lambda e: e.logits([[1.5]]), "whole numbers"),
        (lambda e: e.logits([[2**40]]), "outside the vocabulary"),
        (lambda e: e.logits([]), "there are none|whole numbers"),
        (lambda e: e.detokenize([-1]), "outside the vocabulary"),
        (lambda e: e.tokenize(5), "neither text nor"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_left_behind(engine: Engine, call: Any, words: str) -> None:
    before = engine.generate("a", max_tokens=6, seed=1)
    with pytest.raises(ParameterError, match=words):
        call(engine)
    assert same(engine.generate("a", max_tokens=6, seed=1), before)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(st.characters(), max_size=3) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
MESSAGES = st.lists(st.dictionaries(st.sampled_from(["role", "content", "name"]), JUNK | st.just("user")), max_size=2)


@given(JUNK)
def test_any_prompt_is_answered_or_refused(prompt: Any) -> None:
    engine = Engine(Speaker())
    for ask in (engine.generate, lambda p, **how: engine.infill(p, p, **how)):
        try:
            answered = ask(prompt, max_tokens=2)
        except HoshikageError as error:
            assert str(error)
        else:
            assert isinstance(answered, Result | list)


@given(MESSAGES | JUNK)
def test_any_chat_is_answered_or_refused(messages: Any) -> None:
    try:
        assert CHATTER.chat(messages, max_tokens=2).counts.n_tokens <= 2
    except HoshikageError as error:
        assert str(error)


@given(JUNK, JUNK)
def test_any_ids_have_logits_or_are_refused(ids: Any, mask: Any) -> None:
    engine = Engine(Speaker())
    try:
        assert engine.logits(ids, mask).ndim == 3
    except HoshikageError as error:
        assert str(error)


def test_a_row_without_a_choice_is_an_error_and_the_next_call_works(engine: Engine) -> None:
    everything = dict.fromkeys(range(260), BAN)
    with pytest.raises(Exception, match="every token is forbidden"):
        engine.generate("a", logit_bias=everything)
    assert engine.generate("a", max_tokens=3).counts.n_passes > 0


def test_a_model_that_cannot_be_used_says_why() -> None:
    model = Speaker()
    model.mask_id = -1
    with pytest.raises(UnsupportedModelError, match="needs a mask token"):
        Engine(model)
    model = Speaker()
    model.chat_template = None
    with pytest.raises(TemplateError, match="no chat template"):
        Engine(model).chat([{"role": "user", "content": "a"}])


# -- turns, cancelling, closing


def test_a_cancelled_request_keeps_what_is_settled(engine: Engine) -> None:
    endless: dict[str, Any] = {"max_tokens": 40, "logit_bias": {**LETTERS, 256: BAN, 257: BAN, 258: BAN}, "stop": "zz"}
    endless["quality"] = "exact"
    whole = engine.generate("a", **endless)
    board = Board()
    snapshots = []
    for snapshot in engine.generate(["a", "b"], stream=True, board=board, **endless):
        snapshots.append(snapshot)
        if snapshot.step == 30:
            board.cancel()
    results = {snapshot.index: snapshot.result for snapshot in snapshots if snapshot.result}
    assert {result.stop_reason for result in results.values()} == {"cancelled"}
    assert whole.text.startswith(results[0].text)
    assert "".join(snapshot.delta for snapshot in snapshots if snapshot.index == 0) == results[0].text
    assert board.steps == 30


def test_a_request_cancelled_before_its_turn_does_no_work(engine: Engine) -> None:
    board = Board()
    board.cancel()
    results = engine.generate(["a", "b", "c"], board=board)
    assert [(result.text, result.stop_reason, result.counts.n_passes) for result in results] == [
        ("", "cancelled", 0)
    ] * 3


def test_threads_take_turns_and_get_their_own_answers() -> None:
    engine = Engine(Speaker(salt=2))
    prompts = [f"prompt {i}" for i in range(6)]
    expected = [engine.generate(prompt, seed=i, temperature=1) for i, prompt in enumerate(prompts)]
    got: dict[int, Result] = {}

    def ask(i: int) -> None:
        for _ in range(3):
            got[i] = engine.generate(prompts[i], seed=i, temperature=1)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(got[i], expected[i]) for i in range(6))


def test_a_thread_is_not_made_to_wait_for_its_own_stream(engine: Engine) -> None:
    stream = engine.generate("a", stream=True)
    next(stream)
    with pytest.raises(RuntimeError, match="unfinished stream"):
        engine.generate("b")
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert engine.generate("b", max_tokens=3).counts.n_passes > 0


def test_a_dropped_stream_gives_its_place_back(engine: Engine) -> None:
    expected = engine.generate("b", max_tokens=9, seed=1)
    for _ in range(20):
        stream = engine.generate(["a", "b", "c"], stream=True)
        next(stream)
        del stream
        gc.collect()
    assert same(engine.generate("b", max_tokens=9, seed=1), expected)


def test_a_closed_engine_says_so() -> None:
    engine = Engine(Speaker())
    stream = engine.generate("a", stream=True)
    engine.close()
    engine.close()
    assert engine.model.closed
    for call in (lambda: engine.generate("a"), lambda: engine.tokenize("a"), lambda: next(stream)):
        with pytest.raises(RuntimeError, match="is closed"):
            call()
