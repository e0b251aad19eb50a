"""What a run came to: kept and rejected by reason, answers, tokens and money by stage, and per kept row."""

from collections import Counter
from collections.abc import Iterator

from pydantic import Field

from infembed.config import Config
from training.corpus.rows import InstructionType
from training.synthesis.completion import Unusable, read_reply
from training.synthesis.config import SynthesisConfig
from training.synthesis.criteria import Criterion
from training.synthesis.draft import Stage
from training.synthesis.pairs import AVOIDING
from training.synthesis.questions import Questions
from training.synthesis.run import Replayed
from training.synthesis.usage import Usage


class StageReport(Config):
    """One stage over all pairs. Tokens and money include answers that could not be used."""

    model: str
    prompt: str = Field(description="stage@version:digest")
    n_pairs: int = Field(description="pairs that came this far")
    n_rejected: int = Field(description="pairs that came no further")
    n_answers: int
    unusable: dict[str, int] = Field(description="answers by fault, whether or not a further attempt helped")
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = Field(description="part of completion_tokens")
    cached_tokens: int = Field(description="part of prompt_tokens")
    n_estimated: int = Field(description="answers whose tokens the endpoint did not count")
    usd: float


class CriterionReport(Config):
    """One criterion over the rows that were judged; a row can fail several."""

    minimum: int
    n_failed: int
    scores: dict[int, int] = Field(description="rows by score")


class TypeReport(Config):
    """One type of instruction."""

    n_asked: int
    n_kept: int


class SynthesisReport(Config):
    """A whole run; the same for the same pairs, settings, prompts and answers."""

    name: str
    n_pairs: int
    n_left_out: int = Field(description="pairs of the input that the run had not come to, or not to an end with")
    n_quarantined: int
    n_kept: int
    n_judged: int
    rejected_by: dict[str, int] = Field(description="pairs by reason; a pair can have several")
    criteria: dict[Criterion, CriterionReport]
    stages: dict[Stage, StageReport]
    types: dict[InstructionType, TypeReport]
    usd: float
    usd_per_kept_row: float | None
    tokens_per_kept_row: float | None

    @property
    def share_avoiding(self) -> float:
        """Return the share of pairs that were asked for exclusion or negation."""
        return sum(self.types[kind].n_asked for kind in AVOIDING if kind in self.types) / max(self.n_pairs, 1)


class Tally:
    """Counts pairs as they are replayed."""

    def __init__(self) -> None:
        self._n_pairs = self._n_kept = self._n_judged = 0
        self._rejected_by: Counter[str] = Counter()
        self._scores: dict[Criterion, Counter[int]] = {criterion: Counter() for criterion in Criterion}
        self._asked: Counter[InstructionType] = Counter()
        self._kept: Counter[InstructionType] = Counter()
        self._reached: Counter[Stage] = Counter()
        self._ended: Counter[Stage] = Counter()
        self._answers: Counter[Stage] = Counter()
        self._estimated: Counter[Stage] = Counter()
        self._unusable: dict[Stage, Counter[str]] = {stage: Counter() for stage in Stage}
        self._usage = dict.fromkeys(Stage, Usage())
        self._usd = dict.fromkeys(Stage, 0.0)

    def add(self, replayed: Replayed) -> None:
        """Count a pair."""
        outcome = replayed.outcome
        self._n_pairs += 1
        self._asked[outcome.task.instruction_type] += 1
        if outcome.is_kept:
            self._n_kept += 1
            self._kept[outcome.task.instruction_type] += 1
        else:
            self._ended[outcome.findings[0].stage] += 1
            self._rejected_by.update({str(finding.reason) for finding in outcome.findings})
        if outcome.scores is not None:
            self._n_judged += 1
            for criterion, found in outcome.scores.items():
                self._scores[criterion][found.score] += 1
        self._reached.update(_stages_reached(replayed))
        for question, answer in replayed.bought:
            self._answers[question.stage] += 1
            self._estimated[question.stage] += not answer.is_counted
            self._usage[question.stage] += answer.usage
            self._usd[question.stage] += answer.usd
            if isinstance(reply := read_reply(answer.body, question.stage), Unusable):
                self._unusable[question.stage][reply.fault] += 1

    def report(self, questions: Questions, *, n_tasks: int, n_quarantined: int) -> SynthesisReport:
        """Return the counts as a report."""
        config = questions.config
        usd = sum(self._usd.values())
        tokens = sum(usage.prompt + usage.completion for usage in self._usage.values())
        return SynthesisReport(
            name=config.name,
            n_pairs=self._n_pairs,
            n_left_out=n_tasks - self._n_pairs,
            n_quarantined=n_quarantined,
            n_kept=self._n_kept,
            n_judged=self._n_judged,
            rejected_by=dict(self._rejected_by.most_common()),
            criteria={criterion: self._criterion(criterion, config) for criterion in Criterion},
            stages={stage: self._stage(stage, questions) for stage in Stage},
            types={kind: TypeReport(n_asked=n, n_kept=self._kept[kind]) for kind, n in sorted(self._asked.items())},
            usd=round(usd, 6),
            usd_per_kept_row=round(usd / self._n_kept, 6) if self._n_kept else None,
            tokens_per_kept_row=round(tokens / self._n_kept, 1) if self._n_kept else None,
        )

    def _criterion(self, criterion: Criterion, config: SynthesisConfig) -> CriterionReport:
        scores, minimum = self._scores[criterion], config.minimum[criterion]
        n_failed = sum(n for score, n in scores.items() if score < minimum)
        return CriterionReport(minimum=minimum, n_failed=n_failed, scores={n: scores[n] for n in range(1, 6)})

    def _stage(self, stage: Stage, questions: Questions) -> StageReport:
        usage = self._usage[stage]
        return StageReport(
            model=questions.model_of(stage).model,
            prompt=questions.prompts.ids[stage],
            n_pairs=self._reached[stage],
            n_rejected=self._ended[stage],
            n_answers=self._answers[stage],
            unusable=dict(self._unusable[stage].most_common()),
            prompt_tokens=usage.prompt,
            completion_tokens=usage.completion,
            reasoning_tokens=usage.reasoning,
            cached_tokens=usage.cached,
            n_estimated=self._estimated[stage],
            usd=round(self._usd[stage], 6),
        )


def _stages_reached(replayed: Replayed) -> set[Stage]:
    asked = {question.stage for question, _ in replayed.bought}
    return asked | {finding.stage for finding in replayed.outcome.findings}


def report_text(report: SynthesisReport) -> str:
    """Word a report for people."""
    return "\n".join([*_summary(report), "", *_stages(report), "", *_criteria(report), "", *_types(report)]) + "\n"


def _summary(report: SynthesisReport) -> Iterator[str]:
    share = report.n_kept / max(report.n_pairs, 1)
    yield f"{report.name}: {report.n_kept:,} of {report.n_pairs:,} pairs kept ({share:.0%}), {report.n_judged:,} judged"
    if report.n_left_out:
        yield f"{report.n_left_out:,} more pairs are not finished and left out"
    if report.n_quarantined:
        yield f"{report.n_quarantined:,} broken or repeated rows of the input set aside (quarantine.jsonl)"
    if report.usd_per_kept_row is not None and report.tokens_per_kept_row is not None:
        per_row = f"${report.usd_per_kept_row:.6f} and {report.tokens_per_kept_row:,.0f} tokens"
        yield f"${report.usd:,.4f}; {per_row} a kept row"
    else:
        yield f"${report.usd:,.4f}; no row was kept"
    if report.rejected_by:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in report.rejected_by.items())
        yield f"rejected (a pair can have several reasons): {reasons}"


def _stages(report: SynthesisReport) -> Iterator[str]:
    tokens = f"{'prompt':>11}{'completion':>12}{'reasoning':>11}"
    yield f"{'stage':22}{'pairs':>8}{'rejected':>10}{'answers':>9}{tokens}{'$':>10}"
    for stage, found in report.stages.items():
        yield (
            f"{stage:22}{found.n_pairs:>8,}{found.n_rejected:>10,}{found.n_answers:>9,}{found.prompt_tokens:>11,}"
            f"{found.completion_tokens:>12,}{found.reasoning_tokens:>11,}{found.usd:>10,.4f}"
        )
    for stage, found in report.stages.items():
        if found.unusable:
            faults = ", ".join(f"{fault} {n:,}" for fault, n in found.unusable.items())
            yield f"unusable answers at {stage}: {faults}"
        if found.n_estimated:
            yield f"{found.n_estimated:,} answers at {stage} came without a count of tokens; theirs are estimates"


def _criteria(report: SynthesisReport) -> Iterator[str]:
    yield f"{'criterion':14}{'minimum':>8}{'failed':>8}{'of judged':>11}    rows by score 1 2 3 4 5"
    for criterion, found in report.criteria.items():
        share = f"{found.n_failed / report.n_judged:.0%}" if report.n_judged else "-"
        scores = " ".join(f"{n:,}" for n in found.scores.values())
        yield f"{criterion:14}{found.minimum:>8}{found.n_failed:>8,}{share:>11}    {scores}"


def _types(report: SynthesisReport) -> Iterator[str]:
    yield f"{'type':14}{'asked':>8}{'kept':>8}"
    for kind, found in report.types.items():
        yield f"{kind:14}{found.n_asked:>8,}{found.n_kept:>8,}"
    yield f"exclusion and negation: {report.share_avoiding:.0%} of what was asked"
