"""What the manifests name must be there in the code: settings, ports, paths, metrics, secrets, images, commands.

Each check looks at rendered objects and yields what does not exist, in words.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, cast

import typer
import yaml

from evaluation.suites.builtin import BUILTIN
from infembed.cli import make_app
from infembed.errors import BadConfigError
from service.configuration import FILE_VARIABLE, PREFIX, read_settings
from service.metrics import Stage
from service.operations import operations_routes, process_routes
from service.settings import Settings
from tests.deploy.kubernetes.rendered import (
    KUBERNETES,
    ROOT,
    Container,
    Object,
    containers,
    environment,
    name_of,
    named,
    of_kind,
)

TARGET_LABELS = {"job", "namespace", "pod", "track"}
"""Labels that Prometheus adds to what it scrapes; `track` through the ServiceMonitor."""
_OF_THE_IMAGE = PurePosixPath("/app")
_OF_COMMANDS = {"INFEMBED_REGISTRY", "INFEMBED_DATA", "INFEMBED_BUNDLE_PUBLIC_KEY", FILE_VARIABLE}
_METRIC = re.compile(r"(infembed_\w+)(?:\{([^}]*)\})?")
_METRIC_ROW = re.compile(r"^\| `(infembed_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
_LABEL = re.compile(r'(\w+)\s*[=!]~?\s*"([^"]*)"')


def settings_exist(objects: list[Object]) -> Iterator[str]:
    """Every INFEMBED_ variable is a setting, or one that a command reads."""
    known = _OF_COMMANDS | {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for container in containers(objects):
        names = {*environment(container, objects), *(one["name"] for one in container.spec.get("env", []))}
        for name in sorted(names):
            if name.startswith(PREFIX) and name not in known:
                yield f"{container.where}: there is no setting {name}"


def settings_are_accepted(objects: list[Object]) -> Iterator[str]:
    """The service reads its variables, and the example's file of keys, as it would in the cluster."""
    for container in _serving(objects):
        try:
            _read(environment(container, objects))
        except BadConfigError as error:
            yield f"{container.where}: {error}"


def ports_are_the_services(objects: list[Object]) -> Iterator[str]:
    """What a container opens is what it listens on, and rules name ports that pods open."""
    opened = set()
    for container in _serving(objects):
        settings = _read(environment(container, objects))
        ports = {port["name"]: port["containerPort"] for port in container.spec["ports"]}
        opened |= set(ports)
        if set(ports.values()) != {settings.port}:
            yield f"{container.where} listens on {settings.port} and opens {ports}"
        if settings.host != "0.0.0.0":
            yield f"{container.where} listens on {settings.host}, where no probe reaches it"
        probes = [container.spec[name]["httpGet"]["port"] for name in _PROBES if name in container.spec]
        yield from (f"{container.where} is probed on port {port}" for port in probes if port not in ports)
    for policy in of_kind(objects, "NetworkPolicy"):
        rules = policy["spec"].get("ingress", [])
        named_ports = [port["port"] for rule in rules for port in rule["ports"] if isinstance(port["port"], str)]
        yield from (
            f"{name_of(policy)} allows port {port}, which is not open" for port in named_ports if port not in opened
        )
    services = {port["name"] for one in of_kind(objects, "Service") for port in one["spec"]["ports"]}
    for monitor in of_kind(objects, "ServiceMonitor"):
        ports_scraped = [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]]
        yield from (f"{name_of(monitor)} scrapes port {port}" for port in ports_scraped if port not in services)


def routes_exist(objects: list[Object]) -> Iterator[str]:
    """Probes and the scraper ask for paths that the service answers."""
    for container in _serving(objects):
        for name in _PROBES:
            path = container.spec.get(name, {}).get("httpGet", {}).get("path", "/health")
            if path not in _routes():
                yield f"{container.where}: {name} asks for {path}"
    for monitor in of_kind(objects, "ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["path"] not in _routes():
                yield f"{name_of(monitor)} scrapes {endpoint['path']}"


def one_service_is_scraped(objects: list[Object]) -> Iterator[str]:
    """Exactly one Service has the labels that the ServiceMonitor looks for: a pod behind two would count twice."""
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [one for one in of_kind(objects, "Service") if wanted <= one["metadata"].get("labels", {}).items()]
        if len(found) != 1:
            yield f"{name_of(monitor)} finds {len(found)} Services"


def metrics_exist(objects: list[Object]) -> Iterator[str]:
    """Queries name metrics that the service exports, with its labels or those that Prometheus adds."""
    for scaler in of_kind(objects, "ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            yield from (f"{name_of(scaler)}: {fault}" for fault in unknown_series(trigger["metadata"]["query"]))


def unknown_series(query: str) -> Iterator[str]:
    """Say what in a query the service does not export; wants at least one of its metrics in it."""
    found = list(_METRIC.finditer(query))
    if not found:
        yield f"no metric of the service in {query!r}"
    for match in found:
        name, selector = match[1], match[2] or ""
        if name not in _exported():
            yield f"there is no metric {name}"
            continue
        for label, value in _LABEL.findall(selector):
            if label not in _exported()[name] | TARGET_LABELS:
                yield f"{name} has no label {label}"
            if label == "stage" and value not in set(Stage):
                yield f"there is no stage {value}"


def labels_are_on_the_pods(objects: list[Object]) -> Iterator[str]:
    """A label of pods that a query asks for is one the ServiceMonitor takes over, and its value that of the target."""
    taken = {label for one in of_kind(objects, "ServiceMonitor") for label in one["spec"].get("podTargetLabels", [])}
    for scaler in of_kind(objects, "ScaledObject"):
        target = named(objects, "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        labels = target["spec"]["template"]["metadata"]["labels"]
        for trigger in scaler["spec"]["triggers"]:
            selectors = dict(_LABEL.findall(trigger["metadata"]["query"]))
            if "track" not in taken:
                yield "the ServiceMonitor leaves the label track out"
            if selectors.get("track") != labels.get("track"):
                yield f"{name_of(scaler)} looks at {selectors.get('track')} and scales {labels.get('track')}"


def secrets_are_in_the_example(objects: list[Object]) -> Iterator[str]:
    """Every entry of a Secret that something reads is in the example, and nothing is there for nobody."""
    example = {one["metadata"]["name"]: set(one["stringData"]) for one in example_secrets()}
    read: set[tuple[str, str]] = set()
    for container in containers(objects):
        for volume in container.pod.get("volumes", []):
            secret = volume.get("secret", {})
            read |= {(secret["secretName"], item["key"]) for item in secret.get("items", [])}
        for source in container.spec.get("envFrom", []):
            name = source.get("secretRef", {}).get("name")
            read |= {(name, key) for key in example.get(name, {""})} if name else set()
    for monitor in of_kind(objects, "ServiceMonitor"):
        credentials = [endpoint["authorization"]["credentials"] for endpoint in monitor["spec"]["endpoints"]]
        read |= {(one["name"], one["key"]) for one in credentials}
    known = {(name, key) for name, keys in example.items() for key in keys}
    yield from (f"nothing makes {key} of Secret {name}" for name, key in sorted(read - known))
    yield from (f"nobody reads {key} of Secret {name}" for name, key in sorted(known - read))


def configs_exist(objects: list[Object]) -> Iterator[str]:
    """ConfigMaps that pods refer to are among the objects."""
    there = {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}
    for container in containers(objects):
        for source in container.spec.get("envFrom", []):
            name = source.get("configMapRef", {}).get("name")
            if name and name not in there:
                yield f"{container.where} reads ConfigMap {name}, which is not there"


def paths_are_mounted(objects: list[Object]) -> Iterator[str]:
    """Every path that a variable or an argument names lies on a volume; a file of a Secret is one of its items."""
    for container in containers(objects):
        mounts = {PurePosixPath(one["mountPath"]): one["name"] for one in container.spec["volumeMounts"]}
        variables = environment(container, objects)
        named_paths = [value for name, value in variables.items() if name != "HOME" and value.startswith("/")]
        named_paths += [path for one in container.spec["args"] if (path := one.rpartition("=")[2]).startswith("/")]
        for text in named_paths:
            path = PurePosixPath(text)
            mount = next((one for one in (path, *path.parents) if one in mounts), None)
            if mount is None and path.is_relative_to(_OF_THE_IMAGE):
                continue
            if mount is None:
                yield f"{container.where}: {path} lies on no volume"
            elif mounts[mount] == "keys" and str(path.relative_to(mount)) not in _secret_files(container):
                yield f"{container.where}: {path} is not an item of the Secret"


def releases_are_where_they_are_pulled(objects: list[Object]) -> Iterator[str]:
    """The service serves what its init container pulled."""
    for container in _serving(objects):
        if not container.pod["initContainers"]:
            continue  # overlays/demo serves what its image holds
        (pull,) = (one for one in container.pod["initContainers"] if one["args"][:2] == ["registry", "pull"])
        out = pull["args"][2]
        settings = _read(environment(container, objects))
        if str(settings.bundle) != f"{out}/current/bundle":
            yield f"{container.where} serves {settings.bundle}, pulled is {out}"
        with_index = "--without-index" not in pull["args"]
        if with_index != (str(settings.collections) == f"{out}/current/collections"):
            yield f"{container.where} serves {settings.collections}, which is not what {pull['args']} brings"


def the_index_is_everywhere_under_one_path(objects: list[Object]) -> Iterator[str]:
    """A release points to its generation by path, so whoever mounts the index mounts it at the same place."""
    places = {
        mount["mountPath"]
        for container in containers(objects)
        for mount in container.spec["volumeMounts"]
        if mount["name"] == "index"
    }
    if len(places) != 1:
        yield f"the index is mounted at {sorted(places)}"


def commands_exist(objects: list[Object]) -> Iterator[str]:
    """Every container's arguments are a command of `infembed` with its options, names of suites included."""
    for container in containers(objects):
        args = [re.sub(r"\$\(\w+\)", "1", one) for one in container.spec["args"]]
        if fault := _wrong_usage(args):
            yield f"{container.where}: infembed {' '.join(args)}: {fault}"
        for one in args:
            if one.startswith("--suite=") and one.removeprefix("--suite=") not in BUILTIN:
                yield f"{container.where}: {one} needs data that no volume brings"


def images_are_built_here(objects: list[Object]) -> Iterator[str]:
    """Tags are targets of the Dockerfile, users those of its images, and the command line is the entry point."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    users = set(re.findall(r"^USER (\d+)", dockerfile, re.MULTILINE))
    for container in containers(objects):
        name, _, tag = container.spec["image"].partition(":")
        if name != "inf-embed" or tag not in targets:
            yield f"{container.where}: no target of the Dockerfile makes {container.spec['image']}"
        if str(container.pod["securityContext"].get("runAsUser")) not in users:
            yield f"{container.where}: no image has this user"
    if 'ENTRYPOINT ["infembed"]' not in dockerfile:
        yield "the images' entry point is another one"


def example_secrets() -> list[Object]:
    """Return the Secrets of the example."""
    return list(yaml.safe_load_all((KUBERNETES / "secret.example.yaml").read_text(encoding="utf-8")))


_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def _serving(objects: list[Object]) -> Iterator[Container]:
    return (one for one in containers(objects) if one.spec["args"] == ["serve"])


def _read(variables: dict[str, str]) -> Settings:
    """Read settings as `infembed serve` does, with the example's file of keys in the place of the mounted one."""
    (keys,) = (one for one in example_secrets() if one["metadata"]["name"] == "inf-embed-keys")
    with TemporaryDirectory() as directory:
        file = Path(directory) / "infembed.toml"
        file.write_text(keys["stringData"]["infembed.toml"], encoding="utf-8")
        return read_settings(variables | {FILE_VARIABLE: str(file)})


def _secret_files(container: Container) -> set[str]:
    return {
        item["path"]
        for volume in container.pod["volumes"]
        if volume["name"] == "keys"
        for item in volume["secret"]["items"]
    }


@cache
def _routes() -> set[str]:
    nothing = cast("Any", None)
    of_model = operations_routes(nothing, nothing, nothing, bundle=nothing, probes=nothing, life=nothing)
    routes = [*process_routes(nothing).routes, *of_model.routes]
    return {str(getattr(route, "path", "")) for route in routes}


@cache
def _exported() -> dict[str, set[str]]:
    """Series by name with their labels, from docs/metrics.md, which a test holds against what the service exports."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    exported: dict[str, set[str]] = {}
    for name, kind, labels in _METRIC_ROW.findall(text):
        own = set(re.findall(r"`(\w+)`", labels))
        if kind == "histogram":
            exported |= {f"{name}_bucket": own | {"le"}, f"{name}_sum": own, f"{name}_count": own}
        else:
            exported[name] = own
    return exported


def _wrong_usage(args: list[str]) -> str | None:
    """Parse arguments down to the command itself, without running it."""
    command: Any = typer.main.get_command(make_app())
    name, rest = "infembed", args
    try:
        while True:
            context = command.make_context(name, list(rest))
            if not hasattr(command, "commands"):
                return None
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    except (typer.Exit, typer.TyperException) as error:
        return str(error) or "wrong usage"


ALL = (
    settings_exist,
    settings_are_accepted,
    ports_are_the_services,
    routes_exist,
    one_service_is_scraped,
    metrics_exist,
    labels_are_on_the_pods,
    secrets_are_in_the_example,
    configs_exist,
    paths_are_mounted,
    releases_are_where_they_are_pulled,
    the_index_is_everywhere_under_one_path,
    commands_exist,
    images_are_built_here,
)
