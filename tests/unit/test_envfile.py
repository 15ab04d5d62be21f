"""`.env` files: whatever is written into one is read from it again, and whatever stands in one is no crash."""

from __future__ import annotations

import shlex
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.envfile import Assignment, config_folder, env_files_of, own_files, quoted, unquoted, variables_in
from hoshikage.errors import ParameterError
from hoshikage.settings import manual

NAMES = st.text(string.ascii_uppercase + "_", min_size=1, max_size=8)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("ab '\"\\#=\n\r\t$", max_size=12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("env") / ".env"


@given(VALUES)
def test_what_is_quoted_is_unquoted_again(value: str) -> None:
    if value == value.strip():
        assert unquoted(quoted(value).strip()) == value
    assert "\n" not in quoted(value)
    assert "\r" not in quoted(value)


@given(st.dictionaries(NAMES, VALUES.map(str.strip), max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_a_file_means_what_was_written_into_it(file: Path, values: dict[str, str], end: str) -> None:
    lines = [f"{name}={quoted(value)}" for name, value in values.items()]
    file.write_bytes(("# mine" + end + end.join(lines) + end).encode())
    assert variables_in(file) == {name: Assignment(value, i + 2) for i, (name, value) in enumerate(values.items())}


@given(st.binary(max_size=60) | st.text("AB= '\"\\#\nexport\t", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_the_files_name(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        found = variables_in(file)
    except ParameterError as error:
        assert error.name == str(file)
        return
    assert all(name == name.strip() and 1 <= given.line <= content.count(b"\n") + content.count(b"\r") + 1
               for name, given in found.items())  # fmt: skip


@given(st.text(string.ascii_letters + string.digits + " -_./:,@%+='\"", max_size=20).map(str.strip))
def test_a_shell_reads_the_same(value: str) -> None:
    """Values without what only a shell knows: `.env` files are often read by both."""
    done = shlex.split(f"X={quoted(value)}") if " " not in value or quoted(value)[:1] in "'\"" else [f"X={value}"]
    assert done == [f"X={value}"]


def test_the_later_of_two_lines_holds(file: Path) -> None:
    file.write_text("A=1\nA=2\n", encoding="utf-8")
    assert variables_in(file) == {"A": Assignment("2", 2)}


def test_a_file_that_nobody_wrote_by_hand_is_refused(file: Path) -> None:
    file.write_bytes(b"A=1\n" * 300_000)
    with pytest.raises(ParameterError, match="more than 1048576 bytes"):
        variables_in(file)


def test_without_a_home_folder_there_is_still_the_one_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()
    assert env_files_of({})[-1] == Path(".env")


def test_the_example_changes_nothing_and_a_shell_can_read_it(tmp_path: Path) -> None:
    assert variables_in(manual.EXAMPLE) == {}
    text = manual.EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "all").write_text(text.replace("\n#", "\n").replace("\n ", "\n# "), encoding="utf-8")
    given = variables_in(tmp_path / "all")
    done = subprocess.run(
        ["sh", "-c", 'set -a; . "$0"; env', str(tmp_path / "all")], capture_output=True, text=True, check=True, env={}
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert {name: seen[name] for name in given} == {name: assignment.value for name, assignment in given.items()}


def test_a_home_folder_that_nobody_knows_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"~nobody-of-this-name/\.env is not a file; name a .env file"):
        env_files_of({"HOSHIKAGE_CONFIG_PATH": "~nobody-of-this-name/.env"})
    for environment in ({"HOME": "~nobody-of-this-name"}, {"HOME": "here"}, {"HOME": ""}, {}):
        monkeypatch.setattr("os.path.expanduser", lambda path: path)  # no HOME, and a user whom no list names
        with pytest.raises(ParameterError, match="this user has no home folder; set it, or XDG_CONFIG_HOME"):
            config_folder(environment)
        assert env_files_of(environment) == []
    assert config_folder({"XDG_CONFIG_HOME": "/mine"}) == Path("/mine/hoshikage")


def test_where_nobody_may_look_is_no_file(tmp_path: Path) -> None:
    unseen = tmp_path / ("x" * 300)  # to look there fails, as in a folder that only others may look into
    assert own_files({"XDG_CONFIG_HOME": str(unseen)}) == []
    assert env_files_of({}, [unseen / ".env"]) == []
    with pytest.raises(ParameterError, match="is not a file"):
        env_files_of({"HOSHIKAGE_CONFIG_PATH": str(unseen)})


@pytest.mark.parametrize("nowhere", [{"HOME": ""}, {"HOME": "."}, {"HOME": "", "XDG_CONFIG_HOME": ".config"}])
def test_what_lies_in_the_working_directory_is_nobodys_own(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".config" / "hoshikage" / ".env"
    path.parent.mkdir(parents=True)
    path.write_text("HOSHIKAGE_LIB_PATH=/theirs\n")
    assert path not in [found.absolute() for found in own_files(nowhere)]
    assert own_files({"HOME": str(tmp_path), "XDG_CONFIG_HOME": ".config"}) == [path]
