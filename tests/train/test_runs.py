"""Runs that are stopped: they go on as if nothing had happened, and as nothing else than they were begun as."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from training import sources
from training.lessons import Lessons
from training.model import Transformer
from training.origin import digest_of
from training.recipe import RECIPES, Recipe
from training.runs import COLUMNS, Run, RunError
from training.team import Team, together
from training.train import Trainer, main

from .conftest import no_room
from .small import small


def trained(recipe: Recipe, root: Path, **how: Any) -> Trainer:
    trainer = Trainer(recipe, root, **how)
    trainer.train(judge_items=0)
    return trainer


def rows(trainer: Trainer) -> list[tuple[str, str, str]]:
    return [(row["step"], row["lr"], row["loss"]) for row in trainer.run.rows()]


def test_a_stopped_run_is_the_one_that_nobody_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit: its weights, and the learning rate and loss of every step."""
    monkeypatch.setattr("training.train.LOG_EVERY", 1)
    recipe = small("nano-llada", 12)
    whole = trained(recipe, tmp_path / "whole")
    Trainer(recipe, tmp_path / "parts").train(judge_items=0, stop_after=5)
    killed = Trainer(recipe, tmp_path / "parts")
    killed.save = lambda: None  # type: ignore[method-assign]  # what it did since is lost, but for its log
    killed.train(judge_items=0, stop_after=3)
    again = Trainer(recipe, tmp_path / "parts")
    assert (again.step, again.finished) == (5, False)
    again.train(judge_items=0)
    assert digest_of(again.model.state_dict()) == digest_of(whole.model.state_dict())
    assert len(rows(whole)) == 12
    assert rows(again) == rows(whole)
    assert again.run.load()["record"] == whole.run.load()["record"]


def test_a_run_that_is_over_stays_as_it_is(tmp_path: Path) -> None:
    recipe = small("nano-ar")
    whole = trained(recipe, tmp_path)
    again = trained(recipe, tmp_path)
    assert again.step == 2
    assert digest_of(again.model.state_dict()) == digest_of(whole.model.state_dict())


OTHERWISE: dict[str, tuple[Callable[[Recipe], Recipe], str]] = {
    "length": (lambda r: replace(r, n_steps=9), "length: 2 steps, now 9 steps"),
    "minutes": (lambda r: replace(r, minutes=1.5), "length: 2 steps, now 1.5 minutes"),
    "batch": (lambda r: replace(r, batch_tokens=512), "batch_tokens: 1024, now 512"),
    "rate": (lambda r: replace(r, peak_lr=1e-3), "peak_lr: 0.003, now 0.001"),
    "practice": (lambda r: replace(r, practice={**r.practice, "story": 1.0}), "practice.story: 3.0, now 1.0"),
    "objective": (
        lambda r: replace(r, objective=replace(r.objective, gap_share=0.5)),
        "objective.gap_share: 0.15, now 0.5",
    ),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_a_run_goes_on_as_what_it_was_begun_as(name: str, tmp_path: Path) -> None:
    """Anything else is refused by name, with what can be done."""
    otherwise, difference = OTHERWISE[name]
    recipe = small("nano-llada")
    trained(recipe, tmp_path)
    with pytest.raises(RunError) as refused:
        Trainer(otherwise(recipe), tmp_path)
    _, *differences, remedy = str(refused.value).splitlines()
    assert differences == [f"  {difference}"]
    assert remedy.startswith(f"Move {tmp_path / 'nano-llada'} away")
    assert "--continue" in remedy


def test_other_sources_are_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small("nano-ar")
    trained(recipe, tmp_path)
    monkeypatch.setattr(sources, "digest", lambda: "0" * 64)
    with pytest.raises(RunError, match=r"sources: \w{12}, now 0{12}\n"):
        Trainer(recipe, tmp_path)


def test_what_people_read_in_the_sources_is_no_part_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mix.py"
    monkeypatch.setattr(sources, "LEARNING", (tmp_path,))

    def digest(text: str) -> str:
        file.write_text(text)
        return sources.digest()

    plain = digest("N = 1\ndef draw():\n    return N\n")
    assert digest('"""Draws."""\nN = 1\n"""How many."""\n\ndef draw():\n    """All."""\n    return N  # so\n') == plain
    assert digest("N = 2\ndef draw():\n    return N\n") != plain
    assert digest("N = 1\ndef draw():\n    return 'N'\n") != plain


OTHER_LESSONS: dict[str, tuple[str, object]] = {
    "a task asks otherwise": ("hoshikage.evaluate.tasks.letters._BACKWARDS", ("Turn '{w}' round.",)),
    "the rarest task": ("hoshikage.evaluate.tasks.talk._PERSONA", ("You are {n}.",)),
    "other questions are held back": ("hoshikage.evaluate.tasks.item.TEST_SHARE", 9),
    "a gap begins otherwise": ("training.objective.elastic.START", (1, 2, 3, 4)),
    "what is behind counts more": ("training.objective.masked.BEHIND_WEIGHT", 0.3),
}


@pytest.mark.parametrize("name", OTHER_LESSONS)
def test_what_is_taught_is_a_part_of_the_sources(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sources.digest()
    assert sources.digest() == before
    monkeypatch.setattr(*OTHER_LESSONS[name])
    sources._taught.cache_clear()
    changed = sources.digest()
    monkeypatch.undo()
    sources._taught.cache_clear()
    assert changed != before
    assert sources.digest() == before


def test_the_sources_are_found() -> None:
    names = {f"{file.parent.name}/{file.name}" for file in sources.files()}
    assert names >= {"corpus/mix.py", "objective/masked.py", "training/learn.py", "training/grow.py"}


def test_a_run_tells_every_machine_that_it_ran_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may go on elsewhere."""
    recipe = small("nano-ar", 3)
    Trainer(recipe, tmp_path).train(judge_items=0, stop_after=1)
    monkeypatch.setattr(torch, "__version__", "9.9")
    trained(recipe, tmp_path)
    first, second = Run.of("nano-ar", tmp_path).load()["record"]["machines"]
    assert first != second and second.startswith("torch 9.9 on a CPU")
    monkeypatch.setattr(torch, "__version__", "10.0")
    trained(recipe, tmp_path)  # there is nothing left to do
    assert Run.of("nano-ar", tmp_path).load()["record"]["machines"] == (first, second)


def test_a_checkpoint_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    recipe = small("nano-ar")
    run = trained(recipe, tmp_path).run
    state = run.load()
    del state["record"], state["finished"], state["mean"]  # as they were written until now
    run.save(state)
    with pytest.raises(RunError, match=r"does not say what it was trained as.*\n.*--continue"):
        Trainer(recipe, tmp_path)
    trained(replace(recipe, n_steps=5), tmp_path, go_on=True)
    record = run.load()["record"]
    assert [(s["begins"], s["ends"]) for s in record["schedules"]] == [(0, 2), (2, 5)]
    assert record["origin"]["what"] == "what nobody recorded"


def test_whoever_continues_begins_another_schedule(tmp_path: Path) -> None:
    recipe = small("nano-ar")
    run = trained(recipe, tmp_path).run
    longer = replace(recipe, n_steps=6)
    Trainer(longer, tmp_path, go_on=True).train(judge_items=0, stop_after=1)
    trained(longer, tmp_path, go_on=True)  # interrupted, and the same again: no third schedule
    state = run.load()
    assert (state["step"], state["finished"]) == (6, True)
    again = [
        "python -m training.train nano-ar --steps 2 --processes 1 --batch-tokens 1024",
        "python -m training.train nano-ar --steps 6 --processes 1 --batch-tokens 1024 --continue",
    ]
    assert [schedule["command"] for schedule in state["record"]["schedules"]] == again
    with pytest.raises(RunError, match="has to say more, in all"):
        Trainer(recipe, tmp_path, go_on=True)


def test_a_model_of_another_shape_cannot_go_on(tmp_path: Path) -> None:
    recipe = small("nano-ar")
    trained(recipe, tmp_path)
    wider = replace(recipe, shape=replace(recipe.shape, d_ff=128), n_steps=4)
    with pytest.raises(RunError, match=r"has another shape\.d_ff; move it away"):
        Trainer(wider, tmp_path, go_on=True)


def test_a_grown_model_begins_as_its_parent_of_the_same_folder(tmp_path: Path) -> None:
    """And goes on as itself, whatever becomes of the parent; only one that begins now begins as that."""
    parent = trained(small("nano-block"), tmp_path)
    recipe = small("nano-llada", grown_from="nano-block")
    grown = Trainer(recipe, tmp_path)
    assert digest_of(grown.model.state_dict()) == digest_of(parent.model.state_dict())
    grown.train(judge_items=0)
    origin = grown.run.load()["record"]["origin"]
    assert origin["what"] == "the weights of nano-block"
    assert origin["digest"] == digest_of(parent.model.state_dict())
    assert origin["seconds"] == parent.seconds
    assert origin["commands"] == ("python -m training.train nano-block --steps 2 --processes 1 --batch-tokens 1024",)
    before = grown.run.load()["record"]
    trained(replace(small("nano-block"), n_steps=3), tmp_path, go_on=True)
    assert trained(recipe, tmp_path).run.load()["record"] == before
    Trainer(small("nano-block", 5), tmp_path, go_on=True).train(judge_items=0, stop_after=1)
    assert trained(recipe, tmp_path).run.load()["record"] == before, "its parent is not at its end"
    parent.run.folder.rename(tmp_path / "moved")
    assert trained(recipe, tmp_path).run.load()["record"] == before, "there is no parent"
    with pytest.raises(RunError, match=r"started from: the weights of nano-block, SHA-256 \w{12}, now its own"):
        Trainer(recipe, tmp_path, released=True)


def test_a_release_that_a_run_began_from_may_be_another_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the flag or without it: only a run that begins now looks at the file."""
    monkeypatch.setattr("training.origin._file_digest", lambda _: "a" * 64)
    monkeypatch.setattr("training.train.weights_of", lambda recipe, _: Transformer(recipe.shape).state_dict())
    recipe = small("nano-ar", 4)
    Trainer(recipe, tmp_path, released=True).train(judge_items=0, stop_after=1)
    monkeypatch.setattr("training.origin._file_digest", lambda _: "b" * 64)
    Trainer(recipe, tmp_path, released=True).train(judge_items=0, stop_after=1)
    (schedule,) = trained(recipe, tmp_path).run.load()["record"]["schedules"]
    assert " --from-release " in schedule["command"]


def test_nothing_grows_from_half_a_run(tmp_path: Path) -> None:
    Trainer(small("nano-block", 4), tmp_path).train(judge_items=0, stop_after=1)
    with pytest.raises(
        RunError, match=r"has come to step 1 only.*finish it first: python -m .* nano-block --steps 4 "
    ) as no:
        Trainer(small("nano-llada", grown_from="nano-block"), tmp_path)
    assert str(no.value).endswith(f" --runs {tmp_path}")


def test_half_a_run_in_minutes_is_finished_by_the_command_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is the same run, and no other that is refused."""
    recipe = small("nano-block", minutes=30.0)
    monkeypatch.setitem(RECIPES, "nano-block", replace(recipe, minutes=None))
    Trainer(recipe, tmp_path).train(judge_items=0, stop_after=1)
    with pytest.raises(RunError, match="which is not its end") as refused:
        Trainer(small("nano-llada", grown_from="nano-block"), tmp_path)
    told = shlex.split(str(refused.value).partition("finish it first: python -m training.")[2])
    trained_as: list[Recipe] = []
    monkeypatch.setattr("training.train.together", lambda *given: trained_as.append(given[2]))
    monkeypatch.setattr(sys, "argv", told)
    main()
    assert trained_as == [recipe]


def test_what_there_is_no_run_of_is_said_with_the_command_that_trains_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"run `python -m training.train nano-ar --runs '{tmp_path}/my runs'` first"
    with pytest.raises(RunError) as refused:
        Run.of("nano-ar", tmp_path / "my runs").load()
    assert str(refused.value).endswith(command)
    monkeypatch.setattr("training.runs.RUNS", tmp_path / "usual")
    with pytest.raises(RunError, match=r"run `python -m training\.train nano-ar` first"):
        Run.of("nano-ar", Path(os.path.relpath(tmp_path / "usual"))).load()


def test_the_last_mark_is_made_when_it_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that came to its end and was killed while it was judged; only then."""
    n_judged = count()
    monkeypatch.setattr(Trainer, "judge", lambda *_: {"json": next(n_judged) / 4})
    recipe = small("nano-ar")
    run = trained(recipe, tmp_path).run
    assert [row["accuracy"] for row in run.rows()] == []
    for _ in range(2):
        Trainer(recipe, tmp_path).train(judge_items=1)
    assert [(row["step"], row["accuracy"]) for row in run.rows()] == [("2", "0.0000")]


def test_a_schedule_in_minutes_ends_with_a_learning_rate_of_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on a second each time it is looked at: a minute has sixty steps, whoever looks."""
    looked = count()
    monkeypatch.setattr("training.train.time.monotonic", lambda: float(next(looked)))
    recipe = small("nano-llada", peak_lr=1e-3, minutes=1.0)
    Trainer(recipe, tmp_path).train(judge_items=0, stop_after=40)
    again = Trainer(recipe, tmp_path)
    assert (again.step, again.seconds) == (40, 40.0)
    again.train(judge_items=0)
    assert (again.step, again.n_steps, again.seconds) == (60, 60, 60.0)
    assert [float(row["lr"]) for row in again.run.rows()] == pytest.approx([1e-3, 1e-3 * 21 / 39, 1e-3 / 39], rel=0.01)
    (schedule,) = again.run.load()["record"]["schedules"]
    assert " --steps 60 " in schedule["command"], "as many steps, wherever a minute has others"


def test_a_clean_twin_is_no_token_more(tmp_path: Path) -> None:
    """Of a block model, whose rows go in twice: a batch of 1,024 tokens is counted as that, or what of it is full."""
    trainer = trained(small("nano-block", 3), tmp_path)
    assert 3 * 512 < trainer.tokens <= 3 * 1024


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    run = trained(small("nano-ar"), tmp_path).run
    whole = run.checkpoint.read_bytes()
    for torn in (b"", b"hello", whole[: len(whole) // 2]):
        run.checkpoint.write_bytes(torn)
        with pytest.raises(RunError, match=rf"{run.checkpoint} cannot be read as a checkpoint; move {run.folder} away"):
            Trainer(small("nano-ar"), tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    recipe = small("nano-ar", 4)
    Trainer(recipe, tmp_path).train(judge_items=0, stop_after=1)
    trainer = Trainer(recipe, tmp_path)
    before = trainer.run.checkpoint.read_bytes()
    with (
        no_room(100_000),
        pytest.raises(RunError, match=r"checkpoint\.pt cannot be written: .*; what was there"),
    ):
        trainer.train(judge_items=0)
    assert trainer.run.checkpoint.read_bytes() == before
    assert [path for path in trainer.run.folder.iterdir() if "partial" in path.name] == []
    assert trained(recipe, tmp_path).step == 4


@pytest.mark.parametrize("torn", ["20,1.5", "20,1.5,1024,3.00e-03,6.9", "20,1.5,1024,3.00e-03,6.9,0.9,7\n", "2\0,,\n"])
def test_a_torn_line_of_the_log_is_no_row(torn: str, tmp_path: Path) -> None:
    run = Run("nano-ar", tmp_path)
    run.cut_log(0)
    run.append(step=10, seconds="1.0", tokens=512, lr="3.00e-03", loss="7.1", accuracy="")
    with run.log.open("a") as file:
        file.write(torn)
    run.draw(tmp_path / "loss.png")
    assert [row["step"] for row in run.rows()] == ["10"]
    run.cut_log(20)
    assert run.log.read_text().splitlines() == [",".join(COLUMNS), "10,1.0,512,3.00e-03,7.1,"]


def test_a_log_that_cannot_be_written_anew_stays(tmp_path: Path) -> None:
    run = Run("nano-ar", tmp_path)
    run.cut_log(0)
    run.append(step=10, seconds="1.0", tokens=512, lr="3.00e-03", loss="7.1", accuracy="")
    before = run.log.read_text()
    with no_room(10), pytest.raises(RunError, match=r"log\.csv cannot be written"):
        run.cut_log(20)
    assert run.log.read_text() == before


def test_one_process_trains_a_run(tmp_path: Path) -> None:
    """Until it has: another one touches nothing."""
    recipe = small("nano-ar")
    first = Trainer(recipe, tmp_path)
    first.run.append(step=1, seconds="0.1", tokens=9, lr="0", loss="7", accuracy="")
    with pytest.raises(RunError, match=rf"process {os.getpid()} trains in {first.run.folder}: wait"):
        Trainer(recipe, tmp_path)
    assert len(first.run.rows()) == 1
    first.train(judge_items=0)
    assert trained(recipe, tmp_path).finished


def test_a_run_that_was_moved_away_is_not_saved_over_its_successor(tmp_path: Path) -> None:
    first = Trainer(small("nano-ar"), tmp_path)
    first.run.folder.rename(tmp_path / "moved")
    newer = trained(small("nano-ar", 3), tmp_path)
    with pytest.raises(RunError, match=r"was moved away while it was trained in"):
        first.train(judge_items=0)
    assert Run.of("nano-ar", tmp_path).load()["step"] == newer.step == 3


def _refused_while_others_wait(team: Team) -> None:
    if team.leads:
        raise RunError("the disk is full")
    team.agree(1.0)


def test_what_a_member_cannot_do_is_said_by_who_started_it() -> None:
    with pytest.raises(RunError, match=r"^the disk is full$"):
        together(2, _refused_while_others_wait)


def test_every_member_of_a_team_goes_on_where_it_was() -> None:
    """From what the leader kept: the state of its own lessons."""
    recipe = small("nano-llada")
    teams = [Team(rank, 2) for rank in range(2)]
    whole = [[next(lessons).inputs.tolist() for _ in range(6)] for lessons in (Lessons(recipe, team) for team in teams)]
    leader = Lessons(recipe, teams[0])
    for _ in range(3):
        next(leader)
    for team, samples in zip(teams, whole, strict=True):
        again = Lessons(recipe, team)
        again.state = leader.state
        assert [next(again).inputs.tolist() for _ in range(3)] == samples[3:]
    assert whole[0] != whole[1]


def _two_steps(team: Team, root: Path) -> None:
    trainer = Trainer(small("nano-llada"), root, team=team)
    trainer.train(judge_items=0)
    torch.save(trainer.model.state_dict(), root / f"member-{team.rank}.pt")


def test_a_team_trains_one_model(tmp_path: Path) -> None:
    """Both members end with the same weights; they are not what one alone would have, whose batch
    is another, so that one alone does not go on with it."""
    together(2, _two_steps, tmp_path)
    (tmp_path / "alone").mkdir()
    _two_steps(Team(), tmp_path / "alone")
    first, second, alone = (
        torch.load(tmp_path / name, weights_only=True)["head.weight"]
        for name in ("member-0.pt", "member-1.pt", "alone/member-0.pt")
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, alone)
    assert Run.of("nano-llada", tmp_path).load()["step"] == 2
    with pytest.raises(RunError, match="processes: 2, now 1"):
        Trainer(small("nano-llada"), tmp_path)


def test_the_command_trains_goes_on_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*words: str) -> None:
        usual = ["--batch-tokens", "512", "--processes", "1", "--threads", "1", "--judge-items", "0"]
        monkeypatch.setattr(sys, "argv", ["train", "nano-ar", "--runs", str(tmp_path), *usual, *words])
        main()

    train("--steps", "2")
    train("--steps", "2")
    capsys.readouterr()
    with pytest.raises(SystemExit) as refused:
        train("--steps", "3")
    assert (refused.value.code, capsys.readouterr().err.splitlines()[1]) == (1, "  length: 2 steps, now 3 steps")
    train("--steps", "3", "--continue")
    state = Run.of("nano-ar", tmp_path).load()
    assert (state["step"], [s["ends"] for s in state["record"]["schedules"]]) == (3, [2, 3])
    assert (tmp_path / "nano-ar" / "loss.png").exists()


WRONG = ["--steps 0", "--minutes nan", "--minutes 2 --steps 5", "--judge-items -5", "--judge-items many"]


@pytest.mark.parametrize("words", WRONG)
def test_what_no_number_of_it_is(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "nano-ar", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        main()


def test_a_gpu_is_not_left_idle_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Several processes train on the CPU."""
    monkeypatch.setattr("training.train.torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(sys, "argv", ["train", "nano-ar", "--processes", "2"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "a GPU is trained on by one process" in capsys.readouterr().err
