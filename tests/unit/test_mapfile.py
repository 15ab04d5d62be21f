"""The file of registered models: killed at every call, out of room, read-only, shared by many processes, damaged."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.errors import BrokenMapError, RegistryError
from hoshikage.registry.mapfile import SIZE_MAX, Entries, MapFile

CALLS = [
    *((os, name) for name in ("open", "read", "write", "fsync", "close", "replace", "link", "unlink", "mkdir")),
    *((os, name) for name in ("fchmod", "fchown")),
    (fcntl, "flock"),
]
OLD = {"one": {"path": "/models", "model": "one.gguf", "stop": ["影"]}, "two": {"kept": [1, None, 0.5]}}
Edit = Callable[[Entries], None]


def add(entries: Entries) -> None:
    entries["three"] = {"path": "/models", "model": "three.gguf"}


def remove(entries: Entries) -> None:
    del entries["one"]


def edited(entries: Entries, edit: Edit) -> Entries:
    entries = json.loads(json.dumps(entries))
    edit(entries)
    return entries


def put(path: Path, entries: Entries) -> bytes:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path.read_bytes()


def intercept(act: Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """Let every call of the operating system that writing is made of go through `act`."""

    def through(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **named: act(name, real, given, named)

    for module, name in CALLS:
        setattr(module, name, through(name, getattr(module, name)))


def in_child(work: Callable[[], object]) -> int:
    """The wait status of a child process that does the work and nothing else."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def killed_at(nth: int, when: str, work: Callable[[], object]) -> bool:
    """Do the work in a child that is killed before, within or after its nth call; False where it has fewer calls."""
    numbers = count(1)

    def act(name: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        mine = next(numbers) == nth
        if mine and when == "within" and name == "write":
            real(given[0], given[1][: len(given[1]) // 2])
        if mine and when != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return real(*given, **named)
        finally:
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)

    def child() -> None:
        intercept(act)
        work()

    status = in_child(child)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("edit", [add, remove])
def test_a_writer_killed_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path: Path, edit: Edit, when: str) -> None:
    path = tmp_path / "model_map.json"
    outcomes = []
    for nth in count(1):
        put(path, OLD)
        if not killed_at(nth, when, lambda: MapFile(path).change(edit)):
            break
        found = MapFile(path).read().entries
        assert found in (OLD, edited(OLD, edit))
        outcomes.append(found != OLD)
        put(path, OLD)
        MapFile(path).change(edit)  # what was left behind, a lock or half a file, is in nobody's way
        assert MapFile(path).read().entries == edited(OLD, edit)
        assert not (tmp_path / "model_map.json.part").exists()
    assert outcomes == sorted(outcomes)  # once it is the new file it stays the new file
    assert len(outcomes) >= 12
    assert set(outcomes) == {False, True}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_first_writer_killed_at_any_call_leaves_nothing_or_everything(tmp_path: Path, when: str) -> None:
    for nth in count(1):
        path = tmp_path / str(nth) / "config" / "model_map.json"
        if not killed_at(nth, when, lambda path=path: MapFile(path).change(add)):
            break
        assert MapFile(path).read().entries in ({}, edited({}, add))
        MapFile(path).change(add)
        assert MapFile(path).read().entries == edited({}, add)
    assert nth > 12


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_broken_file_is_never_lost_while_it_is_set_aside(tmp_path: Path, when: str) -> None:
    for nth in count(1):
        folder = tmp_path / str(nth)
        folder.mkdir()
        (folder / "map").write_bytes(b'{"mine": ')
        finished = not killed_at(nth, when, lambda f=folder: MapFile(f / "map").change(add, set_aside=True))
        assert any(file.read_bytes() == b'{"mine": ' for file in folder.iterdir())
        if finished:
            break
    assert json.loads((folder / "map").read_text()) == edited({}, add)
    assert (folder / "map.broken").read_bytes() == b'{"mine": '


def test_a_broken_file_stays_where_it_is_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "map"
    path.write_bytes(b'{"mine": ')

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(RegistryError, match="and it is as it was"):
        patch.setattr(os, "write", full)
        MapFile(path).change(add, set_aside=True)
    assert path.read_bytes() == b'{"mine": '
    MapFile(path).change(add, set_aside=True)
    assert MapFile(path).read().entries == edited({}, add)
    assert (tmp_path / "map.broken").read_bytes() == b'{"mine": '


def test_the_lock_is_open_for_writing_where_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS wants it; not where another user has made it."""
    modes: list[int] = []
    flock, open_, forbidden = fcntl.flock, os.open, False

    def locked(fd: int, how: int) -> None:
        modes.append(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE)
        flock(fd, how)

    def opened(path: Any, flags: int, mode: int = 0o777) -> int:
        if forbidden and Path(path).suffix == ".lock" and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_(path, flags, mode)

    monkeypatch.setattr(fcntl, "flock", locked)
    monkeypatch.setattr(os, "open", opened)
    MapFile(tmp_path / "map").change(add)
    forbidden = True
    MapFile(tmp_path / "map").change(remove_three)
    assert modes == [os.O_RDWR, os.O_RDONLY]
    assert MapFile(tmp_path / "map").read().entries == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_any_call_that_fails_is_one_sentence_and_leaves_a_whole_file(tmp_path: Path, number: int) -> None:
    path = tmp_path / "model_map.json"

    def attempt(nth: int) -> None:
        numbers = count(1)

        def act(name: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
            mine = next(numbers) == nth
            if not mine or name == "close":
                real_result = real(*given, **named)
            if mine:
                raise OSError(number, os.strerror(number))
            return real_result

        intercept(act)
        try:
            MapFile(path).change(add)
        except RegistryError as error:
            assert error.remedy
            os._exit(2)
        os._exit(0 if next(numbers) > nth else 3)

    for nth in count(1):
        put(path, OLD)
        code = os.WEXITSTATUS(in_child(lambda nth=nth: attempt(nth)))
        assert MapFile(path).read().entries in (OLD, edited(OLD, add))
        if code == 3:
            break
        assert code in (0, 2)  # 0: a call whose failure costs nothing
        MapFile(path).change(add)
        assert MapFile(path).read().entries == edited(OLD, add)
    assert nth > 12


def test_contents_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(what: Any, *given: Any) -> Any:
            path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else Path(what)
            done.append((name, path.name))
            return real(what, *given)

        return call

    for name in ("write", "fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    MapFile(tmp_path / "new" / "map").change(add)
    assert done == [
        ("fsync", tmp_path.name),
        ("write", "map.part"),
        ("fsync", "map.part"),
        ("replace", "map.part"),
        ("fsync", "new"),
    ]


# -- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    file = MapFile(small_disk / "map")
    file.change(add)
    old = file.path.read_bytes()
    with pytest.raises(RegistryError, match="no room") as caught:
        file.change(lambda entries: entries.update(big="x" * 100_000))
    assert caught.value.remedy == "free some space and try again"
    assert file.path.read_bytes() == old
    assert not (small_disk / "map.part").exists()
    file.change(remove_three)
    assert file.read().entries == {}


def remove_three(entries: Entries) -> None:
    del entries["three"]


def test_a_disk_that_is_read_only(small_disk: Path) -> None:
    file = MapFile(small_disk / "map")
    file.change(add)
    old = file.path.read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(RegistryError, match="set MODEL_MAP_FILE to a file elsewhere"):
        file.change(remove_three)
    assert file.path.read_bytes() == old
    assert "three" in file.read().entries


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    path = tmp_path / "map"
    old = put(path, OLD)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(old), len(old)))
        with pytest.raises(RegistryError, match="no room"):
            MapFile(path).change(add)

    assert in_child(work) == 0
    assert path.read_bytes() == old
    assert sorted(file.name for file in tmp_path.iterdir()) == ["map", "map.lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="make its folder writable"):
        MapFile(tmp_path / "file" / "map").change(add)


# -- many writers


def test_nothing_is_lost_where_many_write_at_once(tmp_path: Path) -> None:
    file = MapFile(tmp_path / "map")
    file.change(lambda entries: entries.update({f"old{i}": i for i in range(10)}))

    def work(me: int) -> None:
        for n in range(5):
            file.change(lambda entries, n=n: entries.update({f"new{me}.{n}": n}))
        file.change(lambda entries: entries.pop(f"old{me}"))
        file.change(lambda entries: entries.pop(f"new{me}.0"))
        os._exit(0)

    children = []
    for me in range(10):
        pid = os.fork()
        if pid == 0:
            try:
                work(me)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 10
    assert file.read().entries == {f"new{me}.{n}": n for me in range(10) for n in range(1, 5)}


def test_a_lock_that_somebody_keeps_is_not_waited_for_without_end(tmp_path: Path) -> None:
    file = MapFile(tmp_path / "map", lock_seconds=0.0)
    file.change(add)
    with (tmp_path / "map.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RegistryError, match="another process"):
            file.change(remove_three)
        assert "three" in file.read().entries  # reading takes no lock
    file.change(remove_three)
    assert file.read().entries == {}


# -- what the file is


def test_links_owners_and_permissions_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "map"
    real.parent.mkdir()
    put(real, OLD)
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 1234)
    owner = real.stat().st_uid
    link = tmp_path / "map"
    link.symlink_to(real)
    MapFile(link).change(add)
    assert link.is_symlink()
    assert "three" in json.loads(real.read_text(encoding="utf-8"))
    assert (stat.S_IMODE(real.stat().st_mode), real.stat().st_uid) == (0o640, owner)


def test_what_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "map"
    old = put(path, OLD)
    MapFile(path).change(lambda entries: entries.update(OLD))
    assert path.read_bytes() == old
    with pytest.raises(KeyError):
        MapFile(path).change(remove_three)
    assert path.read_bytes() == old


def test_a_file_stays_readable_for_people(tmp_path: Path) -> None:
    file = MapFile(tmp_path / "map")
    file.change(lambda entries: entries.update({"星影": {"stop": ["終"]}}))
    assert file.path.read_text(encoding="utf-8") == '{\n  "星影": {\n    "stop": [\n      "終"\n    ]\n  }\n}\n'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8) | st.text(st.characters(), max_size=4), JSON, max_size=5))
def test_what_was_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, entries: Entries) -> None:
    file = MapFile(tmp_path_factory.mktemp("map") / "map")
    file.change(lambda empty: empty.update(entries))
    contents = file.read()
    assert contents.entries == entries
    assert list(contents.lines) == list(entries)
    if entries and not any("\n" in json.dumps(entry, ensure_ascii=False) for entry in entries.values()):
        text = file.path.read_text(encoding="utf-8").split("\n")
        for label, line in contents.lines.items():
            assert text[line - 1].strip().startswith((json.dumps(label, ensure_ascii=False), json.dumps(label)))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", "it is empty"),
        (b" \n ", "it is empty"),
        (b'{\n"a": {},\n"b" {}\n}', "line 3, column 5"),
        (b'{"a": {}}\n}', "line 2, column 1: Extra data"),
        (b"[]", "line 1: it is not a JSON object"),
        (b'{\n"a": 1,\n"a": 2}', "line 3: 'a' stands in it twice"),
        (b'{"b": 1,\n"a": {"n": 1, "n": 2}}', "line 2: a key stands twice"),
        (b'{"a":\n1, "b":\n NaN}', "line 2: NaN is not a number"),
        (b'{"a": 1e999}', "line 1: 1e999 is not a number"),
        (b'{\n"a": "\xff"}', "line 2: it is not UTF-8"),
        (b"[" * 100_000, "recursion"),
        (b'{"a": ' + b"1" * 5000 + b"}", "line 1: "),
    ],
)
def test_a_damaged_file_is_named_by_line_and_never_written_over(tmp_path: Path, text: bytes, cause: str) -> None:
    file = MapFile(tmp_path / "map")
    file.path.write_bytes(text)
    with pytest.raises(BrokenMapError) as caught:
        file.read()
    assert cause in str(caught.value)
    assert "--set-aside" in caught.value.remedy
    with pytest.raises(BrokenMapError):
        file.change(add)
    assert file.path.read_bytes() == text
    for n in ("", ".2"):
        file.path.write_bytes(text)
        file.change(add, set_aside=True)
        assert (tmp_path / f"map.broken{n}").read_bytes() == text
        assert file.read().entries == edited({}, add)


@given(st.integers(0, 200), st.binary(max_size=3), st.integers(0, 5))
def test_no_damage_is_taken_for_a_map_or_ends_in_a_crash(
    tmp_path_factory: pytest.TempPathFactory, at: int, put_in: bytes, taken_out: int
) -> None:
    file = MapFile(tmp_path_factory.mktemp("map") / "map")
    raw = put(file.path, OLD)
    at %= len(raw)
    damaged = raw[:at] + put_in + raw[at + taken_out :]
    file.path.write_bytes(damaged)
    try:
        assert file.read().entries == json.loads(damaged)
    except BrokenMapError:
        with pytest.raises(BrokenMapError):
            file.change(add)
        assert file.path.read_bytes() == damaged


def test_what_is_no_file_is_not_opened_for_long(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "huge").write_bytes(b"")
    os.truncate(tmp_path / "huge", SIZE_MAX + 1)
    for name in ("pipe", "loop", "", "huge"):
        with pytest.raises(RegistryError):
            MapFile(tmp_path / name).read()
    assert MapFile(tmp_path / "none" / "map").read().entries == {}
