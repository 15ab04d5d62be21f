"""`hoshikage config`: what holds, and who said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hoshikage.cli import main
from hoshikage.settings import table

pytestmark = pytest.mark.usefixtures("nobody")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(*argv: str) -> dict[str, Any]:
        assert main(["config", "--json", *argv]) == 0
        return {line["variable"]: line for line in json.loads(capsys.readouterr().out)}

    return run


def test_every_setting_is_told_with_its_default(said: Callable[..., dict[str, Any]]) -> None:
    lines = said()
    assert list(lines) == [row.variable for row in table()]
    assert {line["origin"] for line in lines.values()} == {"default"}
    assert (lines["PORT"]["value"], lines["DIFFUSION_STEPS"]["value"], lines["PRELOAD"]["value"]) == (3030, None, [])
    assert said("--changed") == {}


def test_each_source_is_named(said: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("# mine\nN_CTX=10\nPORT=1\nHOST=::1\n", encoding="utf-8")
    monkeypatch.setenv("PORT", "2")
    monkeypatch.setenv("HOST", "h")
    changed = said("--changed", "--host", "flagged")
    told = {name: (line["value"], line["origin"]) for name, line in changed.items()}
    assert told == {"N_CTX": (10, ".env:2"), "PORT": (2, "environment"), "HOST": ("flagged", "flag")}


def test_the_flag_for_the_file_is_stronger_than_its_variable(
    said: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"MODEL_DIR=/{name}\n", encoding="utf-8")
    monkeypatch.setenv("HOSHIKAGE_CONFIG_PATH", str(tmp_path / "a"))
    assert said()["MODEL_DIR"]["value"] == "/a"
    assert said("--config-path", "b")["MODEL_DIR"] == said("--config-path", "b")["MODEL_DIR"] | {
        "value": "/b",
        "origin": f"{tmp_path / 'b'}:1",
    }


def test_keys_are_shown_to_nobody(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSHIKAGE_ADMIN_KEY", "sesame")
    Path(".env").write_text("HOSHIKAGE_API_KEYS=open,sesame2\n", encoding="utf-8")
    for argv in (["config"], ["config", "--json"], ["config", "--changed"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert "sesame" not in out
        assert out.count("(hidden)") == 2
    Path(".env").write_text('HOSHIKAGE_API_KEYS="open,ses ame2"\n', encoding="utf-8")
    assert main(["config"]) == 2
    assert "ame2" not in capsys.readouterr().err


def test_a_wrong_value_stops_it_with_name_and_range(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("\nPORT=70000\n", encoding="utf-8")
    assert main(["config"]) == 2
    assert capsys.readouterr().err == "hoshikage: .env:2: PORT: 70000 is out of range; use 0 to 65535\n"


def test_a_misspelt_variable_is_pointed_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("DIFFUSION_STEP=3", "port=1", "SOMEBODY_ELSES=1", "# a b", "", "PORT 4", "MIIEvQIBADANBgkqhkiG9w0", "")
    Path(".env").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("HOSHIKAGE_MAX_WAITNG", "3")
    monkeypatch.setenv("PORTT", "3")  # which may be anybody's
    monkeypatch.setenv("HOSHIKAGE_LOG", "none")
    assert main(["config", "--changed"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "hoshikage: environment variable HOSHIKAGE_MAX_WAITNG has no effect, did you mean HOSHIKAGE_MAX_WAITING?",
        "hoshikage: .env:1: DIFFUSION_STEP has no effect, did you mean DIFFUSION_STEPS?",
        "hoshikage: .env:2: port has no effect, did you mean PORT?",
        "hoshikage: .env:6: PORT has no effect, there is no = behind it",
    ]
