"""llm-comply's judgement of the chat route, without pictures, which no model here can see. URL is the argument."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PICTURES = "chat-image-input"


def main(url: str) -> None:
    command = [str(Path(sys.executable).with_name("llm-comply")), "--format", "openai-chat", "--json"]
    done = subprocess.run(
        [*command, "-u", f"{url}/v1", "-k", "any", "-m", "nano-ar"], capture_output=True, text=True, check=False
    )
    results = json.loads(done.stdout)["results"]
    assert len(results) > 6
    for result in results:
        assert result["status"] in ("passed", "skipped") or result["id"] == PICTURES, result
        assert not result.get("warnings"), result


if __name__ == "__main__":
    main(sys.argv[1])
