"""The process that renders a model's chat template: a program of its own, run by path, without the package.

A template comes out of a model file, so it is somebody else's program. It runs in Jinja's immutable
sandbox, and because no sandbox bounds time or memory (`"a" * 10**10` is one harmless-looking operation),
in a process with limits of its own, which its parent may kill at any moment.

Standard input brings one JSON object a line, {"template", "context", "most"}; standard output answers each
with one line, {"text"} or {"error"}. The end of the input is the end of the process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1 << 29  # bytes of address space; the interpreter and Jinja take about a tenth
SECONDS = 10  # of processor time for one rendering, should the parent, which allows half of it, be gone


class GenerationTag(Extension):
    """`{% generation %}`: marks the assistant's words for training; here it only passes them on."""

    tags = {"generation"}  # noqa: RUF012 -- the base class's own way

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **how: Any) -> str:
    """Plain JSON, unlike Jinja's own filter, which escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **how)


def raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


@lru_cache(maxsize=4)
def compiled(template: str) -> Template:
    """The environment is the one that templates are written for: blocks take no line of their own."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    return environment.from_string(template)


def render(template: str, context: Mapping[str, Any], most: int) -> str:
    """At most `most` characters, counted while they are made."""
    pieces, length = [], 0
    for piece in compiled(template).generate(context):
        length += len(piece)
        if length > most:
            raise TemplateError(f"the chat template wrote more than {most} characters")
        pieces.append(piece)
    return "".join(pieces)


def answer(line: str) -> dict[str, str]:
    """One rendering; whatever a template does wrong is an answer too."""
    request = json.loads(line)
    try:
        return {"text": render(request["template"], request["context"], request["most"])}
    except MemoryError:
        return {"error": f"the chat template took more than {MEMORY >> 20} MiB of memory"}
    except Exception as error:  # a template can raise anything: TypeError, ZeroDivisionError, RecursionError
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + SECONDS, resource.RLIM_INFINITY))
        sys.stdout.write(json.dumps(answer(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
