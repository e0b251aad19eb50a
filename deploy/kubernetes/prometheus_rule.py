"""The rules of deploy/monitoring as a PrometheusRule for the Prometheus operator.

    python deploy/kubernetes/prometheus_rule.py

writes components/monitoring/prometheusrule.yaml again; a test notices when somebody forgot.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parents[1] / "monitoring" / "rules"
OUT = Path(__file__).parent / "components" / "monitoring" / "prometheusrule.yaml"
_HEAD = "# Written by deploy/kubernetes/prometheus_rule.py from deploy/monitoring/rules; change it there.\n"


def main() -> None:
    OUT.write_text(wrap(sorted(RULES.glob("*.yml"))), encoding="utf-8")
    print(OUT)


def wrap(files: Iterable[Path]) -> str:
    """Write the groups of rule files, in order, as one object."""
    groups: list[Any] = []
    for file in files:
        groups += yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "inf-embed", "labels": {"app.kubernetes.io/component": "service"}},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.safe_dump(rule, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    main()
