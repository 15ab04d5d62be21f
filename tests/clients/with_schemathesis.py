"""Requests of all kinds, made from `/openapi.json`: no answer is a fault of the server, and all have the stated shape.

    python with_schemathesis.py URL
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What they all are: none may fault the server or answer in a shape that is not stated.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = "25"
PHASES = "examples,fuzzing"  # its third, every bound of every field, is thousands of requests: test_every_route has it


def main(url: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    how = ["--checks", CHECKS, "--max-examples", EXAMPLES, "--generation-deterministic", "--no-color",
           "--request-timeout", "120", "--phases", PHASES]  # fmt: skip
    # They change what the other requests meet, or tell of changes without end.
    asked = ["--exclude-path-regex", "^/(admin/(models|stop)|models)"]
    raise SystemExit(subprocess.run([*command, *how, *asked], check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1])
