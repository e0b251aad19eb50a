"""Hold every PromQL expression of the repository against what the service exports.

    python -m deploy.monitoring.check                                  # against the code
    python -m deploy.monitoring.check --prometheus http://host:9090    # against a Prometheus that scrapes a service

Prints what is wrong, one line each with its file, and exits with 1 if anything is.
"""

import argparse
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from deploy.monitoring.exported import JOB, in_kubernetes, of_code, of_prometheus, with_recorded
from deploy.monitoring.promql import Catalogue, Checked
from deploy.monitoring.written import Written, everything, pod_labels

ROOT = Path(__file__).parents[2]
_OPERATED = ("deploy/kubernetes/", "deploy/canary/")
"""Where manifests for the Prometheus operator are, whose targets have more labels."""


class Problem(NamedTuple):
    """What is wrong with an expression, and where it stands."""

    path: str
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.where}: {self.problem}"


def problems_of(root: Path, catalogue: Catalogue) -> list[Problem]:
    """Check every expression of a checkout."""
    return problems(everything(root), catalogue, pod_labels(root))


def problems(expressions: Iterable[Written], catalogue: Catalogue, taken_over: Iterable[str] = ()) -> list[Problem]:
    """Check expressions; what their recording rules make is known besides the catalogue."""
    expressions = list(expressions)
    known = with_recorded(catalogue, expressions)
    operated = with_recorded(in_kubernetes(catalogue, taken_over), expressions)
    found = []
    for one in expressions:
        checked = Checked(one.expression, operated if one.path.startswith(_OPERATED) else known)
        found += [Problem(one.path, one.where, problem) for problem in checked.problems]
        if checked.labels is not None and not checked.problems:
            missing = sorted(one.named - checked.labels)
            found += [
                Problem(one.path, one.where, f"its text names {name}, the result has no such label") for name in missing
            ]
    return found


def series_of(prometheus: str) -> list[dict[str, str]]:
    """Ask a Prometheus for all series of the service."""
    query = urllib.parse.urlencode({"match[]": f'{{job="{JOB}"}}'})
    with urllib.request.urlopen(f"{prometheus}/api/v1/series?{query}", timeout=30) as answer:
        found: list[dict[str, str]] = json.load(answer)["data"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", help="address of a Prometheus that scrapes a service")
    address = parser.parse_args().prometheus
    found = problems_of(ROOT, of_prometheus(series_of(address)) if address else of_code())
    for problem in found:
        print(problem)
    print(f"{len(everything(ROOT))} expressions, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
