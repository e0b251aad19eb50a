"""Fixtures every package's tests may use."""

import os
import sys
from pathlib import Path

import pytest

from infembed.cli import main
from infembed.inputs import Fusion
from tests.command_line import Command, Ended
from tests.tiny import make_precise_bundle, make_tiny_bundle


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("INFEMBED_") and name != "INFEMBED_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", params=list(Fusion))
def any_tiny_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real bundle of each fusion in turn."""
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny"), fusion=request.param)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real bundle with the default fusion."""
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def precise_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real bundle with the default fusion and every precision."""
    return make_precise_bundle(tmp_path_factory.mktemp("precise"))


@pytest.fixture
def shared_data() -> Path:
    """The directory with the public data sets that docs/data.md describes; skips where it is not there."""
    candidates = [os.environ.get("INFEMBED_DATA", ""), str(Path(__file__).parents[2] / "shared" / "data")]
    for candidate in candidates:
        if candidate and Path(candidate).is_dir():
            return Path(candidate)
    pytest.skip("needs the public data sets; set INFEMBED_DATA to their directory (docs/data.md)")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `infembed ...` as the console command does, to its exit code and both streams."""

    def invoke(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["infembed", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return invoke
