"""Whether a scenario ended as it must: what was decided, what the registry says, and what the clients saw."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from deploy.rehearsal.load import Answer, count
from deploy.rehearsal.rollout import Outcome
from deploy.rehearsal.scenarios import Scenario

_PAIR = ("version", "bundle_digest", "index")


class Ending(NamedTuple):
    """The findings about a scenario, good and bad."""

    lines: tuple[str, ...]
    is_right: bool


class _Finding(NamedTuple):
    holds: bool
    text: str


def check_ending(
    scenario: Scenario,
    outcome: Outcome,
    *,
    answers: Sequence[Answer],
    n_sent: int,
    ended_at: float,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> Ending:
    """Compare what happened with what must; `ended_at` is when the last change of traffic was in effect."""
    findings = (
        _decision(scenario, outcome),
        _pair(scenario, before, after),
        *_clients(scenario, answers, n_sent=n_sent),
        _afterwards(scenario, [answer for answer in answers if answer.asked_at >= ended_at]),
    )
    lines = tuple(f"{'ok   ' if finding.holds else 'WRONG'} {finding.text}" for finding in findings)
    return Ending(lines, all(finding.holds for finding in findings))


def _decision(scenario: Scenario, outcome: Outcome) -> _Finding:
    if outcome.is_promoted:
        return _Finding(scenario.is_good, "promoted")
    by = ", ".join(outcome.failed)
    is_right = bool(scenario.stopped_by) and set(outcome.failed) <= scenario.stopped_by
    return _Finding(is_right, f"stopped by {by} at {outcome.percent} % of the traffic")


def _pair(scenario: Scenario, before: Mapping[str, Any], after: Mapping[str, Any]) -> _Finding:
    """Bundle and index pointer move together, or neither does."""
    moved = [key for key in _PAIR if before[key] != after[key]]
    words = f"the champion is version {after['version']} with index {_index(after)}"
    if scenario.is_good:
        return _Finding(len(moved) == len(_PAIR), f"{words}; before, version {before['version']} with {_index(before)}")
    return _Finding(not moved, f"{words}, as before")


def _index(release: Mapping[str, Any]) -> str:
    collection = str(release["index"]["collection"]).rstrip("/").split("/")
    return f"{'/'.join(collection[-2:])} {release['index']['generation']}"


def _clients(scenario: Scenario, answers: Sequence[Answer], *, n_sent: int) -> Iterator[_Finding]:
    tally = count(answers)
    yield _Finding(tally.answers == n_sent and not tally.errors["none"], f"clients: {n_sent} searches, {tally}")
    others = tally.errors.total() - tally.errors["candidate"]
    may_fail = scenario.fault is not None and scenario.fault.nan_every > 0
    share = tally.errors["candidate"] / max(1, tally.by_track["candidate"])
    yield _Finding(
        others == 0 and (may_fail or not tally.errors["candidate"]),
        f"errors that clients saw: {others} from elsewhere, {tally.errors['candidate']} from the candidate itself "
        f"({share:.0%} of its answers)",
    )


def _afterwards(scenario: Scenario, answers: Sequence[Answer]) -> _Finding:
    tally = count(answers)
    track = "candidate" if scenario.is_good else "stable"
    is_right = tally.answers > 0 and tally.by_track[track] == tally.answers and not tally.errors
    return _Finding(is_right, f"afterwards: {tally}")
