"""Exported equals trained: what a bundle encodes against what PyTorch encodes, on texts of every length.

Vectors are compared as they are served: of unit length. Pads stand on either side, texts are encoded alone and in mixed
batches, and instructions from states that were computed apart, as a cache holds them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import Field

from infembed.bundle import Bundle, BundleManifest, Precision
from infembed.config import Config, shown
from infembed.encoder import Encoder, OnnxEncoder
from infembed.errors import MismatchedArtefactError, NonFiniteError
from infembed.inputs import InputType, TextInput, render
from infembed.tokenization import BundleTokenizer, TokenizedInput
from infembed.vectors import FloatArray, normalize
from model_export.bare_graphs import BareGraphs
from model_export.parity_inputs import parity_inputs

PARITY_FILE = "parity.json"
MAX_ABS = 1e-4
LEAST_COSINE = {Precision.FP16: 0.9995, Precision.INT8: 0.9}
"""Of a text with PyTorch. The gate judges int8; below this the conversion is broken, whatever a gate may say."""
MAX_VARIANCE = 1e-5
_ROWS_OF_A_BATCH = 4
Encode = Callable[[Sequence[TokenizedInput]], FloatArray]
"""Encodes one batch, without normalising."""


class Finding(Config):
    """The largest difference of one comparison, and the text it was found on."""

    max_abs: float = Field(description="of an element of a unit vector")
    least_cosine: float
    text: str = Field(description="as the model reads it, cut to 60 characters")
    n_tokens: int


class PrecisionParity(Config):
    """How one precision compares."""

    precision: Precision
    against_pytorch: Finding = Field(description="each text alone")
    in_batches: Finding = Field(description="in mixed batches, pads on the right, against the same text alone")
    with_left_pads: Finding | None = Field(description="of float32: the other graphs have the same inputs")
    with_cached_states: Finding | None = Field(description="instructions encoded apart; None: the fusion has no states")


class ParityReport(Config):
    """What was compared; it lies in the bundle as `parity.json`."""

    schema_version: int = 1
    n_texts: int
    longest_tokens: int
    bounds: dict[str, float]
    precisions: tuple[PrecisionParity, ...]
    rounding: Finding | None = Field(
        default=None, description="the factors that are shipped, in half precision, against those that were trained"
    )


class Inputs(NamedTuple):
    """The texts of a check and their tokens, in order."""

    texts: list[TextInput]
    tokens: list[TokenizedInput]


def make_inputs(bundle: Bundle) -> Inputs:
    """Make the texts that a bundle is checked on."""
    limits = bundle.manifest.max_tokens
    tokenizer = BundleTokenizer.open(bundle)
    texts = parity_inputs(
        tokenizer, document=limits.document, query=bundle.manifest.max_query_tokens, instruction=limits.instruction
    )
    return Inputs(texts, tokenizer.tokenize(texts))


def measure_parity(bundle: Bundle, inputs: Inputs, wanted: FloatArray) -> ParityReport:
    """Compare every precision of a bundle with the vectors that PyTorch gives."""
    return ParityReport(
        n_texts=len(inputs.texts),
        longest_tokens=max(item.n_tokens for item in inputs.tokens),
        bounds={
            "fp32_max_abs": MAX_ABS,
            "fp32_invariance_max_abs": MAX_VARIANCE,
            **{f"{precision}_least_cosine": least for precision, least in LEAST_COSINE.items()},
        },
        precisions=tuple(_measure(bundle, precision, inputs, wanted) for precision in bundle.manifest.precisions),
    )


def require_parity(report: ParityReport) -> None:
    """Refuse a precision beyond its bounds, naming the worst text."""
    for found in report.precisions:
        least, worst = LEAST_COSINE.get(found.precision, 0.0), found.against_pytorch
        if worst.least_cosine < least:
            raise MismatchedArtefactError(
                f"parity failed: {found.precision} has cosine {worst.least_cosine:.6f} with PyTorch, at least {least} "
                f"is needed, {_where(worst)}"
            )
        if found.precision is not Precision.FP32:
            continue
        for name, finding, bound in (
            ("from PyTorch", found.against_pytorch, MAX_ABS),
            ("in a batch from the text alone", found.in_batches, MAX_VARIANCE),
            ("with pads on the left from the text alone", found.with_left_pads, MAX_VARIANCE),
            ("with a cached instruction from one pass", found.with_cached_states, MAX_VARIANCE),
        ):
            if finding is not None and not finding.max_abs <= bound:
                raise MismatchedArtefactError(
                    f"parity failed: fp32 differs {name} by {finding.max_abs:.2g}, at most {bound:.0e} is allowed, "
                    f"{_where(finding)}"
                )


def encode_reference(reference: Encoder, texts: Sequence[TextInput]) -> FloatArray:
    """Encode with the model in PyTorch, documents and queries each as they are meant, in order."""
    found = np.empty((len(texts), reference.dim), dtype=np.float32)
    is_query = np.array([text.input_type is InputType.QUERY for text in texts])
    queries = [text for text in texts if text.input_type is InputType.QUERY]
    documents = [text.text for text in texts if text.input_type is InputType.DOCUMENT]
    try:
        found[is_query], found[~is_query] = reference.encode_queries(queries), reference.encode_documents(documents)
    except NonFiniteError as error:
        raise MismatchedArtefactError(
            f"the checkpoint itself gives NaN or infinity in PyTorch ({error}); get or train it again"
        ) from error
    return found


def compare(found: FloatArray, wanted: FloatArray, inputs: Inputs, manifest: BundleManifest) -> Finding:
    """Find the input whose unit vectors differ most."""
    differences = np.abs(found - wanted).max(axis=1)
    worst = int(differences.argmax())
    return Finding(
        max_abs=float(differences[worst]),
        least_cosine=float((found * wanted).sum(axis=1).min()),
        text=_shown(inputs.texts[worst], manifest),
        n_tokens=inputs.tokens[worst].n_tokens,
    )


def _shown(item: TextInput, manifest: BundleManifest) -> str:
    rendered = render(item, fusion=manifest.fusion, prompts=manifest.prompts)
    return shown(rendered.text if rendered.instruction is None else f"{rendered.text} [{rendered.instruction}]")


def _measure(bundle: Bundle, precision: Precision, inputs: Inputs, wanted: FloatArray) -> PrecisionParity:
    encoder = OnnxEncoder(bundle, precision=precision)

    def encode_all(encode: Encode, *, n_rows: int) -> FloatArray:
        vectors = _in_parts(encode, inputs.tokens, n_rows)
        for text, vector in zip(inputs.texts, vectors, strict=True):
            if not np.isfinite(vector).all():
                raise MismatchedArtefactError(
                    f"parity failed: {precision} gives NaN or infinity on the text {_shown(text, bundle.manifest)}; "
                    "no bundle was written"
                )
        return normalize(vectors)

    alone = encode_all(encoder.encode, n_rows=1)
    bare = BareGraphs(bundle, precision) if precision is Precision.FP32 else None

    def against_alone(encode: Encode) -> Finding:
        return compare(encode_all(encode, n_rows=_ROWS_OF_A_BATCH), alone, inputs, bundle.manifest)

    return PrecisionParity(
        precision=precision,
        against_pytorch=compare(alone, wanted, inputs, bundle.manifest),
        in_batches=against_alone(encoder.encode),
        with_left_pads=against_alone(bare.encode_with_left_pads) if bare else None,
        with_cached_states=against_alone(bare.encode_with_cached_states) if bare and bare.has_states else None,
    )


def _in_parts(encode: Encode, items: Sequence[TokenizedInput], n_rows: int) -> FloatArray:
    """Encode so many inputs at once, short and long ones mixed; in order, not normalised."""
    n_parts = -(-len(items) // n_rows)
    found: FloatArray | None = None
    for part in range(n_parts):
        rows = list(range(part, len(items), n_parts))
        vectors = encode([items[row] for row in rows])
        found = np.empty((len(items), vectors.shape[1]), np.float32) if found is None else found
        found[rows] = vectors
    assert found is not None, "there are texts"
    return found


def _where(finding: Finding) -> str:
    return f"on the text {finding.text} ({finding.n_tokens} tokens); no bundle was written"
