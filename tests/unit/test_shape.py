"""A model in numbers: whatever its header says, there are numbers or a sentence, and soon."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.errors import ModelFileError
from hoshikage.gguf.header import TENSOR_TYPES, TensorInfo
from hoshikage.gguf.reader import read
from hoshikage.manager.fit import Room, fit
from hoshikage.manager.numbers import Numbers
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
    "ssm.group_count", "wkv.head_size", "kda.head_dim", "full_attention_interval", "attention.recurrent_layers",
    "attention.key_length_mla", "attention.value_length_mla", "attention.shared_kv_layers", "nextn_predict_layers",
    "attention.sliding_window_pattern", "attention.key_length_swa", "shortconv.l_cache",
)  # fmt: skip
ARCHITECTURES = (
    "llama", "llada", "gemma3", "gemma4", "deepseek2", "mamba", "rwkv7", "qwen3next", "kimi-linear", "minimax-01",
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


@given(st.sampled_from(ARCHITECTURES),
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
    assert (shape.is_private, shape.is_native, shape.states) == (False, False, (0, 0))
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
    assert shape.states == (4 * (3 * 64 + 16 * 64),) * 2
    assert sum(keys + values for keys, values in shape.kv) == 0


MakeNumbers = Callable[..., Numbers]


@pytest.fixture
def numbers(file: Path) -> MakeNumbers:
    """`numbers(architecture, n_layer, **keys)`: of a header of which nothing but numbers is read."""
    usual = {"embedding_length": 64, "attention.head_count": 4, "attention.key_length": 8, "attention.value_length": 6}

    def make(architecture: str, n_layer: int, **keys: Any) -> Numbers:
        draft = Draft(architecture)
        for name, entry in (usual | {name.replace("__", "."): entry for name, entry in keys.items()}).items():
            typed = (ARRAY, I32, entry) if isinstance(entry, list) else (U32, entry)
            draft.keys[f"{architecture}.{name}"] = typed
        file.write_bytes(draft.bytes())
        return Numbers(read(file), n_layer)

    return make


SSM = {"ssm__inner_size": 32, "ssm__state_size": 16, "ssm__conv_kernel": 4, "ssm__group_count": 2}
SSM_STATE = 4 * (3 * (32 + 2 * 2 * 16) + 16 * 32)
KDA = {"kda__head_dim": 16, "ssm__conv_kernel": 4}
KDA_STATE = 4 * (3 * 3 * 16 * 4 + 16 * 16 * 4)
MLA = {"attention__key_length_mla": 12, "attention__value_length_mla": 8}


@pytest.mark.parametrize(
    ("architecture", "keys", "kv", "states"),
    [
        ("qwen3next", SSM, [0, 0, 0, 1, 0], [1, 1, 1, 0, 1]),
        ("qwen35", SSM | {"full_attention_interval": 2}, [0, 1, 0, 1, 0], [1, 0, 1, 0, 1]),
        ("qwen35moe", SSM | {"attention__recurrent_layers": [0, 1, 1, 0, 0]}, [1, 0, 0, 1, 1], [0, 1, 1, 0, 0]),
        ("qwen35moe", SSM | {"nextn_predict_layers": 1}, [0, 0, 0, 1, 0], [1, 1, 1, 0, 0]),
        ("jamba", SSM | {"attention__head_count_kv": [0, 2, 0, 0, 2]}, [0, 1, 0, 0, 1], [1, 0, 1, 1, 0]),
        ("falcon-h1", SSM, [1] * 5, [1] * 5),
        ("nemotron_h", SSM | {"attention__head_count_kv": [0, 2, 0, 0, 2], "feed_forward_length": [0, 0, 9, 0, 0]},
         [0, 1, 0, 0, 1], [1, 0, 0, 1, 0]),
    ],
)  # fmt: skip
def test_a_layer_has_a_cache_or_a_state(
    architecture: str, keys: dict[str, Any], kv: list[int], states: list[int], numbers: MakeNumbers
) -> None:
    found = numbers(architecture, 5, **{"attention__head_count_kv": 2, **keys})
    assert found.kv == tuple((16 * n, 12 * n) for n in kv)
    assert found.states == tuple(SSM_STATE * n for n in states)


def test_states_are_as_large_as_those_of_llama_cpp(numbers: MakeNumbers) -> None:
    kimi = numbers("kimi-linear", 2, attention__head_count_kv=[0, 1], **KDA, **MLA)
    assert (kimi.kv, kimi.states) == (((0, 0), (8, 0)), (KDA_STATE, 0))
    lightning = numbers("minimax-01", 9)
    assert lightning.states == (*[4 * 8 * 8 * 4] * 7, 0, 4 * 8 * 8 * 4)
    short = numbers("lfm2", 2, attention__head_count_kv=[0, 2], shortconv__l_cache=3)
    assert (short.kv, short.states) == (((0, 0), (16, 12)), (4 * 2 * 64, 0))


def test_what_is_computed_from_keys_or_shared_is_not_cached(numbers: MakeNumbers) -> None:
    latent = numbers("deepseek2", 2, attention__head_count_kv=1, **MLA)
    assert latent.kv == ((8, 0), (8, 0))
    assert numbers("deepseek2", 2, attention__head_count_kv=1).kv == ((8, 6), (8, 6))
    sliding = {"attention__sliding_window_pattern": [1, 0, 1], "attention__key_length_swa": 4}
    gemma = numbers("gemma4", 3, attention__head_count_kv=2, attention__shared_kv_layers=1, **sliding)
    assert gemma.kv == ((8, 12), (16, 12), (0, 0))
    assert [keys > 0 for keys, _ in numbers("gemma3n", 30).kv] == [True] * 20 + [False] * 10


def test_experts_may_differ_by_layer(numbers: MakeNumbers) -> None:
    keys = {"expert_used_count": [0, 2, 4], "expert_feed_forward_length": [0, 24, 16], "feed_forward_length": 32}
    found = numbers("llama", 3, **keys)
    assert (found.n_used, found.n_ff) == (4, 24)


def test_of_an_endless_array_only_the_layers_numbers_are_read(numbers: MakeNumbers) -> None:
    """A header may have hundreds of millions of them, each of which takes many times its bytes in Python."""
    found = numbers("llama", 3, expert_used_count=2, expert_feed_forward_length=[7] * 3 + [1 << 30] * 1_000_000)
    tracemalloc.start()
    try:
        assert found.n_ff == 16
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
