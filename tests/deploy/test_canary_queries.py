"""The queries of the live analysis on made-up series, by promtool, and what the success conditions say to them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.rehearsal.manifests import Metric, read_plan

TAGS = 'job="inf-embed",rollouts_pod_template_hash='
MINUTES = 10


def metrics() -> tuple[Metric, ...]:
    return read_plan().templates["inf-embed-live"].filled({"candidate-hash": "new", "stable-hash": "old"})


def requests(track: str, status: int, per_step: int) -> dict[str, str]:
    labels = f'{TAGS}"{track}",route="/search",status="{status}"'
    return {"series": f"infembed_requests_total{{{labels}}}", "values": f"0+{per_step}x{4 * MINUTES}"}


def latency(track: str, *, below_s: float, per_step: int) -> list[dict[str, str]]:
    """Every search takes between half of this time and this time."""
    return [
        {
            "series": f'infembed_request_duration_seconds_bucket{{{TAGS}"{track}",route="/search",le="{le}"}}',
            "values": f"0+{per_step if le == '+Inf' or float(le) >= below_s else 0}x{4 * MINUTES}",
        }
        for le in ("0.032", "0.064", "0.128", "0.256", "0.512", "1.0", "2.0", "+Inf")
    ]


def shifts(track: str, *, unmoved: int, all_: int) -> list[dict[str, str]]:
    name = "infembed_instruction_query_shift_ratio"
    return [
        {"series": f'{name}_bucket{{{TAGS}"{track}",le="0.01"}}', "values": f"0+{unmoved}x{4 * MINUTES}"},
        {"series": f'{name}_count{{{TAGS}"{track}"}}', "values": f"0+{all_}x{4 * MINUTES}"},
    ]


def non_finite(track: str, per_step: int) -> dict[str, str]:
    series = f'infembed_non_finite_vectors_total{{{TAGS}"{track}"}}'
    return {"series": series, "values": f"0+{per_step}x{4 * MINUTES}"}


HEALTHY = [
    requests("old", 200, 100),
    requests("new", 200, 5),
    *latency("old", below_s=0.064, per_step=100),
    *latency("new", below_s=0.064, per_step=5),
    *shifts("new", unmoved=0, all_=2),
    non_finite("new", 0),
]
ALONE = [requests("new", 200, 100), *latency("new", below_s=0.128, per_step=100), non_finite("new", 0)]


def failing(series: list[dict[str, str]], tmp_path: Path) -> dict[str, float]:
    """Return the metrics whose condition these series do not meet, with their values."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (Debian: prometheus)")
    rules = [{"record": metric.name.replace("-", "_"), "expr": metric.query} for metric in metrics()]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "live", "rules": rules}]}))
    expected: list[dict[str, Any]] = [
        {"expr": rule["record"], "eval_time": f"{MINUTES}m", "exp_samples": []} for rule in rules
    ]
    test = {"interval": "15s", "input_series": series, "promql_expr_test": expected}
    file = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(file))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # promtool says what it got instead of nothing: `got: Labels:{__name__="traffic"} Value:0.3...`
    got = re.findall(r'got:\s*(?:Labels:)?\{__name__="(\w+)"\} (?:Value:)?(\S+)', done.stdout + done.stderr)
    values = {name.replace("_", "-"): float(value.rstrip(",")) for name, value in got}
    assert set(values) == {metric.name for metric in metrics()}, done.stdout + done.stderr
    return {
        metric.name: values[metric.name]
        for metric in metrics()
        if metric.condition and not metric.condition.holds(values[metric.name])
    }


def test_a_healthy_candidate_meets_every_condition(tmp_path: Path) -> None:
    assert failing(HEALTHY, tmp_path) == {}


def test_a_candidate_with_all_the_traffic_is_not_compared_with_nothing(tmp_path: Path) -> None:
    assert failing(ALONE, tmp_path) == {}


def test_a_candidate_that_is_asked_nothing_does_not_pass_by_silence(tmp_path: Path) -> None:
    assert failing([requests("old", 200, 100)], tmp_path) == {"traffic": 0}


def test_errors_are_a_share_of_the_candidates_own_searches(tmp_path: Path) -> None:
    series = [*HEALTHY, requests("new", 500, 5), requests("new", 400, 5)]
    assert failing(series, tmp_path) == {"error-rate": pytest.approx(1 / 3)}


def test_the_errors_of_stable_are_not_the_candidates(tmp_path: Path) -> None:
    assert failing([*HEALTHY, requests("old", 500, 50)], tmp_path) == {}


def test_a_slow_candidate_fails_beside_a_fast_stable_one(tmp_path: Path) -> None:
    slow = [
        series
        for series in HEALTHY
        if 'duration_seconds_bucket{job="inf-embed",rollouts_pod_template_hash="new"' not in series["series"]
    ]
    found = failing([*slow, *latency("new", below_s=1.0, per_step=5)], tmp_path)
    assert set(found) == {"latency-p95"}
    assert found["latency-p95"] > 2


def test_one_vector_of_nan_fails(tmp_path: Path) -> None:
    series = [found for found in HEALTHY if "non_finite" not in found["series"]]
    one = {"series": f'infembed_non_finite_vectors_total{{{TAGS}"new"}}', "values": "0x38 1 1"}
    assert set(failing([*series, one], tmp_path)) == {"non-finite-vectors"}


def test_instructions_without_effect_fail(tmp_path: Path) -> None:
    series = [found for found in HEALTHY if "query_shift" not in found["series"]]
    found = failing([*series, *shifts("new", unmoved=2, all_=2)], tmp_path)
    assert found == {"instruction-effect": pytest.approx(0)}
