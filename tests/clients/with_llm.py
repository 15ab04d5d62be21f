"""`llm` with the settings on the page on clients: asked, streamed, for a form, and its errors. URL is the argument."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
LONG = "x " * 3000


def main(url: str) -> None:
    (settings,) = re.findall(
        r"^```yaml\n(- model_id.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "extra-openai-models.yaml").write_text(settings.replace("http://127.0.0.1:3030", url))

        def ask(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "llm", "-m", "nano-ar", *words]
            where = os.environ | {"LLM_USER_PATH": folder}
            return subprocess.run(
                command, env=where, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
            )

        plain, streamed = ask("--no-stream", "12+35="), ask("12+35=")
        assert "47" in plain.stdout and plain.stdout == streamed.stdout, (plain, streamed)
        assert ask("-c", "7+8=").stdout.strip()
        person = ask("--schema", "age int", "-o", "max_tokens", "60", "How old?")
        assert isinstance(json.loads(person.stdout)["age"], int), person
        long = ask(LONG)
        assert long.returncode and "exceeds the available context size of 512" in long.stderr, long


if __name__ == "__main__":
    main(sys.argv[1])
