"""Public benchmarks from the Hugging Face hub: through mteb where it has them, MAIR and ExcluIR by their own ids."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from infembed.errors import BadConfigError, UnavailableError

MAIR_QUERIES = "MAIR-Bench/MAIR-Queries"
MAIR_DOCUMENTS = "MAIR-Bench/MAIR-Docs"
_OG, _CHANGED = "-og", "-changed"


@dataclass(frozen=True)
class MtebTask:
    """A task as mteb names it; `follows` marks FollowIR's layout with og and changed queries."""

    name: str
    subset: str = "default"
    follows: bool = False
    is_paired: bool = False


_BRIGHT = (
    *("Biology", "EarthScience", "Economics", "Psychology", "Robotics", "Stackoverflow"),
    *("SustainableLiving", "Pony", "Leetcode", "Aops", "TheoremQATheorems", "TheoremQAQuestions"),
)
_MAIR = (
    *("Core_2017", "DD_2015", "DD_2016", "DD_2017", "FairRanking_2021", "FairRanking_2022"),
    *("NeuCLIR-Tech_2023", "NeuCLIR_2022", "NeuCLIR_2023", "ToT_2023", "ToT_2024", "InstructIR"),
    *("ExcluIR", "Core17", "News21", "Robust04", "NevIR"),
)
TASKS: Mapping[str, MtebTask | str] = {
    "followir-core17": MtebTask("Core17InstructionRetrieval", follows=True),
    "followir-news21": MtebTask("News21InstructionRetrieval", follows=True),
    "followir-robust04": MtebTask("Robust04InstructionRetrieval", follows=True),
    **{f"mfollowir-{lang}": MtebTask("mFollowIR", lang, follows=True) for lang in ("fas", "rus", "zho")},
    **{
        f"mfollowir-eng-{lang}": MtebTask("mFollowIRCrossLingual", f"eng-{lang}", follows=True)
        for lang in ("fas", "rus", "zho")
    },
    "instructir": MtebTask("InstructIR"),
    "nevir": MtebTask("NevIR", is_paired=True),
    **{f"bright-{name.lower()}": MtebTask(f"Bright{name}Retrieval") for name in _BRIGHT},
    "excluir": "ExcluIR",
    **{f"mair-{name.lower()}": name for name in _MAIR},
}
"""By our names: tasks of mteb, and configurations of MAIR (the paper's 17; ExcluIR is among them)."""


def load(name: str) -> Suite:
    """Fetch a benchmark and bring it into our layout; its revision is part of the suite's source."""
    task = TASKS[name]
    try:
        return _from_mair(name, task) if isinstance(task, str) else _from_mteb(name, task)
    except (OSError, ConnectionError) as error:
        raise UnavailableError(f"suite {name} could not be fetched from the hub: {error}", retry_after_s=60) from error


def _from_mteb(name: str, task: MtebTask) -> Suite:
    import mteb

    loaded = mteb.get_task(task.name)
    loaded.load_data()
    # Tasks with a loader of their own still come in mteb's first layout; for the others this changes nothing.
    loaded.convert_v1_dataset_format_to_v2()
    split = loaded.metadata.eval_splits[0]
    data = loaded.dataset[task.subset][split]
    diff = _qrel_diff(loaded, task) if task.follows else {}
    dataset = loaded.metadata.dataset
    info = SuiteInfo(
        name=name,
        licence=str(loaded.metadata.license),
        source=f"{dataset['path']}@{dataset['revision']}",
        split=split,
        is_paired=task.is_paired,
    )
    return suite_of_rows(
        info,
        documents={row["id"]: _joined(row.get("title"), row["text"]) for row in data["corpus"]},
        queries=data["queries"],
        qrels=data["relevant_docs"],
        candidates=data["top_ranked"] or {},
        qrel_diff=diff,
    )


def suite_of_rows(
    info: SuiteInfo,
    *,
    documents: Mapping[str, str],
    queries: Iterable[Mapping[str, Any]],
    qrels: Mapping[str, Mapping[str, int]],
    candidates: Mapping[str, Iterable[str]],
    qrel_diff: Mapping[str, Iterable[str]],
) -> Suite:
    """Make a suite of mteb's rows; `qrel_diff` is keyed by topic, as FollowIR publishes it.

    Judgements of documents that are not in the corpus are left out: FollowIR has some (its issue 1).
    """
    known = documents.keys()
    judged = {
        query: {document: int(grade) for document, grade in found.items() if document in known}
        for query, found in qrels.items()
    }
    rows = {row["id"]: row for row in queries if row["id"] in judged}
    gone = {
        f"{topic}{_CHANGED}": tuple(sorted(document for document in found if document in known))
        for topic, found in qrel_diff.items()
    }
    gone = {query: found for query, found in gone.items() if found and query in rows}
    suite_queries = tuple(
        SuiteQuery(
            id=identifier,
            topic=_topic_of(identifier),
            text=row["text"],
            instruction=row.get("instruction") or None,
            original=identifier.removesuffix(_CHANGED) + _OG if identifier in gone else None,
            candidates=tuple(d for d in candidates[identifier] if d in known) if identifier in candidates else None,
        )
        for identifier, row in rows.items()
    )
    return Suite(
        info=info,
        documents=documents,
        queries=suite_queries,
        qrels={query: found for query, found in judged.items() if query in rows},
        qrel_diff=gone,
    )


def _topic_of(identifier: str) -> str:
    """FollowIR writes `<topic>-og`, InstructIR and NevIR `<topic>_<variant>`."""
    for ending in (_OG, _CHANGED):
        if identifier.endswith(ending):
            return identifier.removesuffix(ending)
    return identifier.split("_", maxsplit=1)[0]


def _qrel_diff(loaded: Any, task: MtebTask) -> dict[str, list[str]]:
    from datasets import load_dataset

    dataset = loaded.metadata.dataset
    language = task.subset.rpartition("-")[2]
    config = "qrel_diff" if task.subset == "default" else f"qrel_diff-{language}"
    rows = load_dataset(dataset["path"], config, split="qrel_diff", revision=dataset["revision"])
    return {row["query-id"]: row["corpus-ids"] for row in rows}


def _from_mair(name: str, config: str) -> Suite:
    from datasets import load_dataset

    queries, documents = load_dataset(MAIR_QUERIES, config), load_dataset(MAIR_DOCUMENTS, config)
    if set(queries) != {"queries"}:
        raise BadConfigError(f"MAIR's {config} has the parts {', '.join(queries)}; only tasks with one part are read")
    return mair_suite(name, queries["queries"], documents["docs"])


def mair_suite(name: str, queries: Iterable[Mapping[str, Any]], documents: Iterable[Mapping[str, Any]]) -> Suite:
    """Make a suite of MAIR's rows: `qid, instruction, query, labels` and `id, doc`."""
    texts = {str(row["id"]): str(row["doc"]) for row in documents}
    kept, qrels = [], {}
    for row in queries:
        grades = {str(label["id"]): int(label["score"]) for label in row["labels"] if str(label["id"]) in texts}
        if grades:
            identifier = str(row["qid"])
            kept.append(
                SuiteQuery(id=identifier, topic=identifier, text=row["query"], instruction=row["instruction"] or None)
            )
            qrels[identifier] = grades
    info = SuiteInfo(name=name, licence="see the task's source", source=f"{MAIR_QUERIES}, {MAIR_DOCUMENTS}")
    return Suite(info=info, documents=texts, queries=tuple(kept), qrels=qrels, qrel_diff={})


def _joined(title: str | None, text: str) -> str:
    return f"{title} {text}".strip() if title else text
