"""One tiny service for all tests of clients, started by the Python that has it (CLIENTS_SERVICE_PYTHON)."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.clients.contract import BUSY_FILE, RunningService

ROOT = Path(__file__).parents[2]
Embed = Callable[..., npt.NDArray[np.float32]]

# Read when the libraries are imported; nothing here may call home.
os.environ.update(
    ANONYMIZED_TELEMETRY="False",
    HAYSTACK_TELEMETRY_ENABLED="False",
    HF_HUB_DISABLE_TELEMETRY="1",
    NVIDIA_API_KEY="unused",
)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Start the service; give its address, and the file that makes it refuse work."""
    directory = tmp_path_factory.mktemp("service")
    python = os.environ.get("CLIENTS_SERVICE_PYTHON", sys.executable)
    command = [python, "-m", "tests.clients.tiny_service", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.startswith("ready on "):
                pytest.fail(
                    f"{' '.join(command)} did not start a service; set CLIENTS_SERVICE_PYTHON (CONTRIBUTING.md)"
                )
            yield RunningService(said.removeprefix("ready on ").strip(), directory / BUSY_FILE)
        finally:
            process.kill()


@pytest.fixture
def url(service: RunningService) -> str:
    return service.url


@pytest.fixture
def embed(service: RunningService) -> Embed:
    """Embed through plain HTTP: what every client's vectors are compared with."""

    def ask(texts: list[str], **options: Any) -> npt.NDArray[np.float32]:
        body = json.dumps({"inputs": texts, **options}).encode()
        request = urllib.request.Request(f"{service.url}/embed", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return np.array(json.load(response), dtype=np.float32)

    return ask


@pytest.fixture
def busy(service: RunningService) -> Iterator[Path]:
    """The file that makes the service refuse work; gone again after the test."""
    service.busy.touch()
    yield service.busy
    service.busy.unlink(missing_ok=True)
