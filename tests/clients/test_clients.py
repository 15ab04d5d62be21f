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
MADE = "with_schemathesis.py"
PYTHON = os.environ.get("CLIENTS_PYTHON", "")  # of the environment where they are installed
pytestmark = pytest.mark.skipif(not PYTHON, reason="make test-clients installs them and says where")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel) -> Iterator[Server]:
    server = started(tmp_path_factory.mktemp("clients"), tiny_model)
    yield server
    server.close()


@pytest.fixture
def own_server(tmp_path: Path, tiny_model: TinyModel) -> Iterator[Server]:
    """For a client that leaves nothing as it was, and asks thousands of times without saying how much it wants."""
    server = started(tmp_path, tiny_model, DIFFUSION_MAX_TOKENS="8")
    yield server
    server.close()


def started(folder: Path, tiny_model: TinyModel, **environment: str) -> Server:
    write_map(folder, tiny_model)
    entries = json.loads((folder / "model_map.json").read_text())
    del entries["broken"]  # rightly a fault of the server
    (folder / "model_map.json").write_text(json.dumps(entries))
    # What Reynard's routes are asked without a model's name, hundreds of times, is answered by the quickest one.
    return Server(folder, DIFFUSION_DEFAULT_MODEL="fake", DIFFUSION_MAX_LENGTH="16", **environment)


@pytest.mark.parametrize("program", sorted(path.name for path in HERE.glob("with_*.py") if path.name != MADE))
def test_client(server: Server, program: str) -> None:
    works(server, program, 900)


def test_made_requests(own_server: Server) -> None:
    works(own_server, MADE, 3600)


def works(server: Server, program: str, seconds: float) -> None:
    command = [PYTHON, str(HERE / program), server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in server.log.read_text()
