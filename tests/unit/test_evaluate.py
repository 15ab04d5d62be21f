"""Evaluation: what is counted, how it is shown, and that a server or a model file is asked the same questions."""

from __future__ import annotations

import json
import socket
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import nano
from hoshikage.cli import eval_, main
from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.evaluate.questions import chosen_tasks, questions
from hoshikage.evaluate.score import Report, Score, evaluate, interval
from hoshikage.evaluate.server import Server
from hoshikage.evaluate.show import picture, table
from hoshikage.evaluate.subject import OPEN, GapFiller, ModelFile, OpenGapFiller, Reply, messages_of
from hoshikage.evaluate.tasks import TASKS, Item


def said(messages: list[dict[str, str]]) -> str:
    return "|".join(message["content"] for message in messages)


class Knowing:
    """An engine made of the right answers; every third one is spoiled. A token is a character."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(eot_id=1, eos_id=0)
        self.answers = {said(messages_of(item)): item.answer for item in questions(4)}
        self.asked = 0

    def chat(self, messages: list[dict[str, str]], **_: Any) -> Any:
        self.asked += 1
        text = "" if self.asked % 3 == 0 else self.answers[said(messages)]
        return self._result(text, [])

    def chat_tokens(self, messages: list[dict[str, str]]) -> list[int]:
        return [2, *map(ord, said(messages)), 3]

    def tokenize(self, text: str) -> list[int]:
        return list(map(ord, text))

    def detokenize(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    def infill(self, prefix: list[int], suffix: list[int], *, length: int | list[int], **_: Any) -> Any:
        self.asked += 1
        end = suffix.pop()
        assert end == self.model.eot_id
        whole = next(a for q, a in self.answers.items() if prefix[1 : 2 + len(q)] == [*map(ord, q), 3])
        lo, hi = len(prefix) - prefix.index(3) - 1, len(whole) - len(suffix)
        assert length in (hi - lo, OPEN)
        tokens = [63] * (hi - lo) if self.asked % 3 == 0 else list(map(ord, whole[lo:hi]))
        return self._result("", tokens)

    @staticmethod
    def _result(text: str, tokens: list[int]) -> Any:
        return SimpleNamespace(
            text=text,
            tokens=tokens,
            stop_reason="stop",
            counts=SimpleNamespace(n_tokens=10, seconds=0.5, n_passes=5, n_rows=100),
        )


@pytest.mark.parametrize("kind", [ModelFile, GapFiller, OpenGapFiller])
def test_an_engine_is_judged_question_by_question(kind: type[ModelFile]) -> None:
    items = [item for item in questions(4) if item.task != "story"]  # where more than one filling is right
    told: list[tuple[int, int]] = []
    report = evaluate(kind(Knowing(), "knowing", {}), items, {}, lambda done, n: told.append((done, n)))
    n = len(items)
    assert (report.total.n, report.total.right) == (n, n - n // 3)
    assert told == [(k, n) for k in range(1, n + 1)]
    assert (report.total.tokens_per_second, report.total.tokens_per_pass, report.total.rows_per_token) == (20, 2, 10)
    assert list(report.tasks) == [name for name in TASKS if name != "story"]


def test_a_task_has_the_same_questions_alone_and_in_company() -> None:
    alone = questions(5, ["json"])
    assert alone == [item for item in questions(5) if item.task == "json"]
    assert alone != questions(5, ["json"], seed=8)
    assert all(item.split == "test" for item in questions(5))


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match=r"^--task: .*sort-wrods.*did you mean .*sort-words"):
        chosen_tasks(["sort-wrods"])


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_a_share(counts: tuple[int, int]) -> None:
    right, n = counts
    low, high = interval(right, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    wider = interval(right, n)[1] - interval(right, n)[0]
    assert interval(4 * right, 4 * n)[1] - interval(4 * right, 4 * n)[0] < wider


def test_known_intervals() -> None:
    assert interval(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_what_a_server_does_not_say_is_not_made_up() -> None:
    total = Score.of([Reply(True, "", 4, 1.0, 4, 40), Reply(False, "", 4, 1.0)])
    assert (total.n_passes, total.n_rows, total.tokens_per_pass, total.rows_per_token) == (None,) * 4
    report = Report("some", {}, total, {"json": total})
    assert table(report).splitlines()[2].split()[-3:] == ["-", "-", "-"]
    assert json.loads(json.dumps(report.as_dict()))["accuracy"] == 0.5


def test_the_picture_is_an_svg_with_a_dot_for_each_report() -> None:
    fast, slow = Score(10, 9, 100, 1.0, 50, 500), Score(10, 10, 100, 4.0, 100, 900)
    drawn = [Report("a<b", {"steps": steps}, score, {}).as_dict() for steps, score in ((8, fast), (32, slow))]
    root = ElementTree.fromstring(picture(drawn))
    dots = [e for e in root if e.tag.endswith("circle")]
    assert len(dots) == 2
    assert float(dots[0].attrib["cx"]) > float(dots[1].attrib["cx"])
    assert float(dots[0].attrib["cy"]) > float(dots[1].attrib["cy"])
    assert any("a<b steps 8" in (e.text or "") for e in root)


def test_a_picture_of_many_reports_tells_them_apart() -> None:
    """Each has a colour of its own, and its line stands below all dots and inside the picture."""
    drawn = [Report(f"model {k}", {}, Score(10, 10 - k % 3, 100, 1.0 + k, 50, 500), {}).as_dict() for k in range(30)]
    root = ElementTree.fromstring(picture(drawn))
    dots = [e for e in root if e.tag.endswith("circle")]
    lines = [e for e in root if (e.text or "").startswith("model")]
    assert len({dot.attrib["fill"] for dot in dots}) == len(lines) == 30
    assert [line.attrib["fill"] for line in lines] == [dot.attrib["fill"] for dot in dots]
    heights = [float(line.attrib["y"]) for line in lines]
    assert all(after - before >= 12 for before, after in pairwise(heights))
    assert max(float(dot.attrib["cy"]) for dot in dots) < heights[0] - 12
    assert heights[-1] < float(root.attrib["viewBox"].split()[3])


class _Handler(BaseHTTPRequestHandler):
    """Answers as an OpenAI server does, or with the status that the model's name asks for."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = {"missing": 404, "moved": 302}.get(body["model"], 200)
        text = "\ud800" if body["model"] == "halves" else Knowing().answers[said(body["messages"])]
        reply: dict[str, Any] = {"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 7}}
        raw = json.dumps({} if body["model"] == "odd" else reply).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _some() -> list[Item]:
    return [item for item in questions(4) if item.task in ("json", "recall", "japanese")]


def test_a_server_is_asked_through_the_api(address: str) -> None:
    report = evaluate(Server(f"{address}/v1/", "nano", "key", {}), _some(), {})
    assert report.total.accuracy == 1.0
    assert report.total.n_tokens == 7 * report.total.n


@pytest.mark.parametrize(
    ("model", "cause"),
    [("missing", "404"), ("moved", "302"), ("odd", "it answered {}"), ("halves", r"it answered b'.*\\ud800")],
)
def test_a_server_that_fails_is_named(address: str, model: str, cause: str) -> None:
    with pytest.raises(HoshikageError, match=rf"{address}.*{cause}"):
        evaluate(Server(address, model, None, {}), _some(), {})


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(HoshikageError, match="is the server running"):
        evaluate(Server("http://127.0.0.1:9", "nano", None, {}), _some(), {})


def test_the_command_prints_json_and_draws(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["eval", "nano", "--server", address, "--items", "4", "--task", "json", "--task", "recall"]
    assert main([*ask, "--json"]) == 0
    first = capsys.readouterr().out
    assert json.loads(first)["accuracy"] == 1.0
    assert set(json.loads(first)["tasks"]) == {"json", "recall"}
    earlier, drawing = tmp_path / "earlier.json", tmp_path / "both.svg"
    earlier.write_text(first)
    assert main([*ask, "--plot", str(drawing), "--with", str(earlier)]) == 0
    assert "json" in capsys.readouterr().out
    assert drawing.read_text().count("<circle") == 2
    assert main([*ask, "--plot", str(drawing), "--with", str(drawing)]) == 2


def test_a_report_says_what_was_asked_of_whom(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "nano", "--server", f"{address}/v1", "--items", "2", "--task", "json", "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)["asked"]
    assert asked == {"what": "replies", "tasks": ["json"], "items": 2, "seed": 7, "server": address}


def test_a_picture_says_in_what_its_reports_differ() -> None:
    """Of one alone it says nothing more, and an earlier program's report may say nothing of it."""
    usual = {"what": "replies", "tasks": list(TASKS), "items": 48, "seed": 7, "server": None}
    others = [
        {**usual, "what": "gaps"},
        {**usual, "tasks": ["json", "form"], "items": 4},
        {**usual, "server": "http://there"},
        {},
    ]

    def lines(*asked: dict[str, Any]) -> list[str]:
        drawn = [Report("a", {"steps": 8}, Score(10, 9, 100, 1.0, 50, 500), {}, 0, one).as_dict() for one in asked]
        texts = [e.text or "" for e in ElementTree.fromstring(picture(drawn))]
        return [text for text in texts if text.startswith("a ") and text != "accuracy"]

    assert lines(usual) == lines(others[0]) == ["a steps 8"]
    assert lines(usual, others[0]) == ["a replies, steps 8", "a gaps, steps 8"]
    n = len(TASKS)
    assert lines(usual, *others[1:]) == [
        f"a replies, {n} tasks, items 48, seed 7, steps 8",
        "a replies, json, form, items 4, seed 7, steps 8",
        f"a replies, {n} tasks, items 48, seed 7, http://there, steps 8",
        "a steps 8",
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--plot", "none/such.svg"], "--plot: none/such.svg is no file in a folder that is there"),
        (["--plot", "."], "--plot: . is no file"),
        (["--plot", f"{'a' * 300}.svg"], "a.svg cannot be written: File name too long; name another"),
        (["--plot", "leads-nowhere.svg"], "--plot: leads-nowhere.svg cannot be written: No such file or directory"),
        (["--plot", "a.svg", "--with", "text.json"], "--with: text.json is no evaluation"),
        (["--plot", "a.svg", "--with", "list.json"], "--with: list.json is no evaluation"),
        (["--plot", "a.svg", "--with", "asked.json"], "--with: asked.json is no evaluation"),
        (["--with", "whole.json"], "--with: there is no picture that it is drawn in; leave it out, or say --plot FILE"),
        (["--rule", "entrophy"], "did you mean 'entropy'"),
        (["--n-ctx", "64"], "--n-ctx: it is about a file that is loaded here"),
        (["--server", "ftp://localhost"], "is no address"),
        (["--server", "http://localhost:abc"], "is no address"),
    ],
)
def test_what_comes_to_nothing_is_refused_before_anything_is_asked(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    report = {"tokens_per_second": 1.0, "interval": [0, 1], "accuracy": 1, "model": "x", "options": {}}
    Path("text.json").write_text(json.dumps(report | {"tokens_per_second": "fast"}))
    Path("whole.json").write_text(json.dumps(report))
    Path("asked.json").write_text(json.dumps(report | {"asked": {"tasks": 7}}))
    Path("list.json").write_text(json.dumps(report | {"options": []}))
    Path("leads-nowhere.svg").symlink_to("none/such.svg")
    monkeypatch.setattr(eval_, "Evaluation", pytest.fail)
    assert main(["eval", "nano", "--server", "http://127.0.0.1:9", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "ours", "key"),
    [
        ("http://127.0.0.1:1", "mine", "mine"),
        ("http://ai.example", "mine", "mine"),
        ("http://127.0.0.1:1/v1", "", "theirs"),
        ("https://ai.example/v1", "", "theirs"),
        ("http://ai.example", "", None),
    ],
)
def test_a_key_is_sent_where_it_is_known_or_nobody_else_reads_it(
    url: str, ours: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSHIKAGE_API_KEYS", ours)
    monkeypatch.setenv("HOSHIKAGE_ADMIN_KEY", "not-for-this")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    shown: list[str | None] = []

    def note(url: str, model: str, key: str | None, options: object) -> None:  # noqa: ARG001
        shown.append(key)
        raise HoshikageError("enough")

    monkeypatch.setattr(eval_, "Server", note)
    assert main(["eval", "nano", "--server", url]) == 2
    assert shown == [key]


def test_what_does_not_speak_http_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def work() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail.example\r\n\r\n")

        thread = threading.Thread(target=work)
        thread.start()
        assert main(["eval", "nano", "--server", url, "--items", "1", "--task", "json"]) == 2
        thread.join()
    assert f"what answers at {url} does not speak HTTP" in capsys.readouterr().err


def test_a_model_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """An embedded one here; the question is asked of the engine itself."""
    name = nano.names()[0]
    ask = ["--items", "1", "--task", "persona", "--n-threads", "1", "--json"]
    assert main(["eval", name, *ask]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["questions"], report["options"]) == (name, 1, {})
    assert report["passes"] > 0
    assert main(["eval", f"{name}x", *ask]) == 2
    assert name in capsys.readouterr().err
