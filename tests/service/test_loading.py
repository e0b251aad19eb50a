"""What the service answers while its model loads: it is alive, and everything else in good time."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from starlette.testclient import TestClient

from infembed.errors import BadArtefactError
from service.app import create_app
from service.loading import Loaded
from service.settings import Settings
from tests.service.app import FaultyEncoder, ListCollection
from tests.service.processes import Service, get, post

SENTENCE = "the service is loading its model; try again soon"


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


@pytest.fixture
def client(tiny_bundle: Path, go: threading.Event) -> Iterator[TestClient]:
    """A service whose model is there when `go` is set."""

    def load(now: Loaded | None) -> Loaded:
        assert go.wait(timeout=60)
        return now or Loaded(FaultyEncoder(tiny_bundle), ())

    with TestClient(create_app(Settings(), reload=load), raise_server_exceptions=False) as client:
        try:
            yield client
        finally:
            go.set()


def _wait_until_ready(client: TestClient) -> None:
    while client.get("/ready").status_code != 200:
        pass


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/embed", {"inputs": "bread"}),
        ("POST", "/", {"inputs": "bread"}),
        ("POST", "/search", {"query": "bread"}),
        ("POST", "/similarity", {"inputs": {"source_sentence": "bread", "sentences": ["oven"]}}),
        ("POST", "/tokenize", {"inputs": "bread"}),
        ("GET", "/info", None),
        ("GET", "/ready", None),
    ],
)
def test_work_and_readiness_are_told_that_the_model_is_loading(
    client: TestClient, method: str, path: str, body: object
) -> None:
    response = client.request(method, path, json=body)
    assert response.status_code == 503
    assert response.json() == {"error": SENTENCE, "error_type": "Unhealthy"}
    assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("1", "1000")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/embeddings"), ("POST", "/embeddings"), ("GET", "/v1/models")]
)
def test_openais_clients_get_the_same_in_their_form(client: TestClient, method: str, path: str) -> None:
    response = client.request(method, path, json={"input": "bread"} if method == "POST" else None)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"] == {"message": SENTENCE, "type": "server_error", "param": None, "code": "unhealthy"}


def test_a_loading_service_is_alive_and_counts(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    client.post("/embed", json={"inputs": "bread"})
    assert 'infembed_errors_total{error_type="Unhealthy"} 1.0' in client.get("/metrics").text


def test_the_first_forward_pass_opens_the_doors(client: TestClient, go: threading.Event) -> None:
    assert client.post("/embed", json={"inputs": "bread"}).status_code == 503
    go.set()
    _wait_until_ready(client)
    assert len(client.post("/embed", json={"inputs": "bread"}).json()[0]) == 32
    assert client.get("/info").json()["dim"] == 32
    assert {"/embed", "/health", "/metrics", "/ready"} <= set(client.get("/openapi.json").json()["paths"])


def test_a_draining_service_refuses_in_the_same_form(client: TestClient, go: threading.Event) -> None:
    loading = client.get("/ready")
    go.set()
    _wait_until_ready(client)
    client.app.state.life.is_draining = True  # type: ignore[attr-defined]
    draining = client.get("/ready")
    assert draining.status_code == 503
    assert draining.json() == {"error": "the service is shutting down", "error_type": "Unhealthy"}
    assert draining.headers["retry-after"] == loading.headers["retry-after"]


def test_stopping_a_service_that_loads_ends_what_was_loaded(tiny_bundle: Path) -> None:
    collection = ListCollection("words", FaultyEncoder(tiny_bundle).encode([]), [])
    is_asked, go = threading.Event(), threading.Event()

    def load(_: Loaded | None) -> Loaded:
        is_asked.set()
        assert go.wait(timeout=60)
        return Loaded(FaultyEncoder(tiny_bundle), [collection])

    with TestClient(create_app(Settings(), reload=load)) as client:
        assert client.get("/health").status_code == 200
        assert is_asked.wait(timeout=60)
        threading.Timer(0, go.set).start()
    assert collection.is_closed


def test_a_model_that_is_given_but_does_not_work_is_no_start(tiny_bundle: Path) -> None:
    encoder = FaultyEncoder(tiny_bundle)
    app = create_app(Settings(), encoder=encoder)
    encoder.fault = BadArtefactError("broken")
    with pytest.raises(BadArtefactError, match="broken"), TestClient(app):
        pass


@contextmanager
def _held(bundle: Path) -> Iterator[Service]:
    command = [sys.executable, "-m", "tests.service.held_start", str(bundle)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Service(process)
        finally:
            process.kill()


def _say(service: Service, line: str) -> None:
    assert service.process.stdin is not None
    service.process.stdin.write(f"{line}\n")
    service.process.stdin.flush()


@pytest.mark.slow
def test_a_real_port_answers_before_the_model_is_loaded(tiny_bundle: Path) -> None:
    with _held(tiny_bundle) as service:
        assert get(f"{service.url}/health").status == 200
        refused = post(f"{service.url}/embed", {"inputs": "bread"})
        assert (refused.status, orjson.loads(refused.body)["error"]) == (503, SENTENCE)
        _say(service, "go")
        while get(f"{service.url}/ready").status != 200:
            pass
        assert post(f"{service.url}/embed", {"inputs": "bread"}).status == 200
        service.end()


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_process_with_its_sentence(tiny_bundle: Path) -> None:
    with _held(tiny_bundle) as service:
        assert get(f"{service.url}/ready").status == 503
        _say(service, "the bundle is broken; make it again")
        assert service.process.wait(timeout=60) == 1
        assert service.wait_for_log("failed:").strip() == "failed: the bundle is broken; make it again"


@pytest.mark.slow
def test_a_service_told_to_stop_while_it_loads_exits_with_0(tiny_bundle: Path) -> None:
    with _held(tiny_bundle) as service:
        assert get(f"{service.url}/health").status == 200
        service.process.send_signal(signal.SIGTERM)
        _say(service, "go")
        assert service.process.wait(timeout=60) == 0
