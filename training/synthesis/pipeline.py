"""The stages for one pair, as a generator that yields questions and is sent the bodies of answers.

It asks nobody itself: the same function runs against endpoints, against stored answers and, for an estimate, against
none. None in place of an answer means that there is none and will be none.
"""

from collections.abc import Generator
from dataclasses import dataclass

from training.synthesis.completion import Fault, Unusable, read_reply
from training.synthesis.criteria import Check, Criterion, Finding, check_draft
from training.synthesis.draft import GENERATING, Draft, Stage
from training.synthesis.pairs import Task
from training.synthesis.prompts import document_order
from training.synthesis.questions import Question, Questions
from training.synthesis.schemas import Instruction, Judgement, Reply, Score, text_in

Asking = Generator[Question, str | None, "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What became of a pair: its texts, the judge's scores, and why it was rejected, if it was."""

    task: Task
    draft: Draft
    findings: tuple[Finding, ...] = ()
    scores: dict[Criterion, Score] | None = None

    @property
    def is_kept(self) -> bool:
        """Say whether the row passed every stage."""
        return not self.findings

    @property
    def is_unanswered(self) -> bool:
        """Say whether a question of the pair has no answer: never asked, or in vain."""
        return any(finding.reason is Fault.NO_ANSWER for finding in self.findings)


class _RejectedError(Exception):
    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings)
        self.findings = findings


def synthesize(task: Task, questions: Questions) -> Asking:
    """Make a row out of a pair, stage by stage; the first stage that fails ends it."""
    draft = Draft(task.instruction_type, task.pair.query, task.pair.passage)
    try:
        for stage in GENERATING:
            reply = yield from _ask(stage, draft, questions)
            if isinstance(reply, Instruction) and not reply.fits:
                raise _RejectedError(Finding(stage, Check.TYPE_DOES_NOT_FIT, reply.met_by))
            draft = draft.with_text(stage, text_in(reply))
            if findings := tuple(check_draft(stage, draft, questions.config.bounds)):
                raise _RejectedError(*findings)
        judgement = yield from _ask(Stage.JUDGE, draft, questions)
    except _RejectedError as error:
        return Outcome(task, draft, error.findings)
    assert isinstance(judgement, Judgement)
    scores = {criterion: judgement.score(criterion, right=document_order(draft)) for criterion in Criterion}
    failed = tuple(
        Finding(Stage.JUDGE, criterion, f"score {found.score}: {found.reason}")
        for criterion, found in scores.items()
        if found.score < questions.config.minimum[criterion]
    )
    return Outcome(task, draft, failed, scores)


def _ask(stage: Stage, draft: Draft, questions: Questions) -> Generator[Question, str | None, Reply]:
    """Buy answers until one is usable; the last one's fault is the reason if none is."""
    reply: Reply | Unusable = Unusable(Fault.NO_ANSWER, "not asked")
    for attempt in range(questions.config.retries.n_attempts):
        body = yield questions.make(stage, draft, attempt=attempt)
        if body is None:
            reply = Unusable(Fault.NO_ANSWER, "there is no answer to this question")
            break
        reply = read_reply(body, stage)
        if not isinstance(reply, Unusable):
            return reply
    assert isinstance(reply, Unusable)
    raise _RejectedError(Finding(stage, reply.fault, reply.detail))
