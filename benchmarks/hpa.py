"""What a HorizontalPodAutoscaler does with its metrics: the controller's arithmetic, without a cluster.

Follows pkg/controller/podautoscaler of Kubernetes (`replica_calculator.go` for external metrics, `horizontal.go` for
behaviours), for a target that has pods. KEDA makes such an object of a ScaledObject and hands its numbers on.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self

SYNC_S = 15.0
TOLERANCE = 0.1


class MetricType(StrEnum):
    """How a metric becomes a number of replicas."""

    VALUE = "Value"
    AVERAGE_VALUE = "AverageValue"


class PolicyType(StrEnum):
    """What a rate limit counts."""

    PODS = "Pods"
    PERCENT = "Percent"


class Trigger(NamedTuple):
    """One metric and its target."""

    name: str
    metric_type: MetricType
    threshold: float

    def desired(self, value: float, *, current: int, ready: int) -> int:
        """Return how many replicas this metric alone asks for."""
        if self.metric_type is MetricType.VALUE:
            ratio = value / self.threshold
            return current if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * ready)
        ratio = value / (self.threshold * current)
        return current if abs(1 - ratio) <= TOLERANCE else math.ceil(value / self.threshold)


class Policy(NamedTuple):
    """At most `value` pods, or percent of them, within a period."""

    kind: PolicyType
    value: int
    period_s: float


@dataclass(frozen=True)
class Rules:
    """How fast one direction may go; a longer window asks for longer agreement first."""

    window_s: float
    policies: Sequence[Policy]

    @classmethod
    def read(cls, spec: Mapping[str, Any]) -> Self:
        """Read scaleUp or scaleDown; of the ways to choose a policy only Max, the default, is known here."""
        if spec.get("selectPolicy", "Max") != "Max":
            raise ValueError(f"selectPolicy is {spec['selectPolicy']}; this model knows Max only")
        policies = [Policy(PolicyType(one["type"]), one["value"], one["periodSeconds"]) for one in spec["policies"]]
        return cls(spec["stabilizationWindowSeconds"], policies)


class _Change(NamedTuple):
    at: float
    replicas: int


@dataclass
class Autoscaler:
    """Decides every `SYNC_S` how many replicas there should be; time is passed in."""

    least: int
    most: int
    triggers: Sequence[Trigger]
    up: Rules
    down: Rules
    _recommended: deque[_Change] = field(default_factory=deque, init=False)
    _changes: deque[_Change] = field(default_factory=deque, init=False)

    @classmethod
    def read(cls, scaled_object: Mapping[str, Any]) -> Self:
        """Read a KEDA ScaledObject."""
        spec = scaled_object["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        triggers = [
            Trigger(one["name"], MetricType(one["metricType"]), float(one["metadata"]["threshold"]))
            for one in spec["triggers"]
        ]
        up, down = Rules.read(behavior["scaleUp"]), Rules.read(behavior["scaleDown"])
        return cls(spec["minReplicaCount"], spec["maxReplicaCount"], triggers, up, down)

    def decide(self, now: float, values: Mapping[str, float], *, current: int, ready: int) -> int:
        """Return the new number of replicas: the largest any metric asks for, within windows and rates."""
        asked = max(one.desired(values[one.name], current=current, ready=ready) for one in self.triggers)
        wanted = self._stabilized(now, min(self.most, max(self.least, asked)), current)
        decided = self._limited(now, wanted, current)
        if decided != current:
            self._changes.append(_Change(now, decided - current))
        return decided

    def _stabilized(self, now: float, asked: int, current: int) -> int:
        """Grow to the least, shrink to the most that was asked for within the direction's window."""
        self._recommended.append(_Change(now, asked))
        while self._recommended[0].at <= now - max(self.up.window_s, self.down.window_s, SYNC_S):
            self._recommended.popleft()
        at_least = min([asked, *self._within(self._recommended, now, self.up.window_s)])
        at_most = max([asked, *self._within(self._recommended, now, self.down.window_s)])
        return min(max(current, at_least), at_most)

    def _limited(self, now: float, wanted: int, current: int) -> int:
        """Go no further than the most generous policy allows."""
        if wanted > current:
            limits = [
                self._before(now, policy, current) + policy.value
                if policy.kind is PolicyType.PODS
                else math.ceil(self._before(now, policy, current) * (1 + policy.value / 100))
                for policy in self.up.policies
            ]
            return min(wanted, max(current, *limits))
        if wanted < current:
            limits = [
                self._before(now, policy, current) - policy.value
                if policy.kind is PolicyType.PODS
                else int(self._before(now, policy, current) * (1 - policy.value / 100))
                for policy in self.down.policies
            ]
            return max(wanted, min(current, *limits))
        return current

    def _before(self, now: float, policy: Policy, current: int) -> int:
        """Return how many replicas there were when the policy's period began."""
        return current - sum(self._within(self._changes, now, policy.period_s))

    @staticmethod
    def _within(changes: deque[_Change], now: float, period_s: float) -> list[int]:
        return [change.replicas for change in changes if change.at > now - period_s]
