"""A recipe with an encore: one command trains both schedules, and each says what it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from training import sources
from training.card import Result, write_card
from training.model import Transformer
from training.recipe import RECIPES, Encore, Recipe
from training.record import Record, check_recipe, schedules_of
from training.runs import Run, RunError
from training.train import Trainer, main

from .small import small

RECIPE = small("nano-block", 3, encore=Encore(2, {"story": 7.0, "json": 1.0}), batch_tokens=4096)
Train = Callable[..., dict[str, Any]]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """By the command; returns what the checkpoint holds then."""
    monkeypatch.setitem(RECIPES, "nano-block", RECIPE)

    def command(*words: str) -> dict[str, Any]:
        usual = ["train", "nano-block", "--runs", str(tmp_path), "--processes", "1", "--judge-items", "0"]
        monkeypatch.setattr(sys, "argv", [*usual, *words])
        main()
        return Run.of("nano-block", tmp_path).load()

    return command


def stopped(recipe: Recipe, root: Path, after: Recipe | None = None, n_steps: int = 1) -> dict[str, Any]:
    """A schedule that was stopped on its way."""
    trainer = Trainer(recipe, root, after=after)
    trainer.train(judge_items=0, stop_after=n_steps)
    return trainer.run.load()


def card_of(state: dict[str, Any], folder: Path) -> str:
    path = folder / "model.gguf"
    path.write_bytes(b"")
    write_card(RECIPE, state, path, [Result("Replies", "hoshikage eval nano-block", {"json": (1, 1)})])
    return path.with_suffix(".md").read_text()


def schedules(state: dict[str, Any]) -> list[tuple[int, int, bool]]:
    return [(one["begins"], one["ends"], one["is_encore"]) for one in state["record"]["schedules"]]


def commands(state: dict[str, Any]) -> set[str]:
    return {one["command"] for one in state["record"]["schedules"]}


@pytest.mark.parametrize("n_steps", [0, 1, 3, 4], ids=lambda n: f"stopped after {n}")
def test_one_command_goes_through_both_wherever_it_was_stopped(n_steps: int, train: Train, tmp_path: Path) -> None:
    if n_steps:
        stopped(RECIPE, tmp_path, n_steps=min(n_steps, 3))
    if n_steps > 3:
        stopped(RECIPE.last, tmp_path, after=RECIPE)
    state = train()
    assert (state["step"], state["finished"]) == (5, True)
    assert schedules(state) == [(0, 3, False), (3, 5, True)]
    assert commands(state) == {"python -m training.train nano-block --processes 1"}
    assert train()["record"] == state["record"], "it is over"


def test_nothing_grows_from_what_is_before_it(train: Train, tmp_path: Path) -> None:
    grown = small("nano-llada", grown_from="nano-block")
    stopped(RECIPE, tmp_path, n_steps=3)
    with pytest.raises(RunError, match=r"come to step 3 only.*: python -m training.train nano-block --processes 1 "):
        Trainer(grown, tmp_path)
    train()
    assert Trainer(grown, tmp_path).step == 0


def test_each_schedule_is_exported_and_its_card_tells_of_no_other(train: Train, tmp_path: Path) -> None:
    run = Run.of("nano-block", tmp_path)
    first = stopped(RECIPE, tmp_path)
    check_recipe(run, RECIPE, Record.of(first))
    assert "In the last" not in card_of(first, tmp_path)
    whole = train()
    check_recipe(run, RECIPE, Record.of(whole))
    card = card_of(whole, tmp_path)
    assert " In the last 2 steps: story " in card
    assert "| 5 steps in 2 schedules (3, then an encore of 2), " in card
    assert "with these sources and an empty `training/runs`:\n\n```\npython -m training.train nano-block " in card
    assert card.count("python -m training.train") == 1
    half = {**whole, "step": 4, "finished": False}
    assert "(3, then an encore of 1 of 2)" in schedules_of(Record.of(half), half)


def test_of_another_practice_there_is_no_card(train: Train, tmp_path: Path) -> None:
    record = Record.of(train())
    other = replace(RECIPE, encore=Encore(2, {"story": 9.0, "json": 1.0}))
    with pytest.raises(RunError) as refused:
        check_recipe(Run.of("nano-block", tmp_path), other, record)
    assert str(refused.value).splitlines()[1:-1] == ["  practice.story: 7.0, now 9.0"]


@pytest.mark.parametrize("n_steps", [1, 3, 4])
def test_what_is_otherwise_is_refused_by_name_in_both(
    n_steps: int, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sources alone, and not what an encore has otherwise; whoever continues is told of."""
    stopped(RECIPE, tmp_path, n_steps=min(n_steps, 3))
    if n_steps > 3:
        stopped(RECIPE.last, tmp_path, after=RECIPE)
    monkeypatch.setattr(sources, "digest", lambda: "0" * 64)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train()
    _, *differences, _ = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in differences] == ["sources:"]
    state = train("--continue")
    assert (state["step"], state["finished"]) == (5, True)
    assert " --continue" in "".join(commands(state))
    assert Record.read(state["record"]).is_continued
    assert " In the last 2 steps: story " in card_of(state, tmp_path)
    assert "with the sources of each schedule" in card_of(state, tmp_path)


def test_an_encore_is_of_the_run_that_it_follows(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And of no released file, whatever is said."""
    stopped(RECIPE, tmp_path, n_steps=3)
    stopped(RECIPE.last, tmp_path, after=RECIPE)
    with pytest.raises(SystemExit):
        train("--from-release")
    assert "started from: noise, now its own released file" in capsys.readouterr().err


@pytest.mark.parametrize("n_steps", [3, 5])
def test_who_names_the_steps_gets_no_encore(n_steps: int, train: Train) -> None:
    state = train("--steps", str(n_steps))
    assert (state["step"], schedules(state)) == (n_steps, [(0, n_steps, False)])
    assert commands(state) == {f"python -m training.train nano-block --steps {n_steps} --processes 1"}


def test_an_encore_alone_is_trained_on_the_released_file(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.origin._file_digest", lambda _: "a" * 64)
    monkeypatch.setattr("training.train.weights_of", lambda recipe, _: Transformer(recipe.shape).state_dict())
    state = train("--encore")
    assert (state["step"], schedules(state)) == (2, [(0, 2, False)])
    assert commands(state) == {"python -m training.train nano-block --encore --processes 1"}
    assert train("--encore")["record"] == state["record"], "it is over"
    check_recipe(Run.of("nano-block", tmp_path), RECIPE, Record.of(state))
    card = card_of(state, tmp_path)
    assert "| practice | story " in card
    assert "| its own released file of SHA-256 `aaaaaaaaaaaa`, which this repository's history holds |" in card


def test_a_recipe_without_one_is_named(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(RECIPES, "nano-block", replace(RECIPE, encore=None))
    with pytest.raises(SystemExit):
        train("--encore")
    assert "the recipe of nano-block has no encore" in capsys.readouterr().err
