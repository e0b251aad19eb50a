import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kubernetes import prometheus_rule
from tests.deploy.kubernetes import facts, policies
from tests.deploy.kubernetes.rendered import (
    OVERLAYS,
    ROOT,
    Object,
    containers,
    name_of,
    named,
    of_kind,
    pod_template,
    render,
)
from tests.deploy.kubernetes.schemas import VERSIONS, faults


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_has_one_name_one_namespace_and_our_label(overlay: str) -> None:
    objects = render(overlay)
    names = [name_of(one) for one in objects]
    assert len(names) == len(set(names))
    for one in objects:
        assert one["metadata"]["labels"]["app.kubernetes.io/name"] == "inf-embed", name_of(one)
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "inf-embed", name_of(one)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_says_what_it_is_part_of(overlay: str) -> None:
    found = {name_of(one): pod["metadata"]["labels"] for one in render(overlay) if (pod := pod_template(one))}
    components = {name: labels["app.kubernetes.io/component"] for name, labels in found.items()}
    assert components.pop("CronJob inf-embed-writer") == "writer"
    assert components.pop("CronJob inf-embed-evaluation") == "evaluation"
    assert set(components.values()) == {"service"}
    assert {labels.get("track", "") for name, labels in found.items() if name.startswith("Deployment")} <= {
        "stable",
        "canary",
    }


def test_the_gpu_overlay_differs_from_the_cpu_overlay_where_a_gpu_does() -> None:
    cpu, gpu = render("cpu"), render("gpu")
    changed = _data(gpu).items() - _data(cpu).items()
    assert dict(changed) == {"INFEMBED_PROVIDER": "cuda", "INFEMBED_MAX_BATCH_TOKENS": "16384"}
    assert [one.spec["image"] for one in containers(of_kind(gpu, "Deployment"))] == ["inf-embed:jobs", "inf-embed:gpu"]
    (service,) = (one.spec for one in containers(of_kind(gpu, "Deployment")) if not one.is_init)
    assert service["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert list(map(name_of, of_kind(cpu, "CronJob"))) == list(map(name_of, of_kind(gpu, "CronJob")))


def test_stable_and_canary_differ_in_what_they_pull_and_serve_and_in_nothing_else() -> None:
    objects = render("canary")
    stable = named(objects, "Deployment", "inf-embed")["spec"]
    canary = named(objects, "Deployment", "inf-embed-canary")["spec"]
    assert canary.pop("replicas") == 1
    pull = canary["template"]["spec"]["initContainers"][0]
    assert pull["args"][3:] == ["--alias=candidate"]
    pull["args"] = pull["args"][:3]
    for rule in canary["template"]["spec"]["topologySpreadConstraints"]:
        del rule["labelSelector"]["matchLabels"]["track"]
    assert json.loads(json.dumps(canary).replace('"track": "canary"', '"track": "stable"')) == stable


def test_services_reach_stable_canary_and_both() -> None:
    objects = render("canary")
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind(objects, "Deployment")}
    reached = {
        one["metadata"]["name"]: {
            name for name, pod in pods.items() if one["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        }
        for one in of_kind(objects, "Service")
    }
    assert reached == {
        "inf-embed": {"inf-embed", "inf-embed-canary"},
        "inf-embed-stable": {"inf-embed"},
        "inf-embed-canary": {"inf-embed-canary"},
    }


def test_the_demo_needs_nothing_but_a_cluster() -> None:
    objects = render("demo")
    assert {one["kind"] for one in objects} == {
        *("Namespace", "ServiceAccount", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy")
    }
    (deployment,) = of_kind(objects, "Deployment")
    assert [volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]] == ["tmp"]
    assert [fault for one in objects for version in (VERSIONS[0], VERSIONS[-1]) for fault in faults(one, version)] == []


@pytest.mark.parametrize("policy", policies.ALL, ids=lambda policy: policy.__name__)
def test_the_demo_keeps_to_every_policy(policy: policies.Policy) -> None:
    assert list(policy(render("demo"))) == []


@pytest.mark.parametrize(
    "check",
    [
        facts.settings_exist,
        facts.settings_are_accepted,
        facts.ports_are_the_services,
        facts.routes_exist,
        facts.configs_exist,
        facts.paths_are_mounted,
        facts.commands_exist,
    ],
    ids=lambda check: check.__name__,
)
def test_what_the_demo_names_exists(check: policies.Policy) -> None:
    assert list(check(render("demo"))) == []


def test_the_documentation_shows_the_queries_and_the_numbers_of_the_autoscaler() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```promql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (scaler,) = of_kind(render("cpu"), "ScaledObject")
    wait, busy = (trigger["metadata"] for trigger in scaler["spec"]["triggers"])
    shown = [re.sub(r"\s+", "", query) for query in block.split("\n\n")]
    assert shown == [re.sub(r"\s+", "", one["query"]) for one in (wait, busy)]
    assert f"target {float(wait['threshold']) * 1000:g} ms" in page
    assert f"target {busy['threshold']} a replica" in page
    least, most = scaler["spec"]["minReplicaCount"], scaler["spec"]["maxReplicaCount"]
    assert f"At least {least} replicas, at most {most}." in page


def test_the_documentation_shows_the_grace_period() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    pod = named(render("cpu"), "Deployment", "inf-embed")["spec"]["template"]["spec"]
    assert f"`terminationGracePeriodSeconds: {pod['terminationGracePeriodSeconds']}`" in page


def test_the_prometheus_rule_is_what_the_rule_files_say() -> None:
    expected = prometheus_rule.wrap(sorted(prometheus_rule.RULES.glob("*.yml")))
    written = prometheus_rule.OUT.read_text(encoding="utf-8")
    assert written == expected, "run `python deploy/kubernetes/prometheus_rule.py`"


def test_groups_of_rule_files_become_one_object_in_order(tmp_path: Path) -> None:
    first = {"name": "first", "rules": [{"record": "a", "expr": "sum(b)"}]}
    second = {"name": "second", "rules": [{"alert": "C", "expr": "d > 1", "for": "5m"}]}
    for group in (second, first):
        (tmp_path / f"{group['name']}.yml").write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    rule = yaml.safe_load(prometheus_rule.wrap(sorted(tmp_path.glob("*.yml"))))
    assert rule["kind"] == "PrometheusRule"
    assert rule["spec"]["groups"] == [first, second]


def _data(objects: list[Object]) -> dict[str, Any]:
    data: dict[str, Any] = named(objects, "ConfigMap", "inf-embed")["data"]
    return data
