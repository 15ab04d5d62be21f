"""Models in a folder, and what their headers say: links, parts, clashing names, and files that change."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hoshikage import gguf
from hoshikage.errors import ModelFileError
from hoshikage.registry.facts import _remembered, facts_of, identity_of
from hoshikage.registry.folder import DEPTH_MAX, Folder, scan
from tests.rawgguf import Draft, of, split_into


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "llada.gguf"
    path.write_bytes(Draft().bytes())
    return path


# -- a folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "a.gguf",
        "B.GGUF",
        "deep/er/c.gguf",
        "x/same.gguf",
        "y/same.gguf",
        ".cache/d.gguf",
        ".e.gguf",
        "f.bin",
    ):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Draft().bytes())
    return tmp_path / "folder"


def test_a_folder_is_looked_through(folder: Path) -> None:
    found = scan(folder)
    assert {label: path.relative_to(folder).as_posix() for label, path in found.paths.items()} == {
        "a": "a.gguf", "B": "B.GGUF", "c": "deep/er/c.gguf", "x--same": "x/same.gguf", "y--same": "y/same.gguf",
    }  # fmt: skip
    assert found.remarks == []


def test_links_are_followed_inside_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.gguf").write_bytes(b"")
    (folder / "link.gguf").symlink_to(folder / "a.gguf")
    (folder / "away.gguf").symlink_to(tmp_path / "outside" / "secret.gguf")
    (folder / "chain.gguf").symlink_to(folder / "away.gguf")
    (folder / "sub").symlink_to(tmp_path / "outside")
    (folder / "self").symlink_to(folder)
    (folder / "dangling.gguf").symlink_to(folder / "none")
    os.mkfifo(folder / "pipe.gguf")
    found = scan(folder)
    assert set(found.paths) == {"a", "B", "c", "x--same", "y--same", "link"}
    assert [remark.split()[0] for remark in found.remarks] == ["'away.gguf'", "'chain.gguf'"]
    assert facts_of(found.paths["link"]) == facts_of(found.paths["a"])
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert set(scan(linked).paths) == set(found.paths)


def test_a_link_that_cannot_be_followed_is_left_out_alone(folder: Path) -> None:
    (folder / "a1-loop.gguf").symlink_to(folder / "a1-loop.gguf")
    (folder / "x" / "long.gguf").symlink_to("l" * 300)
    found = scan(folder)
    assert set(found.paths) == {"a", "B", "c", "x--same", "y--same"}
    assert [remark.partition(";")[0] for remark in found.remarks] == [
        "'a1-loop.gguf' in MODEL_DIR is left out: it cannot be followed (Too many levels of symbolic links)",
        "'x/long.gguf' in MODEL_DIR is left out: it cannot be followed (File name too long)",
    ]


def test_a_folder_that_cannot_be_read_hides_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(path: Path) -> Any:
        if path.name == "x":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", listed)
    found = scan(folder)
    assert set(found.paths) == {"a", "B", "c", "same"}
    assert found.remarks[0].startswith("'x' in MODEL_DIR is left out: it cannot be read (Permission denied)")


def test_a_folder_is_looked_through_again_only_when_it_has_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the changes is seen by the next look, also within the grain of the times of files."""
    target = tmp_path / "folder" / ".hidden"
    (folder / "late.gguf").symlink_to(target)
    kept, later = Folder(folder), time.time_ns() + 60 * 10**9
    changes: list[tuple[Callable[[], object], str]] = [
        (lambda: (folder / "new.gguf").touch(), "new"),
        (lambda: (folder / "x" / "deep.gguf").touch(), "deep"),
        (lambda: (folder / "other").mkdir(), "deep"),
        (lambda: (folder / "other" / "far.gguf").touch(), "far"),
        (lambda: target.touch(), "late"),
        (lambda: (folder / "other" / "far.gguf").rename(folder / "near.gguf"), "near"),
    ]
    for change, label in changes:
        kept.scan()
        change()
        assert label in kept.scan().paths
        assert kept.scan() is not kept.scan(), "it has just changed"
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: later)  # a minute goes by
        assert kept.scan() is kept.scan()
        assert kept.scan().paths == scan(folder).paths
        (folder / "a.gguf").unlink()
        assert "a" not in kept.scan().paths
        shutil.rmtree(folder)
        assert kept.scan().paths == {}
        assert kept.scan() is kept.scan()


def test_a_model_in_several_files_is_one(tmp_path: Path) -> None:
    paths = split_into(tmp_path, 3)
    assert scan(tmp_path).paths == {"big": paths[0]}
    facts = facts_of(paths[0])
    assert (facts.n_parts, facts.n_bytes) == (3, sum(path.stat().st_size for path in paths))
    second = paths[1].rename(tmp_path / "away")
    with pytest.raises(ModelFileError, match="no such file"):
        facts_of(paths[0])
    (tmp_path.parent / "second").write_bytes(second.read_bytes())
    paths[1].symlink_to(tmp_path.parent / "second")
    found = scan(tmp_path)
    assert found.paths == {}
    assert "one of its parts is a link out of it" in found.remarks[0]
    paths[1].unlink()
    paths[0].unlink()
    assert "big" in scan(tmp_path).paths  # without its first part, so that asking for it says what is missing


def test_files_without_a_usable_name_are_said(folder: Path) -> None:
    (folder / "a\nb.gguf").write_bytes(b"")
    (folder / "-rf.gguf").write_bytes(b"")
    (folder / "x--same.gguf").write_bytes(b"")
    remarks = scan(folder).remarks
    assert len(remarks) == 3
    assert all(remark.isprintable() for remark in remarks)
    assert "MODEL_DIR 'none' is not a folder" in scan(Path("none")).remarks[0]


def test_a_folder_ends_somewhere(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * DEPTH_MAX)
    (deep / "e").mkdir(parents=True)
    (deep / "in.gguf").write_bytes(b"")
    (deep / "e" / "out.gguf").write_bytes(b"")
    assert set(scan(tmp_path).paths) == {"in"}


# -- facts


@pytest.fixture
def inspections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that were inspected."""
    inspected: list[str] = []
    real = gguf.inspect

    def inspect(path: Any) -> Any:
        inspected.append(str(path))
        return real(path)

    monkeypatch.setattr(gguf, "inspect", inspect)
    yield inspected


def test_a_header_is_read_once_for_each_file_that_was_there(model: Path, inspections: list[str]) -> None:
    facts = [facts_of(model) for _ in range(3)]
    assert len(inspections) == 1
    assert facts[0] == facts[2]
    assert (facts[0].kind, facts[0].architecture, facts[0].n_ctx, facts[0].n_layer) == ("masked", "llada", 128, 1)
    assert facts[0].n_bytes == model.stat().st_size
    new = model.with_name("new")
    new.write_bytes(of("llama").bytes())
    new.replace(model)
    assert facts_of(model).kind == "causal"
    assert len(inspections) == 2


def test_a_refusal_is_remembered_until_the_file_changes(model: Path, inspections: list[str]) -> None:
    sound = model.read_bytes()
    model.write_bytes(sound[:100])
    for _ in range(3):
        with pytest.raises(ModelFileError, match="cut"):
            facts_of(model)
    assert len(inspections) == 1
    model.write_bytes(sound)
    assert facts_of(model).kind == "masked"
    model.unlink()
    with pytest.raises(ModelFileError, match="no such file"):
        facts_of(model)


def test_a_refusal_that_is_remembered_holds_no_header(model: Path) -> None:
    refusal = _remembered(str(model), (identity_of(model),), gguf.Wish(kind="causal"))
    assert isinstance(refusal, ModelFileError)
    assert (refusal.__traceback__, refusal.__context__, refusal.__cause__) == (None, None, None)
    with pytest.raises(ModelFileError, match="which is masked"):
        facts_of(model, gguf.Wish(kind="causal"))


def test_one_part_that_changes_is_noticed(tmp_path: Path, inspections: list[str]) -> None:
    paths = split_into(tmp_path, 3)
    facts_of(paths[0])
    facts_of(paths[0])
    assert len(inspections) == 1
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="cut"):
        facts_of(paths[0])
