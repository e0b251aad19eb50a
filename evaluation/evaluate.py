"""Score a model on suites and write the report; the order of work, without a command line."""

import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import NamedTuple

from evaluation.encoders import CutEncoder, DeafEncoder, ScoredModel
from evaluation.moves import extreme_topics
from evaluation.report import Measure, ModelKind, Report, ServingCosts, SuiteScores
from evaluation.runs import query_inputs
from evaluation.scoring import make_runs, measure_runs
from evaluation.suites.catalogue import DEFAULT, find_suite
from evaluation.suites.layout import Suite
from evaluation.summary import summarize
from evaluation.vector_cache import CachedEncoder
from infembed import progress, version
from infembed.encoder import Encoder
from infembed.errors import MissingArtefactError
from infembed.inputs import InputType, TextInput

N_COST_QUERIES = 200
_TOOLS = ("numpy", "onnxruntime", "pytrec-eval-terrier", "scipy")


class Suites(NamedTuple):
    """The suites to score, and why others were left out."""

    found: list[Suite]
    left_out: dict[str, str]


def find_suites(names: Sequence[str], *, data: Path | None) -> Suites:
    """Build or load suites. Named ones must be there; without names, those of the default that are."""
    if names:
        return Suites([find_suite(name, data=data) for name in dict.fromkeys(names)], {})
    found, left_out = [], {}
    for name in DEFAULT:
        try:
            found.append(find_suite(name, data=data))
        except MissingArtefactError as error:
            left_out[name] = str(error)
    return Suites(found, left_out)


def evaluate(
    model: ScoredModel,
    suites: Suites,
    *,
    cache: Path | None,
    report: progress.Report = lambda _what, _done, _total: None,
    serving: ServingCosts | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Score a model on suites; vectors that are in the cache are not encoded again.

    What a service answers is never taken from the cache, since that is what is being scored.
    """
    directory = None if model.identity.kind is ModelKind.URL else cache
    scored_as = model.scored_as  # refuses a width that cannot be before anything is encoded
    made = Report(
        model=scored_as,
        created_at=clock().isoformat(timespec="seconds"),
        suites=tuple(_score(model, suite, directory, report) for suite in suites.found),
        serving=serving,
        made_with=_made_with(),
        notes={"left_out": dict(suites.left_out)} if suites.left_out else {},
    )
    return made.model_copy(update={"summary": summarize(made)})


def cost_queries(suites: Sequence[Suite]) -> list[TextInput]:
    """Choose queries for measuring costs, with an instruction where the suite has them; from each suite in turn."""
    each = [[TextInput(q.text, InputType.QUERY, q.instruction) for q in suite.queries] for suite in suites]
    longest = max(len(found) for found in each)
    turns = [found[number] for number in range(longest) for found in each if number < len(found)]
    return turns[:N_COST_QUERIES]


def _score(model: ScoredModel, suite: Suite, directory: Path | None, report: progress.Report) -> SuiteScores:
    total = len(suite.documents) + len(query_inputs(suite))
    what = f"{model.identity.name} on {suite.info.name}"
    done = 0

    def on_encoded(n: int) -> None:
        nonlocal done
        done += n
        report(what, done, total)

    report(what, 0, total)
    identity = model.identity
    cached = CachedEncoder(
        model.encoder, identity.digest, directory, precision=identity.precision, on_encoded=on_encoded
    )
    whole: Encoder = cached if model.hears_instructions else DeafEncoder(cached)
    encoder = whole if model.width is None else CutEncoder(whole, model.width)
    runs = make_runs(suite, encoder)
    scores = measure_runs(suite, runs)
    report(what, total, total)
    moves = extreme_topics(suite, runs.instructed, scores.values_of(Measure.P_MRR))
    return scores.model_copy(update={"moves": moves})


def _made_with() -> dict[str, str]:
    return {"inf-embed": version(), "python": platform.python_version()} | {name: installed(name) for name in _TOOLS}
