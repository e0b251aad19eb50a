"""The `infembed` command: finds its sub-commands through entry points and words errors for people."""

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text
from typer.core import TyperGroup

from infembed import version
from infembed.errors import InfEmbedError
from infembed.terminal import plain_console

COMMANDS = "infembed.commands"
UNUSABLE = 3
"""Exit code of everything that is no result: 1 and 2 are verdicts, and no typing error or crash may look like one."""
EXIT_CODES = (
    "Exit codes: 0 done, or PASS; 1 FAIL, or a check found a problem; 2 INCONCLUSIVE; 3 no result: "
    "wrong usage, unusable input, a defect."
)
_WHAT_TO_DO = {
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "change its permissions or choose another place",
    errno.EPERM: "change its permissions or choose another place",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another place",
    errno.EEXIST: "a file stands where a directory is needed; choose another place",
    errno.EISDIR: "name a file, not a directory",
    errno.ENOENT: "check the path",
}


class CommandGroup(TyperGroup):
    """A command line whose every failure is one sentence and exit code 3."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        with _worded_for_people():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        with _worded_for_people():
            return super().invoke(ctx)


@contextmanager
def _worded_for_people() -> Iterator[None]:
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except typer.TyperException as error:  # wrong usage, which typer prints
        error.exit_code = UNUSABLE
        raise
    except InfEmbedError as error:
        _refuse(str(error))
    except ModuleNotFoundError as error:
        _refuse(f"{error}; install the extra of inf-embed that this command needs (docs/dependencies.md)")
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader has seen enough
            raise
        _refuse(_explain(error))
    except Exception:  # noqa: BLE001 - our defect: shown whole, and still no verdict
        traceback.print_exc()
        raise typer.Exit(UNUSABLE) from None


def _explain(error: OSError) -> str:
    reason = error.strerror or str(error)
    what = f"{error.filename}: {reason}" if error.filename is not None else reason
    advice = _WHAT_TO_DO.get(error.errno or 0)
    return f"{what}; {advice}" if advice else what


def _refuse(message: str) -> NoReturn:
    plain_console(stderr=True).print(Text.assemble(("error:", "red"), " ", message))
    raise typer.Exit(UNUSABLE)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"infembed {version()}")
        raise typer.Exit


def make_app() -> typer.Typer:
    """Collect the sub-commands of every installed package; heavy libraries load only when one runs."""
    app = typer.Typer(
        name="infembed",
        cls=CommandGroup,
        help="Retrieval that follows instructions.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def root(
        show_version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        pass

    for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
        part = entry.load()
        if isinstance(part, typer.Typer):
            app.add_typer(part, name=entry.name)
        else:
            app.command(name=entry.name)(part)
    return app


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be valid Unicode
    make_app()()
