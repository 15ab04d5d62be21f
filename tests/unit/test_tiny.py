"""The tiny models and the forward pass that judges the engine: laws that need no engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from tests.conftest import TinyModel
from tests.forward import forward
from tests.tiny import ARCHITECTURES, DIFFUSION, MASK, SMALLEST, Shape, Vocabulary, write


@pytest.mark.parametrize("n_vocab", [SMALLEST, SMALLEST + 5, 300, 1000])
def test_vocabulary_has_distinct_tokens_and_reachable_merges(n_vocab: int) -> None:
    vocabulary = Vocabulary.of_size(n_vocab)
    assert len(vocabulary.tokens) == len(vocabulary.types) == len(set(vocabulary.tokens)) == n_vocab
    for merge in vocabulary.merges:
        assert all(part in vocabulary.tokens for part in [*merge.split(" "), merge.replace(" ", "")])
    assert vocabulary.id(MASK) == n_vocab - 1


def test_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match=str(SMALLEST)):
        Vocabulary.of_size(SMALLEST - 1)


def test_equal_shapes_give_equal_files_and_seeds_differ(tmp_path: Path) -> None:
    one, two, other = (
        write(tmp_path / name, Shape("rnd1", seed=seed)).read_bytes() for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == two != other


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_metadata_says_what_the_architecture_is(architecture: str, tiny_model: TinyModel) -> None:
    fields = GGUFReader(tiny_model(architecture)).fields
    causal = fields.get(f"{architecture}.attention.causal")
    assert (causal is not None and causal.contents() is False) == (architecture in DIFFUSION)
    assert ("tokenizer.ggml.mask_token_id" in fields) == (architecture in DIFFUSION)
    assert ("diffusion.shift_logits" in fields) == (architecture in ("llada", "llada-moe"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_forward_looks_both_ways_unless_causal(architecture: str, tiny_model: TinyModel) -> None:
    path, tokens = tiny_model(architecture), np.arange(5, 17)
    changed = np.where(np.arange(12) == 8, 3, tokens)
    moved = np.abs(forward(path, tokens) - forward(path, changed)).max(-1) > 1e-6
    assert moved[8:].all() and moved[:8].all() == (architecture in DIFFUSION)
    assert np.allclose(forward(path, tokens, causal=True), forward(path, tokens, True, np.tri(12, dtype=bool)))
    assert np.allclose(forward(path, tokens, causal=True)[:6], forward(path, tokens[:6], causal=True))


def test_forward_takes_a_block_mask(tiny_model: TinyModel) -> None:
    """Blocks that see themselves and what is before them: a block's logits do not depend on what follows."""
    path, tokens, block = tiny_model("llada"), np.arange(40, 52), np.arange(12) // 4
    allowed = block[:, None] >= block[None, :]
    assert np.allclose(forward(path, tokens, allowed=allowed)[:8], forward(path, tokens[:8], allowed=allowed[:8, :8]))
    assert not np.allclose(forward(path, tokens)[:8], forward(path, tokens[:8]))


@pytest.mark.parametrize("weights", ["F16", "Q8_0"])
def test_forward_dequantises(weights: str, tiny_model: TinyModel) -> None:
    exact, rounded = (forward(tiny_model("llada", weights=kind), np.arange(8)) for kind in ("F32", weights))
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.abs(exact).max()
