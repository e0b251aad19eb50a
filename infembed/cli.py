"""The `infembed` command: finds its sub-commands through entry points and words errors for people."""

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer
from rich.console import Console

from infembed import version
from infembed.errors import InfEmbedError

COMMANDS = "infembed.commands"


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
            app.add_typer(part, name=entry.name)
        else:
            app.command(name=entry.name)(part)
    return app


def main() -> None:
    """Run the command line; an error made on purpose becomes one sentence and exit code 1."""
    try:
        make_app()()
    except InfEmbedError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
