"""A block model from a file to a chat over HTTP: two commands, and what is refused on the way."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TinyModel
from tests.server.conftest import NewServer, Server
from tests.server.test_chat import content_of
from tests.server.test_commands import command, told
from tests.tiny import CHAT_TEMPLATE

MASK = "<|MASK|>"
MESSAGES = [{"role": "user", "content": "hello there, how are you?"}]


@pytest.fixture
def file(tmp_path: Path, tiny_model: TinyModel) -> Path:
    """A file of which nothing is known but its architecture and the mask token that it has."""
    path = tmp_path / "mystery.gguf"
    path.symlink_to(tiny_model("qwen3", mask_text=MASK, chat_template=CHAT_TEMPLATE))
    return path


def hoshikage(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of a person who uses the server's own file of names."""
    return command(server.folder, server.port, *words, MODEL_MAP_FILE=str(server.folder / "model_map.json"))


def test_two_commands_and_a_chat(new_server: NewServer, file: Path) -> None:
    server = new_server()
    asked = hoshikage(server, "add", str(file), "mine")
    assert asked.returncode == 2
    assert "--kind block --block-length N --mask-token" in asked.stderr
    added = hoshikage(server, "add", str(file), "mine", "--kind", "block", "--block-length", "4", "--mask-token", MASK)
    assert added.returncode == 0, added.stderr
    assert "block" in added.stdout
    line = next(line for line in told(hoshikage(server, "list", "--json")) if line["label"] == "mine")
    assert line["kind"] == "block"
    shown = told(hoshikage(server, "show", "mine", "--json"))
    assert (shown["kind"], shown["block_length"]) == ("block", 4)
    inspected = told(hoshikage(server, "inspect", "mine", "--json"))
    assert (inspected["kind"], inspected["mask_token"], inspected["shifted_rows"]) == ("block", 299, False)
    card = server.client.model("mine")
    assert (card.get("kind"), card.get("block_length")) == ("block", 4), card
    wish = {"model": "mine", "messages": MESSAGES, "max_tokens": 22, "seed": 3}
    plain = server.client.chat(**wish)
    assert plain.status == 200, plain.body
    events = server.client.chat(**wish, stream=True).events
    text = plain.json["choices"][0]["message"]["content"]
    assert content_of([*events, None][:-1]) == text
    (said,) = [choice["hoshikage"] for choice in plain.json["choices"]]
    assert said["passes"] > 0
    turn = [*MESSAGES, {"role": "assistant", "content": text}, {"role": "user", "content": "and now?"}]
    assert server.client.chat(**{**wish, "messages": turn}).status == 200
    gap = server.client.post("/v1/completions", {"model": "mine", "prompt": "a", "suffix": "b", "max_tokens": 4})
    assert gap.status == 400
    assert "block model reads from left to right" in gap.error["message"]


def test_what_contradicts_the_file_is_refused(new_server: NewServer, file: Path, tiny_model: TinyModel) -> None:
    server = new_server()
    block = ("--kind", "block", "--block-length")
    for words, said in (
        ((str(file), "x", *block, "0", "--mask-token", MASK), "block-length"),
        ((str(file), "x", *block, "-4", "--mask-token", MASK), "block-length"),
        ((str(file), "x", *block, "four", "--mask-token", MASK), "block-length"),
        ((str(file), "x", *block, "4", "--mask-token", "<|MUSK|>"), "<|MASK|>"),
        ((str(file), "x", "--kind", "block", "--mask-token", MASK), "block-length"),
        ((str(file), "x", "--kind", "causal", "--block-length", "4"), "a causal model has none"),
        ((str(file), "x", "--kind", "blocks"), "block"),
        ((str(tiny_model("llada")), "x", *block, "4"), "which is masked"),
    ):
        done = hoshikage(server, "add", *words, "--here")
        assert done.returncode != 0, words
        assert said in done.stderr.replace("block_length", "block-length"), done.stderr
        assert "Traceback" not in done.stderr
    assert "x" not in json.dumps([line["label"] for line in told(hoshikage(server, "list", "--json"))])
