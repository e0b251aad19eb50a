"""From a checkpoint to a bundle that is proven equal to it, or to nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from infembed.artefacts import new_directory, refuse_existing
from infembed.bundle import Bundle, BundleManifest, Precision, write_manifest
from infembed.errors import BadConfigError
from infembed.inputs import Fusion
from model_export.bundle_writer import write_bundle
from model_export.parity import (
    PARITY_FILE,
    ParityReport,
    compare,
    encode_reference,
    make_inputs,
    measure_parity,
    require_parity,
)
from model_export.source import Source, open_source
from training.encoder import TorchEncoder
from training.lora import load_factors


class Exported(NamedTuple):
    """What was written, and how it compared."""

    manifest: BundleManifest
    parity: ParityReport


def export(
    checkpoint: Path,
    out: Path,
    *,
    precisions: Sequence[Precision] = (Precision.FP32,),
    fusion: Fusion | None = None,
    max_tokens: int | None = None,
    scale: float = 1.0,
) -> Exported:
    """Write the bundle of a checkpoint to `out`, which must not exist; a failed parity check leaves nothing."""
    if len(set(precisions)) != len(precisions):
        raise BadConfigError(f"precision names one twice: {', '.join(precisions)}; name each once")
    refuse_existing(out)
    source = open_source(checkpoint, fusion=fusion, max_tokens=max_tokens, scale=scale)
    with new_directory(out) as directory:
        manifest = write_bundle(directory, source.model, precisions)
        report = _measure(Bundle.open(directory), source)
        require_parity(report)
        (directory / PARITY_FILE).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return Exported(write_manifest(directory, manifest), report)


def _measure(bundle: Bundle, source: Source) -> ParityReport:
    inputs, reference = make_inputs(bundle), TorchEncoder(source.reference)
    wanted = encode_reference(reference, inputs.texts)
    report = measure_parity(bundle, inputs, wanted)
    if source.unrounded is None:
        return report
    load_factors(source.reference.query_tower, source.unrounded)
    trained = encode_reference(reference, inputs.texts)
    return report.model_copy(update={"rounding": compare(wanted, trained, inputs, bundle.manifest)})
