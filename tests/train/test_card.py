"""What a model card says of a model, and that asking for one leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.card import write_card
from training.recipe import RECIPES
from training.runs import Run
from training.team import Team
from training.train import Trainer

RECIPE = replace(RECIPES["nano-llada"], grown_from=None)
SMALL = replace(RECIPE, shape=replace(RECIPE.shape, d_model=64, n_layer=1, n_head=2, d_ff=96), batch_tokens=512)


def _card(tmp_path: Path, right: tuple[int, int], released: str = "", peak_lr: float = SMALL.peak_lr) -> str:
    trainer = Trainer(replace(SMALL, peak_lr=peak_lr), tmp_path)
    trainer.released = released
    trainer.train(2, judge_items=0)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"")
    write_card(SMALL, trainer.run, path, {"Replies": {"json": (right[0], 20), "story": (right[1], 20)}})
    return " ".join(path.with_suffix(".md").read_text().split())


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ((20, 18), "It reaches 95.0%; no kind is under 80%."),
        ((20, 16), "It reaches 90.0%; no kind is under 80%."),
        ((20, 15), "It reaches 87.5%; under 80%: story."),
    ],
)
def test_a_card_says_which_aims_are_missed(tmp_path: Path, right: tuple[int, int], said: str) -> None:
    assert said in _card(tmp_path, right)


def test_the_command_of_a_card_trains_as_much_again(tmp_path: Path) -> None:
    assert "`python -m training.train nano-llada --steps 2 --processes 1`" in _card(tmp_path / "alone", (20, 20))
    again = _card(tmp_path / "released", (20, 20), released="0123456789abcdef", peak_lr=1e-3)
    assert "its release of SHA-256 `0123456789ab`" in again
    assert "`python -m training.train nano-llada --from-release --steps 2 --processes 1 --peak-lr 0.001`" in again
    trainer = Trainer(replace(SMALL, batch_tokens=256), tmp_path / "team", team=Team())
    trainer.save()
    state = trainer.run.load()
    assert (state["processes"], state["batch_tokens"]) == (1, 256)


def test_asking_for_a_run_makes_no_folder(tmp_path: Path) -> None:
    run = Run.of("nano-llada", tmp_path)
    with pytest.raises(FileNotFoundError, match="is missing"):
        run.load()
    assert (run.rows(), list(tmp_path.iterdir())) == ([], [])
