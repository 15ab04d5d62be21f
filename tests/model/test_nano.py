"""The embedded models: they load, answer, and are as good as their cards say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hoshikage
from hoshikage import nano
from hoshikage.engine.engine import Engine
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.score import evaluate, interval
from hoshikage.evaluate.subject import GapFiller, ModelFile, OpenGapFiller
from hoshikage.evaluate.tasks import TASKS
from tests.house import ROOT

N_PER_TASK = 1


@pytest.fixture(scope="module", params=nano.names())
def embedded(request: pytest.FixtureRequest) -> Iterator[tuple[str, Engine]]:
    with hoshikage.load(request.param, n_threads=1, n_threads_batch=1) as engine:
        yield request.param, engine


def test_the_package_brings_models_the_default_one_first() -> None:
    assert nano.names()
    assert nano.DEFAULT not in nano.names()[1:]
    assert all(nano.resolve(name).is_file() for name in nano.names())


def test_together_they_stay_small() -> None:
    """At most 10 MB for the one that people try first, 40 MB for all."""
    sizes = [nano.resolve(name).stat().st_size for name in nano.names()]
    assert sizes[0] <= 10e6
    assert sum(sizes) <= 40e6


def test_a_name_is_an_embedded_model_and_a_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = nano.names()[0]
    monkeypatch.chdir(tmp_path)
    assert nano.resolve(name).parent == nano.HERE
    assert nano.resolve(f"./{name}.gguf") == Path(f"{name}.gguf")


def test_an_embedded_model_has_its_settings_and_a_caller_the_last_word(embedded: tuple[str, Engine]) -> None:
    name, engine = embedded
    assert all(getattr(engine.settings, key) == value for key, value in nano.settings_of(name).items())
    with hoshikage.load(name, temperature=0.7) as other:
        assert (other.settings.temperature, other.settings.repetition_penalty) == (0.7, 1.0)


def test_each_has_its_card_and_its_loss_curve(embedded: tuple[str, Engine]) -> None:
    name, _ = embedded
    path = nano.resolve(name)
    assert "## Results" in path.with_suffix(".md").read_text()
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def table_of(name: str, title: str) -> dict[str, tuple[int, int]]:
    """Right answers of how many, by task, as a model's card has them under a heading; nothing where it has none."""
    card = nano.resolve(name).with_suffix(".md").read_text()
    found = re.search(rf"### {title}[,\n](.*?)(?:###|\Z)", card, re.DOTALL)
    rows = re.findall(r"\| \**([\w-]+)\** \| (\d+) \| (\d+) \|", found[1] if found else "")
    return {task: (int(right), int(n)) for task, right, n in rows}


def shares_of(name: str, title: str) -> dict[str, float]:
    """Right answers of a hundred, by task; nothing where the card has no such table."""
    return {task: 100 * right / n for task, (right, n) in table_of(name, title).items()}


# What was asked of them: the mean of all tasks, and the weakest task.
REPLIES = {"nano-llada": (90, 70), "nano-ar": (90, 70), "nano-dream": (85, 0), "nano-moe": (85, 0)}


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_as_good_as_was_asked(name: str) -> None:
    least_mean, least = REPLIES[name]
    shares = shares_of(name, "Replies")
    assert shares.keys() == {*TASKS, "all"}
    assert shares["all"] >= least_mean
    assert min(shares.values()) >= least
    assert shares["story"] >= 95


@pytest.mark.parametrize("name", ["nano-llada", "nano-dream", "nano-moe"])
def test_gaps_of_given_length_are_filled_as_well_as_was_asked(name: str) -> None:
    shares = shares_of(name, "Gaps of given length")
    assert shares.keys() == {*TASKS, "all"}
    assert shares["all"] >= 85


def test_gaps_of_unknown_length_are_filled_as_well_as_was_asked() -> None:
    shares = shares_of("nano-dreamon", "Gaps of unknown length")
    assert shares.keys() == {*TASKS, "all"}
    assert shares["all"] >= 80


@pytest.mark.parametrize("max_tokens", [32, 96, 256])
def test_the_room_for_an_answer_does_not_decide_it(max_tokens: int) -> None:
    with hoshikage.load("nano-llada", n_threads=1, n_threads_batch=1) as engine:
        answer = engine.chat([{"role": "user", "content": "What is 12+35?"}], max_tokens=max_tokens)
    assert re.findall(r"\d+", answer.text)[-1] == "47"


def test_a_small_sum_is_right(embedded: tuple[str, Engine]) -> None:
    """Of every model that is asked for replies."""
    name, engine = embedded
    if not table_of(name, "Replies"):
        pytest.skip("its card says nothing of replies")
    answer = engine.chat([{"role": "user", "content": "What is 12+35?"}], max_tokens=64)
    assert re.findall(r"\d+", answer.text)[-1] == "47"


def test_what_was_said_before_is_no_part_of_a_sum(embedded: tuple[str, Engine]) -> None:
    name, engine = embedded
    right, n = table_of(name, "Replies").get("conversation", (0, 1))
    if right < 0.9 * n and name != nano.DEFAULT:
        pytest.skip(f"its card says {right} of {n} conversations")
    said = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello!"}]
    hello = engine.chat(said, max_tokens=64).text
    assert "Hello" in hello
    said += [{"role": "assistant", "content": hello}, {"role": "user", "content": "What is 12+35?"}]
    said.append({"role": "assistant", "content": engine.chat(said, max_tokens=64).text})
    said.append({"role": "user", "content": "What is 20+31?"})
    assert re.findall(r"\d+", engine.chat(said, max_tokens=64).text)[-1] == "51"


EXAMS = {"Replies": ModelFile, "Gaps of given length": GapFiller, "Gaps of unknown length": OpenGapFiller}


@pytest.mark.parametrize("title", EXAMS)
def test_it_is_as_good_as_its_card_says(embedded: tuple[str, Engine], title: str) -> None:
    """On a few questions of each task: what the card claims lies in, or below, the interval found."""
    name, engine = embedded
    claimed = table_of(name, title).get("all")
    if claimed is None:
        pytest.skip("its card has no such table")
    one_a_pass = {"algorithm": "sequential"} if engine.model.kind.name == "block" else {}
    total = evaluate(EXAMS[title](engine, name, one_a_pass), questions(N_PER_TASK), {}).total
    assert claimed[0] / claimed[1] <= interval(total.right, total.n)[1]


@pytest.mark.parametrize("name", nano.names())
def test_the_documentation_says_what_the_cards_say(name: str) -> None:
    docs = (ROOT / "docs" / "models.md").read_text()
    (row,) = re.findall(rf"^\| `{name}` \|.*$", docs, re.MULTILINE)
    titles = ("Replies", "Replies by its own rule", "Gaps of given length", "Gaps of unknown length")
    shares = [right / n for title in titles if (table := table_of(name, title)) for right, n in [table["all"]]]
    assert shares
    assert [f"{share:.0%}".replace("%", " %") for share in shares] == re.findall(r"\d+ %", row)
