"""The fields that the OpenAI routes read."""

from __future__ import annotations

from dataclasses import replace

from hoshikage.checks import Choice, Text, Whole
from hoshikage.engine.request import MAX_TOKENS
from hoshikage.server.fields import Field, Table, alias, engine_fields
from hoshikage.server.openai.values import (
    EFFORT,
    FLAG,
    Conversation,
    Duration,
    Length,
    Mapped,
    Messages,
    Prompts,
    ResponseFormat,
    StreamOptions,
    Template,
    TextOrIds,
    ToolChoice,
    Tools,
    Unset,
)  # fmt: skip

N_PROMPTS = 256
N_ANSWERS = 128  # to one prompt; and prompts x n is bounded by N_JOINT
N_JOINT = 1024
N_TOOLS = 1024
LABEL = Text(256)
UP_TO = Unset(Whole(0, MAX_TOKENS))  # tokens; 0 reads a prompt and writes nothing
AT_LEAST_ONE = Unset(Whole(1, MAX_TOKENS))

HERE_ALONE = "this server answers one user's request with one model"
IDLE = {
    "user": "requests are told apart by their keys",
    "safety_identifier": "requests are told apart by their keys",
    "metadata": "nothing is stored",
    "store": "nothing is stored",
    "service_tier": HERE_ALONE,
    "prompt_cache_key": "what the cache holds of a prompt's beginning is used in any case",
    "prompt_cache_retention": "what the cache holds of a prompt's beginning is used in any case",
    "cache_prompt": "what the cache holds of a prompt's beginning is used in any case",
    "id_slot": "requests are put where there is room",
    "parallel_tool_calls": "a model decides itself how many functions it calls",
    "reasoning_effort": "a model thinks as long as it does",
    "reasoning_summary": "a model thinks as long as it does",
    "reasoning_summary_wait": "a model thinks as long as it does",
    "verbosity": "say it in the prompt",
    "prediction": "nothing is predicted from a draft",
    "modalities": "models here read and write text",
    "audio": "models here read and write text",
    "web_search_options": "models here have no access to the web",
    "best_of": "as many answers are made as `n` says",
    "use_beam_search": "answers are drawn, not searched",
    "length_penalty": "answers are drawn, not searched",
    "min_tokens": "an answer ends where the model ends it",
    "ignore_eos": "an answer ends where the model ends it",
    "skip_special_tokens": "special tokens have no text",
    "spaces_between_special_tokens": "special tokens have no text",
    "truncate_prompt_tokens": "a prompt that is too long is refused",
    "functions": "send `tools` instead",
    "function_call": "send `tool_choice` instead",
    "draft": "nothing is predicted from a draft",
}

STREAM = Field(name="stream", check=FLAG, meaning="send the answer while it is made", default=False)
WAITING = [
    Field(
        name="keep_alive",
        check=Duration(),
        meaning='how long the model stays in memory afterwards: seconds or "5m"; below 0: for good, 0: not at all',
    ),
    Field(name="timeout", check=Duration(least=0.001), meaning="seconds that the request may take altogether"),
    Field(name="queue_timeout", check=Duration(least=0), meaning="seconds that it may wait for its first step"),
]
OTHER_NAMES = [
    alias("repeat_penalty", "repetition_penalty"),
    alias("diffusion_steps", "steps"),
    alias("diffusion_algorithm", "algorithm"),
    alias("diffusion_schedule", "schedule"),
    alias("diffusion_cfg_scale", "cfg_scale"),
    alias("guidance_scale", "cfg_scale"),
    alias("diffusion_block_length", "block_length"),
]
GAP_LENGTH = Field(
    name="length",
    check=Length(),
    meaning="of a gap: a number, or [least, most]; unset: max_tokens, or up to so many where the model finds it itself",
    kinds=("masked",),
)
JSON_SCHEMA = Field(name="json_schema", check=Mapped(most=1024), meaning="a schema that the answer follows")
TOP_K = alias("top_k", "top_k", check=Unset(Whole(0, 2**31 - 1)), meaning="draw among so many tokens; 0 and -1: all")
MODEL = Field(
    name="model",
    check=LABEL,
    meaning="the name of a model; unset: one in memory, or else the first; your own before embedded ones",
)
COMMON = [
    MODEL,
    STREAM,
    Field(
        name="stream_options",
        check=StreamOptions(),
        meaning="{include_usage: true} ends a stream with a chunk that counts its tokens",
        idle={"include_obfuscation": "no chunk is padded"},
    ),
    Field(name="n", check=Whole(1, N_ANSWERS), meaning="answers to each prompt", default=1),
    Field(
        name="diffusing",
        check=FLAG,
        meaning="a stream shows also the moving canvas of a diffusion model, in `diffusion`",
        default=False,
        kinds=("masked", "block"),
    ),
    *WAITING,
    *engine_fields(leave_out=("max_tokens", "top_k", "logprobs", "prompt_logprobs")),
    TOP_K,
    *OTHER_NAMES,
]
LENGTH = alias(
    "max_tokens",
    "max_tokens",
    "tokens of the answer at most: the canvas of a masked model; unset or -1: 256, 1024 of a block model, and of an "
    "autoregressive one as many as its context has room for",
    AT_LEAST_ONE,
)

CONTINUES = Field(
    name="continue_final_message",
    check=FLAG,
    meaning="go on with the last message, if it is the assistant's; unset: true",
)
BEGINS = Field(
    name="add_generation_prompt",
    check=FLAG,
    meaning="true: a new message, also behind one of the assistant's; false: as without it",
)
CHAT = Table(
    [
        *COMMON,
        LENGTH,
        Conversation(
            name="messages",
            check=Messages(most=4096),
            meaning="the conversation: [{role, content}, ...]",
            required=True,
        ),
        alias("max_completion_tokens", "max_tokens", check=AT_LEAST_ONE),
        alias("n_predict", "max_tokens", "another name of max_tokens; 0: only read the prompt", UP_TO),
        Field(name="logprobs", check=FLAG, meaning="say how probable each token was", default=False),
        Field(name="top_logprobs", check=Whole(0, 20), meaning="so many likely tokens at each place", default=0),
        Field(name="tools", check=Tools(most=N_TOOLS), meaning="functions that the model may call"),
        Field(
            name="tool_choice",
            check=ToolChoice(),
            meaning="auto, none, required, or {type: function, function: {name}}",
            default="auto",
        ),
        Field(
            name="response_format",
            check=ResponseFormat(),
            meaning="text, json_object, or json_schema with a schema that the answer follows",
        ),
        JSON_SCHEMA,
        Field(
            name="chat_template_kwargs",
            check=Mapped(most=64),
            meaning="what else the model's chat template is told, such as {enable_thinking: false}",
        ),
        CONTINUES,
        BEGINS,
        Field(
            name="reasoning_format",
            check=Choice({"auto": "auto", "deepseek": "auto", "none": "none"}),
            meaning="auto, deepseek: a thought is told apart from the answer, in `reasoning_content`; none: it is not",
            default="auto",
        ),
        Field(
            name="reasoning_effort",
            check=EFFORT,
            meaning="told to a chat template that reads it; none: enable_thinking is false as well",
        ),
    ],
    {name: why for name, why in IDLE.items() if name != "reasoning_effort"},
)

# OpenAI's own address wants a name; clients that know llama-server's may leave it out.
NAMED = replace(
    MODEL,
    required=True,
    meaning="the name of a model; empty: one in memory, or else the first; your own before embedded ones",
)
OPENAI_CHAT = Table([NAMED if row is MODEL else row for row in CHAT.fields], CHAT.idle)

COMPLETIONS = Table(
    [
        *COMMON,
        replace(LENGTH, check=UP_TO),
        Field(
            name="prompt",
            check=Prompts(most=N_PROMPTS),
            meaning="a text, token ids, or a list of either",
        ),
        Field(name="suffix", check=TextOrIds(2**24), meaning="the text behind the gap that is filled, or token ids"),
        GAP_LENGTH,
        Field(
            name="template",
            check=Template(),
            meaning="in place of a prompt: text with gaps, each with its length or a range of it",
            kinds=("masked",),
        ),
        Field(
            name="parse_special",
            check=FLAG,
            meaning="read special tokens in a text as such; unset: true, and false where a gap is filled",
        ),
        Field(name="echo", check=FLAG, meaning="the answer begins with the prompt", default=False),
        Field(
            name="logprobs",
            check=Whole(0, 20),
            meaning="say how probable each token was, and so many likely ones at each place",
        ),
    ],
    IDLE,
)
