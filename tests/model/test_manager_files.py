"""The manager and files: damaged ones, staged ones, and those that change while they are in use."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hoshikage.errors import HoshikageError, InternalError
from hoshikage.gguf.header import Header
from hoshikage.gguf.reader import read
from hoshikage.manager import loader
from hoshikage.manager.fit import rooms
from hoshikage.manager.loader import Loader
from hoshikage.manager.staging import MARK, PREFIX
from hoshikage.registry import Registry
from hoshikage.settings import Settings
from hoshikage.worker.ask import Done, Failed, Loading
from tests.conftest import TinyModel
from tests.long import LONG
from tests.managers import EXACT, comes, managing, map_of, state_of, submit
from tests.model.test_corrupt import DAMAGES
from tests.tiny import ARCHITECTURES
from tests.workers import Heard, eventually

N_DAMAGED = 500 if LONG else 6


def real(registry: Registry, **settings: Any) -> Any:
    """A manager of real files."""
    return managing(registry, Loader(Settings(**{**EXACT, **settings})), **settings)


@pytest.fixture
def disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def text(heard: Heard) -> str:
    (answer,) = heard.answers()
    return answer.text


# -- damaged


def test_damaged_files_are_refused_and_the_next_request_is_answered(tmp_path: Path, tiny_model: TinyModel) -> None:
    """By `add` and by a request, for the file of a registered model may be replaced; whatever loads answers."""
    dice = random.Random(1)
    sound = [(path.read_bytes(), read(path)) for path in map(tiny_model, ARCHITECTURES)]
    registry, path = map_of(tmp_path, "damaged"), tmp_path / "damaged.gguf"
    registry.add(tiny_model("llama"), "sound")
    n_refused, endings = 0, Counter[type[object]]()
    with real(registry, pinned=("sound",)) as manager:
        expected = text(submit(manager, "sound", "hello")[0])
        for _ in range(N_DAMAGED):
            replace_damaged(path, dice, *dice.choice(sound))
            try:
                registry.add(path, "damaged", replace=True)
            except HoshikageError:
                n_refused += 1
            last = submit(manager, "damaged", "hello")[0].end()[-1]
            endings[type(last.error) if isinstance(last, Failed) else Done] += 1
            assert text(submit(manager, "sound", "hello")[0]) == expected
        assert state_of(manager, "sound").state == "resident"
        assert eventually(lambda: manager.pulse().n_waiting == 0)  # one is told of its end before it is counted out
    assert N_DAMAGED // 4 <= n_refused <= endings.total() - endings[Done]
    assert endings[InternalError] == 0, endings


def replace_damaged(path: Path, dice: random.Random, data: bytes, header: Header) -> None:
    """Another file under the same name."""
    damaged = bytearray(data)
    dice.choice(DAMAGES)(damaged, header, dice)
    path.unlink(missing_ok=True)
    path.write_bytes(damaged)


# -- staged


@pytest.mark.parametrize("architecture", ["llada", "llama"] if LONG else ["llada"])
def test_a_staged_model_says_the_same_and_comes_back_from_its_copy(
    tmp_path: Path, disk: Path, tiny_model: TinyModel, architecture: str
) -> None:
    registry = map_of(tmp_path, "")
    registry.add(tiny_model(architecture), "tiny")
    with real(registry) as manager:
        expected = text(submit(manager, "tiny", "hello", max_tokens=12)[0])
    with real(registry, staging="on", ramdisk_path=str(disk)) as manager:
        heard, _ = submit(manager, "tiny", "hello", max_tokens=12)
        assert text(heard) == expected
        progress = [event.progress for event in heard.events if isinstance(event, Loading)]
        assert progress == sorted(progress)
        manager.unload("tiny")
        state = comes(manager, "tiny", lambda state: state.state == "staged")
        (copy,) = disk.glob("*/*.gguf")
        assert state.n_bytes_staged == copy.stat().st_size
        inode = copy.stat().st_ino
        assert text(submit(manager, "tiny", "hello", max_tokens=12)[0]) == expected
        assert [path.stat().st_ino for path in disk.glob("*/*.gguf")] == [inode]
    assert list(disk.iterdir()) == []


def test_a_copy_counts_as_held_and_goes_with_the_name_where_it_would_stay_for_good(
    tmp_path: Path, disk: Path, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def counted(settings: Settings, here: Any, gpus: Any, n_bytes_held: int) -> Any:
        held.append(n_bytes_held)
        return rooms(settings, here, gpus, n_bytes_held)

    monkeypatch.setattr(loader, "rooms", counted)
    registry = map_of(tmp_path, "")
    registry.add(tiny_model("llada"), "one")
    registry.add(tiny_model("llama"), "two")
    with real(registry, staging="on", ramdisk_path=str(disk), great_timeout=0) as manager:
        for label in ("one", "two"):
            submit(manager, label, "hello")[0].end()
            manager.unload(label)
            comes(manager, label, lambda state: state.state == "staged")
        one, two = (state_of(manager, label).n_bytes_staged for label in ("one", "two"))
        assert held == [0, one, one, one + two]
        registry.remove("one")
        assert state_of(manager, "one").state == "staged", "it is seen as long as it is there"
        manager.forget("one")
        assert eventually(lambda: len(list(disk.iterdir())) == 1)
        assert [path.name for path in disk.glob("*/*.gguf")] == [tiny_model("llama").name]
        assert "one" not in {state.label for state in manager.models()}


def test_a_staged_copy_of_a_file_that_was_replaced_is_not_used(
    tmp_path: Path, disk: Path, tiny_model: TinyModel
) -> None:
    path, registry = tmp_path / "model.gguf", map_of(tmp_path, "model")
    path.write_bytes(tiny_model("llama").read_bytes())
    with real(registry, staging="on", ramdisk_path=str(disk)) as manager:
        first = text(submit(manager, "model", "hello", max_tokens=12)[0])
        for unloaded in (True, False):
            if unloaded:
                manager.unload("model")
                comes(manager, "model", lambda state: state.state == "staged")
            path.unlink()
            path.write_bytes(tiny_model("llama", seed=9 if unloaded else 0).read_bytes())
            again = text(submit(manager, "model", "hello", max_tokens=12)[0])
            assert (again == first) is not unloaded
            assert len(list(disk.glob("*/*.gguf"))) == 1


@pytest.mark.parametrize("wish", ["auto", "off"])
def test_what_a_killed_process_left_is_removed_at_the_start(tmp_path: Path, disk: Path, wish: str) -> None:
    left = disk / f"{PREFIX}left"
    left.mkdir()
    (left / MARK).touch()
    (left / "model.gguf").write_bytes(b"a copy")
    with real(map_of(tmp_path, ""), staging=wish, ramdisk_path=str(disk)):
        assert eventually(lambda: not left.exists())


def test_a_file_that_is_deleted_while_its_model_is_there(tmp_path: Path, tiny_model: TinyModel) -> None:
    path, registry = tmp_path / "model.gguf", map_of(tmp_path, "model")
    path.write_bytes(tiny_model("llama").read_bytes())
    with real(registry) as manager:
        first = text(submit(manager, "model", "hello")[0])
        path.unlink()
        assert text(submit(manager, "model", "hello")[0]) == first, "what is loaded goes on"
        manager.unload("model")
        comes(manager, "model", lambda state: state.state == "cold")
        assert "no such file" in str(submit(manager, "model", "hello")[0].error())
        path.write_bytes(tiny_model("llama").read_bytes())
        assert text(submit(manager, "model", "hello")[0]) == first, "and is looked for again when it is there"
