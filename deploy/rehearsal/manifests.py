"""What deploy/canary/argo says, read into values: what is rehearsed is what is deployed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from deploy.rehearsal.conditions import Condition

ARGO = Path(__file__).parents[1] / "canary" / "argo"
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PLACEHOLDER = re.compile(r"\{\{\s*args\.([\w-]+)\s*\}\}")

Arguments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Send this share of the traffic to the candidate."""

    percent: int


@dataclass(frozen=True, slots=True)
class SetScale:
    """Run this many pods of the candidate; None: as many as the weight asks for."""

    replicas: int | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, while the background analysis goes on."""

    duration_s: float


@dataclass(frozen=True, slots=True)
class Analyse:
    """Run these templates to their end; a failure aborts."""

    templates: tuple[str, ...]


Step = SetWeight | SetScale | Pause | Analyse


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a template: a query with a condition, or the commands of a job, whose exit codes decide."""

    name: str
    query: str | None = None
    condition: Condition | None = None
    commands: tuple[tuple[str, ...], ...] = ()
    initial_delay_s: float = 0.0
    interval_s: float = 0.0
    failure_limit: int = 0
    error_limit: int = 4


@dataclass(frozen=True, slots=True)
class Template:
    """An AnalysisTemplate; an argument of None has no default."""

    name: str
    arguments: Mapping[str, str | None]
    metrics: tuple[Metric, ...]

    def filled(self, given: Arguments) -> tuple[Metric, ...]:
        """Return the metrics with every placeholder replaced, by what is given or else by the default."""
        values = {name: given.get(name, default) for name, default in self.arguments.items()}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise ValueError(f"template {self.name} needs {', '.join(missing)}")
        known = {name: value for name, value in values.items() if value is not None}
        return tuple(_fill(metric, known) for metric in self.metrics)


@dataclass(frozen=True, slots=True)
class Plan:
    """A Rollout with the templates that it names, and how its pods get their release."""

    steps: tuple[Step, ...]
    background: tuple[str, ...]
    background_from: int
    templates: Mapping[str, Template]
    pull: tuple[str, ...]


def read_plan(directory: Path = ARGO) -> Plan:
    """Read the Rollout, its AnalysisTemplates and release.yaml."""
    objects = [found for path in sorted(directory.glob("*.yaml")) for found in yaml.safe_load_all(path.read_text())]
    (rollout,) = (found for found in objects if found.get("kind") == "Rollout")
    templates = [_template(found) for found in objects if found.get("kind") == "AnalysisTemplate"]
    canary = rollout["spec"]["strategy"]["canary"]
    background = canary.get("analysis", {})
    release = yaml.safe_load((directory / "release.yaml").read_text())
    (init,) = release["spec"]["template"]["spec"]["initContainers"]
    return Plan(
        steps=tuple(_step(step) for step in canary["steps"]),
        background=_names(background),
        background_from=int(background.get("startingStep", 0)),
        templates={template.name: template for template in templates},
        pull=tuple(init["args"]),
    )


def seconds(text: str | int) -> float:
    """Read a duration as Kubernetes writes it: `10m`, `1h30m`, or a number of seconds."""
    if isinstance(text, int):
        return float(text)
    if text.isdigit():
        return float(text)
    if not re.fullmatch(rf"({_DURATION.pattern})+", text):
        raise ValueError(f"{text!r} is no duration like 90s, 10m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


def _step(step: Mapping[str, Any]) -> Step:
    ((kind, value),) = step.items()
    match kind:
        case "setWeight":
            return SetWeight(int(value))
        case "setCanaryScale":
            return SetScale(value.get("replicas"))
        case "pause":
            return Pause(seconds(value["duration"]))
        case "analysis":
            return Analyse(_names(value))
    raise ValueError(f"the rehearsal does not know the step {kind!r}")


def _names(analysis: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(template["templateName"] for template in analysis.get("templates", ()))


def _template(manifest: Mapping[str, Any]) -> Template:
    spec = manifest["spec"]
    return Template(
        name=manifest["metadata"]["name"],
        arguments={argument["name"]: argument.get("value") for argument in spec.get("args", ())},
        metrics=tuple(_metric(metric) for metric in spec["metrics"]),
    )


def _metric(metric: Mapping[str, Any]) -> Metric:
    ((kind, provider),) = metric["provider"].items()
    if kind == "job":
        return Metric(metric["name"], commands=tuple(_commands(provider["spec"]["template"]["spec"])))
    if kind != "prometheus":
        raise ValueError(f"the rehearsal does not know the provider {kind!r} of metric {metric['name']}")
    return Metric(
        name=metric["name"],
        query=provider["query"],
        condition=Condition.parse(metric["successCondition"]),
        initial_delay_s=seconds(metric.get("initialDelay", 0)),
        interval_s=seconds(metric.get("interval", 0)),
        failure_limit=int(metric.get("failureLimit", 0)),
        error_limit=int(metric.get("consecutiveErrorLimit", 4)),
    )


def _commands(pod: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield what follows `infembed`, of the init containers in their order and then of the container."""
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        yield tuple(container["args"])


def _fill(metric: Metric, values: Arguments) -> Metric:
    def fill(text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: values[found[1]], text)

    return replace(
        metric,
        query=None if metric.query is None else fill(metric.query),
        commands=tuple(tuple(map(fill, command)) for command in metric.commands),
    )


def weights_of(steps: Sequence[Step]) -> tuple[int, ...]:
    """Return the shares of traffic in their order."""
    return tuple(step.percent for step in steps if isinstance(step, SetWeight))
