"""`infembed corpus synthesize`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infembed.terminal import plain_console

if TYPE_CHECKING:
    from rich.console import Console

    from training.synthesis.answers import AnswerStore
    from training.synthesis.config import SynthesisConfig
    from training.synthesis.pairs import Tasks
    from training.synthesis.questions import Questions
    from training.synthesis.report import SynthesisReport
    from training.synthesis.run import Asked

NOTHING_KEPT = 1


def synthesize(
    config: Annotated[Path, typer.Argument(help="Settings (TOML; see configs/synthesis.toml).")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask nobody; estimate requests, tokens and money.")
    ] = False,
    finished: Annotated[
        bool, typer.Option("--finished", help="Ask nobody; write a corpus of the pairs that earlier runs finished.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Make rows from <query, passage> pairs with language models; interrupted, it goes on where it stopped.

    Exit code 1 says that every pair was rejected. A budget that is spent, a signal and an endpoint that stopped
    answering end it with code 3 and no corpus; every answer is kept, and the same command goes on.
    """
    from training.synthesis.config import SynthesisConfig
    from training.synthesis.pairs import read_tasks
    from training.synthesis.prompts import load_prompts
    from training.synthesis.questions import Questions

    settings = SynthesisConfig.from_toml(config)
    questions = Questions(settings, load_prompts(settings.prompts))
    tasks = read_tasks(settings.pairs, types=settings.instruction_types, seed=settings.seed)
    if dry_run:
        _estimate(tasks, questions, as_json=as_json)
    else:
        _synthesize(tasks, questions, finished=finished, as_json=as_json)


def _estimate(tasks: "Tasks", questions: "Questions", *, as_json: bool) -> None:
    from training.synthesis.answers import open_answers
    from training.synthesis.estimate import estimate, estimate_text

    if questions.config.answers.exists():
        with open_answers(questions.config.answers) as store:
            found = estimate(tasks, questions, store.get)
    else:
        found = estimate(tasks, questions, lambda _: None)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        plain_console().print(estimate_text(found, budget_usd=questions.config.budget_usd))


def _synthesize(tasks: "Tasks", questions: "Questions", *, finished: bool, as_json: bool) -> None:
    import asyncio

    from infembed.errors import BadArtefactError
    from training.synthesis.answers import open_answers
    from training.synthesis.assemble import assemble
    from training.synthesis.run import Asked

    if questions.config.out.exists():
        raise BadArtefactError(f"{questions.config.out} exists already; choose another `out` or remove it")
    started = time.monotonic()
    console = plain_console(stderr=as_json)
    with open_answers(questions.config.answers) as store:
        asked = Asked() if finished else asyncio.run(_ask(tasks, questions, store, console))
        report = assemble(tasks, questions, store.get, only_answered=finished)
    took_s = time.monotonic() - started
    if as_json:
        facts = {"out": str(questions.config.out), "this_run": {**asdict(asked), "seconds": round(took_s, 1)}}
        typer.echo(json.dumps(facts | report.model_dump(mode="json"), ensure_ascii=False))
    else:
        _say(report, asked, questions.config, took_s=took_s)
    if not report.n_kept:
        raise typer.Exit(NOTHING_KEPT)


def _say(report: "SynthesisReport", asked: "Asked", config: "SynthesisConfig", *, took_s: float) -> None:
    from training.synthesis.assemble import REJECTED_FILE
    from training.synthesis.report import report_text

    console = plain_console()
    console.print(report_text(report))
    console.print(
        f"this run: {asked.n_requests:,} requests and {asked.n_retries:,} retries for ${asked.usd:,.4f}, "
        f"{asked.n_from_store:,} answers from {config.answers}, {took_s:,.0f} s"
    )
    for reason, n in asked.unanswered.items():
        console.print(f"no answer to {n:,} questions: {reason}; their pairs are rejected, a new run asks them again")
    console.print(f"{report.n_kept:,} rows in {config.out}; rejected pairs with reasons in {REJECTED_FILE} there")


async def _ask(tasks: "Tasks", questions: "Questions", store: "AnswerStore", console: "Console") -> "Asked":
    import asyncio

    from infembed.progress import show_progress
    from training.synthesis.endpoint import Endpoint
    from training.synthesis.run import Run

    settings = questions.config
    generator = Endpoint.open(settings.generator, settings.retries, sleep=asyncio.sleep)
    judge = Endpoint.open(settings.judge, settings.retries, sleep=asyncio.sleep)
    try:
        for endpoint in (generator, judge):
            await endpoint.check()
        run = Run(questions, store, generator=generator, judge=judge)
        with show_progress(console, unit="pairs") as report:
            await run.ask_all(tasks.tasks, report)
        return run.asked
    finally:
        await generator.close()
        await judge.close()
