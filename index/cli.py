"""`infembed index` and `infembed search`: build, inspect and ask a collection."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from infembed.terminal import plain_console

app = typer.Typer(help="Build, inspect and verify collections.", no_args_is_help=True)

BundleOption = Annotated[Path, typer.Option("--bundle", help="Directory of the model bundle.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command()
def build(
    bundle: BundleOption,
    passages: Annotated[Path, typer.Option(help="JSONL, JSONL.gz, CSV or Parquet with `id` and `text`.")],
    out: Annotated[Path, typer.Option(help="Directory of the collection; its name is the collection's name.")],
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; default: all that are usable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Embed passages and publish an index; interrupted, it goes on where it stopped."""
    from index.build import build_collection
    from infembed.encoder import OnnxEncoder
    from infembed.progress import show_progress

    console = plain_console(stderr=as_json)
    encoder = OnnxEncoder.open(bundle, n_threads=threads)
    with show_progress(console, unit="passages") as report:
        result = build_collection(
            passages, out, encoder=encoder, bundle_name=encoder.bundle.manifest.name, progress=report
        )
    manifest = result.manifest
    if as_json:
        typer.echo(json.dumps({"generation": result.generation, "is_new": result.is_new, **_facts(out)}))
        return
    if not result.is_new:
        console.print(f"{out} is up to date: {manifest.n_documents:,} passages, {result.generation}")
        return
    resumed = f" ({result.n_resumed:,} embedded earlier)" if result.n_resumed else ""
    console.print(
        f"collection {out.name}: {manifest.n_documents:,} passages{resumed}, {manifest.factory}, "
        f"nprobe {manifest.nprobe}, recall@10 {manifest.recall_at_10:.3f}, {result.generation} at {out}"
    )


@app.command()
def stats(
    out: Annotated[Path, typer.Argument(help="The collection's directory.")], as_json: JsonOption = False
) -> None:
    """Print what a collection holds."""
    facts = _facts(out)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        plain_console().print(f"{name:22} {value}")


@app.command()
def verify(out: Annotated[Path, typer.Argument(help="The collection's directory.")], bundle: BundleOption) -> None:
    """Check every file of a collection, and that it belongs to the bundle."""
    from index.collection import Collection
    from infembed.bundle import Bundle

    fingerprint = Bundle.open(bundle).manifest.document_fingerprint
    collection = Collection.open(out, document_fingerprint=fingerprint)
    plain_console().print(f"{out} is intact: {collection.n_documents:,} passages, {collection.generation}")
    collection.close()


def search(  # noqa: PLR0917 - the options of a command, given by name
    query: Annotated[str, typer.Argument(help="What to look for.")],
    bundle: BundleOption,
    collection: Annotated[Path, typer.Option("--index", help="The collection's directory.")],
    instruction: Annotated[str | None, typer.Option(help="How the result must be.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many passages.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Search a collection from the command line."""
    from index.collection import Collection
    from infembed.encoder import OnnxEncoder
    from infembed.inputs import InputType, TextInput

    encoder = OnnxEncoder.open(bundle)
    opened = Collection.open(collection, document_fingerprint=encoder.document_fingerprint)
    vectors = encoder.encode_queries([TextInput(query, InputType.QUERY, instruction)])
    (hits,) = opened.search(vectors, k=k)
    opened.close()
    if as_json:
        typer.echo(json.dumps([hit._asdict() for hit in hits], ensure_ascii=False))
        return
    console = plain_console()
    for rank, hit in enumerate(hits, start=1):
        console.print(Text.assemble((f"{rank:2}", "bold"), f"  {hit.score:.3f}  ", (hit.id, "cyan")))
        console.print(f"    {hit.text}")


def _facts(out: Path) -> dict[str, object]:
    from index.generation import current_name, read_manifest
    from infembed.errors import MissingArtefactError

    name = current_name(out)
    if name is None:
        raise MissingArtefactError(f"{out} is not a collection; build one with `infembed index build`")
    manifest = read_manifest(out, name)
    return {
        "collection": out.resolve().name,
        "current": name,
        **manifest.model_dump(mode="json", exclude={"files", "made_with"}),
        "size_bytes": sum(entry.size_bytes for entry in manifest.files),
    }
