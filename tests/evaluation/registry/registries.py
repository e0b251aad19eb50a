"""Registries to try things on: tiny real bundles, made-up reports with real decisions, a real MLflow database."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.gate import Decision, Policy, decide
from evaluation.registry.evidence import Evidence
from evaluation.registry.location import Location
from evaluation.registry.promotion import Signer
from evaluation.registry.store import Store
from evaluation.report import Measure, ModelIdentity, Report, ServingCosts, SuiteScores, TopicScores, save_report
from index.build import build_collection
from infembed.bundle import Bundle
from infembed.encoder import OnnxEncoder

POLICY = Policy()
COSTS = ServingCosts(
    batch_invariance_max_abs=1e-6,
    latency_p50_ms=3,
    latency_p95_ms=5,
    resident_mb=300,
    distinct_vectors=1,
    measured_in="one run",
)
ANN = Signer("ann", "tried on Monday")


class Bundles(NamedTuple):
    """Three models: `second` embeds documents like `first`, `other` does not."""

    first: Path
    second: Path
    other: Path


class Files(NamedTuple):
    """The files that a promotion asks for."""

    decision: Path
    champion: Path
    candidate: Path

    def evidence(self) -> Evidence:
        return Evidence.read(decision=self.decision, champion=self.champion, candidate=self.candidate)


def digest_of(bundle: Path) -> str:
    return Bundle.open(bundle).digest


def make_report(bundle: Path, *, p_mrr: float) -> Report:
    """Scores of 30 topics around these means."""
    opened = Bundle.open(bundle)
    rng = np.random.default_rng(0)
    means = {
        Measure.P_MRR: p_mrr,
        Measure.PRESERVE_MRR: 0.0,
        Measure.SHUFFLED_P_MRR: 0.0,
        Measure.NDCG: 0.6,
        Measure.PLAIN_NDCG: 0.5,
        Measure.LIFT: 0.1,
    }
    topics = []
    for n in range(30):
        values = {measure: mean + float(rng.normal(0, 0.005)) for measure, mean in means.items()}
        topics.append(TopicScores(topic=f"t{n}", values=values, by_type={"facet": values[Measure.P_MRR]}))
    return Report(
        model=ModelIdentity(
            name=opened.manifest.name,
            digest=opened.digest,
            document_fingerprint=opened.manifest.document_fingerprint,
        ),
        created_at="2026-01-01T00:00:00+00:00",
        suites=(SuiteScores(suite="facets", digest="5" * 64, n_documents=9, n_queries=90, topics=tuple(topics)),),
        serving=COSTS,
    )


def judge(champion: Path, candidate: Path, out: Path, *, gain: float = 0.2) -> Files:
    """Let the real gate decide about two bundles; a negative gain makes it FAIL."""
    reports = make_report(champion, p_mrr=0.3), make_report(candidate, p_mrr=0.3 + gain)
    out.mkdir(parents=True, exist_ok=True)
    files = Files(out / "decision.json", out / "champion-report.json", out / "candidate-report.json")
    write_decision(files.decision, decide(*reports, POLICY))
    save_report(reports[0], files.champion)
    save_report(reports[1], files.candidate)
    return files


def write_decision(path: Path, decision: Decision) -> None:
    path.write_text(decision.model_dump_json(indent=1))


def make_collection(path: Path, bundle: Path, *, n_documents: int = 3) -> Path:
    """Build a real collection."""
    passages = path.parent / f"{path.name}-{n_documents}.jsonl"
    passages.parent.mkdir(parents=True, exist_ok=True)
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"bread {n}"}) + "\n" for n in range(n_documents)))
    build_collection(passages, path, encoder=OnnxEncoder.open(bundle, n_threads=1), bundle_name="tiny")
    return path


def copy_registry(source: Path, target: Path) -> Store:
    """Copy an embedded registry; MLflow records where its files lie, so the records move too."""
    from mlflow.tracking._tracking_service.utils import _artifact_repos_cache  # after ours has silenced MLflow

    shutil.copytree(source, target)
    connection = sqlite3.connect(target / "mlflow.db")
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target)))
    connection.commit()
    connection.close()
    _artifact_repos_cache.clear()  # by run, and the copies share their runs
    return Store.open(Location.parse(str(target)))
