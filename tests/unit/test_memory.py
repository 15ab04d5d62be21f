"""What memory there is: of the machine, of containers around us, of GPUs that a process of its own is asked for."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.manager import gpu
from hoshikage.manager.fit import Gpu
from hoshikage.manager.gpu import gpus, may_have_gpus, understood
from hoshikage.manager.memory import Host, host

KIB, GIB = 1 << 10, 1 << 30
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A machine with 16 GiB, 8 of them free, and what cgroups say."""

    def build(cgroup: str = "", **files: object) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        memory = f"MemTotal:       {16 * GIB // KIB} kB\nMemFree: 5 kB\nMemAvailable:   {8 * GIB // KIB} kB\n"
        (tmp_path / "proc/meminfo").write_text(memory)
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return build


def test_this_machine_has_some() -> None:
    here = host()
    assert 0 < here.available <= here.total


def test_without_limits_the_machine_counts(tree: Tree) -> None:
    assert host(tree("0::/user.slice\n", **{"user.slice/memory.max": "max"})) == Host(8 * GIB, 16 * GIB)


def test_without_cgroups_too(tree: Tree) -> None:
    root = tree()
    (root / "proc/self/cgroup").unlink()
    assert host(root) == Host(8 * GIB, 16 * GIB)


def test_a_container_bounds_it(tree: Tree) -> None:
    files = {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon 1\ninactive_file {GIB}"}
    assert host(tree("0::/\n", **files)) == Host(2 * GIB, 4 * GIB)


def test_the_narrowest_of_the_groups_around_us_counts(tree: Tree) -> None:
    files = {
        "a/memory.max": 6 * GIB, "a/memory.current": 5 * GIB,
        "a/b/memory.max": 3 * GIB, "a/b/memory.current": GIB, "a/b/c/memory.current": GIB,
    }  # fmt: skip
    assert host(tree("0::/a/b/c\n", **files)) == Host(GIB, 3 * GIB)


def test_more_used_than_allowed_leaves_nothing(tree: Tree) -> None:
    assert host(tree("0::/\n", **{"memory.max": GIB, "memory.current": 2 * GIB})) == Host(0, GIB)


def test_the_first_version_of_cgroups_is_read_too(tree: Tree) -> None:
    files = {
        "memory/docker/x/memory.limit_in_bytes": 2 * GIB, "memory/docker/x/memory.usage_in_bytes": 3 * GIB // 2,
        "memory/docker/x/memory.stat": f"total_inactive_file {GIB // 4}",
        "memory/memory.limit_in_bytes": 2**63 - 4096, "memory/memory.usage_in_bytes": 0,
    }  # fmt: skip
    lines = "12:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n1:name=systemd:/docker/x\n"
    assert host(tree(lines, **files)) == Host(3 * GIB // 4, 2 * GIB)


# -- GPUs


def test_a_build_for_the_cpu_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("libggml-base.so.0", "libggml-cpu-haswell.so", "libggml.so.0", "libllama.so.0", "libggml-blas.so"):
        (tmp_path / name).touch()
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    assert gpus(str(tmp_path)) == ()
    assert not may_have_gpus(tmp_path)
    (tmp_path / "libggml-cuda.so").touch()
    assert may_have_gpus(tmp_path)


def test_the_process_answers_for_the_packaged_build() -> None:
    done = subprocess.run([sys.executable, "-m", "hoshikage.probe"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = understood(done.stdout)
    assert all(0 <= device.free <= device.total for device in found)
    assert found == () or may_have_gpus(Path("hoshikage/lib"))


def test_devices_are_read_from_the_last_line() -> None:
    device = {"kind": "gpu", "name": "CUDA0", "description": "An H200", "free": 5, "total": 9}
    assert understood(f"the driver says hello\n{json.dumps({'gpus': [device]})}\n") == (Gpu("CUDA0", "An H200", 5, 9),)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["gpus", "free", "total", "name"]), x)).map(json.dumps))  # fmt: skip
def test_any_other_answer_is_refused(text: str) -> None:
    with suppress(ValueError):
        assert isinstance(understood(text), tuple)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('the driver is too old')", "the driver is too old"),
        ("import os; os.abort()", "ended with -6"),
        ("print('nonsense')", "Expecting value"),
        ("print('{}')", "no list of devices"),
        ("""print('{"gpus": []}')""", "finds none"),
    ],
)
def test_where_asking_fails_there_is_none_and_the_log_says_why(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = tmp_path / "hoshikage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "probe.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu, "may_have_gpus", lambda _: True)
    with caplog.at_level(logging.WARNING):
        assert gpus() == ()
    assert words in caplog.text
