"""The fields that Anthropic's routes read."""

from __future__ import annotations

from dataclasses import replace

from hoshikage.checks import Texts, Whole
from hoshikage.engine.request import MAX_TOKENS
from hoshikage.server.anthropic.values import Conversation, Functions, OutputConfig, System, Thinking, Turns, WhichTool
from hoshikage.server.fields import Field, Table, engine_fields
from hoshikage.server.openai.tables import IDLE, LABEL, N_TOOLS, OTHER_NAMES, STREAM, WAITING
from hoshikage.server.openai.values import Mapped

IDLE_HERE = IDLE | {
    "container": "nothing is run here",
    "context_management": "a conversation is read as it is sent",
    "mcp_servers": "nothing is run here",
    "inference_geo": "requests are answered here",
    "cache_control": "what the cache holds of a prompt's beginning is used in any case",
    "betas": "there are none here",
    "speed": "say `quality`",
}
ASKED = [
    Field(name="model", check=LABEL, meaning="the name of a model", required=True),
    Conversation(
        name="messages",
        check=Turns(most=4096),
        meaning="the conversation: [{role, content}, ...]",
        required=True,
    ),
    Field(name="system", check=System(), meaning="what the model is told before it"),
    Field(
        name="tools",
        check=Functions(most=N_TOOLS),
        meaning="tools that the model may use: [{name, description, input_schema}]",
    ),
    Field(
        name="tool_choice",
        check=WhichTool(),
        meaning="{type: auto, any or none}, or {type: tool, name}",
        idle={"disable_parallel_tool_use": IDLE["parallel_tool_calls"]},
    ),
    Field(
        name="output_config",
        check=OutputConfig(),
        meaning="{format: {type: json_schema, schema}} that the answer follows",
        idle={"effort": IDLE["reasoning_effort"]},
    ),
    Field(
        name="thinking",
        check=Thinking(),
        meaning="{type: enabled or adaptive}: thoughts come in blocks of their own; disabled: the template is told so",
        idle={"budget_tokens": IDLE["reasoning_effort"]},
    ),
    Field(name="chat_template_kwargs", check=Mapped(most=64), meaning="what else the model's chat template is told"),
]
HOW = [
    STREAM,
    *WAITING,
    *engine_fields(leave_out=("max_tokens", "stop", "logprobs", "prompt_logprobs")),
    *OTHER_NAMES,
    Field(
        name="stop_sequences",
        check=Texts(most=256, most_characters=1024),
        meaning="end before the first of these strings",
        option="stop",
    ),
]
LENGTH = Field(
    name="max_tokens",
    check=Whole(1, MAX_TOKENS),
    meaning="length of the answer, at most",
    option="max_tokens",
)
MESSAGES = Table(
    [*ASKED, replace(LENGTH, required=True), *HOW],
    IDLE_HERE,
)
COUNT = Table([*ASKED, LENGTH, *HOW], IDLE_HERE)
