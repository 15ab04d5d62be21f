"""Well-formed models that would end the process inside llama.cpp are refused by name, and sound ones are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hoshikage import gguf
from hoshikage.errors import ModelFileError, UnsupportedModelError
from hoshikage.gguf import vocabulary
from tests.rawgguf import ARRAY, BOOL, F32, F64, I32, STRING, U32, U64, Draft, of, with_tensor, with_tensors


def inspected(folder: Path, draft: Draft) -> gguf.Header:
    (folder / "model.gguf").write_bytes(draft.bytes())
    return gguf.inspect(folder / "model.gguf")


def refusal(folder: Path, draft: Draft) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        inspected(folder, draft)
    assert caught.value.remedy
    return caught.value


# -- models that llama.cpp would not survive


def of_type(tensor: str, kind: int, *, more: tuple[Any, ...] | None = None) -> Draft:
    draft = with_tensors(*([more] if more else []))
    draft.tensor(tensor)[2] = kind
    return draft


def without(tensor: str, architecture: str) -> Draft:
    draft = Draft(architecture)
    draft.tensors.remove(draft.tensor(tensor))
    return draft


NAN, INF = float("nan"), float("inf")
DEADLY: dict[str, tuple[Draft, str]] = {
    "no layers": (of("llada", block_count=(U32, 0)), "block_count is 0"),
    "513 layers": (of("llada", block_count=(U32, 513)), "block_count is 513"),
    "layers not counted": (of("llada", block_count=None), "block_count is missing"),
    "layers counted in another type": (of("llada", block_count=(U64, 1)), "block_count is u64"),
    "all layers are extra": (of("llada", nextn_predict_layers=(U32, 1)), "nextn_predict_layers is 1"),
    "no context": (of("llada", context_length=(U32, 0)), "context_length is 0"),
    "a context beyond int32": (of("llada", context_length=(U32, 1 << 31)), "context_length"),
    "no width": (of("llada", embedding_length=(U32, 0)), "embedding_length"),
    "no heads": (of("llada", attention__head_count=(U32, 0)), "head_count"),
    "heads not counted": (of("llada", attention__head_count=None), "head_count"),
    "more heads than width": (of("llada", attention__head_count=(U32, 128)), "key_length is 0"),
    "heads that do not divide": (of("llada", attention__head_count_kv=(U32, 3)), "no multiple of the 3"),
    "no key heads": (of("llada", attention__head_count_kv=(U32, 0)), "head_count_kv is 0"),
    "heads for other layers": (of("llada", attention__head_count=(ARRAY, U32, [4, 4])), "2 items"),
    "widths for other layers": (of("llada", feed_forward_length=(ARRAY, U32, [32, 32])), "2 items"),
    "widths for other layers of any model": (of("gemma3", feed_forward_length=(ARRAY, I32, [])), "0 items"),
    "heads as fractions": (of("llada", attention__head_count=(ARRAY, F32, [4.0])), "array of f32"),
    "a head of one": (of("llada", attention__key_length=(U32, 1)), "key_length is 1"),
    "keys and values of other sizes": (of("llada", attention__value_length=(U32, 8)), "value_length"),
    "half a head is rotated": (of("llada", rope__dimension_count=(U32, 8)), "dimension_count"),
    "heads that overflow a row": (of("dream", attention__key_length=(U32, 32), attention__value_length=(U32, 32),
                                     rope__dimension_count=(U32, 32)), "do not make 64"),
    "no epsilon": (of("llada", attention__layer_norm_rms_epsilon=None), "epsilon is missing"),
    "a negative epsilon": (of("llada", attention__layer_norm_rms_epsilon=(F32, -1e-5)), "negative"),
    "epsilon is not a number": (of("llada", attention__layer_norm_rms_epsilon=(F32, NAN)), "is nan"),
    "epsilon of another type": (of("llada", attention__layer_norm_rms_epsilon=(F64, 1e-5)), "is f64"),
    "a base of infinity": (of("llada", rope__freq_base=(F32, INF)), "is inf"),
    "a base of zero": (of("llada", rope__freq_base=(F32, 0.0)), "not positive"),
    "an unknown scaling": (of("llada", rope__scaling__type=(STRING, "su")), "rope.scaling.type is 'su'"),
    "no experts": (of("rnd1", expert_count=None, expert_used_count=None), "expert_count is missing"),
    "no experts in use": (of("rnd1", expert_used_count=None), "expert_used_count is 0 of 4"),
    "more experts than there are": (of("rnd1", expert_used_count=(U32, 5)), "is 5 of 4"),
    "experts in use and none there": (of("llada", expert_used_count=(U32, 1)), "is 1 of 0"),
    "1025 experts": (of("rnd1", expert_count=(U32, 1025)), "above 1024"),
    "as many groups as experts": (of("rnd1", expert_group_count=(U32, 4)), "is 4 for 4"),
    "groups in use": (of("rnd1", expert_group_count=(U32, 2), expert_group_used_count=(U32, 2)), "2 groups in use"),
    "an unknown router": (of("rnd1", expert_gating_func=(U32, 9)), "does not exist"),
    "a norm of 16 bits": (of_type("output_norm.weight", 1), "is f16"),
    "a matrix of integers": (of_type("blk.0.attn_q.weight", 26), "is i32"),
    "an expert is missing": (without("blk.0.ffn_up_exps.weight", "llada-moe"), "lacks the tensor blk.0.ffn_up_exps"),
    "frequencies of 16 bits": (with_tensor("rope_freqs.weight", (8,), 1), "'rope_freqs.weight' is f16"),
    "nvfp4 with scale and bias": (with_tensors(("blk.0.ffn_up.weight", (64, 32), 40), ("blk.0.ffn_up.scale", (1,), 0),
                                               ("blk.0.ffn_up.bias", (32,), 0)), "has a scale and a bias"),
    "nvfp4 as a scaled output": (of_type("token_embd.weight", 40, more=("output.scale", (1,), 0)), "nvfp4"),
    "no mask token": (of("llada", tokenizer__ggml__mask_token_id=None), "without a mask token"),
    "a LoRA": (of("llada", general__type=(STRING, "adapter")), "'adapter'"),
    "no architecture": (of("llada", general__architecture=None), "does not say its architecture"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEADLY)
def test_models_that_would_end_the_process(name: str, tmp_path: Path) -> None:
    draft, word = DEADLY[name]
    assert word in refusal(tmp_path, draft).cause


@pytest.mark.parametrize("architecture", ["llada", "dream", "llada-moe", "rnd1", "llama", "qwen2", "qwen3", "qwen3moe"])
def test_the_draft_that_those_are_made_of_is_sound(architecture: str, tmp_path: Path) -> None:
    assert inspected(tmp_path, Draft(architecture)).architecture == architecture


@pytest.mark.parametrize("name", ["bert", "clip", "t5", "eagle3", "wavtokenizer-dec"])
def test_models_that_write_no_text(name: str, tmp_path: Path) -> None:
    refused = refusal(tmp_path, Draft(name))
    assert isinstance(refused, UnsupportedModelError)
    assert refused.cause.startswith(name)


@pytest.mark.parametrize("name", ["diffusion-gemma", "gptj", "(unknown)", "LLAMA"])
def test_unknown_architectures_are_named(name: str, tmp_path: Path) -> None:
    refused = refusal(tmp_path, Draft(name))
    assert isinstance(refused, UnsupportedModelError)
    assert refused.cause == f"architecture {name!r} is not supported by the pinned llama.cpp"


def test_a_dense_model_may_count_one_expert(tmp_path: Path) -> None:
    dense = of("hunyuan-dense", expert_count=(U32, 1), expert_used_count=(U32, 0))
    assert inspected(tmp_path, dense).architecture == "hunyuan-dense"


def test_layers_without_heads_are_for_those_that_have_them(tmp_path: Path) -> None:
    hybrid = of("jamba", attention__head_count_kv=(ARRAY, U32, [0]))
    assert inspected(tmp_path, hybrid).architecture == "jamba"


# -- vocabularies that llama.cpp would not survive

TOKENS = [f"token{i}" for i in range(16)]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def speaking(model: str, tokens: list[Any], **keys: Any) -> Draft:
    """A causal model with that vocabulary."""
    draft = of("llama", tokenizer__ggml__mask_token_id=None)
    draft.keys |= {
        "tokenizer.ggml.model": (STRING, model),
        "tokenizer.ggml.tokens": (ARRAY, STRING, tokens),
        "tokenizer.ggml.token_type": (ARRAY, I32, [1] * len(tokens)),
    }
    draft.keys |= {f"tokenizer.ggml.{name}": entry for name, entry in keys.items()}
    draft.tensor("token_embd.weight")[1] = (64, max(len(tokens), 1))
    return draft


def twin(i: int, token: Any) -> list[Any]:
    return [token if j == i else name for j, name in enumerate(TOKENS)]


MUTE: dict[str, tuple[Draft, str]] = {
    "none at all": (of("llada", tokenizer__ggml__model=None), "no vocabulary"),
    "none by name": (speaking("no_vocab", TOKENS), "no vocabulary"),
    "an encoder's": (speaking("bert", TOKENS), "'bert'"),
    "an unknown one": (speaking("gpt3", TOKENS), "'gpt3'"),
    "no tokens": (speaking("gpt2", []), "empty"),
    "tokens of numbers": (of("llada", tokenizer__ggml__tokens=(ARRAY, I32, [1])), "tokens is array of i32"),
    "one token": (of("llada", tokenizer__ggml__tokens=(STRING, "a")), "tokens is string"),
    "no merges": (of("llada", tokenizer__ggml__merges=None), "lacks tokenizer.ggml.merges"),
    "a token twice": (speaking("gpt2", twin(7, "token3")), "'token3' stands in its vocabulary twice"),
    "a token twice up to a NUL": (speaking("gpt2", twin(7, "token3\0x")), "'token3' stands"),
    "two nameless tokens' name": (speaking("gpt2", ["", "[EMPTY_0]", *TOKENS[2:]]), "'[EMPTY_0]' stands"),
    "too few types": (of("llada", tokenizer__ggml__token_type=(ARRAY, I32, [1] * 15)), "15 items for 16 tokens"),
    "types of another type": (of("llada", tokenizer__ggml__token_type=(ARRAY, U32, [1] * 16)), "array of u32"),
    "too few scores": (of("llada", tokenizer__ggml__scores=(ARRAY, F32, [0.0] * 3)), "3 items for 16 tokens"),
    "another size than the weights": (of("llada", tokenizer__ggml__tokens=(ARRAY, STRING, TOKENS[:15])),
                                      "15 tokens and its embedding 16 rows"),
    "a mask outside": (of("llada", tokenizer__ggml__mask_token_id=(U32, 16)), "mask_token_id is 16"),
    "a BOS outside": (of("llada", tokenizer__ggml__bos_token_id=(U32, 1 << 31)), "bos_token_id is 2147483648"),
    "an EOS of another type": (of("llada", tokenizer__ggml__eos_token_id=(I32, 1)), "eos_token_id is i32"),
    "a BOS wanted and not named": (speaking("gpt2", TOKENS[:8], add_bos_token=(BOOL, True)), "wants a BOS"),
    "a BOS wanted by its pre-tokenizer": (speaking("gpt2", TOKENS[:8], pre=(STRING, "llama-bpe")), "wants a BOS"),
    "a BOS wanted and given up": (speaking("gpt2", TOKENS, pre=(STRING, "glm4"), add_bos_token=(BOOL, True)), "a BOS"),
    "a BOS always wanted": (speaking("gemma4", TOKENS), "wants a BOS"),
    "an EOS wanted and not named": (speaking("gpt2", TOKENS[:8], add_eos_token=(BOOL, True)), "wants a EOS"),
    "a byte without a token": (speaking("llama", [*BYTES[:77], *BYTES[78:], "a", "b"]), "1 of the 256 bytes"),
    "a byte that rwkv cannot write": (speaking("rwkv", [f"\\x{b:02x}" for b in range(255)]), "first is 0xff"),
    "a token deeper than a stack": (speaking("t5", ["a" * 1025, *TOKENS]), "1025 bytes"),
    "nothing for the unknown": (speaking("t5", TOKENS[:2]), "names no token"),
    "pieces of letters": (speaking("plamo2", [b"\xff", *TOKENS]), "not UTF-8"),
}  # fmt: skip


def test_tokens_that_the_weights_lack_are_not_even_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of them would take minutes to compare."""
    monkeypatch.setattr(vocabulary, "texts", None)
    draft, word = MUTE["another size than the weights"]
    assert word in refusal(tmp_path, draft).cause


@pytest.mark.parametrize("name", MUTE)
def test_vocabularies_that_would_end_the_process(name: str, tmp_path: Path) -> None:
    draft, word = MUTE[name]
    assert word in refusal(tmp_path, draft).cause


SOUND: dict[str, Draft] = {
    "byte pairs": speaking("gpt2", TOKENS),
    "a small one that adds nothing": speaking("gpt2", TOKENS[:8]),
    "a small one with its BOS": speaking("gpt2", TOKENS[:8], add_bos_token=(BOOL, True), bos_token_id=(U32, 3)),
    "sentence pieces": speaking("llama", ["<unk>", "<s>", "</s>", *BYTES, "é"]),
    "bytes as they are": speaking("llama", ["<0x00>", *(bytes([b]) for b in range(1, 256))]),
    "rwkv": speaking("rwkv", [*(f"\\x{b:02x}" for b in range(256)), "\\n\\n", "ab"]),
    "unigrams": speaking("t5", TOKENS),
    "gemma": speaking("gemma4", TOKENS, bos_token_id=(U32, 2)),
    "a nameless token": speaking("gpt2", twin(7, "")),
    "more scores than tokens": speaking("gpt2", TOKENS, scores=(ARRAY, F32, [0.0] * 20)),
    "a padding id outside": speaking("gpt2", TOKENS, padding_token_id=(U32, 0xFFFFFFFF)),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_vocabularies_pass(name: str, tmp_path: Path) -> None:
    assert inspected(tmp_path, SOUND[name]).n_vocab > 0
