"""Decoding in torch, many questions at once: the exact rule, one token a step, temperature 0."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from hoshikage.engine.gaps import START
from hoshikage.evaluate.subject import gap_in
from hoshikage.evaluate.tasks import TASKS, Item, is_free

from .corpus import encode_chat
from .model import Transformer
from .objective.block import block_sight
from .tokenizer import EOS, EOT, EXPAND, MASK, SPECIAL

BLOCK = 16
MAX_ROOM = 16
MAX_WINDOW = 32
_NEVER = [MASK, EXPAND]


@dataclass
class _Job:
    """A group of equally long prompts, decoded together."""

    numbers: list[int]
    n_prompt: int
    ids: Tensor


def _jobs(tokenizer: Tokenizer, items: list[Item], room: int) -> Iterable[_Job]:
    """Groups by prompt length; every canvas has room for the right reply and up to `room` more tokens, or for another
    story twice as long."""
    groups: dict[tuple[int, int], list[tuple[int, list[int]]]] = {}
    for number, item in enumerate(items):
        example = encode_chat(tokenizer, item)
        n_right = (example.hi - example.lo) * (2 if is_free(item) else 1)
        n_reply = -(-(n_right + room // 2) // room) * room
        groups.setdefault((example.lo, n_reply), []).append((number, example.ids[: example.lo]))
    for (n_prompt, n_reply), members in groups.items():
        ids = torch.full((len(members), n_prompt + n_reply), MASK)
        ids[:, :n_prompt] = torch.tensor([prompt for _, prompt in members])
        yield _Job([number for number, _ in members], n_prompt, ids)


def _settle_surest(block: Tensor, logits: Tensor) -> None:
    """In place, one masked position in each row; all rows have as many of them."""
    logits[..., _NEVER] = -torch.inf
    confidence, token = logits.softmax(-1).max(-1)
    confidence[block != MASK] = -1
    best = confidence.argmax(-1, keepdim=True)
    block.scatter_(1, best, token.gather(1, best))


def _all_ended(replies: Tensor) -> bool:
    return bool(((replies == EOT) | (replies == EOS)).any(1).all())


def _masked(model: Transformer, job: _Job, shift: bool, block: int) -> Tensor:
    """LLaDA's rule: in every block, settle the surest masked position, one a pass. Stops when all rows have ended."""
    ids = job.ids
    for lo in range(job.n_prompt, ids.shape[1], block):
        hi = min(lo + block, ids.shape[1])
        for _ in range(hi - lo):
            _settle_surest(ids[:, lo:hi], model(ids)[:, lo - shift : hi - shift].float())
        if _all_ended(ids[:, job.n_prompt : hi]):
            break
    return ids


def _blocks(model: Transformer, job: _Job, length: int) -> Tensor:
    """The same in the model's own blocks, which are counted from the first token and see nothing behind."""
    n = -(-job.ids.shape[1] // length) * length
    ids = functional.pad(job.ids, (0, n - job.ids.shape[1]), value=MASK)
    for lo in range(job.n_prompt // length * length, n, length):
        hi = lo + length
        sight = torch.from_numpy(block_sight(hi, length)).to(ids.device)
        while (ids[:, lo:hi] == MASK).any():
            _settle_surest(ids[:, lo:hi], model(ids[:, :hi], sight=sight)[:, lo:hi].float())
        if _all_ended(ids[:, job.n_prompt : hi]):
            break
    return ids


def _causal(model: Transformer, job: _Job) -> Tensor:
    ids = job.ids
    for position in range(job.n_prompt, ids.shape[1]):
        ids[:, position] = model(ids[:, :position], causal=True)[:, -1].argmax(-1)
        if _all_ended(ids[:, job.n_prompt :]):
            break
    return ids


@torch.inference_mode()
def replies(
    model: Transformer,
    tokenizer: Tokenizer,
    items: list[Item],
    *,
    causal: bool,
    shift: bool = False,
    block: int = BLOCK,
    block_length: int = 0,
) -> list[str]:
    """The reply to every item, cut at the first end token. `block_length` is that of a block model."""
    texts = [""] * len(items)
    device = next(model.parameters()).device
    for job in _jobs(tokenizer, items, MAX_ROOM):
        job.ids = job.ids.to(device)
        if block_length:
            ids = _blocks(model, job, block_length)
        else:
            ids = _causal(model, job) if causal else _masked(model, job, shift, block)
        for number, row in zip(job.numbers, ids[:, job.n_prompt :].tolist(), strict=True):
            ends = [k for k, token in enumerate(row) if token in (EOS, EOT, MASK)]
            texts[number] = tokenizer.decode(row[: ends[0]] if ends else row, skip_special_tokens=True)
    return texts


@dataclass
class _Gap:
    """A text with a hole: prefix, the tokens that belong into it, suffix."""

    prefix: list[int]
    middle: list[int]
    suffix: list[int]


def _gap(tokenizer: Tokenizer, item: Item) -> _Gap:
    """Where an exported file is asked for it, too: so what training says of a model is what its card will."""
    example = encode_chat(tokenizer, item)
    begin, n = gap_in(item, example.hi - example.lo - 1)  # the end of the turn is no part of it
    lo = example.lo + begin
    return _Gap(example.ids[:lo], example.ids[lo : lo + n], example.ids[lo + n :])


@torch.inference_mode()
def fills(model: Transformer, tokenizer: Tokenizer, items: list[Item]) -> list[bool]:
    """Whether a gap of unknown length in each item's reply is filled rightly."""
    return [_filled(model, tokenizer, item, _gap(tokenizer, item)) for item in items]


def _filled(model: Transformer, tokenizer: Tokenizer, item: Item, gap: _Gap) -> bool:
    middle = _fill_elastic(model, gap)
    if middle == gap.middle:
        return True
    if not is_free(item) or any(token < len(SPECIAL) for token in middle):
        return False
    n_prompt = encode_chat(tokenizer, item).lo
    reply = tokenizer.decode([*gap.prefix[n_prompt:], *middle, *gap.suffix], skip_special_tokens=True)
    return TASKS[item.task].passes(item, reply)


def _best(model: Transformer, ids: list[int], lo: int, hi: int, forbidden: list[int]) -> tuple[int, int]:
    """The surest masked position of [lo, hi), by the entropy of its row, and its token."""
    device = next(model.parameters()).device
    logits = model(torch.tensor([ids], device=device))[0, lo - 1 : hi - 1].float().cpu()
    logits[:, forbidden] = -torch.inf
    log_p = logits.log_softmax(-1)
    entropy = -(log_p.exp() * log_p.clamp_min(-1e9)).sum(-1)
    masked = [k for k in range(hi - lo) if ids[lo + k] == MASK]
    best = min(masked, key=lambda k: float(entropy[k]))
    return lo + best, int(logits[best].argmax())


def _fill_elastic(model: Transformer, gap: _Gap) -> list[int]:
    """DreamOn's loop: a few masks to begin with, two where <expand> is settled, none where EOS is."""
    window, budget = [MASK] * START, MAX_WINDOW
    lo = len(gap.prefix)
    while MASK in window:
        ids = [*gap.prefix, *window, *gap.suffix]
        full = len(window) >= MAX_WINDOW or budget == 0
        position, token = _best(model, ids, lo, lo + len(window), _NEVER if full else [MASK])
        k = position - lo
        if token == EXPAND:
            window[k : k + 1] = [MASK, MASK]
            budget -= 1
        elif token == EOS:
            window[k:] = [kept for kept in window[k:] if kept != MASK]
        else:
            window[k] = token
    return window
