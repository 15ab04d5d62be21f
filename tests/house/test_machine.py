"""What a machine lacks is named, with the package that brings it."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sysconfig
from pathlib import Path

import machine
import pytest
from pin import PinError

from tests.house import ROOT


def test_this_machine_can_build() -> None:
    machine.check_machine(with_venv=True)


def test_everything_that_is_missing_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ensurepip" else known(name, *rest)
    )
    with pytest.raises(PinError) as caught:
        machine.check_machine(with_venv=True)
    said = str(caught.value)
    for named in ("a C compiler (cc)", "a C++ compiler (c++)", "Python.h", "ensurepip"):
        assert named in said
    assert "apt install build-essential python3-dev python3-venv." in said


def test_the_compiler_that_was_asked_for_is_the_one_that_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with pytest.raises(PinError, match=r"a C compiler \(no-such-cc\)"):
        machine.check_machine()


def test_cmake_and_ninja_come_from_the_index_only_where_the_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cmake").write_text("#!/bin/sh\n")
    (tmp_path / "cmake").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.missing_tools() == ["ninja"]
    wanted = machine.requirements()
    assert "ninja" in wanted
    assert any(line.startswith("cython") for line in wanted)
    assert any(line.startswith("pytest") for line in wanted)
    assert not any(line.startswith("torch") for line in wanted)
    assert any(line.startswith("torch") for line in machine.requirements(with_training=True))


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A make of its own, not the child of the one that may be running these tests."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_names_its_targets() -> None:
    said = make().stdout
    for target in ("serve", "test", "test-clients", "test-train", "build", "lint", "asan", "bench", "pack", "clean"):
        assert f"make {target}" in said


@pytest.mark.parametrize(("failing", "named"), [
    ("-m pytest", "pytest bench/bench_*.py"),
    ("bench/curves.py", "bench/curves.py --only none"),
    ("", ""),
])  # fmt: skip
def test_make_bench_runs_all_its_parts_and_fails_if_any_did(tmp_path: Path, failing: str, named: str) -> None:
    python, ran = tmp_path / "python", tmp_path / "ran"
    python.write_text(f'#!/bin/sh\necho "$*" >> {ran}\ncase "$*" in "{failing}"*) exit {int(bool(failing))};; esac\n')
    python.chmod(0o755)
    done = make("--assume-old=build", "bench", f"PY={python}")
    assert [line[:15] for line in ran.read_text().splitlines()] == ["-m pytest bench", "bench/curves.py"]
    assert re.search(r"make bench took \d+ min \d+ s", done.stdout)
    assert (done.returncode != 0) == bool(failing)
    assert done.stdout.rstrip().endswith(f"see above: {named}" if failing else " s")


def test_make_serve_starts_the_server_and_says_how_to_talk_to_it() -> None:
    process = subprocess.Popen(
        ["make", "--no-print-directory", "serve"], cwd=ROOT, env={**os.environ, "PORT": "0"}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = ""
    while "Ctrl-C" not in said:
        said += (line := process.stderr.readline())
        assert line, said
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert "/v1/chat/completions" in said


def test_an_old_python_is_refused_before_anything_else(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make(f"PYTHON={old}", f"VENV={tmp_path}/venv", "build")
    assert done.returncode != 0
    assert "older than Python 3.11" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_a_second_build_says_and_does_nothing() -> None:
    make("build")
    modules = {path: path.stat().st_mtime_ns for path in (ROOT / "hoshikage").glob("**/*.so*")}
    done = make("build")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert modules == {path: path.stat().st_mtime_ns for path in modules}
