"""LLaDA by the names of InfiniLM's guide: programs written for it run here, on a GGUF file.

One thing differs on purpose: where the guide goes on with placeholder logits after a failure, we raise. An
answer that no model gave is never returned.

    model = LLaDAForCausalLM("llada.gguf", device=DeviceType.DEVICE_TYPE_CPU)
    text = model.generate("The future of AI is", max_steps=64, gen_length=64)
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from hoshikage._canvas import Canvas
from hoshikage._core import Session
from hoshikage._model import gpu_offload
from hoshikage.checks import shown
from hoshikage.engine.diffusion import make_canvas
from hoshikage.engine.engine import Engine, load
from hoshikage.engine.prompt import checked_ids
from hoshikage.engine.recipe import Recipe
from hoshikage.engine.request import DiffusionRequest
from hoshikage.engine.result import Result
from hoshikage.errors import ContextOverflowError, ModelFileError, ParameterError, UnsupportedModelError
from hoshikage.gguf.split import is_later_part


class DeviceType(IntEnum):
    """Where a model runs. llama.cpp has no backend for some of them."""

    DEVICE_TYPE_CPU = 0
    DEVICE_TYPE_NVIDIA = 1
    DEVICE_TYPE_CAMBRICON = 2
    DEVICE_TYPE_ASCEND = 3
    DEVICE_TYPE_METAX = 4
    DEVICE_TYPE_MOORE = 5
    DEVICE_TYPE_ILUVATAR = 6


OFFLOADED = (DeviceType.DEVICE_TYPE_NVIDIA, DeviceType.DEVICE_TYPE_ASCEND, DeviceType.DEVICE_TYPE_MOORE)


@dataclass(slots=True)
class InferTask:
    """One request of a batch that goes on round by round: its tokens so far, and how the next is chosen.

    `max_tokens` counts prompt and answer. `topk=0` and `topp=1` cut nothing, `temperature=0` always takes the
    likeliest token. A round's token is handed back with `next`, which sets `finish_reason` at the end.
    """

    id: Any
    tokens: list[int]
    max_tokens: int
    temperature: float = 0.0
    topk: int = 0
    topp: float = 1.0
    end_tokens: Sequence[int] = ()
    seed: int = 0
    finish_reason: str | None = None
    n_given: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self.tokens)
        self.n_given = len(self.tokens)

    @property
    def pos(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    @property
    def generated(self) -> list[int]:
        """The tokens that rounds have added."""
        return self.tokens[self.n_given :]

    def next(self, out_token: int | None) -> None:
        """Take a round's token; None or one of `end_tokens` ends the task, as does its last position."""
        if out_token is None or out_token in self.end_tokens:
            self.finish_reason = "stop"
            return
        self.tokens.append(out_token)
        if len(self.tokens) >= self.max_tokens:
            self.finish_reason = "length"


class LLaDABatchedTask:
    """Several tasks in the form in which the core takes them: flat arrays, and a canvas for each."""

    def __init__(self, tasks: Iterable[InferTask]) -> None:
        self.tasks = [checked_task(task) for task in tasks]
        self.nreq = len(self.tasks)
        self.req_lens = flat("tokens", [len(task.tokens) for task in self.tasks], np.uint32)
        self.req_pos = np.zeros(self.nreq, np.uint32)  # attention looks both ways: a canvas is always read whole
        self.tokens = flat("tokens", [token for task in self.tasks for token in task.tokens], np.uint32)
        self.ntok = len(self.tokens)
        self.temperaturas = flat("temperature", [task.temperature for task in self.tasks], np.float32)
        self.topks = flat("topk", [task.topk for task in self.tasks], np.uint32)
        self.topps = flat("topp", [task.topp for task in self.tasks], np.float32)

    def canvases(self, model: Any) -> list[Canvas]:
        """Each task's tokens with its remaining positions masked, to be settled from left to right."""
        return [self._canvas(model, task) for task in self.tasks]

    def _canvas(self, model: Any, task: InferTask) -> Canvas:
        n_masked = task.max_tokens - len(task.tokens)
        if task.finish_reason is not None or n_masked < 1:
            raise ParameterError("tasks", f"task {task.id!r} is finished", "leave it out of the round")
        request = DiffusionRequest(temperature=task.temperature, top_k=task.topk, top_p=task.topp, seed=task.seed)
        recipe = Recipe("low_confidence", "block", block_length=1, steps=n_masked)
        given = checked_ids(model, task.tokens, name="tokens")
        if model.mask_id in given:
            raise ParameterError("tokens", f"task {task.id!r} holds the mask token", "leave masks to max_tokens")
        return make_canvas(model, request, recipe, [*given, *[model.mask_id] * n_masked])


class LLaDAForCausalLM:
    """A LLaDA model, or any other masked diffusion model."""

    def __init__(
        self,
        model_dir_path: str | PathLike[str],
        device: DeviceType | int = DeviceType.DEVICE_TYPE_CPU,
        ndev: int = 1,
        max_tokens: int | None = None,
    ) -> None:
        """`model_dir_path` is a GGUF file or a folder with one; `max_tokens` bounds prompt and answer together."""
        self.device = checked_device(device)
        self.ndev = ndev
        self.engine: Engine = load(gguf_in(model_dir_path), n_ctx=max_tokens, **placement(self.device, ndev))
        if not self.engine.model.is_diffusion:
            path = self.engine.model.path
            self.engine.close()
            raise UnsupportedModelError(path, "it is an autoregressive model", "load it with hoshikage.load")

    def __enter__(self) -> LLaDAForCausalLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        self.engine.close()

    def max_context_len(self) -> int:
        """Tokens that a prompt and its answer may have together."""
        return self.engine.n_ctx

    def generate(
        self,
        prompts: str | Sequence[str],
        max_steps: int = 128,
        gen_length: int = 128,
        block_length: int = 128,
        temperature_: float = 0.0,
        cfg_scale: float = 0.0,
        remasking: str = "low_confidence",
        mask_id: int | None = None,
        logits_eos_inf: bool = False,
        confidence_eos_eot_inf: bool = False,
        verbose: bool = False,
        topp_: float = 1.0,
        topk_: int = 0,
        seed: int | None = None,
    ) -> str | list[str]:
        """The answer to a prompt, or the answers to several, decoded as LLaDA's paper defines.

        The model's chat template is used where it has one. `verbose` prints what each answer took. `mask_id`
        may be given to make sure of the model's; any other is refused.
        """
        self._check_mask(mask_id)
        results = self.engine.generate(
            [self._prompt(prompt) for prompt in checked_prompts(prompts)],
            max_tokens=gen_length,
            steps=max_steps,
            block_length=block_length,
            schedule="block",
            algorithm=remasking,
            temperature=temperature_,
            cfg_scale=cfg_scale,
            logits_eos_inf=logits_eos_inf,
            confidence_eos_eot_inf=confidence_eos_eot_inf,
            top_p=topp_,
            top_k=topk_,
            seed=seed,
        )
        if verbose:
            report(results)
        texts = [result.text for result in results]
        return texts[0] if isinstance(prompts, str) else texts

    # The guide has a second function that calls the model, where the first stands in for it. Here both call it.
    generate_with_cpp_model = generate

    def batch_infer_one_round(self, tasks: Sequence[InferTask]) -> list[int]:
        """The next token of every task, from left to right, by one forward pass for all of them."""
        if not tasks:
            return []
        canvases = LLaDABatchedTask(tasks).canvases(self.engine.model)
        for canvas in canvases:
            if canvas.n > self.engine.n_ctx:
                raise ContextOverflowError(canvas.n, self.engine.n_ctx)
        lengths = [canvas.n for canvas in canvases]
        with self.engine.session(sum(lengths), len(canvases), len(canvases), max(lengths)) as session:
            return one_step(session, canvases)

    def forward_logits_batch(self, input_ids: Any, attention_mask: Any = None) -> Any:
        """Logits [batch, position, vocabulary]: a NumPy array, or a PyTorch tensor for PyTorch tensors.

        Positions that the mask leaves out, at the ends of a row, are NaN.
        """
        logits = self.engine.logits(as_array(input_ids), None if attention_mask is None else as_array(attention_mask))
        torch = sys.modules.get("torch")
        return torch.from_numpy(logits) if torch is not None and isinstance(input_ids, torch.Tensor) else logits

    def _prompt(self, text: str) -> Any:
        if self.engine.has_chat_template:
            return self.engine.chat_tokens([{"role": "user", "content": text}])
        return text

    def _check_mask(self, mask_id: int | None) -> None:
        own = self.engine.model.mask_id
        if mask_id not in (None, own):
            raise ParameterError("mask_id", f"{mask_id} is not this model's mask token", f"use {own}, or leave it out")


LLaDAForCauslLM = LLaDAForCausalLM  # the guide's spelling


def gguf_in(path: str | PathLike[str]) -> Path:
    """The file itself, or the only model in a folder: of one in several parts, the first."""
    path = Path(path).expanduser()
    if not path.is_dir():
        return path
    found = sorted(file for file in path.glob("*.gguf") if not is_later_part(file))
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise ModelFileError(path, f"one GGUF file was expected in this folder, and there is {names}", "name the file")
    return found[0]


def checked_prompts(prompts: object) -> Sequence[str]:
    """A text, or several, as several."""
    if isinstance(prompts, str):
        return [prompts]
    if not isinstance(prompts, (list, tuple)) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ParameterError("prompts", f"{shown(prompts)} is no text and no list of texts", "give one of them")
    return prompts


def checked_task(task: object) -> InferTask:
    """What a batch is made of."""
    if not isinstance(task, InferTask):
        raise ParameterError("tasks", f"{shown(task)} is not a task", "give a list of InferTask")
    return task


def checked_device(device: DeviceType | int) -> DeviceType:
    """A device by its name or number."""
    if device not in list(DeviceType):
        known = f"{DeviceType.DEVICE_TYPE_CPU.value} to {max(DeviceType).value}"
        raise ParameterError("device", f"{shown(device)} is unknown", f"use a DeviceType, or its number from {known}")
    return DeviceType(device)


def flat(name: str, values: list[Any], dtype: Any) -> Any:
    """Numbers as an array; refuses those that its type does not hold."""
    try:
        return np.array(values, dtype)
    except (OverflowError, TypeError, ValueError) as error:
        raise ParameterError(name, f"a task has a bad one: {error}", "give numbers in range") from None


def placement(device: DeviceType, ndev: int) -> dict[str, Any]:
    """The settings that put a model on `ndev` devices."""
    if device == DeviceType.DEVICE_TYPE_CPU:
        if ndev != 1:
            raise ParameterError("ndev", f"{ndev} processors cannot share a model", "use 1, and HOSHIKAGE_THREADS")
        return {"n_gpu_layers": 0}
    if device not in OFFLOADED:
        raise ParameterError("device", f"llama.cpp has no backend for {device.name}", "use DEVICE_TYPE_CPU or _NVIDIA")
    if not gpu_offload():
        cause = f"this build of llama.cpp found no device for {device.name}"
        raise ParameterError("device", cause, 'use DEVICE_TYPE_CPU, or build with CMAKE_ARGS="-DGGML_CUDA=ON"')
    if not 1 <= ndev <= 16:
        raise ParameterError("ndev", f"{ndev} is out of range", "use 1 to 16")
    return {"n_gpu_layers": -1, "tensor_split": [1.0] * ndev if ndev > 1 else None}


def one_step(session: Session, canvases: Sequence[Canvas]) -> list[int]:
    """One step of every canvas, and the token that it settled in each."""
    added: list[Canvas] = []
    try:
        for canvas in canvases:
            session.add(canvas)
            added.append(canvas)
        session.step()
        for canvas in canvases:
            if canvas.error is not None:
                raise canvas.error
        return [canvas.tokens[canvas.lo] for canvas in canvases]
    finally:
        for canvas in added:
            if canvas in session.canvases:
                session.remove(canvas)


def as_array(values: Any) -> Any:
    """A tensor's values in the host's memory, whatever it is a tensor of; anything else as it is."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def report(results: Sequence[Result]) -> None:
    """What each answer took, and what was not done as it was asked for."""
    for result in results:
        counts = result.counts
        print(
            f"{counts.n_tokens} tokens in {counts.n_passes} passes and {counts.seconds:.2f} s "
            f"({counts.tokens_per_second:.1f} tokens/s), {result.stop_reason}"
        )
        for warning in result.warnings:
            print(f"warning: {warning}")
