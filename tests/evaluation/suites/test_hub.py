"""The loaders run mteb's and datasets' own code over small copies of the repositories on the hub."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.suites import hub
from evaluation.suites.hub import Grouping, MairTask, MtebTask
from evaluation.suites.layout import Suite, SuiteInfo
from infembed.errors import BadConfigError, MissingArtefactError, UnavailableError
from tests.evaluation import hub_copies

pytestmark = [
    pytest.mark.slow,  # importing mteb alone takes seconds
    # datasets and what it imports warn about their own inner workings
    pytest.mark.filterwarnings("ignore"),
]
_LANGUAGES = ("fas", "rus", "zho")


@pytest.fixture(autouse=True)
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read nothing from the hub or from an earlier run's cache."""
    datasets = pytest.importorskip("datasets", reason="needs the evaluate extra")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def _point_mteb_to(path: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mteb = pytest.importorskip("mteb", reason="needs the evaluate extra")
    monkeypatch.setitem(mteb.get_task(task).metadata.dataset, "path", path)


@pytest.mark.parametrize("name", [name for name, task in hub.TASKS.items() if isinstance(task, MtebTask)])
def test_mteb_knows_every_task_with_its_subset_and_split(name: str) -> None:
    mteb = pytest.importorskip("mteb", reason="needs the evaluate extra")
    task = hub.TASKS[name]
    assert isinstance(task, MtebTask)
    loaded = mteb.get_task(task.name)
    assert task.subset in loaded.hf_subsets
    assert len(loaded.metadata.eval_splits) == 1
    main = {Grouping.FOLLOWIR: "p-MRR", Grouping.NONE: "ndcg_at_10"}
    expected = "paired_accuracy" if task.is_paired else main.get(task.grouping, "robustness_at_10")
    assert loaded.metadata.main_score == expected


def _check_followir(suite: Suite) -> None:
    assert suite.documents == {
        "d1": "Tea How tea is grown.",
        "d2": "How tea is brewed.",
        "d3": "Coffee How coffee is roasted.",
    }
    assert [query.id for query in suite.queries] == ["tea-og", "tea-changed", "new-changed"]
    assert suite.qrels == {"tea-og": {"d1": 1, "d2": 1}, "tea-changed": {"d1": 0, "d2": 1}, "new-changed": {"d3": 1}}
    assert suite.qrel_diff == {"tea-changed": ("d1",)}, "documents that are not there are left out"
    (changed,) = suite.changed_queries
    assert (changed.topic, changed.original, changed.text) == ("tea", "tea-og", "tea?")
    assert changed.instruction == "only brewing"
    assert changed.candidates == ("d2", "d1")


@pytest.mark.parametrize("name", ["followir-core17", "followir-news21", "followir-robust04"])
def test_followir_comes_with_its_original_and_changed_queries(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = hub.TASKS[name]
    assert isinstance(task, MtebTask)
    _point_mteb_to(hub_copies.write_copy(tmp_path / "copy", hub_copies.followir()), task.name, monkeypatch)
    suite = hub.load(name)
    _check_followir(suite)
    assert (suite.info.name, suite.info.split, suite.info.licence) == (name, "test", "mit")
    assert "mteb 2." in suite.info.source


@pytest.mark.parametrize("name", ["mfollowir-rus", "mfollowir-eng-zho"])
def test_mfollowir_is_followir_per_language(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = hub.TASKS[name]
    assert isinstance(task, MtebTask)
    parts = [part for language in _LANGUAGES for part in hub_copies.followir(f"-{language}")]
    _point_mteb_to(hub_copies.write_copy(tmp_path / "copy", parts), task.name, monkeypatch)
    _check_followir(hub.load(name))


def test_instructir_groups_its_variants_by_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_copies.write_copy(tmp_path / "copy", hub_copies.variants(reranking=False))
    _point_mteb_to(path, "InstructIR", monkeypatch)
    suite = hub.load("instructir")
    assert {query.id: (query.topic, query.instruction) for query in suite.queries} == {
        "7_1": ("7", "I am reader 7_1."),
        "7_2": ("7", "I am reader 7_2."),
    }
    assert not suite.info.is_paired
    assert suite.changed_queries == ()


def test_nevir_pairs_its_queries_over_two_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_copies.write_copy(tmp_path / "copy", hub_copies.variants(reranking=True))
    _point_mteb_to(path, "NevIR", monkeypatch)
    suite = hub.load("nevir")
    assert suite.info.is_paired
    assert {query.topic for query in suite.queries} == {"7"}
    assert all(query.candidates == ("d1", "d2") for query in suite.queries)


def test_bright_keeps_queries_apart_and_their_excluded_documents_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hub_copies.write_copy(tmp_path / "copy", hub_copies.bright("pony"))
    _point_mteb_to(path, "BrightPonyRetrieval", monkeypatch)
    suite = hub.load("bright-pony")
    assert [query.topic for query in suite.queries] == ["q_a", "q_b"], "an underscore is no variant here"
    assert [query.excluded for query in suite.queries] == [("d3",), ()]
    assert all(query.candidates is None for query in suite.queries)
    assert suite.qrels == {"q_a": {"d1": 1, "d2": 1}, "q_b": {"d3": 1}}
    assert suite.info.split == "standard"


def _copy_mair(config: str, directory: Path, monkeypatch: pytest.MonkeyPatch, **kwargs: Any) -> None:
    copy = hub_copies.mair(config, **kwargs)
    monkeypatch.setattr(hub, "MAIR_QUERIES", hub_copies.write_copy(directory / "queries", copy.queries))
    monkeypatch.setattr(hub, "MAIR_DOCUMENTS", hub_copies.write_copy(directory / "documents", copy.documents))


@pytest.mark.parametrize("name", ["excluir", "mair-nevir", "mair-neuclir-tech_2023"])
def test_a_task_of_mair_comes_with_its_instructions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = hub.TASKS[name]
    assert isinstance(task, MairTask)
    _copy_mair(task.config, tmp_path, monkeypatch)
    suite = hub.load(name)
    (query,) = suite.queries
    assert (query.id, query.text, query.instruction) == ("7", "hot drinks", "Leave out coffee.")
    assert suite.qrels == {"7": {"d1": 2}}
    assert sorted(suite.documents) == ["d1", "d2", "d3"]


def test_a_task_of_mair_with_several_parts_is_read_part_by_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _copy_mair("NeuCLIR_2022", tmp_path, monkeypatch, prefixes=("fas_", "rus_"))
    with pytest.raises(BadConfigError, match="read as mair-neuclir_2022/fas, mair-neuclir_2022/rus"):
        hub.load("mair-neuclir_2022")
    suite = hub.load("mair-neuclir_2022/rus")
    assert (suite.info.name, suite.info.split) == ("mair-neuclir_2022/rus", "rus_queries")


@pytest.mark.parametrize("name", ["followir-core17", "mfollowir-fas", "bright-aops", "nevir", "excluir"])
def test_without_a_network_there_is_one_clear_error(name: str) -> None:
    with pytest.raises(UnavailableError, match=f"suite {name} could not be fetched .* hub: .*; check the network"):
        hub.load(name)


def test_a_repository_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAIR_QUERIES", str(tmp_path / "gone"))
    with pytest.raises((MissingArtefactError, UnavailableError), match="suite excluir"):
        hub.load("excluir")


def test_a_name_that_is_no_benchmark_gets_the_list() -> None:
    with pytest.raises(BadConfigError, match="no benchmark 'beir' on the hub; there are followir-core17"):
        hub.load("beir")


def test_a_topic_whose_original_query_is_not_judged_has_no_changed_query() -> None:
    suite = hub.suite_of_rows(
        SuiteInfo(name="t", licence="none", source="made for tests"),
        documents={"d": "tea"},
        queries=[{"id": "1-changed", "text": "tea", "instruction": "x"}],
        qrels={"1-changed": {"d": 1}},
        top_ranked={},
        is_reranking=True,
        qrel_diff={"1": ["d"]},
        grouping=Grouping.FOLLOWIR,
    )
    assert suite.changed_queries == ()
    assert suite.queries[0].candidates is None
