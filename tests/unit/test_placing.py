"""Where `hoshikage run` puts a model, on machines with GPUs that are made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoshikage.cli import placing
from hoshikage.cli.placing import placed
from hoshikage.manager.fit import Gpu
from hoshikage.manager.memory import Host
from hoshikage.settings import Settings
from tests.conftest import TinyModel

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def model(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(placing, "host", lambda: Host(8 * GIB, 16 * GIB))
    return tiny_model("llada")


def with_gpus(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    found = tuple(Gpu(f"CUDA{i}", "", size, size) for i, size in enumerate(sizes))
    monkeypatch.setattr(placing, "gpus", lambda _: found)


def test_all_layers_go_where_there_is_room(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 8 * GIB)
    assert placed(model, Settings()) == Settings(n_gpu_layers=3)
    with_gpus(monkeypatch, 8 * GIB, 8 * GIB)
    assert sum(placed(model, Settings()).tensor_split or ()) == 3


def test_a_full_gpu_gets_none_and_it_is_said(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gpus(monkeypatch, 10 * MIB)
    assert placed(model, Settings()) == Settings(n_gpu_layers=0)
    assert capsys.readouterr().err == "hoshikage: it runs on the CPU: more do not fit\n"


def test_a_host_without_memory_is_no_reason_to_refuse(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gpus(monkeypatch, 8 * GIB)
    monkeypatch.setattr(placing, "host", lambda: Host(10, 8 * GIB))
    assert placed(model, Settings()) == Settings(n_gpu_layers=0)
    monkeypatch.setattr(placing, "host", lambda: Host(10, 20))
    assert placed(model, Settings()) == Settings()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "hoshikage: memory is short: no layer is put on a GPU"
    assert "the model takes 0.1 GB at least" in said[1]


@pytest.mark.parametrize(
    "chosen", [Settings(n_gpu_layers=2), Settings(n_gpu_layers=0), Settings(device_preference="cpu")]
)
def test_what_somebody_chose_stays(chosen: Settings, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "gpus", lambda _: pytest.fail("nobody needs to know"))
    assert placed(model, chosen) == chosen


def test_without_a_gpu_nothing_changes(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch)
    assert placed(model, Settings()) == Settings()
