"""llama.cpp's samplers through ours: the draws of a seed, what each setting leaves, what a grammar lets pass."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hoshikage._causal import CausalSession, Sampler, Stream
from hoshikage.errors import ParameterError
from tests.conftest import TinyModel
from tests.forward import forward, softmax
from tests.streams import NEAR_TIE, finish, open_session, random_ids, write

Row = NDArray[np.float64]
PROMPT = random_ids(1, 12)
N_DRAWS = 400


@pytest.fixture(scope="module")
def llama(tiny_model: TinyModel) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def session(llama: Path) -> Iterator[CausalSession]:
    with open_session(llama) as opened:
        yield opened


def text_of(session: CausalSession, stream: Stream) -> str:
    return session.context.model.detokenize(stream.tokens).decode("utf-8", "replace")


# -- drawing


def mt19937_uniforms(seed: int, n: int) -> list[float]:
    """What libstdc++ makes of llama.cpp's generator: 64 bits from two words, the first the lower."""
    generator = np.random.MT19937()
    generator._legacy_seeding(seed)  # that of the C++ standard
    words = [int(word) for word in generator.random_raw(2 * n)]
    return [(low + (high << 32)) / 2**64 for low, high in zip(words[::2], words[1::2], strict=True)]


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31, 2**32 - 2])
def test_a_seed_draws_what_it_draws_in_llama_cpp(llama: Path, session: CausalSession, seed: int) -> None:
    expected = list(PROMPT)
    for uniform in mt19937_uniforms(seed, 10):
        sums = np.cumsum(softmax(forward(llama, expected)[-1] / 0.8))
        assert np.abs(sums - uniform).min() > 1e-6, "choose another seed: this one draws a near-tie"
        expected.append(int(np.searchsorted(sums, uniform)))
    assert write(session, PROMPT, 10, temperature=0.8, seed=seed).tokens == expected[len(PROMPT) :]


def test_seeds_repeat_and_differ(session: CausalSession) -> None:
    seeds = [0, 1, 2**32 - 1, 2**32, 2**64 - 1, -1, -5]
    drawn = {seed: write(session, PROMPT, 12, temperature=1.0, seed=seed).tokens for seed in seeds}
    for seed in seeds:
        assert write(session, PROMPT, 12, temperature=1.0, seed=seed).tokens == drawn[seed]
    assert drawn[-1] == drawn[2**64 - 1]  # the same 64 bits
    assert len({tuple(tokens) for tokens in drawn.values()}) == len(seeds) - 1


def without(p: Row, dropped: NDArray[np.bool_]) -> Row:
    kept: Row = np.where(dropped, 0.0, p)
    kept /= kept.sum()
    return kept


def ranked(p: Row) -> NDArray[np.int64]:
    """The rank of each token, 0 the likeliest."""
    order: NDArray[np.int64] = np.argsort(np.argsort(-p))
    return order


def mass_before(p: Row) -> Row:
    """For each token the probability of all that are likelier."""
    order = np.argsort(-p)
    before = np.empty_like(p)
    before[order] = np.cumsum(p[order]) - p[order]
    return before


def typical(p: Row) -> NDArray[np.bool_]:
    distance = np.abs(-np.log(p) - np.sum(-p * np.log(p)))
    before = np.empty_like(p)
    order = np.argsort(distance)
    before[order] = np.cumsum(p[order]) - p[order]
    return before > 0.4


CUTS: dict[str, tuple[dict[str, Any], Callable[[Row], Row]]] = {
    "none": ({}, lambda p: p),
    "top_k": ({"top_k": 5}, lambda p: without(p, ranked(p) >= 5)),
    "top_p": ({"top_p": 0.6}, lambda p: without(p, mass_before(p) >= 0.6)),
    "min_p": ({"min_p": 0.2}, lambda p: without(p, p < 0.2 * p.max())),
    "typical": ({"typical_p": 0.4}, lambda p: without(p, typical(p))),
    "xtc": (
        {"xtc_probability": 1.0, "xtc_threshold": 0.03},
        lambda p: without(p, ranked(p) < np.sum(p >= 0.03) - 1),
    ),
    "top_k, then top_p": (
        {"top_k": 6, "top_p": 0.7},
        lambda p: without(q := without(p, ranked(p) >= 6), mass_before(q) >= 0.7),
    ),
}


@pytest.mark.parametrize("cut", CUTS)
def test_frequencies_are_the_probabilities_that_a_cut_leaves(llama: Path, session: CausalSession, cut: str) -> None:
    options, leave = CUTS[cut]
    p = leave(softmax(forward(llama, PROMPT)[-1]))
    drawn = Counter(
        write(session, PROMPT, 1, temperature=1.0, seed=seed, **options).tokens[0] for seed in range(N_DRAWS)
    )
    seen = np.array([drawn[token] for token in range(len(p))])
    assert not seen[p == 0].any()
    deviation = (seen - N_DRAWS * p)[p > 0.01] / np.sqrt(N_DRAWS * p * (1 - p))[p > 0.01]
    assert np.abs(deviation).max() < 4.5


def test_temperature_comes_after_the_cuts(llama: Path, session: CausalSession) -> None:
    p = softmax(forward(llama, PROMPT)[-1])
    kept = set(np.flatnonzero(mass_before(p) < 0.6))
    drawn = {write(session, PROMPT, 1, temperature=50.0, seed=seed, top_p=0.6).tokens[0] for seed in range(200)}
    assert drawn == kept


def test_mirostat_holds_the_surprise(session: CausalSession) -> None:
    for version in (1, 2):
        surprise = [
            -np.mean(write(session, PROMPT, 150, temperature=1.0, mirostat=version, mirostat_tau=tau).logprobs)
            for tau in (0.5, 2.0, 5.0)
        ]
        assert surprise[0] < surprise[1] < surprise[2]


# -- at temperature 0


def greedy(llama: Path, prompt: list[int], n: int, change: Callable[[Row, list[int]], Row]) -> list[int]:
    """The best token again and again, of logits that `change` has seen."""
    tokens = list(prompt)
    for _ in range(n):
        row = change(forward(llama, tokens)[-1].copy(), tokens)
        first, second = np.sort(row)[[-1, -2]]
        assert first - second > NEAR_TIE, "choose another prompt: this one meets a near-tie"
        tokens.append(int(np.argmax(row)))
    return tokens[len(prompt) :]


def penalised(row: Row, seen: list[int], repeat: float, frequency: float, presence: float) -> Row:
    for token, count in Counter(seen).items():
        row[token] = row[token] * repeat if row[token] <= 0 else row[token] / repeat
        row[token] -= count * frequency + presence
    return row


@pytest.mark.parametrize("last_n", [-1, 64, 5, 0])
@pytest.mark.parametrize(("repeat", "frequency", "presence"), [(1.4, 0, 0), (1, 0.7, 0), (1, 0, 1.5), (0.8, -0.2, 0.5)])
def test_penalties(
    llama: Path, session: CausalSession, last_n: int, repeat: float, frequency: float, presence: float
) -> None:
    def change(row: Row, tokens: list[int]) -> Row:
        seen = tokens if last_n < 0 else tokens[len(tokens) - last_n :] if last_n else []
        return penalised(row, seen, repeat, frequency, presence)

    stream = write(
        session, PROMPT, 16, repetition_penalty=repeat, frequency_penalty=frequency, presence_penalty=presence,
        repeat_last_n=last_n,
    )  # fmt: skip
    assert stream.tokens == greedy(llama, PROMPT, 16, change)


def longest_repeat(tokens: list[int], token: int) -> int:
    """The length of the longest run that the text ends with and that `token` followed before."""
    lengths = [0]
    for i in range(1, len(tokens)):
        if tokens[i] == token:
            n = 0
            while n < i and tokens[i - 1 - n] == tokens[-1 - n]:
                n += 1
            lengths.append(n)
    return max(lengths)


def test_dry(llama: Path, session: CausalSession) -> None:
    prompt = [30, 31, 32, 33, 30, 31, 32, 40, 41, 30, 31, 32]

    def change(row: Row, tokens: list[int]) -> Row:
        for token in set(tokens):
            if (length := longest_repeat(tokens, token)) >= 2:
                row[token] -= 3.0 * 1.5 ** (length - 2)
        return row

    options: dict[str, Any] = {"dry_multiplier": 3.0, "dry_base": 1.5, "dry_sequence_breakers": ()}
    bias = {33: 12.0, 40: 11.0}  # what would repeat is wanted
    stream = write(session, prompt, 12, logit_bias=bias, **options)
    with_bias = greedy(llama, prompt, 12, lambda row, tokens: change(row + added(bias, len(row)), tokens))
    assert stream.tokens == with_bias
    assert stream.tokens != write(session, prompt, 12, logit_bias=bias).tokens


def added(bias: dict[int, float], n_vocab: int) -> Row:
    row = np.zeros(n_vocab)
    row[list(bias)] = list(bias.values())
    return row


def test_breakers_may_be_any_text(session: CausalSession) -> None:
    """Characters of several bytes are cut within by byte tokens, which llama.cpp looks for."""
    options: dict[str, Any] = {"dry_multiplier": 1.0, "dry_sequence_breakers": ["。", "é", "\n", "x" * 64]}
    assert write(session, PROMPT, 5, **options).n_tokens == 5


def test_xtc_and_typical_act_at_temperature_0_too(llama: Path, session: CausalSession) -> None:
    p = softmax(forward(llama, PROMPT)[-1])
    above = [token for token in np.argsort(-p) if p[token] >= 0.03]
    assert write(session, PROMPT, 1, xtc_probability=1.0, xtc_threshold=0.03).tokens == [above[-1]]
    assert write(session, PROMPT, 1, xtc_probability=1.0, xtc_threshold=0.03, top_k=1).tokens == [above[0]]
    distance = np.abs(-np.log(p) + np.sum(p * np.log(p)))
    assert write(session, PROMPT, 1, typical_p=1e-6).tokens == [int(np.argmin(distance))]


def test_bias_bans_and_forces(llama: Path, session: CausalSession) -> None:
    best = np.argsort(-forward(llama, PROMPT)[-1])
    assert write(session, PROMPT, 1).tokens == [best[0]]
    assert write(session, PROMPT, 1, logit_bias={int(best[0]): -np.inf}).tokens == [best[1]]
    assert write(session, PROMPT, 3, logit_bias={9: 1e6}, temperature=1.0).tokens == [9, 9, 9]


def test_tokens_that_the_model_suppresses_are_never_written(tiny_model: TinyModel, llama: Path) -> None:
    best = [int(token) for token in np.argsort(-forward(llama, PROMPT)[-1])]
    path = tiny_model("llama", metadata={"tokenizer.ggml.suppress_tokens": best[:2]})
    with open_session(path) as session:
        assert write(session, PROMPT, 1).tokens == [best[2]]
        assert write(session, PROMPT, 1, logit_bias={best[2]: -np.inf}).tokens == [best[3]]


@pytest.mark.parametrize("way", [{"typical_p": 0.4}, {"mirostat": 1, "mirostat_tau": 3.0}])
def test_banned_tokens_do_not_upset_what_reads_probabilities(
    llama: Path, session: CausalSession, way: dict[str, Any]
) -> None:
    """Both take logarithms of all probabilities in llama.cpp: the banned are taken out before."""
    banned = [int(token) for token in np.argsort(forward(llama, PROMPT)[-1])[:200]]
    bias = dict.fromkeys(banned, -np.inf)
    drawn = {
        write(session, PROMPT, 1, temperature=1.0, seed=seed, logit_bias=bias, **way).tokens[0] for seed in range(99)
    }
    assert not drawn & set(banned) and len(drawn) > 5


# -- grammars

GRAMMARS = {
    "root ::= [0-9]+": r"[0-9]+",
    'root ::= "yes" | "no"': r"yes|no",
    'root ::= word (" " word){1,3} "."\nword ::= [a-z]{2,4}': r"[a-z]{2,4}( [a-z]{2,4}){1,3}\.",
    'root ::= "[" (item ("," item)*)? "]"\nitem ::= "-"? [0-9]{1,3}': r"\[(-?\d{1,3}(,-?\d{1,3})*)?\]",
    "root ::= [äöüß€]{3}": r"[äöüß€]{3}",
}
WAYS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 1.5},
    {"temperature": 1.0, "top_k": 3, "repetition_penalty": 1.5},
    {"temperature": 1.0, "mirostat": 1},
    {"temperature": 1.0, "mirostat": 2, "mirostat_tau": 1.0},
]


@settings(max_examples=60)
@given(grammar=st.sampled_from(list(GRAMMARS)), way=st.sampled_from(WAYS), seed=st.integers(0, 2**32))
def test_a_grammar_is_obeyed(llama: Path, grammar: str, way: dict[str, Any], seed: int) -> None:
    with open_session(llama) as session:
        stream = Stream(PROMPT, max_tokens=40, sampler=Sampler(grammar=grammar, seed=seed, **way))
        finish(session, stream)
        text = text_of(session, stream)
    assert stream.error is None
    if stream.stop_reason == "stop":
        assert re.fullmatch(GRAMMARS[grammar], text)
    else:
        assert grammar.startswith(("root ::= [0-9]+", 'root ::= "["')), f"only these have no end: {text!r}"
        assert re.fullmatch(r"[0-9]+|\[(-?\d{0,3},?)*", text)


def test_a_grammar_costs_nothing_while_the_model_obeys_it(session: CausalSession) -> None:
    """The same seed draws the same tokens where they are allowed: the grammar is asked about the chosen one only."""
    no_text = dict.fromkeys((0, *range(128, 256), *range(284, 300)), -np.inf)
    free, held = (
        write(session, PROMPT, 12, temperature=0.9, seed=5, logit_bias=no_text, grammar=grammar).tokens
        for grammar in (None, "root ::= .*")
    )
    assert held == free


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= <[99999]>",  # no such token
        'root ::= "a" !<[7]> "b"',  # llama.cpp lets tokens pass here that it cannot follow
    ],
)
def test_a_stream_that_a_grammar_leaves_nothing_ends_with_an_error(session: CausalSession, grammar: str) -> None:
    an = session.context.model.tokenize("an")
    bias = {an[0]: 100.0} if len(an) == 1 else {}
    broken = Stream(PROMPT, max_tokens=5, sampler=Sampler(grammar=grammar, logit_bias=bias))
    finish(session, broken)
    assert (broken.stop_reason, broken.n_tokens) == ("error", 0)
    assert broken.error is not None and broken.error.remedy
    assert write(session, PROMPT, 3).n_tokens == 3


def test_a_grammar_that_only_llama_cpp_refuses(session: CausalSession) -> None:
    sampler = Sampler(grammar='root ::= ("a" | "")*')
    with pytest.raises(ParameterError, match=r"grammar: llama\.cpp refuses it"):
        session.add(Stream(PROMPT, sampler=sampler))
    assert session.streams == ()


# -- what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1), ("temperature", float("nan")), ("temperature", 101), ("temperature", "hot"),
        ("top_k", -1), ("top_k", 2**31), ("top_k", 1.5), ("top_p", -0.1), ("top_p", 1.1), ("min_p", 2),
        ("typical_p", float("inf")), ("seed", 2**64), ("seed", 0.5), ("logit_bias", {5: float("nan")}),
        ("logit_bias", {5: float("inf")}), ("logit_bias", {-1: 1.0}), ("logit_bias", [1, 2]),
        ("repetition_penalty", 0), ("repetition_penalty", -1), ("repetition_penalty", 1e-30),
        ("frequency_penalty", float("inf")), ("presence_penalty", 1e9), ("repeat_last_n", -2),
        ("repeat_last_n", 2**40), ("dry_multiplier", -1), ("dry_base", 0.5), ("dry_allowed_length", -1),
        ("dry_penalty_last_n", -2), ("dry_sequence_breakers", [""]), ("dry_sequence_breakers", ["a\0b"]),
        ("dry_sequence_breakers", [str(i) for i in range(65)]), ("xtc_probability", -1), ("xtc_threshold", 1.5),
        ("mirostat", 3), ("mirostat_tau", 0), ("mirostat_eta", 0), ("grammar", "root ::= ("), ("grammar", ""),
        ("grammar", "\ud800"), ("grammar", 5), ("top_q", 1),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        Sampler(**{name: value})
    assert caught.value.name == name and caught.value.remedy


def test_a_bias_on_a_token_that_is_not_there(session: CausalSession) -> None:
    with pytest.raises(ParameterError, match="outside the vocabulary of 300"):
        session.add(Stream(PROMPT, sampler=Sampler(logit_bias={300: 1.0})))
    assert session.streams == ()
