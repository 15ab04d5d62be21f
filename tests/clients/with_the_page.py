"""What the page on clients says of LiteLLM, as it stands there. URL is the argument."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def main(url: str) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(program.replace("http://127.0.0.1:3030", url), {})


if __name__ == "__main__":
    main(sys.argv[1])
