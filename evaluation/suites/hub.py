"""Public benchmarks from the Hugging Face hub: through mteb where it has them, MAIR and ExcluIR by their own ids."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from infembed.errors import BadConfigError, MissingArtefactError, UnavailableError

MAIR_QUERIES = "MAIR-Bench/MAIR-Queries"
MAIR_DOCUMENTS = "MAIR-Bench/MAIR-Docs"
_OG, _CHANGED = "-og", "-changed"


class Grouping(StrEnum):
    """How a task writes in its query ids which of them belong to one topic."""

    FOLLOWIR = "followir"  # <topic>-og and <topic>-changed
    VARIANTS = "variants"  # <topic>_<variant>: InstructIR, NevIR
    NONE = "none"


@dataclass(frozen=True)
class MtebTask:
    """A task as mteb names it."""

    name: str
    subset: str = "default"
    grouping: Grouping = Grouping.NONE
    is_paired: bool = False


@dataclass(frozen=True)
class MairTask:
    """A configuration of MAIR; tasks with several parts are read one part at a time."""

    config: str
    part: str | None = None


_LANGUAGES = ("fas", "rus", "zho")
_BRIGHT = (
    *("Biology", "EarthScience", "Economics", "Psychology", "Robotics", "Stackoverflow"),
    *("SustainableLiving", "Pony", "Leetcode", "Aops", "TheoremQATheorems", "TheoremQAQuestions"),
)
_MAIR = (
    *("Core_2017", "DD_2015", "DD_2016", "DD_2017", "FairRanking_2021", "FairRanking_2022"),
    *("NeuCLIR-Tech_2023", "NeuCLIR_2022", "NeuCLIR_2023", "ToT_2023", "ToT_2024", "InstructIR"),
    *("ExcluIR", "Core17", "News21", "Robust04", "NevIR"),
)
TASKS: Mapping[str, MtebTask | MairTask] = {
    **{
        f"followir-{name.lower()}": MtebTask(f"{name}InstructionRetrieval", grouping=Grouping.FOLLOWIR)
        for name in ("Core17", "News21", "Robust04")
    },
    **{f"mfollowir-{lang}": MtebTask("mFollowIR", lang, Grouping.FOLLOWIR) for lang in _LANGUAGES},
    **{
        f"mfollowir-eng-{lang}": MtebTask("mFollowIRCrossLingual", f"eng-{lang}", Grouping.FOLLOWIR)
        for lang in _LANGUAGES
    },
    "instructir": MtebTask("InstructIR", grouping=Grouping.VARIANTS),
    "nevir": MtebTask("NevIR", grouping=Grouping.VARIANTS, is_paired=True),
    **{f"bright-{name.lower()}": MtebTask(f"Bright{name}Retrieval") for name in _BRIGHT},
    "excluir": MairTask("ExcluIR"),
    **{f"mair-{name.lower()}": MairTask(name) for name in _MAIR},
}
"""By our names: tasks of mteb, and configurations of MAIR (the paper's 17; ExcluIR is among them)."""


def find_task(name: str) -> MtebTask | MairTask | None:
    """Return the task of a name of `TASKS`, or of one of its parts, `<name>/<part>`; None where there is none."""
    base, _, part = name.partition("/")
    task = TASKS.get(base)
    if not part:
        return task
    return MairTask(task.config, part) if isinstance(task, MairTask) else None


def load(name: str) -> Suite:
    """Fetch a benchmark and bring it into our layout; its revision is part of the suite's source."""
    task = find_task(name)
    if task is None:
        raise BadConfigError(f"no benchmark {name!r} on the hub; there are {', '.join(TASKS)}")
    try:
        return _from_mair(name, task) if isinstance(task, MairTask) else _from_mteb(name, task)
    except ImportError as error:
        raise MissingArtefactError(f"suite {name} needs {error.name}; install inf-embed[evaluate]") from error
    except FileNotFoundError as error:
        raise MissingArtefactError(f"suite {name} is not on the hub any more: {error}") from error
    except OSError as error:
        raise UnavailableError(
            f"suite {name} could not be fetched from the Hugging Face hub: {error}; "
            "check the network, or fill the hub's cache on a connected machine and set HF_HOME",
            retry_after_s=60,
        ) from error


def _from_mteb(name: str, task: MtebTask) -> Suite:
    import mteb

    loaded = mteb.get_task(task.name)
    loaded.load_data()
    # Tasks with a loader of their own still come in mteb's first layout; for the others this changes nothing.
    loaded.convert_v1_dataset_format_to_v2(num_proc=None)
    metadata = loaded.metadata
    split = metadata.eval_splits[0]
    data = loaded.dataset[task.subset][split]
    follows = task.grouping is Grouping.FOLLOWIR
    return suite_of_rows(
        SuiteInfo(
            name=name,
            licence=str(metadata.license),
            source=f"{metadata.dataset['path']}@{metadata.dataset['revision']}, mteb {mteb.__version__}",
            split=split,
            is_paired=task.is_paired,
        ),
        documents={row["id"]: _joined(row.get("title"), row["text"]) for row in data["corpus"]},
        queries=data["queries"],
        qrels=data["relevant_docs"],
        top_ranked=data["top_ranked"] or {},
        is_reranking=metadata.type.endswith("Reranking"),
        qrel_diff=_qrel_diff(metadata.dataset, task) if follows else {},
        grouping=task.grouping,
    )


def suite_of_rows(
    info: SuiteInfo,
    *,
    documents: Mapping[str, str],
    queries: Iterable[Mapping[str, Any]],
    qrels: Mapping[str, Mapping[str, int]],
    top_ranked: Mapping[str, Sequence[str]],
    is_reranking: bool,
    qrel_diff: Mapping[str, Iterable[str]],
    grouping: Grouping,
) -> Suite:
    """Make a suite of mteb's rows; `qrel_diff` is keyed by topic, as FollowIR publishes it.

    Documents without text are left out, and so is what names a document that is not there: FollowIR has such
    judgements (its issue 1).
    """
    known = {identifier: text for identifier, text in documents.items() if text}
    judged = {query: {d: int(grade) for d, grade in found.items() if d in known} for query, found in qrels.items()}
    rows = {row["id"]: row for row in queries if judged.get(row["id"])}
    pairs = {topic: (topic + _OG, topic + _CHANGED) for topic in qrel_diff}
    gone = {
        pairs[topic][1]: tuple(sorted({document for document in found if document in known}))
        for topic, found in qrel_diff.items()
        if all(query in rows for query in pairs[topic])
    }
    gone = {query: found for query, found in gone.items() if found}
    suite_queries = tuple(
        SuiteQuery(
            id=identifier,
            topic=_topic_of(identifier, grouping),
            text=row["text"],
            instruction=row.get("instruction") or None,
            original=identifier.removesuffix(_CHANGED) + _OG if identifier in gone else None,
            candidates=_candidates(known, top_ranked.get(identifier)) if is_reranking else None,
            excluded=() if is_reranking else _excluded(known, top_ranked.get(identifier)),
        )
        for identifier, row in rows.items()
    )
    return Suite(
        info=info,
        documents=known,
        queries=suite_queries,
        qrels={query: judged[query] for query in rows},
        qrel_diff=gone,
    )


def _candidates(known: Mapping[str, str], top_ranked: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(document for document in top_ranked or () if document in known)) or None


def _excluded(known: Mapping[str, str], top_ranked: Sequence[str] | None) -> tuple[str, ...]:
    """BRIGHT lists for each query the whole corpus but a few documents; keep the few."""
    if top_ranked is None:
        return ()
    allowed = set(top_ranked)
    return tuple(document for document in known if document not in allowed)


def _topic_of(identifier: str, grouping: Grouping) -> str:
    if grouping is Grouping.FOLLOWIR:
        return identifier.removesuffix(_OG).removesuffix(_CHANGED)
    return identifier.split("_", maxsplit=1)[0] if grouping is Grouping.VARIANTS else identifier


def _qrel_diff(dataset: Mapping[str, str], task: MtebTask) -> dict[str, list[str]]:
    language = task.subset.rpartition("-")[2]
    config = "qrel_diff" if task.subset == "default" else f"qrel_diff-{language}"
    rows = _load_dataset()(dataset["path"], config, split="qrel_diff", revision=dataset["revision"])
    return {row["query-id"]: row["corpus-ids"] for row in rows}


def _from_mair(name: str, task: MairTask) -> Suite:
    load_dataset = _load_dataset()
    queries, documents = load_dataset(MAIR_QUERIES, task.config), load_dataset(MAIR_DOCUMENTS, task.config)
    parts = {part.removesuffix("queries").removesuffix("_"): part for part in queries}
    if (task.part or "") not in parts:
        base = name.partition("/")[0]
        there = ", ".join(f"{base}/{part}" if part else base for part in parts)
        raise BadConfigError(f"MAIR has no suite {name}; its {task.config} is read as {there}")
    split = parts[task.part or ""]
    info = SuiteInfo(name=name, licence="see the task's source", source=f"{MAIR_QUERIES} {task.config}", split=split)
    return mair_suite(info, queries[split], documents[split.removesuffix("queries") + "docs"])


def mair_suite(info: SuiteInfo, queries: Iterable[Mapping[str, Any]], documents: Iterable[Mapping[str, Any]]) -> Suite:
    """Make a suite of MAIR's rows: `qid, instruction, query, labels` and `id, doc`."""
    labels = [(row, {str(label["id"]): label["score"] for label in row["labels"]}) for row in queries]
    return suite_of_rows(
        info,
        documents={str(row["id"]): str(row["doc"]).strip() for row in documents},
        queries=[{"id": str(row["qid"]), "text": row["query"], "instruction": row["instruction"]} for row, _ in labels],
        qrels={str(row["qid"]): found for row, found in labels},
        top_ranked={},
        is_reranking=False,
        qrel_diff={},
        grouping=Grouping.NONE,
    )


def _load_dataset() -> Callable[..., Any]:
    from datasets import load_dataset

    found: Callable[..., Any] = load_dataset
    return found


def _joined(title: str | None, text: str) -> str:
    """Join as mteb does."""
    return f"{title} {text}".strip() if title else text.strip()
