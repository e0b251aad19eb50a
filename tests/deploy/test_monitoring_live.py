"""A real Prometheus scrapes a real service: what the code says it exports is what arrives, and every query finds it."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from deploy.monitoring.check import problems_of, series_of
from deploy.monitoring.exported import of_code, of_prometheus, with_recorded
from deploy.monitoring.promql import PLACEHOLDER
from deploy.monitoring.written import Written, dashboards, everything, rules
from index.build import build_collection
from infembed.encoder import OnnxEncoder
from tests.service.processes import Service, get, post, serving

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian: prometheus)"),
]
_SCRAPES = 4
_SETTINGS = {"INFEMBED_EFFECT_SAMPLE_RATIO": "1", "INFEMBED_BULK_INPUTS": "2"}


class Prometheus(NamedTuple):
    """A running Prometheus."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Call its API; an error is one of the test."""
        answer = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        body = json.loads(answer.body)
        assert body["status"] == "success", (parameters, body)
        return body["data"]


@pytest.fixture(scope="module")
def prometheus(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The committed configuration and rules, on a service that has seen a bit of everything."""
    directory = tmp_path_factory.mktemp("monitoring")
    collections = _collection(directory, tiny_bundle)
    with (
        serving("--bundle", tiny_bundle, "--collections", collections, environment=_SETTINGS) as service,
        _scraping(service, directory) as started,
    ):
        _use(service)
        while not _has_scraped(started):
            _use(service)
        yield started


def test_prometheus_learns_exactly_what_the_code_says_it_exports(prometheus: Prometheus) -> None:
    by_code = {name: labels for name, labels in of_code().items() if name.startswith(("infembed_", "process_"))}
    scraped = of_prometheus(series_of(prometheus.url))
    assert {name: labels for name, labels in scraped.items() if name.startswith(("infembed_", "process_"))} == by_code


def test_recording_rules_make_what_the_checker_expects(prometheus: Prometheus) -> None:
    expected = with_recorded(of_code(), rules(ROOT))
    recorded: dict[str, set[str]] = {}
    for series in series_of(prometheus.url):
        if ":" in series["__name__"]:
            recorded[series["__name__"]] = set(series) - {"__name__"}
    assert recorded == {name: set(labels) for name, labels in expected.items() if ":" in name}


def test_every_query_of_the_repository_asks_for_what_was_scraped(prometheus: Prometheus) -> None:
    assert list(map(str, problems_of(ROOT, of_prometheus(series_of(prometheus.url))))) == []


def test_every_query_of_the_repository_runs(prometheus: Prometheus) -> None:
    for written in everything(ROOT):
        if written.path.startswith("deploy/monitoring/tests/"):
            continue
        prometheus.ask("query", query=_filled(written))


def test_every_panel_of_the_dashboard_has_something_to_show(prometheus: Prometheus) -> None:
    now = time.time()
    empty = [
        written.where
        for written in dashboards(ROOT)
        if not written.where.startswith("annotation")  # shows something when something is wrong
        and not prometheus.ask("query_range", query=_filled(written), start=str(now - 30), end=str(now), step="5")[
            "result"
        ]
    ]
    assert empty == []


def test_no_rule_fails_and_no_alert_of_a_healthy_service_fires(prometheus: Prometheus) -> None:
    groups = prometheus.ask("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules(ROOT))
    assert {rule["name"]: rule["lastError"] for rule in found if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in found if rule.get("state") == "firing"] == []


def _collection(directory: Path, bundle: Path) -> Path:
    passages = directory / "passages.jsonl"
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"bread {n}"}) + "\n" for n in range(30)))
    path = directory / "collections" / "bread"
    build_collection(passages, path, encoder=OnnxEncoder.open(bundle, n_threads=1), bundle_name="tiny")
    return path.parent


@contextmanager
def _scraping(service: Service, directory: Path) -> Iterator[Prometheus]:
    """Run Prometheus with the committed configuration, but for addresses and how often it looks."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / pattern) for pattern in config["rule_files"]]
    (target,) = config["scrape_configs"][0]["static_configs"]
    target["targets"] = [urllib.parse.urlsplit(service.url).netloc]
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={file}", f"--web.listen-address={address}"]
    log = directory / "prometheus.log"
    with (
        log.open("w") as written,
        subprocess.Popen([*command, f"--storage.tsdb.path={directory / 'data'}"], stderr=written) as process,
    ):
        try:
            while "Server is ready to receive web requests" not in log.read_text():
                assert process.poll() is None, log.read_text()
            yield Prometheus(f"http://{address}")
        finally:
            process.kill()


def _use(service: Service) -> None:
    """Do what users do, mistakes included."""
    url = service.url
    instructed = {"query": "bread", "instruction": "no yeast, and not for a child"}
    for path, body, status in (
        ("/embed", {"inputs": "bread"}, 200),
        ("/embed", {"inputs": ["bread"] * 3}, 200),
        ("/embed", {"inputs": "bread " * 600}, 200),
        ("/embed", {"inputs": []}, 400),
        ("/embed", {"inputs": ["bread", "oven"], "instruction": "no yeast"}, 200),
        ("/v1/embeddings", {"input": "bread", "model": "tiny"}, 200),
        ("/similarity", {"inputs": {"source_sentence": "bread", "sentences": ["oven"]}}, 200),
        ("/search", {"query": "bread"}, 200),
        ("/search", instructed, 200),
        ("/search", {**instructed, "explain": True}, 200),
    ):
        assert post(f"{url}{path}", body).status == status
    assert get(f"{url}/ready").status == 200
    assert get(f"{url}/nothing").status == 404


def _has_scraped(prometheus: Prometheus) -> bool:
    counted = prometheus.ask("query", query='count_over_time(up{job="inf-embed"}[5m])')["result"]
    recorded = prometheus.ask("query", query="infembed:instruction_effects:increase1h > 0")["result"]
    return bool(counted) and float(counted[0]["value"][1]) >= _SCRAPES and bool(recorded)


def _filled(written: Written) -> str:
    return written.expression.replace(PLACEHOLDER, ".*")
