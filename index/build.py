"""Build a collection from a passage file: store, embed, train, tune, publish. Safe to interrupt and run again."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index import generation, ivf
from index.collection import Collection
from index.embedding import BuildState, EmbeddedParts
from index.generation import GenerationManifest
from index.ivf import HalfArray
from index.passages import read_passages
from index.store import PassageStore, write_store
from infembed import version
from infembed.artefacts import new_directory, sha256_file
from infembed.encoder import Encoder
from infembed.errors import BadArtefactError, MissingArtefactError, NewerArtefactError
from infembed.inputs import InputType, TextInput, has_words
from infembed.vectors import FloatArray

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


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made."""

    generation: str
    manifest: GenerationManifest
    is_new: bool
    n_embedded: int
    n_resumed: int


@dataclass(frozen=True, slots=True)
class _Tuning:
    nprobe: int
    recall: float


def build_collection(
    passages: Path, out: Path, *, encoder: Encoder, bundle_name: str, progress: Progress = lambda *_: None
) -> BuildResult:
    """Build `out` from `passages`; where they and the model are unchanged and `out` is intact, nothing is built."""
    if not passages.is_file():
        raise MissingArtefactError(f"no passage file at {passages}; give a JSONL, JSONL.gz, CSV or Parquet file")
    source = Source(passages, sha256_file(passages))
    with generation.exclusive(out):
        existing = _existing(out, source, encoder.document_fingerprint)
        if existing is not None:
            generation.touch(out)
            return existing
        return _build(source, out, encoder=encoder, bundle_name=bundle_name, progress=progress)


def _existing(out: Path, source: Source, fingerprint: str) -> BuildResult | None:
    """Return what is there if it can be served as it is; whatever is wrong with it, building anew is the remedy.

    Except where a later release wrote it: services of that release may be reading it.
    """
    try:
        with closing(Collection.open(out, document_fingerprint=fingerprint)) as collection:
            if collection.manifest.source_sha256 != source.sha256:
                return None
            return BuildResult(collection.generation, collection.manifest, is_new=False, n_embedded=0, n_resumed=0)
    except NewerArtefactError as error:
        raise NewerArtefactError(f"{error}; use that, or build into another --out") from error
    except BadArtefactError:
        return None


def _build(source: Source, out: Path, *, encoder: Encoder, bundle_name: str, progress: Progress) -> BuildResult:
    state = BuildState(document_fingerprint=encoder.document_fingerprint, source_sha256=source.sha256, dim=encoder.dim)
    parts = EmbeddedParts(out / generation.UNFINISHED, state)
    store_path = out / generation.UNFINISHED / generation.STORE_FILE
    with closing(_fill_store(source, store_path, progress)) as store:
        rows = store.rows()
        n_resumed = parts.n_finished(len(rows))
        vectors = parts.embed(store, encoder, on_embedded=_counter(progress, Stage.EMBED, len(rows)))
        index = ivf.build(vectors, on_added=_counter(progress, Stage.INDEX, len(rows)))
        tuning = _tune(index, vectors, *_sample_queries(store, encoder))
    name = generation.next_name(out)
    with new_directory(generation.directory_of(out, name)) as directory:
        ivf.write(index, directory / generation.INDEX_FILE)
        _write_array(directory / generation.VECTORS_FILE, vectors)
        _write_array(directory / generation.IDS_FILE, np.array(rows, dtype="<i8"))
        store_path.rename(directory / generation.STORE_FILE)
        facts = _facts(source, index, tuning, encoder=encoder, bundle_name=bundle_name)
        manifest = generation.write_manifest(directory, facts)
    generation.publish(out, name)
    parts.remove()
    generation.remove_old(out)
    return BuildResult(name, manifest, is_new=True, n_embedded=len(rows) - n_resumed, n_resumed=n_resumed)


def _fill_store(source: Source, path: Path, progress: Progress) -> PassageStore:
    """Open the store that an interrupted build left, or write it."""
    store = _sound_store(path)
    if store is None:
        progress(Stage.READ, 0, 0)
        write_store(path, read_passages(source.path))
        store = PassageStore.open(path)
    progress(Stage.READ, store.count(), store.count())
    return store


def _sound_store(path: Path) -> PassageStore | None:
    try:
        store = PassageStore.open(path)
    except BadArtefactError:
        return None
    if store.is_sound():
        return store
    store.close()
    return None


def _facts(
    source: Source, index: faiss.Index, tuning: _Tuning, *, encoder: Encoder, bundle_name: str
) -> GenerationManifest:
    nlist = index.nlist if isinstance(index, faiss.IndexIVF) else 0
    return GenerationManifest(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        document_fingerprint=encoder.document_fingerprint,
        bundle_name=bundle_name,
        dim=encoder.dim,
        factory=f"IVF{nlist},SQfp16" if nlist else "SQfp16",
        nlist=nlist,
        nprobe=tuning.nprobe,
        recall_at_10=round(tuning.recall, 4),
        n_documents=index.ntotal,
        source_name=source.path.name,
        source_sha256=source.sha256,
        made_with={"inf-embed": version(), "faiss": faiss.__version__},
    )


def _tune(index: faiss.Index, vectors: HalfArray, queries: FloatArray, held_out: FloatArray) -> _Tuning:
    nprobe = ivf.tune_nprobe(index, vectors, queries)
    found = ivf.search(index, held_out, k=10, nprobe=nprobe).positions
    return _Tuning(nprobe, ivf.recall_of(found, ivf.exact_search(vectors, held_out, k=10)))


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array's bytes; `tofile` would not say why it failed."""
    with path.open("wb") as file:
        file.write(np.ascontiguousarray(array).data)


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
    openings = [_opening(found[row].text) for row in chosen]
    vectors = encoder.encode_queries([TextInput(text, InputType.QUERY) for text in openings])
    half = max(1, len(vectors) // 2)
    return vectors[:half], vectors[-half:]


def _opening(text: str) -> str:
    words = [word for word in text.split() if has_words(word)]
    return " ".join(words[:_QUERY_WORDS])
