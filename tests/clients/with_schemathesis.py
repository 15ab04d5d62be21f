"""Requests of all kinds, made from `/openapi.json`: no answer is a fault of the server, and all have the stated shape.

    python with_schemathesis.py URL

The server is one that nobody else asks: models are loaded, forgotten and given names.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CONFIG = Path(__file__).with_name("schemathesis.toml")
# What they all are: none may fault the server or answer in a shape that is not stated.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "unsupported_method,allow_header_conformance,use_after_free"
)
EXAMPLES = "25"
# The first would be the last request, and has tests of its own (test_routes, test_commands). The second changes what
# all of Reynard's routes do afterwards, so it is asked when these have been.
STOP, CONFIGURE = "/admin/stop", "/api/diffusion/config"
RUNS = [
    ["--exclude-path-regex", f"^({STOP}|{CONFIGURE})$"],
    ["--include-path", CONFIGURE, "--phases", "coverage,fuzzing"],  # no route leads to another here
]


def main(url: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run"]
    how = ["--checks", CHECKS, "--max-examples", EXAMPLES, "--generation-deterministic", "--no-color",
           "--request-timeout", "120"]  # fmt: skip
    runs = [[*command, f"{url}/openapi.json", *how, *asked] for asked in RUNS]
    raise SystemExit(max(subprocess.run(run, check=False).returncode for run in runs))


if __name__ == "__main__":
    main(sys.argv[1])
