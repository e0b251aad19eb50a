"""`infembed keys`: make API keys. Light on purpose: it runs where neither a model nor the service is installed."""

from typing import Annotated

import typer

from infembed.errors import BadConfigError
from service.keys import Scope, StoredKey, hash_key, is_key_name, new_key

app = typer.Typer(help="Make API keys of the service.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make API keys of the service."""


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who or what the key is for; stands in the log of each request.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it is good for, again for each; without: /info and /metrics.")
    ] = None,
) -> None:
    """Make a key: standard output gets the line for the settings file, the key itself is shown once, beside it."""
    if not is_key_name(name):
        raise BadConfigError(f"name is {name[:80]!r}; use 1 to 64 letters, digits, - and _")
    key = new_key()
    stored = StoredKey(scopes=tuple(dict.fromkeys(scope or ())), hash=hash_key(key))
    typer.echo(f"The key, shown this once: {key}", err=True)
    typer.echo("Keep it where its user finds it, and put this line near the top of the settings file:", err=True)
    typer.echo(_line(name, stored))


def _line(name: str, key: StoredKey) -> str:
    scopes = ", ".join(f'"{scope}"' for scope in key.scopes)
    return f'keys.{name} = {{ scopes = [{scopes}], hash = "{key.hash}" }}'
