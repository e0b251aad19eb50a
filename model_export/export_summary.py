"""What an export says at its end, to people and to machines."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from model_export.export import Exported
from model_export.parity import PrecisionParity


def as_facts(exported: Exported, out: Path) -> dict[str, JsonValue]:
    """Return the facts as JSON has them."""
    manifest = exported.manifest
    return {
        "bundle": str(out),
        "name": manifest.name,
        "fusion": manifest.fusion,
        "tower": manifest.tower,
        "dim": manifest.dim,
        "dimensions": list(manifest.widths),
        "document_fingerprint": manifest.document_fingerprint,
        "size_bytes": sum(entry.size_bytes for entry in manifest.files),
        "opset": manifest.opset,
        "min_onnxruntime": manifest.min_onnxruntime,
        "fused_nodes": {name: dict(counts) for name, counts in manifest.fused_nodes.items()},
        "parity": exported.parity.model_dump(mode="json"),
    }


def as_text(exported: Exported, out: Path) -> Iterator[str]:
    """Say the same in lines."""
    manifest, parity = exported.manifest, exported.parity
    size_mb = sum(entry.size_bytes for entry in manifest.files) / 1e6
    yield f"parity with PyTorch on {parity.n_texts} texts of up to {parity.longest_tokens} tokens:"
    yield from (_line(found) for found in parity.precisions)
    if parity.rounding is not None:
        yield f"  factors in half precision move a vector by at most {parity.rounding.max_abs:.1e}"
    for name, counts in manifest.fused_nodes.items():
        yield f"  {name}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}"
    if manifest.dimensions:
        yield f"  vectors may be cut to {', '.join(map(str, manifest.dimensions))}, as they were trained to be"
    yield (
        f"bundle {manifest.name} ({size_mb:.0f} MB, dim {manifest.dim}, opset {manifest.opset}, ONNX Runtime >= "
        f"{manifest.min_onnxruntime}) at {out}"
    )


def _line(found: PrecisionParity) -> str:
    more = (("left pads", found.with_left_pads), ("cached states", found.with_cached_states))
    return (
        f"  {found.precision}: max abs {found.against_pytorch.max_abs:.1e}, cosine >= "
        f"{found.against_pytorch.least_cosine:.6f}; in batches {found.in_batches.max_abs:.1e}"
        + "".join(f", {name} {finding.max_abs:.1e}" for name, finding in more if finding is not None)
    )
