"""Small local copies of the hub's data set repositories, with the configurations, splits and columns they have."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Rows = Sequence[Mapping[str, Any]]


class Part(NamedTuple):
    """One split of one configuration."""

    config: str
    split: str
    rows: Rows


def write_copy(directory: Path, parts: Sequence[Part]) -> str:
    """Write a repository that `datasets` reads as it reads the original; returns its path."""
    lines = ["---", "configs:"]
    for config in dict.fromkeys(part.config for part in parts):
        lines += [f"- config_name: {config}", "  data_files:"]
        for part in (part for part in parts if part.config == config):
            name = f"{config}-{part.split}.jsonl"
            lines += [f"  - split: {part.split}", f"    path: {name}"]
            directory.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text("".join(json.dumps(row) + "\n" for row in part.rows), encoding="utf-8")
    (directory / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    return str(directory)


CORPUS: Rows = [
    {"_id": "d1", "title": "Tea", "text": "How tea is grown. "},
    {"_id": "d2", "title": "", "text": "How tea is brewed."},
    {"_id": "d3", "title": "Coffee", "text": "How coffee is roasted."},
    {"_id": "d4", "title": "", "text": ""},
]


def followir(suffix: str = "") -> list[Part]:
    """FollowIR's layout; mFollowIR adds the language to each configuration."""
    queries = [("tea-og", "growing and brewing"), ("tea-changed", "only brewing"), ("new-changed", "anything")]
    judged = [("tea-og", "d1", 1), ("tea-og", "d2", 1), ("tea-changed", "d1", 0), ("tea-changed", "d2", 1)]
    judged += [("tea-og", "gone", 1), ("new-changed", "d3", 1), ("lost-og", "gone", 1)]
    return [
        Part(f"corpus{suffix}", "corpus", CORPUS),
        Part(f"queries{suffix}", "queries", [{"_id": query, "text": f"{query[:3]}?"} for query, _ in queries]),
        Part(
            f"instruction{suffix}",
            "instruction",
            [{"query-id": query, "instruction": instruction} for query, instruction in queries],
        ),
        Part(f"default{suffix}", "test", [{"query-id": q, "corpus-id": d, "score": grade} for q, d, grade in judged]),
        Part(
            f"top_ranked{suffix}",
            "top_ranked",
            [{"query-id": query, "corpus-ids": ["d2", "d1", "gone", "d4"]} for query, _ in queries],
        ),
        Part(
            f"qrel_diff{suffix}",
            "qrel_diff",
            [{"query-id": "tea", "corpus-ids": ["d1", "gone"]}, {"query-id": "new", "corpus-ids": ["d3"]}],
        ),
    ]


def variants(*, reranking: bool) -> list[Part]:
    """InstructIR's layout, with an instruction per variant, or NevIR's, with two candidates per query."""
    names = ["7_q1", "7_q2"] if reranking else ["7_1", "7_2"]
    parts = [
        Part("corpus", "test", CORPUS),
        Part("queries", "test", [{"_id": name, "text": f"tea {name}"} for name in names]),
        Part(
            "default",
            "test",
            [{"query-id": name, "corpus-id": f"d{n}", "score": 1} for n, name in enumerate(names, start=1)],
        ),
    ]
    if reranking:
        ranked = [{"query-id": name, "corpus-ids": ["d1", "d2"]} for name in names]
        return [*parts, Part("top_ranked", "test", ranked)]
    asked = [{"query-id": name, "instruction": f"I am reader {name}."} for name in names]
    return [*parts, Part("instruction", "test", asked)]


def bright(domain: str) -> list[Part]:
    """BRIGHT's layout: one split per domain, and documents that a query must not find."""
    examples = [
        {"id": "q_a", "query": "Why tea?", "gold_ids": ["d1", "d2"], "gold_ids_long": [], "excluded_ids": ["d3"]},
        {"id": "q_b", "query": "Why coffee?", "gold_ids": ["d3"], "gold_ids_long": [], "excluded_ids": ["N/A"]},
    ]
    documents = [{"id": row["_id"], "content": row["text"]} for row in CORPUS if row["text"]]
    return [Part("documents", domain, documents), Part("examples", domain, examples)]


class Mair(NamedTuple):
    """MAIR's two repositories."""

    queries: list[Part]
    documents: list[Part]


def mair(config: str, *, prefixes: Sequence[str] = ("",)) -> Mair:
    """MAIR's layout; a task with several parts has a split of each kind per part."""
    rows = [
        {
            "qid": 7,
            "instruction": "Leave out coffee.",
            "query": "hot drinks",
            "labels": [{"id": "d1", "score": 2}, {"id": "gone", "score": 1}],
        },
        {"qid": 8, "instruction": "", "query": "cold drinks", "labels": [{"id": "gone", "score": 1}]},
    ]
    documents = [{"id": row["_id"], "doc": row["text"]} for row in CORPUS]
    return Mair(
        [Part(config, f"{prefix}queries", rows) for prefix in prefixes],
        [Part(config, f"{prefix}docs", documents) for prefix in prefixes],
    )
