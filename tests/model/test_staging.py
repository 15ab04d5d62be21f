"""Copies in the RAM disk: the same model bit for bit, and nothing left behind, however the copying ends."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hoshikage
from hoshikage import gguf
from hoshikage.errors import Cancelled, ModelFileError
from hoshikage.manager import staging
from hoshikage.manager.shape import shape_of
from hoshikage.manager.speed import read_speed
from hoshikage.manager.staging import MARK, PREFIX, Staged, stage, sweep
from hoshikage.settings import Settings
from tests.conftest import TinyModel
from tests.tiny import DIFFUSION, Shape
from tests.tiny.writer import write_parts

FREE = 1 << 40
ONE_THREAD: dict[str, Any] = {"n_threads": 1, "n_threads_batch": 1, "n_gpu_layers": 0}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as a RAM disk: to the copying it is another file system."""
    folder = tmp_path / "ram"
    folder.mkdir()
    there, device = Path.stat, folder.stat().st_dev
    monkeypatch.setattr(
        Path,
        "stat",
        lambda path, **how: Elsewhere(there(path, **how), device + 1) if path == folder else there(path, **how),
    )
    return folder


class Elsewhere:
    """A status with another device."""

    def __init__(self, status: os.stat_result, device: int) -> None:
        self._status, self.st_dev = status, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


@pytest.fixture
def on(disk: Path) -> Settings:
    return Settings(staging="on", ramdisk_path=disk)  # type: ignore[arg-type]  # a path is read as one


def staged(path: Path, settings: Settings, **how: Any) -> Staged:
    copy = stage(path, settings, FREE, **how)
    assert copy is not None
    return copy


def behaviour(path: Path) -> tuple[Any, ...]:
    """What a model says about itself, its logits and an answer."""
    with hoshikage.load(path, n_ctx=256, **ONE_THREAD) as engine:
        model = engine.model
        rows = engine.logits([[5, 6, 7, 8, 9, 10]])
        answer = engine.generate("hello and the ", max_tokens=8, temperature=0, seed=1, quality="exact")
        facts = (model.architecture, model.served_as, model.is_diffusion, model.native, model.shift, model.mask_id)
        return facts, answer.text, rows


@pytest.mark.parametrize("architecture", [*DIFFUSION, "llama", "qwen3moe"])
def test_a_copy_is_the_same_model_to_the_last_bit(architecture: str, tiny_model: TinyModel, on: Settings) -> None:
    path = tiny_model(architecture)
    copy = staged(path, on)
    here, there = behaviour(path), behaviour(copy.path)
    assert here[:2] == there[:2]
    assert np.array_equal(here[2], there[2])
    copy.remove()


def test_a_copy_of_several_files_is_found_by_its_first(tmp_path: Path, on: Settings, disk: Path) -> None:
    parts = write_parts(tmp_path / "big.gguf", Shape("llama"))
    copy = staged(parts[0], on)
    assert len(list(copy.path.parent.glob("*.gguf"))) == len(parts) > 1
    assert copy.n_bytes == sum(part.stat().st_size for part in parts)
    assert np.array_equal(behaviour(parts[0])[2], behaviour(copy.path)[2])
    copy.remove()
    assert list(disk.iterdir()) == []


def test_a_copy_of_a_family_known_by_its_name_is_known(tmp_path: Path, tiny_model: TinyModel, on: Settings) -> None:
    path = tmp_path / "SDAR-1.7B-Chat.gguf"
    path.symlink_to(tiny_model("qwen3", mask_text="<|MASK|>"))
    copy = staged(path, on)
    assert (shape_of(copy.path).kind, shape_of(copy.path).block_length) == ("block", 4)
    copy.remove()


def test_a_copy_is_mapped_and_counted_as_there_already(tiny_model: TinyModel, on: Settings) -> None:
    path = tiny_model("llada")
    copy = staged(path, on)
    before, after = shape_of(path), shape_of(copy.path)
    assert (before.is_private, after.is_private) == (True, False)
    assert (before.kind, before.data, before.layers, before.kv) == (after.kind, after.data, after.layers, after.kv)
    assert copy.path.stat().st_mode & 0o777 == 0o600
    assert copy.path.parent.stat().st_mode & 0o777 == 0o700
    copy.remove()


def test_a_copy_goes_with_its_removal_and_models_that_use_it_go_on(
    tiny_model: TinyModel, on: Settings, disk: Path
) -> None:
    copy = staged(tiny_model("llama"), on)
    with hoshikage.load(copy.path, n_ctx=256, **ONE_THREAD) as engine:
        before = engine.logits([[5, 6, 7]])
        copy.remove()
        copy.remove()
        assert list(disk.iterdir()) == []
        assert np.array_equal(engine.logits([[5, 6, 7]]), before)


def test_a_copy_is_of_one_file_as_it_was(tmp_path: Path, tiny_model: TinyModel, on: Settings) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_model("llama").read_bytes())
    copy = staged(path, on)
    assert copy.is_of(path)
    assert not copy.is_of(tiny_model("llama"))
    os.utime(path, ns=(0, 0))
    assert not copy.is_of(path)
    path.unlink()
    assert not copy.is_of(path)
    copy.remove()


# -- whether


def test_it_is_not_done_when_it_is_off_or_there_is_no_room(
    tiny_model: TinyModel, on: Settings, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tiny_model("llama")
    with caplog.at_level(logging.INFO):
        assert stage(path, Settings(staging="off"), FREE) is None
        assert stage(path, on, path.stat().st_size - 1) is None
    assert caplog.text.count("is not staged") == 1
    assert "are free for it in the RAM disk" in caplog.text
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize(("speed", "pays"), [(1e4, True), (2e9, False), (1e8, False)])
def test_auto_copies_what_a_slow_disk_holds(
    speed: float, pays: bool, tiny_model: TinyModel, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 100 MB/s a tiny file is there in no time; at 10 kB/s it is not."""
    monkeypatch.setattr(staging, "read_speed", lambda _: speed)
    copy = stage(tiny_model("llama"), Settings(ramdisk_path=str(disk)), FREE)
    assert (copy is not None) == pays
    if copy is not None:
        copy.remove()


def test_what_is_in_the_ram_disk_already_stays_where_it_is(tmp_path: Path, tiny_model: TinyModel) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_model("llama").read_bytes())
    assert stage(path, Settings(staging="on", ramdisk_path=str(tmp_path)), FREE) is None


def test_a_ram_disk_that_is_not_there_is_no_error(tiny_model: TinyModel, caplog: pytest.LogCaptureFixture) -> None:
    missing = Settings(staging="on", ramdisk_path="/nowhere")
    assert stage(tiny_model("llama"), missing, FREE) is None
    assert "No such file or directory" in caplog.text
    assert sweep(Path("/nowhere")) == 0


def test_what_is_no_model_is_said(tmp_path: Path, on: Settings) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUX")
    with pytest.raises(ModelFileError):
        stage(path, on, FREE)


def test_the_speed_of_a_file_is_measured_within_a_bounded_time(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(os.urandom(9 << 20))
    assert read_speed(path) > 1e5
    looks = iter(range(1000))
    slow = read_speed(path, now=lambda: float(next(looks)))  # each look at the clock is a second later
    assert slow == (4 << 20) / 2
    path.write_bytes(b"")
    assert read_speed(path) == 0


# -- copying that does not come to its end


def test_a_cancelled_copy_leaves_nothing(tmp_path: Path, on: Settings, disk: Path) -> None:
    parts = write_parts(tmp_path / "big.gguf", Shape("llama"))
    told: list[float] = []
    with pytest.raises(Cancelled):
        stage(parts[0], on, FREE, told.append, lambda: len(told) == 2)
    assert list(disk.iterdir()) == []
    copy = staged(parts[0], on, tell=told.append)
    assert told[2:] == sorted(told[2:])
    assert told[-1] == 1.0
    copy.remove()


def full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_in_the_middle_leaves_nothing(
    tiny_model: TinyModel, on: Settings, disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "sendfile", full)
    assert stage(tiny_model("llada"), on, FREE) is None
    assert "No space left on device" in caplog.text
    assert list(disk.iterdir()) == []


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def touch(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")


@pytest.mark.parametrize("change", [replace, shorten, touch, Path.unlink])
def test_a_file_that_changes_meanwhile_is_not_used(
    change: Callable[[Path], Any], tmp_path: Path, tiny_model: TinyModel, on: Settings, disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_model("llada").read_bytes())
    send = os.sendfile

    def changing(*how: Any) -> int:
        if path.exists():
            change(path)
            monkeypatch.setattr(os, "sendfile", send)
        return send(*how)

    monkeypatch.setattr(os, "sendfile", changing)
    assert stage(path, on, FREE) is None
    assert list(disk.iterdir()) == []


def test_a_file_that_changed_between_its_header_and_its_data_is_not_used(
    tmp_path: Path, tiny_model: TinyModel, on: Settings, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_model("llada").read_bytes())
    inspect = gguf.inspect

    def inspecting(name: Path) -> gguf.Header:
        header = inspect(name)
        touch(path)
        os.utime(path, ns=(1, 1))
        return header

    monkeypatch.setattr(gguf, "inspect", inspecting)
    assert stage(path, on, FREE) is None
    assert list(disk.iterdir()) == []


# -- what dead processes leave

KILLED = """
    import os, signal, sys
    from pathlib import Path
    from hoshikage.manager import staging
    from hoshikage.settings import Settings

    path, disk, when = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    staging.reason_against = lambda *_, **__: ""
    send = os.sendfile

    def half(target, source, offset, n):
        send(target, source, offset, n // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    if when == "copying":
        os.sendfile = half
    kept = staging.stage(path, Settings(staging="on", ramdisk_path=disk), 1 << 40)
    print("staged", flush=True)
    sys.stdin.read()
"""


def start(path: Path, disk: Path, when: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(path), str(disk), when]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_half_a_copy_of_a_killed_process_is_swept_away(tiny_model: TinyModel, disk: Path) -> None:
    with start(tiny_model("llada"), disk, "copying") as process:
        assert process.wait() == -signal.SIGKILL
    (left,) = disk.iterdir()
    assert next(left.glob("*.gguf")).stat().st_size > 0
    assert sweep(disk) == 1
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("name", ["hoshikage.backup", f"{PREFIX}backup", "hoshikage"])
def test_what_a_person_keeps_there_is_not_swept_away(disk: Path, name: str) -> None:
    kept = disk / name / "models" / "mine.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"years of work")
    assert sweep(disk) == 0
    assert kept.read_bytes() == b"years of work"


def test_a_folder_that_was_not_yet_marked_and_one_half_removed_are_swept_away(disk: Path) -> None:
    (disk / f"{PREFIX}new").mkdir()
    (disk / f"{PREFIX}old").mkdir()
    (disk / f"{PREFIX}old" / MARK).touch()
    assert sweep(disk) == 2
    assert list(disk.iterdir()) == []


def test_only_what_nobody_holds_is_swept_away(tiny_model: TinyModel, disk: Path, on: Settings) -> None:
    path = tiny_model("llada")
    mine = staged(path, on)
    (disk / "somebody.elses").mkdir()
    (disk / f"{PREFIX}is-a-file").touch()
    (disk / f"{PREFIX}link").symlink_to(disk / "somebody.elses")
    with start(path, disk, "holding") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "staged\n"
        kept = sorted(disk.iterdir())
        assert len(kept) == 5
        assert sweep(disk) == 0
        assert sorted(disk.iterdir()) == kept
        process.kill()
        process.wait()
    assert sweep(disk) == 1
    assert mine.path.exists()
    again = staged(path, on)  # which sweeps first
    assert len(list(disk.iterdir())) == 5
    again.remove()
    mine.remove()
