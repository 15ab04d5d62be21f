"""The command: what it prints, where, and with which exit code; on a terminal as well."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.cli import COMMANDS
from hoshikage.cli.inspect import COUNTS
from hoshikage.cli.placing import loading_rows
from hoshikage.cli.run import Show, options
from hoshikage.cli.screen import Screen, bar, human_size, meter, one_line, printable, width_of
from hoshikage.cli.watch import Watcher, around_first_mask, wrapped
from hoshikage.engine.request import KINDS, options_of
from hoshikage.engine.result import Snapshot
from hoshikage.settings import table
from tests.conftest import TinyModel
from tests.rawgguf import ARRAY, F32, STRING, Draft
from tests.tiny import CHAT_TEMPLATE
from tests.unit.conftest import Command

SHORT = ["--max-tokens", "6", "--steps", "3", "--n-threads", "1"]
COMMAND = [sys.executable, "-m", "hoshikage"]


@pytest.fixture
def model(tiny_model: TinyModel) -> str:
    return str(tiny_model("llada", chat_template=CHAT_TEMPLATE))


pytestmark = pytest.mark.usefixtures("nobody")


def test_an_answer_goes_to_standard_output_and_nothing_else_does(command: Command, model: str) -> None:
    done = command("run", model, "hello", *SHORT, "--seed", "1")
    assert done.code == 0
    assert done.err == ""
    assert done.out.endswith("\n")
    told = json.loads(command("run", model, "hello", *SHORT, "--seed", "1", "--json").out)
    assert told["text"] == done.out.removesuffix("\n")
    assert told["counts"]["n_passes"] == 3
    assert told["seed"] == 1


def n_prompt(command: Command, *words: str) -> int:
    counts: dict[str, int] = json.loads(command("run", *words, *SHORT, "--json").out)["counts"]
    return counts["n_prompt"]


def test_a_model_with_a_chat_format_is_asked_in_it(command: Command, model: str, tiny_model: TinyModel) -> None:
    message = n_prompt(command, model, "hello")
    assert message == n_prompt(command, model, "hello", "--chat") < n_prompt(command, model, "hello", "--system", "a")
    assert n_prompt(command, model, "hello", "--raw") == n_prompt(command, model, "hello", "--parse-special") < message
    plain = str(tiny_model("llada"))
    assert n_prompt(command, plain, "hello") == n_prompt(command, plain, "hello", "--raw") < message
    assert "the model file has no chat template" in command("run", plain, "hello", "--chat", *SHORT).err
    broken = str(tiny_model("llada", chat_template="{{ raise_exception('no') }}"))
    assert "say --raw" in command("run", broken, "hello", *SHORT).err
    assert command("run", broken, "hello", "--raw", *SHORT).code == 0


def test_every_way_of_asking(command: Command, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("run", model, "hello", "--chat", "--system", "be kind", *SHORT).code == 0
    assert command("run", model, "hello", "--suffix", "the end", *SHORT).code == 0
    assert command("run", model, "<|eot_id|>", "--parse-special", *SHORT).code == 0
    behind = command("run", model, *SHORT, "--seed", "1", "hello")
    assert behind.out == command("run", "--seed", "1", model, "hello", *SHORT).out
    assert all(command("run", model, *SHORT, *words).code == 0 for words in (["-5"], ["--", "--steps"]))
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    piped = command("run", model, "-", *SHORT, "--seed", "1")
    assert piped.out == command("run", model, "hello", *SHORT, "--seed", "1").out
    nothing = command("run", model, *SHORT)  # that input was read to its end
    assert nothing.code == 2 and "standard input is empty" in nothing.err
    assert command("run", model, "", *SHORT).code == 0


def test_flags_reach_the_request_and_warnings_are_said(command: Command, model: str) -> None:
    flags = ["--stop", "x", "--stop", "yy", "--logit-bias", "5=-inf,6=2", "--logit-bias", "7=1", "--no-early-stop"]
    done = command("run", model, "a", *SHORT, *flags, "--algorithm", "1", "--cfg-scale", "0.5", "--min-p", "0.1")
    assert done.code == 0
    assert done.err == "hoshikage: min_p has no effect on a masked model\n"


def test_settings_come_from_a_file_and_flags_win(command: Command, model: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DIFFUSION_STEPS=2\n", encoding="utf-8")
    assert (
        json.loads(command("run", model, "a", "--json", "--max-tokens", "6", "--n-threads", "1").out)["counts"][
            "n_passes"
        ]
        == 2
    )
    assert json.loads(command("run", model, "a", "--json", *SHORT).out)["counts"]["n_passes"] == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "MODEL", "a", "--step", "3"], "there is no --step, did you mean --steps?"),
        (["run", "MODEL", "a", "--max-tokns=3"], "there is no --max-tokns=3, did you mean --max-tokens?"),
        (["run", "MODEL", "two", "words"], "there is no place for 'words'; put a text of several words into quotes"),
        (["run", "MODEL", "a", "b", "--step"], "there is no --step, did you mean --steps?"),
        (["run", "MODEL", "--", "-x", "--max-tokens"], "there is no place for '--max-tokens'; flags stand before --"),
        (["run", "MODEL", "a", "--", "-x", "--seed"], "there is no place for '-x'; flags stand before --"),
        (["run", "MODEL", "--step", "--", "-x"], "there is no --step, did you mean --steps?"),
        (["list", "extra"], "there is no place for 'extra'; this command takes flags only"),
        (["completion", "tcsh"], "SHELL: there is no 'tcsh'\n"),
        (["completion", "fsh"], "SHELL: there is no 'fsh', did you mean fish?"),
        (["--port", "70000"], "--port: 70000 is out of range"),
        (["--prot", "80"], "hoshikage serve: there is no --prot, did you mean --port?"),
        (["--json", "rm"], "the following arguments are required: LABEL"),
        (["run", "MODEL", "\udcff"], "PROMPT: it is not UTF-8"),
        (["rnu", "MODEL"], "there is no command 'rnu', did you mean run?"),
        (["nano-ar", "hello"], "there is no command 'nano-ar'; a model answers with `hoshikage run MODEL PROMPT`"),
        (["eval", "nano-ar", "--items", "0"], "argument --items: 0 is out of range; use 1 to 1000000"),
        (["inspect", "nano-ar", "--ctx", "many"], "argument --ctx: 'many' is not a whole number; use 1 to 16777216"),
        (["run", "MODEL", "a", "--steps", "0"], "--steps: 0 is out of range; use 1 to 1048576"),
        (["run", "MODEL", "a", "--steps", "many"], "--steps: 'many' is not a whole number"),
        (["run", "MODEL", "a", "--temperature", "nan"], "--temperature: nan is out of range"),
        (["run", "MODEL", "a", "--algorithm", "entrophy"], "did you mean 'entropy'"),
        (["run", "MODEL", "a", "--logit-bias", "5"], "is not ID=BIAS"),
        (["run", "MODEL", "a", "--logit-bias", "999999=1"], "outside the vocabulary"),
        (["run", "MODEL", "a", "--n-ctx", "-1"], "--n-ctx: -1 is out of range"),
        (["run", "missing.gguf", "a", "--raw", "--system", "b"], "--system: only a chat has a system message"),
        (["run", "missing.gguf", "a", "--suffix", "c", "--system", "b"], "only a chat has a system message"),
        (["run", "missing.gguf", "a", "--chat", "--suffix", "b"], "--suffix: not allowed with argument --chat"),
        (["run", "missing.gguf", "a", "--raw", "--chat"], "--chat: not allowed with argument --raw"),
        (["run", "missing.gguf", "a", "--chat", "--parse-special"], "--parse-special: a chat's message is plain text"),
        (["run", "missing.gguf", "a"], "missing.gguf: there is no such file"),
        (["run", ".", "a"], "hoshikage: .: "),
        (["inspect", "missing.gguf"], "missing.gguf: there is no such file"),
        (["inspect"], "the following arguments are required: FILE"),
    ],
)
def test_what_cannot_be_met_is_one_sentence_and_code_2(
    command: Command, model: str, words: list[str], sentence: str
) -> None:
    done = command(*[model if word == "MODEL" else word for word in words])
    assert done.code == 2
    assert sentence in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_inspect_says_what_memory_it_takes(command: Command, model: str) -> None:
    memory = json.loads(command("inspect", model, "--json", "--ctx", "512").out)["memory"]
    more = json.loads(command("inspect", model, "--json", "--ctx", "8192").out)["memory"]
    parts = [n for part, n in memory.items() if part not in (*COUNTS, "total")]
    assert memory["total"] == sum(parts)
    assert [memory[name] for name in COUNTS] == [8, 512, 512, 4096]
    assert memory["second_context"] > 0
    assert memory["weights"] == more["weights"] and memory["cache"] < more["cache"]
    told = command("inspect", model, "--ctx", "4096").out
    assert "second context" in told
    assert "for 8 requests at once, of up to 4096 tokens (2048 under guidance), that share 5120 positions" in told
    alone = command("inspect", model, "--json", "--ctx", "512", "--n-seq", "1", "--flash-attn", "off").out
    assert json.loads(alone)["memory"]["cells"] == 512
    assert "for 1 request at once" in command("inspect", model, "--ctx", "512", "--n-seq", "1").out
    guided = json.loads(command("inspect", model, "--json", "--ctx", "4096", "--cfg-scale", "1").out)["memory"]
    assert (guided["guided_ctx"], guided["cells"]) == (4096, 9216)
    assert "guidance" not in command("inspect", "nano-ar", "--ctx", "512").out
    assert command("inspect", model, "--ctx", "0").code == 2


def test_what_a_file_calls_itself_forges_no_line(command: Command, tmp_path: Path) -> None:
    name = "a\nkind           causal\u2028\u202eb" + "x" * 1000
    draft = Draft(keys={"general.name": (STRING, name), "a\nb.key": (STRING, "c\nd")})
    draft.tensors.append(["e\nf", (32,), 0])
    (tmp_path / "odd.gguf").write_bytes(draft.bytes())
    lines = command("inspect", "odd.gguf", "--metadata", "--tensors").out.splitlines()
    assert sum(line.startswith("kind") for line in lines) == 1
    assert sum("a\\nkind" in line and "\\u2028\ufffdb" in line and len(line) < 130 for line in lines) == 2
    assert "  a\\nb.key = c\\nd" in lines
    assert "  e\\nf [32] f32" in lines


def test_what_inspect_prints_as_json_is_json(command: Command, tmp_path: Path) -> None:
    keys = {"a.nan": (F32, math.nan), "a.two": (ARRAY, F32, [-math.inf, 1.0])}
    (tmp_path / "odd.gguf").write_bytes(Draft(keys=keys).bytes())
    told = json.loads(command("inspect", "odd.gguf", "--json", "--metadata").out, parse_constant=pytest.fail)
    assert (told["metadata"]["a.nan"], told["metadata"]["a.two"]) == ("nan", ["-inf", 1.0])


def test_an_error_is_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a\nb").write_bytes(b"")
    assert command("inspect", "a\nb").err == "hoshikage: a\\nb: it is empty; download or convert it again\n"


def test_inspect_says_what_a_file_is(command: Command, model: str, tiny_model: TinyModel) -> None:
    facts = json.loads(command("inspect", model, "--json").out)
    assert (facts["architecture"], facts["kind"], facts["served_as"]) == ("llada", "masked", "llama")
    assert facts["vocabulary"] == 300
    text = command("inspect", model, "--metadata", "--tensors").out
    assert re.search(r"chat template +yes", text)
    assert "general.architecture = llada" in text
    assert "token_embd.weight [64, 300] f32" in text
    causal = command("inspect", str(tiny_model("llama")), "--json").out
    assert "mask_token" not in json.loads(causal)
    full = json.loads(command("inspect", model, "--json", "--metadata", "--tensors").out)
    assert full["metadata"]["tokenizer.ggml.tokens"] == "array of 300"


def test_help_names_every_command_and_every_option(command: Command) -> None:
    assert all(name in command("--help").out for name in COMMANDS)
    text = command("run", "--help").out
    known = {option.name for kind in KINDS.values() for option in options_of(kind)} | {
        row.name for row in table("finding", "loading", "request")
    }
    assert all("--" + name.replace("_", "-") in text for name in known)
    shown = [row.name for _, rows in options() for row in rows] + [row.name for row in loading_rows()]
    assert sorted(shown) == sorted(known)
    assert command("--version").out.startswith("hoshikage ")


# -- as a process, on a terminal


def on_terminal(
    *words: str, interrupt_at: bytes | None = None, out: io.BufferedIOBase | None = None, **variables: str
) -> tuple[int, str]:
    """Run the command on a terminal of its own, its output perhaps elsewhere; optionally press Ctrl-C once it has
    written something."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=out or theirs, stderr=theirs, start_new_session=True,
        env=os.environ | {"PYTHONUTF8": "1", "TERM": "xterm"} | variables,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # EIO: the other end is closed
            break
        if not chunk:
            break
        written += chunk
        if interrupt_at is not None and interrupt_at in written:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(ours)
    return process.wait(), written.decode()


def test_watching_draws_the_canvas_and_leaves_the_answer(model: str) -> None:
    code, written = on_terminal("run", model, "hello", "--watch", *SHORT, "--seed", "1")
    assert code == 0
    assert "loading" in written
    assert "░" in written
    assert "step 1/3" in written
    last = written.rpartition("\x1b[J")[2]
    plain = subprocess.run([*COMMAND, "run", model, "hello", *SHORT, "--seed", "1"], capture_output=True, check=True)
    assert printable(plain.stdout.decode()).strip() in last.replace("\r\n", "\n")
    assert "3 passes" in last


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_steps_are_counted_on_a_terminal_that_the_answer_does_not_go_to(
    model: str, tmp_path: Path, flags: list[str]
) -> None:
    words = ["run", model, "hello", *SHORT, "--seed", "1", *flags]
    with (tmp_path / "out").open("wb") as out:
        code, written = on_terminal(*words, out=out)
    assert code == 0
    assert ["step 1/3" in written, "step 2/3" in written, "step 3/3" in written] == [True, True, False]
    told = (tmp_path / "out").read_text(encoding="utf-8")
    piped = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True)
    assert piped.stderr == ""
    assert piped.stdout == told if not flags else json.loads(piped.stdout)["text"] == json.loads(told)["text"]
    remark = r"3 passes, \d+ rows, .*\n.*low_confidence, block schedule, blocks of 6, full plan"
    assert bool(re.search(remark, written)) == (not flags)


def test_steps_are_counted_until_the_first_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, terminal)
    monkeypatch.setenv("TERM", "xterm")
    show = Show(argparse.Namespace(model="m", json=False, watch=False))
    for step, delta in enumerate(("", "", "some", "", " text"), 1):
        show.event(Snapshot(index=0, delta=delta, step=step, n_steps=256))
    drawn, _, text = terminal.getvalue().rpartition("\x1b[J")
    assert (re.findall(r"step +\d+/256", drawn), text) == (["step   1/256", "step   2/256"], "some text")


def test_ctrl_c_ends_with_what_is_there_and_code_130(model: str) -> None:
    long = ["--max-tokens", "450", "--no-early-stop", "--logits-eos-inf", "--n-threads", "1", "--block-length", "1"]
    code, written = on_terminal("run", model, "hello", *long, "--watch", interrupt_at=b"step   3/")
    assert code == 130
    assert "cancelled" in written
    assert "Traceback" not in written
    assert "step 450/450" not in written


def test_a_reader_that_leaves_ends_the_command_quietly(model: str) -> None:
    long = ["--max-tokens", "300", "--no-early-stop", "--block-length", "1", "--n-threads", "1"]
    process = subprocess.Popen([*COMMAND, "run", model, "hello", *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 141)  # 0: the answer fitted into the pipe
    process.stderr.close()


@pytest.mark.parametrize(
    ("variable", "value", "colours", "drawings"),
    [("NO_COLOR", "", True, True), ("NO_COLOR", "1", False, True), ("TERM", "dumb", False, False)],
)
def test_a_terminal_gets_what_it_can_show(model: str, variable: str, value: str, colours: bool, drawings: bool) -> None:
    code, written = on_terminal("run", model, "hello", *SHORT, **{variable: value})
    assert code == 0
    assert ("\x1b[2m" in written) == colours
    assert ("\x1b[J" in written) == drawings


def test_the_output_may_be_full_or_closed(model: str) -> None:
    words = [*COMMAND, "run", model, "hello", *SHORT]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, "hoshikage: the output: No space left on device\n")
    for closed in ("<&-", ">&-", "2>&-"):
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
        done = subprocess.run(shell, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_is_utf_8_in_any_locale(model: str, locale: str) -> None:
    plain = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = [*COMMAND, "run", model, "--raw", *SHORT, "--seed", "1", "--json"]
    text = "h\u00e9llo \u4e16\u754c"
    told = [
        subprocess.run([*words, text], capture_output=True, check=True, env=os.environ | plain),
        subprocess.run(words, input=f"{text}\n".encode(), capture_output=True, check=True, env=os.environ | plain),
    ]
    assert [json.loads(done.stdout)["counts"]["n_prompt"] for done in told] == [13, 13]


def test_what_keeps_our_modules_from_loading_is_one_sentence(model: str) -> None:
    done = subprocess.run(
        [*COMMAND, "run", model, "a"], capture_output=True, text=True, check=False,
        env=os.environ | {"HOSHIKAGE_ISA": "mmx"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "HOSHIKAGE_ISA is 'mmx'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_level_that_is_none_is_one_sentence(model: str) -> None:
    for words in (["run", model, "a"], ["serve"]):
        done = subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, check=False, env=os.environ | {"HOSHIKAGE_LOG": "foo"}
        )
        said = "hoshikage: HOSHIKAGE_LOG: 'foo' is no level; use one of debug, info, warn, error, none\n"
        assert (done.returncode, done.stderr) == (2, said)


def test_a_checkout_that_is_not_built_says_so(tmp_path: Path, model: str) -> None:
    compiled = shutil.ignore_patterns("*.so", "*.so.*", "*.gguf", "__pycache__")
    shutil.copytree(Path(__file__).parents[2] / "hoshikage", tmp_path / "hoshikage", ignore=compiled)
    for words in (["run", model, "a"], ["serve"]):
        done = subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, check=False,
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("hoshikage: hoshikage is not built here: `make build`")
        assert done.stderr.count("\n") == 1


def python(program: str, **pipes: Any) -> subprocess.CompletedProcess[str]:
    """What a process of its own does with a few lines."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = [sys.executable, "-c", program]
    return subprocess.run(words, text=True, stderr=subprocess.PIPE, check=False, env=usual, **pipes)


def test_ctrl_c_while_modules_are_imported_is_an_end_as_later() -> None:
    interrupted = (
        "import runpy, sys\n"
        "class Impatient:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'argparse': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Impatient)\n"
        "sys.argv[1:] = ['config']\n"
        "runpy.run_module('hoshikage', run_name='__main__')"
    )
    done = python(interrupted)
    assert (done.returncode, done.stderr) == (130, "")


FAILS_LATE = (
    "from hoshikage.cli import config, main\n"
    "def fail(arguments):\n"
    "    print('the result')\n"
    "    raise FileNotFoundError(2, 'No such file or directory', 'x.svg')\n"
    "config.main = fail\n"
    "raise SystemExit(main(['config']))"
)


def test_what_fails_late_keeps_what_was_printed() -> None:
    done = python(FAILS_LATE, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "the result\n")
    assert done.stderr == "hoshikage: x.svg: No such file or directory\n"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = python(FAILS_LATE, stdout=full)
    assert (done.returncode, done.stderr) == (2, "hoshikage: x.svg: No such file or directory\n")


# -- drawing


@given(st.text(st.characters()))
def test_nothing_printed_can_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert all(new == old for new, old in zip(shown, text, strict=True) if old >= " " and old.isprintable())
    assert len(f"{one_line(text)}.".splitlines()) == 1


def test_widths_are_columns() -> None:
    assert width_of("aé世👍") == 6
    assert width_of("e\u0301") == 1
    assert len(bar(0)) == len(bar(0.513)) == len(bar(1)) == 24
    assert bar(1) == "█" * 24
    assert [human_size(n) for n in (5, 2048, 3 << 20, 5 << 30)] == ["5 bytes", "2 KiB", "3 MiB", "5 GiB"]


@given(st.lists(st.none() | st.text("ab世\n\t", max_size=3), max_size=40), st.integers(4, 12), st.integers(1, 6))
def test_a_drawing_fits_its_window_and_shows_the_first_mask(
    cells: list[str | None], n_columns: int, n_lines: int
) -> None:
    rows = wrapped(cells, n_columns)
    assert all(width_of("".join(text for _, text in row)) <= n_columns for row in rows)
    expected = "".join("░" if cell is None else cell for cell in cells).replace("\t", "    ").replace("\n", "")
    assert "".join(text for row in rows for _, text in row) == expected
    window = around_first_mask(rows, cells, n_lines)
    assert len(window) == min(len(rows), n_lines)
    if None in cells:
        assert any(position == cells.index(None) for row in window for position, _ in row)


@given(st.floats(0, 1), st.text("ab世 ", max_size=30), st.integers(10, 90))
def test_a_meter_fits_its_line(fraction: float, text: str, n_columns: int) -> None:
    line = meter(fraction, text, n_columns)
    assert width_of(line) <= n_columns
    assert text in line or (line.endswith("…") and text.startswith(line[:-1]))
    assert width_of(line) >= min(n_columns - 1, width_of(text))


def test_a_token_without_text_keeps_its_place() -> None:
    out = io.StringIO()
    watcher = Watcher(Screen(out))
    watcher.show(Snapshot(index=0, delta="", step=1, n_steps=3, tokens=(5, 9, None), pieces=(b"a", b"", None)))
    assert re.sub("\x1b[^a-zA-Z]*[a-zA-Z]", "", out.getvalue()).split("\n")[1] == "a·░"


def test_a_drawing_is_replaced_in_place_and_taken_away() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.draw(["one", "two"])
    screen.draw(["three"])
    screen.clear()
    screen.clear()
    assert out.getvalue() == "\rone\x1b[K\ntwo\x1b[K\n\x1b[J\x1b[2A\rthree\x1b[K\n\x1b[J\x1b[1A\r\x1b[J"
