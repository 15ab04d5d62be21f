"""Text and tokens over HTTP."""

from __future__ import annotations

from tests.server.conftest import NewServer, Server


def test_there_and_back(server: Server) -> None:
    for model in ("fake", "nano-ar", "tiny"):
        said = server.client.post("/tokenize", {"model": model, "prompt": "héllo wörld"})
        assert said.status == 200, said.body
        assert said.json["count"] == len(said.json["tokens"]) and said.json["max_model_len"] > 0
        back = server.client.post("/detokenize", {"model": model, "tokens": said.json["tokens"]}).json
        assert back == {"prompt": "héllo wörld", "content": "héllo wörld"}


def test_llama_servers_words(server: Server) -> None:
    body = {"model": "fake", "content": "é", "with_pieces": True, "add_special": False}
    assert server.client.post("/tokenize", body).json["tokens"] == [
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
    ]
    special = server.client.post("/tokenize", {"model": "fake", "content": "x<|eot|>"}).json
    plain = server.client.post("/tokenize", {"model": "fake", "content": "x<|eot|>", "parse_special": False}).json
    assert (special["count"], plain["count"]) == (2, 8)


def test_special_tokens_are_told_without_loading(new_server: NewServer) -> None:
    client = new_server().client
    info = client.get("/tokenizer_info?model=nano-ar").json
    assert info["eos_token"] and "chat_template" in info
    assert client.model("nano-ar")["state"] == "cold"
    token = client.post("/tokenize", {"model": "nano-ar", "prompt": info["eos_token"]}).json["tokens"]
    assert len(token) == 1


def test_who_names_no_model_means_the_one_in_memory(new_server: NewServer) -> None:
    """Or else the first that a person has registered."""
    client = new_server().client
    assert client.get("/tokenizer_info").json == client.get("/tokenizer_info?model=fake").json
    client.chat(max_tokens=2)
    assert client.post("/tokenize", {"prompt": "\xff"}).json["tokens"] == [0xC3, 0xBF]


def test_what_cannot_be_said(server: Server) -> None:
    client = server.client
    for body, param in (
        ({"model": "fake"}, "prompt"),
        ({"model": "fake", "prompt": 5}, "prompt"),
        ({"model": "fake", "promt": "x"}, "promt"),
    ):
        answer = client.post("/tokenize", body)
        assert (answer.status, answer.error["param"]) == (400, param)
    for tokens in ("x", [-1], [1.5], None):
        answer = client.post("/detokenize", {"model": "fake", "tokens": tokens})
        assert (answer.status, answer.error["param"]) == (400, "tokens")
    assert client.post("/detokenize", {"model": "fake", "tokens": [10**6]}).status == 400
    assert client.get("/tokenizer_info?model=nobody").status == 404
    assert client.post("/tokenize", {"model": "nobody", "prompt": "x"}).status == 404
