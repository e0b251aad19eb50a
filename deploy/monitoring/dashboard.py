"""The Grafana dashboard, written from code.

    python -m deploy.monitoring.dashboard

writes dashboards/inf-embed.json again; a test notices when somebody forgot.
"""

import json
from pathlib import Path
from typing import Any

from deploy.monitoring.panels import laid_out
from deploy.monitoring.process_rows import INDEX, MODEL, PROCESS
from deploy.monitoring.request_rows import CACHE, INSTRUCTIONS, LATENCY, QUEUE, TRAFFIC

ROWS = (TRAFFIC, LATENCY, QUEUE, INSTRUCTIONS, CACHE, INDEX, MODEL, PROCESS)
OUT = Path(__file__).parent / "dashboards" / "inf-embed.json"


def render() -> str:
    """Write the dashboard as Grafana reads it from a file."""
    board = {
        "uid": "inf-embed",
        "title": "InF-Embed",
        "description": "Written by deploy/monitoring/dashboard.py; change the rows in the modules beside it.",
        "tags": ["inf-embed"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _variable("track", "up"), _variable("instance", 'up{track=~"$track"}')]},
        "annotations": {"list": [_firing()]},
        "links": [],
        "panels": laid_out(ROWS),
    }
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    OUT.write_text(render(), encoding="utf-8")
    print(OUT)


def _datasource() -> dict[str, Any]:
    """Ask which Prometheus; at first the one that compose provides."""
    current = {"text": "Prometheus", "value": "prometheus"}
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "current": current}


def _variable(label: str, selector: str) -> dict[str, Any]:
    separator = "," if "{" in selector else ""
    metric, _, where = selector.rstrip("}").partition("{")
    return {
        "name": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f'label_values({metric}{{job="inf-embed"{separator}{where}}}, {label})',
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _firing() -> dict[str, Any]:
    """Mark on every panel when an alert fired."""
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "expr": 'ALERTS{alertname=~"InfEmbed.*",alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{track}}",
    }


if __name__ == "__main__":
    main()
