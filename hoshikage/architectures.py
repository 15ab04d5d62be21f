"""The architectures of the pinned llama.cpp, by their names in GGUF files, and which of them we do not run.

A test holds this table against llama.cpp's own wherever its source is present: a moved pin shows up there.
"""

from __future__ import annotations

NAMES = """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bitnet bloom chameleon chatglm
    codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4
    dots1 dots3note dream ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma2 gemma3
    gemma3n gemma4 glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2 gptneox granite granite_swa granitehybrid
    granitemoe graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2
    jais jais2 jamba kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe llama llama4 maincoder mamba mamba2
    maple mellum mimo2 minicpm minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 mpt muse-glimmer
    nanbeige nemotron nemotron_h nemotron_h_moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3
    phimoe plamo plamo2 plamo3 plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm
    starcoder starcoder2 step35 talkie xverse
"""
GENERATIVE = frozenset(NAMES.split())

ENCODER = "an encoder: it turns text into vectors and writes none"
DRAFT = "a draft model: it only runs beside the model that it guesses for"
SPEECH = "a part of a speech model: it writes no text"

NOT_GENERATIVE = {
    **dict.fromkeys(("bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed",
                     "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "t5encoder"), ENCODER),
    **dict.fromkeys(("dflash", "eagle3", "gemma4-assistant"), DRAFT),
    **dict.fromkeys(("pockettts", "qwen3tts", "wavtokenizer-dec"), SPEECH),
    "clip": "the eyes or ears of a model (mmproj), not the model itself",
    "t5": "an encoder with a decoder: it answers a text and does not continue one",
}  # fmt: skip
