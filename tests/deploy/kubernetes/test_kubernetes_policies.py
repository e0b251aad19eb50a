"""Every overlay keeps to every policy, and every policy notices what it is there for."""

from collections.abc import Callable

import pytest

from tests.deploy.kubernetes import policies
from tests.deploy.kubernetes.policies import Policy
from tests.deploy.kubernetes.rendered import OVERLAYS, Object, named, render

Spoil = Callable[[list[Object]], object]


def _deployment(objects: list[Object]) -> Object:
    return named(objects, "Deployment", "inf-embed")


def _pod(objects: list[Object]) -> Object:
    pod: Object = _deployment(objects)["spec"]["template"]["spec"]
    return pod


def _service(objects: list[Object]) -> Object:
    container: Object = _pod(objects)["containers"][0]
    return container


def _settings(objects: list[Object]) -> Object:
    data: Object = named(objects, "ConfigMap", "inf-embed")["data"]
    return data


def _deny(objects: list[Object]) -> Object:
    return named(objects, "NetworkPolicy", "inf-embed-default-deny")


def _clients(objects: list[Object]) -> Object:
    rule: Object = named(objects, "NetworkPolicy", "inf-embed-clients")["spec"]["ingress"][0]
    return rule


def _name_server(objects: list[Object]) -> Object:
    rule: Object = named(objects, "NetworkPolicy", "inf-embed-registry")["spec"]["egress"][0]
    selector: Object = rule["to"][0]["podSelector"]
    return selector


def _writer(objects: list[Object]) -> Object:
    spec: Object = named(objects, "CronJob", "inf-embed-writer")["spec"]
    return spec


def _monitored_service(objects: list[Object]) -> Object:
    spec: Object = named(objects, "Service", "inf-embed")["spec"]
    return spec


def _mount(objects: list[Object], name: str) -> Object:
    (mount,) = (one for one in _service(objects)["volumeMounts"] if one["name"] == name)
    found: Object = mount
    return found


SPOILT: list[tuple[Policy, str, Spoil]] = [
    (policies.pods_run_as_nobody, "root", lambda o: _pod(o)["securityContext"].update(runAsNonRoot=False)),
    (policies.pods_run_as_nobody, "no user by number", lambda o: _pod(o)["securityContext"].pop("runAsUser")),
    (policies.pods_run_as_nobody, "no seccomp", lambda o: _pod(o)["securityContext"].pop("seccompProfile")),
    (policies.pods_keep_to_themselves, "host network", lambda o: _pod(o).update(hostNetwork=True)),
    (
        policies.pods_keep_to_themselves,
        "path of the node",
        lambda o: _pod(o)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    ),
    (policies.pods_keep_to_themselves, "port of the node", lambda o: _service(o)["ports"][0].update(hostPort=80)),
    (
        policies.containers_are_locked,
        "escalation",
        lambda o: _service(o)["securityContext"].update(allowPrivilegeEscalation=True),
    ),
    (policies.containers_are_locked, "privileged", lambda o: _service(o)["securityContext"].update(privileged=True)),
    (
        policies.containers_are_locked,
        "a capability",
        lambda o: _service(o)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    ),
    (
        policies.containers_are_locked,
        "writable root of an init container",
        lambda o: _pod(o)["initContainers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    (policies.no_pod_holds_a_token, "a token", lambda o: _pod(o).pop("automountServiceAccountToken")),
    (policies.no_pod_holds_a_token, "default account", lambda o: _pod(o).pop("serviceAccountName")),
    (
        policies.no_pod_holds_a_token,
        "an account with a token",
        lambda o: named(o, "ServiceAccount", "inf-embed").pop("automountServiceAccountToken"),
    ),
    (policies.no_service_links, "service links", lambda o: _pod(o).pop("enableServiceLinks")),
    (
        policies.images_are_pinned,
        "latest",
        lambda o: _service(o).update(image="registry.example:5000/inf-embed:latest"),
    ),
    (policies.images_are_pinned, "no tag", lambda o: _service(o).update(image="registry.example:5000/inf-embed")),
    (
        policies.resources_are_bounded,
        "no request of a processor",
        lambda o: _service(o)["resources"]["requests"].pop("cpu"),
    ),
    (policies.resources_are_bounded, "no bound of memory", lambda o: _service(o)["resources"]["limits"].pop("memory")),
    (
        policies.resources_are_bounded,
        "a bound below the request",
        lambda o: _service(o)["resources"]["limits"].update(memory="256Mi"),
    ),
    (policies.threads_follow_the_processors, "threads of the node", lambda o: _service(o).pop("env")),
    (policies.services_are_probed, "no startup probe", lambda o: _service(o).pop("startupProbe")),
    (
        policies.services_are_probed,
        "killed when not ready",
        lambda o: _service(o)["livenessProbe"]["httpGet"].update(path="/ready"),
    ),
    (policies.there_is_time_to_drain, "short grace", lambda o: _pod(o).update(terminationGracePeriodSeconds=30)),
    (policies.there_is_time_to_drain, "long drain", lambda o: _settings(o).update(INFEMBED_DRAIN_TIMEOUT_S="60")),
    (policies.there_is_time_to_drain, "long requests", lambda o: _settings(o).update(INFEMBED_REQUEST_TIMEOUT_S="60")),
    (policies.there_is_time_to_drain, "no hook", lambda o: _service(o).pop("lifecycle")),
    (policies.replicas_are_spread_and_guarded, "one node", lambda o: _pod(o)["topologySpreadConstraints"].pop()),
    (
        policies.replicas_are_spread_and_guarded,
        "a budget of others",
        lambda o: named(o, "PodDisruptionBudget", "inf-embed")["spec"]["selector"]["matchLabels"].update(track="x"),
    ),
    (
        policies.replicas_are_spread_and_guarded,
        "a budget that blocks",
        lambda o: named(o, "PodDisruptionBudget", "inf-embed")["spec"].update(maxUnavailable=0),
    ),
    (policies.nothing_is_reachable_by_default, "no egress rule", lambda o: _deny(o)["spec"]["policyTypes"].pop()),
    (
        policies.nothing_is_reachable_by_default,
        "denied to some",
        lambda o: _deny(o)["spec"]["podSelector"].update(matchLabels={"a": "b"}),
    ),
    (policies.nothing_is_reachable_by_default, "open to all", lambda o: _clients(o).pop("from")),
    (policies.nothing_is_reachable_by_default, "open to any peer", lambda o: _clients(o)["from"].append({})),
    (
        policies.strangers_need_no_label_of_ours,
        "a name server with our label",
        lambda o: _name_server(o).update(matchLabels={"app.kubernetes.io/name": "inf-embed"}),
    ),
    (policies.selectors_find_their_pods, "other labels", lambda o: _monitored_service(o)["selector"].update(track="x")),
    (
        policies.selectors_find_their_pods,
        "a port that is not open",
        lambda o: _monitored_service(o)["ports"][0].update(targetPort="web"),
    ),
    (
        policies.selectors_find_their_pods,
        "a workload without pods",
        lambda o: _deployment(o)["spec"]["template"]["metadata"]["labels"].update(track="x"),
    ),
    (
        policies.deployments_share_no_pods,
        "stable selects the canary",
        lambda o: _deployment(o)["spec"]["selector"]["matchLabels"].pop("track"),
    ),
    (
        policies.autoscaled_workloads_name_no_number,
        "a number",
        lambda o: _deployment(o)["spec"].update(replicas=3),
    ),
    (
        policies.autoscaled_workloads_name_no_number,
        "another target",
        lambda o: named(o, "ScaledObject", "inf-embed")["spec"]["scaleTargetRef"].update(name="infembed"),
    ),
    (policies.jobs_do_not_pile_up, "twice at once", lambda o: _writer(o).update(concurrencyPolicy="Allow")),
    (
        policies.jobs_do_not_pile_up,
        "for ever",
        lambda o: _writer(o)["jobTemplate"]["spec"].pop("activeDeadlineSeconds"),
    ),
    (policies.jobs_do_not_pile_up, "at some hour", lambda o: _writer(o).pop("timeZone")),
    (
        policies.volumes_are_there_and_mounted_right,
        "a claim of another name",
        lambda o: o.remove(named(o, "PersistentVolumeClaim", "inf-embed-index")),
    ),
    (
        policies.volumes_are_there_and_mounted_right,
        "unbounded scratch",
        lambda o: [volume["emptyDir"].clear() for volume in _pod(o)["volumes"] if "emptyDir" in volume],
    ),
    (
        policies.volumes_are_there_and_mounted_right,
        "a volume that is not there",
        lambda o: _mount(o, "index").update(name="indexes"),
    ),
    (
        policies.volumes_are_there_and_mounted_right,
        "an index that the service can write",
        lambda o: _mount(o, "index").pop("readOnly"),
    ),
    (
        policies.no_secret_is_in_the_manifests,
        "a Secret",
        lambda o: o.append({"kind": "Secret", "metadata": {"name": "inf-embed-keys"}}),
    ),
    (
        policies.no_secret_is_in_the_manifests,
        "a password in clear",
        lambda o: _service(o)["env"].append({"name": "MLFLOW_TRACKING_PASSWORD", "value": "x"}),
    ),
]


@pytest.mark.parametrize("policy", policies.ALL, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_to_a_policy(overlay: str, policy: Policy) -> None:
    assert list(policy(render(overlay))) == []


@pytest.mark.parametrize(
    ("policy", "spoil"),
    [pytest.param(policy, spoil, id=f"{policy.__name__}: {how}") for policy, how, spoil in SPOILT],
)
def test_a_policy_notices_what_breaks_it(policy: Policy, spoil: Spoil) -> None:
    objects = render("canary")
    spoil(objects)
    assert list(policy(objects))


def test_every_policy_is_shown_to_notice_something() -> None:
    assert {policy for policy, _, _ in SPOILT} == set(policies.ALL)


@pytest.mark.parametrize(
    ("text", "amount"), [("500m", 0.5), ("2", 2), (1, 1), ("1Gi", 2**30), ("512Mi", 2**29), ("1G", 1e9)]
)
def test_amounts_are_read_as_kubernetes_writes_them(text: object, amount: float) -> None:
    assert policies.quantity(text) == pytest.approx(amount)
