"""What SIGTERM and SIGHUP do to a real service under load."""

import itertools
import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from index.build import build_collection
from infembed.encoder import OnnxEncoder
from service.keys import hash_key, new_key
from tests.service.processes import get, post, serving

pytestmark = pytest.mark.slow


def _build(directory: Path, bundle: Path, words: str) -> Path:
    passages = directory / "passages.jsonl"
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"{words} {n}"}) + "\n" for n in range(3)))
    path = directory / "collections" / "words"
    build_collection(passages, path, encoder=OnnxEncoder.open(bundle, n_threads=1), bundle_name="tiny")
    return path.parent


def test_sigterm_turns_readiness_off_finishes_every_request_and_exits_0(tmp_path: Path, tiny_bundle: Path) -> None:
    """A load balancer goes by /ready: as long as it sends requests, each is served."""
    collections = _build(tmp_path, tiny_bundle, "bread")
    is_ready = threading.Event()
    is_ready.set()
    delay = {"INFEMBED_SHUTDOWN_DELAY_S": "5"}

    def ask(url: str) -> list[int]:
        return [
            post(f"{url}/search", {"query": "bread 1"}).status
            for _ in itertools.takewhile(lambda _: is_ready.is_set(), itertools.count())
        ]

    with (
        serving("--bundle", tiny_bundle, "--collections", collections, environment=delay) as service,
        ThreadPoolExecutor(3) as pool,
    ):
        asking = [pool.submit(ask, service.url) for _ in range(3)]
        assert get(f"{service.url}/ready").status == 200
        service.process.send_signal(signal.SIGTERM)
        while get(f"{service.url}/ready").status == 200:
            pass
        assert b"shutting down" in get(f"{service.url}/ready").body
        is_ready.clear()
        statuses = [status for asked in asking for status in asked.result()]
        assert service.process.wait(timeout=60) == 0
    assert statuses
    assert set(statuses) == {200}


def test_a_request_that_runs_when_sigterm_comes_is_answered(tiny_bundle: Path) -> None:
    with serving("--bundle", tiny_bundle) as service, ThreadPoolExecutor(1) as pool:
        running = pool.submit(post, f"{service.url}/embed", {"inputs": ["bread " * 40] * 2000})
        while b"infembed_queue_tokens 0.0" in get(f"{service.url}/metrics").body:
            pass
        service.process.send_signal(signal.SIGTERM)
        assert running.result().status == 200
        assert service.process.wait(timeout=60) == 0


def test_sighup_picks_up_a_new_index_under_load(tmp_path: Path, tiny_bundle: Path) -> None:
    collections = _build(tmp_path, tiny_bundle, "bread")
    is_done = threading.Event()

    def ask(url: str) -> list[int]:
        return [
            post(f"{url}/search", {"query": "bread 1"}).status
            for _ in itertools.takewhile(lambda _: not is_done.is_set(), itertools.count())
        ]

    with (
        serving("--bundle", tiny_bundle, "--collections", collections) as service,
        ThreadPoolExecutor(2) as pool,
    ):
        asking = [pool.submit(ask, service.url) for _ in range(2)]
        _build(tmp_path, tiny_bundle, "oven")
        os.kill(service.process.pid, signal.SIGHUP)
        line = json.loads(service.wait_for_log('"reloaded"'))
        assert line["collections"]["words"].startswith("gen-000002-")
        found = json.loads(post(f"{service.url}/search", {"query": "oven 1"}).body)
        assert found["results"][0]["text"] == "oven 1"
        is_done.set()
        assert {status for asked in asking for status in asked.result()} == {200}


def test_keys_of_the_settings_file_are_asked_for_and_nothing_secret_is_written(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    key = new_key()
    stored = hash_key(key)
    file = tmp_path / "infembed.toml"
    file.write_text(f'keys.me = {{ scopes = ["embed"], hash = "{stored}" }}\nlog_level = "debug"\n')
    body = {"inputs": "zanzibar"}
    with serving("--bundle", tiny_bundle, "--config", file) as service:
        assert post(f"{service.url}/embed", body).status == 401
        assert post(f"{service.url}/search", body, key=key).status == 403
        assert post(f"{service.url}/embed?key={key}", body, key=key).status == 200
        assert post(f"{service.url}/embed", {"inputs": "", "zanzibar": 1}, key=key).status == 422
        written = service.end()
    assert '"status":200' in written
    assert '"key":"me"' in written
    for secret in (key, stored, stored.rpartition(":")[2], "zanzibar"):
        assert secret not in written
