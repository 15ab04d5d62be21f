"""The routes of this door."""

from __future__ import annotations

from hoshikage.server.door import Line
from hoshikage.server.llamacpp import completion, props, router, tables
from hoshikage.server.openai import models
from hoshikage.server.openai.tables import MODEL
from hoshikage.server.shell.keys import Access

USER, ADMIN = Access.USER, Access.ADMIN

LINES: list[Line] = [
    ("POST", "/completion", completion.complete, USER, "Continue a prompt, llama-server's way",
     {"table": tables.COMPLETION}),
    ("POST", "/completions", completion.complete, USER, "Another name of /completion", {"table": tables.COMPLETION}),
    ("POST", "/infill", completion.infill, USER, "Fill a gap, llama-server's way", {"table": tables.INFILL}),
    ("POST", "/apply-template", props.apply_template, USER, "A conversation as a model reads it",
     {"table": tables.TEMPLATE}),
    ("GET", "/props", props.props, USER, "What a model is like", {"query": [MODEL]}),
    ("GET", "/slots", props.slots, USER, "How busy a model is", {"query": [MODEL]}),
    ("GET", "/models", models.listing, USER, "List the models, with what becomes of each", {}),
    ("POST", "/models", router.add, ADMIN, "Give a model file a name, llama-server's way",
     {"table": tables.ADD_MODEL}),
    ("DELETE", "/models", router.remove, ADMIN, "Forget the name of the model ?model=",
     {"query": [tables.NAMED]}),
    ("POST", "/models/load", router.load, ADMIN, "Load a model, llama-server's way", {"table": tables.WHICH}),
    ("POST", "/models/unload", router.unload, ADMIN, "Unload a model, llama-server's way", {"table": tables.WHICH}),
    ("GET", "/models/sse", router.watch, USER, "Tell every change of a model", {}),
]  # fmt: skip
