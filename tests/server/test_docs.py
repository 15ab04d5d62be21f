"""The page on the API: every parameter and code is on it, and its examples work."""

from __future__ import annotations

import json
import re

import pytest

from hoshikage.server.fields import Field
from hoshikage.server.openai.tables import CHAT, COMPLETIONS
from hoshikage.server.problem import RULES
from tests.house import ROOT
from tests.server.conftest import Server
from tests.server.pages import examples_of, said_by, text_of

PAGE = text_of("api.md")


def row_of(field: Field) -> str:
    return f"| `{field.name}` | {field.meaning} | {field.kinds[0] if len(field.kinds) == 1 else ''} |"


def test_every_parameter_is_on_it() -> None:
    missing = [row_of(field) for table in (CHAT, COMPLETIONS) for field in table.fields if row_of(field) not in PAGE]
    assert not missing


def test_every_code_is_on_it() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "hoshikage" / "server").rglob("*.py")))
    said = set(re.findall(r'(?:Problem\([^()]*(?:\([^()]*\)[^()]*)*?|sentence, )"(\w+)"', sources))
    codes = {rule.code for rule in RULES.values()} | {code for code in said if "_" in code}
    assert len(codes) > 15
    missing = sorted(code for code in codes if f"`{code}`" not in PAGE)
    assert not missing


@pytest.mark.parametrize(("language", "program"), examples_of(PAGE), ids=lambda text: str(text)[:40])
def test_its_examples_work(server: Server, language: str, program: str) -> None:
    said = said_by(server, language, program)
    assert said and '"error"' not in said


def test_what_a_chunk_looks_like_is_shown_as_it_is(server: Server) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    answer = server.client.chat(max_tokens=8, stream=True, diffusing=True)
    choices = [choice for event in answer.events[:-1] for choice in event["choices"] if "diffusion" in choice]
    assert choices[0]["diffusion"].keys() == shown["diffusion"].keys()
