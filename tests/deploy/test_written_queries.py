"""Queries are found wherever they are written down."""

import json
from pathlib import Path

import pytest

from deploy.monitoring.promql import PLACEHOLDER
from deploy.monitoring.written import Written, everything, pod_labels


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one query of each sort."""
    files = {
        "deploy/monitoring/rules/a.yml": """
groups:
  - name: one
    rules:
      - alert: Hungry
        expr: job:pies:sum == 0
        annotations: {summary: "{{ $labels.job }} has {{ $value | humanize }}", runbook: docs/hungry.md}
      - record: job:pies:sum
        expr: sum by (job) (pies_total)
""",
        "deploy/monitoring/tests/a.yml": """
tests:
  - name: no pies
    input_series: [{series: 'pies_total{job="x"}', values: 0x5}]
""",
        "deploy/monitoring/dashboards/a.json": json.dumps(
            {
                "panels": [
                    {"type": "row", "title": "Row"},
                    {
                        "title": "Pies",
                        "targets": [
                            {"expr": 'rate(pies_total{oven=~"$oven"}[$__rate_interval])', "legendFormat": "{{oven}}"}
                        ],
                    },
                ],
                "templating": {
                    "list": [
                        {"name": "oven", "type": "query", "query": 'label_values(pies_total{job="x"}, oven)'},
                        {"name": "source", "type": "datasource", "query": "prometheus"},
                    ]
                },
                "annotations": {"list": [{"name": "Alerts", "expr": "ALERTS"}]},
            }
        ),
        "docs/page.md": "Text\n\n```promql\n# how many\nsum(pies_total)\n\nguests\n```\n\n```bash\nsum(nothing)\n```\n",
        "deploy/kubernetes/scaled.yaml": """
kind: ScaledObject
spec:
  triggers:
    - {type: prometheus, metadata: {query: sum(guests), threshold: "1"}}
---
kind: ConfigMap
""",
        "deploy/canary/analysis.yml": """
spec:
  metrics:
    - provider:
        prometheus:
          query: 'rate(pies_total{job="{{args.job}}"}[{{ args.window }}])'
""",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_every_place_is_looked_at_and_recording_rules_come_first(checkout: Path) -> None:
    assert everything(checkout) == [
        Written("deploy/monitoring/rules/a.yml", "job:pies:sum", "sum by (job) (pies_total)", "job:pies:sum"),
        Written("deploy/monitoring/rules/a.yml", "Hungry", "job:pies:sum == 0", None, frozenset({"job"})),
        Written("deploy/monitoring/tests/a.yml", "no pies", 'pies_total{job="x"}'),
        Written(
            "deploy/monitoring/dashboards/a.json",
            "Pies",
            f'rate(pies_total{{oven=~"{PLACEHOLDER}"}}[5m])',
            None,
            frozenset({"oven"}),
        ),
        Written("deploy/monitoring/dashboards/a.json", "annotation Alerts", "ALERTS"),
        Written(
            "deploy/monitoring/dashboards/a.json", "variable oven", 'pies_total{job="x"}', None, frozenset({"oven"})
        ),
        Written("docs/page.md", "line 4", "sum(pies_total)"),
        Written("docs/page.md", "line 4", "guests"),
        Written(
            "deploy/canary/analysis.yml",
            "spec.metrics[0].provider.prometheus.query",
            f'rate(pies_total{{job="{PLACEHOLDER}"}}[5m])',
        ),
        Written("deploy/kubernetes/scaled.yaml", "spec.triggers[0].metadata.query", "sum(guests)"),
    ]


def test_labels_of_pods_are_those_that_monitors_take_over_patches_included(checkout: Path) -> None:
    (checkout / "deploy/kubernetes/monitor.yaml").write_text(
        "kind: ServiceMonitor\nspec: {podTargetLabels: [track, app.kubernetes.io/name]}"
    )
    (checkout / "deploy/canary/kustomization.yaml").write_text(
        "patches:\n  - patch: |\n      - {op: add, path: /spec/podTargetLabels/-, value: rollouts-pod-template-hash}\n"
    )
    assert pod_labels(checkout) == {"track", "app_kubernetes_io_name", "rollouts_pod_template_hash"}
