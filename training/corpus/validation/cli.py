"""`infembed corpus validate` and `infembed corpus decontaminate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infembed.errors import BadConfigError
from infembed.terminal import plain_console

if TYPE_CHECKING:
    from rich.console import Console

    from training.corpus.validation.decontamination import Protected
    from training.corpus.validation.report import CorpusReport

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
CorpusArgument = Annotated[
    Path, typer.Argument(help="A corpus directory, a .jsonl, .jsonl.gz or .parquet file, or InF-IR/InF-IR.")
]


def validate(
    path: CorpusArgument,
    html: Annotated[Path | None, typer.Option(help="Write the report here as one page with plots.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report faults, copies, leaks and the make-up of a corpus; exit code 1 where a row should not be trained on."""
    from infembed.artefacts import write_atomically
    from infembed.progress import show_progress
    from training.corpus.validation.page import corpus_page
    from training.corpus.validation.report import validate_corpus

    if html is not None and (html.is_dir() or not html.parent.is_dir()):
        raise BadConfigError(f"--html {html} is not a file in a directory that exists; name one")
    console = plain_console(stderr=as_json)
    with show_progress(console, unit="steps") as progress:
        report = validate_corpus(path, report=progress)
    if html is not None:
        write_atomically(html, corpus_page(report).encode())
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        _show(console, report)
        if html is not None:
            console.print(f"{html}")
    raise typer.Exit(1 if report.n_faults else 0)


def decontaminate(  # noqa: PLR0917 - the options of a command, given by name
    path: CorpusArgument,
    out: Annotated[Path, typer.Option(help="Directory of the cleaned corpus; must not exist.")],
    suite: Annotated[list[str] | None, typer.Option(help="A suite by name, or its directory; repeat for more.")] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="INFEMBED_DATA", help="Directory of the public data sets (docs/data.md).")
    ] = None,
    topics: Annotated[
        list[Path] | None, typer.Option(help="A TREC topic file; its topics must not be trained on. Repeat for more.")
    ] = None,
    topic_id: Annotated[
        list[str] | None,
        typer.Option(help="A topic by id: of --topics those named only; without, rows whose source_id it is."),
    ] = None,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a document's runs of 13 words that makes it a copy.")
    ] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Take out rows that share topics, queries or documents with evaluation suites; keeps them apart with reasons."""
    from infembed.artefacts import refuse_existing
    from training.corpus.files import read_corpus, write_corpus
    from training.corpus.validation.decontamination import Contaminated, count_overlaps, decontaminate_rows

    refuse_existing(out)
    protected, made_from = _protected(suite or [], data, topics or [], topic_id or [], share)
    reading = read_corpus(path)
    removed: dict[int, Contaminated] = {}
    kept = list(decontaminate_rows(reading.rows, protected, removed=removed))
    lines = [
        json.dumps({"number": number, **found._asdict()}, ensure_ascii=False) + "\n"
        for number, found in removed.items()
    ]
    write_corpus(
        out,
        kept,
        name=f"{path.stem}-decontaminated",
        made_from={"corpus": str(path), "share": share, **made_from},
        quarantined=reading.quarantined,
        extra_files={"removed.jsonl": "".join(lines)},
    )
    counts = {str(overlap): n for overlap, n in count_overlaps(removed).items()}
    facts = {"out": str(out), "n_rows": len(kept), "n_quarantined": len(reading.quarantined), "removed": counts}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    why = ", ".join(f"{n:,} for a {overlap}" for overlap, n in counts.items())
    console = plain_console()
    console.print(f"{len(kept):,} rows kept, {len(removed):,} taken out ({why}); {out}")
    if reading.quarantined:
        console.print(f"{len(reading.quarantined):,} rows could not be read: {out}/quarantine.jsonl")


def _protected(
    suites: list[str], data: Path | None, topics: list[Path], topic_ids: list[str], share: float
) -> "tuple[Protected, dict[str, str]]":
    from evaluation.suites.catalogue import find_suite
    from infembed.artefacts import sha256_file
    from training.corpus.trec_topics import read_topics
    from training.corpus.validation.decontamination import Protected

    if not (suites or topics or topic_ids):
        raise BadConfigError("nothing to protect: give --suite, --topics or --topic-id, each as often as needed")
    protected = Protected(share=share)
    made_from = {}
    for name in suites:
        suite = find_suite(name, data=data)
        protected.add_suite(suite)
        made_from[f"suite {suite.info.name}"] = suite.digest
    wanted = {identifier.casefold() for identifier in topic_ids}
    for identifier in topic_ids:
        protected.add_topic(identifier)
    known: set[str] = set()
    for file in topics:
        made_from[f"topics {file.name}"] = sha256_file(file)
        for topic in read_topics(file):
            known.add(topic.number.casefold())
            if not wanted or topic.number.casefold() in wanted:
                protected.add_topic(topic.number, title=topic.title, description=topic.description)
    if topics and (missing := sorted(wanted - known)):
        raise BadConfigError(
            f"no topic {', '.join(missing)} in {', '.join(str(file) for file in topics)}; check the ids"
        )
    return protected, made_from


def _show(console: "Console", report: "CorpusReport") -> None:
    console.print(f"{report.path}: {report.n_rows:,} rows, {report.n_quarantined:,} set aside")
    for problem, found in report.problems.items():
        mark = "FAULT" if found.is_fault and found.n_rows else "     "
        console.print(f"  {mark} {problem:17} {found.n_rows:>7,}  {found.meaning}")
        for example in found.examples[:3]:
            console.print(f"        row {example.number:,}: {example.detail}")
    for name, accuracy in report.telltale.items():
        console.print(f"  words alone tell {name} from positives in {accuracy:.1%} of cases (chance: 50.0%)")
    for name, counts in (("type", report.types), ("source", report.sources), ("licence", report.licenses)):
        console.print(f"  by {name}: " + ", ".join(f"{label} {n:,}" for label, n in counts.items()))
    console.print(f"  {len(report.domains):,} domains")
    for name, words in report.lengths.items():
        console.print(
            f"  {name:25} {words.n_texts:>7,} texts, words {words.least} to {words.most}, "
            f"median {words.median:.0f}, 5 to 95 % {words.p5:.0f} to {words.p95:.0f}"
        )
