"""Run schemathesis against a service and read what came of it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.site import Guarded, Site, running

_ROOT = Path(__file__).parents[2]
_CONFIG_FILE = Path(__file__).with_name("schemathesis.toml")
_EXAMPLES_AT_ONCE = 100
"""Cases an operation gets in one run; the next run has the next seed."""
_PHASES = ("coverage,fuzzing,stateful", "fuzzing")
"""Of the first run, and of those after it: coverage is the same cases every time."""


class Fuzzed(NamedTuple):
    """What one run of schemathesis found."""

    n_cases: int
    n_operations: int
    problems: list[str]
    """One line for each kind of failure; empty: every answer was as described."""
    output: str


def fuzz(site: Site, *, has_keys: bool, n_cases: int) -> Iterator[Fuzzed]:
    """Run at least `n_cases` cases against a service of its own, in as many runs as it takes."""
    with running(site, has_keys=has_keys) as guarded:
        done = seed = 0
        while done < n_cases:
            found = _run(guarded, seed=seed, n_examples=min(_EXAMPLES_AT_ONCE, n_cases))
            yield found
            done += found.n_cases
            seed += 1
            if not found.n_cases:
                return


def _run(guarded: Guarded, *, seed: int, n_examples: int) -> Fuzzed:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(_CONFIG_FILE), "run"]
        command += [f"{guarded.service.url}/openapi.json", "--phases", _PHASES[min(seed, 1)]]
        command += ["--seed", str(seed), "--max-examples", str(n_examples), "--report-json-path", str(report)]
        environment = {**os.environ, "FUZZ_KEY": guarded.key or "none"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=_ROOT, check=False)
        text = report.read_text(encoding="utf-8") if report.is_file() else ""
        if not text:
            return Fuzzed(0, 0, [f"schemathesis ended with {done.returncode} and no report"], done.stdout + done.stderr)
        return _read(json.loads(text), done)


def _read(report: dict[str, Any], done: "subprocess.CompletedProcess[str]") -> Fuzzed:
    problems = [f"{one['title']}: {one['count']} ({', '.join(one['operations'])})" for one in report["failures"]]
    problems += [f"{one['title']}: {one['count']}" for one in report["errors"]]
    operations = report["operations"]
    if operations["tested"] < operations["total"]:
        problems.append(f"only {operations['tested']} of {operations['total']} operations were tried")
    if done.returncode and not problems:
        problems.append(f"schemathesis ended with {done.returncode}")
    return Fuzzed(report["test_cases"]["generated"], operations["tested"], problems, done.stdout)
