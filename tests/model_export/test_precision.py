from pathlib import Path

import numpy as np
import pytest

from infembed.bundle import Bundle, Precision, Tower
from infembed.encoder import OnnxEncoder
from infembed.errors import BadConfigError, MissingArtefactError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.vectors import FloatArray
from model_export.assemble import BASE_RECIPE, assemble, find_recipe
from model_export.precision import convert
from tests.tiny import DEMO_TEXT, WORDS, Trained, make_bundle, make_checkpoint

CONVERTED = [Precision.INT8, Precision.FP16]
TEXTS = [
    TextInput(DEMO_TEXT),
    TextInput("bread"),
    *(TextInput(f"how {word}", InputType.QUERY, f"only about {other}") for word, other in zip(WORDS, WORDS[::-1])),  # noqa: B905
    TextInput("why dough", InputType.QUERY),
]


def _vectors(bundle: Path, precision: Precision) -> FloatArray:
    return OnnxEncoder.open(bundle, precision=precision, n_threads=1).encode_texts(TEXTS)


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("precision", CONVERTED)
def test_a_converted_folder_is_what_assembly_writes_without_onnx(
    any_precise_bundle: Path, tmp_path: Path, precision: Precision
) -> None:
    convert(any_precise_bundle / Precision.FP32, tmp_path / precision, precision)
    assert _files(tmp_path / precision) == _files(any_precise_bundle / precision)


@pytest.mark.parametrize(("precision", "least_cosine"), [(Precision.INT8, 0.99), (Precision.FP16, 0.9999)])
def test_vectors_stay_close_to_those_of_float32(
    any_precise_bundle: Path, precision: Precision, least_cosine: float
) -> None:
    wanted, found = (_vectors(any_precise_bundle, each) for each in (Precision.FP32, precision))
    assert (found * wanted).sum(axis=1).min() > least_cosine
    assert np.abs(found - wanted).max() > 0


@pytest.mark.parametrize("precision", CONVERTED)
def test_a_text_has_the_same_vector_alone_and_in_a_batch(any_precise_bundle: Path, precision: Precision) -> None:
    """With one scale for a batch, or sums in another order, int8 would move vectors a hundred times as far."""
    encoder = OnnxEncoder.open(any_precise_bundle, precision=precision, n_threads=1)
    instructed = [
        TextInput(f"how {word}", InputType.QUERY, " ".join(WORDS[:length])) for length, word in enumerate(WORDS[:30])
    ]
    batch = encoder.tokenizer.tokenize([*TEXTS, *instructed])
    alone = np.concatenate([encoder.encode([item]) for item in batch])
    tolerance = 2e-3 if precision is Precision.FP16 else 1e-5
    np.testing.assert_allclose(encoder.encode(batch), alone, atol=tolerance)


@pytest.fixture(scope="module")
def real_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle in every precision; skips where the base weights are not installed."""
    path = tmp_path_factory.mktemp("real") / "bundle"
    try:
        assemble(find_recipe(BASE_RECIPE), path, precisions=tuple(Precision))
    except MissingArtefactError as error:
        pytest.skip(str(error))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "least_cosine"), [(Precision.INT8, 0.99), (Precision.FP16, 0.9995)])
def test_the_default_bundle_stays_close_and_does_not_depend_on_the_batch(
    real_bundle: Path, precision: Precision, least_cosine: float
) -> None:
    """Six layers are enough for one bit to reach every value: a tiny model would not show it."""
    words = DEMO_TEXT.split()
    queries = [
        TextInput(f"how to {word}", InputType.QUERY, " ".join(words[: n % 30])) for n, word in enumerate(words * 2)
    ]
    encoder = OnnxEncoder.open(real_bundle, precision=precision)
    batch = encoder.encode_texts(queries)
    wanted = OnnxEncoder.open(real_bundle).encode_texts(queries)
    assert (batch * wanted).sum(axis=1).min() > least_cosine
    alone = np.concatenate([encoder.encode_texts([query]) for query in queries])
    np.testing.assert_allclose(batch, alone, atol=1e-3 if precision is Precision.FP16 else 1e-5)


@pytest.mark.parametrize("precision", CONVERTED)
def test_a_query_tower_of_its_own_is_converted_too(tmp_path: Path, precision: Precision) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    rng = np.random.default_rng(0)
    name = "encoder.layer.0.attention.self.query"
    factors = {
        f"{name}.lora_A.weight": rng.normal(0, 0.2, (2, 32)).astype(np.float32),
        f"{name}.lora_B.weight": rng.normal(0, 0.2, (32, 2)).astype(np.float32),
    }
    trained = Trained(factors, scale=2.0, tower=Tower.FROZEN)
    bundle = make_bundle(checkpoint, tmp_path, fusion=Fusion.PREFIX, trained=trained, precisions=[precision])
    assert (bundle / precision / "query.bin").stat().st_size > 0
    wanted, found = (_vectors(bundle, each) for each in (Precision.FP32, precision))
    assert (found * wanted).sum(axis=1).min() > 0.99


def test_the_precision_served_may_be_the_only_one(any_precise_bundle: Path, tmp_path: Path) -> None:
    beside = any_precise_bundle.parent
    assemble(beside / "recipe", tmp_path / "b", precisions=[Precision.INT8], weights=beside / "checkpoint")
    assert Bundle.open(tmp_path / "b").manifest.precisions == (Precision.INT8,)
    assert not (tmp_path / "b" / Precision.FP32).exists()
    np.testing.assert_array_equal(
        _vectors(tmp_path / "b", Precision.INT8), _vectors(any_precise_bundle, Precision.INT8)
    )


def test_int8_takes_about_a_quarter_of_the_room(any_precise_bundle: Path) -> None:
    sizes = {each: (any_precise_bundle / each / "weights.bin").stat().st_size for each in Precision}
    assert sizes[Precision.FP16] < 0.55 * sizes[Precision.FP32]
    assert sizes[Precision.INT8] < 0.45 * sizes[Precision.FP32]  # tiny matrices: scales and biases weigh more here


def test_float32_is_not_converted_to_itself(any_precise_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="convert to fp16 or int8"):
        convert(any_precise_bundle / Precision.FP32, tmp_path / "fp32", Precision.FP32)
