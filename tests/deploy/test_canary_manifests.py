import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy.rehearsal.manifests import ARGO, Analyse, Pause, SetWeight, read_plan, weights_of
from infembed.cli import make_app
from service.metrics import Metrics

FLAGGER = ARGO.parent / "flagger"
BASE = ARGO.parents[1] / "kubernetes" / "base"


def objects(directory: Path, kind: str) -> list[dict[str, Any]]:
    """Every manifest of a kind in a directory."""
    found = (manifest for path in sorted(directory.glob("*.yaml")) for manifest in yaml.safe_load_all(path.read_text()))
    return [manifest for manifest in found if manifest.get("kind") == kind]


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and Job specification of every metric that is one."""
    for template in objects(ARGO, "AnalysisTemplate"):
        for metric in template["spec"]["metrics"]:
            if "job" in metric["provider"]:
                yield metric["name"], metric["provider"]["job"]["spec"]


def containers(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    pod = job["template"]["spec"]
    return [*pod.get("initContainers", ()), *pod["containers"]]


def queries() -> dict[str, str]:
    return {metric.name: metric.query for metric in read_plan().templates["inf-embed-live"].metrics if metric.query}


def flagger_commands() -> list[list[str]]:
    """What follows `infembed` in each command of Flagger's webhooks."""
    (canary,) = objects(FLAGGER, "Canary")
    scripts = [hook["metadata"]["cmd"] for hook in canary["spec"]["analysis"]["webhooks"]]
    return [shlex.split(part)[1:] for script in scripts for part in script.split("&&")]


def config_maps(value: Any) -> Iterator[str]:
    """Every name by which something takes its environment from a ConfigMap."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from config_maps(inner)
    if isinstance(value, dict) and "configMapRef" in value:
        yield value["configMapRef"]["name"]


def check_command(words: Sequence[str]) -> None:
    """Refuse what the command line would not understand."""
    command = typer.main.get_command(make_app())
    rest = [re.sub(r"\{\{args\.[\w-]+\}\}", "1", word) for word in words]
    while (inner := getattr(command, "commands", {}).get(rest[0])) is not None:
        command, rest = inner, rest[1:]
        if not rest:
            break
    command.make_context("infembed", rest)


def test_the_share_grows_by_the_promised_steps_with_a_pause_after_each() -> None:
    steps = read_plan().steps
    assert weights_of(steps) == (5, 25, 50, 100)
    after = [steps[number + 1] for number, step in enumerate(steps) if isinstance(step, SetWeight)]
    assert all(isinstance(step, Pause) for step in after)


def test_no_client_meets_a_candidate_that_gate_and_canary_have_not_passed_and_it_is_watched_from_the_first_on() -> None:
    plan = read_plan()
    first = next(number for number, step in enumerate(plan.steps) if isinstance(step, SetWeight))
    before = [name for step in plan.steps[:first] if isinstance(step, Analyse) for name in step.templates]
    assert before == ["inf-embed-gate", "inf-embed-canary"]
    assert (plan.background, plan.background_from) == (("inf-embed-live",), first)


def test_the_champion_moves_last_when_everything_has_passed() -> None:
    steps = read_plan().steps
    assert steps[-1] == Analyse(("inf-embed-promote",))
    assert weights_of(steps[:-1])[-1] == 100


def test_the_rollout_names_templates_that_exist_and_gives_what_they_need() -> None:
    (rollout,) = objects(ARGO, "Rollout")
    canary = rollout["spec"]["strategy"]["canary"]
    templates = {found["metadata"]["name"]: found for found in objects(ARGO, "AnalysisTemplate")}
    analyses = [canary["analysis"], *(step["analysis"] for step in canary["steps"] if "analysis" in step)]
    for analysis in analyses:
        given = {argument["name"] for argument in analysis.get("args", ())}
        for named in analysis["templates"]:
            arguments = templates[named["templateName"]]["spec"]["args"]
            assert {argument["name"] for argument in arguments if "value" not in argument} <= given
    assert len({name for analysis in analyses for name in map(str, analysis["templates"])}) == len(templates)


def test_every_placeholder_is_an_argument_of_its_template() -> None:
    for path in ARGO.glob("analysis-*.yaml"):
        template = yaml.safe_load(path.read_text())
        declared = {argument["name"] for argument in template["spec"]["args"]}
        assert set(re.findall(r"\{\{args\.([\w-]+)\}\}", path.read_text())) == declared


@pytest.mark.parametrize(
    "words",
    [tuple(found["args"]) for _, job in jobs() for found in containers(job)]
    + [tuple(words) for words in flagger_commands()]
    + [read_plan().pull],
    ids=lambda words: "-".join(words[:2]),
)
def test_a_command_of_the_manifests_is_one_that_infembed_understands(words: Sequence[str]) -> None:
    check_command(words)


def test_a_misspelt_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        check_command(["canary", "--stabel=http://one"])


def test_every_metric_that_is_queried_is_exported() -> None:
    exported = set(re.findall(r"^# TYPE (\w+)", Metrics().render().decode(), re.MULTILINE))
    names = {
        re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"infembed_\w+", "".join(queries().values()))
    }
    assert names
    assert names <= exported


def test_flagger_asks_prometheus_what_argo_asks_within_the_same_bounds() -> None:
    def plain(query: str) -> str:
        query = re.sub(r'rollouts_pod_template_hash="\{\{args\.(candidate|stable)-hash\}\}"', r"\1", query)
        query = re.sub(r'pod=~"\{\{ target \}\}-primary-[^"]*"', "stable", query)
        query = re.sub(r'pod=~"\{\{ target \}\}-[^"]*"', "candidate", query)
        return re.sub(r"\{\{args\.window\}\}|\{\{ interval \}\}", "window", query)

    theirs = {found["metadata"]["name"]: found["spec"]["query"] for found in objects(FLAGGER, "MetricTemplate")}
    assert {name: plain(query) for name, query in theirs.items()} == {
        f"inf-embed-{name}": plain(query) for name, query in queries().items()
    }
    (canary,) = objects(FLAGGER, "Canary")
    ranges = {metric["name"]: metric["thresholdRange"] for metric in canary["spec"]["analysis"]["metrics"]}
    for metric in read_plan().templates["inf-embed-live"].metrics:
        assert metric.condition is not None
        ((edge, bound),) = ranges[metric.name].items()
        assert (edge == "min") == metric.condition.relation.startswith(">")
        assert bound == pytest.approx(metric.condition.bound, abs=1e-5)


def test_flagger_runs_the_commands_that_argo_runs() -> None:
    def shape(words: Sequence[str]) -> tuple[list[str], list[str]]:
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        return [word for word in words if word.isalpha()], options

    argo = [found["args"] for _, job in jobs() for found in containers(job)]
    assert sorted(map(shape, flagger_commands())) == sorted(map(shape, argo))


@pytest.mark.parametrize(("name", "job"), list(jobs()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_job_runs_once_without_rights_and_on_volumes_that_it_has(name: str, job: Mapping[str, Any]) -> None:
    pod = job["template"]["spec"]
    assert job["backoffLimit"] == 0  # a second try is another chance to be wrong
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (
        "Never",
        False,
        False,
    )
    assert pod["securityContext"]["runAsNonRoot"]
    assert job["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "evaluation"
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in containers(job):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["resources"]["requests"]


def test_every_path_of_a_job_lies_on_a_volume_of_its_container() -> None:
    for template in objects(ARGO, "AnalysisTemplate"):
        values = {argument["name"]: str(argument.get("value", "")) for argument in template["spec"]["args"]}
        for metric in template["spec"]["metrics"]:
            for container in containers(metric["provider"]["job"]["spec"]) if "job" in metric["provider"] else ():
                text = " ".join(container["args"])
                used = [values[name] for name in re.findall(r"\{\{args\.([\w-]+)\}\}", text)]
                mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
                for path in (value for value in used if value.startswith("/")):
                    assert any(path == mount or path.startswith(f"{mount}/") for mount in mounts), (
                        container["name"],
                        path,
                    )


def test_the_addresses_of_the_canary_job_are_the_rollouts_services() -> None:
    (rollout,) = objects(ARGO, "Rollout")
    canary = rollout["spec"]["strategy"]["canary"]
    services = {found["metadata"]["name"]: found["spec"]["ports"][0]["port"] for found in objects(ARGO, "Service")}
    arguments = read_plan().templates["inf-embed-canary"].arguments
    for role in ("stable", "canary"):
        name = canary[f"{role}Service"]
        argument = "stable" if role == "stable" else "candidate"
        assert arguments[argument] == f"http://{name}:{services[name]}"
    (ingress,) = objects(ARGO, "Ingress")
    assert ingress["metadata"]["name"] == canary["trafficRouting"]["nginx"]["stableIngress"]
    assert canary["stableService"] in str(ingress["spec"])


def test_flaggers_webhooks_ask_the_services_that_flagger_makes() -> None:
    (canary,) = objects(FLAGGER, "Canary")
    service = canary["spec"]["service"]
    (ask,) = (words for words in flagger_commands() if words[0] == "canary")
    assert f"--stable=http://{service['name']}-primary:{service['port']}" in ask
    assert f"--candidate=http://{service['name']}-canary:{service['port']}" in ask
    (ingress,) = objects(FLAGGER, "Ingress")
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert (ingress["metadata"]["name"], backend["name"]) == (canary["spec"]["ingressRef"]["name"], service["name"])


def test_flaggers_primary_is_scaled_by_the_queries_of_the_service() -> None:
    (canary,) = objects(FLAGGER, "Canary")
    (scaler,) = objects(BASE.parent / "components" / "autoscaling", "ScaledObject")
    theirs = canary["spec"]["autoscalerRef"]["primaryScalerQueries"]
    assert {name: query.replace("stable-primary", "stable") for name, query in theirs.items()} == {
        trigger["name"]: trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"]
    }


def test_argo_scales_both_tracks_by_the_queries_of_the_service() -> None:
    (kustomization,) = objects(ARGO, "Kustomization")
    patches = {patch["target"]["kind"]: yaml.safe_load(patch["patch"]) for patch in kustomization["patches"][1:]}
    queries_of = [one["value"] for one in patches["ScaledObject"] if one["path"].endswith("/query")]
    (scaler,) = objects(BASE.parent / "components" / "autoscaling", "ScaledObject")
    assert [query.replace('track=~"stable|canary"', 'track="stable"') for query in queries_of] == [
        trigger["metadata"]["query"] for trigger in scaler["spec"]["triggers"]
    ]


def test_prometheus_takes_the_track_of_argos_pods_from_the_label_that_the_rollout_gives_them() -> None:
    (kustomization,) = objects(ARGO, "Kustomization")
    patches = {patch["target"]["kind"]: yaml.safe_load(patch["patch"]) for patch in kustomization["patches"][1:]}
    (rule,) = (one["value"] for one in patches["ServiceMonitor"] if one["path"].endswith("/relabelings/-"))
    (rollout,) = objects(ARGO, "Rollout")
    ((label, role),) = rollout["spec"]["strategy"]["canary"]["canaryMetadata"]["labels"].items()
    assert rule["sourceLabels"] == [f"__meta_kubernetes_pod_label_{label}"]
    assert rule["targetLabel"] == "track"
    assert re.fullmatch(rule["regex"], role)
    assert not re.fullmatch(rule["regex"], rollout["spec"]["strategy"]["canary"]["stableMetadata"]["labels"][label])


def test_what_several_jobs_mount_can_be_mounted_on_several_nodes() -> None:
    modes = {
        found["metadata"]["name"]: found["spec"]["accessModes"] for found in objects(BASE, "PersistentVolumeClaim")
    }
    claimed = {
        volume["persistentVolumeClaim"]["claimName"]
        for _, job in jobs()
        for volume in job["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claimed
    assert {name: modes[name] for name in claimed} == {name: ["ReadWriteMany"] for name in claimed}


def test_a_track_pulls_a_version_and_never_an_alias_that_moves_under_it() -> None:
    for directory in (ARGO, FLAGGER):
        (release,) = objects(directory, "Deployment")
        (init,) = release["spec"]["template"]["spec"]["initContainers"]
        assert init["args"][:2] == ["registry", "pull"]
        assert init["args"][-1].startswith("--version=")


@pytest.mark.parametrize("directory", [ARGO, FLAGGER], ids=["argo", "flagger"])
def test_kustomize_renders_it_over_the_service(directory: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, for `kubectl kustomize`")
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered = [found for found in yaml.safe_load_all(done.stdout) if found]
    (deployment,) = (
        found for found in rendered if (found["kind"], found["metadata"]["name"]) == ("Deployment", "inf-embed")
    )
    (init,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert init["args"][-1].startswith("--version=")
    assert init["image"]
    names = {found["metadata"]["name"] for found in rendered if found["kind"] == "ConfigMap"} | {"inf-embed-canary"}
    assert set(config_maps(rendered)) <= names
