"""A real Prometheus that scrapes both tracks with the labels that they have in a cluster."""

import json
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import yaml

from deploy.rehearsal.processes import free_port, wait_until

HASH_LABEL = "rollouts_pod_template_hash"
_SCRAPE_INTERVAL_S = 15.0
"""That of the ServiceMonitor in deploy/kubernetes."""


class Prometheus:
    """A running server; `watch` says whom it scrapes."""

    def __init__(self, directory: Path, *, speed_up: float) -> None:
        directory.mkdir(parents=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._targets = directory / "targets.json"
        self._targets.write_text("[]")
        interval = f"{max(100, round(1000 * _SCRAPE_INTERVAL_S / speed_up))}ms"
        job = {
            "job_name": "inf-embed",
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
        }
        configuration = directory / "prometheus.yml"
        configuration.write_text(yaml.safe_dump({"scrape_configs": [job]}))
        command = [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with (directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._is_ready, what=f"Prometheus starts ({directory / 'prometheus.log'})")

    def watch(self, addresses: Mapping[str, str]) -> None:
        """Scrape these: pod template hash to address."""
        groups = [{"targets": [address], "labels": {HASH_LABEL: name}} for name, address in addresses.items()]
        draft = self._targets.with_suffix(".tmp")
        draft.write_text(json.dumps(groups))
        draft.replace(self._targets)
        wait_until(lambda: self._n_up() == len(addresses), what=f"Prometheus scrapes {', '.join(addresses.values())}")

    def value(self, query: str) -> float | None:
        """Run a query; None where it has no value, or more than one."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(address, timeout=30) as response:
            result = json.load(response)["data"]["result"]
        return float(result[0]["value"][1]) if len(result) == 1 else None

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as response:
            return bool(response.status == 200)

    def _n_up(self) -> int:
        return int(self.value('count(up{job="inf-embed"} == 1)') or 0)
