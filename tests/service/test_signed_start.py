"""A service that was told whose signature to expect starts on nothing else."""

import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from infembed.bundle import Bundle
from infembed.cli import main
from infembed.signatures import make_key_pair, sign_bundle
from service import server
from service.loading import Loaded, load
from service.settings import Settings


class StartedError(BaseException):
    """Stands for a service that is ready; no Exception, which the command line would take for a defect."""


def _serve(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: FastAPI, __: socket.socket, settings: Settings, *, on_ready: Callable[[Loaded], None]) -> None:
        on_ready(load(settings))
        raise StartedError

    monkeypatch.setattr(server, "run", run)
    monkeypatch.setattr(sys, "argv", ["infembed", "serve", "--port", "0", "--bundle", str(bundle)])
    main()


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def private_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key whose public half the service is told."""
    monkeypatch.setenv("INFEMBED_BUNDLE_PUBLIC_KEY", str(make_key_pair(tmp_path / "ours")))
    return tmp_path / "ours"


def test_a_signed_bundle_is_served(
    bundle: Path, private_key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_bundle(bundle, private_key)
    with pytest.raises(StartedError):
        _serve(bundle, monkeypatch)
    assert f"is signed by {private_key}.pub" in capsys.readouterr().out


def test_an_unsigned_bundle_is_refused_before_anything_of_it_is_loaded(
    bundle: Path, private_key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Bundle, "open", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(SystemExit, match="3"):
        _serve(bundle, monkeypatch)
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not signed" in line


def test_without_a_key_signatures_are_not_looked_at(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle.with_name("bundle.sig").write_text("nonsense")
    with pytest.raises(StartedError):
        _serve(bundle, monkeypatch)


def test_starting_without_a_key_does_not_load_the_signing_library() -> None:
    import subprocess

    code = "import service.cli, infembed.signatures, service.app, sys; sys.exit('model_signing' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
