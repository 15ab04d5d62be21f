"""The page of routes: all are on it, for whom they are, and each has a request that works."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from hoshikage.server.app import lines
from hoshikage.server.shell.keys import Access
from tests.conftest import TinyModel
from tests.house import ROOT
from tests.server.conftest import NewServer, Server

PAGE = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
HERE = "http://127.0.0.1:3030"
FOR = {Access.OPEN: "anybody", Access.USER: "users", Access.ADMIN: "the owner"}
ROWS = re.findall(r"^\| `(\w+ \S+)` \| ([\w ]+) \| (.*?) \| `(.*)` \|$", PAGE, re.MULTILINE)


def test_every_route_is_on_it() -> None:
    said = [(route, who, about) for route, who, about, _ in ROWS]
    assert said == [(f"{method} {path}", FOR[access], about) for method, path, _, access, about, _ in lines()]


def test_each_request_is_one_of_its_route() -> None:
    for route, _, _, command in ROWS:
        method, path = route.split(" ")
        pattern = re.sub(r"\\{\w+\\}", "[^/?' ]+", re.escape(path))
        assert re.search(rf"{re.escape(HERE)}{pattern}(?=[?' ]|$)", command), command
        assert method == ("POST" if "--json" in command else (re.findall(r"-X (\w+)", command) or ["GET"])[0]), command


def test_the_document_for_tools_says_what_leads_where(server: Server) -> None:
    paths = server.client.get("/openapi.json").json["paths"]
    operations = {said["operationId"]: said for methods in paths.values() for said in methods.values()}
    assert len(operations) == len(ROWS)
    for path, methods in paths.items():
        for said in methods.values():
            where = {parameter["name"]: parameter["in"] for parameter in said["parameters"]}
            assert {name for name, place in where.items() if place == "path"} == {*re.findall(r"{(\w+)}", path)}
    assert operations["delete_models"]["parameters"][0]["required"] is True
    listed = operations["get_v1_models"]["responses"]["2XX"]["links"]
    assert "delete_admin_models_name" in listed
    for link in listed.values():
        (name,) = link["parameters"]
        assert name in {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}


def works(server: Server, command: str) -> None:
    text = command.replace("\\|", "|").replace(HERE, server.url)
    done = subprocess.run(["sh", "-ec", text], capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    assert done.stdout and '"error":{"message"' not in done.stdout, command


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_request_works(new_server: NewServer, tiny_model: TinyModel) -> None:
    server = new_server()
    shutil.copy(tiny_model("llada"), server.folder / "model.gguf")
    last = [command for route, *_, command in ROWS if route == "POST /admin/stop"]
    for *_, command in ROWS:
        if command not in last:
            works(server, command)
    works(server, *last)
    assert server.process.wait(30) == 0
