"""Fuzz a running service with what its own OpenAPI description allows and forbids (`make fuzz`).

    python -m tests.fuzz --cases 10000

Half of the cases go to a service without keys, half to one that asks for a key. Every check of schemathesis is on: no
5xx, status, content type, headers and body as described, valid data taken, invalid data refused, no route open that
asks for a key. Exit code 1: an answer was not as described.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import Fuzzed, fuzz
from tests.fuzz.site import build


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    arguments = parser.parse_args()
    found: dict[str, list[Fuzzed]] = {"without keys": [], "with a key": []}
    with tempfile.TemporaryDirectory() as directory:
        site = build(Path(directory))
        for name, runs in found.items():
            for run in fuzz(site, has_keys=name == "with a key", n_cases=-(-arguments.cases // 2)):
                runs.append(run)
                print(f"{name}: {sum(one.n_cases for one in runs):,} cases", file=sys.stderr, flush=True)
                if run.problems:
                    print(run.output)
    print("| service | cases | operations | kinds of failure |\n|---|---:|---:|---:|")
    for name, runs in found.items():
        n_cases, n_problems = sum(run.n_cases for run in runs), sum(len(run.problems) for run in runs)
        print(f"| {name} | {n_cases:,} | {runs[-1].n_operations} | {n_problems} |")
    problems = sorted({problem for runs in found.values() for run in runs for problem in run.problems})
    print("\n".join(problems) or "every answer was as described")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
