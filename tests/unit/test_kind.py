"""What kind of model a file is: by its header, its family, its architecture, or what somebody says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hoshikage import gguf
from hoshikage.errors import AmbiguousKindError, ParameterError
from hoshikage.gguf import Kind, Wish, check_said, kind_of
from hoshikage.gguf.families import FAMILIES
from tests.tiny import Shape, write
from tests.tiny.bailing import write_bailing


def made(tmp_path: Path, architecture: str, file: str = "a.gguf", mask: str = "", **metadata: Any) -> gguf.Header:
    """A tiny file, `mask` one of its tokens."""
    keys = {key.replace("__", "."): value for key, value in metadata.items()}
    if architecture == "bailingmoe2":
        return gguf.inspect(write_bailing(tmp_path / file, mask_text=mask))
    shape = Shape(architecture, n_layer=1, n_embd=32, n_head=2, metadata=keys, mask_text=mask or None)
    return gguf.inspect(write(tmp_path / file, shape))


def test_diffusion_architectures_are_masked(tmp_path: Path) -> None:
    for architecture in ("llada", "dream"):
        header = made(tmp_path, architecture, f"{architecture}.gguf")
        kind = kind_of(header)
        assert (kind.name, kind.mask_id, kind.shift) == ("masked", 299, architecture == "dream")


def test_what_says_nothing_is_causal(tmp_path: Path) -> None:
    assert kind_of(made(tmp_path, "qwen3")) == Kind(name="causal")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family.name))
def test_families_are_known_by_their_names_and_masks(family: Any, tmp_path: Path) -> None:
    names = {
        "SDAR": "SDAR-1.7B-Chat-Q8_0", "Fast-dLLM v2": "Fast_dLLM_v2_7B", "LLaDA 2.1": "LLaDA2.1-mini",
        "LLaDA 2.0": "llada2.0-mini-preview", "Tiny-A2D, blocks": "Qwen3-0.6B-diffusion-bd3lm-v0.1",
        "Tiny-A2D, masked": "Qwen3-0.6B-diffusion-mdlm-v0.1", "Hoshikage nano": "nano-block",
    }  # fmt: skip
    architecture = family.architectures[0]
    kind = kind_of(made(tmp_path, architecture, f"{names[family.name]}.gguf", family.mask_token))
    assert (kind.family, kind.name, kind.mask_id) == (family.name, family.kind, 299)
    assert (kind.block_length, kind.sub_block) == (family.block_length, family.sub_block or family.block_length)
    assert kind.shift == family.shift
    assert kind.decoding == family.decoding


def test_a_name_may_say_another_block_length(tmp_path: Path) -> None:
    header = made(tmp_path, "qwen3", "x.gguf", "<|MASK|>", general__basename="SDAR-8B-Chat-b32")
    assert kind_of(header).block_length == 32


def test_a_header_says_it(tmp_path: Path) -> None:
    length = {"diffusion__block_length": 8, "tokenizer__ggml__mask_token_id": 299}
    kind = kind_of(made(tmp_path, "llama", **length))
    assert (kind.name, kind.block_length, kind.mask_id, kind.shift) == ("block", 8, 299, False)
    both = {"qwen3__attention__causal": False, "tokenizer__ggml__mask_token_id": 299}
    assert kind_of(made(tmp_path, "qwen3", "b.gguf", **both)).name == "masked"


@pytest.mark.parametrize(
    ("file", "mask", "metadata"),
    [
        ("some.gguf", "<|MASK|>", {}),
        ("SDAR-4B.gguf", "", {}),
        ("some.gguf", "", {"tokenizer__ggml__mask_token_id": 299}),
    ],
)
def test_what_could_be_two_things_asks(file: str, mask: str, metadata: dict[str, Any], tmp_path: Path) -> None:
    header = made(tmp_path, "qwen3", file, mask, **metadata)
    with pytest.raises(AmbiguousKindError) as asked:
        kind_of(header)
    assert "hoshikage add" in asked.value.remedy
    assert "--kind causal" in asked.value.remedy
    assert "--kind block --block-length" in asked.value.remedy
    assert kind_of(header, Wish(kind="causal")).name == "causal"
    wish = Wish(kind="block", block_length=4, mask_token=mask or "<|mdm_mask|>")
    assert kind_of(header, wish).block_length == 4


def test_what_is_said_is_stronger_than_the_family(tmp_path: Path) -> None:
    header = made(tmp_path, "qwen3", "SDAR.gguf", "<|MASK|>")
    kind = kind_of(header, Wish(kind="block", block_length=16, sub_block=8, mask_token="7", shift="on"))
    assert (kind.block_length, kind.sub_block, kind.mask_id, kind.shift) == (16, 8, 7, True)
    assert kind_of(header, Wish(kind="masked")).name == "masked"


@pytest.mark.parametrize(
    ("architecture", "wish", "name", "said"),
    [
        ("llada", Wish(kind="causal"), "kind", "which is masked"),
        ("llada", Wish(kind="block", block_length=4), "kind", "which is masked"),
        ("hy_v3", Wish(kind="block", block_length=4), "kind", "hy_v3, which is run as a causal model only"),
        ("qwen3", Wish(kind="block", mask_token="<|mdm_mask|>"), "block_length", "does not say how long"),
        ("qwen3", Wish(kind="block", block_length=4), "mask_token", "names none"),
        ("qwen3", Wish(kind="block", block_length=4, mask_token="<|mdm_mast|>"), "mask_token", "did you mean"),
        ("qwen3", Wish(kind="masked", mask_token="300"), "mask_token", "is not in the file"),
        ("qwen3", Wish(kind="block", block_length=4, sub_block=3, mask_token="299"), "sub_block", "does not divide"),
        ("qwen3", Wish(kind="block", block_length=9999, mask_token="299"), "block_length", "no length"),
        ("qwen3", Wish(kind="causal", block_length=4), "block_length", "a causal model has none"),
        ("qwen3", Wish(kind="causal", shift="on"), "shift", "a causal model has none"),
        ("llada", Wish(sub_block=4), "sub_block", "a masked model has none"),
    ],
)
def test_contradictions_are_refused(
    architecture: str, wish: Wish, name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = made(tmp_path, "qwen3" if architecture == "hy_v3" else architecture)
    if architecture == "hy_v3":
        monkeypatch.setattr(type(header), "architecture", "hy_v3")
    with pytest.raises(ParameterError) as refused:
        check_said(header, wish)
    assert refused.value.name == name
    assert said in refused.value.cause
    assert refused.value.remedy


def test_what_is_said_of_all_models_leaves_those_alone_that_it_means_nothing_for(tmp_path: Path) -> None:
    """As an environment does: HOSHIKAGE_BLOCK_LENGTH=32 is for masked models, and for blocks of unknown length."""
    wish = Wish(block_length=32, sub_block=4)
    assert kind_of(made(tmp_path, "qwen3"), wish).name == "causal"
    header = made(tmp_path, "qwen3", diffusion__block_length=8, tokenizer__ggml__mask_token_id=299)
    assert kind_of(header, wish).block_length == 8
    with pytest.raises(ParameterError, match="own is 8"):
        check_said(header, wish)
    assert kind_of(header, Wish(kind="block", block_length=32)).block_length == 32


def test_a_later_llada_is_not_taken_for_an_earlier_one(tmp_path: Path) -> None:
    for name, family in (("LLaDA2.0-mini", "LLaDA 2.0"), ("LLaDA2-flash", "LLaDA 2.0"), ("LLaDA2.1-mini", "LLaDA 2.1")):
        assert kind_of(made(tmp_path, "bailingmoe2", f"{name}.gguf", "<|mask|>")).family == family
    with pytest.raises(AmbiguousKindError):
        kind_of(made(tmp_path, "bailingmoe2", "LLaDA2.2-mini.gguf", "<|mask|>"))
