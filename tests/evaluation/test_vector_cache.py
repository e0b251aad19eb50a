from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from evaluation.vector_cache import CachedEncoder
from infembed.bundle import Precision
from infembed.errors import BadArtefactError, NonFiniteError
from infembed.inputs import InputType, TextInput
from infembed.vectors import FloatArray
from tests.fakes import HashingEncoder

TEXTS = ["bread dough", "bike chain and brake", "road"]
MODEL = "a" * 64


class CountingEncoder(HashingEncoder):
    """Counts queries as well as documents."""

    def encode_queries(self, queries: Sequence[TextInput]) -> FloatArray:
        self.encoded.extend(query.text for query in queries)
        return super().encode_queries(queries)


def _query(text: str, instruction: str | None = None) -> TextInput:
    return TextInput(text, InputType.QUERY, instruction)


def _fill(directory: Path) -> tuple[FloatArray, Path]:
    """Encode TEXTS into an empty cache; returns the vectors and the file."""
    vectors = CachedEncoder(HashingEncoder(), MODEL, directory).encode_documents(TEXTS)
    (path,) = directory.iterdir()
    return vectors, path


def test_a_second_run_encodes_nothing_and_gives_the_same_vectors(tmp_path: Path) -> None:
    first, _ = _fill(tmp_path)
    again = HashingEncoder()
    np.testing.assert_array_equal(CachedEncoder(again, MODEL, tmp_path).encode_documents(TEXTS), first)
    assert again.encoded == []
    np.testing.assert_array_equal(first, HashingEncoder().encode_documents(TEXTS))


def test_a_new_query_side_reuses_the_documents_and_not_the_queries(tmp_path: Path) -> None:
    queries = [_query("bread", "for a child"), _query("bread")]
    CachedEncoder(CountingEncoder(), MODEL, tmp_path).encode_queries(queries)
    _fill(tmp_path / "documents")
    other = CountingEncoder()
    CachedEncoder(other, "b" * 64, tmp_path / "documents").encode_documents(TEXTS)
    CachedEncoder(other, "b" * 64, tmp_path).encode_queries(queries)
    assert other.encoded == ["bread", "bread"]


def test_another_document_tower_is_encoded_again(tmp_path: Path) -> None:
    _fill(tmp_path)
    other = HashingEncoder(fingerprint="e" * 64)
    CachedEncoder(other, MODEL, tmp_path).encode_documents(TEXTS)
    assert sorted(other.encoded) == sorted(TEXTS)


def test_another_precision_shares_neither_documents_nor_queries(tmp_path: Path) -> None:
    """Digest and document fingerprint are the bundle's and the same for all its precisions."""
    queries = [_query("bread")]
    for precision in (Precision.FP32, Precision.INT8):
        encoder = CountingEncoder()
        cached = CachedEncoder(encoder, MODEL, tmp_path, precision=precision)
        cached.encode_documents(TEXTS)
        cached.encode_queries(queries)
        assert sorted(encoder.encoded) == sorted([*TEXTS, "bread"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-4],
        lambda data: data[: len(data) // 2],
        lambda data: data[:0],
        lambda data: data + bytes(4),
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:32] + np.full(len(TEXTS) * 16, np.nan, dtype="<f4").tobytes(),
    ],
    ids=["one value short", "half", "empty", "one value long", "one bit flipped", "NaN"],
)
def test_a_damaged_file_is_not_trusted(tmp_path: Path, damage: object, caplog: pytest.LogCaptureFixture) -> None:
    vectors, path = _fill(tmp_path)
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    again = HashingEncoder()
    np.testing.assert_array_equal(CachedEncoder(again, MODEL, tmp_path).encode_documents(TEXTS), vectors)
    assert sorted(again.encoded) == sorted(TEXTS)
    assert "damaged" in caplog.text
    assert _fill(tmp_path)[1] == path


def test_nan_with_a_matching_digest_is_not_trusted_either(tmp_path: Path) -> None:
    import hashlib

    vectors, path = _fill(tmp_path)
    payload = np.full(len(TEXTS) * 16, np.nan, dtype="<f4").tobytes()
    path.write_bytes(hashlib.sha256(payload).digest() + payload)
    np.testing.assert_array_equal(CachedEncoder(HashingEncoder(), MODEL, tmp_path).encode_documents(TEXTS), vectors)


def test_where_one_text_ends_and_the_next_begins_is_part_of_the_key(tmp_path: Path) -> None:
    _fill(tmp_path)
    other = HashingEncoder()
    CachedEncoder(other, MODEL, tmp_path).encode_documents(["bread", "dough bike chain and brake", "road"])
    assert len(other.encoded) == 3


def test_a_query_that_comes_again_is_encoded_once_and_stays_in_its_place() -> None:
    encoder = CountingEncoder()
    cached = CachedEncoder(encoder, MODEL, None)
    cached.encode_queries([_query("bread"), _query("bread", "for a child")])
    queries = [_query("road"), _query("bread"), _query("road"), _query("bread", "for a child")]
    found = cached.encode_queries(queries)
    assert sorted(encoder.encoded) == ["bread", "bread", "road"]
    np.testing.assert_array_equal(found, HashingEncoder().encode_queries(queries))


def test_progress_reaches_the_number_of_texts_with_and_without_the_cache(tmp_path: Path) -> None:
    for _ in range(2):
        seen: list[int] = []
        cached = CachedEncoder(HashingEncoder(), MODEL, tmp_path, on_encoded=seen.append)
        cached.encode_documents(TEXTS)
        cached.encode_queries([_query("bread"), _query("bread")])
        assert sum(seen) == 5


def test_vectors_that_are_not_numbers_are_refused_and_not_kept(tmp_path: Path) -> None:
    class Broken(HashingEncoder):
        def encode_documents(self, texts: Sequence[str]) -> FloatArray:
            return np.full((len(texts), self.dim), np.nan, dtype=np.float32)

    with pytest.raises(NonFiniteError):
        CachedEncoder(Broken(), MODEL, tmp_path).encode_documents(TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_vectors_of_another_shape_are_refused() -> None:
    class Short(HashingEncoder):
        def encode_documents(self, texts: Sequence[str]) -> FloatArray:
            return super().encode_documents(texts)[:, :-1]

    with pytest.raises(BadArtefactError, match=r"shape \(3, 15\) for 3 texts, expected \(3, 16\)"):
        CachedEncoder(Short(), MODEL, None).encode_documents(TEXTS)


def test_nothing_to_encode_is_an_empty_array() -> None:
    cached = CachedEncoder(HashingEncoder(), MODEL, None)
    assert cached.encode_documents([]).shape == (0, 16)
    assert cached.encode_queries([]).shape == (0, 16)
