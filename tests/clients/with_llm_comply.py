"""llm-comply's judgement of three routes, without pictures, which no model here can see. URL is the argument.

A route that makes a conversation shorter is not there, which the suite allows: nothing is stored that could be.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ALLOWED = ("compact-response",)
FORMATS = {"openai-chat": "chat-image-input", "open-responses": "image-input", "anthropic": "anth-image-input"}


def judge(url: str, form: str) -> None:
    command = [str(Path(sys.executable).with_name("llm-comply")), "--format", form, "--json"]
    done = subprocess.run(
        [*command, "-u", f"{url}/v1", "-k", "any", "-m", "nano-ar"], capture_output=True, text=True, check=False
    )
    results = json.loads(done.stdout)["results"]
    assert len(results) > 6, done.stderr
    for result in results:
        assert result["status"] in ("passed", "skipped") or result["id"] == FORMATS[form], (form, result)
        assert not result.get("warnings") or result["id"] in ALLOWED, (form, result)


def main(url: str) -> None:
    for form in FORMATS:
        judge(url, form)


if __name__ == "__main__":
    main(sys.argv[1])
