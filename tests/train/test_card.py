"""What a model card says of a model, and that asking for one leaves nothing behind."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hoshikage import nano
from hoshikage.cli import parser_of
from hoshikage.cli.eval_ import chosen
from hoshikage.cli.parser import read_flags
from hoshikage.cli.placing import loading_rows
from hoshikage.cli.run import options
from hoshikage.evaluate.subject import GapFiller, ModelFile, OpenGapFiller
from training.card import Result, exams, judged_as, write_card
from training.card import main as card_main
from training.export import main as export_main
from training.recipe import RECIPES, Recipe
from training.runs import Run, RunError
from training.train import Trainer

from .conftest import no_room
from .small import small

Asked = Callable[..., None]
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
    write_card(recipe, run.load(), path, results)
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


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_is_judged_with_the_settings_that_its_name_would_bring(name: str, tmp_path: Path) -> None:
    assert judged_as(RECIPES[name], nano.HERE / f"{name}.gguf") == name
    elsewhere = judged_as(RECIPES[name], tmp_path / "my models" / f"{name}.gguf")
    read = parser_of("eval").parse_args(shlex.split(elsewhere))
    assert read.model == f"{tmp_path}/my models/{name}.gguf"
    assert {**nano.SETTINGS, **read_flags(read, loading_rows())} == nano.settings_of(name)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """`training.export` and `training.card`, of a small nano-block that was trained."""
    recipe = small("nano-block")
    monkeypatch.setitem(RECIPES, "nano-block", recipe)
    _trained(recipe, tmp_path)

    def ask(program: str, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", [program, "nano-block", "--runs", str(tmp_path), *words])
        {"export": export_main, "card": card_main}[program]()

    return ask


def test_an_exported_model_is_judged_and_has_its_card(asked: Asked, tmp_path: Path) -> None:
    """By the commands, in another folder than the package's: what prints a table again names that file."""
    pytest.importorskip("hoshikage._core", reason="the engine is not built: run `make build`")
    asked("export", "--to", str(tmp_path))
    asked("card", "--to", str(tmp_path), "--items", "1", "--threads", "1")
    card, path = (tmp_path / "nano-block.md").read_text(), tmp_path / "nano-block.gguf"
    assert f"    hoshikage eval {path} --flash-attn off --rule sequential --items 1\n" in card
    assert f"    hoshikage eval {path} --flash-attn off --items 1\n" in card
    assert card.count("| **all** | ") == 2
    assert card.count("| conversation | ") == 2
    assert (tmp_path / "nano-block.png").exists()


def refusal(capsys: pytest.CaptureFixture[str], code: int, ask: Asked, *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        ask(*words)
    assert refused.value.code == code
    return capsys.readouterr().err


def test_only_the_file_of_a_runs_weights_has_its_card(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.card.measure", lambda *_: RIGHT)
    there = ["--to", str(tmp_path)]
    remedy = f"run `python -m training.export nano-block --runs {tmp_path} --to {tmp_path}` first\n"
    path = tmp_path / "nano-block.gguf"
    assert refusal(capsys, 1, asked, "card", *there) == f"{path} is missing: {remedy}"
    asked("export", *there)
    asked("card", *there)
    _trained(small("nano-block", 3), tmp_path, go_on=True)
    told = refusal(capsys, 1, asked, "card", *there)
    assert told == f"{path} is not known to be of the weights in {tmp_path}/nano-block/checkpoint.pt: {remedy}"
    asked("export", *there, "--kind", "F16")
    asked("card", *there)


@pytest.mark.parametrize("program", ["export", "card"])
def test_what_was_trained_by_another_recipe_is_told_by_that(
    program: str, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for what the command said that trained it."""
    monkeypatch.setattr("training.card.measure", lambda *_: RIGHT)
    other = replace(RECIPES["nano-block"], practice={"story": 2.0}, n_steps=9, batch_tokens=4096)
    _trained(replace(RECIPES["nano-block"], n_steps=3, peak_lr=1e-3), tmp_path, go_on=True)
    asked("export", "--to", str(tmp_path))
    monkeypatch.setitem(RECIPES, "nano-block", other)
    cause, *different, remedy = refusal(capsys, 1, asked, program, "--to", str(tmp_path)).splitlines()
    assert cause == f"the run in {tmp_path}/nano-block is of another recipe than nano-block has now:"
    assert "  batch_tokens: 1024, now 4096" in different
    assert "  practice.story: 3.0, now 2.0" in different
    assert not [line for line in different if "peak_lr" in line or "length" in line]
    assert remedy.endswith(f"python -m training.train nano-block --runs {tmp_path}")


def test_half_a_run_takes_the_place_of_no_released_file_unasked(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.export.NANO", tmp_path / "nano")
    Trainer(small("nano-block", 6), tmp_path, go_on=True).train(judge_items=0, stop_after=1)
    told = f"{tmp_path}/nano-block is not known to be at its end: 3 steps in 2 schedules (2, then 1 of 4)"
    assert refusal(capsys, 1, asked, "export").startswith(f"{told}; the package's own file stays as it is")
    assert not (tmp_path / "nano").exists()
    asked("export", "--to", str(tmp_path))
    assert capsys.readouterr().out.startswith(f"{told}\n{tmp_path}/nano-block.gguf: ")
    asked("export", "--unfinished")
    assert (tmp_path / "nano" / "nano-block.gguf").exists()


def test_a_file_that_cannot_be_written_leaves_the_one_that_was_there(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nano-block.gguf"
    path.write_bytes(b"the last one")
    with no_room(10_000):
        told = refusal(capsys, 1, asked, "export", "--to", str(tmp_path))
    assert told.startswith(f"{path} cannot be written: File too large; what was there is as it was; make room")
    assert (path.read_bytes(), list(tmp_path.glob("*.partial"))) == (b"the last one", [])
    assert refusal(capsys, 1, asked, "export", "--to", str(path)).startswith(
        f"{path}/nano-block.gguf cannot be written: "
    )


@pytest.mark.parametrize("words", ["--items 0", "--items -1", "--items many", "--threads -1"])
def test_what_no_number_of_questions_is(words: str, asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"argument {words.split()[0]}: " in refusal(capsys, 2, asked, "card", *words.split())


def test_asking_for_a_run_makes_no_folder(tmp_path: Path) -> None:
    run = Run.of("nano-llada", tmp_path)
    with pytest.raises(RunError, match="is missing"):
        run.load()
    assert (run.rows(), list(tmp_path.iterdir())) == ([], [])
