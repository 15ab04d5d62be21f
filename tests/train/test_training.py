"""A minute of training: the loss falls, the export is the model, and the file gives it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.subject import gap_in, messages_of
from hoshikage.evaluate.tasks import TASKS
from training import tokenizer as vocabulary
from training.decode import _gap
from training.export import digest_in, export, tensors
from training.grow import grow
from training.judge import judge
from training.model import Transformer
from training.objective.block import block_sight, twin_sight
from training.optimise import Muon, orthogonal
from training.origin import digest_of
from training.recipe import RECIPES, Recipe
from training.restore import weights_of
from training.runs import NANO
from training.tokenizer import EOT, MASK
from training.train import Trainer

from .conftest import served_logits
from .small import SHAPE, small


def _losses(trainer: Trainer) -> list[float]:
    return [float(row["loss"]) for row in trainer.run.rows()]


def _sight(recipe: Recipe, n: int) -> torch.Tensor | None:
    return torch.from_numpy(block_sight(n, recipe.block_length)) if recipe.block_length else None


@pytest.mark.parametrize("name", RECIPES)
def test_the_loss_falls(name: str, tmp_path: Path) -> None:
    """Of every recipe's objective, on its kind of model; no weight of it is left out."""
    trainer = Trainer(small(name, 60), tmp_path)
    before = {key: weight.clone() for key, weight in trainer.model.state_dict().items()}
    trainer.train(judge_items=0)
    losses = _losses(trainer)
    assert len(losses) == 3
    assert losses[-1] < losses[0] - 0.5
    assert not [key for key, weight in trainer.model.state_dict().items() if torch.equal(weight, before[key])]
    trainer.run.draw(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000


@pytest.mark.parametrize("name", RECIPES)
def test_the_export_is_the_model(name: str, tmp_path: Path) -> None:
    """F32 file, F32 cache, no flash attention: only the order of the sums differs."""
    recipe = small(name)
    torch.manual_seed(2)
    model = Transformer(recipe.shape).eval()
    for weight in model.parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, 1.0, 0.2)
    path = tmp_path / f"{name}.gguf"
    export(recipe, model.state_dict(), path, "F32")
    ids = np.random.default_rng(1).integers(0, recipe.shape.n_vocab, 48).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([ids]), causal=recipe.objective.causal, sight=_sight(recipe, len(ids)))[0].numpy()
    np.testing.assert_allclose(served_logits(path, ids), expected, atol=2e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_released_file_gives_the_weights_back(name: str, tmp_path: Path) -> None:
    recipe = small(name)
    weights = Transformer(recipe.shape).state_dict()
    for kind, tolerance in (("F32", 0.0), ("Q8_0", 5e-3)):
        export(recipe, weights, tmp_path / kind, kind)
        again = weights_of(recipe, tmp_path / kind)
        assert digest_in(tmp_path / kind) == digest_of(weights)
        assert again.keys() == weights.keys()
        assert all(torch.allclose(again[k], weights[k], rtol=0, atol=tolerance) for k in weights)


def test_muon_is_the_one_torch_has() -> None:
    """Tall, wide and square matrices over a few steps; torch's works in bfloat16, so it is near and not equal."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(40, 60), (40, 60), (60, 40), (50, 50)]
    ours = [torch.nn.Parameter(0.1 * torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    mine = Muon(ours, lr=0.01)
    other = torch.optim.Muon(theirs, lr=0.01, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for one, two in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            two.grad = one.grad.clone()
        mine.step()
        other.step()
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-3)


def test_a_matrix_is_made_orthogonal() -> None:
    """Singular values end between 0.6 and 1.3, whatever they were."""
    tall = torch.randn(3, 30, 12, generator=torch.Generator().manual_seed(4)) * torch.logspace(-1, 3, 3).view(-1, 1, 1)
    for matrices in (tall, tall.mT):
        values = torch.linalg.svdvals(orthogonal(matrices))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_a_masked_row_with_its_twin_is_what_a_decoder_sees() -> None:
    """The rows of a block, learnt beside all others, are those of that block masked behind clean ones."""
    torch.manual_seed(5)
    model = Transformer(SHAPE).eval()
    n, length = 29, 8
    clean = torch.randint(16, SHAPE.n_vocab, (1, n))
    noisy = torch.where(torch.rand(1, n) < 0.5, MASK, clean)
    with torch.no_grad():
        learnt = model(torch.cat((noisy, clean), 1), sight=torch.from_numpy(twin_sight(n, length)), n_twins=2)[:, :n]
        for lo in range(0, n, length):
            hi = min(lo + length, n)
            seen = torch.cat((clean[:, :lo], noisy[:, lo:hi]), 1)
            met = model(seen, sight=torch.from_numpy(block_sight(hi, length)))[:, lo:]
            torch.testing.assert_close(learnt[:, lo:hi], met, rtol=1e-4, atol=1e-4)


def test_a_trained_block_model_is_known_by_its_file_and_answers(tmp_path: Path) -> None:
    hoshikage = pytest.importorskip("hoshikage", reason="the engine is not built: run `make build`")
    recipe = small("nano-block", 20)
    trainer = Trainer(recipe, tmp_path)
    trainer.train(judge_items=0)
    export(recipe, trainer.model.state_dict(), tmp_path / "model.gguf")
    with hoshikage.load(tmp_path / "model.gguf", n_threads=1, n_threads_batch=1) as engine:
        assert (engine.model.kind.name, engine.model.block_length) == ("block", 8)
        answer = engine.chat([{"role": "user", "content": "What is 12+35?"}], max_tokens=16)
    n_whole = (answer.counts.n_prompt + answer.counts.n_tokens - 1) // 8  # each computed with what comes behind it
    assert answer.counts.n_rows == 8 * (answer.counts.n_passes + n_whole) > 0


def test_every_weight_is_exported_once() -> None:
    for recipe in RECIPES.values():
        weights = Transformer(recipe.shape).state_dict()
        assert sum(v.size for v in tensors(recipe, weights).values()) == sum(v.numel() for v in weights.values())


def test_a_dense_model_grows_into_its_equal() -> None:
    source = Transformer(SHAPE).eval()
    grown = Transformer(replace(SHAPE, qkv_bias=True)).eval()
    grow(grown, source.state_dict())
    ids = torch.arange(40).view(1, -1)
    torch.testing.assert_close(grown(ids), source(ids))


def test_experts_that_are_all_used_add_up_to_their_source() -> None:
    """With every expert at work and an even router, the routed layer is the dense one."""
    source = Transformer(SHAPE).eval()
    grown = Transformer(replace(SHAPE, n_expert=4, n_expert_used=4, d_ff=SHAPE.d_ff // 4)).eval()
    grow(grown, source.state_dict())
    for name, weight in grown.named_parameters():
        if "router" in name:
            torch.nn.init.zeros_(weight)
    x = torch.randn(1, 20, SHAPE.d_model)
    torch.testing.assert_close(grown.layers[0].ffn(x), source.layers[0].ffn(x), rtol=1e-4, atol=1e-5)


def test_a_trained_model_is_exported_loaded_and_answers(tmp_path: Path) -> None:
    """The whole way: noise, some steps, the file as it is released, an answer of the engine."""
    hoshikage = pytest.importorskip("hoshikage", reason="the engine is not built: run `make build`")
    recipe = small("nano-llada", 30)
    trainer = Trainer(recipe, tmp_path)
    trainer.train(judge_items=0)
    path = tmp_path / "model.gguf"
    export(recipe, trainer.model.state_dict(), path)
    ids = np.random.default_rng(2).integers(16, recipe.shape.n_vocab, 32).tolist()
    with torch.no_grad():
        expected = trainer.model(torch.tensor([ids]))[0].numpy()
    assert np.corrcoef(served_logits(path, ids).ravel(), expected.ravel())[0, 1] > 0.999  # stored in eight bits
    with hoshikage.load(path, n_threads=1, n_threads_batch=1) as engine:
        answer = engine.chat([{"role": "user", "content": "What is 12+35?"}], max_tokens=16)
    assert answer.counts.n_passes > 0
    assert len(answer.tokens) == answer.counts.n_tokens <= 16


def test_experts_share_the_work_because_training_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The balance is a part of what is learnt: where it weighs the most, routers that were pulled apart come nearer
    by steps down what a sample teaches, and nearer than by steps of that length without it."""
    monkeypatch.setattr("training.learn.halves_are_quick", lambda _: False)  # rounding is no part of the law

    def way(weight: float) -> list[float]:
        monkeypatch.setattr("training.learn.BALANCE_WEIGHT", weight)
        trainer = Trainer(small("nano-moe"), tmp_path / str(weight))
        routers = [weight for name, weight in trainer.model.named_parameters() if "router" in name]
        for router in routers:
            router.data[0] += 0.5
        sample = next(trainer.lessons)
        imbalances = []
        for _ in range(6):
            trainer.model.zero_grad()
            trainer.learn(sample)
            imbalances.append(float(trainer.model.balance().detach()))
            for router in routers:
                router.data -= 0.2 * router.grad / router.grad.norm()
        return imbalances

    asked, unasked = way(1e6), way(0.0)
    assert asked[0] == unasked[0]
    assert asked[-1] < asked[0] - 0.01
    assert asked[-1] < unasked[-1]


KINDS = ("nano-ar", "nano-block", "nano-llada", "nano-dream", "nano-dreamon")


@pytest.mark.parametrize("name", KINDS)
def test_the_judge_of_each_kind_knows_a_good_model(name: str) -> None:
    """The released one, by the decoder in torch."""
    recipe = RECIPES[name]
    model = Transformer(recipe.shape).eval()
    model.load_state_dict(weights_of(recipe, NANO / f"{name}.gguf"))
    scores = judge(recipe, model, 1)
    assert [n for _, n in scores.values()] == [1] * len(TASKS)
    assert sum(right for right, _ in scores.values()) > len(TASKS) / 2


def test_a_gap_is_where_the_exported_file_is_asked_for_it() -> None:
    """Of the tokens that the engine makes of an answer."""
    hoshikage = pytest.importorskip("hoshikage", reason="the engine is not built: run `make build`")
    tokenizer = vocabulary.load()
    with hoshikage.load("nano-dreamon", n_threads=1) as engine:
        for item in questions(3):
            reply = engine.tokenize(item.answer)
            lo, n = gap_in(item, len(reply))
            gap = _gap(tokenizer, item)
            assert gap.prefix == [*engine.chat_tokens(messages_of(item)), *reply[:lo]]
            assert (gap.middle, gap.suffix) == (reply[lo : lo + n], [*reply[lo + n :], EOT])


def test_the_judge_knows_a_bad_model() -> None:
    recipe = small("nano-block")
    scores = judge(recipe, Transformer(recipe.shape).eval(), 1)
    assert sum(right for right, _ in scores.values()) <= 1
