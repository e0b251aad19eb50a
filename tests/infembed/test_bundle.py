import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infembed.bundle import Bundle, GraphName, MaxTokens, Pooling, Precision, document_fingerprint
from infembed.errors import (
    AlteredArtefactError,
    BadArtefactError,
    BadConfigError,
    MissingArtefactError,
    NewerArtefactError,
)
from infembed.inputs import Fusion
from infembed.manifests import sealed, write_sealed


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def _edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], None], *, seal: bool = True) -> None:
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(sealed(data) if seal else data))


def test_a_sound_bundle_opens(any_tiny_bundle: Path) -> None:
    bundle = Bundle.open(any_tiny_bundle)
    assert bundle.manifest.dim == 32
    assert len(bundle.digest) == 64


@pytest.mark.parametrize("name", ["tokenizer.json", "fp32/document.onnx", "fp32/query.onnx", "fp32/weights.bin"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(MissingArtefactError, match=name):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "fp32/document.onnx", "fp32/query.onnx", "fp32/weights.bin"])
def test_one_changed_byte_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(AlteredArtefactError, match="SHA-256"):
        Bundle.open(copy)


def test_no_bundle_at_all_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="no bundle at .*make bundle"):
        Bundle.open(tmp_path / "absent")


def test_a_manifest_that_is_not_json_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_text("{")
    with pytest.raises(AlteredArtefactError, match="not valid JSON"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"fusion": "attention"},
        {"pooling": "cls"},
        {"prompts": {"query": "query: "}},
        {"document_fingerprint": "0" * 64},
        {"made_from": {}},
        {"manifest_sha256": "0" * 64},
    ],
)
def test_a_manifest_vouches_for_its_own_fields(copy: Path, change: dict[str, object]) -> None:
    _edit_manifest(copy, lambda data: data.update(change), seal=False)
    with pytest.raises(AlteredArtefactError, match="was changed after it was written.*make bundle"):
        Bundle.open(copy)


def test_a_manifest_without_a_digest_of_its_own_is_refused(copy: Path) -> None:
    _edit_manifest(copy, lambda data: data.pop("manifest_sha256"), seal=False)
    with pytest.raises(AlteredArtefactError, match="was changed after"):
        Bundle.open(copy)


def test_an_endlessly_nested_manifest_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(AlteredArtefactError, match="not valid JSON"):
        Bundle.open(copy)


def test_a_later_schema_version_is_refused(copy: Path) -> None:
    _edit_manifest(copy, lambda data: data.update(schema_version=2, made_with={"inf-embed": "0.2.0"}))
    with pytest.raises(NewerArtefactError, match=r"schema version 2, .* reads version 1; .* InF-Embed 0\.2\.0"):
        Bundle.open(copy)


def test_an_earlier_schema_version_names_the_commands_that_make_it_current(copy: Path) -> None:
    _edit_manifest(copy, lambda data: data.update(schema_version=0), seal=False)
    with pytest.raises(BadArtefactError, match="`infembed bundle assemble --out NEW`.*`infembed export CHECKPOINT"):
        Bundle.open(copy)


def test_a_manifest_with_an_unlisted_graph_is_refused(copy: Path) -> None:
    _edit_manifest(copy, lambda data: data.update(files=[f for f in data["files"] if "query" not in f["name"]]))
    with pytest.raises(AlteredArtefactError, match="does not list fp32/query.onnx"):
        Bundle.open(copy)


def test_a_file_outside_the_bundle_is_refused(copy: Path) -> None:
    entry = {"name": "../secret", "size_bytes": 0, "sha256": "0" * 64}
    _edit_manifest(copy, lambda data: data["files"].append(entry))
    with pytest.raises(BadArtefactError, match="leaves"):
        Bundle.open(copy)


def test_instruction_and_query_must_fit_the_positions_together(copy: Path) -> None:
    _edit_manifest(copy, lambda data: data.update(max_tokens={"document": 8, "query": 40, "instruction": 40}))
    with pytest.raises(AlteredArtefactError, match=r"must each be at most n_positions \(64\)"):
        Bundle.open(copy)


@pytest.mark.parametrize("widths", [[32], [64, 16], [8, 16], [16, 16]])
def test_widths_that_are_no_cuts_of_the_vectors_are_refused(copy: Path, widths: list[int]) -> None:
    _edit_manifest(copy, lambda data: data.update(dimensions=widths))
    with pytest.raises(AlteredArtefactError, match=r"must be below dim \(32\), each once, widest first"):
        Bundle.open(copy)


def test_a_manifest_names_widths_only_where_there_are_some(copy: Path) -> None:
    """So those of earlier releases keep their digest, and theirs read ours."""
    assert "dimensions" not in json.loads((copy / "manifest.json").read_text())
    manifest = Bundle.open(copy).manifest
    assert manifest.widths == (32,)
    cut = manifest.model_copy(update={"dimensions": (16, 8)})
    write_sealed(copy / "manifest.json", cut)
    assert Bundle.open(copy).manifest == cut
    assert cut.widths == (32, 16, 8)


def test_a_precision_the_bundle_lacks_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BadConfigError, match="has precision fp32, int8, not fp16"):
        Bundle.open(tiny_bundle).graph_path(GraphName.DOCUMENT, Precision.FP16)


def test_the_fingerprint_follows_everything_that_decides_a_document_vector() -> None:
    base: dict[str, object] = {
        "architecture": {"dim": 4},
        "weights_sha256": "a",
        "tokenizer_sha256": "b",
        "pooling": Pooling.MEAN,
        "max_tokens": 8,
        "prompt": "",
    }
    changes: list[dict[str, object]] = [
        {"architecture": {"dim": 5}},
        {"weights_sha256": "c"},
        {"tokenizer_sha256": "c"},
        {"pooling": Pooling.CLS},
        {"max_tokens": 9},
        {"prompt": "passage: "},
    ]
    digests = {document_fingerprint(**{**base, **change}) for change in [{}, *changes]}  # type: ignore[arg-type]
    assert len(digests) == len(changes) + 1


def test_bundles_of_one_base_share_their_fingerprint_whatever_the_fusion(
    tiny_bundle: Path, any_tiny_bundle: Path
) -> None:
    prints = {Bundle.open(path).manifest.document_fingerprint for path in (tiny_bundle, any_tiny_bundle)}
    assert len(prints) == 1


def test_concat_gives_the_query_the_instructions_room(any_tiny_bundle: Path) -> None:
    manifest = Bundle.open(any_tiny_bundle).manifest
    expected = 64 if manifest.fusion is Fusion.CONCAT else 32
    assert manifest.max_tokens == MaxTokens(document=48, query=32, instruction=32)
    assert manifest.max_query_tokens == expected
