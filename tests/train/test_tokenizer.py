"""The tokenizer: nothing is lost, digits are single, quoted words are spelled."""

from __future__ import annotations

from random import Random

import gguf
import jinja2
import pytest
from tokenizers import Tokenizer

from hoshikage import nano
from hoshikage.evaluate.questions import questions
from hoshikage.evaluate.subject import USUAL
from hoshikage.evaluate.tasks import TASKS
from training import tokenizer as vocabulary
from training.corpus import tokenizer_texts
from training.corpus.example import encode_turns


def test_every_text_comes_back(tokenizer: Tokenizer) -> None:
    texts = [*tokenizer_texts(seed=9, n_items=500), "naïve  café\t12,5\r\n犬と猫 \u200b 🦊"]
    assert all(tokenizer.decode(tokenizer.encode(text).ids) == text for text in texts)


def test_every_right_answer_has_room(tokenizer: Tokenizer) -> None:
    lengths = [len(tokenizer.encode(item.answer).ids) for item in questions(50)]
    assert max(lengths) < USUAL["max_tokens"]


def test_digits_are_single_and_quoted_words_are_spelled(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("12+35").tokens == ["1", "2", "+", "3", "5"]
    assert tokenizer.encode("'yellow'").tokens == ["'", *"yellow", "'"]
    assert tokenizer.encode(" yellow").tokens == ["Ġyellow"]


def test_making_it_again_gives_the_same_one(tokenizer: Tokenizer) -> None:
    """On part of the texts: the merges of the whole are as certain, and take longer."""
    texts = list(tokenizer_texts(n_items=300))
    first, second = (vocabulary.vocabulary(vocabulary.train(texts)) for _ in range(2))
    assert first == second
    assert tokenizer.get_vocab_size() == len(first[0]) == vocabulary.N_VOCAB


@pytest.mark.parametrize("name", nano.names())
def test_the_released_files_hold_it(name: str, tokenizer: Tokenizer) -> None:
    """Models grow from released files: their rows have to be this tokenizer's entries."""
    fields = gguf.GGUFReader(nano.resolve(name)).fields
    tokens, merges = (fields[f"tokenizer.ggml.{part}"].contents() for part in ("tokens", "merges"))
    ours, our_merges = vocabulary.vocabulary(tokenizer)
    assert merges == our_merges
    assert [pair for pair in zip(tokens, ours, strict=True) if pair[0] != pair[1]] in (
        [],
        [("<|unused_mask|>", "<|mask|>")],  # a causal model's
    )


def test_the_chat_template_writes_what_training_reads(tokenizer: Tokenizer) -> None:
    rng = Random(4)
    template = jinja2.Environment().from_string(vocabulary.CHAT_TEMPLATE)
    for task in TASKS.values():
        item = task.make(rng)
        messages = [{"role": turn.role, "content": turn.text} for turn in item.turns]
        text = template.render(messages=messages, add_generation_prompt=True)
        assert tokenizer.encode(text).ids == encode_turns(tokenizer, item.turns)


def test_the_engine_cuts_texts_the_same_way(tokenizer: Tokenizer, tmp_path: object) -> None:
    core = pytest.importorskip("hoshikage._core", reason="the engine is not built: run `make build`")
    from pathlib import Path

    from training.export import export
    from training.model import Transformer
    from training.recipe import RECIPES

    recipe = RECIPES["nano-llada"]
    path = Path(str(tmp_path)) / "model.gguf"
    export(recipe, Transformer(recipe.shape).state_dict(), path)
    texts = {*tokenizer_texts(seed=8, n_items=2000), "a  b   c\td", "I'LL don't", "x=1;\n\n  y", "犬と猫、12,5"}
    with core.Model(str(path)) as model:
        assert all(model.tokenize(text) == tokenizer.encode(text).ids for text in texts)
        assert model.mask_id == vocabulary.MASK
        assert model.eog_ids >= {vocabulary.EOS, vocabulary.EOT}
