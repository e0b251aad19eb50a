"""What is searched and asked: the demo corpus and instruct-mini, both written for this repository."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deploy.rehearsal.load import Question

_ROOT = Path(__file__).parents[2]
_SUITE = _ROOT / "evaluation" / "suites" / "instruct-mini"
_N_TOPICS = 60
"""Topics of the suite whose documents join the demo corpus; each gives a probe, and all its queries as shadows."""
_SEED = 0


class Texts(NamedTuple):
    """Passages for the index, and the questions of `infembed canary`."""

    passages: tuple[Mapping[str, Any], ...]
    probes: tuple[Mapping[str, Any], ...]
    shadows: tuple[Question, ...]


def read_texts() -> Texts:
    """Join the demo corpus with the documents of some topics of instruct-mini, and make questions of those topics."""
    queries = _lines(_SUITE / "queries.jsonl")
    topics = sorted({query["topic"] for query in queries})
    chosen = set(random.Random(_SEED).sample(topics, _N_TOPICS))
    documents = [found for found in _lines(_SUITE / "documents.jsonl") if found["id"].rpartition("-")[0] in chosen]
    by_topic = defaultdict(list)
    for query in queries:
        if query["topic"] in chosen:
            by_topic[query["topic"]].append(query)
    withdrawn = _withdrawn()
    probes = [found for own in by_topic.values() if (found := _probe(own, withdrawn))]
    shadows = [Question(query["text"], query.get("instruction")) for own in by_topic.values() for query in own]
    return Texts((*_lines(_ROOT / "examples" / "demo" / "passages.jsonl"), *documents), tuple(probes), tuple(shadows))


def write_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> Path:
    """Write JSONL."""
    path.write_text("".join(json.dumps(found, ensure_ascii=False) + "\n" for found in objects), encoding="utf-8")
    return path


def questions_of(texts: Texts) -> list[Mapping[str, Any]]:
    """Return the lines of the file that `infembed canary --queries` reads."""
    return [*({"query": query, "instruction": instruction} for query, instruction in texts.shadows), *texts.probes]


def _probe(queries: list[dict[str, Any]], withdrawn: Mapping[str, list[str]]) -> Mapping[str, Any] | None:
    """Make a probe of a topic's first changed instruction that withdraws something."""
    instructions = {query["id"]: query.get("instruction") for query in queries}
    for query in queries:
        original = instructions.get(query.get("original", ""))
        if original and query.get("instruction") and withdrawn.get(query["id"]):
            return {
                "query": query["text"],
                "original_instruction": original,
                "changed_instruction": query["instruction"],
                "withdrawn": withdrawn[query["id"]],
            }
    return None


def _withdrawn() -> Mapping[str, list[str]]:
    found = defaultdict(list)
    for line in (_SUITE / "qrel_diff.tsv").read_text(encoding="utf-8").splitlines():
        query, document = line.split("\t")
        found[query].append(document)
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
