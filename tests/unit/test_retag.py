"""Retagged headers: what another reader finds in them is the file's own, under the twin's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import gguf
from hoshikage.gguf import Retagged
from tests.conftest import TinyModel
from tests.rawgguf import BOOL, F32, STRING, U32, Draft
from tests.tiny import CAUSAL, DIFFUSION

TWINS = {"llada": "llama", "dream": "qwen2", "rnd1": "qwen3moe", "llada-moe": "hy_v3"}
ADDED = {"expert_shared_feed_forward_length": 32, "expert_gating_func": 1, "expert_weights_norm": False}


def served(path: Path, retagged: Retagged) -> bytes:
    """What a reader of the overlay sees."""
    data = path.read_bytes()
    pieces = [retagged.header_bytes]
    for part in retagged.parts:
        pieces.append(data[part[1] : part[1] + part[2]] if part[0] == "file" else bytes(part[1]))
    return b"".join(pieces)


@pytest.fixture
def retagged_file(tmp_path: Path) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        retagged = gguf.retag(gguf.inspect(path))
        assert retagged is not None
        out = tmp_path / "retagged.gguf"
        out.write_bytes(served(path, retagged))
        return out

    return write


Retag = Callable[[Path], Path]


def contents(reader: GGUFReader) -> dict[str, Any]:
    return {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}


def expected(metadata: dict[str, Any], architecture: str) -> dict[str, Any]:
    twin = TWINS[architecture]
    keys = {
        f"{twin}.{key.removeprefix(architecture + '.')}" if key.startswith(f"{architecture}.") else key: entry
        for key, entry in metadata.items()
    }
    del keys[f"{twin}.attention.causal"]
    added = {f"{twin}.{key}": entry for key, entry in ADDED.items()} if twin == "hy_v3" else {}
    return keys | {"general.architecture": twin, "hoshikage.retagged_from": architecture} | added


@pytest.mark.parametrize("weights", ["F32", "F16", "Q8_0"])
@pytest.mark.parametrize("architecture", DIFFUSION)
def test_the_same_keys_and_tensors(
    architecture: str, weights: str, tiny_model: TinyModel, retagged_file: Retag
) -> None:
    path = tiny_model(architecture, weights=weights, chat_template="{{ '\u00e9\n' }}")
    before, after = GGUFReader(path), GGUFReader(retagged_file(path))
    assert contents(after) == expected(contents(before), architecture)
    n = len(before.tensors)
    for old, new in zip(before.tensors, after.tensors[:n], strict=True):
        assert (new.name, new.tensor_type, new.shape.tolist()) == (old.name, old.tensor_type, old.shape.tolist())
        assert np.array_equal(new.data, old.data)
    assert len(after.tensors[n:]) == (3 * 2 if architecture == "llada-moe" else 0)


def test_a_shared_expert_of_zeros(tiny_model: TinyModel, retagged_file: Retag) -> None:
    path = tiny_model("llada-moe", n_layer=2, n_embd=64)
    shared = {t.name: t for t in GGUFReader(retagged_file(path)).tensors if "shexp" in t.name}
    assert {name: t.shape.tolist() for name, t in shared.items()} == {
        f"blk.{layer}.ffn_{name}_shexp.weight": [32, 64] if name == "down" else [64, 32]
        for layer in range(2)
        for name in ("gate", "up", "down")
    }
    assert not any(t.data.any() for t in shared.values())


@pytest.mark.parametrize("architecture", DIFFUSION)
def test_what_is_served_passes_the_same_inspection(
    architecture: str, tiny_model: TinyModel, retagged_file: Retag
) -> None:
    header = gguf.inspect(retagged_file(tiny_model(architecture)))
    assert (header.architecture, header.origin) == (TWINS[architecture], architecture)
    assert header.is_diffusion
    assert header.is_retagged
    assert gguf.retag(header) is None


@pytest.mark.parametrize("said", ["llama", "dream", "mamba", "", 5])
def test_only_a_diffusion_model_was_ever_rewritten(said: str | int, tmp_path: Path) -> None:
    """The key in a file that nobody rewrote means nothing, unless the file could be such a one."""
    path = tmp_path / "m.gguf"
    draft = Draft("llama", keys={"hoshikage.retagged_from": (STRING, said) if isinstance(said, str) else (U32, said)})
    path.write_bytes(draft.bytes())
    header = gguf.inspect(path)
    assert (header.origin, header.is_diffusion, header.is_retagged) == ("llama", False, False)


@pytest.mark.parametrize("architecture", DIFFUSION)
def test_data_begins_aligned_and_nothing_overlaps(architecture: str, tmp_path: Path) -> None:
    for alignment in (32, 64, 4096):
        path = tmp_path / f"{alignment}.gguf"
        draft = Draft(architecture, alignment=alignment, keys={"general.alignment": (U32, alignment)})
        path.write_bytes(draft.bytes())
        header = gguf.inspect(path)
        retagged = gguf.retag(header)
        assert retagged is not None
        assert len(retagged.header_bytes) % alignment == 0
        assert retagged.parts[0] == ("file", header.data_offset, header.data_size)
        path.write_bytes(served(path, retagged))
        assert gguf.inspect(path).alignment == alignment  # offsets follow each other without gaps, or it would refuse


def test_a_file_that_ends_with_its_last_tensor(tmp_path: Path, retagged_file: Retag) -> None:
    """Its padding is missing, and has to be served all the same before the zeros."""
    draft = Draft("llada-moe")
    draft.tensors.append(["output.weight", (8, 1), 0])
    path = tmp_path / "short.gguf"
    path.write_bytes(draft.bytes())
    header = gguf.inspect(path)
    path.write_bytes(draft.bytes()[: header.data_offset + header.data_size])
    after = {t.name: t for t in GGUFReader(retagged_file(path)).tensors}
    assert np.array_equal(after["output.weight"].data, GGUFReader(path).tensors[-1].data)
    assert not after["blk.0.ffn_down_shexp.weight"].data.any()


def test_keys_that_the_twin_would_read_otherwise(tmp_path: Path, retagged_file: Retag) -> None:
    """A router's settings that llada-moe ignores, and keys left over under the twin's own name."""
    keys = {
        "llada-moe.expert_weights_scale": (F32, 2.5),
        "llada-moe.expert_weights_norm": (BOOL, True),
        "llada-moe.expert_gating_func": (U32, 2),
        "llada-moe.expert_feed_forward_length": (U32, 32),
        "hy_v3.block_count": (U32, 7),
        "hy_v3.of_its_own": (STRING, "x"),
    }
    path = tmp_path / "odd.gguf"
    path.write_bytes(Draft("llada-moe", keys=keys).bytes())
    after = contents(GGUFReader(retagged_file(path)))
    assert {key: entry for key, entry in after.items() if key.startswith("hy_v3.expert")} == {
        "hy_v3.expert_count": 4,
        "hy_v3.expert_used_count": 2,
        "hy_v3.expert_feed_forward_length": 32,
        **{f"hy_v3.{key}": entry for key, entry in ADDED.items()},
    }
    assert after["hy_v3.block_count"] == 1
    assert "hy_v3.of_its_own" not in after


def test_the_twin_wants_to_hear_of_its_experts_size(tmp_path: Path, retagged_file: Retag) -> None:
    """llada-moe may leave it out; 0 makes hy_v3 work it out by the same rule."""
    path = tmp_path / "model.gguf"
    path.write_bytes(Draft("llada-moe").bytes())
    assert contents(GGUFReader(retagged_file(path)))["hy_v3.expert_feed_forward_length"] == 0


@given(raw=st.binary(min_size=1, max_size=40), stem=st.from_regex(r"[a-z]{1,8}", fullmatch=True))
def test_values_are_copied_byte_for_byte(raw: bytes, stem: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also those that no reader could write again: a NaN's payload, a flag that is 7, a string in an array."""
    numbers = b"\x09\0\0\0\x00\0\0\0" + len(raw).to_bytes(8, "little") + raw
    odd = {f"llada.{stem}": numbers, f"x.{stem}": b"\x06\0\0\0\x01\x02\xc0\x7f", f"y.{stem}": b"\x07\0\0\0\x07"}
    path = tmp_path_factory.getbasetemp() / "odd-values.gguf"
    path.write_bytes(Draft("llada", keys=odd).bytes())
    retagged = gguf.retag(gguf.inspect(path))
    assert retagged is not None
    for key, entry in odd.items():
        assert key.replace("llada.", "llama.").encode() + entry in retagged.header_bytes


# -- what stays as it is


@pytest.mark.parametrize("architecture", CAUSAL)
def test_causal_models_stay_as_they_are(architecture: str, tiny_model: TinyModel) -> None:
    assert gguf.retag(gguf.inspect(tiny_model(architecture))) is None


IGNORED: dict[str, tuple[str, list[Any]]] = {
    "frequencies": ("llada", ["rope_freqs.weight", (8,), 0]),
    "an attention bias": ("llada", ["blk.0.attn_output.bias", (64,), 0]),
    "a feed-forward bias": ("llada", ["blk.0.ffn_up.bias", (32,), 0]),
    "an output bias": ("dream", ["output.bias", (16,), 0]),
}


@pytest.mark.parametrize("name", IGNORED)
def test_tensors_that_only_the_twin_would_use(name: str, tmp_path: Path) -> None:
    architecture, tensor = IGNORED[name]
    draft = Draft(architecture)
    draft.tensors.append(tensor)
    (tmp_path / "model.gguf").write_bytes(draft.bytes())
    assert gguf.retag(gguf.inspect(tmp_path / "model.gguf")) is None


def test_layers_and_experts_that_only_the_twin_would_look_for(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    experts = {"llada.expert_count": (U32, 4), "llada.expert_used_count": (U32, 2)}
    for keys in (experts, {"llada.block_count": (U32, 2), "llada.nextn_predict_layers": (U32, 1)}):
        path.write_bytes(Draft("llada", keys=keys).bytes())
        assert gguf.retag(gguf.inspect(path)) is None
