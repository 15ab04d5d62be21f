"""The page on clients: its commands work, and its addresses are those of routes that there are."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml

from hoshikage.server.app import lines
from tests.server.conftest import Server
from tests.server.pages import HERE, examples_of, said_by, text_of

PAGE = text_of("clients.md")


def test_its_addresses_lead_somewhere() -> None:
    paths = {path for _, path, *_ in lines()}
    said = set(re.findall(r"`(/[\w/.]+)`", PAGE)) | set(re.findall(rf"{HERE}(/[\w/]+)", PAGE))
    assert said - paths <= {"/v1", "/api/diffusion", "/context"}  # the last is a word to Claude Code


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_its_settings_can_be_read_and_lead_here() -> None:
    for_continue, for_llm = map(yaml.safe_load, blocks("yaml"))
    (codex,), (opencode,) = map(tomllib.loads, blocks("toml")), map(json.loads, blocks("json"))
    addresses = {model["apiBase"] for model in for_continue["models"]} | {model["api_base"] for model in for_llm}
    addresses |= {provider["base_url"] for provider in codex["model_providers"].values()}
    addresses |= {provider["options"]["baseURL"] for provider in opencode["provider"].values()}
    assert addresses == {f"{HERE}/v1"}


@pytest.mark.parametrize(("language", "program"), examples_of(PAGE), ids=lambda text: str(text)[:40])
def test_its_examples_work(server: Server, language: str, program: str) -> None:
    said = said_by(server, language, program)
    assert said and '"error":{' not in said
