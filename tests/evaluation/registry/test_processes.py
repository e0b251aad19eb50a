"""What a kill and a race leave behind: real processes, the real MLflow, embedded and as a server."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation.registry import promotion
from evaluation.registry.location import Location
from evaluation.registry.promotion import Signer, Step
from evaluation.registry.pull import pull
from evaluation.registry.store import Store
from evaluation.registry.verification import verify
from infembed.bundle import Bundle
from infembed.errors import UnavailableError
from tests.evaluation.registry.registries import (
    ANN,
    Bundles,
    Files,
    copy_registry,
    digest_of,
    judge,
    make_collection,
)

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def act(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Start a registry command in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("act.py")), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for the end; the limit is for a process that hangs, not for a machine that is busy."""
    try:
        output, _ = process.communicate(timeout=900)
    finally:
        process.kill()
    return process.returncode, output.strip()


def problems(store: Store) -> list[str]:
    return [finding.text for finding in verify(store) if finding.is_problem]


@pytest.fixture
def rebuilding(prepared: Path, bundles: Bundles, tmp_path: Path) -> tuple[Path, Files, Path]:
    """A registry whose candidate needs another index, the decision about it, and the index."""
    store = copy_registry(prepared, tmp_path / "rebuilding")
    promotion.register(store, bundles.other, ANN)
    green = make_collection(tmp_path / "green" / "bread", bundles.other)
    return store.location.directory, judge(bundles.first, bundles.other, tmp_path / "gate"), green


def steps_of(output: str) -> int:
    return len(output.split()) - 2


def test_a_promotion_killed_at_any_step_leaves_the_old_pair_or_the_new_one(
    rebuilding: tuple[Path, Files, Path], tmp_path: Path
) -> None:
    source, files, green = rebuilding
    old = Store.open(Location.parse(str(source))).state().champion
    dry = copy_registry(source, tmp_path / "dry").location.directory
    code, output = finish(act("promote", dry, *files, "--index", green))
    assert code == 0
    committed = output.split()[2:].index(Step.COMMITTED.name)
    for last in range(steps_of(output)):
        store = copy_registry(source, tmp_path / f"killed{last}")
        registry = store.location.directory
        code, _ = finish(act("promote", registry, *files, "--index", green, "--kill-at", str(last)))
        assert code == -signal.SIGKILL
        champion = store.state().champion
        assert champion is not None
        assert champion.index is not None
        if last < committed:
            assert champion == old
        else:
            assert (champion.version, champion.index.collection) == (3, str(green.resolve()))
        promotion.recover(store)
        assert problems(store) == []
        if last < committed:  # what the killed one prepared is in nobody's way
            assert finish(act("promote", registry, *files, "--index", green))[0] == 0
        assert store.aliases() == {"champion": 3}


def test_a_rollback_killed_at_any_step_restores_both_or_neither(
    rebuilding: tuple[Path, Files, Path], tmp_path: Path
) -> None:
    source, files, green = rebuilding
    before = Store.open(Location.parse(str(source)))
    old = before.state().champion
    new = promotion.promote(before, files.evidence(), ANN, index=green)
    dry = copy_registry(source, tmp_path / "dry").location.directory
    code, output = finish(act("rollback", dry))
    assert code == 0
    for last in range(steps_of(output)):
        store = copy_registry(source, tmp_path / f"killed{last}")
        code, _ = finish(act("rollback", store.location.directory, "--kill-at", str(last)))
        assert code == -signal.SIGKILL
        assert store.state().champion in (old, new)
        promotion.recover(store)
        assert problems(store) == []
        restored = store.state().champion
        pulled = pull(store, restored, tmp_path / f"serving{last}") if restored else None
        assert pulled is not None
        assert pulled.collections is not None


def race(registry: str | Path, files: Files, tmp_path: Path) -> list[tuple[int, str]]:
    """Let two processes come to the commit, then let both go on at once."""
    go = tmp_path / "go"
    both = [act("promote", registry, *files, "--by", name, "--wait-for", go) for name in ("carol", "dave")]
    said = [process.stdout.readline() for process in both if process.stdout is not None]
    go.touch()
    finished = sorted(finish(process) for process in both)
    assert said == ["ready\n", "ready\n"], finished
    return finished


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_processes_that_promote_at_once_exactly_one_wins(
    store: Store, bundles: Bundles, tmp_path: Path, attempt: int
) -> None:
    (won, winner), (lost, loser) = race(
        store.location.directory, judge(bundles.first, bundles.second, tmp_path), tmp_path
    )
    assert (won, lost) == (0, 1)
    assert winner.startswith("champion 2")
    assert loser.startswith("ConflictError somebody else was faster")
    state = store.state()
    assert (len(state.entries), len(state.void)) == (4, 1)
    assert problems(store) == []


@contextmanager
def mlflow_server(directory: Path) -> Iterator[str]:
    """Run a real MLflow server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(directory / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | quiet, cwd=directory, start_new_session=True
        )
        try:
            _wait_until_healthy(url, process)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)


def _wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the MLflow server ended"
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the MLflow server did not become healthy")


def test_a_real_server_takes_the_whole_story(
    empty_database: Path, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flask_cors", reason="the MLflow server needs flask and flask-cors")
    monkeypatch.chdir(tmp_path)  # a server's log file lies below the current directory
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    with mlflow_server(tmp_path) as url:
        store = Store.open(Location.parse(url), create=True)
        first, _ = promotion.register(store, bundles.first, ANN)
        blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
        promotion.promote(store, None, ANN, index=blue)
        promotion.register(store, bundles.second, ANN)
        results = race(url, judge(bundles.first, bundles.second, tmp_path / "gate"), tmp_path)
        assert [code for code, _ in results] == [0, 1]
        assert "somebody else was faster" in results[1][1]
        promotion.recover(store)  # the racers ran elsewhere: their log file is not ours
        assert problems(store) == []
        champion = store.state().champion
        assert champion is not None
        pulled = pull(store, champion, tmp_path / "serving")
        assert Bundle.open(pulled.bundle).digest == digest_of(bundles.second)
        restored = promotion.rollback(store, Signer("bob", "slower"))
        assert (restored.bundle_digest, restored.version) == (first.bundle_digest, first.version)
        assert problems(store) == []
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnavailableError, match="no registry answers at"):
        store.state()
