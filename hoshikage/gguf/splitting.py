"""How llama.cpp splits a text into words before it merges tokens: by loops of its own, or by regular expressions.

Those are std::regex, which calls itself once for each character that it matches as one, some 400 bytes of stack each:
a run of 20,000 letters went through the end of a thread's stack, and with it the process.
"""

from __future__ import annotations

from typing import Literal

from hoshikage.gguf.header import Header
from hoshikage.gguf.vocabulary import BYTE_PAIR, PREFIX

Splitting = Literal["loop", "words", "whole"]

# `tokenizer.ggml.pre` of those whose expressions llama.cpp knows by heart, or that match one character at a time.
LOOPS = frozenset({
    "a.x-4.0", "chatglm-bpe", "codeshell", "command-r", "dbrx", "deepseek-r1-qwen", "exaone", "exaone4",
    "f2llmv2", "falcon-h1", "falcon3", "gemma4", "gigachat", "glm4", "glm5", "gpt-2", "granite-docling",
    "granite-embed-multi-311m", "hunyuan", "jais", "jina-de", "jina-es", "jina-v1-en", "jina-v2-code", "jina-v2-de",
    "jina-v2-es", "jina-v5-nano", "kimi-k2", "kormo", "laguna", "lfm2", "llama-bpe", "llama-v3", "llama3", "megrez",
    "mellum", "mellum2", "midm-2.0", "minerva-7b", "modern-bert", "mpt", "olmo", "phi-2", "pixtral", "qwen2", "qwen35",
    "refact", "roberta-bpe", "sarvam-moe", "smaug-bpe", "smollm", "solar-open", "stablelm2", "starcoder", "trillion",
})  # fmt: skip
ACROSS_SPACES = frozenset({"exaone-moe"})  # words with a space between them are one match


def splitting_of(header: Header) -> Splitting:
    """What one match of the model's expressions may hold: nothing that matters, a run without spaces, or all."""
    model = header.text(PREFIX + "model")
    pre = header.text(PREFIX + "pre") or ""
    if model not in BYTE_PAIR or model == "gemma4" or pre in LOOPS:
        return "loop"
    return "whole" if pre in ACROSS_SPACES else "words"
