"""What can be scored: a bundle, a running service, a checkpoint, or any sentence-transformers model."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report import ModelIdentity, ModelKind
from evaluation.service_client import ServiceClient, ServiceEncoder
from evaluation.vector_cache import digest_of
from infembed.artefacts import sha256_file
from infembed.bundle import Precision
from infembed.encoder import Encoder, OnnxEncoder
from infembed.errors import BadArtefactError, BadConfigError, MissingArtefactError
from infembed.inputs import Fusion, TextInput, render
from infembed.vectors import FloatArray, normalize, require_finite


@dataclass(frozen=True)
class ScoredModel:
    """A model and who it is."""

    identity: ModelIdentity
    encoder: Encoder
    hears_instructions: bool = True
    """False scores the model as if nobody had given it an instruction: the baseline `none`."""
    width: int | None = None
    """Vectors are cut to this many values and scaled, trained for that width or not; None leaves them whole."""

    @property
    def scored_as(self) -> ModelIdentity:
        """Who the scores are of: a deaf or cut model has a digest of its own, lest it pass for the served one."""
        identity = self.identity
        if not self.hears_instructions:
            digest = digest_of(["without instructions", identity.digest])
            identity = identity.model_copy(update={"digest": digest, "fusion": "none"})
        if self.width is not None:
            cut = {
                "digest": digest_of(["cut", str(self.width), identity.digest]),
                "document_fingerprint": CutEncoder(self.encoder, self.width).document_fingerprint,
                "dimensions": self.width,
            }
            identity = identity.model_copy(update=cut)
        return identity


def open_bundle(path: Path, *, precision: Precision = Precision.FP32) -> ScoredModel:
    """Score the ONNX bundle as it would be served in a precision."""
    encoder = OnnxEncoder.open(path, precision=precision)
    manifest = encoder.bundle.manifest
    identity = ModelIdentity(
        name=manifest.name,
        digest=encoder.bundle.digest,
        document_fingerprint=encoder.document_fingerprint,
        kind=ModelKind.BUNDLE,
        precision=precision,
        fusion=manifest.fusion,
    )
    return ScoredModel(identity, encoder)


def open_service(url: str) -> ScoredModel:
    """Score what a running service answers on `POST /embed`."""
    client = ServiceClient(url)
    info = client.info()
    identity = ModelIdentity(
        name=info.model_id,
        digest=info.model_sha,
        document_fingerprint=info.document_fingerprint,
        kind=ModelKind.URL,
        precision=info.precision,
        fusion=info.fusion,
    )
    return ScoredModel(identity, ServiceEncoder(client, info))


CHECKPOINTS = "infembed.checkpoints"
"""Entry points of packages that read checkpoints: the name is a file such a checkpoint has, the object opens it."""


def open_checkpoint(path: Path) -> ScoredModel:
    """Score a checkpoint in PyTorch: one of ours with its own fusion, any other as sentence-transformers reads it.

    A plain Hugging Face checkpoint is read with mean pooling, instructions as `concat` renders them.
    """
    for entry in entry_points(group=CHECKPOINTS):
        if (path / entry.name).is_file():
            opened: ScoredModel = entry.load()(path)
            return opened
    if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        raise MissingArtefactError(
            f"no checkpoint at {path}: expected the model of a training run (RUN/model), or a directory with "
            "config.json or modules.json"
        )
    return _open_sentence_transformers(str(path), ModelKind.CHECKPOINT)


def open_sentence_transformers(name: str) -> ScoredModel:
    """Score a sentence-transformers model: a directory, or a name on the hub.

    Such a model reads one text, so instruction and query are given as `concat` renders them, unless it says that it
    takes them apart (as a checkpoint of ours does).
    """
    return _open_sentence_transformers(name, ModelKind.SENTENCE_TRANSFORMERS)


def _open_sentence_transformers(name: str, kind: ModelKind) -> ScoredModel:
    from sentence_transformers import SentenceTransformer

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)  # it warns of the mean pooling we ask for
    is_local = Path(name).is_dir()
    try:
        model = SentenceTransformer(name, local_files_only=is_local)
        directory = Path(name) if is_local else _downloaded(name)
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadArtefactError(f"sentence-transformers cannot load {name}: {first_line}") from error
    digest = directory_digest(directory)
    identity = ModelIdentity(
        name=Path(name).name if is_local else name,
        digest=digest,
        document_fingerprint=digest,
        kind=kind,
        fusion=Fusion(getattr(model[0], "fusion", Fusion.CONCAT)),
    )
    return ScoredModel(identity, SentenceTransformersEncoder(model, document_fingerprint=digest))


def _downloaded(name: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, local_files_only=True))


class SentenceTransformersEncoder:
    """Encodes through sentence-transformers; queries and instructions as `concat` joins them, or apart if it can."""

    def __init__(self, model: Any, *, document_fingerprint: str) -> None:
        self._model = model
        self._takes_apart = ("text", "instruction") in getattr(model, "modalities", ())
        self.dim = int(model.encode_query(["dim"], show_progress_bar=False).shape[1])
        self.document_fingerprint = document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._encode(texts, self._model.encode_document)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        if self._takes_apart:
            return self._encode([_apart(query) for query in queries], self._model.encode_query)
        rendered = [render(query, fusion=Fusion.CONCAT, prompts={}).text for query in queries]
        return self._encode(rendered, self._model.encode_query)

    def _encode(self, texts: Sequence[str | dict[str, str]], encode: Callable[..., Any]) -> FloatArray:
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        return normalize(require_finite(np.asarray(encode(list(texts), show_progress_bar=False), dtype=np.float32)))


def _apart(query: TextInput) -> dict[str, str]:
    return {"text": query.text} | ({"instruction": query.instruction} if query.instruction else {})


class DeafEncoder:
    """Drops instructions before the model sees them."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.dim = encoder.dim
        self.document_fingerprint = encoder.document_fingerprint

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._encoder.encode_documents(texts)

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return self._encoder.encode_queries([replace(query, instruction=None) for query in queries])


class CutEncoder:
    """Keeps the first values of each vector, scaled to unit length: a narrower width, as it is served."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        if not 1 < width < encoder.dim:
            raise BadConfigError(
                f"dimensions is {width}, the model's vectors have {encoder.dim}; give 2 to {encoder.dim - 1}, "
                "or leave it out for whole vectors"
            )
        self._encoder = encoder
        self.dim = width
        self.document_fingerprint = digest_of(["cut", str(width), encoder.document_fingerprint])

    def encode_documents(self, texts: Sequence[str]) -> FloatArray:
        return normalize(self._encoder.encode_documents(texts)[:, : self.dim])

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        return normalize(self._encoder.encode_queries(queries)[:, : self.dim])


def directory_digest(directory: Path) -> str:
    """Digest every file below a directory by name and content."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return digest_of([f"{path.relative_to(directory)}:{sha256_file(path)}" for path in files])
