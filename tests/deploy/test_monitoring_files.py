"""Rules, dashboard and pages of this repository: they ask for what the service exports, and belong together."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring import dashboard
from deploy.monitoring.check import problems, problems_of
from deploy.monitoring.exported import of_code
from deploy.monitoring.panels import Unit
from deploy.monitoring.promql import Catalogue
from deploy.monitoring.written import Written, everything
from tests.service.app import make_client

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOKS = ROOT / "docs" / "runbooks"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")


@pytest.fixture(scope="module")
def exported(tiny_bundle: Path) -> Catalogue:
    """What the code exports, with the routes that the application has."""
    client, _, _ = make_client(tiny_bundle)
    with client:
        routes = client.get("/openapi.json").json()["paths"]
    return of_code({*routes, "/docs", "/openapi.json"})


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules" / "2-alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_query_of_the_repository_asks_for_what_the_service_exports(exported: Catalogue) -> None:
    assert list(map(str, problems_of(ROOT, exported))) == []


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("infembed_queue_tokens", "infembed_queue_token", "there is no metric infembed_queue_token; did you mean"),
        ('stage="queue"', 'stage="queueing"', "label stage is never queueing"),
        ('lane="interactive"', 'lain="interactive"', "has no label lain"),
        ("/search|", "/serch|", "label route is never /serch"),
        ('le="0.256"', 'le="0.25"', "label le is never 0.25"),
        ('outcome="hit"', 'outcome="hits"', "label outcome is never hits; it is one of hit, miss"),
        ("infembed:requests:rate1h", "infembed:requests:rate2h", "there is no metric infembed:requests:rate2h"),
        ('job="inf-embed"', 'job="infembed"', "label job is never infembed; it is one of inf-embed"),
    ],
)
def test_a_mistake_in_a_query_is_reported_with_its_file(
    exported: Catalogue, right: str, wrong: str, problem: str
) -> None:
    written = everything(ROOT)
    number, one = next((n, one) for n, one in enumerate(written) if right in one.expression)
    written[number] = one._replace(expression=one.expression.replace(right, wrong))
    found = [str(each) for each in problems(written, exported)]
    assert any(line.startswith(f"{one.path}: {one.where}: ") and problem in line for line in found)


def test_the_dashboard_is_what_its_code_writes() -> None:
    written = dashboard.OUT.read_text(encoding="utf-8")
    assert written == dashboard.render(), "run `python -m deploy.monitoring.dashboard`"


def test_every_panel_says_what_it_shows_in_which_unit_and_overlaps_no_other() -> None:
    board = json.loads(dashboard.render())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            defaults = panel["fieldConfig"]["defaults"]
            assert panel["description"].endswith(".")
            assert defaults["unit"] in set(Unit)
            assert defaults["thresholds"]["steps"][0]["value"] is None
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == [
        *("Traffic", "Latency by stage", "Queue and admission", "Instruction effect"),
        *("Instruction cache", "Index", "Model", "Process"),
    ]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_alert_has_a_severity_a_summary_and_a_page() -> None:
    for alert in _alerts():
        assert alert["alert"].startswith("InfEmbed")
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description"} <= alert["annotations"].keys()
        assert alert["annotations"]["runbook"] == f"docs/runbooks/{alert['alert']}.md"


def test_every_page_belongs_to_an_alert_and_says_what_it_means_how_to_confirm_and_what_to_do() -> None:
    pages = {page.stem: page.read_text(encoding="utf-8") for page in RUNBOOKS.glob("InfEmbed*.md")}
    assert sorted(pages) == sorted({alert["alert"] for alert in _alerts()})
    overview = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"\(runbooks/(InfEmbed\w+)\.md\)", overview))) == sorted(pages)
    for name, text in pages.items():
        assert text.startswith(f"# {name}\n")
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings[:3] == ["What it means", "Confirm", "Do"], name
        confirm = text.split("## Confirm")[1].split("## Do")[0]
        assert "```promql" in confirm, name


def test_every_alert_is_tested_to_fire_and_not_to_fire() -> None:
    outcomes: dict[str, set[bool]] = {}
    for path in sorted((MONITORING / "tests").glob("*.yml")):
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for check in case["alert_rule_test"]:
                outcomes.setdefault(check["alertname"], set()).add(bool(check["exp_alerts"]))
    assert outcomes == {alert["alert"]: {True, False} for alert in _alerts()}


@needs_promtool
def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    rules = sorted(map(str, (MONITORING / "rules").glob("*.yml")))
    for arguments in (
        ["check", "config", str(MONITORING / "prometheus.yml")],
        ["check", "rules", "--lint=all", *rules],
    ):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.slow
def test_every_alert_fires_when_it_should_and_only_then() -> None:
    tests = sorted(map(str, (MONITORING / "tests").glob("*.yml")))
    done = subprocess.run(["promtool", "test", "rules", *tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_query_without_a_file_of_its_own_is_not_overlooked() -> None:
    """Each sort of place has queries today; one that suddenly has none is a pattern that no longer matches."""
    found: list[Written] = everything(ROOT)
    for place in ("deploy/monitoring/rules/", "deploy/monitoring/tests/", "deploy/monitoring/dashboards/", "docs/"):
        assert any(one.path.startswith(place) for one in found), place
