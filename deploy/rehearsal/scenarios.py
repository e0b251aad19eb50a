"""The candidates of the rehearsal, and how each must end."""

from dataclasses import dataclass
from enum import StrEnum

from deploy.rehearsal.faults import Fault


class Model(StrEnum):
    """A bundle of the stage."""

    UNTRAINED = "untrained"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A champion, a candidate, what is wrong with it and from which share on, and which checks may stop it."""

    name: str
    says: str
    champion: Model
    candidate: Model
    stopped_by: frozenset[str] = frozenset()
    fault: Fault | None = None
    fault_from: int = 0
    without: frozenset[str] = frozenset()

    @property
    def is_good(self) -> bool:
        return not self.stopped_by


SCENARIOS = (
    Scenario(
        "good",
        "the released model is to replace the untrained one: promoted",
        champion=Model.UNTRAINED,
        candidate=Model.RELEASED,
    ),
    Scenario(
        "worse",
        "a model that follows instructions worse: the gate stops it before it gets a pod",
        champion=Model.RELEASED,
        candidate=Model.UNTRAINED,
        stopped_by=frozenset({"gate"}),
    ),
    Scenario(
        "unjudged",
        "the same, but somebody has taken the gate out of the Rollout: the live probes stop it before it gets traffic",
        champion=Model.RELEASED,
        candidate=Model.UNTRAINED,
        stopped_by=frozenset({"canary"}),
        without=frozenset({"inf-embed-gate"}),
    ),
    Scenario(
        "slow",
        "a good model whose pods turn slow under a quarter of the traffic: rolled back",
        champion=Model.UNTRAINED,
        candidate=Model.RELEASED,
        stopped_by=frozenset({"latency-p95"}),
        fault=Fault(delay_s=1.5),
        fault_from=25,
    ),
    Scenario(
        "errors",
        "a good model whose pods give NaN for every second input from the first real request on: rolled back",
        champion=Model.UNTRAINED,
        candidate=Model.RELEASED,
        stopped_by=frozenset({"error-rate", "non-finite-vectors"}),
        fault=Fault(nan_every=2),
        fault_from=5,
    ),
)
