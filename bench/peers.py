"""llama.cpp's own programs, built from the same pin: what a bench compares with."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
TRIES = 5


def program(name: str) -> Path:
    """Builds the program if need be (minutes, the first time)."""
    told = subprocess.run(
        [sys.executable, ROOT / "llama.cpp", "programs", name], check=True, capture_output=True, text=True, cwd=ROOT
    )
    found = re.search(r"the programs are in (.+)", told.stdout + told.stderr)
    if found is None:
        raise RuntimeError(f"no folder of programs in: {told.stdout}{told.stderr}")
    return ROOT / found[1].strip() / name


def diffusion_command(
    model: Path, n_positions: int, n_steps: int, n_threads: int, *more: str, prompt: str = "hello"
) -> list[str | Path]:
    """llama-diffusion-cli over a canvas of so many positions; `more` names at least its schedule.

    Its sampling is left as it comes (the 40 likeliest, of them 95 %, temperature 0.8) unless `more` says otherwise.
    """
    return [
        program("llama-diffusion-cli"), "-m", model, "-p", prompt, "--no-escape", "--no-log-prefix",
        "-ub", str(n_positions), "-b", str(n_positions), "-c", str(n_positions), "-t", str(n_threads),
        "-tb", str(n_threads), "--diffusion-steps", str(n_steps), *more,
    ]  # fmt: skip


def in_blocks(length: int, algorithm: int = 4) -> tuple[str, ...]:
    """Its schedule of blocks, by confidence unless another of its algorithms is named."""
    return "--diffusion-block-length", str(length), "--diffusion-algorithm", str(algorithm)


def diffusion_cli(
    model: Path, n_positions: int, block_length: int, n_steps: int, n_threads: int, *more: str
) -> tuple[float, float]:
    """Seconds per step of llama-diffusion-cli, and the part of them that it spends on sampling."""
    done = subprocess.run(
        diffusion_command(model, n_positions, n_steps, n_threads, *in_blocks(block_length), *more),
        check=False, capture_output=True, text=True, errors="replace",  # random weights write no text
    )  # fmt: skip
    found = re.search(r"time per step: ([\d.]+)ms, sampling time per step: ([\d.]+)ms", done.stdout + done.stderr)
    if found is None:
        raise RuntimeError(f"llama-diffusion-cli ended with {done.returncode}: {done.stderr[-500:]}")
    return float(found[1]) / 1000, float(found[2]) / 1000


def diffusion_answer(
    model: Path, n_positions: int, n_steps: int, n_threads: int, *more: str, prompt: str
) -> tuple[str, float]:
    """What llama-diffusion-cli answers, which is the canvas behind the prompt without special tokens, and its seconds.

    Tried again where it says nothing: a thread writes for it, and on a busy machine the program ends before that does.
    """
    command = diffusion_command(model, n_positions, n_steps, n_threads, *more, prompt=prompt)
    for _ in range(TRIES):
        done = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
        told = re.search(r"total time: ([\d.]+)ms.*?\n(.*)\Z", done.stderr, re.DOTALL)
        if told is not None:
            return told[2].strip(), float(told[1]) / 1000
    raise RuntimeError(f"llama-diffusion-cli said no time: {done.stderr[-500:]}")


def diffusion_cli_passes(
    model: Path,
    n_positions: int,
    block_length: int,
    n_passes: int,
    n_threads: int,
    *more: str,
    prompt: str,
    first: int = 0,
) -> float:
    """Seconds per pass of so many of llama-diffusion-cli at one token a pass, from the `first` on; then it is ended.

    It reports each step before its pass, loading is over with the first of them. Its blocks are reckoned over the whole
    canvas, the prompt included, so that as many steps as positions are one for each token of a block.
    """
    command = diffusion_command(
        model, n_positions, n_positions, n_threads, *in_blocks(block_length), *more, prompt=prompt
    )
    said, began = b"", 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr is not None
        try:
            while piece := process.stderr.read(4096):
                now = perf_counter()
                said += piece
                began = began or (now if b"diffusion step: %d/" % first in said else 0.0)
                if b"diffusion step: %d/" % (first + n_passes) in said:
                    return (now - began) / n_passes
        finally:
            process.kill()
    last = said[-500:].decode(errors="replace")
    raise RuntimeError(f"llama-diffusion-cli ended before pass {first + n_passes}: {last}")


def llama_bench(model: Path, n_tokens: int, n_threads: int) -> float:
    """Tokens per second that llama-bench generates."""
    done = subprocess.run(
        [
            program("llama-bench"), "-m", model, "-p", "0", "-n", str(n_tokens), "-r", "1", "-t", str(n_threads),
            "-o", "json",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(json.loads(done.stdout)[0]["avg_ts"])


def batched_bench(model: Path, n_prompt: int, n_tokens: int, n_at_once: int, n_threads: int) -> float:
    """Tokens per second of so many sequences side by side, their prompts included, by llama-batched-bench.

    It decodes and does nothing else: no sampling, no text, no client.
    """
    command = [
        program("llama-batched-bench"), "-m", model, "-npp", str(n_prompt), "-ntg", str(n_tokens), "-npl",
        str(n_at_once), "-t", str(n_threads), "-tb", str(n_threads), "-c", str(n_at_once * (n_prompt + n_tokens)),
        "--output-format", "jsonl",
    ]  # fmt: skip
    for _ in range(9):  # one run in seven of a model as quick as nano-ar ends before its line is written
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        if told := re.search(r"\{.*\}", done.stdout):
            return n_at_once * n_tokens / float(json.loads(told[0])["t"])
    raise RuntimeError(f"llama-batched-bench told nothing: {done.stdout[-500:]}{done.stderr[-500:]}")


@contextmanager
def llama_server(model: Path, n_threads: int, n_slots: int, n_ctx: int, log: Path) -> Iterator[str]:
    """The address of a llama-server that is on its way; each of its slots has room for `n_ctx` tokens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [
        program("llama-server"), "-m", model, "--host", "127.0.0.1", "--port", str(port), "-t", str(n_threads),
        "-tb", str(n_threads), "-np", str(n_slots), "-c", str(n_slots * n_ctx),
    ]  # fmt: skip
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
