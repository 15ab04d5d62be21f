"""The benches themselves: they measure what they say, and a figure that is missed is not passed over."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import curves, gpu, peers, results
from hoshikage.evaluate.subject import Reply

N = 200
SECONDS = {"exact": 1.0, "balanced": 1 / 12.5, "fast": 1 / 18.5}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is made up is kept with the figures."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")


def fill(ways: Sequence[curves.Way], n_wrong: dict[str, int], seconds: dict[str, float]) -> None:
    """So many wrong answers of each quality, so many seconds for each answer."""
    for way in ways:
        way.replies = [
            Reply(i >= n_wrong.get(way.rule, 0), "", 10, seconds.get(way.rule, 1.0), 4, 40) for i in range(N)
        ]


def run_curves(
    monkeypatch: pytest.MonkeyPatch, n_wrong: dict[str, int], seconds: dict[str, float], *arguments: str
) -> str | int | None:
    """What the program ends with; no model is asked."""
    monkeypatch.setattr(curves, "ask_all", lambda ways, *_: fill(ways, n_wrong, {**SECONDS, **seconds}))
    monkeypatch.setattr(sys, "argv", ["curves.py", *arguments])
    try:
        curves.main()
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize(("n_wrong", "seconds", "missed"), [
    ({}, {"balanced": 1 / 11.9}, "balanced has 11.9 times the tokens/s, not 12."),
    ({"balanced": 3}, {}, "balanced loses 1.5 points of accuracy, more than 1."),
    ({}, {"fast": 1 / 17}, "fast has 17.0 times the tokens/s, not 18."),
    ({"fast": 9}, {}, "fast loses 4.5 points of accuracy, more than 4."),
])  # fmt: skip
def test_a_quality_that_misses_its_figure_is_named_and_the_status_is_1(
    monkeypatch: pytest.MonkeyPatch, n_wrong: dict[str, int], seconds: dict[str, float], missed: str
) -> None:
    ended = run_curves(monkeypatch, n_wrong, seconds, "nano-llada", "--only", "none")
    assert ended == f"bench: missed\nnano-llada: {missed}"


def test_qualities_as_asked_end_with_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_curves(monkeypatch, {"exact": 2, "balanced": 4, "fast": 9}, {}, "nano-llada", "--only", "none") == 0


def test_a_page_has_every_model_with_its_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_curves(monkeypatch, {}, {}, "nano-llada", "nano-dream", "--out", str(tmp_path)) == 0
    told = (tmp_path / "curves.md").read_text(encoding="utf-8")
    for model in ("nano-llada", "nano-dream"):
        assert f"\n## {model}\n\n![accuracy against tokens per second](curves-{model}.svg)\n" in told
        assert (tmp_path / f"curves-{model}.svg").read_text(encoding="utf-8").startswith("<svg")


CLI = """#!{python}
import sys
with open("{folder}/said", "w") as file:
    file.write(" ".join(sys.argv[1:]))
for step in range(40):
    sys.stderr.write(f"\\rdiffusion step: {{step}}/384 [==   ] 3%")
    sys.stderr.flush()
    if step == 0:
        open("{folder}/go").read()
sys.exit(3)
"""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A llama-diffusion-cli that ends after 40 steps, the first at 1.0 and the others at 33.0; what it was told."""
    program, go = tmp_path / "llama-diffusion-cli", tmp_path / "go"
    program.write_text(CLI.format(python=sys.executable, folder=tmp_path))
    program.chmod(0o755)
    os.mkfifo(go)

    def clock() -> float:
        if not go.exists():
            return 33.0
        go.write_text("")
        go.unlink()
        return 1.0

    monkeypatch.setattr(peers, "program", lambda name: tmp_path / name)
    monkeypatch.setattr(peers, "perf_counter", clock)
    return tmp_path / "said"


def test_the_example_samples_as_it_does_by_itself_and_settles_one_token_a_pass(cli: Path) -> None:
    assert peers.diffusion_cli_passes(Path("model"), 384, 32, 32, 1, prompt="xxx") == 1.0
    said = cli.read_text().split()
    assert not {"--temp", "--top-k", "--top-p"} & set(said)
    n_blocks = int(said[said.index("-ub") + 1]) // int(said[said.index("--diffusion-block-length") + 1])
    assert int(said[said.index("--diffusion-steps") + 1]) == 32 * n_blocks


def test_an_example_that_ends_before_its_passes_are_timed_is_an_error(cli: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended before pass 64: .*diffusion step: 39/384"):
        peers.diffusion_cli_passes(Path("model"), 384, 32, 64, 1, prompt="xxx")
    assert cli.exists()


def test_a_pack_without_the_example_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "CMakeLists.txt").touch()
    with tarfile.open(tmp_path / "pack.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "CMakeLists.txt", "llama.cpp-1/CMakeLists.txt")
    monkeypatch.setattr(gpu, "SOURCE", tmp_path / "source")
    built: list[list[str]] = []
    monkeypatch.setattr(gpu.subprocess, "run", lambda command, **_: built.append(command))
    gpu.unpack(tmp_path / "pack.tar.gz")
    gpu.build()
    assert [command[1] for command in built] == ["setup.py"]
    assert "nothing is compared with llama-diffusion-cli" in capsys.readouterr().err
    (gpu.source() / "examples" / "diffusion").mkdir(parents=True)
    gpu.build()
    assert [command[1] for command in built] == ["setup.py", "setup.py", "llama.cpp"]
    assert capsys.readouterr().err == ""
