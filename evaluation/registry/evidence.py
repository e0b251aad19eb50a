"""What a promotion rests on: two reports and the gate's decision about them, which must be about what is registered.

The gate is a pure function, so nobody has to believe the decision file: it is decided again from the reports.
"""

import hashlib
import math
import re
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Self

from evaluation.gate import Decision, decide
from evaluation.registry.entries import Release
from evaluation.report import Measure, Report, load_report
from infembed.config import parse_json
from infembed.errors import AlteredArtefactError, MismatchedArtefactError, MissingArtefactError


class Evidence(NamedTuple):
    """A decision and its two reports, with the bytes they were read from."""

    decision: Decision
    champion: Report
    candidate: Report
    files: dict[str, bytes]

    @classmethod
    def read(cls, *, decision: Path, champion: Path, candidate: Path) -> Self:
        """Read the three files."""
        if not decision.is_file():
            raise MissingArtefactError(f"no decision at {decision}; make one with `infembed gate`")
        files = {"decision.json": decision, "champion.json": champion, "candidate.json": candidate}
        return cls(
            decision=parse_json(Decision, decision),
            champion=load_report(champion),
            candidate=load_report(candidate),
            files={name: path.read_bytes() for name, path in files.items()},
        )

    @property
    def sha256(self) -> str:
        """Digest of the decision's file."""
        return hashlib.sha256(self.files["decision.json"]).hexdigest()

    def check(self, champion: Release, candidate: Release) -> None:
        """Refuse a decision that is about other bundles, or that the reports do not support."""
        decided = (self.decision.champion_digest, self.decision.candidate_digest)
        if decided != (champion.bundle_digest, candidate.bundle_digest):
            raise MismatchedArtefactError(
                f"the decision is about champion {decided[0][:12]} and candidate {decided[1][:12]}, the registry has "
                f"champion {champion.bundle_digest[:12]} and candidate {candidate.bundle_digest[:12]}; "
                "run `infembed gate` on these two"
            )
        for role, report, release in (
            ("champion", self.champion, champion),
            ("candidate", self.candidate, candidate),
        ):
            found = (report.model.digest, report.model.document_fingerprint)
            if found != (release.bundle_digest, release.document_fingerprint):
                raise MismatchedArtefactError(
                    f"the {role}'s report is about digest {found[0][:12]} with document fingerprint {found[1][:12]}, "
                    f"the registry has {release.bundle_digest[:12]} with {release.document_fingerprint[:12]}; "
                    "give the reports that the decision was made from"
                )
        again = decide(self.champion, self.candidate, self.decision.policy)
        if _outcome(again) != _outcome(self.decision):
            raise AlteredArtefactError(
                f"the decision says {self.decision.verdict}, the gate finds {again.verdict} in these reports with the "
                "same policy, or other checks: the files do not belong together or were edited; run `infembed gate`"
            )

    def metrics(self) -> dict[str, float]:
        """Return the candidate's means by suite and over suites, in names that MLflow takes."""
        found: dict[str, float] = {}
        for measure in Measure:
            means = {suite: float(values.mean()) for suite, values in self.candidate.strata(measure).items()}
            found |= {f"{suite}/{measure}": mean for suite, mean in means.items()}
            if means:
                found[f"all suites/{measure}"] = fmean(means.values())
        if self.candidate.serving is not None:
            costs = self.candidate.serving.model_dump(exclude_none=True)
            found |= {f"serving/{name}": value for name, value in costs.items() if isinstance(value, float)}
        return {
            re.sub(r"[^\w\-. :/]", "_", name.replace("@", " at ")): value
            for name, value in found.items()
            if math.isfinite(value)
        }


def _outcome(decision: Decision) -> tuple[object, ...]:
    """Return what must come out again; values may differ in the last digit between machines."""
    checks = [(check.name, check.verdict) for check in decision.checks]
    return (decision.verdict, decision.index_action, decision.report_sha256, checks)
