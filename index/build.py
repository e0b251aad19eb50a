"""Build a collection from a passage file: store, embed, train, tune, publish. Safe to interrupt and run again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import faiss
import numpy as np

from index import generation, ivf
from index.embedding import BuildState, EmbeddedParts
from index.generation import GenerationManifest
from index.ivf import HalfArray
from index.passages import read_passages
from index.store import PassageStore
from infembed import version
from infembed.artefacts import describe_file, sha256_file
from infembed.encoder import Encoder
from infembed.errors import MissingArtefactError
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray

BUILD_DIRECTORY = "unfinished"
_TUNING_QUERIES = 256
_QUERY_WORDS = 12
_SEED = 7


class Stage(StrEnum):
    """What a build is doing."""

    READ = "reading passages"
    EMBED = "embedding"
    INDEX = "training and filling the index"


Progress = Callable[[Stage, int, int], None]
"""Called with the stage, the rows done so far and the rows in all."""


@dataclass(frozen=True, slots=True)
class Source:
    """The passage file of a build."""

    path: Path
    sha256: str

    @property
    def store_name(self) -> str:
        """A store of its own for each source, so that a rebuild never touches what is being served."""
        return f"passages-{self.sha256[:12]}.sqlite"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made."""

    generation: str
    manifest: GenerationManifest
    is_new: bool
    n_embedded: int
    n_resumed: int


def build_collection(
    passages: Path, out: Path, *, encoder: Encoder, bundle_name: str, progress: Progress = lambda *_: None
) -> BuildResult:
    """Build `out` from `passages`; the same passages and model again change nothing."""
    if not passages.is_file():
        raise MissingArtefactError(f"no passage file at {passages}")
    source = Source(passages, sha256_file(passages))
    with generation.exclusive(out):
        existing = _existing(out, source, encoder.document_fingerprint)
        if existing is not None:
            return existing
        store = _fill_store(source, out, progress)
        try:
            return _embed_and_publish(store, source, out, encoder=encoder, bundle_name=bundle_name, progress=progress)
        finally:
            store.close()


def _existing(out: Path, source: Source, fingerprint: str) -> BuildResult | None:
    name = generation.current_name(out)
    if name is None:
        return None
    manifest = generation.read_manifest(out, name)
    if (manifest.source_sha256, manifest.document_fingerprint) != (source.sha256, fingerprint):
        return None
    if not (out / manifest.store).is_file():
        return None
    return BuildResult(name, manifest, is_new=False, n_embedded=0, n_resumed=0)


def _fill_store(source: Source, out: Path, progress: Progress) -> PassageStore:
    store = PassageStore.create(out / source.store_name)
    if store.fact("source_sha256") != source.sha256:
        progress(Stage.READ, 0, 0)
        store.replace_all(read_passages(source.path))
        store.remember("source_sha256", source.sha256)
    progress(Stage.READ, store.count(), store.count())
    return store


def _embed_and_publish(
    store: PassageStore, source: Source, out: Path, *, encoder: Encoder, bundle_name: str, progress: Progress
) -> BuildResult:
    n_rows = store.count()
    state = BuildState(document_fingerprint=encoder.document_fingerprint, source_sha256=source.sha256, dim=encoder.dim)
    parts = EmbeddedParts(out / BUILD_DIRECTORY, state)
    n_resumed = parts.n_finished(n_rows)
    vectors = parts.embed(store, encoder, on_embedded=_counter(progress, Stage.EMBED, n_rows))
    index = ivf.build(vectors, on_added=_counter(progress, Stage.INDEX, n_rows))
    tuning, held_out = _sample_queries(store, encoder)
    nprobe = ivf.tune_nprobe(index, vectors, tuning)
    found = ivf.search(index, held_out, k=10, nprobe=nprobe).positions
    recall = ivf.recall_of(found, ivf.exact_search(vectors, held_out, k=10))
    with generation.new_generation(out) as directory:
        ivf.write(index, directory / generation.INDEX_FILE)
        vectors.tofile(directory / generation.VECTORS_FILE)
        np.array(store.rows(), dtype="<i8").tofile(directory / generation.IDS_FILE)
        is_ivf = isinstance(index, faiss.IndexIVF)
        manifest = GenerationManifest(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            document_fingerprint=encoder.document_fingerprint,
            bundle_name=bundle_name,
            dim=encoder.dim,
            factory=f"IVF{index.nlist},SQfp16" if is_ivf else "SQfp16",
            nlist=index.nlist if is_ivf else 0,
            nprobe=nprobe,
            recall_at_10=round(recall, 4),
            n_documents=n_rows,
            source_name=source.path.name,
            source_sha256=source.sha256,
            store=source.store_name,
            files=tuple(
                describe_file(directory, name)
                for name in (generation.INDEX_FILE, generation.VECTORS_FILE, generation.IDS_FILE)
            ),
            made_with={"inf-embed": version(), "faiss": faiss.__version__},
        )
        (directory / generation.MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    name = generation.newest(out)
    generation.publish(out, name)
    parts.remove()
    generation.remove_old(out)
    return BuildResult(name, manifest, is_new=True, n_embedded=n_rows - n_resumed, n_resumed=n_resumed)


def _counter(progress: Progress, stage: Stage, total: int) -> Callable[[int], None]:
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        progress(stage, done, total)

    return advance


def _sample_queries(store: PassageStore, encoder: Encoder) -> tuple[FloatArray, FloatArray]:
    """Encode the opening words of sampled passages as queries: one set to tune nprobe, one to report recall."""
    rows = store.rows()
    rng = np.random.default_rng(_SEED)
    chosen = rng.choice(rows, min(len(rows), 2 * _TUNING_QUERIES), replace=False).tolist()
    found = store.get(chosen)
    openings = [" ".join(found[row].text.split()[:_QUERY_WORDS]) for row in chosen]
    vectors = encoder.encode_queries([TextInput(text, InputType.QUERY) for text in openings])
    half = max(1, len(vectors) // 2)
    return vectors[:half], vectors[-half:]


def load_vectors(path: Path, *, n: int, dim: int) -> HalfArray:
    """Map the vectors of a generation, (N, D)."""
    return np.memmap(path, dtype="<f2", mode="r", shape=(n, dim))
