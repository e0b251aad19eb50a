import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITTEN = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.py"), ROOT / "Makefile"]


def _commands() -> set[str]:
    return {
        found
        for path in WRITTEN
        for found in re.findall(r"python (\S*benchmarks\S*|-m benchmarks\S+)", path.read_text())
    }


def test_benchmarks_are_called_as_modules_since_some_of_them_share_code() -> None:
    assert not {found for found in _commands() if not found.startswith("-m ")}


@pytest.mark.parametrize("command", sorted(_commands()))
def test_a_command_that_is_written_somewhere_is_there(command: str) -> None:
    module = re.sub(r"[^\w.].*", "", command.removeprefix("-m ")).rstrip(".")
    assert find_spec(module) is not None
