"""Servers to compare with: Infinity and a plain FastAPI server, installed apart and started, and the service itself.

Nothing of them enters an environment of this project: each has its own below one directory, beside the model as they
want it. All serve the original weights that a package carries (requirements/model.txt), without the network.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.memory import Resident, resident
from infembed.bundle import Precision
from model_export.assemble import find_base
from model_export.recipe import minilm_base

_TORCH = "torch==2.13.0"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
_READY_WITHIN_S = 900.0
_SETTLED_WITHIN_S = 20.0
_LOOK_EVERY_S, _IDLE_S = 0.2, 0.01
"""A server that uses less processor time than this between two looks does nothing."""


class Environment(NamedTuple):
    """A virtual environment and what is installed into it."""

    name: str
    requirements: tuple[str, ...]

    def install(self, root: Path) -> Path:
        """Return its Python below `root`; it is made where it is missing, half made or made of something else."""
        directory = root / self.name
        python, done = directory / "bin" / "python", directory / ".installed"
        wanted = "\n".join(self.requirements)
        if not done.is_file() or done.read_text(encoding="utf-8") != wanted:
            print(f"installing {', '.join(self.requirements)} into {directory}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *self.requirements], check=True)
            done.write_text(wanted, encoding="utf-8")
        return python


INFINITY = Environment("infinity", ("infinity_emb[torch,optimum,server,logging]==0.0.78", _TORCH))
INFINITY_BETTER = Environment(
    "infinity-bt",
    ("infinity_emb[torch,server,logging]==0.0.78", "optimum==1.24.0", "transformers==4.48.3", _TORCH),
)
"""With the last versions that have BetterTransformer: Infinity uses it where it finds it, pip does not choose them."""
PLAIN = Environment("plain", ("sentence-transformers==5.7.0", "fastapi", "uvicorn[standard]", _TORCH))


class Program(NamedTuple):
    """How a server is started: `{port}` in its command is where it listens, `health` answers 200 once it is ready.

    It runs in `directory`, None: in this one.
    """

    name: str
    command: Sequence[str]
    health: str
    settings: Mapping[str, str] = {}
    directory: Path | None = None


class Running(NamedTuple):
    """A started server."""

    name: str
    url: str
    pid: int

    @property
    def memory(self) -> Resident:
        return resident(self.pid)

    def settle(self) -> None:
        """Wait until it does nothing: requests that a client left behind are no part of the next run."""
        deadline, used_s = time.monotonic() + _SETTLED_WITHIN_S, self._processor_s()
        while time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
            before_s, used_s = used_s, self._processor_s()
            if used_s - before_s <= _IDLE_S:
                return

    def _processor_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def awake(self) -> Iterator["Running"]:
        """Let it run for once: between its turns a server is stopped, and costs the others nothing."""
        os.killpg(self.pid, signal.SIGCONT)
        try:
            yield self
        finally:
            os.killpg(self.pid, signal.SIGSTOP)


def service(
    name: str, bundle: Path, *, precision: Precision, collections: Path | None = None, **settings: str
) -> Program:
    """The service, as `infembed serve` starts it."""
    command = [str(Path(sys.executable).with_name("infembed")), "serve", "--port", "{port}", "--bundle", str(bundle)]
    command += ["--precision", precision]
    if collections is not None:
        command += ["--collections", str(collections)]
    return Program(name, command, "/ready", {"INFEMBED_LOG_LEVEL": "warning", **settings})


def infinity_torch(name: str, root: Path, *, environment: Environment = INFINITY) -> Program:
    """Infinity with its torch engine and defaults."""
    return _infinity(name, environment.install(root), "torch", copied_checkpoint(root))


def infinity_optimum(name: str, root: Path) -> Program:
    """Infinity with ONNX Runtime, on the fused model that benchmarks/export_for_infinity.py makes once."""
    python = INFINITY.install(root)
    exported = root / "onnx"
    if not exported.is_dir():
        making = root / "onnx.making"
        command = [python, Path(__file__).with_name("export_for_infinity.py"), copied_checkpoint(root), making]
        subprocess.run(list(map(str, command)), check=True, env={**os.environ, **_OFFLINE, "HF_HOME": str(root / "hf")})
        making.rename(exported)
    return _infinity(name, python, "optimum", exported)


def _infinity(name: str, python: Path, engine: str, model: Path) -> Program:
    """Start it inside the model's directory: optimum 2 does not find a file by the path that Infinity gives it."""
    command = [str(python.with_name("infinity_emb")), "v2", "--host", "127.0.0.1", "--port", "{port}"]
    command += ["--model-id", ".", "--served-model-name", "model", "--engine", engine, "--device", "cpu"]
    command += ["--pooling-method", "mean", "--log-level", "warning"]
    return Program(name, command, "/health", {"HF_HOME": str(model.parent / "hf")}, directory=model)


def plain(name: str, root: Path) -> Program:
    """FastAPI and sentence-transformers (benchmarks/plain_server.py)."""
    uvicorn = PLAIN.install(root).with_name("uvicorn")
    command = [str(uvicorn), "plain_server:app", "--app-dir", str(Path(__file__).parent), "--port", "{port}"]
    command += ["--no-access-log", "--log-level", "warning"]
    return Program(name, command, "/health", {"MODEL": str(copied_checkpoint(root))})


def copied_checkpoint(root: Path) -> Path:
    """Copy the original weights below `root`, where servers may write beside them."""
    copy = root / "all-MiniLM-L6-v2"
    if not copy.is_dir():
        shutil.copytree(find_base(minilm_base()), copy)
    return copy


@contextmanager
def started(programs: Sequence[Program], logs: Path) -> Iterator[dict[str, Running]]:
    """Start servers one after the other and stop each once it is ready; what they say goes to files below `logs`."""
    logs.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # otherwise stopped servers would outlive this process
    with ExitStack() as stack:
        running = {}
        for program in programs:
            server = stack.enter_context(_started(program, logs))
            os.killpg(server.pid, signal.SIGSTOP)
            running[program.name] = server
        yield running


@contextmanager
def _started(program: Program, logs: Path) -> Iterator[Running]:
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in program.command]
    log = logs / f"{program.name.replace(' ', '-').lower()}.log"
    print(f"starting {program.name}", file=sys.stderr)
    environment = {**os.environ, **_OFFLINE, **program.settings}
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, cwd=program.directory, start_new_session=True
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url + program.health, log)
            yield Running(program.name, url, process.pid)
        finally:
            with suppress(ProcessLookupError):
                for sig in (signal.SIGTERM, signal.SIGCONT):
                    os.killpg(process.pid, sig)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"{process.args!r} did not get ready; it said: {log.read_text(encoding='utf-8')[-2000:]}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
