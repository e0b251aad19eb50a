"""Start, wait for and stop the programs of a rehearsal."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_READY = re.compile(rb"ready on (http://\S+)")
_START_LIMIT_S = 180.0


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(holds: Callable[[], bool], *, what: str, limit_s: float = 60.0) -> None:
    """Ask again and again; connection errors count as no."""
    until = time.monotonic() + limit_s
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"waited {limit_s:.0f} s in vain: {what}")
        time.sleep(0.05)


class Ended(NamedTuple):
    """How a command ended, with all that it wrote."""

    code: int
    text: str


def infembed(arguments: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run `infembed ...` to its end; its output is kept."""
    command = [str(Path(sys.executable).with_name("infembed")), *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=_environment(environment), check=False
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(
            f"$ infembed {' '.join(arguments)}\n".encode() + done.stdout + f"exit code {done.returncode}\n\n".encode()
        )
    return Ended(done.returncode, done.stdout.decode(errors="replace"))


class Service:
    """One running service of a track."""

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("wb")
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, env=_environment(None))
        self.url = ""
        wait_until(self._is_ready, what=f"the service of {log} starts", limit_s=_START_LIMIT_S)
        self.address = self.url.removeprefix("http://")

    def stop(self) -> None:
        """End it in order."""
        self._process.terminate()
        self._process.wait(timeout=60)
        self._log.close()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the service ended at its start; see {self._log.name}")
        found = _READY.search(Path(self._log.name).read_bytes())
        self.url = found[1].decode() if found else ""
        return bool(found)


def serve(bundle: Path, collections: Path, *, log: Path, fault: Path | None = None) -> Service:
    """Start `infembed serve` on a free port; with `fault`, the same service with a fault that can be switched on."""
    options = ["--bundle", str(bundle), "--collections", str(collections)]
    if fault is None:
        return Service([str(Path(sys.executable).with_name("infembed")), "serve", "--port", "0", *options], log=log)
    return Service([sys.executable, "-m", "deploy.rehearsal.faulty", *options, "--fault", str(fault)], log=log)


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Leave out settings of whoever runs this: a rehearsal has its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INFEMBED_")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2])} | dict(more or {})
