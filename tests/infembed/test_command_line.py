"""The `infembed` command as scripts and people meet it: exit codes they can trust, one sentence per failure."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
import typer

from infembed.cli import UNUSABLE
from infembed.errors import BadInputError, MissingArtefactError
from tests.command_line import Command, Ended


class _Entry(NamedTuple):
    name: str
    command: Any

    def load(self) -> Any:
        return self.command


Run = Callable[..., Ended]


@pytest.fixture
def run(run: Command, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `infembed act ...`, where `act` does what the test says."""

    def invoke(act: Callable[[], None], *arguments: str) -> Ended:
        def command(n: Annotated[int, typer.Option(help="A number.")] = 0) -> None:
            act()

        group = typer.Typer()
        group.command(name="act")(command)
        group.command(name="other")(command)
        entries = [_Entry("act", command), _Entry("group", group)]
        monkeypatch.setattr("infembed.cli.entry_points", lambda **_: entries)
        return run(*arguments)

    return invoke


def _raise(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def _nothing() -> None:
    pass


@pytest.mark.parametrize("command", [["act"], ["group", "act"]])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BadInputError("the id [/foo] of [v2] :smile: is taken"), "error: the id [/foo] of [v2] :smile: is taken"),
        (MissingArtefactError("nothing there"), "error: nothing there"),
        (BadInputError("odd \ud800 name"), r"error: odd \ud800 name"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device; free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "/[x]"), "error: /[x]: Permission denied; change its"),
        (OSError("10 requested and 0 written"), "error: 10 requested and 0 written"),
        (ModuleNotFoundError("No module named 'onnx'"), "error: No module named 'onnx'; install the extra"),
    ],
    ids=["markup", "artefact", "surrogate", "full disk", "permission", "bare", "extra"],
)
def test_a_failure_is_one_sentence_and_no_verdict(
    run: Run, command: list[str], error: Exception, expected: str
) -> None:
    ended = run(_raise(error), *command)
    (line,) = ended.err.splitlines()
    assert line.startswith(expected)
    assert (ended.code, ended.out) == (UNUSABLE, "")


def test_a_defect_of_ours_shows_its_traceback_and_no_verdict(run: Run) -> None:
    ended = run(_raise(ZeroDivisionError("ours")), "act")
    assert ended.code == UNUSABLE
    assert "Traceback" in ended.err
    assert "ZeroDivisionError: ours" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["act", "--unknown"],
        ["act", "--n", "[/many]"],
        ["act", "surplus"],
        ["group"],
        ["group", "unknown"],
        ["group", "act", "--n", "many"],
        ["--unknown"],
    ],
)
def test_wrong_usage_is_no_verdict(run: Run, arguments: list[str]) -> None:
    assert run(_nothing, *arguments).code == UNUSABLE


@pytest.mark.parametrize("verdict", [0, 1, 2])
def test_a_verdict_is_the_exit_code(run: Run, verdict: int) -> None:
    assert run(_raise(typer.Exit(verdict)), "act").code == verdict
    assert run(_raise(typer.Exit(verdict)), "group", "act").code == verdict


def test_success_and_help_exit_with_0(run: Run) -> None:
    assert run(_nothing, "act").code == 0
    ended = run(_nothing, "--help")
    assert ended.code == 0
    assert "Exit codes: 0 done" in ended.out
    assert run(_nothing, "--version").code == 0


def test_an_interruption_is_none_of_these(run: Run) -> None:
    assert run(_raise(KeyboardInterrupt()), "act").code == 130


def test_names_that_are_not_unicode_can_be_printed(run: Run, tmp_path: Path) -> None:
    def act() -> None:
        from infembed.terminal import plain_console

        plain_console().print("built \udcff [/x]")

    assert run(act, "act") == Ended(0, "built \\udcff [/x]\n", "")
