"""How many tokens a second come out of the server, next to programs from the same pin on the same file?

    pytest bench/bench_streams.py -s

1, 4 and 8 clients stream at once over HTTP, token ids, greedily. All tokens of all clients count, from the first
request to the last answer's end; the programs take turns with us, and medians are compared. llama-server gets the same
requests. llama-batched-bench decodes as many sequences and does nothing else, so it is more than a server can be; it is
built much sooner. `BENCH_THREADS=1` is for a machine that has something else to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import pytest

from bench.peers import batched_bench, llama_server, program
from bench.results import record
from bench.shapes import LLADA_SMALL_CAUSAL, model
from hoshikage import gguf
from hoshikage._context import usable_cores
from hoshikage.nano import resolve
from tests.server.client import Client, until

COMMAND = "pytest bench/bench_streams.py -s"
N_THREADS = int(os.environ.get("BENCH_THREADS", "0")) or usable_cores()
N_TOKENS, N_ROUNDS, N_SLOTS, N_CTX = 48, 5, 8, 512
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


def options_for(path: Path) -> dict[str, Any]:
    """Greedy, and without the tokens that would end an answer."""
    ends = (gguf.inspect(path).metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    never = {str(token): -100 for token in ends if token is not None}
    return {"temperature": 0, "repeat_penalty": 1.0, "logit_bias": never, "stream_options": {"include_usage": True}}


def streamed(client: Client, prompt: list[int], options: dict[str, Any]) -> int:
    """Asks for a stream, and reads it; the tokens that came."""
    body: dict[str, Any] = {"model": "model", "prompt": prompt, "max_tokens": N_TOKENS, "stream": True, **options}
    answer = client.post("/v1/completions", body)
    assert answer.status == 200, answer.body
    usage = [event["usage"] for event in answer.events if event != "[DONE]" and event.get("usage")]
    return int(usage[-1]["completion_tokens"])


def tokens_per_second(client: Client, n_clients: int, salt: int, options: dict[str, Any]) -> float:
    """Of all clients together."""
    counts: list[int] = []
    prompts = [[5 + (salt * 977 + i * 131 + k * 17) % 250 for k in range(N_PROMPT)] for i in range(n_clients)]

    def stream(prompt: list[int]) -> None:
        counts.append(streamed(client, prompt, options))

    threads = [threading.Thread(target=stream, args=(prompt,)) for prompt in prompts]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - start
    assert counts == [N_TOKENS] * n_clients, f"{counts} tokens, and {N_TOKENS} were asked of each"
    return sum(counts) / seconds


def compared(path: Path, folder: Path, peer: str) -> dict[int, tuple[float, float]]:
    """(ours, theirs) by the number of clients."""
    rates: dict[int, list[tuple[float, float]]] = {n: [] for n in CLIENTS}
    options = options_for(path)
    program(peer)
    with ours(path, folder) as here, theirs(path, folder) if peer == "llama-server" else nullcontext() as there:
        for client in filter(None, (here, there)):
            tokens_per_second(client, N_SLOTS, 0, options)  # it has loaded, and has met as many
        for i in range(N_ROUNDS):
            for n in CLIENTS:
                salt = 1 + i * len(CLIENTS) + n
                own = tokens_per_second(here, n, salt, options)
                other = (
                    batched_bench(path, N_PROMPT, N_TOKENS, n, N_THREADS)
                    if there is None
                    else tokens_per_second(there, n, salt, options)
                )
                rates[n].append((own, other))
                print(f"{n} clients: ours {own:.1f}, {peer} {other:.1f} tokens a second")
    return {n: (median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)) for n, pairs in rates.items()}


@pytest.mark.parametrize("name", ["0.4 B", "nano-ar"])
@pytest.mark.parametrize("peer", ["llama-batched-bench", "llama-server"])
def test_tokens_per_second_over_http(name: str, peer: str, tmp_path: Path) -> None:
    path = Path(resolve(name)) if name == "nano-ar" else model("llada-0.4b-causal", LLADA_SMALL_CAUSAL)
    rates = compared(path, tmp_path, peer)
    for n, (here, there) in rates.items():
        record(
            f"tokens per second over HTTP against {peer}, {name}, clients: {n}", here / there, "times",
            asked=f"at least {ASKED}" if name == "0.4 B" else "printed beside it",
            detail=f"medians {here:.1f} and {there:.1f} tokens/s, threads: {N_THREADS}", command=COMMAND,
        )  # fmt: skip
    if name == "0.4 B":
        assert all(here >= ASKED * there for here, there in rates.values())
