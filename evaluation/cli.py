"""`infembed evaluate` and `infembed gate`."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from infembed.bundle import Precision

if TYPE_CHECKING:
    from evaluation.encoders import ScoredModel
    from evaluation.evaluate import Suites

REPORT_FILE = "report.json"
PAGE_FILE = "report.html"

SuiteOption = Annotated[
    list[str] | None,
    typer.Option(
        "--suite", help="A suite by name, or its directory; repeat for more. Default: all whose data are there."
    ),
]
DataOption = Annotated[
    Path | None, typer.Option(envvar="INFEMBED_DATA", help="Directory of the public data sets (docs/data.md).")
]
CacheOption = Annotated[Path, typer.Option(help="Where vectors are kept between runs.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of the bundle's graphs.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DEFAULT_CACHE = Path(".cache/evaluation")


def evaluate(  # noqa: PLR0917 - the options of a command, given by name
    bundle: Annotated[Path | None, typer.Option(help="Score this bundle, as it would be served.")] = None,
    url: Annotated[str | None, typer.Option(help="Score a running service.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Score a checkpoint in PyTorch: RUN/model, or a Hugging Face directory.")
    ] = None,
    sentence_transformers: Annotated[
        str | None, typer.Option(help="Score a sentence-transformers model: a directory, or a name on the hub.")
    ] = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for report.json and report.html; default: .cache/reports/MODEL.")
    ] = None,
    cache: CacheOption = DEFAULT_CACHE,
    precision: PrecisionOption = Precision.FP32,
    without_instructions: Annotated[
        bool, typer.Option(help="Drop every instruction: the baseline that any instruction must beat.")
    ] = False,
    dimensions: Annotated[
        int | None,
        typer.Option(help="Cut vectors to this many values, trained for it or not."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model on suites; writes a report and a page to look at."""
    from dataclasses import replace

    from evaluation.evaluate import evaluate as score
    from evaluation.evaluate import find_suites
    from evaluation.page import report_page
    from evaluation.report import save_report
    from evaluation.table import summary_table
    from infembed.artefacts import write_atomically
    from infembed.progress import show_progress

    started = time.monotonic()
    console = Console(stderr=as_json)
    sources = {
        "--bundle": bundle,
        "--url": url,
        "--checkpoint": checkpoint,
        "--sentence-transformers": sentence_transformers,
    }
    if precision is not Precision.FP32 and bundle is None:
        raise typer.BadParameter("--precision chooses the graphs of a bundle; give --bundle with it")
    model = replace(_open_model(sources, precision), hears_instructions=not without_instructions, width=dimensions)
    suites = find_suites(suite or [], data=data)
    _say_what_is_left_out(console, suites)
    with show_progress(console, unit="texts") as progress:
        report = score(model, suites, cache=cache, report=progress)
    directory = out or Path(".cache/reports") / report.model.short_name
    save_report(report, directory / REPORT_FILE)
    write_atomically(directory / PAGE_FILE, report_page(report).encode())
    if as_json:
        facts = report.model_dump(mode="json", include={"model", "created_at", "summary", "notes"})
        files = {"report": str(directory / REPORT_FILE), "page": str(directory / PAGE_FILE)}
        typer.echo(json.dumps(facts | files, ensure_ascii=False))
        return
    console.print(summary_table(report, width=console.width))
    took = f"{time.monotonic() - started:.0f} s"
    console.print(f"{directory / REPORT_FILE} and {PAGE_FILE} in {took}", highlight=False, soft_wrap=True, markup=False)


def gate(  # noqa: PLR0917 - the options of a command, given by name
    champion: Annotated[Path, typer.Option(help="The model in production: its report.json or its bundle.")],
    candidate: Annotated[Path, typer.Option(help="The model that wants to replace it: its report.json or its bundle.")],
    policy: Annotated[Path, typer.Option(help="What a candidate must show (TOML; see configs/gate.toml).")],
    champion_precision: PrecisionOption = Precision.FP32,
    candidate_precision: PrecisionOption = Precision.FP32,
    candidate_checkpoint: Annotated[
        Path | None,
        typer.Option(help="The checkpoint the candidate's bundle was exported from: their vectors must agree."),
    ] = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    cache: CacheOption = DEFAULT_CACHE,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the decision here, a page beside it, and with bundles the two reports as well."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Decide whether a candidate may replace the champion: exit code 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 no decision."""
    from evaluation.contest import Precisions, hold_contest, read_policy, save_contest
    from evaluation.table import decision_table
    from infembed.progress import show_progress

    console = Console(stderr=as_json)
    rules = read_policy(policy)
    with show_progress(console, unit="texts") as progress:
        contest = hold_contest(
            champion,
            candidate,
            rules,
            suites=suite or [],
            data=data,
            cache=cache,
            report=progress,
            on_suites=lambda suites: _say_what_is_left_out(console, suites),
            precisions=Precisions(champion_precision, candidate_precision),
            candidate_checkpoint=candidate_checkpoint,
        )
    written = save_contest(contest, out) if out else []
    if as_json:
        facts = contest.decision.model_dump(mode="json") | {"reasons": contest.decision.reasons}
        typer.echo(json.dumps(facts | {"files": [str(path) for path in written]}, ensure_ascii=False))
    else:
        console.print(decision_table(contest.decision))
        for path in written:
            console.print(str(path), highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(contest.decision.verdict.exit_code)


def _open_model(sources: dict[str, Path | str | None], precision: Precision) -> "ScoredModel":
    from evaluation import encoders

    given = {option: source for option, source in sources.items() if source is not None}
    if len(given) != 1:
        found = f"got {', '.join(given)}" if given else "got none"
        raise typer.BadParameter(f"give exactly one of {', '.join(sources)} ({found})")
    ((option, source),) = given.items()
    if option == "--bundle":
        return encoders.open_bundle(Path(source), precision=precision)
    if option == "--checkpoint":
        return encoders.open_checkpoint(Path(source))
    if option == "--url":
        return encoders.open_service(str(source))
    return encoders.open_sentence_transformers(str(source))


def _say_what_is_left_out(console: Console, suites: "Suites") -> None:
    for name, reason in suites.left_out.items():
        console.print(f"left out {name}: {reason}", highlight=False, soft_wrap=True, markup=False)
