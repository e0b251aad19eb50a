"""Champion against candidate: two reports, or two bundles scored and timed in one run, and the gate's decision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evaluation.costs import measure_costs
from evaluation.encoders import open_bundle, open_checkpoint
from evaluation.evaluate import Suites, cost_queries, evaluate, find_suites
from evaluation.gate import Decision, Policy, decide
from evaluation.page import contest_page
from evaluation.report import Report, load_report, save_report
from infembed import progress
from infembed.artefacts import write_atomically
from infembed.bundle import MANIFEST_FILE, Precision
from infembed.encoder import Encoder
from infembed.errors import BadInputError, MismatchedArtefactError, MissingArtefactError


@dataclass(frozen=True)
class Contest:
    """Both reports and what the gate made of them."""

    champion: Report
    candidate: Report
    decision: Decision
    is_scored_here: bool


class Precisions(NamedTuple):
    """In which precision the two bundles of a contest are scored and timed."""

    champion: Precision = Precision.FP32
    candidate: Precision = Precision.FP32


AS_TRAINED = Precisions()


def read_policy(path: Path) -> Policy:
    """Read a policy; refuses one that is not there, has unknown keys, or asks for the impossible."""
    return Policy.from_toml(path)


def hold_contest(
    champion: Path,
    candidate: Path,
    policy: Policy,
    *,
    suites: Sequence[str],
    data: Path | None,
    cache: Path | None,
    report: progress.Report,
    on_suites: Callable[[Suites], None],
    precisions: Precisions = AS_TRAINED,
    candidate_checkpoint: Path | None = None,
) -> Contest:
    """Compare two reports, or two bundles, and decide.

    `candidate_checkpoint` is what the candidate bundle was exported from: the two must give the same vectors.
    """
    are_bundles = [_is_bundle(path) for path in (champion, candidate)]
    if candidate_checkpoint is not None and not all(are_bundles):
        raise BadInputError("--candidate-checkpoint is compared with the candidate's bundle; give two bundles")
    if all(are_bundles):
        found = find_suites(suites, data=data)
        on_suites(found)
        reference = open_checkpoint(candidate_checkpoint).encoder if candidate_checkpoint else None
        before, after = _score_both(
            (champion, candidate), precisions, found, cache=cache, report=report, reference=reference
        )
    elif any(are_bundles):
        raise BadInputError(
            f"one of {champion} and {candidate} is a report, the other a bundle; give two bundles, which are scored "
            "and timed in one run, or two reports"
        )
    elif precisions != AS_TRAINED:
        raise BadInputError("a precision chooses what of a bundle is scored; reports have been scored already")
    elif suites:
        raise BadInputError("--suite chooses what bundles are scored on; reports have their suites already")
    else:
        before, after = load_report(champion), load_report(candidate)
    _require_same_suites(before, after)
    return Contest(before, after, decide(before, after, policy), is_scored_here=all(are_bundles))


def save_contest(contest: Contest, out: Path) -> list[Path]:
    """Write the decision, its page, and reports that were made for it; returns what was written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    page = out.with_suffix(".html")
    if page == out:
        raise BadInputError(f"{out} would hold the decision and its page; choose a name that ends in .json")
    written = [out, page]
    if contest.is_scored_here:
        for role, report in (("champion", contest.champion), ("candidate", contest.candidate)):
            written.append(out.with_name(f"{out.stem}.{role}.json"))
            save_report(report, written[-1])
    write_atomically(page, contest_page(contest.champion, contest.candidate, contest.decision).encode())
    write_atomically(out, (contest.decision.model_dump_json(indent=1) + "\n").encode())
    return written


def _score_both(
    bundles: tuple[Path, Path],
    precisions: Precisions,
    suites: Suites,
    *,
    cache: Path | None,
    report: progress.Report,
    reference: Encoder | None,
) -> tuple[Report, Report]:
    models = [open_bundle(path, precision=precision) for path, precision in zip(bundles, precisions, strict=True)]
    reports = [evaluate(model, suites, cache=cache, report=report) for model in models]
    queries = cost_queries(suites.found)
    costs = measure_costs(bundles, queries, precisions=precisions, references=[None, reference])
    before, after = (made.model_copy(update={"serving": serving}) for made, serving in zip(reports, costs, strict=True))
    return before, after


def _is_bundle(path: Path) -> bool:
    if (path / MANIFEST_FILE).is_file():
        return True
    if path.is_file():
        return False
    what = "does not exist" if not path.exists() else f"is a directory without {MANIFEST_FILE}"
    raise MissingArtefactError(f"{path} {what}; give a bundle's directory, or the file of a report")


def _require_same_suites(champion: Report, candidate: Report) -> None:
    """Refuse reports that were never made to be compared: that says nothing about the candidate."""
    ours, theirs = ({scores.suite: scores.digest for scores in report.suites} for report in (champion, candidate))
    for name in [*ours, *theirs]:
        if name not in theirs or name not in ours:
            who = "candidate" if name in ours else "champion"
            raise MismatchedArtefactError(f"the {who} was not scored on suite {name}; score both on the same suites")
        if ours[name] != theirs[name]:
            raise MismatchedArtefactError(
                f"suite {name} has digest {ours[name][:12]} in the champion's report and {theirs[name][:12]} in the "
                "candidate's; score both on the same suite"
            )
