"""Other people's clients against a real server, each in the environment that `make test-clients` sets up for them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TinyModel
from tests.server.conftest import Server, write_map

HERE = Path(__file__).parent
PYTHON = os.environ.get("CLIENTS_PYTHON", "")  # of the environment where they are installed
pytestmark = pytest.mark.skipif(not PYTHON, reason="make test-clients installs them and says where")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    write_map(folder, tiny_model)
    entries = json.loads((folder / "model_map.json").read_text())
    del entries["broken"]  # rightly a fault of the server
    (folder / "model_map.json").write_text(json.dumps(entries))
    # What Reynard's routes are asked without a model's name, hundreds of times, is answered by the quickest one.
    server = Server(folder, DIFFUSION_DEFAULT_MODEL="fake", DIFFUSION_MAX_LENGTH="16")
    yield server
    server.close()


@pytest.mark.parametrize("program", sorted(path.name for path in HERE.glob("with_*.py")))
def test_client(server: Server, program: str) -> None:
    command = [PYTHON, str(HERE / program), server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in server.log.read_text()
