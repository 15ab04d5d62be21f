"""How many tokens a second does autoregressive generation give, next to llama-bench on the same file?

    pytest bench/bench_causal.py -s

Both generate 224 tokens from an empty cache, sampling included on our side; model load and prompt excluded. The runs
alternate; the medians are compared.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

from bench.peers import llama_bench
from bench.results import record
from bench.shapes import LLAMA_SMALL, model
from hoshikage._causal import CausalSession, Sampler, Stream
from hoshikage._context import usable_cores
from hoshikage._core import Model

N_TOKENS, N_ROUNDS = 224, 5


def tokens_per_second(session: CausalSession, n_vocab: int) -> float:
    """Of the tokens after the first, which the prompt's pass gives."""
    session.forget()
    stream = Stream([1], max_tokens=N_TOKENS + 1, sampler=Sampler(temperature=0.0), stop_ids=())
    session.add(stream)
    session.run(max_steps=1)
    start = perf_counter()
    while not stream.done:
        session.run()
    assert len(stream.tokens) == N_TOKENS + 1
    assert max(stream.tokens) < n_vocab
    return N_TOKENS / (perf_counter() - start)


def test_tokens_per_second_against_llama_bench() -> None:
    path, n_threads = model("llama-0.2b", LLAMA_SMALL), usable_cores()
    ours, theirs = [], []
    with Model(path, mmap=True) as weights, CausalSession(weights, n_ctx=256, n_threads=n_threads) as session:
        for _ in range(N_ROUNDS):
            ours.append(tokens_per_second(session, weights.n_vocab))
            theirs.append(llama_bench(path, N_TOKENS, n_threads))
            print(f"ours {ours[-1]:.1f} tokens a second, llama-bench {theirs[-1]:.1f}")
    record(
        "autoregressive tokens per second against llama-bench", median(ours) / median(theirs), "times", asked="0.95",
        detail=f"medians {median(ours):.1f} and {median(theirs):.1f} tokens/s, {n_threads} threads",
        command="pytest bench/bench_causal.py -s",
    )  # fmt: skip
    assert median(ours) / median(theirs) >= 0.95
