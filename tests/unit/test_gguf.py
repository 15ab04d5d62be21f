"""Headers: what is read equals what another reader reads, and what would end the process is refused by name."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage import gguf
from hoshikage.architectures import GENERATIVE, NOT_GENERATIVE
from hoshikage.errors import ModelFileError
from hoshikage.gguf import reader
from hoshikage.gguf.header import TENSOR_TYPES, Array
from hoshikage.gguf.reader import read
from tests.conftest import TinyModel
from tests.rawgguf import ARRAY, BOOL, I32, STRING, U32, U64, Draft, of, split_into, text, value, with_tensor
from tests.tiny import ARCHITECTURES, DIFFUSION

PIN = Path(__file__).parents[2] / "llama.cpp" / "src"


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


Put = Callable[[bytes], Path]


def refusal(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        gguf.inspect(path)
    assert str(path) in str(caught.value)
    assert caught.value.cause
    assert caught.value.remedy
    return caught.value


# -- what is read


def plain(header_value: Any) -> Any:
    return header_value.tolist() if isinstance(header_value, Array) else header_value


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_header_reads_as_another_reader_reads_it(architecture: str, tiny_model: TinyModel) -> None:
    path = tiny_model(architecture, weights="Q8_0")
    header, other = gguf.inspect(path), GGUFReader(path)
    keys = {key: entry for key, entry in other.fields.items() if not key.startswith("GGUF.")}
    assert set(header.metadata) == set(keys)
    for key, entry in keys.items():
        assert list(plain(header.metadata[key]) if entry.types[0] == ARRAY else [header.metadata[key]]) == (
            entry.contents() if entry.types[0] == ARRAY else [entry.contents()]
        )
    assert [(t.name, t.dims, t.type.number, t.n_bytes) for t in header.tensors] == [
        (t.name, tuple(t.shape.tolist()), int(t.tensor_type), t.n_bytes) for t in other.tensors
    ]
    assert [header.data_offset + t.offset for t in header.tensors] == [t.data_offset for t in other.tensors]


def test_the_facts_of_a_model(tiny_model: TinyModel) -> None:
    header = gguf.inspect(tiny_model("llada", n_vocab=400, n_layer=3, n_ctx_train=77))
    assert (header.architecture, header.name, header.is_diffusion) == ("llada", "tiny llada", True)
    assert (header.n_vocab, header.n_layer, header.n_ctx_train, header.mask_id) == (400, 3, 77, 399)
    assert header.split == (0, 1)
    status = Path(header.path).stat()
    assert header.identity == (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("architecture", DIFFUSION)
def test_rows_are_shifted_unless_the_file_says_no(architecture: str, tiny_model: TinyModel) -> None:
    assert gguf.inspect(tiny_model(architecture)).shift_logits == (architecture in ("dream", "rnd1"))


def test_long_arrays_stay_bytes_and_short_ones_are_tuples(put: Put) -> None:
    short, long = list(range(64)), list(range(65))
    keys = {"a.short": (ARRAY, I32, short), "a.long": (ARRAY, I32, long), "a.names": (ARRAY, STRING, ["", "é", "b"])}
    metadata = gguf.inspect(put(Draft(keys=keys).bytes())).metadata
    assert metadata["a.short"] == tuple(short)
    assert metadata["a.names"] == ("", "é", "b")
    kept = metadata["a.long"]
    assert isinstance(kept, Array)
    assert (len(kept), kept.tolist()) == (65, long)
    with pytest.raises(TypeError):
        list(kept.strings())


SCALARS = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda n: ("add_uint32", n)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: ("add_int32", n)),
    st.integers(0, 2**64 - 1).map(lambda n: ("add_uint64", n)),
    st.floats(width=32, allow_nan=False).map(lambda x: ("add_float32", x)),
    st.floats(allow_nan=False).map(lambda x: ("add_float64", x)),
    st.booleans().map(lambda flag: ("add_bool", flag)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map(
        lambda t: ("add_string", t)
    ),
)


@given(entries=st.dictionaries(st.from_regex(r"[a-z]{1,9}\.[a-z_]{1,20}", fullmatch=True), SCALARS, max_size=12))
def test_any_key_and_value_is_read_back(entries: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    writer = GGUFWriter(path, "llama")
    for key, (add, content) in entries.items():
        getattr(writer, add)(key, content)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    metadata = dict(read(path).metadata)
    assert metadata.pop("general.architecture") == "llama"
    assert metadata == {key: content for key, (_, content) in entries.items()}


def test_a_header_larger_than_the_first_read_is_the_same(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(Draft().bytes())
    whole = gguf.inspect(path)
    for first in (256, 400, 1000):
        monkeypatch.setattr(reader, "FIRST_READ", first)
        again = gguf.inspect(path)
        assert {key: plain(v) for key, v in again.metadata.items()} == {
            key: plain(v) for key, v in whole.metadata.items()
        }
        assert (again.tensors, again.data_offset) == (whole.tensors, whole.data_offset)


def test_tensor_types_have_the_sizes_that_ggml_gives_them() -> None:
    ours = {kind.number: (kind.block, kind.size) for kind in TENSOR_TYPES.values()}
    theirs = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    assert ours.pop(9) == (32, 2 + 2 + 32)  # q8_1: the other table still has the two floats of old
    assert {number: sizes for number, sizes in ours.items() if number in theirs} == {
        number: sizes for number, sizes in theirs.items() if number in ours
    }
    assert len(ours.keys() & theirs.keys()) >= 30


@pytest.mark.skipif(not PIN.is_dir(), reason="the pinned llama.cpp is not unpacked here")
def test_tables_are_the_pins() -> None:
    """Architectures that the pin can make, and tensor types that it knows."""
    named = dict(re.findall(r'\{\s*(LLM_ARCH_\w+),\s*"([^"]+)"', (PIN / "src" / "llama-arch.cpp").read_text()))
    makes = (PIN / "src" / "llama-model.cpp").read_text().partition("unsupported model architecture")[0]
    made = {named[arch] for arch in re.findall(r"case (LLM_ARCH_\w+):", makes)}
    assert made == GENERATIVE | NOT_GENERATIVE.keys()
    types = (PIN / "ggml" / "include" / "ggml.h").read_text()
    block = types[types.index("enum ggml_type {") : types.index("GGML_TYPE_COUNT")]
    known = {int(number) for number in re.findall(r"^\s*GGML_TYPE_\w+\s*=\s*(\d+)", block, re.MULTILINE)}
    assert known == TENSOR_TYPES.keys()


# -- what is no file, and what is no GGUF


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    os.mkfifo(tmp_path / "pipe.gguf")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert refusal(tmp_path / "s").cause == "it is a socket"
    assert refusal(tmp_path / "folder.gguf").cause == "it is a folder"
    assert refusal(tmp_path / "pipe.gguf").cause == "it is a pipe"
    assert refusal(Path("/dev/zero")).cause == "it is a device"


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "round.gguf").symlink_to(tmp_path / "round.gguf")
    (tmp_path / "plain").write_bytes(b"x")
    assert refusal(tmp_path / "absent.gguf").cause == "there is no such file"
    assert refusal(tmp_path / "plain" / "below.gguf").cause == "there is no such file"
    assert refusal(tmp_path / "round.gguf").cause == "its links lead in a circle"
    assert refusal(tmp_path / "a\0b").cause == "no file can have such a path"
    assert refusal(tmp_path / "a\ud800b").cause == "no file can have such a path"
    assert "cannot be opened" in refusal(tmp_path / ("n" * 5000)).cause


def test_an_unreadable_file_is_called_so(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(Draft().bytes())

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root reads everything, so the mode of a file would prove nothing
    assert "not readable" in refusal(path).cause


def test_links_are_followed(put: Put, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(put(Draft().bytes()))
    assert gguf.inspect(tmp_path / "link").architecture == "llada"


STRANGERS = {
    b"": "empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": "Git LFS pointer",
    b"\n<!DOCTYPE html><html>": "web page",
    b"<HTML><body>": "web page",
    (2).to_bytes(8, "little") + b"{}": "safetensors",
    b"PK\x03\x04...": "ZIP",
    b"\x80\x04\x95....": "pickle",
    b"\x1f\x8b\x08..": "gzip",
    b'{"a": 1}': "JSON",
    b"tjgg\x03\0\0\0": "GGJT",
    b"\0" * 500: "zeros",
    b"MZ\x90\x00": "not a GGUF",
    b"GGU": "not a GGUF",
    b"GGUF": "cut",
    b"GGUF\x03\0\0\0": "cut",
    b"GGUF" + (3).to_bytes(4, "big") + bytes(16): "big-endian",
    b"GGUF" + (1).to_bytes(4, "little") + bytes(16): "version 1",
    b"GGUF" + (4).to_bytes(4, "little") + bytes(16): "version 4",
    b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 16: "claims 18446744073709551615 tensors",
}


@pytest.mark.parametrize(("data", "word"), STRANGERS.items(), ids=list(STRANGERS.values()))
def test_strangers_are_called_by_their_names(data: bytes, word: str, put: Put) -> None:
    assert word in refusal(put(data)).cause


def test_version_2_is_read_as_well(put: Put) -> None:
    assert gguf.inspect(put(Draft(version=2).bytes())).version == 2


def test_a_file_cut_anywhere_is_refused(put: Put) -> None:
    data = Draft().bytes()
    for n in range(0, len(Draft().header()) + 40, 3):
        assert refusal(put(data[:n])).remedy
    assert "its tensors take" in refusal(put(data[:-65])).cause
    assert gguf.inspect(put(data)).n_layer == 1


def test_what_may_follow_the_last_tensor(put: Put) -> None:
    """Its padding may be missing, and anything may come after it."""
    draft = Draft()
    draft.tensors[-1][1] = (64, 33, 1)
    draft.tensors.append(["output.weight", (64, 16), 0])
    data = draft.bytes()
    end = read(put(data)).data_offset + read(put(data)).data_size
    assert gguf.inspect(put(data[:end])).file_size == end
    assert gguf.inspect(put(data + b"more")).tensors


# -- malformed headers


def changed(**keys: Any) -> Draft:
    return Draft(keys={key.replace("__", "."): entry for key, entry in keys.items()})


MALFORMED: dict[str, tuple[Draft, str]] = {
    "an empty key": (Draft(keys={"": (U32, 1)}), "is empty"),
    "a key too long": (Draft(keys={"k" * 513: (U32, 1)}), "1 to 512 characters"),
    "a key of two lines": (Draft(keys={"a\nb": b"\x0d\0\0\0"}), r"'a\nb' is of type 13"),
    "a text under such a key": (Draft(keys={"a\nb": (STRING, "\0")}), r"the value of 'a\nb' holds a NUL"),
    "a tensor of two lines": (with_tensor("a\nb", (32,), 43), r"the tensor 'a\nb' is of type 43"),
    "keys without end": (Draft(n_keys=1 << 40), "claims 1099511627776 keys"),
    "a type that does not exist": (changed(a=b"\x0d\0\0\0"), "type 13"),
    "a nested array": (changed(a=b"\x09\0\0\0\x09\0\0\0" + bytes(8)), "array in an array"),
    "an endless array": (changed(a=b"\x09\0\0\0\x04\0\0\0" + b"\xff" * 8), "cut"),
    "an endless array of strings": (changed(a=b"\x09\0\0\0\x08\0\0\0" + b"\xff" * 8), "claims 18446744073709551615"),
    "an endless string": (changed(a=b"\x08\0\0\0" + b"\xff" * 8), "cut"),
    "a string that is no text": (changed(a=(STRING, b"\xff\xfe")), "not UTF-8"),
    "a string with a NUL": (changed(a=(STRING, "a\0b")), "NUL"),
    "alignment 0": (changed(general__alignment=(U32, 0)), "alignment is 0"),
    "alignment 24": (changed(general__alignment=(U32, 24)), "alignment is 24"),
    "alignment 8": (changed(general__alignment=(U32, 8)), "alignment is 8"),
    "alignment 2^31": (changed(general__alignment=(U32, 1 << 31)), "alignment is 2147483648"),
    "alignment of another type": (changed(general__alignment=(U64, 32)), "alignment is u64"),
    "a tensor twice": (with_tensor("token_embd.weight", (32,), 0), "twice"),
    "a tensor without a name": (with_tensor("", (32,), 0), "1 to 63 bytes"),
    "a tensor's name too long": (with_tensor("n" * 64, (32,), 0), "1 to 63 bytes"),
    "no dimensions": (with_tensor("a", (), 0), "0 dimensions"),
    "five dimensions": (with_tensor("a", (1, 1, 1, 1, 1), 0), "5 dimensions"),
    "an empty tensor": (with_tensor("a", (32, 0), 0), "shape"),
    "an endless tensor": (with_tensor("a", (1 << 32, 1 << 32), 0), "shape"),
    "a tensor of 2^63 elements": (with_tensor("a", (1 << 62, 2), 0), "shape"),
    "a type that ggml dropped": (with_tensor("a", (32,), 31), "q4_0_4_4"),
    "a type that ggml does not know": (with_tensor("a", (32,), 43), "type 43"),
    "rows that are no blocks": (with_tensor("a", (33,), 8), "multiple of q8_0's 32"),
    "a gap": (with_tensor("a", (32,), 0, 1 << 20), "instead of"),
    "an overlap": (with_tensor("a", (32,), 0, 0), "instead of"),
    "an offset between": (with_tensor("a", (32,), 0, 17), "instead of"),
    "an offset past everything": (with_tensor("a", (32,), 0, (1 << 64) - 32), "instead of"),
    "no tensors": (Draft(n_tensors=0), "no weights"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_headers(name: str, put: Put) -> None:
    draft, word = MALFORMED[name]
    assert word in refusal(put(draft.bytes())).cause


def test_a_key_that_stands_in_it_twice(put: Put) -> None:
    draft = Draft(keys={"a.one": (U32, 1), "a.two": (U32, 2)})
    assert "'a.one' stands in it twice" in refusal(put(draft.bytes().replace(b"a.two", b"a.one"))).cause


def test_no_array_has_more_strings_than_a_vocabulary(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(Draft().bytes())
    monkeypatch.setattr(reader, "STRINGS_MAX", 15)
    assert refusal(path).cause == "it claims 16 strings in one array"
    monkeypatch.setattr(reader, "STRINGS_MAX", 16)
    assert gguf.inspect(path).n_vocab == 16


@pytest.mark.parametrize("key", ["general.type", "general.architecture", "tokenizer.ggml.model"])
def test_a_sentence_repeats_only_the_start_of_a_value(put: Put, key: str) -> None:
    refused = refusal(put(Draft(keys={key: (STRING, "x\n" * 5000)}).bytes()))
    assert "'x\\nx" in refused.cause
    assert len(refused.cause) < 200


def test_a_claim_of_more_header_than_there_can_be(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HEADER_MAX", 600)
    monkeypatch.setattr(reader, "FIRST_READ", 100)
    assert "claims more than" in refusal(put(Draft().bytes())).cause


@settings(max_examples=400)
@given(data=st.data())
def test_no_bytes_make_anything_but_a_header_or_a_refusal(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draft = bytearray(Draft(data.draw(st.sampled_from(["llada", "llada-moe"]))).bytes())
    header = len(Draft().header())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, header))
        draft[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    path.write_bytes(draft)
    try:
        assert gguf.inspect(path).n_vocab > 0
    except ModelFileError as refused:
        assert refused.remedy


# -- models in several files


def test_a_split_model_is_inspected_by_its_first_part(tmp_path: Path) -> None:
    paths = split_into(tmp_path, 3)
    header = gguf.inspect(paths[0])
    assert header.split == (0, 3)
    assert gguf.retag(header) is None
    assert "give the first part, big-00001-of-00003.gguf" in refusal(paths[1]).remedy


def test_a_split_model_that_is_not_whole(tmp_path: Path) -> None:
    paths = split_into(tmp_path, 3)
    paths[2].rename(tmp_path / "away")
    assert refusal_of(paths[0], paths[2]).cause == "there is no such file"
    paths[2].write_bytes(paths[1].read_bytes())
    assert "not the part 3" in refusal_of(paths[0], paths[2]).cause
    paths[2].write_bytes((tmp_path / "away").read_bytes()[:-100])
    assert "cut" in refusal_of(paths[0], paths[2]).cause


def refusal_of(path: Path, culprit: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        gguf.inspect(path)
    assert caught.value.path == str(culprit)
    return caught.value


def test_a_part_under_another_name(tmp_path: Path) -> None:
    first = split_into(tmp_path, 2)[0].rename(tmp_path / "big.gguf")
    assert "-00001-of-00002.gguf" in refusal(first).remedy
    draft = of("llama", split__no=(U32, 0), split__count=(U32, 2))  # llama.cpp asserts that they are u16
    (tmp_path / "other.gguf").write_bytes(draft.bytes())
    assert "u16" in refusal(tmp_path / "other.gguf").cause


def test_what_the_raw_writer_writes() -> None:
    """The drafts above prove nothing if their writer is wrong."""
    assert value(ARRAY, STRING, ["a"]) == b"\x09\0\0\0\x08\0\0\0\x01\0\0\0\0\0\0\0" + text("a")
    assert value(BOOL, True) == b"\x07\0\0\0\x01"
