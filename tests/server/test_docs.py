"""The page on the API: every parameter and code is on it, and its examples work."""

from __future__ import annotations

import json
import re

import pytest

from hoshikage.server.app import lines
from hoshikage.server.fields import Field
from hoshikage.server.openai.tables import CHAT, COMPLETIONS
from hoshikage.server.problem import RULES
from hoshikage.server.shell.keys import Access
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


def test_a_proxy_as_it_is_shown_closes_the_owner_s_routes_and_no_others() -> None:
    (rules,) = re.findall(r'^map "\$request_method \$uri" \$is_owners {(.*?)^}', text_of("deployment.md"), re.M | re.S)
    patterns = [line.rpartition(" ")[0].strip().strip('"') for line in rules.splitlines()[1:] if " 1;" in line]
    for method, path, _, access, *_ in lines():
        asked = f"{method} {re.sub('{[a-z_]+}', 'fake', path)}"
        closed = any(re.search(one[1:], asked) if one[0] == "~" else one == asked for one in patterns)
        assert closed == (access is Access.ADMIN), asked
