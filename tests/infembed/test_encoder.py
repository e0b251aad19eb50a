import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infembed.artefacts import describe_file
from infembed.bundle import Bundle, Precision
from infembed.cpu import has_vnni
from infembed.encoder import OnnxEncoder, pad, plan_batches
from infembed.errors import AlteredArtefactError, BadConfigError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.manifests import sealed
from infembed.sessions import session_options

TOLERANCE = 1e-5
INSTRUCTIONS = [None, "no yeast", "only for a child and not with salt", "expert guide", "no yeast"]


def _queries() -> list[TextInput]:
    texts = ["bread", "why is the dough not done", "bike chain", "road " * 20, "oven"]
    return [TextInput(text, InputType.QUERY, why) for text, why in zip(texts, INSTRUCTIONS, strict=True)]


def test_a_batch_of_different_instructions_equals_each_query_alone(any_tiny_bundle: Path) -> None:
    encoder = OnnxEncoder.open(any_tiny_bundle)
    together = encoder.encode_queries(_queries())
    alone = np.concatenate([encoder.encode_queries([query]) for query in _queries()])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_queries_and_documents_share_a_batch(any_tiny_bundle: Path) -> None:
    encoder = OnnxEncoder.open(any_tiny_bundle)
    mixed = [*_queries(), TextInput("the bread dough"), TextInput("a bike")]
    batch = encoder.encode(encoder.tokenizer.tokenize(mixed))
    alone = np.concatenate([encoder.encode(encoder.tokenizer.tokenize([item])) for item in mixed])
    np.testing.assert_allclose(batch, alone, atol=TOLERANCE)


def test_without_instruction_a_query_is_encoded_as_a_document(any_tiny_bundle: Path) -> None:
    encoder = OnnxEncoder.open(any_tiny_bundle)
    query = encoder.encode_queries([TextInput("why bread", InputType.QUERY)])
    np.testing.assert_array_equal(query, encoder.encode_documents(["why bread"]))


def test_an_instruction_moves_the_query(any_tiny_bundle: Path) -> None:
    encoder = OnnxEncoder.open(any_tiny_bundle)
    plain, instructed = encoder.encode_queries(
        [TextInput("why bread", InputType.QUERY), TextInput("why bread", InputType.QUERY, "no yeast for a child")]
    )
    assert plain @ instructed < 0.9999


def test_vectors_have_unit_length_and_keep_the_order_of_the_texts(tiny_bundle: Path) -> None:
    encoder = OnnxEncoder(Bundle.open(tiny_bundle), max_batch_tokens=16)
    texts = ["bread " * n for n in (9, 1, 30, 2, 2, 17)]
    vectors = encoder.encode_documents(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode_documents([text])[0], vector, atol=TOLERANCE)


def test_batches_side_by_side_give_the_vectors_that_they_give_alone(any_tiny_bundle: Path) -> None:
    encoder = OnnxEncoder(Bundle.open(any_tiny_bundle), n_threads=2, n_runs=2)
    assert encoder.most_run_tokens == 512
    items = [TextInput(f"{text} {n}", InputType.QUERY, "no yeast") for n in range(20) for text in ("bread", "a road")]
    items += [TextInput("bread " * n) for n in range(1, 30)]
    batches = [encoder.tokenizer.tokenize(items[start : start + 7]) for start in range(0, len(items), 7)]
    alone = np.concatenate([encoder.encode(batch) for batch in batches])
    with ThreadPoolExecutor(2) as threads:
        beside = np.concatenate(list(threads.map(partial(encoder.encode, is_alone=False), batches)))
    np.testing.assert_allclose(beside, alone, atol=TOLERANCE)


def test_nothing_to_encode_gives_no_rows(tiny_bundle: Path) -> None:
    assert OnnxEncoder.open(tiny_bundle).encode_documents([]).shape == (0, 32)


def test_concat_equals_the_document_of_the_joined_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.tiny import make_tiny_bundle

    encoder = OnnxEncoder.open(make_tiny_bundle(tmp_path_factory.mktemp("concat"), fusion=Fusion.CONCAT))
    query = encoder.encode_queries([TextInput("why bread", InputType.QUERY, "no yeast")])
    np.testing.assert_array_equal(query, encoder.encode_documents(["why bread no yeast"]))


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_plans_hold_every_input_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(plan_batches(lengths, max_batch_tokens=budget))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_padding_marks_real_tokens() -> None:
    ids, mask = pad([(5, 6), (), (7,)])
    assert ids.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert mask.tolist() == [[1, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP16])
def test_another_precision_of_a_bundle_can_be_loaded(precise_bundle: Path, precision: Precision) -> None:
    queries = [TextInput("bread dough", InputType.QUERY, "for a child"), TextInput("bike chain", InputType.QUERY)]
    encoder = OnnxEncoder.open(precise_bundle, precision=precision)
    wanted = OnnxEncoder.open(precise_bundle)
    assert encoder.document_fingerprint == wanted.document_fingerprint
    assert (encoder.encode_queries(queries) * wanted.encode_queries(queries)).sum(axis=1).min() > 0.99


def test_a_precision_that_is_not_there_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BadConfigError, match="has precision fp32, int8, not fp16; choose one it has"):
        OnnxEncoder.open(tiny_bundle, precision=Precision.FP16)


@pytest.mark.parametrize(("is_fast", "exact"), [(True, "0"), (False, "1")])
def test_processors_without_vnni_add_products_up_exactly(
    monkeypatch: pytest.MonkeyPatch, is_fast: bool, exact: str
) -> None:
    monkeypatch.setattr("infembed.sessions.has_vnni", lambda: is_fast)
    assert session_options(1).get_session_config_entry("session.x64quantprecision") == exact


@pytest.mark.skipif(not has_vnni(), reason="this processor has no VNNI: its fast sum of 8-bit products overflows")
def test_both_ways_to_add_up_products_give_the_same_vectors(
    monkeypatch: pytest.MonkeyPatch, precise_bundle: Path
) -> None:
    found = []
    for is_fast in (True, False):
        monkeypatch.setattr("infembed.sessions.has_vnni", lambda fast=is_fast: fast)
        found.append(OnnxEncoder.open(precise_bundle, precision=Precision.INT8).encode_documents(["bread", "road"]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def _reseal(bundle: Path, change: Callable[[dict[str, Any]], None], *, altered: str | None = None) -> None:
    """Change a manifest as someone would who keeps every digest right."""
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    if altered is not None:
        others = [entry for entry in data["files"] if entry["name"] != altered]
        data["files"] = [*others, describe_file(bundle, altered).model_dump()]
    path.write_text(json.dumps(sealed(data)))


def test_a_manifest_with_another_dim_than_the_graphs_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    _reseal(copy, lambda data: data.update(dim=64))
    with pytest.raises(AlteredArtefactError, match="document graph gives 32 dimensions, the manifest records 64.*make"):
        OnnxEncoder.open(copy)


@pytest.mark.parametrize("shape", [[32, 95], [31, 96], [96, 32], [3072], [-1, 96], [32, 10**12]])
def test_weights_of_another_shape_are_refused(tiny_bundle: Path, tmp_path: Path, shape: list[int]) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    layout = json.loads((copy / "fp32" / "weights.json").read_text())
    next(tensor for tensor in layout if tensor["name"] == "layer.0.qkv.weight")["shape"] = shape
    (copy / "fp32" / "weights.json").write_text(json.dumps(layout))
    _reseal(copy, lambda _: None, altered="fp32/weights.json")
    with pytest.raises(AlteredArtefactError, match="make bundle"):
        OnnxEncoder.open(copy)
