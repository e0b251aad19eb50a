"""The `infembed` command: finds its sub-commands through entry points and words errors for people."""

import sys
import traceback
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand

from infembed import version
from infembed.errors import InfEmbedError

COMMANDS = "infembed.commands"
NO_VERDICT = 3
"""Exit code of a command that gives a verdict, when it came to none."""


class VerdictCommand(TyperCommand):
    """A command that exits 0 for PASS, 1 for FAIL, 2 for INCONCLUSIVE, and 3 for everything that is no verdict.

    Wrong options (2 elsewhere), errors made on purpose (1 elsewhere) and crashes must not be taken for one.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except typer.Exit:
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):
                error.exit_code = NO_VERDICT
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except InfEmbedError as error:
            _print_error(error)
        except Exception as error:  # a crash is no verdict either
            if hasattr(error, "exit_code"):
                error.exit_code = NO_VERDICT
                raise
            traceback.print_exc()
        raise typer.Exit(NO_VERDICT)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"infembed {version()}")
        raise typer.Exit


def make_app() -> typer.Typer:
    """Collect the sub-commands of every installed package; heavy libraries load only when one runs."""
    app = typer.Typer(
        name="infembed",
        help="Retrieval that follows instructions.",
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
            is_one_command = [command.name for command in part.registered_commands] == [entry.name]
            app.add_typer(part, name=None if is_one_command else entry.name)
        else:
            app.command(name=entry.name)(part)
    return app


def main() -> None:
    """Run the command line; an error made on purpose becomes one sentence and exit code 1."""
    try:
        make_app()()
    except InfEmbedError as error:
        _print_error(error)
        sys.exit(1)


def _print_error(error: InfEmbedError) -> None:
    Console(stderr=True).print("[red]error:[/red]", Text(str(error)), highlight=False, soft_wrap=True)
