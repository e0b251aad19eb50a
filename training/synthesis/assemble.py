"""The corpus out of stored answers: rows, rejected pairs with their reasons, and the report."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pydantic import JsonValue

from training.corpus.files import write_corpus
from training.corpus.rows import Row
from training.synthesis.answers import Answer
from training.synthesis.config import SynthesisConfig
from training.synthesis.draft import Stage
from training.synthesis.pairs import Tasks
from training.synthesis.pipeline import Outcome
from training.synthesis.questions import Question, Questions
from training.synthesis.report import SynthesisReport, Tally, report_text
from training.synthesis.run import replay

REPORT_FILE = "report.json"
REPORT_TEXT_FILE = "report.txt"
REJECTED_FILE = "rejected.jsonl"
_SAYS_NOTHING_OF_ROWS = {"out", "answers", "pairs", "prompts", "concurrency", "budget_usd"}


def assemble(
    tasks: Tasks, questions: Questions, find: Callable[[Question], Answer | None], *, only_answered: bool = False
) -> SynthesisReport:
    """Write the corpus directory, whole or not at all; the same bytes for the same answers.

    `only_answered` leaves pairs out whose questions have not all been answered, in place of rejecting them.
    """
    config = questions.config
    tally = Tally()
    rows: list[Row] = []
    rejected: list[str] = []
    for task in tasks.tasks:
        replayed = replay(task, questions, find)
        if only_answered and replayed.outcome.is_unanswered:
            continue
        tally.add(replayed)
        if replayed.outcome.is_kept:
            rows.append(_row(replayed.outcome, config))
        else:
            rejected.append(json.dumps(_rejected(replayed.outcome), ensure_ascii=False) + "\n")
    report = tally.report(questions, n_tasks=len(tasks.tasks), n_quarantined=len(tasks.quarantined))
    write_corpus(
        config.out,
        rows,
        name=config.name,
        made_from=_made_from(tasks, questions),
        quarantined=tasks.quarantined,
        extra_files={
            REPORT_FILE: report.model_dump_json(indent=2) + "\n",
            REPORT_TEXT_FILE: report_text(report),
            REJECTED_FILE: "".join(rejected),
        },
    )
    return report


def _row(outcome: Outcome, config: SynthesisConfig) -> Row:
    return Row(
        **asdict(outcome.draft),
        source=config.name,
        license=config.license,
        domain=outcome.task.pair.domain,
    )


def _rejected(outcome: Outcome) -> dict[str, Any]:
    texts = {name: value for name, value in asdict(outcome.draft).items() if value}
    scores = {criterion: score.score for criterion, score in (outcome.scores or {}).items()}
    findings = [finding._asdict() for finding in outcome.findings]
    return {"number": outcome.task.number, "findings": findings, "scores": scores, **texts}


def _made_from(tasks: Tasks, questions: Questions) -> dict[str, JsonValue]:
    config = questions.config
    return {
        "config": config.model_dump(mode="json", exclude=_SAYS_NOTHING_OF_ROWS),
        "pairs": {"name": config.pairs.name, "sha256": tasks.sha256},
        "prompts": {stage.value: questions.prompts.ids[stage] for stage in Stage},
    }
