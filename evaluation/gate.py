"""The promotion gate: two reports and a policy give a decision with reasons. No input or output of its own.

Each check is PASS, FAIL or INCONCLUSIVE (the interval straddles the bound). One FAIL fails the gate, else one
INCONCLUSIVE leaves it open. p-MRR alone is treacherous (a random encoder beats small real ones on FollowIR), so
quality floors, non-inferiority, preserve-MRR and the instruction-shuffle control are checks of their own. All must
pass, so their errors do not add up, and only the tests over suites need a correction for being many.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from evaluation.comparable import check_comparable
from evaluation.policy import Policy
from evaluation.report import Report
from evaluation.score_checks import check_controls, check_following, check_quality, check_suites, check_types
from evaluation.serving_checks import check_serving
from evaluation.verdict import Check, Verdict, failed, passes, worst
from infembed.bundle import Precision
from infembed.config import Config
from infembed.errors import InfEmbedError

__all__ = ["Check", "Decision", "IndexAction", "Policy", "Verdict", "decide"]


class IndexAction(StrEnum):
    """What promotion does to the index."""

    KEEP = "keep"
    REBUILD = "rebuild"


class Decision(Config):
    """The gate's conclusion about exactly these two models."""

    verdict: Verdict
    champion_digest: str
    candidate_digest: str
    candidate_precision: Precision = Precision.FP32
    index_action: IndexAction
    document_fingerprint: str
    """What an index must carry to be promoted with the candidate."""
    report_sha256: dict[str, str]
    """Digests of the two reports' contents, by role: a decision holds for these alone."""
    checks: tuple[Check, ...]
    policy: Policy

    @property
    def reasons(self) -> list[str]:
        """The reasons that decided: those of the verdict's checks, or all for PASS."""
        return [check.reason for check in self.checks if self.verdict in (Verdict.PASS, check.verdict)]


def decide(champion: Report, candidate: Report, policy: Policy) -> Decision:
    """Judge a candidate against the champion; pure: the same reports give the same decision."""
    checks = tuple(_run_checks(champion, candidate, policy))
    return Decision(
        verdict=worst(*(check.verdict for check in checks)),
        champion_digest=champion.model.digest,
        candidate_digest=candidate.model.digest,
        candidate_precision=candidate.model.precision,
        index_action=_index_action(champion, candidate),
        document_fingerprint=candidate.model.document_fingerprint,
        report_sha256={"champion": champion.sha256, "candidate": candidate.sha256},
        checks=checks,
        policy=policy,
    )


def _run_checks(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    comparable = check_comparable(champion, candidate)
    yield comparable
    if comparable.verdict is Verdict.FAIL:
        return
    steps: dict[str, Callable[[], Iterable[Check]]] = {
        "candidate": lambda: _candidate(champion, candidate, policy),
        "p-MRR": lambda: check_following(champion, candidate, policy),
        "suites": lambda: check_suites(champion, candidate, policy),
        "quality": lambda: check_quality(champion, candidate, policy),
        "controls": lambda: check_controls(candidate, policy),
        "types": lambda: check_types(champion, candidate, policy),
        "serving": lambda: check_serving(champion, candidate, policy),
        "index": lambda: _index(champion, candidate),
    }
    for name, step in steps.items():
        try:
            yield from step()
        except InfEmbedError as error:
            yield failed(name, f"this cannot be judged: {error}")


def _candidate(champion: Report, candidate: Report, policy: Policy) -> Iterator[Check]:
    """Refuse the champion as an improvement on itself, even where noise made its scores differ."""
    theirs, ours = champion.model, candidate.model
    is_same = (theirs.digest, theirs.precision) == (ours.digest, ours.precision)
    digests = f"champion {theirs.digest[:12]} in {theirs.precision}, candidate {ours.digest[:12]} in {ours.precision}"
    yield Check(
        name="candidate",
        verdict=passes(not (is_same and policy.goal == "improve")),
        reason=f"the candidate is the champion itself ({digests}), which cannot improve on itself"
        if is_same and policy.goal == "improve"
        else f"judged are {digests}",
    )


def _index(champion: Report, candidate: Report) -> Iterator[Check]:
    theirs, ours = champion.model.document_fingerprint[:12], candidate.model.document_fingerprint[:12]
    yield Check(
        name="index",
        verdict=Verdict.PASS,
        reason=f"documents are encoded as before (fingerprint {ours}): the index stays as it is"
        if _index_action(champion, candidate) is IndexAction.KEEP
        else f"documents are encoded differently (fingerprint {theirs} before, {ours} now): rebuild the index with the "
        "candidate's bundle (`infembed index build`) and promote bundle and index together, as a pair or not at all",
    )


def _index_action(champion: Report, candidate: Report) -> IndexAction:
    is_same = champion.model.document_fingerprint == candidate.model.document_fingerprint
    return IndexAction.KEEP if is_same else IndexAction.REBUILD
