"""`hoshikage add`, `rm`, `list`, `show`, and the names that `run` and `inspect` take."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hoshikage.cli.eval_ as eval_command
import hoshikage.cli.run as run_command
from hoshikage import nano
from hoshikage.cli.models import in_columns
from hoshikage.cli.screen import width_of
from hoshikage.errors import ParameterError
from hoshikage.registry.entry import DEFAULT_STOP
from tests.conftest import TinyModel
from tests.rawgguf import Draft, of
from tests.tiny import Shape, write
from tests.tiny.writer import write_parts
from tests.unit.conftest import Command

COMMAND = [sys.executable, "-m", "hoshikage"]


@pytest.fixture(autouse=True)
def home(nobody: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without settings, and a package with one embedded model."""
    monkeypatch.setenv("PORT", "1")  # where no server is that would be told
    folder = tmp_path_factory.mktemp("nano")
    (folder / "nano-llada.gguf").write_bytes(Draft().bytes())
    monkeypatch.setattr(nano, "HERE", folder)
    return nobody


@pytest.fixture
def map_file(home: Path) -> Path:
    return home / "config" / "hoshikage" / "model_map.json"


@pytest.fixture
def model(home: Path) -> Path:
    path = home / "models" / "llada.gguf"
    path.parent.mkdir()
    path.write_bytes(Draft().bytes())
    return path


def test_a_model_gets_a_name_and_loses_it(command: Command, model: Path, map_file: Path) -> None:
    added = command("add", "models/llada.gguf", "mine", "###", "User:", "--n-ctx", "64")
    size = f"{model.stat().st_size / 1024:.4g} KiB"
    assert added == (0, f"mine: masked, llada, {size}, 128 tokens of context, {model}\n", "")
    assert json.loads(map_file.read_text(encoding="utf-8")) == {
        "mine": {"path": str(model.parent), "model": "llada.gguf", "stop": ["###", "User:"], "n_ctx": 64}
    }
    assert "mine" in command("list").out
    assert command("rm", "mine") == (0, "mine is forgotten; its file stays\n", "")
    assert "mine" not in command("list").out
    assert model.exists()


def test_stop_words_may_stand_behind_flags(command: Command, model: Path) -> None:
    command("add", str(model), "mine", "###", "--n-ctx", "64", "User:", "--replace", "--", "--")
    assert json.loads(command("show", "mine", "--json").out)["stop"] == ["###", "User:", "--", *DEFAULT_STOP]


def test_the_list_reads_well(command: Command, model: Path, map_file: Path) -> None:
    command("add", str(model), "星影", "終")
    command("add", str(model), "gone")
    entries = json.loads(map_file.read_text(encoding="utf-8"))
    entries["gone"]["model"] = "no\x1b[2J\n.gguf"
    entries["odd"] = {"n_ctx": 5}
    map_file.write_text(json.dumps(entries))
    listed = command("list")
    lines = listed.out.splitlines()
    assert (listed.code, len(lines)) == (0, 5)
    assert lines[0].split() == ["LABEL", "KIND", "ARCHITECTURE", "SIZE", "CONTEXT", "FILE"]
    assert lines[1].split()[:3] == ["nano-llada", "masked", "llada"]
    assert lines[1].endswith("comes with hoshikage")
    assert lines[2].startswith("星影        masked")
    assert "there is no such file; check the path" in lines[3]
    assert "path: is missing" in lines[4]
    assert "\x1b" not in listed.out
    told = json.loads(command("list", "--json").out)
    assert [line["label"] for line in told] == ["nano-llada", "星影", "gone", "odd"]
    assert set(told[1]) == {"label", "origin", "file", "kind", "architecture", "bytes", "context"}
    assert set(told[3]) == {"label", "origin", "problem"}


def test_columns_are_as_wide_as_what_is_seen() -> None:
    text = in_columns([["a", "b", "long"], ["世界", "c", "d"], ["x", "a problem with many words"]])
    assert text.splitlines() == ["a     b  long", "世界  c  d", "x     a problem with many words"]
    assert width_of("世界  ") == len("a     ")
    assert in_columns([]) == ""


def test_a_list_without_models(command: Command, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(nano, "HERE", home)
    listed = command("list")
    assert (listed.code, listed.out) == (0, "")
    assert "hoshikage add" in listed.err
    assert command("list", "--json").out == "[]\n"


def test_a_folder_of_models(command: Command, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model.parent / "-rf.gguf").write_bytes(b"")
    listed = command("list", "--model-dir", str(model.parent))
    assert listed.out.splitlines()[2].split()[:2] == ["llada", "masked"]
    assert "'-rf.gguf' in MODEL_DIR is left out" in listed.err
    assert "llada" not in command("list").out.splitlines()[-1].split()[0:1]
    monkeypatch.setenv("MODEL_DIR", "models")
    assert json.loads(command("show", "llada", "--json").out)["file"] == str(model)
    assert command("rm", "llada").code == 2


def test_everything_about_one_model(command: Command, model: Path, map_file: Path) -> None:
    command("add", str(model), "mine", "a\nb", "--n-ctx", "64", "--repetition-penalty", "1.5")
    entries = json.loads(map_file.read_text(encoding="utf-8"))
    entries["mine"]["note"] = {"by": "me"}
    map_file.write_text(json.dumps(entries))
    told = json.loads(command("show", "mine", "--json").out)
    assert (told["label"], told["architecture"], told["layers"]) == ("mine", "llada", 1)
    assert told["settings"] == {"n_ctx": 64, "repetition_penalty": 1.5}
    assert told["other"] == {"note": {"by": "me"}}
    shown = command("show", "mine").out
    for line in (
        "layers         1",
        "--n-ctx        64",
        "--repetition-penalty 1.5",
        'stop           "a\\nb" "<|im_start|>"',
    ):
        assert line in shown
    assert '{"by": "me"} (kept, means nothing here)' in shown
    model.unlink()
    assert "there is no such file" in command("show", "mine").out
    assert "there is no such file" in json.loads(command("show", "mine", "--json").out)["problem"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "Mien"], "there is no model 'Mien', did you mean 'mine'?; `hoshikage list` names them all"),
        (["rm", "mien"], "did you mean 'mine'?"),
        (["rm", "nano-llada"], "is embedded and always there"),
        (["run", "mien", "hello"], "there is no model 'mien', did you mean 'mine'?"),
        (["inspect", "mien"], "did you mean 'mine'?"),
        (["inspect", "none.gguf"], "none.gguf: there is no such file"),
        (["add", "none.gguf", "x"], "none.gguf: there is no such file; check the path"),
        (["add", ".", "x"], "it is a folder; give the path of a .gguf file"),
        (["add", "models/llada.gguf", "mine"], "'mine' is taken; choose another label, or say --replace"),
        (["add", "models/llada.gguf", "../x"], "a name is never a path"),
        (["add", "models/llada.gguf", "nano-llada"], "is an embedded model; choose another label"),
        (["add", "models/llada.gguf", "x", "--n-ctx", "-1"], "--n-ctx: -1 is out of range"),
        (["add", "models/llada.gguf", "x", "--n-ctxx", "1"], "did you mean --n-ctx?"),
        (["add", "models/llada.gguf", "x", ""], "a string is empty"),
        (["add", "models/llada.gguf"], "the following arguments are required: LABEL"),
        (["show", "mine", "--model-map-file", "models"], "it is not a regular file); look at what is there, or set"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_code_2(
    command: Command, model: Path, words: list[str], sentence: str
) -> None:
    command("add", str(model), "mine", "###")
    done = command(*words)
    assert done.code == 2
    assert sentence in done.err
    assert done.out == ""


def test_a_broken_map_is_only_set_aside_when_a_person_says_so(command: Command, model: Path, map_file: Path) -> None:
    map_file.parent.mkdir(parents=True)
    map_file.write_text('{\n  "mine": {},\n')
    listed = command("list")
    assert (listed.code, len(listed.out.splitlines())) == (0, 2), "the embedded one"
    assert "line 3, column 1" in listed.err
    for words in (["show", "mine"], ["rm", "mine"], ["add", str(model), "x"]):
        done = command(*words)
        assert (done.code, done.out) == (2, "")
        assert "line 3, column 1" in done.err
        assert "hoshikage add --set-aside" in done.err
    assert command("show", "nano-llada").code == 0
    assert command("inspect", str(model)).code == 0
    assert map_file.read_text() == '{\n  "mine": {},\n'
    assert command("add", str(model), "x", "--set-aside").code == 0
    assert map_file.with_name("model_map.json.broken").read_text() == '{\n  "mine": {},\n'
    assert [line["label"] for line in json.loads(command("list", "--json").out)] == ["nano-llada", "x"]


def test_a_file_whose_name_begins_like_somebodys_home_folder(command: Command, model: Path) -> None:
    model.with_name("~backup.gguf").write_bytes(model.read_bytes())
    os.chdir(model.parent)
    assert command("add", "~backup.gguf", "mine").out.endswith("/~backup.gguf\n")
    assert command("inspect", "~backup.gguf").code == 0
    assert nano.resolve("~backup.gguf") == Path("~backup.gguf")


def test_inspect_takes_a_name(command: Command, model: Path) -> None:
    causal = model.with_name("causal.gguf")
    causal.write_bytes(of("llama").bytes())
    command("add", str(causal), "mine")
    assert json.loads(command("inspect", "mine", "--json").out)["file"] == str(causal)
    (model.parent.parent / "mine").write_bytes(model.read_bytes())  # a file is meant before a name
    assert json.loads(command("inspect", "mine", "--json").out)["kind"] == "masked"


def test_inspect_is_told_what_the_file_does_not_say(
    command: Command, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tiny_model("qwen3", mask_text="<|MASK|>"))
    assert json.loads(command("inspect", path, "--json").out)["kind"] == "unknown"
    said = ("--kind", "block", "--block-length", "4", "--mask-token", "<|MASK|>")
    told = json.loads(command("inspect", path, *said, "--json", "--ctx", "512").out)
    assert (told["kind"], told["block_length"], told["mask_token"]) == ("block", 4, 299)
    assert told["memory"]["total"] > 0
    command("add", path, "mine", *said)
    monkeypatch.setenv("HOSHIKAGE_KIND", "causal")
    assert json.loads(command("inspect", path, "--json").out)["kind"] == "causal"
    assert json.loads(command("inspect", "mine", "--json").out)["kind"] == "block"
    assert json.loads(command("inspect", "mine", "--json", "--kind", "masked").out)["kind"] == "masked"


def test_an_entry_that_contradicts_its_file_is_told_of(command: Command, model: Path, map_file: Path) -> None:
    command("add", str(model), "mine")
    entries = json.loads(map_file.read_text(encoding="utf-8"))
    entries["mine"]["kind"] = "causal"
    map_file.write_text(json.dumps(entries))
    for asked in ("show", "inspect"):
        told = json.loads(command(asked, "mine", "--json").out)
        assert (told["label"], told["kind"], told["architecture"]) == ("mine", "unknown", "llada")
        assert told["file"] == str(model)
        assert told["problem"] == "kind: the file is a llada model, which is masked; leave it out, or say masked"
    assert command("inspect", "mine", "--ctx", "512").err.startswith(f"hoshikage: {model}: kind: the file is a llada")


def test_a_model_in_parts_is_told_of_as_a_whole(command: Command, home: Path) -> None:
    write(home / "whole.gguf", Shape("llada"))
    parts = write_parts(home / "big.gguf", Shape("llada"))
    command("add", str(parts[0]), "mine")
    whole = json.loads(command("inspect", "whole.gguf", "--json", "--tensors").out)
    for told in (command("inspect", str(parts[0]), "--json", "--tensors"), command("show", "mine", "--json")):
        facts = json.loads(told.out)
        assert (facts["parts"], facts["parameters"], facts["types"]) == (3, whole["parameters"], whole["types"])
        assert facts["bytes"] == sum(part.stat().st_size for part in parts)
        assert facts.get("tensors", whole["tensors"]) == whole["tensors"]


def test_run_takes_a_name_with_its_settings_and_stop_words(
    command: Command, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_model("llada")
    command("add", str(path), "mine", "###", "--n-threads", "1", "--n-ctx", "128", "--steps", "3")
    started: list[Any] = []
    real = run_command.work

    def work(path: Path, arguments: Any, prompt: str, given: dict[str, object], settings: Any, *rest: Any) -> None:
        started.append((path, given.get("stop"), settings.n_ctx))
        real(path, arguments, prompt, given, settings, *rest)

    monkeypatch.setattr(run_command, "work", work)
    told = command("run", "mine", "hello", "--max-tokens", "6", "--json", "--stop", "!", "--seed", "1")
    assert json.loads(told.out)["counts"]["n_passes"] == 3
    monkeypatch.setenv("N_CTX", "300")
    command("run", "mine", "hello", "--max-tokens", "6", "--seed", "1")
    assert command("run", "mine", "hello", "--max-tokens", "6", "--n-ctx", "200", "--seed", "1").code == 0
    assert command("run", str(path), "hello", "--max-tokens", "6", "--steps", "3", "--seed", "1").code == 0
    assert started == [
        (path, ("!", "###", *DEFAULT_STOP), 128),
        (path, ("###", *DEFAULT_STOP), 128),
        (path, ("###", *DEFAULT_STOP), 200),
        (path, (), 300),
    ]


def test_eval_ends_an_answer_at_the_models_own_stop_words_as_well(
    command: Command, tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def subject(_: Any, name: str, options: Any) -> Any:
        told.append((name, options["stop"]))
        raise ParameterError(name, "that was all", "look at it")

    monkeypatch.setattr(eval_command, "ModelFile", subject)
    command("add", str(tiny_model("llada")), "mine", "###")
    for flags in ([], ["--stop", "!"]):
        assert command("eval", "mine", "--items", "1", *flags).code == 2
    assert told == [("mine", ("###", *DEFAULT_STOP)), ("mine", ("!", "###", *DEFAULT_STOP))]


def test_the_manual_works_line_by_line(
    command: Command, tiny_model: TinyModel, home: Path, map_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (home / "models").mkdir()
    (home / "models" / "llada-8b.gguf").symlink_to(tiny_model("llada"))
    monkeypatch.setenv("HOSHIKAGE_THREADS", "1")
    lines = re.findall("^hoshikage .*$", page.split("```")[1], re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        done = command(*shlex.split(line)[1:])
        assert (done.code, done.err) == (0, ""), line
        assert done.out
        if " add " in line:
            shown = json.loads(re.findall("^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0])
            shown["llada"]["path"] = str(home / "models")
            assert json.loads(map_file.read_text(encoding="utf-8")) == shown
    assert all(word.replace("|", "\\|") in page for word in DEFAULT_STOP)


def test_many_commands_at_once_lose_nothing(command: Command, model: Path, map_file: Path) -> None:
    command("add", str(model), "old")
    adding = [subprocess.Popen([*COMMAND, "add", str(model), f"m{i}"], stdout=subprocess.DEVNULL) for i in range(4)]
    adding.append(subprocess.Popen([*COMMAND, "rm", "old"], stdout=subprocess.DEVNULL))
    assert [process.wait() for process in adding] == [0] * 5
    assert sorted(json.loads(map_file.read_text(encoding="utf-8"))) == [f"m{i}" for i in range(4)]


@pytest.mark.usefixtures("model")
def test_names_load_no_library_and_no_compiled_module() -> None:
    program = (
        "import sys; from hoshikage.cli import main; main(['add', 'models/llada.gguf', 'x']); main(['list'])\n"
        "main(['show', 'x']); main(['rm', 'x'])\n"
        "print(*sorted(n for n, m in sys.modules.items() if n.startswith('hoshikage')"
        " and str(getattr(m, '__file__', '')).endswith('.so')), sep='\\n', file=sys.stderr)\n"
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if 'libllama' in line}, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert "x: masked" in done.stdout
    assert done.stderr.split() == []
