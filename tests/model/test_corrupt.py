"""Damaged files: whatever passes the inspection loads or fails with an exception, and no process dies of it."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hoshikage
from hoshikage import Board
from hoshikage._core import Canvas, Model, Session
from hoshikage.errors import DecodeError
from hoshikage.gguf.header import SCALARS, STRING, Header
from hoshikage.gguf.reader import read
from hoshikage.llada import InferTask, LLaDAForCausalLM
from hoshikage.strategies import make_rule, make_schedule
from tests.conftest import TinyModel
from tests.tiny import ARCHITECTURES, MASK

ROOT = Path(__file__).parents[2]
GOOD, BAD = [5, 6, 7, 8] * 3, [5, 6, 250, 8] * 6  # to a file in which token 250 is no number
PER_SEED = 170
NUMBERS = [0, 1, 2, 3, 7, 16, 31, 33, 64, 255, 256, 300, 511, 513, 1025, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
           1 << 63, (1 << 64) - 1]  # fmt: skip
REALS = [0.0, -1.0, 1e30, float("nan"), float("inf"), float("-inf")]


class Loader:
    """The process that loads; see tests/model/loader.py."""

    def __init__(self, errors: Path) -> None:
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.model.loader"], cwd=ROOT, text=True, bufsize=1, stderr=stderr,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            )  # fmt: skip

    def load(self, path: Path | str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    started = Loader(tmp_path / "stderr")
    yield started
    started.close()


# -- ways to damage a file; each takes its bytes and its header, and changes the bytes in place


def flip_bits(data: bytearray, header: Header, dice: random.Random) -> None:
    for _ in range(dice.choice([1, 1, 2, 4])):
        data[dice.randrange(header.data_offset)] ^= 1 << dice.randrange(8)


def flip_anywhere(data: bytearray, _: Header, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def set_bytes(data: bytearray, header: Header, dice: random.Random) -> None:
    for _ in range(dice.choice([1, 1, 2, 4])):
        data[dice.randrange(header.data_offset)] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])


def set_word(data: bytearray, header: Header, dice: random.Random) -> None:
    at = dice.randrange(header.data_offset - 8)
    data[at : at + 8] = struct.pack("<Q", dice.choice(NUMBERS))


def cut(data: bytearray, header: Header, dice: random.Random) -> None:
    del data[dice.randrange(dice.choice([header.data_offset, len(data)])) :]


def drop_or_add(data: bytearray, header: Header, dice: random.Random) -> None:
    at = dice.randrange(header.data_offset)
    data[at : at + dice.randrange(9)] = dice.randbytes(dice.randrange(9))


def set_scalar(data: bytearray, header: Header, dice: random.Random) -> None:
    """A number that is well formed and wrong, where one stands: the deepest way into llama.cpp."""
    key = dice.choice([key for key, entry in header.fields.items() if entry.n < 0 and entry.item != STRING])
    entry = header.fields[key]
    code = SCALARS[entry.item][1]
    if code in "fd":
        written = struct.pack("<" + code, dice.choice(REALS))
    else:
        written = dice.choice(NUMBERS).to_bytes(8, "little")[: entry.end - entry.start - 4]
    data[entry.start + 4 : entry.end] = written


def set_type(data: bytearray, header: Header, dice: random.Random) -> None:
    entry = header.fields[dice.choice(list(header.fields))]
    data[entry.start : entry.start + 4] = struct.pack("<I", dice.randrange(14))


def set_item(data: bytearray, header: Header, dice: random.Random) -> None:
    """An item of an array of numbers, or the first letters of a token that has some."""
    arrays = [entry for entry in header.fields.values() if entry.n > 0]
    entry = dice.choice(arrays)
    at = dice.randrange(entry.start + 16, entry.end)
    data[at : at + 1] = dice.randbytes(1)


def set_tensor(data: bytearray, header: Header, dice: random.Random) -> None:
    """A dimension, a type or an offset of a tensor."""
    start, end = header.tensor_span
    tensor = dice.choice(header.tensors)
    at = data.index(tensor.name.encode(), start, end) + len(tensor.name) + 4
    n = len(tensor.dims)
    if dice.random() < 0.4:
        data[at + 8 * n : at + 8 * n + 4] = struct.pack("<I", dice.randrange(44))
    else:
        at += dice.choice([8 * i for i in range(n)] + [8 * n + 4])
        data[at : at + 8] = struct.pack("<Q", dice.choice([*NUMBERS, *tensor.dims]))


DAMAGES = (
    flip_bits, flip_anywhere, set_bytes, set_word, cut, drop_or_add, set_scalar, set_scalar, set_scalar, set_type,
    set_item, set_item, set_tensor, set_tensor,
)  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damaged_files_kill_no_process(seed: int, loader: Loader, tiny_model: TinyModel, tmp_path: Path) -> None:
    dice = random.Random(seed)
    sound = [(path.read_bytes(), read(path)) for path in map(tiny_model, ARCHITECTURES)]
    endings: Counter[str] = Counter()
    for i in range(PER_SEED):
        data, header = dice.choice(sound)
        damaged = bytearray(data)
        damage = dice.choice(DAMAGES)
        damage(damaged, header, dice)
        path = tmp_path / f"{i:03}-{header.architecture}-{damage.__name__}.gguf"
        path.write_bytes(damaged)
        ended = loader.load(path)
        endings[ended] += 1
        assert ended in ("loaded", "refused", "failed"), f"{path}: {ended}\n{(tmp_path / 'stderr').read_text()}"
        path.unlink()
    assert min(endings["loaded"], endings["refused"], endings["failed"]) > 0  # the damage reached every depth


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sound_files_are_loaded_there(architecture: str, loader: Loader, tiny_model: TinyModel) -> None:
    assert loader.load(tiny_model(architecture)) == "loaded"


def with_scalar(path: Path, key: str, code: str, number: float) -> bytes:
    entry = read(path).fields[key]
    data = bytearray(path.read_bytes())
    data[entry.start + 4 : entry.end] = struct.pack("<" + code, number)
    return bytes(data)


DEADLY = {
    "no layers": ("llada", "llada.block_count", "I", 0),
    "half a head is rotated": ("dream", "dream.rope.dimension_count", "I", 8),
    "a negative epsilon": ("qwen3", "qwen3.attention.layer_norm_rms_epsilon", "f", -1.0),
    "more experts in use than there are": ("rnd1", "rnd1.expert_used_count", "I", 7),
}


@pytest.mark.parametrize("name", DEADLY)
def test_what_is_refused_would_kill(name: str, loader: Loader, tiny_model: TinyModel, tmp_path: Path) -> None:
    """That a death is seen at all, and that these rules still stand for something in the pinned llama.cpp."""
    architecture, key, code, number = DEADLY[name]
    path = tmp_path / "deadly.gguf"
    path.write_bytes(with_scalar(tiny_model(architecture), key, code, number))
    assert loader.load(path) == "refused"
    assert loader.load(f"unjudged {path}").startswith("signal ")


def test_two_equal_tokens_would_kill(loader: Loader, tiny_model: TinyModel, tmp_path: Path) -> None:
    path = tmp_path / "twins.gguf"
    path.write_bytes(tiny_model().read_bytes().replace(b"\x01" + bytes(7) + b"!", b"\x01" + bytes(7) + b'"', 1))
    assert loader.load(path) == "refused"
    assert loader.load(f"unjudged {path}") == "signal 6"


def spoiled(path: Path, folder: Path) -> Path:
    """A copy of a file, in which token 250 is no number."""
    data, header = bytearray(path.read_bytes()), read(path)
    (table,) = (tensor for tensor in header.tensors if tensor.name == "token_embd.weight")
    row = header.data_offset + table.offset + 250 * 4 * table.dims[0]
    data[row : row + 4] = struct.pack("<f", float("nan"))
    (folder / "spoiled.gguf").write_bytes(data)
    return folder / "spoiled.gguf"


@pytest.mark.parametrize("architecture", ["llada", "llama", "qwen3"])
@pytest.mark.parametrize("flash_attn", ["off", "auto"])
def test_numbers_that_are_none_are_forgotten(
    architecture: str, flash_attn: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    """They lie in the cache, and what is masked there is multiplied by nothing, which of no number makes no number."""
    path = spoiled(tiny_model(architecture), tmp_path)
    kind = {"kind": "block", "block_length": 4, "mask_token": MASK} if architecture == "qwen3" else {}
    with hoshikage.load(path, n_ctx=256, n_seq=2, n_threads=1, flash_attn=flash_attn, **kind) as engine:
        expected = engine.generate(GOOD, max_tokens=8, seed=1).tokens
        desk = engine.desk(n_expected=2)
        desk.join(engine.answer(0, GOOD, {"max_tokens": 8, "seed": 1}))
        desk.step(Board())
        desk.join(engine.answer(1, BAD, {"max_tokens": 8, "seed": 1}))
        while desk.busy:  # whoever is in a pass with it may fail with it
            for news in desk.step(Board()):
                assert news.error is not None or news.result is not None
                assert news.result is None or news.result.tokens == expected
        for _ in range(2):
            with pytest.raises(DecodeError, match="not numbers"):
                engine.generate(BAD, max_tokens=8, seed=1)
            assert engine.generate(GOOD, max_tokens=8, seed=1).tokens == expected


@pytest.mark.parametrize("flash_attn", ["off", "on"])
def test_numbers_that_are_none_reach_no_later_pass(flash_attn: str, tiny_model: TinyModel, tmp_path: Path) -> None:
    """A step of two long canvases takes two passes. The first one's cells would be masked in the second: times nothing
    they are no numbers still."""
    how: dict[str, Any] = {"n_ctx": 512, "n_seq": 2, "n_rows": 64, "n_threads": 1, "flash_attn": flash_attn}

    def canvas_of(ids: list[int], n: int) -> Canvas:
        tokens = (ids * n)[: n - 20] + [model.mask_id] * 20
        rule, schedule = make_rule("low_confidence"), make_schedule("block")
        return Canvas(tokens, mask_id=model.mask_id, rule=rule, schedule=schedule, steps=5)

    with Model(spoiled(tiny_model("llada", n_ctx_train=512), tmp_path), n_gpu_layers=0) as model:
        alone, bad, good = canvas_of(GOOD, 150), canvas_of(BAD, 200), canvas_of(GOOD, 150)
        with Session(model, **how) as session:
            session.add(alone)
            session.run()
        with Session(model, **how) as session:
            session.add(bad)
            session.add(good)
            assert session.run() == [bad] and isinstance(bad.error, DecodeError)
            assert (session.n_passes, good.step) == (1, 0)
            assert session.run() == [good] and good.error is None
        assert (good.tokens, good.n_passes) == (alone.tokens, alone.n_passes)


def test_a_round_that_settles_nothing_says_so(tiny_model: TinyModel, tmp_path: Path) -> None:
    with LLaDAForCausalLM(spoiled(tiny_model("llada"), tmp_path), max_tokens=64) as model:
        with pytest.raises(DecodeError, match="not numbers"):
            model.batch_infer_one_round([InferTask("a", BAD, len(BAD) + 4)])
        assert len(model.batch_infer_one_round([InferTask("b", GOOD, len(GOOD) + 4)])) == 1
