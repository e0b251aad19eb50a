"""Whether two reports can be compared at all: same suites, same contents, every topic and every measure there."""

from collections.abc import Iterator
from math import isfinite

from evaluation.report import Measure, Report, SuiteScores, TopicScores
from evaluation.verdict import Check, Verdict, failed

NAME = "comparable"
_EVERYWHERE = (Measure.NDCG, Measure.PLAIN_NDCG)


def check_comparable(champion: Report, candidate: Report) -> Check:
    """Return the first obstacle to comparing the reports, or PASS."""
    reason = next(_obstacles(champion, candidate), None)
    if reason is not None:
        return failed(NAME, reason)
    n_topics = sum(len(scores.topics) for scores in champion.suites)
    return Check(
        name=NAME,
        verdict=Verdict.PASS,
        reason=f"both reports hold the same {len(champion.suites)} suites with all their {n_topics} topics",
    )


def _obstacles(champion: Report, candidate: Report) -> Iterator[str]:
    for role, report in (("champion", champion), ("candidate", candidate)):
        yield from _incomplete(role, report)
    theirs, ours = ({scores.suite: scores for scores in report.suites} for report in (champion, candidate))
    for suite in sorted(theirs.keys() - ours.keys()):
        yield f"the candidate was not scored on suite {suite}; score it"
    for suite in sorted(ours.keys() - theirs.keys()):
        yield f"the champion was not scored on suite {suite}; score it"
    for suite, scores in theirs.items():
        yield from _differing(scores, ours[suite])
    if not champion.strata(Measure.P_MRR):
        yield "no suite has changed instructions, so p-MRR is undefined; add a suite that has"


def _incomplete(role: str, report: Report) -> Iterator[str]:
    """Find what a whole report cannot look like."""
    names = [scores.suite for scores in report.suites]
    if len(set(names)) < len(names):
        yield f"the {role}'s report holds a suite twice; score it again"
    for scores in report.suites:
        where = f"suite {scores.suite} in the {role}'s report"
        if len({topic.topic for topic in scores.topics}) < len(scores.topics):
            yield f"{where} holds a topic twice; score it again"
        for topic in scores.topics:
            for fault in _faults(topic):
                yield f"{where}, topic {topic.topic!r}: {fault}; score it again"


def _faults(topic: TopicScores) -> Iterator[str]:
    for measure in _EVERYWHERE:
        if measure not in topic.values:
            yield f"{measure} is missing"
    if Measure.P_MRR not in topic.values and (topic.by_type or Measure.SHUFFLED_P_MRR in topic.values):
        yield "p-MRR is missing beside its types of instruction or its control"
    if Measure.P_MRR in topic.values and not topic.by_type:
        yield "p-MRR is not split by type of instruction"
    for name, value in (*topic.values.items(), *topic.by_type.items()):
        if not isfinite(value):
            yield f"{name} is {value}, not a number"


def _differing(theirs: SuiteScores, ours: SuiteScores) -> Iterator[str]:
    suite = theirs.suite
    if ours.digest != theirs.digest:
        yield (
            f"suite {suite} differs between the reports (digest {theirs.digest[:12]} in the champion's, "
            f"{ours.digest[:12]} in the candidate's); score both on the same one"
        )
    topics = {topic.topic for topic in theirs.topics} ^ {topic.topic for topic in ours.topics}
    counts = (theirs.n_queries, theirs.n_documents), (ours.n_queries, ours.n_documents)
    if topics:
        yield f"suite {suite}: {len(topics)} topics are in one report only (first {min(topics)!r}); a run was cut short"
    elif counts[0] != counts[1]:
        yield f"suite {suite}: queries and documents are {counts[0]} and {counts[1]}; a run was cut short"
    for measure in Measure:
        missing = theirs.values_of(measure).keys() ^ ours.values_of(measure).keys()
        if missing:
            yield f"suite {suite}: {measure} of topic {min(missing)!r} is in one report only; score both again"
    for kind in sorted({*theirs.instruction_types, *ours.instruction_types}):
        missing = theirs.values_of_type(kind).keys() ^ ours.values_of_type(kind).keys()
        if missing:
            yield f"suite {suite}: type {kind} of topic {min(missing)!r} is in one report only; score both again"
