"""The tokenizer: nothing is lost, digits are single, quoted words are spelled."""

from __future__ import annotations

from random import Random

import jinja2
import pytest
from tokenizers import Tokenizer

from hoshikage.evaluate.tasks import TASKS
from training import tokenizer as vocabulary
from training.corpus import tokenizer_texts
from training.corpus.example import encode_turns


def test_every_text_comes_back(tokenizer: Tokenizer) -> None:
    texts = [*tokenizer_texts(seed=9, n_items=500), "naïve  café\t12,5\r\n犬と猫 \u200b 🦊"]
    assert all(tokenizer.decode(tokenizer.encode(text).ids) == text for text in texts)


def test_digits_are_single_and_quoted_words_are_spelled(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("12+35").tokens == ["1", "2", "+", "3", "5"]
    assert tokenizer.encode("'yellow'").tokens == ["'", *"yellow", "'"]
    assert tokenizer.encode(" yellow").tokens == ["Ġyellow"]


def test_training_it_again_gives_the_same_one(tokenizer: Tokenizer) -> None:
    again = vocabulary.train(tokenizer_texts())
    assert vocabulary.vocabulary(again) == vocabulary.vocabulary(tokenizer)
    assert tokenizer.get_vocab_size() == vocabulary.N_VOCAB


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
