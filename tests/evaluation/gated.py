"""Reports that differ in one thing, and what a decision says about it."""

from collections.abc import Callable

from evaluation.gate import Check, Decision, Policy, Verdict
from evaluation.report import Measure, Report, TopicScores

IMPROVE, MAINTAIN = Policy(), Policy(goal="maintain")


def check_of(decision: Decision, name: str) -> Check:
    return next(check for check in decision.checks if check.name == name)


def failing(decision: Decision) -> set[str]:
    return {check.name for check in decision.checks if check.verdict is Verdict.FAIL}


def with_topics(report: Report, change: Callable[[TopicScores], TopicScores], *, suite: str | None = None) -> Report:
    """Change every topic of all suites or of one; the result is another model's."""
    suites = tuple(
        scores.model_copy(update={"topics": tuple(change(topic) for topic in scores.topics)})
        if suite in (None, scores.suite)
        else scores
        for scores in report.suites
    )
    model = report.model.model_copy(update={"digest": f"{report.model.digest} changed"})
    return report.model_copy(update={"suites": suites, "model": model})


def shifted(report: Report, measure: Measure, shift: float, *, suite: str | None = None) -> Report:
    def change(topic: TopicScores) -> TopicScores:
        values = {key: value + shift if key is measure else value for key, value in topic.values.items()}
        return topic.model_copy(update={"values": values})

    return with_topics(report, change, suite=suite)


def without(report: Report, measure: Measure) -> Report:
    def change(topic: TopicScores) -> TopicScores:
        kept = {key: value for key, value in topic.values.items() if key is not measure}
        return topic.model_copy(update={"values": kept})

    return with_topics(report, change)
