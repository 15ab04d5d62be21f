"""The image and the services: what can be held without building them. docs/deployment.md says how they are tried."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hoshikage.cli import COMMANDS
from hoshikage.settings import table
from tests.house import ROOT

UNIT = ROOT / "deploy" / "hoshikage.service"
VARIABLES = {row.variable: row for row in table()} | {"XDG_CONFIG_HOME": None, "PATH": None}


def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, with lines joined and comments gone; the last has no name."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if line.startswith("FROM"):
            base, _, name = line.partition(" AS ")
            found[name] = [base]
        elif line and found:
            found[next(reversed(found))].append(line)
    return found


def words(stage: str, instruction: str) -> list[str]:
    return [line.removeprefix(instruction).strip() for line in stages()[stage] if line.startswith(instruction + " ")]


def test_both_targets_are_made_in_the_same_way() -> None:
    """They differ in their bases, in llama.cpp's switches and in NVIDIA's library."""

    def without_differences(stage: str) -> list[str]:
        text = "\n".join(stages()[stage][1:]).replace("cuda-build", "cpu-build")
        return re.sub(r'CMAKE_ARGS=".*"|libcublas-\S+ ', "", text).replace("CMAKE_ARGS=${CMAKE_ARGS}", "").split("\n")

    assert without_differences("cpu-build") == without_differences("cuda-build")
    assert without_differences("cpu") == without_differences("cuda")
    assert "GGML_CUDA=ON" in "".join(words("cuda-build", "ENV"))
    assert stages()[""] == ["FROM cpu"], "what is built where no target is named"


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_the_image_runs_what_there_is_as_nobody_special(target: str) -> None:
    user, _, group = words(target, "USER")[0].partition(":")
    assert int(user) > 0 and int(group) > 0, "numbers, so that a cluster can see that it is not root"
    health = words(target, "HEALTHCHECK")[0]
    assert shlex.split(health.partition("CMD ")[2].strip("[]").replace(",", ""))[1] in COMMANDS
    assert words(target, "CMD")[0].strip('[]"') in COMMANDS
    assert words(target, "EXPOSE") == [str(next(row.default for row in table() if row.name == "port"))]
    given = dict(word.split("=", 1) for line in words(target, "ENV") for word in shlex.split(line))
    assert given.keys() <= VARIABLES.keys()
    volumes = {given["MODEL_DIR"], given["XDG_CONFIG_HOME"]}
    assert all(f'"{volume}"' in words(target, "VOLUME")[0] for volume in volumes)


# -- what goes into it


def goes_in(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last line that fits it, or a folder above it, decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        above = [path, *map(str, Path(path).parents)]
        if any(fnmatch.fnmatchcase(part, pattern) or fnmatch.fnmatchcase("/" + part, pattern) for part in above):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize(
    "path",
    ["setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "llama.cpp/pin.toml", "llama.cpp/cache/x.gz",
     "llama.cpp/shim/x.py", "hoshikage/_core.pyx", "hoshikage/csrc/scan.c", "hoshikage/nano/nano-ar.gguf"],
)  # fmt: skip
def test_what_the_build_needs_goes_in(path: str) -> None:
    assert goes_in(path)


@pytest.mark.parametrize(
    "path",
    [".env", ".git/config", ".venv/bin/python", "model.gguf", "models/m.gguf", "deploy/hoshikage.env", "tests/fake.py",
     "llama.cpp/src/CMakeLists.txt", "llama.cpp/build/x.o", "hoshikage/lib/libllama.so.0", "hoshikage/_core.x.so",
     "hoshikage/.env", "hoshikage/mine.gguf", "hoshikage/cli/__pycache__/run.pyc", "build/x", "dist/x.whl"],
)  # fmt: skip
def test_secrets_models_and_what_was_built_here_stay_outside(path: str) -> None:
    assert not goes_in(path)


# -- the services


def test_the_unit_is_one(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd here")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?<=ExecStart=)\S+", sys.executable, UNIT.read_text(encoding="utf-8")), encoding="utf-8")
    done = subprocess.run(
        [analyze, "--user", "--man=no", "verify", str(copy)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), "verify warns of every key that it does not know"


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_services_are_given_the_time_that_the_server_takes_to_end() -> None:
    drain = next(row.default for row in table() if row.name == "drain_timeout")
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["hoshikage"]
    unit = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert unit and seconds(unit[1]) > drain + 5
    assert seconds(service["stop_grace_period"]) > drain + 5


def test_the_composed_service_fits_the_image() -> None:
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]["hoshikage"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    mounted = {volume.removesuffix(":ro").rpartition(":")[2] for volume in service["volumes"]}
    assert mounted == set(re.findall(r'"(.*?)"', words("cuda", "VOLUME")[0]))
    port = words("cuda", "EXPOSE")[0]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"], "open to this host only"
    assert re.search(r":-(\w+)}", service["build"]["target"])[1] in stages()  # type: ignore[index]
