"""Who serves a file of names is known as long as it lives, and the commands ask it, or say why they do not."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hoshikage.cli import main
from hoshikage.registry import presence
from hoshikage.registry.presence import announced, found, note_of
from tests.conftest import TinyModel
from tests.unit.test_cli_remote import answering, http

URL = "http://127.0.0.1:1"  # where nobody listens


@pytest.fixture
def map_file(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of names of all commands; nothing else is set."""
    path = nobody / "names" / "model_map.json"
    monkeypatch.setenv("MODEL_MAP_FILE", str(path))
    return path


# -- the note


def test_it_is_there_as_long_as_the_server_is(map_file: Path) -> None:
    assert found(map_file) is None
    with announced(map_file, URL):
        here = found(map_file)
        assert here is not None and (here.url, here.pid, here.is_here) == (URL, os.getpid(), True)
        assert stat.S_IMODE(note_of(map_file).stat().st_mode) == 0o600
    assert found(map_file) is None and list(map_file.parent.iterdir()) == []


def test_links_to_the_file_lead_to_one_note(map_file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(map_file)
    with announced(tmp_path / "link", URL):
        assert found(map_file) == found(tmp_path / "link") is not None


def test_what_a_killed_server_left_is_no_server(map_file: Path) -> None:
    code = "import sys, pathlib; from hoshikage.registry.presence import announced\n"
    code += f"with announced(pathlib.Path(sys.argv[1]), {URL!r}): print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(map_file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        there = found(map_file)
        assert there is not None and there.pid == process.pid
        process.kill()
    assert note_of(map_file).exists() and found(map_file) is None
    with announced(map_file, URL):
        assert found(map_file) is not None, "the next one takes its place"


def test_of_two_servers_the_first_is_found(map_file: Path) -> None:
    with announced(map_file, URL), announced(map_file, "http://127.0.0.1:2"):
        first = found(map_file)
        assert first is not None and first.url == URL
    with announced(map_file, URL):
        with announced(map_file, "http://127.0.0.1:2"):
            pass
        assert found(map_file) is not None, "the end of the second takes nothing from the first"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"url": "x", "pid": "y", "place": ""}', "\xff" * 5000])
def test_what_is_no_note_is_no_server(map_file: Path, text: str) -> None:
    map_file.parent.mkdir()
    note_of(map_file).write_text(text)
    with note_of(map_file).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert found(map_file) is None


def test_what_is_no_file_is_no_server(map_file: Path) -> None:
    map_file.parent.mkdir()
    os.mkfifo(note_of(map_file))
    assert found(map_file) is None
    note_of(map_file).unlink()
    note_of(map_file).symlink_to("/etc/hostname")
    assert found(map_file) is None


def test_a_stranger_gets_no_key_of_ours(map_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of all, anybody could leave a note."""
    with announced(map_file, URL):
        stranger = SimpleNamespace(st_mode=stat.S_IFREG | 0o600, st_uid=os.geteuid() + 1)
        monkeypatch.setattr(presence.os, "fstat", lambda _: stranger)
        assert found(map_file) is None
        monkeypatch.undo()


def test_where_no_note_can_be_left_the_server_runs_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with announced(tmp_path / "file" / "model_map.json", URL):
        assert found(tmp_path / "file" / "model_map.json") is None


# -- the commands

NAMES = [("add", "MODEL", "mine"), ("rm", "mine"), ("list",), ("show", "nano-ar")]


def told(words: tuple[str, ...], model: Path) -> list[str]:
    return [str(model) if word == "MODEL" else word for word in words]


@pytest.mark.parametrize("words", NAMES)
def test_a_server_that_does_not_answer_is_said_and_nothing_is_done(
    words: tuple[str, ...], map_file: Path, tiny_model: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    with announced(map_file, URL):
        assert main(told(words, tiny_model("llada"))) == 2
    said = capsys.readouterr()
    assert f"no server answers at {URL}" in said.err and "--here" in said.err
    assert said.out == "" and not map_file.exists()


@pytest.mark.parametrize("words", NAMES)
@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_server_that_refuses_is_quoted_and_nothing_is_done(
    words: tuple[str, ...], status: int, map_file: Path, tiny_model: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"error": {"message": "not you; be another"}}).encode()
    with answering(http(status, body)) as url, announced(map_file, url):
        assert main(told(words, tiny_model("llada"))) == 2
    said = capsys.readouterr()
    assert "not you; " in said.err and "--here" in said.err
    assert said.out == "" and not map_file.exists()


def test_what_is_wrong_with_the_wish_is_no_reason_to_go_round_the_server(
    map_file: Path, tiny_model: TinyModel, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"error": {"message": "'mine' is taken; send replace: true"}}).encode()
    with answering(http(409, body)) as url, announced(map_file, url):
        assert main(["add", str(tiny_model("llada")), "mine"]) == 2
    said = capsys.readouterr().err
    assert "'mine' is taken; choose another label, or say --replace" in said and "--here" not in said


def test_here_is_the_file_itself(map_file: Path, tiny_model: TinyModel, capsys: pytest.CaptureFixture[str]) -> None:
    with announced(map_file, URL):
        assert main(["add", str(tiny_model("llada")), "mine", "--here"]) == 0
        assert list(json.loads(map_file.read_text())) == ["mine"]
        assert main(["show", "mine", "--here"]) == main(["list", "--here"]) == main(["rm", "mine", "--here"]) == 0
    assert json.loads(map_file.read_text()) == {}
    with pytest.raises(SystemExit):
        main(["list", "--here", "--url", URL])
    assert "not allowed with" in capsys.readouterr().err


def test_a_server_behind_a_wall_is_pointed_out(
    map_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "9")  # where nobody listens; the usual one may be somebody's
    with announced(map_file, URL):
        monkeypatch.setattr(presence, "this_place", lambda: "elsewhere")
        assert main(["rm", "mine"]) == 2
        said = capsys.readouterr().err
        assert "in another container" in said and "--url" in said and "--here" in said
        assert main(["status"]) == 2, "which looks where the settings say"
    assert "no server answers at http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("status",), ("ps",), ("stop", "mine")])
def test_a_server_is_found_by_its_file_of_names(
    words: tuple[str, ...], map_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer: dict[str, Any] = {"status": "ok", "data": []}
    n_questions = 2 if words == ("status",) else 1
    with answering(*n_questions * [http(200, json.dumps(answer).encode())]) as url, announced(map_file, url):
        assert main([*words]) == 0
    assert "no server" not in capsys.readouterr().err
