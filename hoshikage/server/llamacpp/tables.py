"""The fields that llama-server's routes read."""

from __future__ import annotations

from dataclasses import replace

from hoshikage.checks import Text, Whole
from hoshikage.engine.request import SEEDS
from hoshikage.server.fields import Field, Table, alias, engine_fields
from hoshikage.server.llamacpp.values import Bias, Chunks, Places
from hoshikage.server.openai.tables import (
    CONTINUES,
    GAP_LENGTH,
    IDLE,
    JSON_SCHEMA,
    LABEL,
    LENGTH,
    MODEL,
    N_PROMPTS,
    N_TOOLS,
    OTHER_NAMES,
    STREAM,
    TOP_K,
    UP_TO,
    WAITING,
)
from hoshikage.server.openai.values import FLAG, Mapped, Messages, Prompts, Tools, Unset
from hoshikage.server.owner import ADD

FINISHED = "an answer is finished, or given up with `timeout` or by closing the connection"
ORDER = "samplers have one order"
NOTHING = "nothing of this kind is told"
LLAMA_IDLE = IDLE | {
    "t_max_predict_ms": FINISHED,
    "t_max_prompt_ms": FINISHED,
    "n_indent": FINISHED,
    "n_keep": "a prompt that is too long is refused",
    "n_discard": "a prompt that is too long is refused",
    "n_cmpl": "send several prompts",
    "n_cache_reuse": "what the cache holds of a prompt's beginning is used in any case",
    "samplers": ORDER,
    "backend_sampling": ORDER,
    "dynatemp_range": "the temperature stays as it is",
    "dynatemp_exponent": "the temperature stays as it is",
    "min_keep": ORDER,
    "top_n_sigma": "there is no such sampler",
    "penalize_nl": "there is no such sampler",
    "return_tokens": "`/tokenize` gives them",
    "return_progress": NOTHING,
    "timings_per_token": NOTHING,
    "post_sampling_probs": "probabilities are the model's own",
    "lora": "nothing is loaded beside a model",
    "image_data": "models here read and write text",
    "multimodal_data": "models here read and write text",
    "max_new_tokens": "send n_predict",
    "num_predict": "send n_predict",
    "typical": "send typical_p",
    "early_stopping": "answers are drawn, not searched",
    "speculative.n_max": "nothing is predicted from a draft",
    "speculative.n_min": "nothing is predicted from a draft",
    "speculative.p_min": "nothing is predicted from a draft",
}

OWN = [
    MODEL,
    STREAM,
    *WAITING,
    *engine_fields(leave_out=("max_tokens", "logprobs", "prompt_logprobs", "top_k", "seed", "logit_bias")),
    alias("n_predict", "max_tokens", LENGTH.meaning + "; 0: none", UP_TO),
    alias("max_tokens", "max_tokens", "another name of n_predict", UP_TO),
    TOP_K,
    Field(
        name="seed",
        check=Unset(SEEDS),
        meaning="the same seed draws the same text; -1: a new one",
        option="seed",
    ),
    Field(
        name="logit_bias",
        check=Bias(),
        meaning="added to the logits of token ids: [[id, bias], ...]",
        option="logit_bias",
    ),
    *OTHER_NAMES,
    Field(name="n_probs", check=Whole(0, 20), meaning="say how probable each token was, and so many likely ones"),
    JSON_SCHEMA,
    Field(
        name="response_fields",
        check=Places(most=256),
        meaning="what of a complete answer is wanted, by its places, such as timings/predicted_n; unset: all",
    ),
]

COMPLETION = Table(
    [
        *OWN,
        Field(
            name="prompt",
            check=Prompts(most=N_PROMPTS),
            meaning="a text, token ids, or a list of either",
            required=True,
        ),
        Field(name="parse_special", check=FLAG, meaning="read special tokens in the prompt as such", default=True),
    ],
    LLAMA_IDLE,
)
INFILL = Table(
    [
        *OWN,
        Field(name="input_prefix", check=Text(2**24), meaning="the text before the gap", default=""),
        Field(name="input_suffix", check=Text(2**24), meaning="the text behind it", default=""),
        GAP_LENGTH,
        Field(
            name="input_extra",
            check=Chunks(most=1024),
            meaning="pieces of other files: [{filename, text}, ...]",
        ),
        Field(name="prompt", check=Text(2**24), meaning="text that the gap begins with", default=""),
    ],
    LLAMA_IDLE,
)
TEMPLATE = Table(
    [
        MODEL,
        Field(name="messages", check=Messages(most=4096), meaning="the conversation", required=True),
        Field(name="tools", check=Tools(most=N_TOOLS), meaning="functions that the model may call"),
        Field(name="chat_template_kwargs", check=Mapped(most=64), meaning="what else the template is told"),
        Field(
            name="add_generation_prompt",
            check=FLAG,
            meaning="end where the answer begins, not with the last message; unset: true",
        ),
        CONTINUES,
    ]
)
NAMED = Field(name="model", check=LABEL, meaning="the name of a model", required=True)
WHICH = Table([NAMED])
ADD_MODEL = Table(
    [
        Field(name="model", check=Text(128), meaning="the name to give it", required=True),
        *(
            replace(field, meaning=f"{field.meaning}, which is on this machine: nothing is fetched")
            if field.name == "path"
            else field
            for field in ADD.fields
            if field.name != "name"
        ),
    ]
)
