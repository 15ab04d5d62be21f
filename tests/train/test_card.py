"""What a model card says of a model, and that asking for one leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hoshikage.cli import parser_of
from hoshikage.cli.eval_ import chosen
from hoshikage.cli.parser import read_flags
from hoshikage.cli.run import options
from hoshikage.evaluate.subject import GapFiller, ModelFile, OpenGapFiller
from training.card import Result, exams, measure, write_card
from training.export import export
from training.recipe import RECIPES, Recipe
from training.runs import Run, RunError
from training.train import Trainer

from .small import small

SMALL = small("nano-llada")
RIGHT = [Result("Replies", "hoshikage eval nano-llada", {"json": (20, 20), "story": (20, 20)})]


def _trained(recipe: Recipe, root: Path, *, go_on: bool = False) -> Run:
    trainer = Trainer(recipe, root, go_on=go_on)
    trainer.seconds = 60.0 * (7 if recipe.grown_from else 5)
    trainer.train(judge_items=0)
    return trainer.run


def _card(recipe: Recipe, run: Run, results: list[Result] = RIGHT) -> str:
    path = run.folder / "model.gguf"
    path.write_bytes(b"")
    write_card(recipe, run, path, results)
    return path.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ((20, 18), "It reaches 95.0%; no kind is under 80%."),
        ((20, 16), "It reaches 90.0%; no kind is under 80%."),
        ((20, 15), "It reaches 87.5%; under 80%: story."),
    ],
)
def test_a_card_says_which_aims_are_missed(tmp_path: Path, right: tuple[int, int], said: str) -> None:
    results = [Result("Replies", "hoshikage eval x", {"json": (right[0], 20), "story": (right[1], 20)})]
    assert said in _card(SMALL, _trained(SMALL, tmp_path), results)


def test_a_card_says_how_to_train_the_model_again(tmp_path: Path) -> None:
    """From the first weights on."""
    _trained(small("nano-block", 3), tmp_path)
    grown = small("nano-llada", 4, grown_from="nano-block", peak_lr=1e-3)
    card = _card(grown, _trained(grown, tmp_path))
    assert "| one run of 4 steps, " in card
    assert f"7 minutes (12 with those it grew from), 1 processes, torch {torch.__version__} on a CPU" in card
    commands = (
        "python -m training.train nano-block --steps 3 --processes 1 --batch-tokens 1024\n"
        "python -m training.train nano-llada --steps 4 --processes 1 --batch-tokens 1024 --peak-lr 0.001\n"
    )
    assert f"```\n{commands}```" in card


def test_a_card_names_the_weights_that_the_next_one_grew_from(tmp_path: Path) -> None:
    parent, grown = small("nano-block"), small("nano-llada", grown_from="nano-block")
    told = _card(parent, _trained(parent, tmp_path)).split("| weights | SHA-256 `")[1][:12]
    card = _card(grown, _trained(grown, tmp_path))
    assert f"| started from | the weights of nano-block of SHA-256 `{told}` |" in card


def test_a_card_tells_of_every_schedule(tmp_path: Path) -> None:
    _trained(SMALL, tmp_path)
    longer = replace(SMALL, n_steps=6)
    stopped = Trainer(longer, tmp_path, go_on=True)
    stopped.train(judge_items=0, stop_after=1)
    assert "3 steps in 2 schedules (2, then 1 of 4)" in _card(longer, stopped.run)
    last = replace(SMALL, n_steps=5, batch_tokens=512)
    card = _card(last, _trained(last, tmp_path, go_on=True))
    assert "5 steps in 3 schedules (2, then 1 of 4, then 2)" in card
    assert "--steps 5 --processes 1 --batch-tokens 512 --continue\n" in card


def test_a_card_of_half_a_run_says_so(tmp_path: Path) -> None:
    trainer = Trainer(small("nano-llada", 8), tmp_path)
    trainer.train(judge_items=0, stop_after=1)
    assert "one run of 8 steps, of which 1 are done" in _card(SMALL, trainer.run)


def test_a_card_of_half_a_run_in_minutes_says_so(tmp_path: Path) -> None:
    """How many steps it will have is not known yet."""
    trainer = Trainer(small("nano-llada", minutes=2.5), tmp_path)
    trainer.seconds = 30.0
    trainer.train(judge_items=0, stop_after=1)
    card = _card(SMALL, trainer.run)
    assert "| 1 steps of one run, of whose 2.5 minutes 0.5 are done, " in card
    assert "nano-llada --minutes 2.5 --processes 1 --batch-tokens 1024\n" in card


def test_a_card_of_what_an_older_program_trained(tmp_path: Path) -> None:
    run = _trained(SMALL, tmp_path)
    state = run.load()
    del state["record"], state["finished"]
    run.save(state)
    card = _card(SMALL, run)
    assert "2 steps in schedules that nobody recorded" in card
    assert "| started from | what nobody recorded |" in card


@pytest.mark.parametrize("name", RECIPES)
def test_above_a_table_stands_the_command_that_prints_it(name: str) -> None:
    """Its flags choose what the model was asked, and with the same options."""
    for exam in exams(RECIPES[name]):
        read = parser_of("eval").parse_args([name, *exam.flags.split()])
        assert chosen(read, OpenGapFiller, GapFiller, ModelFile) is exam.kind
        given = {key: value for _, rows in options() for key, value in read_flags(read, rows).items()}
        assert given == exam.options


def test_an_exported_model_is_judged_and_has_its_card(tmp_path: Path) -> None:
    pytest.importorskip("hoshikage._core", reason="the engine is not built: run `make build`")
    recipe = small("nano-block")
    trainer = Trainer(recipe, tmp_path)
    trainer.train(judge_items=0)
    path = tmp_path / "nano-block.gguf"
    export(recipe, trainer.model.state_dict(), path)
    results = measure(recipe, path, 1, 1)
    write_card(recipe, trainer.run, path, results)
    card = path.with_suffix(".md").read_text()
    assert "    hoshikage eval nano-block --rule sequential --items 1\n" in card
    assert "    hoshikage eval nano-block --items 1\n" in card
    assert card.count("| **all** | ") == 2
    assert [sum(n for _, n in result.scores.values()) for result in results] == [22, 22]


def test_asking_for_a_run_makes_no_folder(tmp_path: Path) -> None:
    run = Run.of("nano-llada", tmp_path)
    with pytest.raises(RunError, match="is missing"):
        run.load()
    assert (run.rows(), list(tmp_path.iterdir())) == ([], [])
