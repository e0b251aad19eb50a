"""The place of a rehearsal: registry, pods, proxy, Prometheus and clients, all real, all on this machine."""

import hashlib
import json
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from deploy.rehearsal.load import Clients, count
from deploy.rehearsal.manifests import Arguments, Metric, Plan, seconds
from deploy.rehearsal.processes import Service, infembed, serve
from deploy.rehearsal.prometheus import Prometheus
from deploy.rehearsal.proxy import Proxy
from deploy.rehearsal.scenarios import Model, Scenario
from deploy.rehearsal.stage import Stage, champion_of, new_registry

_STABLE_VERSION, _CANDIDATE_VERSION = 1, 2
_POLICIES = Path(__file__).parents[2] / "configs"
_LAST_LINES = 3


class Pod(NamedTuple):
    """A service on the release that its init container pulled."""

    service: Service
    hash: str
    release: Path

    def serves(self) -> str:
        """Name model and index generation, as the service says."""
        with urllib.request.urlopen(f"{self.service.url}/info", timeout=30) as response:
            info = json.load(response)
        (collection,) = info["collections"].values()
        return f"{info['model_id']} with {collection['documents']} passages of {collection['generation']}"


class Pace(NamedTuple):
    """How many times faster than the manifests, and how many searches a second clients send."""

    speed_up: float
    rate: float


class World:
    """Everything that one scenario needs; leaving it stops every process."""

    def __init__(
        self,
        plan: Plan,
        scenario: Scenario,
        stage: Stage,
        directory: Path,
        *,
        pace: Pace,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._scenario = scenario
        self._stage = stage
        self._directory = directory
        self._pace = pace
        self._say = say
        self._candidate: Pod | None = None
        self.registry = directory / "registry"
        bundles = {Model.UNTRAINED: stage.untrained, Model.RELEASED: stage.released}
        champion, candidate = bundles[scenario.champion], bundles[scenario.candidate]
        new_registry(stage, self.registry, champion=champion, candidate=candidate)
        with ExitStack() as stack:
            self._stack = stack
            self._stable = self._start(_STABLE_VERSION)
            say(f"stable serves {self._stable.serves()}")
            self.proxy = Proxy(directory / "nginx", stable=self._stable.service.address)
            stack.callback(self.proxy.stop)
            self._prometheus = Prometheus(directory / "prometheus", speed_up=pace.speed_up)
            stack.callback(self._prometheus.stop)
            self._watch()
            self.clients = Clients(self.proxy.url, stage.questions, rate=pace.rate)
            stack.callback(self.clients.stop)
            self._stack = stack.pop_all()
        self._sent_at = self.now()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def arguments(self, template: str) -> Arguments:
        """Give a template the paths and addresses of this machine, and windows as much shorter as time is faster."""
        reports = self._directory / "reports"
        window = self._plan.templates["inf-embed-live"].arguments["window"] or "0s"
        return {
            "inf-embed-gate": {
                "champion": str(self._directory / "gate" / "champion"),
                "candidate": str(self._directory / "gate" / "candidate"),
                "policy": str(_POLICIES / "gate.toml"),
                "cache": str(self._stage.gate_cache),
                "reports": str(reports),
            },
            "inf-embed-canary": {
                "stable": self._stable.service.url,
                "candidate": self._candidate.service.url if self._candidate else "",
                "queries": str(self._stage.queries),
                "policy": str(_POLICIES / "canary.toml"),
                "decision": str(reports / "decision.json"),
            },
            "inf-embed-live": {
                "stable-hash": self._stable.hash,
                "candidate-hash": self._candidate.hash if self._candidate else "",
                "prometheus": self._prometheus.url,
                "window": f"{1000 * seconds(window) / self._pace.speed_up:.0f}ms",
            },
            "inf-embed-promote": {"reports": str(reports)},
        }[template]

    def start_candidate(self) -> None:
        """Start the candidate's pod on the pair that its version names."""
        self._candidate = self._start(_CANDIDATE_VERSION, fault=self._fault_file if self._scenario.fault else None)
        self._watch()
        self._say(f"candidate's pod, no traffic, serves {self._candidate.serves()}")

    def send(self, percent: int) -> None:
        """Split the traffic, and let the candidate go wrong where the scenario says so."""
        scenario = self._scenario
        if scenario.fault and percent >= scenario.fault_from and not self._fault_file.exists():
            scenario.fault.switch_on(self._fault_file)
            self._say(f"(the candidate goes wrong: {scenario.fault})")
        self.proxy.send(percent, self._candidate.service.address if self._candidate and percent else None)
        self._say(f"clients meanwhile: {count(self.clients.answers(since=self._sent_at))}")
        self._sent_at = self.now()
        self._say(f"traffic: {100 - percent} % stable, {percent} % candidate")

    def measure(self, query: str) -> float | None:
        """Ask Prometheus."""
        return self._prometheus.value(query)

    def run_job(self, metric: Metric) -> bool:
        """Run a job's commands, one after the other; the first exit code but 0 fails it."""
        for command in map(self._as_rehearsed, metric.commands):
            log = self._directory / f"{metric.name}.log"
            ended = infembed(command, log=log, environment={"INFEMBED_REGISTRY": str(self.registry)})
            if ended.code:
                self._say(f"infembed {' '.join(command[:2])}: exit code {ended.code}")
                for line in _reasons(ended.text):
                    self._say(f"  {line}")
                return False
        self._say(f"infembed {metric.commands[-1][0]}: exit code 0 ({metric.name})")
        return True

    def _as_rehearsed(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out the gate's decision where the scenario leaves out the gate."""
        has_gate = "inf-embed-gate" not in self._scenario.without
        return tuple(word for word in command if has_gate or not word.startswith("--decision="))

    def now(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds_: float) -> None:
        """Wait."""
        time.sleep(seconds_)

    def champion(self) -> dict[str, Any]:
        """Return the registry's champion: version, bundle and index pointer."""
        return champion_of(self.registry)

    @property
    def _fault_file(self) -> Path:
        return self._directory / "fault.json"

    def _start(self, version: int, *, fault: Path | None = None) -> Pod:
        """Do what a pod does: pull what release.yaml says, then serve it."""
        out = self._directory / f"pod-{version}"
        command = [_here(argument, out, version) for argument in self._plan.pull]
        log = self._directory / f"pod-{version}.log"
        ended = infembed(command, log=log, environment={"INFEMBED_REGISTRY": str(self.registry)})
        if ended.code:
            raise RuntimeError(f"the pod of version {version} could not pull its release: {ended.text}")
        current = out / "current"
        service = serve(current / "bundle", current / "collections", log=log.with_suffix(".serve.log"), fault=fault)
        self._stack.callback(service.stop)
        return Pod(service, hashlib.sha256(str(version).encode()).hexdigest()[:10], current.resolve())

    def _watch(self) -> None:
        pods = [pod for pod in (self._stable, self._candidate) if pod]
        self._prometheus.watch({pod.hash: pod.service.address for pod in pods})


def _here(argument: str, out: Path, version: int) -> str:
    """Put the directory and the version of this pod into an argument of release.yaml."""
    if argument.startswith("--version="):
        return f"--version={version}"
    return str(out) if argument.startswith("/") else argument


def _reasons(text: str) -> list[str]:
    """Return the lines of a refused job's output that say why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("FAIL", "INCONCLUSIVE")) or "error:" in line]
    return telling or lines[-_LAST_LINES:]
