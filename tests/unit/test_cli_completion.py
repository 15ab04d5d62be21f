"""`hoshikage completion`: what could come next, and that shells understand it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.cli import COMMANDS, main, parser_of
from hoshikage.cli.completion import FILES, SHELLS, candidates, joined
from tests.house import ROOT
from tests.rawgguf import Draft


@pytest.fixture(autouse=True)
def home(nobody: Path) -> Path:
    """A person with one registered model, whose label a shell could misread, and one file."""
    (nobody / "weights.gguf").write_bytes(Draft().bytes())
    assert main(["add", "weights.gguf", "big:7b"]) == 0
    return nobody


def after(*words: str) -> list[str]:
    return [word for word, _ in candidates(list(words))]


def test_commands_flags_values_labels_and_files() -> None:
    assert after("st") == ["status", "stop"]
    assert after("") == [*COMMANDS, "--help", "--version"]
    assert after("run", "--sched") == ["--schedule"]
    assert after("run", "--schedule", "t") == ["timestep"] and "block" in after("run", "--schedule", "")
    assert after("run", "--schedule=b") == ["--schedule=block"]
    assert after("run", "--schedule", "=", "b") == ["--schedule=block"], "as bash takes it apart"
    assert {"big:7b", FILES} <= set(after("run", ""))
    assert after("run", "--seed", "1", "big") == ["big:7b", FILES], "the value of a flag is no word of its own"
    assert after("rm", "b") == ["big:7b"] == after("stop", "big:") == after("show", "--json", "b")
    assert after("rm", "big:7b", "") == []
    assert after("add", "") == [FILES]
    assert after("serve", "--log-file", "") == [FILES]
    assert after("completion", "") == list(SHELLS)
    assert after("nonsense", "") == after("run", "--nonsense=") == []


def test_a_map_that_cannot_be_read_completes_no_labels(home: Path) -> None:
    (home / "config" / "hoshikage" / "model_map.json").write_text("{")
    assert "big:7b" not in after("rm", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_every_command_is_offered_with_its_meaning(command: str) -> None:
    flags = [flag for action in parser_of(command)._actions for flag in action.option_strings if flag[:2] == "--"]
    offered = dict(candidates([command, "--"]))
    assert list(offered) == flags
    assert all(offered.values())


WORDS = st.sampled_from(["--", "-", "", "=", "--json", "--seed", "--seed=", "--schedule", "x", "a b", *COMMANDS])


@given(st.lists(WORDS | st.text(max_size=8), max_size=6))
def test_whatever_was_typed_is_continued_or_nothing_is_offered(words: list[str]) -> None:
    typed = (joined(words) or [""])[-1]
    for word, _ in candidates(words):
        assert word == FILES or word.startswith(typed)


def test_no_flag_takes_an_unknown_number_of_values() -> None:
    """The place of a word is found by counting, which needs flags with one value or none."""
    for command in COMMANDS:
        for action in parser_of(command)._actions:
            assert action.nargs in (None, 0) if action.option_strings else action.nargs in (None, "?", "*"), action
            assert not isinstance(action, argparse._SubParsersAction)


# -- in the shells themselves

# Each prints, line by line, what it would offer for the words in $typed.
BASH = """
source <("$PYTHON" -m hoshikage completion bash)
compopt() { :; }
COMP_LINE=$typed COMP_POINT=${#typed}
COMP_WORDS=($split); [[ $typed == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_hoshikage
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = """
"$PYTHON" -m hoshikage completion fish | source
complete -C "$typed" | string split -f 1 \\t
"""
# zsh completes in an editor only, so its two builtins that show candidates are watched.
ZSH = """
compdef() { :; }
source <("$PYTHON" -m hoshikage completion zsh)
compset() { :; }
_files() { print -l weights.gguf }
_describe() { print -rl -- ${(P)2} | sed -E 's/([^\\\\]):.*/\\1/; s/\\\\:/:/g' }
words=(${(z)typed}); [[ $typed == *" " ]] && words+=("")
CURRENT=$#words
_hoshikage
"""
PROGRAMS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def offered(shell: str, typed: str, split: str, home: Path) -> list[str]:
    """What a real shell offers, with `hoshikage` as a command of its path."""
    if (program := shutil.which(shell)) is None:
        pytest.skip(f"no {shell} here")
    command = home / "bin" / "hoshikage"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hoshikage "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "HOME": str(home)}
    done = subprocess.run(
        [program, "-c", PROGRAMS[shell]], cwd=home, env={**environment, "typed": typed, "split": split},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_offer_it(shell: str, home: Path) -> None:
    assert offered(shell, "hoshikage st", "hoshikage st", home) == ["status", "stop"]
    assert offered(shell, "hoshikage run --schedule b", "hoshikage run --schedule b", home) == ["block"]
    assert "weights.gguf" in offered(shell, "hoshikage inspect w", "hoshikage inspect w", home)


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_survive_colons(shell: str, home: Path) -> None:
    """bash cuts words at them and replaces only what is behind the last one."""
    expected = ["7b"] if shell == "bash" else ["big:7b"]
    assert offered(shell, "hoshikage rm big:7", "hoshikage rm big : 7", home) == expected
