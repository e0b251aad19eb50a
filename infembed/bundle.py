"""A bundle: everything that serving needs of a model, in one directory, verified before use.

    manifest.json  tokenizer.json  <precision>/document.onnx  query.onnx  instruction.onnx  weights.bin

`instruction.onnx` is missing where the fusion is `concat`. All graphs of a precision read the same weight file.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from infembed.artefacts import FileEntry, describe_file, verify_files
from infembed.config import Config
from infembed.errors import AlteredArtefactError, BadConfigError, MissingArtefactError
from infembed.graph_safety import require_safe_graph
from infembed.inputs import Fusion, InputType
from infembed.manifests import parse_sealed, write_sealed

MANIFEST_FILE = "manifest.json"
GRAPH_SUFFIX = ".onnx"
TOKENIZER_FILE = "tokenizer.json"
SCHEMA_VERSION: Literal[1] = 1
REMEDY = "remove the bundle and make it again (`make bundle`, or `infembed bundle assemble`)"
RENEW = (
    "make it again in a new directory: `infembed bundle assemble --out NEW` if it is a released model, "
    "`infembed export CHECKPOINT --out NEW` if it is one of your own"
)
"""What an older bundle needs; its document fingerprint, and so its index, stays."""


class Precision(StrEnum):
    """Number format of a bundle's graphs."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Pooling(StrEnum):
    """Which token states make the embedding."""

    MEAN = "mean"
    CLS = "cls"


class Tower(StrEnum):
    """What reads its input with trained weights; the rest keeps the base model's.

    `shared`: everything. `frozen`: queries and their instructions; vectors of documents stay, so an index stays valid.
    `steered`: instructions alone; plain queries stay what they were as well (docs/decisions/0009).
    """

    SHARED = "shared"
    FROZEN = "frozen"
    STEERED = "steered"

    @property
    def keeps_documents(self) -> bool:
        """Whether documents keep the base model's vectors (index-preserving training)."""
        return self is not Tower.SHARED

    @property
    def reads_plain_queries_as_documents(self) -> bool:
        """Whether a query without instruction is encoded with the weights of documents."""
        return self is not Tower.FROZEN


class GraphName(StrEnum):
    """The graphs of one precision."""

    DOCUMENT = "document"
    QUERY = "query"
    INSTRUCTION = "instruction"


class MaxTokens(Config):
    """Longest token sequences the model reads, special tokens included."""

    document: int = Field(gt=2, description="raising it embeds more of a long document, at quadratic cost")
    query: int = Field(gt=2)
    instruction: int = Field(gt=2)


class BundleManifest(Config):
    """What a bundle is, what made it, and the digest of every file in it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(min_length=1, max_length=200)
    fusion: Fusion
    tower: Tower = Tower.SHARED
    dim: int = Field(gt=0)
    dimensions: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        default=(),
        exclude_if=lambda widths: not widths,  # manifests written before there were any keep their digest
        description="smaller widths that vectors were trained to be cut to (Matryoshka), widest first",
    )
    pooling: Pooling
    n_positions: int = Field(gt=2, description="position embeddings of the model: instruction and query share them")
    max_tokens: MaxTokens
    prompts: dict[InputType, str] = Field(default_factory=dict)
    precisions: tuple[Precision, ...] = Field(min_length=1)
    document_fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    opset: int | None = Field(default=None, description="of the graphs")
    min_onnxruntime: str | None = Field(default=None, description="first version that has the graphs' operators")
    fused_nodes: dict[str, dict[str, int]] = Field(default_factory=dict, description="by graph file")
    files: tuple[FileEntry, ...]
    made_from: dict[str, JsonValue] = Field(default_factory=dict, description="configuration and input digests")
    made_with: dict[str, str] = Field(default_factory=dict, description="tool versions")

    @model_validator(mode="after")
    def _fits_positions(self) -> Self:
        together = self.max_tokens.query + self.max_tokens.instruction
        if max(self.max_tokens.document, together) > self.n_positions:
            raise ValueError(
                f"max_tokens.document ({self.max_tokens.document}) and max_tokens.query + max_tokens.instruction "
                f"({together}) must each be at most n_positions ({self.n_positions})"
            )
        return self

    @model_validator(mode="after")
    def _narrows_step_by_step(self) -> Self:
        if list(self.dimensions) != sorted({width for width in self.dimensions if width < self.dim}, reverse=True):
            raise ValueError(
                f"dimensions ({', '.join(map(str, self.dimensions))}) must be below dim ({self.dim}), each once, "
                "widest first"
            )
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Every length that the model's vectors may have: whole, or cut as it was trained for."""
        return (self.dim, *self.dimensions)

    @property
    def max_query_tokens(self) -> int:
        """Longest token sequence of a query's own text; under `concat` it carries the instruction too."""
        if self.fusion is Fusion.CONCAT:
            return self.max_tokens.query + self.max_tokens.instruction
        return self.max_tokens.query


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle on disk; `digest` identifies it as a whole (SHA-256 of its manifest)."""

    path: Path
    manifest: BundleManifest
    digest: str

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read and verify a bundle; refuses a missing, altered or unknown one."""
        manifest_path = path / MANIFEST_FILE
        if not manifest_path.is_file():
            raise MissingArtefactError(
                f"no bundle at {path} (no {MANIFEST_FILE} there); "
                "make one (`make bundle`, or `infembed bundle assemble`)"
            )
        raw = manifest_path.read_bytes()
        manifest = parse_sealed(BundleManifest, raw, manifest_path, version=SCHEMA_VERSION, remedy=REMEDY, renew=RENEW)
        verify_files(path, manifest.files, remedy=REMEDY)
        recorded = {entry.name for entry in manifest.files}
        for needed in _needed_files(manifest):
            if needed not in recorded:
                raise AlteredArtefactError(f"{manifest_path} does not list {needed}; {REMEDY}")
        for name in recorded:
            if name.endswith(GRAPH_SUFFIX):
                require_safe_graph(path / name)
        return cls(path=path, manifest=manifest, digest=hashlib.sha256(raw).hexdigest())

    def folder(self, precision: Precision) -> Path:
        """Return the folder of a precision's graphs and weights, refusing one the bundle lacks."""
        if precision not in self.manifest.precisions:
            have = ", ".join(self.manifest.precisions)
            raise BadConfigError(f"bundle {self.path} has precision {have}, not {precision}; choose one it has")
        return self.path / precision

    def graph_path(self, graph: GraphName, precision: Precision) -> Path:
        """Return the file of a graph, refusing a precision the bundle lacks."""
        return self.folder(precision) / f"{graph}.onnx"

    @property
    def graphs_to_load(self) -> list[GraphName]:
        """The graphs that encoding uses; where query and document graph would be the same, one serves both."""
        return _graphs_to_load(self.manifest)


def write_manifest(directory: Path, manifest_without_files: BundleManifest) -> BundleManifest:
    """Describe every file in `directory` and write the manifest last."""
    names = sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and path.name != MANIFEST_FILE
    )
    files = tuple(describe_file(directory, name) for name in names)
    manifest = manifest_without_files.model_copy(update={"files": files})
    write_sealed(directory / MANIFEST_FILE, manifest)
    return manifest


def document_fingerprint(
    *,
    architecture: dict[str, JsonValue],
    weights_sha256: str,
    tokenizer_sha256: str,
    pooling: Pooling,
    max_tokens: int,
    prompt: str,
) -> str:
    """Digest everything that decides a document's vector, so that an index can tell whose vectors it holds.

    `weights_sha256` is that of the float32 document tower. Precision is left out on purpose: export bounds how far
    a lower precision may move a vector, and fp32, fp16 and int8 answers over one index stay comparable.
    """
    parts = {
        "architecture": architecture,
        "weights": weights_sha256,
        "tokenizer": tokenizer_sha256,
        "pooling": pooling,
        "max_tokens": max_tokens,
        "prompt": prompt,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _graphs_to_load(manifest: BundleManifest) -> list[GraphName]:
    if manifest.fusion is not Fusion.CONCAT:
        return [GraphName.DOCUMENT, GraphName.QUERY, GraphName.INSTRUCTION]
    return (
        [GraphName.DOCUMENT]
        if manifest.tower.reads_plain_queries_as_documents
        else [GraphName.DOCUMENT, GraphName.QUERY]
    )


def _needed_files(manifest: BundleManifest) -> list[str]:
    graphs = {*_graphs_to_load(manifest), GraphName.QUERY}
    return [TOKENIZER_FILE, *(f"{p}/{graph}.onnx" for p in manifest.precisions for graph in sorted(graphs))]
