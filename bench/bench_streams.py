"""How many tokens a second come out of the server, next to llama-server from the same pin on the same file?

    pytest bench/bench_streams.py -s

1, 4 and 8 clients stream at once over HTTP, the same token ids to either, greedily; both servers are there all the
time and take turns. All tokens of all clients count, from the first request to the last answer's end; medians.
`BENCH_THREADS=1` is for a machine that has something else to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytest

from bench.peers import llama_server
from bench.results import record
from bench.shapes import LLADA_SMALL_CAUSAL, model
from hoshikage._context import usable_cores
from hoshikage.nano import resolve
from tests.server.client import Client, until

COMMAND = "pytest bench/bench_streams.py -s"
N_THREADS = int(os.environ.get("BENCH_THREADS", "0")) or usable_cores()
N_TOKENS, N_ROUNDS, N_SLOTS, N_CTX = 48, 3, 8, 512
N_PROMPT = 16  # different ones, so that nothing is remembered
CLIENTS = (1, 4, 8)
ASKED = 0.9


@contextmanager
def ours(path: Path, folder: Path) -> Iterator[Client]:
    """`hoshikage serve`, as people start it."""
    entry = {"model": {"path": str(path.parent), "model": path.name}}
    (folder / "model_map.json").write_text(json.dumps(entry))
    settings = {
        "HOME": folder, "XDG_CONFIG_HOME": folder, "HOSHIKAGE_CONFIG_PATH": "", "PORT": 0, "N_CTX": N_CTX,
        "MODEL_MAP_FILE": folder / "model_map.json", "HOSHIKAGE_BATCH": N_SLOTS, "HOSHIKAGE_THREADS": N_THREADS,
        "HOSHIKAGE_THREADS_BATCH": N_THREADS, "STAGING": "off",
    }  # fmt: skip
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "hoshikage", "serve"], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        url = next(line for line in process.stderr if " at http" in line).split()[-1]
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield Client(url)
        finally:
            process.terminate()


@contextmanager
def theirs(path: Path, folder: Path) -> Iterator[Client]:
    """llama-server, with as many slots, threads and tokens."""
    with llama_server(path, N_THREADS, N_SLOTS, N_CTX, folder / "llama-server.log") as url:
        client = Client(url)

        def ready() -> bool:
            with suppress(OSError):
                return client.get("/health").status == 200
            return False

        until(ready, "llama-server has its model", 120)
        yield client


def streamed(client: Client, prompt: list[int]) -> int:
    """Asks for a stream, and reads it; the tokens that came."""
    options = {"temperature": 0, "repeat_penalty": 1.0, "stream_options": {"include_usage": True}}
    body: dict[str, Any] = {"model": "model", "prompt": prompt, "max_tokens": N_TOKENS, "stream": True, **options}
    answer = client.post("/v1/completions", body)
    assert answer.status == 200, answer.body
    usage = [event["usage"] for event in answer.events if event != "[DONE]" and event.get("usage")]
    return int(usage[-1]["completion_tokens"])


def tokens_per_second(client: Client, n_clients: int, salt: int) -> float:
    """Of all clients together."""
    counts: list[int] = []
    prompts = [[5 + (salt * 977 + i * 131 + k * 17) % 250 for k in range(N_PROMPT)] for i in range(n_clients)]
    threads = [threading.Thread(target=lambda p=prompt: counts.append(streamed(client, p))) for prompt in prompts]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - start
    assert counts == [N_TOKENS] * n_clients, f"{counts} tokens, and {N_TOKENS} were asked of each"
    return sum(counts) / seconds


def compared(path: Path, folder: Path, n_rounds: int) -> dict[int, tuple[float, float]]:
    """(ours, theirs) by the number of clients."""
    rates: dict[int, list[tuple[float, float]]] = {n: [] for n in CLIENTS}
    with ours(path, folder) as here, theirs(path, folder) as there:
        for client in (here, there):
            tokens_per_second(client, N_SLOTS, 0)  # both have loaded, and have met as many
        for i in range(n_rounds):
            for n in CLIENTS:
                salt = 1 + i * len(CLIENTS) + n
                rates[n].append((tokens_per_second(here, n, salt), tokens_per_second(there, n, salt)))
                print(f"{n} clients: ours {rates[n][-1][0]:.1f}, llama-server {rates[n][-1][1]:.1f} tokens a second")
    return {n: (median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)) for n, pairs in rates.items()}


@pytest.mark.parametrize("name", ["0.4 B", "nano-ar"])
def test_tokens_per_second_over_http(name: str, tmp_path: Path) -> None:
    path = Path(resolve(name)) if name == "nano-ar" else model("llada-0.4b-causal", LLADA_SMALL_CAUSAL)
    rates = compared(path, tmp_path, N_ROUNDS)
    for n, (here, there) in rates.items():
        record(
            f"tokens per second over HTTP against llama-server, {name}, clients: {n}", here / there, "times",
            asked=f"at least {ASKED}" if name == "0.4 B" else "printed beside it",
            detail=f"medians {here:.1f} and {there:.1f} tokens/s, threads: {N_THREADS}", command=COMMAND,
        )  # fmt: skip
    if name == "0.4 B":
        assert all(here >= ASKED * there for here, there in rates.values())
