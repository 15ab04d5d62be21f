"""The names of the LLaDA guide, on a tiny model: every one works, and no answer is made up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hoshikage import llada
from hoshikage._model import gpu_offload
from hoshikage.errors import ContextOverflowError, ModelFileError, ParameterError, UnsupportedModelError
from hoshikage.llada import DeviceType, InferTask, LLaDABatchedTask, LLaDAForCausalLM
from tests.conftest import TinyModel
from tests.tiny import CHAT_TEMPLATE


@pytest.fixture(scope="module")
def model(tiny_model: TinyModel) -> Iterator[LLaDAForCausalLM]:
    path = tiny_model("llada", chat_template=CHAT_TEMPLATE)
    one_thread = pytest.MonkeyPatch()
    one_thread.setenv("HOSHIKAGE_THREADS", "1")
    with llada.LLaDAForCauslLM(model_dir_path=path, device=DeviceType.DEVICE_TYPE_CPU, ndev=1) as loaded:
        yield loaded
    one_thread.undo()


def test_both_spellings_name_one_class() -> None:
    assert llada.LLaDAForCauslLM is llada.LLaDAForCausalLM


def test_the_guides_calls_work(model: LLaDAForCausalLM, capsys: pytest.CaptureFixture[str]) -> None:
    first = model.generate(prompts="The future of AI is", max_steps=6, gen_length=6, temperature_=0.0, verbose=True)
    assert isinstance(first, str)
    assert "6 passes" in capsys.readouterr().out
    model.generate("a", max_steps=2, gen_length=8, block_length=2, verbose=True)
    assert "warning: steps 2 became 4" in capsys.readouterr().out
    how: dict[str, Any] = {
        "max_steps": 8,
        "gen_length": 8,
        "block_length": 4,
        "temperature_": 0.7,
        "cfg_scale": 1.0,
        "remasking": "low_confidence",
        "mask_id": model.engine.model.mask_id,
        "logits_eos_inf": True,
        "confidence_eos_eot_inf": True,
        "topp_": 0.9,
        "topk_": 50,
        "seed": 3,
    }
    assert model.generate_with_cpp_model(prompts="Explain:", **how) == model.generate("Explain:", **how)
    answers = model.generate(["a", "b"], max_steps=2, gen_length=4, remasking="random")
    assert [type(answer) for answer in answers] == [str, str]


def test_generate_is_the_engines_answer_by_the_papers_recipe(model: LLaDAForCausalLM) -> None:
    expected = model.engine.chat(
        [{"role": "user", "content": "hello"}],
        max_tokens=8, steps=4, block_length=4, schedule="block", algorithm="low_confidence",
    )  # fmt: skip
    assert model.generate("hello", max_steps=4, gen_length=8, block_length=4) == expected.text


def test_rounds_settle_the_next_token_of_every_task(model: LLaDAForCausalLM) -> None:
    tasks = [InferTask(name, [5, 6, 7 + i], 8 + i) for i, name in enumerate("abc")]
    n_rounds = 0
    while live := [task for task in tasks if task.finish_reason is None]:
        for task, token in zip(live, model.batch_infer_one_round(live), strict=True):
            task.next(token)
        n_rounds += 1
    assert n_rounds == 7
    for task in tasks:
        n = task.max_tokens - 3
        whole = model.engine.generate(
            task.tokens[:3], max_tokens=n, block_length=1, algorithm="low_confidence", early_stop=False
        )
        assert tuple(task.tokens) == whole.canvas
        assert task.generated == task.tokens[3:]
        assert (task.finish_reason, task.pos) == ("length", task.max_tokens)
    assert model.batch_infer_one_round([]) == []


def test_a_task_ends_at_its_end_tokens() -> None:
    task = InferTask("a", [1], 5, end_tokens=[9])
    task.next(3)
    assert (task.tokens, task.finish_reason) == ([1, 3], None)
    task.next(9)
    assert (task.tokens, task.finish_reason) == ([1, 3], "stop")


def test_a_batch_is_flat_arrays() -> None:
    batch = LLaDABatchedTask([InferTask("a", [1, 2], 4, temperature=0.5, topk=3, topp=0.9), InferTask("b", [3], 4)])
    assert (batch.nreq, batch.ntok) == (2, 3)
    assert batch.tokens.tolist() == [1, 2, 3]
    assert batch.req_lens.tolist() == [2, 1]
    assert batch.temperaturas.tolist() == [0.5, 0.0]
    assert batch.topks.tolist() == [3, 0]


def test_logits_are_the_models_and_torch_gets_tensors(model: LLaDAForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = model.forward_logits_batch(np.array([[1, 2, 3], [4, 5, 0]]), attention_mask=[[1, 1, 1], [1, 1, 0]])
    assert logits.shape == (2, 3, model.engine.model.n_vocab)
    assert np.isfinite(logits[0]).all()
    assert np.isnan(logits[1, 2]).all()

    class Tensor:
        """What is needed of a PyTorch tensor."""

        def __init__(self, values: Any) -> None:
            self.values = values

        def detach(self) -> Tensor:
            return self

        cpu = detach

        def numpy(self) -> Any:
            return np.array(self.values)

    torch = ModuleType("torch")
    torch.Tensor, torch.from_numpy = Tensor, Tensor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    tensor = model.forward_logits_batch(Tensor([[1, 2, 3]]), Tensor([[1, 1, 1]]))
    assert isinstance(tensor, Tensor)
    assert np.array_equal(tensor.values[0], logits[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.generate("a", max_steps=0), "steps: 0"),
        (lambda m: m.generate("a", block_length=0), "block_length: 0"),
        (lambda m: m.generate("a", temperature_=float("nan")), "temperature: nan"),
        (lambda m: m.generate("a", remasking="low_confidense"), "did you mean 'low_confidence'"),
        (lambda m: m.generate("a", mask_id=126336), "126336 is not this model's mask token"),
        (lambda m: m.batch_infer_one_round([InferTask("x", [1, 2], 2)]), "task 'x' is finished"),
        (lambda m: m.batch_infer_one_round([InferTask("x", [10**6], 2)]), "outside the vocabulary"),
        (lambda m: m.batch_infer_one_round([InferTask("x", [-1], 2)]), "^tokens: "),
        (lambda m: m.batch_infer_one_round([InferTask("x", [1], 2, topk=2**40)]), "^top_?k: "),
        (lambda m: m.batch_infer_one_round([InferTask("x", [m.engine.model.mask_id], 2)]), "holds the mask token"),
        (lambda m: m.batch_infer_one_round(["x"]), "'x' is not a task"),
        (lambda m: m.generate(5), "5 is no text"),
        (lambda m: m.generate([[1, 2]]), "is no text and no list of texts"),
        (lambda m: m.forward_logits_batch([[0.5]]), "whole numbers"),
    ],
)
def test_failures_are_raised_never_papered_over(model: LLaDAForCausalLM, call: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        call(model)
    assert model.batch_infer_one_round([InferTask("y", [1], 2)])


def test_a_task_longer_than_the_context_is_refused(model: LLaDAForCausalLM) -> None:
    with pytest.raises(ContextOverflowError):
        model.batch_infer_one_round([InferTask("x", [1], model.max_context_len() + 1)])


def test_a_folder_with_one_model_is_that_model(tiny_model: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is none"):
        LLaDAForCausalLM(tmp_path)
    (tmp_path / "state-of-the-art.gguf").symlink_to(tiny_model("llada"))
    with LLaDAForCausalLM(tmp_path, max_tokens=64) as loaded:
        assert loaded.max_context_len() == 64
    (tmp_path / "two.gguf").symlink_to(tiny_model("llada"))
    with pytest.raises(ModelFileError, match=r"state-of-the-art\.gguf, two\.gguf"):
        LLaDAForCausalLM(tmp_path)


def test_devices_and_models_that_cannot_be_used_are_refused(tiny_model: TinyModel) -> None:
    with pytest.raises(ParameterError, match="no backend for DEVICE_TYPE_CAMBRICON"):
        LLaDAForCausalLM(tiny_model("llada"), device=DeviceType.DEVICE_TYPE_CAMBRICON)
    if not gpu_offload():
        with pytest.raises(ParameterError, match="found no device for DEVICE_TYPE_NVIDIA"):
            LLaDAForCausalLM(tiny_model("llada"), device=DeviceType.DEVICE_TYPE_NVIDIA)
    with pytest.raises(ParameterError, match="9 is unknown; use a DeviceType, or its number from 0 to 6"):
        LLaDAForCausalLM(tiny_model("llada"), device=9)
    with pytest.raises(ParameterError, match="2 processors cannot share"):
        LLaDAForCausalLM(tiny_model("llada"), ndev=2)
    with pytest.raises(UnsupportedModelError, match="autoregressive"):
        LLaDAForCausalLM(tiny_model("llama"))
