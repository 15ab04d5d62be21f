"""A worker over its real process: the same answers as in this process, whoever is beside it and whatever ends."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

import hoshikage
from hoshikage.engine.engine import Engine
from hoshikage.errors import (
    Cancelled,
    DecodeError,
    MemoryExhausted,
    ModelFileError,
    ParameterError,
    TemplateError,
    WorkerDied,
)
from hoshikage.settings import Settings
from hoshikage.worker.ask import Answered, Ask, Done, Failed, Said
from hoshikage.worker.client import Fake, Worker
from hoshikage.worker.fake import FakeSpeaker
from tests.conftest import TinyModel
from tests.tiny import CHAT_TEMPLATE, Shape, write
from tests.workers import SMALL, Heard, ask, generate, working

EXACT: dict[str, Any] = {"flash_attn": "off", "type_k": "f32", "type_v": "f32", "n_threads": 1, "n_gpu_layers": 0}
MESSAGES = [{"role": "user", "content": "the hello"}]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with working() as loaded:
        yield loaded


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(FakeSpeaker(**SMALL.options)) as made:
        yield made


@pytest.fixture(scope="module", params=["llama", "llada", "nano-ar"])
def pair(request: pytest.FixtureRequest, tiny_model: TinyModel) -> Iterator[tuple[Worker, Engine]]:
    """The same file in a worker and in this process."""
    path: Any = request.param
    if path != "nano-ar":
        path = tiny_model(path, chat_template=CHAT_TEMPLATE)
    one = Worker("tiny")
    try:
        facts = one.load(path, EXACT)
        with hoshikage.load(path, settings=Settings(**EXACT)) as loaded:
            assert (facts.n_vocab, facts.n_ctx) == (loaded.model.n_vocab, loaded.n_ctx)
            yield one, loaded
    finally:
        one.close()


# -- what is answered


@pytest.mark.parametrize("watch", ["end", "text", "canvas"])
def test_a_text_is_the_one_that_this_process_writes(pair: tuple[Worker, Engine], watch: Any) -> None:
    worker, engine = pair
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 0.8, "seed": 7, "quality": "exact"}
    heard, _ = generate(worker, "hello and the ", watch=watch, **options)
    (answer,) = heard.answers()
    alone = engine.generate("hello and the ", **options)
    assert (answer.text, answer.stop_reason, answer.seed) == (alone.text, alone.stop_reason, 7)
    assert heard.text() == alone.text
    assert answer.counts["n_tokens"] == alone.counts.n_tokens
    assert watch != "end" or len(heard.events) == 2


@pytest.mark.parametrize("named_by", ["request", "settings"])
def test_a_quality_is_the_one_of_this_process(named_by: str, tiny_model: TinyModel) -> None:
    quality = {"quality": "balanced"}
    options: dict[str, Any] = {"max_tokens": 40, "seed": 7, **(quality if named_by == "request" else {})}
    worker = Worker("tiny")
    worker.load(tiny_model("llada"), EXACT | (quality if named_by == "settings" else {}))
    busy = generate(worker, "hello", watch="text", max_tokens=200, early_stop=False, quality="exact")[0]
    (answer,) = generate(worker, "the hello ", **options)[0].answers()  # what passes cost is measured for it
    assert busy.answers()
    worker.close()
    with hoshikage.load(tiny_model("llada"), settings=Settings(**EXACT)) as engine:
        alone = engine.generate("the hello ", **options | quality)
    assert (answer.text, answer.how) == (alone.text, alone.how)
    assert "threshold" in answer.how


def test_a_chat_and_what_is_made_of_it(pair: tuple[Worker, Engine]) -> None:
    worker, engine = pair
    options: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0, "quality": "exact"}
    heard, _ = ask(worker, "chat", messages=MESSAGES, options=options)
    assert heard.answers()[0].text == engine.chat(MESSAGES, **options).text
    value = value_of(worker, "template", messages=MESSAGES)
    assert value["ids"] == engine.chat_tokens(MESSAGES)
    assert "the hello" in value["text"]
    ended = value_of(worker, "template", messages=MESSAGES, add_generation_prompt=False)
    assert ended["ids"] == engine.chat_tokens(MESSAGES, add_generation_prompt=False)
    assert value["text"].startswith(ended["text"])
    assert value["text"].removeprefix(ended["text"]) in ("assistant: ", "<|assistant|>")


def test_tokens_have_the_logarithms_of_their_probabilities(pair: tuple[Worker, Engine]) -> None:
    worker, engine = pair
    options: dict[str, Any] = {"max_tokens": 9, "temperature": 0.0, "seed": 1}
    plain = engine.generate("the ", **options)
    for watch in ("end", "text"):
        heard, _ = generate(worker, "the ", watch=watch, logprobs=0, **options)
        heard.end()
        tokens = [token for event in heard.events if isinstance(event, Said | Answered) for token in event.tokens]
        assert tuple(token.id for token in tokens) == plain.tokens
        assert all(-100 < token.logprob <= 0 for token in tokens)
        assert b"".join(token.piece for token in tokens) == b"".join(map(engine.model.piece, plain.tokens))


def test_several_answers_have_seeds_that_follow_each_other(worker: Worker, engine: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 9, "temperature": 2.0}
    heard, _ = generate(worker, "ab", [97, 98, 99], n=3, seed=2**64 - 2, **options)
    answers = sorted(heard.answers(), key=lambda answer: answer.index)
    assert [answer.index for answer in answers] == list(range(6))
    assert [answer.seed % 2**64 for answer in answers] == [2**64 - 2, 2**64 - 1, 0] * 2
    for answer, prompt in zip(answers, ["ab"] * 3 + ["abc"] * 3, strict=True):
        assert answer.text == engine.generate(prompt, seed=answer.seed, **options).text
    drawn, _ = generate(worker, "ab", n=3, **options)
    seeds = sorted(answer.seed for answer in drawn.answers())
    assert seeds == list(range(seeds[0], seeds[0] + 3))


def test_a_gap_is_filled(worker: Worker, engine: Engine) -> None:
    options: dict[str, Any] = {"seed": 3, "early_stop": False}
    heard, _ = ask(worker, "infill", prefix="ab", suffix="yz", length=5, options=options)
    assert heard.answers()[0].text == engine.infill("ab", "yz", length=5, **options).text


def test_the_moving_canvas_is_shown(worker: Worker, engine: Engine) -> None:
    heard, _ = generate(worker, "ab", watch="canvas", max_tokens=8, seed=1, early_stop=False)
    said = [event for event in heard.end() if isinstance(event, Said)]
    views = list(engine.generate("ab", stream=True, max_tokens=8, seed=1, early_stop=False))
    assert [event.cells for event in said] == [view.cells for view in views[:-1]]
    assert [event.step for event in said] == list(range(1, 8))
    for event in said:
        assert [cell is None for cell in event.cells] == [sure == 0 for sure in event.confidence]


def value_of(worker: Worker, kind: str, **body: Any) -> dict[str, Any]:
    last = ask(worker, kind, **body)[0].end()[-1]
    assert isinstance(last, Done), last
    return dict(last.value)


def test_what_takes_no_step(worker: Worker, engine: Engine) -> None:
    pieces = ["h", "\u00c3", "\u00a9"]
    assert value_of(worker, "tokenize", text="h\u00e9", pieces=True) == {"ids": [104, 195, 169], "pieces": pieces}
    assert value_of(worker, "tokenize", text="h\u00e9") == {"ids": [104, 195, 169]}
    assert value_of(worker, "detokenize", ids=[104, 195, 169]) == {"text": "h\u00e9"}
    facts = value_of(worker, "describe")
    assert worker.facts is not None
    assert (facts["kind"], facts["n_vocab"]) == ("masked", engine.model.n_vocab) == (worker.facts.kind, 259)


# -- what is refused, and the next is answered


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("generate", {}, "prompts: it is missing"),
        ("generate", {"prompts": []}, "no list of prompts"),
        ("generate", {"prompts": "a"}, "no list of prompts"),
        ("generate", {"prompts": [1, 2]}, "no list of prompts"),
        ("generate", {"prompts": [[10**9]]}, "outside the vocabulary"),
        ("generate", {"prompts": ["a"], "n": 10**9}, "out of range"),
        ("generate", {"prompts": ["a"] * 1000, "n": 1000}, "too many"),
        ("generate", {"prompts": ["a"], "promts": 1}, "did you mean 'prompts'"),
        ("generate", {"prompts": ["a"], "options": []}, "no object"),
        ("generate", {"prompts": ["a"], "options": {"max_tokens": 2**63}}, "out of range"),
        ("generate", {"prompts": ["a"], "options": {"logprobs": 21}}, "use 0 to 20"),
        ("generate", {"prompts": ["a"], "options": {"seed": "x"}}, "not a whole number"),
        ("generate", {"prompts": ["a"], "parse_special": 1}, "neither true nor false"),
        ("generate", {"prompts": ["a" * 5000]}, "the prompt has 5000 tokens"),
        ("infill", {"prefix": "a", "length": 0}, "out of range"),
        ("tokenize", {"text": 5}, "neither text nor"),
        ("detokenize", {"ids": [-1]}, "outside the vocabulary"),
        ("chat", {"messages": []}, "there is none"),
        ("describe", {"more": 1}, "knows no such field"),
    ],
)
def test_bad_asks_fail_alone(worker: Worker, kind: Any, body: dict[str, Any], words: str) -> None:
    assert words in str(ask(worker, kind, **body)[0].error())
    assert generate(worker, "a", max_tokens=2)[0].answers()


def test_what_cannot_cross_is_refused_here(worker: Worker) -> None:
    for value in (float("nan"), "\ud800", 2**70, b"x"):
        with pytest.raises(ParameterError):
            generate(worker, "a", max_tokens=value)
    assert worker.n_active == 0


def test_a_template_that_fails_is_told(tiny_model: TinyModel) -> None:
    with working(tiny_model("llama", chat_template="{{ raise_exception('no') }}")) as worker:
        assert isinstance(ask(worker, "chat", messages=MESSAGES)[0].error(), TemplateError)


@pytest.mark.parametrize("architecture", ["llama", "llada"])
def test_a_model_whose_logits_are_no_numbers_fails_each_ask_once(architecture: str, tmp_path: Path) -> None:
    path = write(tmp_path / "nan.gguf", Shape(architecture))
    norm = next(tensor for tensor in GGUFReader(path, "r+").tensors if tensor.name == "output_norm.weight")
    norm.data[:] = np.nan
    with working(path) as worker:
        asked = [generate(worker, "the", "hello", n=3, watch=watch, max_tokens=5)[0] for watch in ("end", "text")]
        errors = [heard.error() for heard in asked]
        assert value_of(worker, "tokenize", text="the")["ids"]
    assert [type(error) for error in errors] == [DecodeError] * 2
    assert "not numbers" in str(errors[0])
    assert [len(heard.events) for heard in asked] == [1, 1]


def test_an_ask_that_there_is_no_memory_for_fails_alone() -> None:
    worker = Worker("tiny")
    worker.load("nano-ar", {**EXACT, "n_ctx": 1_000_000})
    beside = generate(worker, "the", max_tokens=4)[0].answers()[0]
    n_pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0])
    most = n_pages * resource.getpagesize() + (64 << 20)
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (most, most))
    error = generate(worker, [5] * 500_000, max_tokens=4)[0].error()
    assert isinstance(error, MemoryExhausted)
    assert "use a shorter context" in str(error)
    assert generate(worker, "the", max_tokens=4, seed=beside.seed)[0].answers()[0].text == beside.text
    worker.close()


def test_a_listener_that_fails_hurts_nobody(worker: Worker, capsys: pytest.CaptureFixture[str]) -> None:
    def tell(_: object) -> None:
        raise RuntimeError("I cannot listen")

    worker.ask(Ask(kind="generate", body={"prompts": ["a"]}, watch="text"), tell)
    assert generate(worker, "a")[0].answers()
    assert "I cannot listen" in capsys.readouterr().err


# -- side by side, and leaving


def test_many_at_once_are_answered_as_alone(worker: Worker, engine: Engine) -> None:
    chosen = random.Random(1)
    asked = []
    for seed in range(40):
        options: dict[str, Any] = {"max_tokens": chosen.randint(1, 60), "seed": seed, "quality": "exact"}
        options["temperature"] = chosen.choice([0, 1.0])
        prompt = "ab" * chosen.randint(0, 50)
        asked.append((prompt, options, generate(worker, prompt, watch=chosen.choice(["end", "text"]), **options)[0]))
    for prompt, options, heard in asked:
        alone = engine.generate(prompt, **options)
        (answer,) = heard.answers()
        assert (answer.text, answer.counts["n_passes"]) == (alone.text, alone.counts.n_passes)
        assert heard.text() == alone.text
    assert worker.n_active == 0


def test_who_is_cancelled_keeps_what_is_there_and_the_others_all(slow: Worker) -> None:
    options: dict[str, Any] = {"max_tokens": 96, "early_stop": False}
    whole = generate(slow, "a", watch="text", seed=1, **options)[0].answers()[0]
    leaving, ticket = generate(slow, "a", watch="text", seed=1, **options)
    staying = [generate(slow, "a", watch="text", seed=1, **options)[0] for _ in range(2)]
    leaving.something()
    ticket.cancel()
    ticket.cancel()
    (cut,) = leaving.answers()
    assert cut.stop_reason == "cancelled"
    assert whole.text.startswith(cut.text)
    assert len(cut.text) < len(whole.text)
    assert leaving.text() == cut.text
    assert [heard.answers()[0].text for heard in staying] == [whole.text] * 2
    ticket.cancel()


def test_threads_that_ask_and_cancel_are_each_told_their_own_end_once(worker: Worker, engine: Engine) -> None:
    whole = {seed: engine.generate("ab", seed=seed, temperature=1.0, max_tokens=30).text for seed in range(5)}

    def use(number: int) -> list[tuple[int, Heard]]:
        chosen, asked = random.Random(number), []
        for _ in range(40):
            seed = chosen.randrange(5)
            watch = chosen.choice(["end", "text", "canvas"])
            heard, ticket = generate(worker, "ab", watch=watch, seed=seed, temperature=1.0, max_tokens=30)
            if chosen.random() < 0.5:
                ticket.cancel()
            asked.append((seed, heard))
        return asked

    with ThreadPoolExecutor(8) as pool:
        asked = [pair for pairs in pool.map(use, range(8)) for pair in pairs]
    for _, heard in asked:
        heard.end()
    assert generate(worker, "a", max_tokens=1)[0].answers()  # whatever was still to be told, was told before
    for seed, heard in asked:
        assert [isinstance(event, Done | Failed) for event in heard.events] == [False] * (len(heard.events) - 1) + [
            True
        ]
        answers = [event for event in heard.events if isinstance(event, Answered)]
        assert len(answers) <= 1
        assert all(whole[seed].startswith(answer.text) and heard.text() == answer.text for answer in answers)
        assert all(answer.text == whole[seed] for answer in answers if answer.stop_reason != "cancelled")
    assert worker.n_active == 0


@pytest.fixture(scope="module")
def slow() -> Iterator[Worker]:
    with working(Fake({"salt": 5, "n_vocab": 1 << 15})) as loaded:
        yield loaded


def test_two_hundred_cancels_end_two_hundred_asks(slow: Worker) -> None:
    chosen = random.Random(2)
    whole = generate(slow, "a", seed=1, max_tokens=64)[0].answers()[0].text
    staying = generate(slow, "a", seed=1, max_tokens=64)[0]
    asked = []
    for _ in range(200):
        heard, ticket = generate(slow, "b", max_tokens=512, watch="text")
        if chosen.random() < 0.1:
            heard.wait(lambda events: len(events) >= 1 or slow.n_active > 8)
        ticket.cancel()
        asked.append(heard)
    for heard in asked:
        last = heard.end()[-1]
        assert isinstance(last, Done) or isinstance(heard.error(), Cancelled)
    assert staying.answers()[0].text == whole
    assert slow.n_active == 0


def test_a_cancel_is_heard_in_the_middle_of_a_long_answer(slow: Worker) -> None:
    long, ticket = generate(slow, "a", max_tokens=3000, block_length=8, early_stop=False)  # and nobody watches
    assert generate(slow, "b", max_tokens=2)[0].answers()  # which came later, so the first is at work
    ticket.cancel()
    (answer,) = long.answers()
    assert answer.stop_reason == "cancelled"
    assert 0 < answer.counts["n_passes"] < 3000


def test_who_is_cancelled_before_it_began_has_no_answer(slow: Worker) -> None:
    heard, ticket = generate(slow, *["a" * 3000] * 20, max_tokens=2)
    last, late = generate(slow, "a", max_tokens=2)
    late.cancel()
    ticket.cancel()
    heard.end()
    assert isinstance(last.error(), Cancelled) if not last.end()[:-1] else last.answers()[0].text == ""


# -- loading


def test_a_load_that_fails_says_why_and_the_same_process_loads_the_next(tiny_model: TinyModel, tmp_path: Any) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_model("llama").read_bytes()[:5000])
    worker = Worker("tiny")
    try:
        for path, kind in ((broken, ModelFileError), (tmp_path / "none.gguf", ModelFileError)):
            with pytest.raises(kind):
                worker.load(path, EXACT)
        with pytest.raises(ParameterError, match="n_ctx"):
            worker.load(tiny_model("llama"), {"n_ctx": -1})
        with pytest.raises(ParameterError, match="no such setting"):
            worker.load(tiny_model("llama"), {"n_ctxx": 1})
        with pytest.raises(RuntimeError, match="no model is loaded"):
            generate(worker, "a")
        progress: list[float] = []
        assert worker.load(tiny_model("llama"), EXACT, progress.append).kind == "causal"
        assert progress == sorted(progress)
        assert progress[-1] == 1
        assert generate(worker, "the", max_tokens=2)[0].answers()
        with pytest.raises(RuntimeError, match="loads one model"):
            worker.load(tiny_model("llama"), EXACT)
    finally:
        worker.close()
    with pytest.raises(WorkerDied):
        generate(worker, "a")


def test_a_sign_of_life_during_a_load_is_told_as_the_progress_that_there_is(tiny_model: TinyModel) -> None:
    told: list[float] = []

    def tell(progress: float) -> None:
        told.append(progress)
        if len(told) == 1:
            worker.on_frame({"steps": 0})

    worker = Worker("tiny")
    try:
        worker.load(tiny_model("llama"), EXACT, tell)
    finally:
        worker.close()
    assert told[0] == told[1] > 0
