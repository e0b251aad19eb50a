"""`infembed serve`: load a bundle and its collections, serve until told to stop."""

import logging
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
    examples: Annotated[Path | None, typer.Option(help="Example searches (JSON) to print once ready.")] = None,
) -> None:
    """Serve /embed and /search. Every other setting is an environment variable INFEMBED_... (docs/settings.md)."""
    from infembed.encoder import OnnxEncoder
    from infembed.signatures import verify_signature
    from service.app import create_app
    from service.collections import open_collections
    from service.examples import as_curl, read_examples
    from service.server import listen, run

    settings = _settings(
        bundle=bundle,
        collections=collections,
        host=host,
        port=port,
        precision=precision,
        threads=threads,
        provider=provider,
    )
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    searches = read_examples(examples) if examples else []
    console = Console(highlight=False, soft_wrap=True)
    with listen(settings.host, settings.port) as listener:
        if settings.bundle_public_key is not None:
            verify_signature(settings.bundle, settings.bundle_public_key)
            console.print(f"bundle {settings.bundle} is signed by {settings.bundle_public_key}")
        encoder = OnnxEncoder.open(
            settings.bundle,
            precision=settings.precision,
            n_threads=settings.threads,
            provider=settings.provider,
            footprint=settings.footprint,
        )
        opened = open_collections(settings.collections, document_fingerprint=encoder.document_fingerprint)
        console.print(f"model {encoder.bundle.manifest.name}, {encoder.dim} dimensions, {encoder.precision}")
        for collection in opened:
            console.print(f"collection {collection.name}: {collection.n_documents:,} passages")
        if not opened:
            console.print("no collections: /embed works, /search has nothing to search")
        url = _url(listener)

        def on_ready() -> None:
            console.print(f"ready on {url} (documentation at {url}/docs, stop with Ctrl-C)")
            if searches:
                console.print("\nTry the same question with two different instructions:\n")
            for search in searches:
                console.print(as_curl(search, url), markup=False)

        run(create_app(settings, encoder=encoder, collections=opened), listener, settings, on_ready=on_ready)


def _settings(**given: object) -> "Settings":  # type: ignore[name-defined]  # noqa: F821 - imported when run
    from pydantic import ValidationError

    from infembed.config import explain
    from infembed.errors import BadConfigError
    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise BadConfigError(f"settings: {explain(error)}") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
