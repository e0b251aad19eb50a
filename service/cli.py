"""`infembed serve`: load a bundle and its collections, serve until told to stop."""

import os
import socket
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from infembed.bundle import Precision
from infembed.execution import Provider


def serve(  # noqa: PLR0917 - the options of a command, given by name
    bundle: Annotated[Path | None, typer.Option(help="Directory of the model bundle.")] = None,
    collections: Annotated[Path | None, typer.Option(help="Directory whose sub-directories are collections.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Number format of the model; default: fp32.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the model.")] = None,
    provider: Annotated[Provider | None, typer.Option(help="What runs the model.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; an option or variable wins.")] = None,
    examples: Annotated[Path | None, typer.Option(help="Example searches (JSON) to print once ready.")] = None,
) -> None:
    """Serve /embed and /search. Other settings: variables INFEMBED_... or the file (docs/settings.md)."""
    from service.app import create_app
    from service.configuration import read_settings
    from service.examples import as_curl, read_examples
    from service.loading import Loaded, describe
    from service.logs import announce, configure_logging
    from service.server import listen, run
    from service.tls import certificate_of
    from service.tracing import open_tracing

    settings = read_settings(
        os.environ,
        file=config,
        bundle=bundle,
        collections=collections,
        host=host,
        port=port,
        precision=precision,
        threads=threads,
        provider=provider,
    )
    configure_logging(settings)
    if (certificate := certificate_of(settings)) is not None:
        certificate.check()
    tracing = open_tracing(settings)
    searches = read_examples(examples) if examples else []
    console = Console(highlight=False, soft_wrap=True)
    with listen(settings.host, settings.port) as listener:
        url = _url(listener, is_secure=certificate is not None)

        def on_ready(loaded: Loaded) -> None:
            for line in describe(loaded, settings):
                console.print(line)
            announce(settings)
            console.print(f"ready on {url} (documentation at {url}/docs, stop with Ctrl-C)")
            if searches:
                console.print("\nTry the same question with two different instructions:\n")
            for search in searches:
                console.print(as_curl(search, url), markup=False)

        run(create_app(settings, tracing=tracing), listener, settings, on_ready=on_ready)


def _url(listener: socket.socket, *, is_secure: bool) -> str:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
    return f"http{'s' if is_secure else ''}://{f'[{shown}]' if ':' in shown else shown}:{port}"
