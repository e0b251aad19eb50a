"""mteb drives our encoders, and its scores are ours: one suite, scored by mteb's own retrieval code and by ours."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from evaluation import measures
from evaluation.report import Measure
from evaluation.scoring import make_runs, measure_runs
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff
from infembed.encoder import Encoder, OnnxEncoder
from infembed.inputs import InputType, TextInput
from tests.fakes import WeighingEncoder

pytestmark = [
    pytest.mark.slow,  # importing mteb alone takes seconds
    # mteb and what it imports warn about their own inner workings
    pytest.mark.filterwarnings("ignore"),
]
_BUNDLE = Path(__file__).parents[2] / ".cache" / "bundle"
_FACETS = ("price", "taste", "origin", "health")
_DRINKS = ("tea", "coffee", "cocoa", "milk", "water", "juice", "cider", "mead", "kefir", "lemonade", "cola", "mate")


@pytest.fixture(autouse=True)
def _evaluate_extra() -> None:
    pytest.importorskip("mteb", reason="needs the evaluate extra")


def _suite() -> Suite:
    """Twelve drinks with pages on four facets; every topic asks for two facets and then for one of them."""
    rng = random.Random(5)
    words = ("good", "old", "rare", "new", "mild", "cold", "sweet", "plain")
    documents = {
        f"{drink}-{facet}-{copy}": f"{drink} {facet} {' '.join(rng.sample(words, 3))}"
        for drink in _DRINKS
        for facet in _FACETS
        for copy in range(2)
    }
    queries: list[SuiteQuery] = []
    qrels: dict[str, dict[str, int]] = {}
    for drink in _DRINKS:
        candidates = tuple(rng.sample(sorted(documents), 40)) + tuple(d for d in documents if d.startswith(drink))
        both = rng.sample(_FACETS, 2)
        for role, wanted in (("og", both), ("changed", both[1:])):
            query = SuiteQuery(
                id=f"{drink}-{role}",
                topic=drink,
                text=f"about {drink}",
                instruction=" ".join(wanted),
                instruction_type="facet" if role == "changed" else None,
                original=f"{drink}-og" if role == "changed" else None,
                candidates=tuple(dict.fromkeys(candidates)),
            )
            queries.append(query)
            own = [d for d in documents if d.startswith(drink)]
            qrels[query.id] = {d: rng.randint(1, 3) if d.split("-")[1] in wanted else 0 for d in own}
    info = SuiteInfo(name="drinks", licence="none", source="made for tests")
    return Suite(info, documents, tuple(queries), qrels, derive_qrel_diff(queries, qrels))


def _task(suite: Suite) -> Any:
    """Return the suite as a FollowIR-like task of mteb that also keeps every query's own scores."""
    from datasets import Dataset
    from mteb._evaluators.retrieval_metrics import evaluate_p_mrr_change
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class DrinksInstructionReranking(AbsTaskRetrieval):  # type: ignore[misc] # mteb is not followed by mypy
        metadata = TaskMetadata(
            name="DrinksInstructionReranking",
            description="Made for tests.",
            dataset={"path": "local/drinks", "revision": suite.digest},
            type="InstructionReranking",
            category="t2t",
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="p-MRR",
        )

        def load_data(self, **_: Any) -> None:
            queries = [{"id": q.id, "text": q.text, "instruction": q.instruction} for q in suite.queries]
            corpus = [{"id": document, "title": "", "text": text} for document, text in suite.documents.items()]
            split = {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list(queries),
                "relevant_docs": {query: dict(found) for query, found in suite.qrels.items()},
                "top_ranked": {q.id: list(q.candidates or ()) for q in suite.queries},
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

        def task_specific_scores(self, scores: Any, qrels: Any, results: Any, **_: Any) -> Any:
            self.by_query, self.results = scores, results
            gone = {q.topic: list(suite.qrel_diff[q.id]) for q in suite.changed_queries}
            return evaluate_p_mrr_change(qrels, results, gone, self.k_values)

    return DrinksInstructionReranking()


class _Scored:
    """What mteb makes of an encoder on a suite."""

    def __init__(self, suite: Suite, encoder: Encoder) -> None:
        import mteb

        from evaluation.mteb_encoder import MtebEncoder

        task = _task(suite)
        wrapped = MtebEncoder(encoder, name="made for tests", revision="1")
        result = mteb.evaluate(wrapped, task, cache=None, show_progress_bar=False, co2_tracker=False)
        self.scores: Mapping[str, Any] = result.task_results[0].scores["test"][0]
        self.by_query: Mapping[str, Mapping[str, float]] = task.by_query
        self.results: Mapping[str, Mapping[str, float]] = task.results


def _assert_mteb_agrees(suite: Suite, encoder: Encoder) -> None:
    mteb = _Scored(suite, encoder)
    runs = make_runs(suite, encoder)
    for query, run in runs.instructed.items():
        assert mteb.results[query] == pytest.approx(run, abs=1e-6)
    ours = {
        "ndcg_cut_10": measures.ndcg(suite.qrels, runs.instructed, k=10),
        "map_cut_1000": measures.mean_average_precision(suite.qrels, runs.instructed),
        "recall_100": measures.recall(suite.qrels, runs.instructed, k=100),
    }
    for name, values in ours.items():
        assert {query: mteb.by_query[query][name] for query in values} == pytest.approx(values, abs=1e-6)
    scores = measure_runs(suite, runs)
    p_mrr = fmean(scores.values_of(Measure.P_MRR).values())
    assert mteb.scores["p-MRR"] == pytest.approx(p_mrr, abs=1e-6)
    assert abs(p_mrr) > 0.05, "a suite on which nothing moves would prove nothing"
    for measure, name in ((Measure.NDCG, "ndcg_at_10"), (Measure.MAP, "map_at_1000")):
        mean = fmean(scores.values_of(measure).values())
        assert mteb.scores[name] == pytest.approx(mean, abs=5.001e-6), "mteb rounds means to five digits"
    original = fmean(ours["ndcg_cut_10"][query.id] for query in suite.queries if query.original is None)
    assert mteb.scores["og"]["ndcg_at_10"] == pytest.approx(original, abs=5.001e-6)


def test_mteb_scores_an_encoder_as_we_do() -> None:
    _assert_mteb_agrees(_suite(), WeighingEncoder(0.7))


def test_mteb_scores_a_tiny_bundle_of_any_fusion_as_we_do(any_tiny_bundle: Path) -> None:
    suite = _suite()
    encoder = OnnxEncoder.open(any_tiny_bundle, n_threads=1)
    mteb, runs = _Scored(suite, encoder), make_runs(suite, encoder)
    for query, run in runs.instructed.items():
        assert mteb.results[query] == pytest.approx(run, abs=1e-6)


@pytest.mark.skipif(not (_BUNDLE / "manifest.json").is_file(), reason="needs the bundle that `make bundle` assembles")
def test_mteb_scores_the_real_bundle_as_we_do() -> None:
    _assert_mteb_agrees(_suite(), OnnxEncoder.open(_BUNDLE, n_threads=1))


class _Recorder(WeighingEncoder):
    """Remembers what it is asked to encode."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.queries: list[TextInput] = []

    def encode_queries(self, queries: Sequence[TextInput]) -> Any:
        self.queries.extend(queries)
        return super().encode_queries(queries)


def test_the_instruction_arrives_apart_from_the_query() -> None:
    suite, encoder = _suite(), _Recorder()
    _Scored(suite, encoder)
    assert encoder.queries == [TextInput(q.text, InputType.QUERY, q.instruction) for q in suite.queries]


def test_queries_without_instructions_have_none_and_other_texts_are_documents() -> None:
    from mteb.types import PromptType

    from evaluation.mteb_encoder import MtebEncoder

    encoder = _Recorder()
    wrapped = MtebEncoder(encoder, name="x", revision="1")
    wrapped.encode([{"text": ["a b", "c"], "query": ["a b", "c"]}], prompt_type=PromptType.query)
    assert encoder.queries == [TextInput("a b", InputType.QUERY), TextInput("c", InputType.QUERY)]
    wrapped.encode([{"text": ["one"]}, {"text": ["two"]}], prompt_type=None)
    assert encoder.encoded == ["one", "two"]
    assert len(encoder.queries) == 2


def test_a_document_without_text_gets_zeros_and_the_others_keep_their_places() -> None:
    from mteb.types import PromptType

    from evaluation.mteb_encoder import MtebEncoder

    encoder = _Recorder()
    vectors = MtebEncoder(encoder, name="x", revision="1").encode(
        [{"text": ["one", " "]}, {"text": ["two"]}], prompt_type=PromptType.document
    )
    assert np.array_equal(vectors[[0, 2]], encoder.encode_documents(["one", "two"]))
    assert not vectors[1].any()


def test_results_are_filed_under_the_models_name_and_digest(tiny_bundle: Path) -> None:
    from mteb.models import EncoderProtocol

    from evaluation.encoders import open_bundle
    from evaluation.mteb_encoder import MtebEncoder

    model = open_bundle(tiny_bundle)
    wrapped = MtebEncoder.of(model)
    assert isinstance(wrapped, EncoderProtocol)
    assert wrapped.mteb_model_meta.name == f"inf-embed/{model.identity.name}"
    assert wrapped.mteb_model_meta.revision == model.identity.digest
    assert MtebEncoder(model.encoder, name="a b/c", revision="1").mteb_model_meta.name == "inf-embed/a-b-c"
