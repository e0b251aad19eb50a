from collections.abc import Mapping

import pytest

from deploy.rehearsal.analysis import LiveAnalysis
from deploy.rehearsal.conditions import Condition
from deploy.rehearsal.manifests import (
    Analyse,
    Metric,
    Pause,
    Plan,
    SetScale,
    SetWeight,
    Template,
    read_plan,
    seconds,
)
from deploy.rehearsal.rollout import Rollout

ERRORS = Metric(
    "errors", query="errors of {{args.who}}", condition=Condition("<=", 0.01), interval_s=60, failure_limit=1
)
TEMPLATES = {
    "live": Template("live", {"who": None}, (ERRORS,)),
    "gate": Template("gate", {}, (Metric("gate", commands=(("gate",),)),)),
    "promote": Template("promote", {}, (Metric("promote", commands=(("promote",),)),)),
}
PLAN = Plan(
    steps=(
        Analyse(("gate",)),
        SetScale(1),
        SetWeight(5),
        Pause(600),
        SetWeight(100),
        Pause(600),
        Analyse(("promote",)),
    ),
    background=("live",),
    background_from=2,
    templates=TEMPLATES,
    pull=("registry", "pull", "/srv", "--version=1"),
)


class FakeCluster:
    """Does nothing but remember; its clock moves when somebody sleeps."""

    def __init__(self, *, errors: Mapping[int, float | None] | None = None, refused: str = "") -> None:
        self.did: list[str] = []
        self.asked: list[str] = []
        self._time = 0.0
        self._percent = 0
        self._errors = errors or {}
        self._refused = refused

    def arguments(self, template: str) -> Mapping[str, str]:
        return {"who": "candidate"} if template == "live" else {}

    def start_candidate(self) -> None:
        self.did.append("start")

    def send(self, percent: int) -> None:
        self._percent = percent
        self.did.append(f"{percent} %")

    def measure(self, query: str) -> float | None:
        self.asked.append(query)
        return self._errors.get(self._percent, 0.0)

    def run_job(self, metric: Metric) -> bool:
        self.did.append(metric.name)
        return metric.name != self._refused

    def now(self) -> float:
        return self._time

    def sleep(self, seconds_: float) -> None:
        self._time += seconds_


def roll_out(cluster: FakeCluster, *, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    return Rollout(PLAN, cluster, speed_up=60, say=lambda _: None).run(without=without).failed


def test_a_good_candidate_takes_every_step_in_order() -> None:
    cluster = FakeCluster()
    assert roll_out(cluster) == ()
    assert cluster.did == ["gate", "start", "5 %", "100 %", "promote"]
    assert set(cluster.asked) == {"errors of candidate"}
    assert cluster.now() == pytest.approx(20, abs=1)


def test_what_the_gate_refuses_gets_neither_a_pod_nor_traffic() -> None:
    cluster = FakeCluster(refused="gate")
    assert roll_out(cluster) == ("gate",)
    assert cluster.did == ["gate"]


def test_a_failed_metric_sends_all_traffic_back_and_promotes_nothing() -> None:
    cluster = FakeCluster(errors={100: 0.5})
    assert roll_out(cluster) == ("errors",)
    assert cluster.did == ["gate", "start", "5 %", "100 %", "0 %"]


def test_a_refused_promotion_sends_all_traffic_back() -> None:
    cluster = FakeCluster(refused="promote")
    assert roll_out(cluster) == ("promote",)
    assert cluster.did[-2:] == ["promote", "0 %"]


def test_an_analysis_can_be_left_out() -> None:
    cluster = FakeCluster(refused="gate")
    assert roll_out(cluster, without=frozenset({"gate"})) == ()


def test_a_prometheus_that_answers_nothing_ends_a_rollout_after_some_patience() -> None:
    cluster = FakeCluster(errors={5: None})
    assert roll_out(cluster) == ("errors",)
    assert len(cluster.asked) == ERRORS.error_limit + 1


@pytest.mark.parametrize(("values", "fails"), [([0, 1, 0, 0], False), ([0, 1, 0, 1], True), ([float("nan")] * 2, True)])
def test_a_metric_fails_when_failures_pass_its_limit(values: list[float], fails: bool) -> None:
    measured = iter(values)
    analysis = LiveAnalysis([ERRORS], lambda _: next(measured), now=0, speed_up=60)
    for now in range(len(values)):
        analysis.tick(now)
        analysis.tick(now + 0.5)
    assert bool(analysis.failed) == fails


def test_a_first_measurement_waits_for_its_delay() -> None:
    metric = Metric("late", query="q", condition=Condition(">", 0), initial_delay_s=120, interval_s=60)
    analysis = LiveAnalysis([metric], lambda _: 1.0, now=10, speed_up=60)
    analysis.tick(11.9)
    assert analysis.last == {}
    analysis.tick(12)
    assert set(analysis.last) == {"late"}


@pytest.mark.parametrize(("text", "expected"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("500ms", 0.5), (30, 30)])
def test_durations_are_read_as_kubernetes_writes_them(text: str | int, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["10 minutes", "", "m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


def test_a_condition_of_another_form_is_refused_not_guessed() -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        Condition.parse("all(result, # < 1)")


def test_a_template_without_a_value_it_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="template inf-embed-live needs candidate-hash"):
        read_plan().templates["inf-embed-live"].filled({"stable-hash": "old"})
