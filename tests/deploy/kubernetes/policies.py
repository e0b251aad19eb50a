"""What every object must keep to: kube-linter's checks and the restricted pod security standard as far as they matter
here, and rules of our own. A policy looks at rendered objects and yields what is wrong, in words.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tests.deploy.kubernetes.rendered import (
    Container,
    Object,
    containers,
    environment,
    name_of,
    of_kind,
    pod_template,
    seconds_to_drain,
    templates,
)

Policy = Callable[[list[Object]], Iterator[str]]
_LEAST_SPARE_S = 5.0
_SCALED = ("Deployment", "StatefulSet")


def pods_run_as_nobody(objects: list[Object]) -> Iterator[str]:
    """Not root, a user by number, the runtime's seccomp profile."""
    for workload, template in templates(objects):
        context = template["spec"].get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{workload} may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{workload} has no seccomp profile"


def pods_keep_to_themselves(objects: list[Object]) -> Iterator[str]:
    """Nothing of the node: no host namespace, path, port or privilege."""
    for workload, template in templates(objects):
        pod = template["spec"]
        yield from (
            f"{workload} uses {name}" for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if pod.get(name)
        )
        yield from (
            f"{workload} mounts a path of the node" for volume in pod.get("volumes", []) if "hostPath" in volume
        )
    for container in containers(objects):
        if any("hostPort" in port for port in container.spec.get("ports", [])):
            yield f"{container.where} takes a port of the node"


def containers_are_locked(objects: list[Object]) -> Iterator[str]:
    """No escalation, no capability, no privilege, a root file system to read only."""
    for container in containers(objects):
        context = container.spec.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{container.where} may gain privileges"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{container.where} keeps capabilities"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{container.where} can write its root file system"


def no_pod_holds_a_token(objects: list[Object]) -> Iterator[str]:
    """An account of our own, and no token for the Kubernetes API in any pod."""
    for account in of_kind(objects, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{name_of(account)} hands out tokens"
    for workload, template in templates(objects):
        pod = template["spec"]
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{workload} mounts a token"
        if pod.get("serviceAccountName", "default") == "default":
            yield f"{workload} uses the default account"


def no_service_links(objects: list[Object]) -> Iterator[str]:
    """Kubernetes puts no INFEMBED_..._PORT into the environment."""
    for workload, template in templates(objects):
        if template["spec"].get("enableServiceLinks") is not False:
            yield f"{workload} gets variables for every Service"


def images_are_pinned(objects: list[Object]) -> Iterator[str]:
    """A tag that says something, or a digest."""
    for container in containers(objects):
        image = container.spec["image"]
        if "@sha256:" not in image and image.rpartition("/")[2].partition(":")[2] in {"", "latest"}:
            yield f"{container.where} runs {image}, whatever that is today"


def resources_are_bounded(objects: list[Object]) -> Iterator[str]:
    """Requests of both, and a bound of memory that is no less than the request."""
    for container in containers(objects):
        resources = container.spec.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        if not {"cpu", "memory"} <= requests.keys():
            yield f"{container.where} requests no processor or no memory"
        if "memory" not in limits:
            yield f"{container.where} has no bound of memory"
        elif quantity(limits["memory"]) < quantity(requests.get("memory", "0")):
            yield f"{container.where} requests more memory than its bound"


def threads_follow_the_processors(objects: list[Object]) -> Iterator[str]:
    """Without a CPU limit there is no quota to see, and a model would start a thread for each processor of the node."""
    for container in containers(objects):
        limits = container.spec.get("resources", {}).get("limits", {})
        from_request = any(
            one.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource") == "requests.cpu"
            for one in container.spec.get("env", [])
        )
        if "cpu" not in limits and not from_request:
            yield f"{container.where} takes as many threads as the node has processors"


def services_are_probed(objects: list[Object]) -> Iterator[str]:
    """Ready is asked for, alive is not ready: a replica that is only busy is not killed."""
    for container in _of(objects, "Deployment", "StatefulSet"):
        spec = container.spec
        missing = [name for name in ("startupProbe", "readinessProbe", "livenessProbe") if name not in spec]
        if missing:
            yield f"{container.where} lacks {', '.join(missing)}"
        elif spec["readinessProbe"].get("httpGet") == spec["livenessProbe"].get("httpGet"):
            yield f"{container.where} is killed for not being ready"


def there_is_time_to_drain(objects: list[Object]) -> Iterator[str]:
    """Hook, delay and drain fit the grace period with time to exit, and no request may run longer than the drain."""
    for container in _of(objects, "Deployment"):
        settings = environment(container, objects)
        needed = seconds_to_drain(settings, container) + _LEAST_SPARE_S
        grace = container.pod.get("terminationGracePeriodSeconds", 30)
        if grace < needed:
            yield f"{container.where} needs {needed:g} s to end and gets {grace:g} s"
        if float(settings["INFEMBED_REQUEST_TIMEOUT_S"]) > float(settings["INFEMBED_DRAIN_TIMEOUT_S"]):
            yield f"{container.where} cuts off requests that still have time"
        if not container.spec.get("lifecycle", {}).get("preStop"):
            yield f"{container.where} ends before it has left the endpoints"


def replicas_are_spread_and_guarded(objects: list[Object]) -> Iterator[str]:
    """Over nodes and zones, with a disruption budget, never all at once."""
    budgets = [one["spec"]["selector"]["matchLabels"] for one in of_kind(objects, "PodDisruptionBudget")]
    for one in of_kind(objects, *_SCALED):
        template = one["spec"]["template"]
        labels = template["metadata"]["labels"]
        keys = {rule["topologyKey"] for rule in template["spec"].get("topologySpreadConstraints", [])}
        if not {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys:
            yield f"{name_of(one)} may run on one node"
        if not any(budget.items() <= labels.items() for budget in budgets):
            yield f"{name_of(one)} has no disruption budget"
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable") in {0, "0%"}:
            yield f"{name_of(budget)} lets no node be drained"


def nothing_is_reachable_by_default(objects: list[Object]) -> Iterator[str]:
    """A policy that denies both directions for all pods, and none that opens one to everybody."""
    policies = of_kind(objects, "NetworkPolicy")
    if not any(
        one["spec"]["podSelector"] == {} and set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        for one in policies
    ):
        yield "no NetworkPolicy denies by default"
    for one in policies:
        for direction, side in (("ingress", "from"), ("egress", "to")):
            if any(not rule.get(side) or {} in rule[side] for rule in one["spec"].get(direction, [])):
                yield f"{name_of(one)} opens {direction} to everybody"


def strangers_need_no_label_of_ours(objects: list[Object]) -> Iterator[str]:
    """Peers in other namespaces are told by labels of theirs; one of ours, which kustomize adds, would match nobody."""
    for one in of_kind(objects, "NetworkPolicy"):
        rules = (*one["spec"].get("ingress", []), *one["spec"].get("egress", []))
        for peer in (peer for rule in rules for peer in (*rule.get("from", []), *rule.get("to", []))):
            if "namespaceSelector" in peer and "app.kubernetes.io/name" in str(peer.get("podSelector")):
                yield f"{name_of(one)} wants our label on pods of {peer['namespaceSelector']}"


def selectors_find_their_pods(objects: list[Object]) -> Iterator[str]:
    """Services, budgets and workloads select labels that pods have, and services a port that they open."""
    pods = [template for _, template in templates(objects)]
    for one in of_kind(objects, "Service"):
        matching = [pod for pod in pods if _matches(one["spec"]["selector"], pod)]
        if not matching:
            yield f"{name_of(one)} selects no pod"
        opened = {port["name"] for pod in matching for c in pod["spec"]["containers"] for port in c.get("ports", [])}
        yield from (
            f"{name_of(one)} leads to port {port['targetPort']}, which no pod opens"
            for port in one["spec"]["ports"]
            if port["targetPort"] not in opened
        )
    for one in of_kind(objects, *_SCALED, "PodDisruptionBudget"):
        selector = one["spec"]["selector"]["matchLabels"]
        own = pod_template(one)
        if not any(_matches(selector, pod) for pod in ([own] if own else pods)):
            yield f"{name_of(one)} selects no pod"


def deployments_share_no_pods(objects: list[Object]) -> Iterator[str]:
    """No pod template fits two workloads' selectors: they would fight over it."""
    workloads = of_kind(objects, *_SCALED)
    for one in workloads:
        yield from (
            f"{name_of(one)} also selects the pods of {name_of(other)}"
            for other in workloads
            if one is not other and _matches(one["spec"]["selector"]["matchLabels"], other["spec"]["template"])
        )


def autoscaled_workloads_name_no_number(objects: list[Object]) -> Iterator[str]:
    """A number would set the autoscaler's back at every apply; a target that is not there would scale nothing."""
    for scaler in of_kind(objects, "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        found = [one for one in of_kind(objects, target["kind"]) if one["metadata"]["name"] == target["name"]]
        if not found:
            yield f"{name_of(scaler)} scales {target['name']}, which is not there"
        yield from (
            f"{name_of(one)} names a number beside its autoscaler" for one in found if "replicas" in one["spec"]
        )


def jobs_do_not_pile_up(objects: list[Object]) -> Iterator[str]:
    """One at a time, for a bounded time, with few left behind."""
    for one in of_kind(objects, "CronJob"):
        spec = one["spec"]
        if spec.get("concurrencyPolicy") != "Forbid":
            yield f"{name_of(one)} may run twice at once"
        if "activeDeadlineSeconds" not in spec["jobTemplate"]["spec"]:
            yield f"{name_of(one)} may run for ever"
        if not spec.get("timeZone"):
            yield f"{name_of(one)} runs at an hour that depends on the cluster"


def volumes_are_there_and_mounted_right(objects: list[Object]) -> Iterator[str]:
    """Mounts name volumes of the pod, claims exist, scratch space is bounded; what serves cannot write the index."""
    claims = {one["metadata"]["name"] for one in of_kind(objects, "PersistentVolumeClaim")}
    for workload, template in templates(objects):
        for volume in template["spec"].get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in claims:
                yield f"{workload} claims {claim}, which is not there"
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{workload} has scratch space without bound"
    for container in containers(objects):
        known = {volume["name"] for volume in container.pod.get("volumes", [])}
        for mount in container.spec.get("volumeMounts", []):
            if mount["name"] not in known:
                yield f"{container.where} mounts {mount['name']}, which the pod has not"
    for container in _of(objects, "Deployment"):
        if any(m["name"] in {"index", "keys"} and not m.get("readOnly") for m in container.spec["volumeMounts"]):
            yield f"{container.where} can write what it only reads"


def no_secret_is_in_the_manifests(objects: list[Object]) -> Iterator[str]:
    """Secrets are made by the operator, and none comes through a literal variable."""
    for one in of_kind(objects, "Secret"):
        yield f"{name_of(one)} would be applied with the rest"
    for container in containers(objects):
        for variable in container.spec.get("env", []):
            if "value" in variable and any(word in variable["name"] for word in ("PASSWORD", "TOKEN", "INFEMBED_KEYS")):
                yield f"{container.where} has {variable['name']} in clear"


ALL: tuple[Policy, ...] = (
    pods_run_as_nobody,
    pods_keep_to_themselves,
    containers_are_locked,
    no_pod_holds_a_token,
    no_service_links,
    images_are_pinned,
    resources_are_bounded,
    threads_follow_the_processors,
    services_are_probed,
    there_is_time_to_drain,
    replicas_are_spread_and_guarded,
    nothing_is_reachable_by_default,
    strangers_need_no_label_of_ours,
    selectors_find_their_pods,
    deployments_share_no_pods,
    autoscaled_workloads_name_no_number,
    jobs_do_not_pile_up,
    volumes_are_there_and_mounted_right,
    no_secret_is_in_the_manifests,
)


def quantity(text: Any) -> float:
    """Read an amount as Kubernetes writes it."""
    written = str(text)
    for suffix, factor in (
        ("Ki", 2**10),
        ("Mi", 2**20),
        ("Gi", 2**30),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
    ):
        if written.endswith(suffix):
            return float(written.removesuffix(suffix)) * factor
    return float(written)


def _of(objects: list[Object], *kinds: str) -> Iterator[Container]:
    """Yield the containers that keep running in workloads of some kinds."""
    return (one for one in containers(of_kind(objects, *kinds, "ConfigMap")) if not one.is_init)


def _matches(selector: Object, template: Object) -> bool:
    return bool(selector.items() <= template["metadata"]["labels"].items())
