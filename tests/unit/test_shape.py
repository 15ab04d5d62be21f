"""A model in numbers: whatever its header says, there are numbers or a sentence, and soon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.errors import ModelFileError
from hoshikage.gguf.header import TENSOR_TYPES, TensorInfo
from hoshikage.manager.fit import Room, fit
from hoshikage.manager.shape import Shape, operand_of, shape_of
from hoshikage.settings import Settings
from tests.rawgguf import ARRAY, F32, I32, STRING, U32, Draft
from tests.tiny import Shape as Tiny
from tests.tiny import write
from tests.tiny.mamba import write_mamba
from tests.tiny.writer import write_parts

KEYS = (
    "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "expert_count", "expert_used_count",
    "expert_feed_forward_length", "context_length", "ssm.inner_size", "ssm.state_size", "ssm.conv_kernel",
    "ssm.group_count", "wkv.head_size",
)  # fmt: skip
NUMBERS = st.sampled_from([0, 1, 2, 3, 64, 2**31 - 1, 2**32 - 1])
ENTRIES = st.one_of(
    NUMBERS.map(lambda n: (U32, n)),
    st.just((STRING, "x")),
    st.just((F32, float("nan"))),
    st.lists(st.sampled_from([-1, 0, 4, 2**31 - 1]), max_size=5).map(lambda numbers: (ARRAY, I32, numbers)),
    st.lists(st.sampled_from(["", "8"]), max_size=3).map(lambda words: (ARRAY, STRING, words)),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shape") / "m.gguf"


def checked(path: Path) -> Shape | None:
    """The numbers of a file, which have to be such that something can be planned with them."""
    try:
        shape = shape_of(path)
    except ModelFileError as error:
        assert error.cause
        return None
    assert len(shape.layers) == shape.n_layer
    assert sum(shape.layers) + shape.input <= shape.data + shape.output
    room = Room(1 << 200, (1 << 200,))
    assert fit(shape, Settings(n_ctx=512), room, room).plans
    return shape


@pytest.mark.parametrize(
    ("n_used", "tensor", "n_bytes"),
    [
        (1, ("blk.0.ffn_down.weight", (512, 64), "f16"), 2 * 512),
        (1, ("blk.0.ffn_down.weight", (512, 64), "q4_0"), 584),
        (1, ("blk.0.ffn_down.weight", (512, 64), "f32"), 0),
        (1, ("output_norm.weight", (512,), "f16"), 0),
        (4, ("blk.0.ffn_down_exps.weight", (512, 64, 32), "f16"), 4 * 2 * 512 + 8 * 32 * 4),
        (4, ("blk.0.ffn_up_exps.weight", (64, 512, 32), "f16"), 2 * 64 + 8 * 32 * 4),
    ],
)
def test_what_is_multiplied_with_a_matrix_takes_its_form(
    n_used: int, tensor: tuple[str, tuple[int, ...], str], n_bytes: int
) -> None:
    """Numbers of `ggml_graph_plan`, by hand."""
    name, dims, type_name = tensor
    kind = next(kind for kind in TENSOR_TYPES.values() if kind.name == type_name)
    assert operand_of(TensorInfo(name, dims, kind, 0, 0), n_used) == n_bytes


@given(st.sampled_from(["llama", "llada", "gemma3", "deepseek2", "mamba", "rwkv7"]),
       st.dictionaries(st.sampled_from(KEYS), ENTRIES, max_size=5))  # fmt: skip
def test_any_header_gives_numbers_or_a_sentence(file: Path, architecture: str, keys: dict[str, Any]) -> None:
    draft = Draft(architecture, keys={f"{architecture}.{name}": entry for name, entry in keys.items()})
    file.write_bytes(draft.bytes())
    checked(file)


@pytest.mark.parametrize("number", ["512", "4294967295", "9" * 40])
def test_a_layer_of_any_number_is_no_list_of_as_many(number: str, file: Path) -> None:
    draft = Draft("gemma3")
    draft.tensors.append([f"blk.{number}.x", (32,), 0])
    file.write_bytes(draft.bytes())
    shape = checked(file)
    assert shape is not None
    assert shape.n_layer == 1


def test_the_numbers_are_those_of_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", Tiny("llama", n_vocab=400, head_size=24))
    shape = shape_of(path)
    assert (shape.kind, shape.n_layer, shape.n_vocab, shape.n_embd, shape.n_head) == ("causal", 2, 400, 64, 4)
    assert (shape.n_q, shape.kv, shape.n_ff, shape.n_used) == (96, ((48, 48), (48, 48)), 96, 1)
    assert shape.input == shape.output - 4 * 64 == 400 * 64 * 4
    assert shape.data == sum(shape.layers) + shape.input + shape.output
    assert (shape.is_private, shape.is_native, shape.state) == (False, False, 0)
    tied = shape_of(write(tmp_path / "t.gguf", Tiny("llama", n_vocab=400, tied=True)))
    assert tied.output == 400 * 64 * 4 + 64 * 4
    assert tied.data == sum(tied.layers) + tied.output


def test_experts_are_counted_as_many_as_work(tmp_path: Path) -> None:
    shape = shape_of(write(tmp_path / "m.gguf", Tiny("qwen3moe", n_expert=8, n_expert_used=3)))
    assert (shape.n_used, shape.n_ff) == (3, 96)


def test_all_files_of_a_model_count(tmp_path: Path) -> None:
    whole = shape_of(write(tmp_path / "whole.gguf", Tiny("llada")))
    parts = write_parts(tmp_path / "big.gguf", Tiny("llada"))
    split = shape_of(parts[0])
    assert (split.data, split.layers) == (whole.data, whole.layers)
    assert (whole.is_private, whole.is_native) == (True, False)
    assert (split.is_private, split.is_native, split.kv) == (False, True, ())


def test_a_state_takes_the_same_for_any_length(tmp_path: Path) -> None:
    shape = shape_of(write_mamba(tmp_path / "m.gguf"))
    assert shape.state == 4 * 2 * (3 * 64 + 16 * 64)
    assert sum(keys + values for keys, values in shape.kv) == 0
