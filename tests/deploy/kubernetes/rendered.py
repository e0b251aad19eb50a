"""The objects that kustomize makes of an overlay."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "canary")
Object = dict[str, Any]


class Container(NamedTuple):
    """A container and whose it is."""

    workload: str
    spec: Object
    pod: Object
    is_init: bool

    @property
    def where(self) -> str:
        return f"{self.workload}, container {self.spec['name']}"


def render(overlay: str) -> list[Object]:
    """Build an overlay as `kubectl apply -k` would; the objects are the caller's to change."""
    return copy.deepcopy(_render(overlay))


@cache
def _render(overlay: str) -> list[Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, for `kubectl kustomize`")
    built = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """Return one object; the digest that kustomize appends to generated names is left out of account."""
    (found,) = (
        one for one in of_kind(objects, kind) if name in {one["metadata"]["name"], one["metadata"]["name"][:-11]}
    )
    return found


def name_of(one: Object) -> str:
    """Name an object for a message."""
    return f"{one['kind']} {one['metadata']['name']}"


def pod_template(one: Object) -> Object | None:
    """Return what a workload makes its pods from."""
    spec = one.get("spec", {})
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Object | None = spec.get("template")
    return template


def templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield every workload's name and pod template."""
    for one in objects:
        if (template := pod_template(one)) is not None:
            yield name_of(one), template


def containers(objects: list[Object]) -> Iterator[Container]:
    """Yield every container of every workload, init containers first."""
    for workload, template in templates(objects):
        pod = template["spec"]
        for spec in pod.get("initContainers", []):
            yield Container(workload, spec, pod, is_init=True)
        for spec in pod["containers"]:
            yield Container(workload, spec, pod, is_init=False)


def environment(container: Container, objects: list[Object]) -> dict[str, str]:
    """Return the variables a container gets as far as the objects tell; references to fields are left out."""
    found: dict[str, str] = {}
    for source in container.spec.get("envFrom", []):
        if "configMapRef" in source:
            found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    found |= {one["name"]: one["value"] for one in container.spec.get("env", []) if "value" in one}
    return found


def seconds_to_drain(settings: dict[str, str], container: Container) -> float:
    """Return how long a container may take from the decision to end it: hook, delay, drain."""
    hook = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    delay, drain = settings["INFEMBED_SHUTDOWN_DELAY_S"], settings["INFEMBED_DRAIN_TIMEOUT_S"]
    return float(hook) + float(delay) + float(drain)
