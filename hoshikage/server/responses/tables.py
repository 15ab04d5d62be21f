"""The fields that `/v1/responses` reads."""

from __future__ import annotations

from hoshikage.checks import Text
from hoshikage.server.fields import Field, Table, alias, engine_fields
from hoshikage.server.openai.tables import IDLE, LABEL, N_TOOLS, OTHER_NAMES, STREAM, WAITING
from hoshikage.server.openai.values import Mapped
from hoshikage.server.responses.values import (
    Conversation,
    Functions,
    Items,
    Nothing,
    Offered,
    Reasoning,
    TextFormat,
    WhichTool,
)

MEMORY = Nothing()
IDLE_HERE = {name: why for name, why in IDLE.items() if name != "metadata"} | {
    "include": "nothing more is known than what is told",
    "truncation": "a conversation that is too long is refused",
    "max_tool_calls": "a model decides itself how many functions it calls",
    "stream_options": "a stream always ends with its usage",
    "top_logprobs": "/v1/chat/completions tells them",
}
RESPONSES = Table(
    [
        Field(name="model", check=LABEL, meaning="the name of a model", required=True),
        Conversation(
            name="input",
            check=Items(most=4096),
            meaning="a text, or the conversation: messages, function_call, function_call_output",
            required=True,
        ),
        Field(name="instructions", check=Text(2**24), meaning="what the model is told before it"),
        STREAM,
        alias("max_output_tokens", "max_tokens", "length of the answer, at most"),
        *engine_fields(leave_out=("max_tokens", "logprobs", "prompt_logprobs")),
        *OTHER_NAMES,
        *WAITING,
        Offered(
            name="tools",
            check=Functions(most=N_TOOLS),
            meaning="functions that the model may call: [{type: function, name, description, parameters}]",
        ),
        Field(
            name="tool_choice",
            check=WhichTool(),
            meaning="auto, none, required, or {type: function, name}",
            default="auto",
        ),
        Field(
            name="text",
            check=TextFormat(),
            meaning="{format: {type: text, json_object or json_schema}} that the answer follows",
            idle={"verbosity": IDLE["verbosity"]},
        ),
        Field(
            name="reasoning",
            check=Reasoning(),
            meaning="{effort}: told to a chat template that reads it",
            idle={"summary": "a thought is told whole", "generate_summary": "a thought is told whole"},
        ),
        Field(name="metadata", check=Mapped(most=16), meaning="comes back with the answer"),
        Field(name="previous_response_id", check=MEMORY, meaning="nothing is stored: only null"),
        Field(name="conversation", check=MEMORY, meaning="nothing is stored: only null"),
        Field(name="background", check=MEMORY, meaning="nothing is stored: only false"),
        Field(
            name="chat_template_kwargs", check=Mapped(most=64), meaning="what else the model's chat template is told"
        ),
    ],
    IDLE_HERE,
)
