"""Carry a plan out as the Argo Rollouts controller would: the steps, the live analysis beside them, the abort."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from deploy.rehearsal.analysis import LiveAnalysis
from deploy.rehearsal.manifests import Analyse, Arguments, Metric, Pause, Plan, SetScale, SetWeight

_TICK_S = 0.2


class Cluster(Protocol):
    """What a rollout acts on; `world.World` is one."""

    def arguments(self, template: str) -> Arguments:
        """Return what the Rollout and this place give a template."""
        ...

    def start_candidate(self) -> None: ...

    def send(self, percent: int) -> None: ...

    def measure(self, query: str) -> float | None: ...

    def run_job(self, metric: Metric) -> bool: ...

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended; `failed` names what aborted it, empty: nothing did."""

    failed: tuple[str, ...]
    percent: int

    @property
    def is_promoted(self) -> bool:
        return not self.failed


class Rollout:
    """One rollout of a candidate; `say` gets a line for whatever happens."""

    def __init__(self, plan: Plan, cluster: Cluster, *, speed_up: float, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._cluster = cluster
        self._speed_up = speed_up
        self._say = say
        self._live: LiveAnalysis | None = None
        self._percent = 0
        self._failed: tuple[str, ...] = ()

    def run(self, *, without: frozenset[str] = frozenset()) -> Outcome:
        """Take every step, but for analyses of these templates; the first failure sends all traffic back."""
        for number, step in enumerate(self._plan.steps):
            if number == self._plan.background_from and self._plan.background:
                self._live = self._start_live()
            match step:
                case SetScale(replicas=replicas):
                    if replicas:
                        self._cluster.start_candidate()
                case SetWeight(percent=percent):
                    self._cluster.send(percent)
                    self._percent = percent
                case Pause(duration_s=duration_s):
                    self._wait(duration_s / self._speed_up)
                case Analyse(templates=templates):
                    self._analyse([name for name in templates if name not in without])
            if self._failed:
                return self._abort()
        return Outcome((), self._percent)

    def _start_live(self) -> LiveAnalysis:
        metrics = [metric for name in self._plan.background for metric in self._metrics(name)]
        names = ", ".join(metric.name for metric in metrics)
        self._say(f"watching {names}")
        return LiveAnalysis(metrics, self._cluster.measure, now=self._cluster.now(), speed_up=self._speed_up)

    def _metrics(self, template: str) -> tuple[Metric, ...]:
        return self._plan.templates[template].filled(self._cluster.arguments(template))

    def _wait(self, duration_s: float) -> None:
        until = self._cluster.now() + duration_s
        while self._cluster.now() < until and not self._failed:
            self._watch()
            self._cluster.sleep(_TICK_S)
        if self._live and self._live.last and not self._failed:
            self._say("; ".join(_shown(self._live.last)))

    def _watch(self) -> None:
        if self._live is None:
            return
        for measurement in self._live.tick(self._cluster.now()):
            self._say(str(measurement))
        self._failed = self._live.failed

    def _analyse(self, templates: list[str]) -> None:
        for metric in (metric for name in templates for metric in self._metrics(name)):
            if not self._cluster.run_job(metric):
                self._failed = (metric.name,)
                return

    def _abort(self) -> Outcome:
        self._say(f"ABORT: {', '.join(self._failed)}")
        reached = self._percent
        if reached:
            self._cluster.send(0)
        return Outcome(self._failed, reached)


def _shown(last: Mapping[str, object]) -> list[str]:
    return [str(measurement).partition(":")[0] for measurement in last.values()]
