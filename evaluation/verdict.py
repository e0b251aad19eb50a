"""What a check concludes, and in which words."""

from enum import StrEnum

from evaluation.statistics import Interval
from infembed.config import Config


class Verdict(StrEnum):
    """What a check, and the gate, concludes."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        return {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 2}[self]


class Check(Config):
    """One check's result in words a person understands."""

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None


def above(found: Interval, bound: float) -> Verdict:
    """PASS when the whole interval is above the bound, FAIL when none of it is."""
    if found.low > bound:
        return Verdict.PASS
    return Verdict.FAIL if found.high <= bound else Verdict.INCONCLUSIVE


def worst(*verdicts: Verdict) -> Verdict:
    """Return FAIL if there is one, else INCONCLUSIVE if there is one."""
    return max(verdicts, key=[Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL].index)


def passes(is_good: bool) -> Verdict:
    """PASS or FAIL, where there is no noise to allow for."""
    return Verdict.PASS if is_good else Verdict.FAIL


def failed(name: str, reason: str) -> Check:
    """Make a check that fails."""
    return Check(name=name, verdict=Verdict.FAIL, reason=reason)


def points(value: float) -> str:
    """Write a score as people read it: 0.0123 is +1.2, and nothing is -0.0."""
    return f"{round(value * 100, 1) + 0.0:+.1f}"


def more_topics(found: Interval, bound: float) -> str:
    """Say how many times as many topics would settle a change of this size; empty where more would not help."""
    if found.mean <= bound or found.low > bound:
        return ""
    times = ((found.mean - found.low) / (found.mean - bound)) ** 2
    return f"; about {times:.1f} times as many topics would settle a change of this size" if times < 100 else ""
