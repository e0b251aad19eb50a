import json
from collections.abc import Callable

import pytest

from tests.deploy.kubernetes.rendered import OVERLAYS, Object, named, of_kind, render
from tests.deploy.kubernetes.schemas import VERSIONS, faults


@pytest.fixture(scope="module")
def every_object() -> list[Object]:
    """The objects of all overlays, each once."""
    unique = {json.dumps(one, sort_keys=True): one for overlay in OVERLAYS for one in render(overlay)}
    return list(unique.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_for_a_version_of_kubernetes(every_object: list[Object], version: str) -> None:
    assert [fault for one in every_object for fault in faults(one, version)] == []


def _misspell(deployment: Object) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}


def _write_a_number_as_text(deployment: Object) -> None:
    deployment["spec"]["minReadySeconds"] = "10"


def _forget_the_selector(deployment: Object) -> None:
    del deployment["spec"]["selector"]


def _use_a_removed_version(deployment: Object) -> None:
    deployment["apiVersion"] = "extensions/v1beta1"


@pytest.mark.parametrize("spoil", [_misspell, _write_a_number_as_text, _forget_the_selector, _use_a_removed_version])
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_a_spoilt_deployment_is_refused(spoil: Callable[[Object], None], version: str) -> None:
    deployment = named(render("cpu"), "Deployment", "inf-embed")
    spoil(deployment)
    assert faults(deployment, version)


def test_a_hook_that_sleeps_needs_the_first_of_the_versions() -> None:
    """What docs/deployment.md calls the oldest Kubernetes is the oldest that takes the manifests."""
    deployment = named(render("cpu"), "Deployment", "inf-embed")
    assert "sleep" in json.dumps(faults(deployment, "1.28"))


def _misspell_a_trigger(one: Object) -> None:
    one["spec"]["triggers"][0]["metadata"]["treshold"] = "1"


def _give_a_threshold_as_number(one: Object) -> None:
    one["spec"]["triggers"][0]["metadata"]["threshold"] = 0.03


def _choose_an_unknown_policy(one: Object) -> None:
    one["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"]["selectPolicy"] = "Most"


@pytest.mark.parametrize("spoil", [_misspell_a_trigger, _give_a_threshold_as_number, _choose_an_unknown_policy])
def test_a_spoilt_scaled_object_is_refused(spoil: Callable[[Object], None]) -> None:
    (scaler,) = of_kind(render("cpu"), "ScaledObject")
    assert faults(scaler, VERSIONS[-1]) == []
    spoil(scaler)
    assert faults(scaler, VERSIONS[-1])


def test_a_spoilt_monitor_and_a_spoilt_rule_are_refused() -> None:
    objects = render("cpu")
    (monitor,) = of_kind(objects, "ServiceMonitor")
    monitor["spec"]["endpoints"][0]["intervall"] = "15s"
    (rule,) = of_kind(objects, "PrometheusRule")
    rule["spec"]["groups"] = [{"name": "broken", "rules": [{"expr": "up"}]}]
    assert faults(monitor, VERSIONS[-1])
    assert faults(rule, VERSIONS[-1])


def test_a_kind_without_a_schema_is_no_valid_object() -> None:
    unknown = {"apiVersion": "example.org/v1", "kind": "Wish", "metadata": {"name": "w"}}
    assert faults(unknown, VERSIONS[-1]) == [f"Wish w: Kubernetes {VERSIONS[-1]} knows no example.org/v1 Wish"]
