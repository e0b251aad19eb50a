"""Where PromQL is written down: rules and their tests, dashboards, pages of the documentation, manifests."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy.monitoring.promql import PLACEHOLDER

RULES = "deploy/monitoring/rules/*.yml"
RULE_TESTS = "deploy/monitoring/tests/*.yml"
DASHBOARDS = "deploy/monitoring/dashboards/*.json"
PAGES = ("*.md", "docs/**/*.md", "deploy/**/*.md")
MANIFESTS = ("deploy/kubernetes/**/*.y*ml", "deploy/canary/**/*.y*ml")
_KEYS = frozenset({"query", "expr", "metricsQuery"})
_FENCED = re.compile(r"^```promql\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_LABEL_IN_TEXT = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z_]\w*)[^}]*\}\}")
_LABEL_VALUES = re.compile(r"label_values\((?:(.+),\s*)?(\w+)\)")
_GRAFANA_TIMES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}
_GRAFANA_VARIABLE = re.compile(r"\$\{?\w+\}?")
_TEMPLATE_RANGE = re.compile(r"\[\s*\{\{[^}]*\}\}\s*\]")
_TEMPLATE = re.compile(r"\{\{[^}]*\}\}")


class Written(NamedTuple):
    """An expression, where it stands, what a rule records as, and the labels that text around it names."""

    path: str
    where: str
    expression: str
    records: str | None = None
    named: frozenset[str] = frozenset()


def everything(root: Path) -> list[Written]:
    """Find all expressions of a checkout; those of rules come first, in the order in which they are evaluated."""
    return [*rules(root), *_rule_tests(root), *dashboards(root), *_pages(root), *_manifests(root)]


def rules(root: Path) -> list[Written]:
    """Find the expressions of rules: recording rules first."""
    found = [
        Written(
            _relative(path, root),
            rule.get("alert") or rule["record"],
            rule["expr"],
            rule.get("record"),
            _labels_in(rule.get("annotations", {})),
        )
        for path in sorted(root.glob(RULES))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    return sorted(found, key=lambda rule: rule.records is None)


def pod_labels(root: Path) -> frozenset[str]:
    """Find the labels that a ServiceMonitor, with the patches to it, takes over from pods."""
    found = [label for _, document in _documents(root) for label in _taken_over(document)]
    return frozenset(re.sub(r"\W", "_", label) for label in found)


def _rule_tests(root: Path) -> Iterator[Written]:
    """Find the series that tests of rules make up: a test of what does not exist proves nothing."""
    for path in sorted(root.glob(RULE_TESTS)):
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for series in case["input_series"]:
                yield Written(_relative(path, root), case["name"], series["series"])


def dashboards(root: Path) -> Iterator[Written]:
    """Find the expressions of panels and variables."""
    for path in sorted(root.glob(DASHBOARDS)):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                named = _labels_in({"legend": target.get("legendFormat", "")})
                yield Written(_relative(path, root), panel["title"], _filled(target["expr"]), named=named)
        for annotation in board["annotations"]["list"]:
            yield Written(_relative(path, root), f"annotation {annotation['name']}", _filled(annotation["expr"]))
        for variable in board["templating"]["list"]:
            if variable["type"] == "query" and (found := _LABEL_VALUES.fullmatch(variable["query"])):
                selector, label = found.groups()
                yield Written(
                    _relative(path, root), f"variable {variable['name']}", _filled(selector), None, frozenset({label})
                )


def _pages(root: Path) -> Iterator[Written]:
    for path in sorted({page for pattern in PAGES for page in root.glob(pattern)}):
        text = path.read_text(encoding="utf-8")
        for block in _FENCED.finditer(text):
            line = text.count("\n", 0, block.start()) + 2
            for expression in re.split(r"\n\s*\n", _COMMENT.sub("", block[1]).strip()):
                yield Written(_relative(path, root), f"line {line}", expression)


def _manifests(root: Path) -> Iterator[Written]:
    for path, document in _documents(root):
        for where, expression in _below(document, ""):
            yield Written(_relative(path, root), where, _filled(expression))


def _documents(root: Path) -> Iterator[tuple[Path, Any]]:
    for path in sorted({manifest for pattern in MANIFESTS for manifest in root.glob(pattern)}):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path, document


def _taken_over(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _taken_over(item)
    elif isinstance(node, Mapping):
        yield from node.get("podTargetLabels", ())
        if node.get("path") == "/spec/podTargetLabels/-":
            yield node["value"]
        for key, value in node.items():
            yield from _taken_over(yaml.safe_load(value) if key == "patch" and isinstance(value, str) else value)


def _below(node: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield every string that a manifest calls a query."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            at = f"{where}.{key}".lstrip(".")
            if key in _KEYS and isinstance(value, str):
                yield at, value
            else:
                yield from _below(value, at)
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from _below(item, f"{where}[{number}]")


def _filled(expression: str) -> str:
    """Fill in what Grafana, Argo or Flagger would, so that what is left is PromQL."""
    for name, duration in _GRAFANA_TIMES.items():
        expression = expression.replace(name, duration)
    expression = _TEMPLATE.sub(PLACEHOLDER, _TEMPLATE_RANGE.sub("[5m]", expression))
    return _GRAFANA_VARIABLE.sub(PLACEHOLDER, expression)


def _labels_in(texts: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for text in texts.values() for name in _LABEL_IN_TEXT.findall(text) if name != "value")


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
