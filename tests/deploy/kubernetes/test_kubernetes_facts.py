"""What the manifests name exists in the code; every check notices a name that does not."""

from collections.abc import Callable, Iterator

import pytest

from tests.deploy.kubernetes import facts
from tests.deploy.kubernetes.rendered import OVERLAYS, Object, named, of_kind, render

Check = Callable[[list[Object]], Iterator[str]]
Spoil = Callable[[list[Object]], object]


def _pod(objects: list[Object]) -> Object:
    pod: Object = named(objects, "Deployment", "inf-embed")["spec"]["template"]["spec"]
    return pod


def _service(objects: list[Object]) -> Object:
    container: Object = _pod(objects)["containers"][0]
    return container


def _pull(objects: list[Object]) -> Object:
    container: Object = _pod(objects)["initContainers"][0]
    return container


def _settings(objects: list[Object]) -> Object:
    data: Object = named(objects, "ConfigMap", "inf-embed")["data"]
    return data


def _registry(objects: list[Object]) -> Object:
    data: Object = named(objects, "ConfigMap", "inf-embed-registry")["data"]
    return data


def _endpoint(objects: list[Object]) -> Object:
    endpoint: Object = named(objects, "ServiceMonitor", "inf-embed")["spec"]["endpoints"][0]
    return endpoint


def _change_query(objects: list[Object], old: str, new: str) -> None:
    (scaler,) = of_kind(objects, "ScaledObject")
    metadata = scaler["spec"]["triggers"][0]["metadata"]
    assert old in metadata["query"]
    metadata["query"] = metadata["query"].replace(old, new)


def _keys(objects: list[Object]) -> Object:
    (volume,) = (one for one in _pod(objects)["volumes"] if one["name"] == "keys")
    found: Object = volume["secret"]
    return found


def _evaluate(objects: list[Object]) -> list[str]:
    spec = named(objects, "CronJob", "inf-embed-evaluation")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    args: list[str] = spec["containers"][0]["args"]
    return args


SPOILT: list[tuple[Check, str, Spoil]] = [
    (facts.settings_exist, "a misspelt setting", lambda o: _settings(o).update(INFEMBED_DRAIN_TIMEOUT="30")),
    (
        facts.settings_exist,
        "a misspelt setting that is taken from a field",
        lambda o: _service(o)["env"][0].update(name="INFEMBED_THREAD"),
    ),
    (facts.settings_are_accepted, "out of its range", lambda o: _settings(o).update(INFEMBED_PORT="80800")),
    (facts.settings_are_accepted, "no setting", lambda o: _settings(o).update(INFEMBED_QUEUE="8")),
    (facts.ports_are_the_services, "another port", lambda o: _settings(o).update(INFEMBED_PORT="8081")),
    (facts.ports_are_the_services, "on itself alone", lambda o: _settings(o).update(INFEMBED_HOST="127.0.0.1")),
    (
        facts.ports_are_the_services,
        "a probe of another port",
        lambda o: _service(o)["readinessProbe"]["httpGet"].update(port="web"),
    ),
    (
        facts.ports_are_the_services,
        "a rule for another port",
        lambda o: named(o, "NetworkPolicy", "inf-embed-clients")["spec"]["ingress"][0]["ports"][0].update(port="web"),
    ),
    (facts.ports_are_the_services, "a scraper of another port", lambda o: _endpoint(o).update(port="metrics")),
    (
        facts.routes_exist,
        "a probe of another path",
        lambda o: _service(o)["livenessProbe"]["httpGet"].update(path="/healthz"),
    ),
    (facts.routes_exist, "a scraper of another path", lambda o: _endpoint(o).update(path="/prometheus")),
    (
        facts.one_service_is_scraped,
        "two Services",
        lambda o: named(o, "Service", "inf-embed-stable")["metadata"]["labels"].update({"inf-embed/scrape": "true"}),
    ),
    (
        facts.metrics_exist,
        "another metric",
        lambda o: _change_query(o, "infembed_stage_duration_seconds_bucket", "infembed_queue_wait_seconds_bucket"),
    ),
    (facts.metrics_exist, "another label", lambda o: _change_query(o, "stage=", "phase=")),
    (facts.metrics_exist, "another stage", lambda o: _change_query(o, '"queue"', '"waiting"')),
    (
        facts.metrics_exist,
        "nothing of the service",
        lambda o: _change_query(o, "infembed_stage_duration_seconds_bucket", "sie_request_queue_depth"),
    ),
    (facts.labels_are_on_the_pods, "the canary", lambda o: _change_query(o, '"stable"', '"canary"')),
    (
        facts.labels_are_on_the_pods,
        "a label that is not taken over",
        lambda o: named(o, "ServiceMonitor", "inf-embed")["spec"].pop("podTargetLabels"),
    ),
    (facts.secrets_are_in_the_example, "another file", lambda o: _keys(o)["items"][0].update(key="keys.toml")),
    (facts.secrets_are_in_the_example, "another Secret", lambda o: _keys(o).update(secretName="keys")),
    (
        facts.secrets_are_in_the_example,
        "another key of the scraper",
        lambda o: _endpoint(o)["authorization"]["credentials"].update(key="token"),
    ),
    (
        facts.configs_exist,
        "another ConfigMap",
        lambda o: _service(o)["envFrom"][0]["configMapRef"].update(name="inf-embed"),
    ),
    (facts.paths_are_mounted, "a bundle nowhere", lambda o: _settings(o).update(INFEMBED_BUNDLE="/srv/bundle")),
    (
        facts.paths_are_mounted,
        "a file that is no item",
        lambda o: _registry(o).update(INFEMBED_BUNDLE_PUBLIC_KEY="/etc/infembed/key.pub"),
    ),
    (facts.paths_are_mounted, "pulled nowhere", lambda o: _pull(o).update(args=["registry", "pull", "/srv/releases"])),
    (
        facts.releases_are_where_they_are_pulled,
        "another bundle",
        lambda o: _settings(o).update(INFEMBED_BUNDLE="/srv/infembed/release/bundle"),
    ),
    (
        facts.releases_are_where_they_are_pulled,
        "an index that was not pulled",
        lambda o: _pull(o)["args"].append("--without-index"),
    ),
    (
        facts.the_index_is_everywhere_under_one_path,
        "two places",
        lambda o: [m.update(mountPath="/i") for m in _service(o)["volumeMounts"] if m["name"] == "index"],
    ),
    (facts.commands_exist, "another command", lambda o: _pull(o).update(args=["registry", "fetch", "/x"])),
    (facts.commands_exist, "another option", lambda o: _pull(o)["args"].append("--alais=candidate")),
    (facts.commands_exist, "a missing argument", lambda o: _pull(o).update(args=["registry", "pull"])),
    (facts.commands_exist, "a value of another type", lambda o: _pull(o)["args"].append("--version=latest")),
    (facts.commands_exist, "another suite", lambda o: _evaluate(o).append("--suite=medquad")),
    (facts.images_are_built_here, "another tag", lambda o: _service(o).update(image="inf-embed:tpu")),
    (facts.images_are_built_here, "another image", lambda o: _service(o).update(image="infembed:cpu")),
    (facts.images_are_built_here, "another user", lambda o: _pod(o)["securityContext"].update(runAsUser=1000)),
]


@pytest.mark.parametrize("check", facts.ALL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_an_overlay_names_exists(overlay: str, check: Check) -> None:
    assert list(check(render(overlay))) == []


@pytest.mark.parametrize(
    ("check", "spoil"),
    [pytest.param(check, spoil, id=f"{check.__name__}: {how}") for check, how, spoil in SPOILT],
)
def test_a_check_notices_what_does_not_exist(check: Check, spoil: Spoil) -> None:
    objects = render("canary")
    before = list(check(objects))
    spoil(objects)
    assert list(check(objects)) != before


def test_every_check_is_shown_to_notice_something() -> None:
    assert {check for check, _, _ in SPOILT} == set(facts.ALL)


def test_a_secret_that_nobody_reads_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = [{"metadata": {"name": "inf-embed-forgotten"}, "stringData": {"key": "value"}}]
    example = facts.example_secrets()
    monkeypatch.setattr(facts, "example_secrets", lambda: [*example, *forgotten])
    assert list(facts.secrets_are_in_the_example(render("cpu"))) == ["nobody reads key of Secret inf-embed-forgotten"]
