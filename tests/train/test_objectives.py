"""What the objectives ask: the prompt stays, targets are the truth, gaps can be put together again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from tokenizers import Tokenizer

from training.corpus import Batch, Stream
from training.objective import Block, Causal, Elastic, Masked
from training.objective.block import twin_sight
from training.tokenizer import ASSISTANT, EOS, EXPAND, GAP_MIDDLE, GAP_PREFIX, GAP_SUFFIX, MASK, ROLES


@pytest.fixture(scope="module")
def some(tokenizer: Tokenizer) -> list[Batch]:
    return list(islice(Stream(tokenizer, 3, 1024, document_share=0.3, stretch=0.4), 60))


def _numbered(some: list[Batch]) -> Iterator[tuple[Batch, np.random.Generator]]:
    return ((batch, np.random.default_rng(k)) for k, batch in enumerate(some))


def test_batches_are_the_same_for_the_same_seed(tokenizer: Tokenizer) -> None:
    one, two = (list(islice(Stream(tokenizer, 7, 1024), 10)) for _ in range(2))
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(one, two, strict=True))


def test_canvases_are_filled_up_with_eos(some: list[Batch]) -> None:
    assert len({batch.ids.shape[1] for batch in some}) >= 4
    for batch in some:
        for row, hi in zip(batch.ids, batch.hi, strict=True):
            assert (row[hi:] == EOS).all()


@pytest.mark.parametrize("shift", [False, True])
def test_masked_rows_answer_for_the_truth(some: list[Batch], shift: bool) -> None:
    for batch, rng in _numbered(some):
        sample = Masked(shift=shift).sample(batch, rng)
        for row in range(len(batch.ids)):
            asked = np.flatnonzero(sample.weight[row])
            assert (sample.inputs[row, asked + shift] == MASK).all()
            assert (sample.targets[row, asked] == batch.ids[row, asked + shift]).all()
            assert len(asked) == (sample.inputs[row] == MASK).sum() > 0
        prompt = np.arange(batch.ids.shape[1]) < batch.lo[:, None]
        assert (sample.inputs[prompt] == batch.ids[prompt]).all()


def test_block_rows_come_masked_and_clean(some: list[Batch]) -> None:
    """Only masks of the masked half count; the prompt is given, and so is what is behind the reply's last block."""
    shares = []
    for batch, rng in _numbered(some):
        sample, n = Block(8).sample(batch, rng), batch.ids.shape[1]
        noisy, weight = sample.inputs[:, :n], sample.weight[:, :n]
        assert (sample.inputs[:, n:] == batch.ids).all()
        assert (sample.weight[:, n:] == 0).all()
        assert ((noisy == MASK) == (weight > 0)).all()
        assert (sample.targets[:, :n] == batch.ids).all()
        position = np.arange(n)
        asked = ~batch.said & (position < batch.hi[:, None])
        given = asked | (position >= -(-batch.hi[:, None] // 8) * 8)
        assert (noisy[given] == batch.ids[given]).all()
        assert ((noisy == MASK).sum(1) > 0).all()
        whole = [(row, lo) for row, lo in enumerate(batch.lo // 8 * 8 + 8) if lo + 8 <= batch.hi[row]]
        shares += [(noisy[row, lo : lo + 8] == MASK).mean() for row, lo in whole]
    assert np.std(shares) > 0.2, "each block has a share of its own"


def test_who_sees_whom_beside_a_clean_twin() -> None:
    n, block = 11, 4
    sight = twin_sight(n, block)
    for q in range(n):
        for k in range(n):
            assert sight[q, k] == (q // block == k // block)
            assert sight[q, n + k] == (k // block < q // block)
            assert sight[n + q, n + k] == (k // block <= q // block)
            assert not sight[n + q, k]


def test_causal_targets_are_the_next_tokens(some: list[Batch]) -> None:
    for batch, rng in _numbered(some):
        sample = Causal().sample(batch, rng)
        assert (sample.inputs[:, 1:] == sample.targets[:, :-1]).all()
        chats = batch.is_chat
        assert (sample.inputs[chats] == batch.ids[chats, :-1]).all()
        for row in np.flatnonzero(chats):
            full = np.flatnonzero(sample.weight[row] == 1.0) + 1
            assert full.tolist() == np.flatnonzero(batch.said[row]).tolist()
            assert full[-1] == batch.hi[row] - 1


def test_what_an_assistant_said_is_what_its_turns_hold(tokenizer: Tokenizer) -> None:
    """Against a reading of the ids one by one."""
    n_earlier = 0
    for batch in islice(Stream(tokenizer, 4, 1024, document_share=0.2), 40):
        for ids, said, lo, hi, is_chat in zip(batch.ids, batch.said, batch.lo, batch.hi, batch.is_chat, strict=True):
            role, expected = None, []
            for position, token in enumerate(ids[:hi].tolist()):
                if token in ROLES.values():
                    role = token
                elif role == ASSISTANT or not is_chat:
                    expected.append(position)
            assert np.flatnonzero(said).tolist() == expected
            assert set(range(lo, hi)) <= set(expected)
            n_earlier += len(expected) > hi - lo
    assert n_earlier > 20


def test_causal_gaps_hold_the_document(some: list[Batch]) -> None:
    n_rewritten = 0
    for batch, rng in _numbered(some):
        sample = Causal().sample(batch, rng)
        for row in np.flatnonzero(~batch.is_chat):
            ids = np.append(sample.inputs[row, 0], sample.targets[row]).tolist()
            if ids[0] != GAP_PREFIX:
                continue
            suffix, middle = ids.index(GAP_SUFFIX), ids.index(GAP_MIDDLE)
            n_middle = int(batch.hi[row]) - (suffix - 1) - (middle - suffix - 1)
            document = ids[1:suffix] + ids[middle + 1 : middle + 1 + n_middle] + ids[suffix + 1 : middle]
            assert document == batch.ids[row, : batch.hi[row]].tolist()
            n_rewritten += 1
    assert n_rewritten > 20


def test_elastic_gaps_ask_for_tokens_more_room_or_less(some: list[Batch]) -> None:
    wanted: set[int] = set()
    for batch, rng in _numbered(some):
        sample = Elastic().sample(batch, rng)
        for row in range(len(batch.ids)):
            asked = np.flatnonzero(sample.weight[row])
            assert (sample.inputs[row, asked + 1] == MASK).all()
            targets = sample.targets[row, asked]
            wanted.update(targets.tolist())
            behind = asked[targets == EXPAND] + 2
            behind = behind[behind < sample.inputs.shape[1]]  # a run may end with its row
            assert (sample.inputs[row, behind] != MASK).all(), "the last of a run asks for more"
            kept = [t for t in targets.tolist() if t not in (EXPAND, EOS)]
            document = iter(batch.ids[row].tolist())
            assert all(token in document for token in kept), "tokens keep their order"
    assert {EXPAND, EOS} <= wanted
