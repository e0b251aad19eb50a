"""Load on a running server: wrk with many connections, every request another text.

wrk is a C program around one epoll loop and posts prepared requests. Clients in Python (locust, httpx) take more
processor time a request than the service does, and on two cores the client's time is missing from what is measured. All
servers get the same client.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_SCRIPT = Path(__file__).with_name("wrk.lua")
_SLOWEST_ANSWER_S = 60


class Load(NamedTuple):
    """What was answered in one run."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        return self.answers / self.seconds


def write_bodies(path: Path, bodies: Iterable[object]) -> Path:
    """Write request bodies as the Lua script reads them, one a line."""
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    return path


def run_load(url: str, bodies: Path, *, connections: int, seconds: float) -> Load:
    """Keep every connection busy for `seconds`, longer if no turn ends in them; other answers than 200 are an error."""
    load = parse_load(_wrk(url, bodies, connections, seconds))
    return load if load.answers else run_load(url, bodies, connections=connections, seconds=4 * seconds)


def warm_up(url: str, bodies: Path, *, connections: int, seconds: float) -> None:
    """Do the same for nothing."""
    _wrk(url, bodies, connections, seconds)


def _wrk(url: str, bodies: Path, connections: int, seconds: float) -> str:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed; it is a package of Debian (apt-get install wrk) and of most others")
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={_SLOWEST_ANSWER_S}s"]
    command += ["-s", str(_SCRIPT), url, "--", str(bodies), str(connections)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def parse_load(printed: str) -> Load:
    """Read the script's line, the last; requests that failed are an error."""
    try:
        found = json.loads(printed.splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise RuntimeError(f"wrk printed no result: {printed.strip() or 'nothing'}") from error
    if found.pop("refused") + found.pop("broken"):
        raise RuntimeError(f"requests failed, so rates mean nothing: {printed.strip()}")
    return Load(**found)


def load_of(latencies_s: Sequence[float], *, seconds: float) -> Load:
    """Describe calls in this process like the answers of a server."""
    p50, p99 = np.percentile(latencies_s, (50, 99)) * 1000
    return Load(len(latencies_s), seconds, float(p50), float(p99))


def joined(loads: Sequence[Load]) -> Load:
    """Join loads that ran side by side, one on each replica: rates add up, latencies are those of the worst."""
    seconds = max(load.seconds for load in loads)
    answers = round(seconds * sum(load.per_s for load in loads))
    return Load(answers, seconds, max(load.p50_ms for load in loads), max(load.p99_ms for load in loads))
