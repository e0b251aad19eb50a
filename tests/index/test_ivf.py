from pathlib import Path

import faiss
import numpy as np
import pytest

from index import ivf
from infembed.errors import AlteredArtefactError
from infembed.vectors import FloatArray, normalize


def _clustered(n: int, *, dim: int = 16, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, dim))
    return normalize((centres[rng.integers(20, size=n)] + 0.4 * rng.normal(size=(n, dim))).astype(np.float32))


@pytest.mark.parametrize(
    ("n", "lists"), [(1, 0), (38, 0), (155, 0), (156, 4), (340, 8), (3000, 64), (50_000, 1024), (223_965, 2048)]
)
def test_the_number_of_lists_follows_the_number_of_documents(n: int, lists: int) -> None:
    assert ivf.n_lists(n) == lists


@pytest.mark.parametrize("n", [1, 38, 340, 2000])
def test_probing_every_list_equals_exact_search(n: int) -> None:
    vectors = _clustered(n).astype(np.float16)
    queries = _clustered(30, seed=1)
    index = ivf.build(vectors)
    nlist = index.nlist if isinstance(index, faiss.IndexIVF) else 1
    found = ivf.search(index, queries, k=10, nprobe=nlist)
    exact = ivf.exact_search(vectors, queries, k=10)
    scores = np.take_along_axis(queries @ vectors.astype(np.float32).T, exact, axis=1)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert ivf.recall_of(found.positions, exact) > 0.99  # equal scores may change places


def test_exact_search_equals_brute_force_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float16)
    queries = np.array([[0, 1], [1, 0]], dtype=np.float32)
    assert ivf.exact_search(vectors, queries, k=2).tolist() == [[1, 2], [0, 2]]


def test_the_tuned_nprobe_reaches_the_target_on_other_queries() -> None:
    vectors = _clustered(4000).astype(np.float16)
    index = ivf.build(vectors)
    nprobe = ivf.tune_nprobe(index, vectors, _clustered(300, seed=1))
    other = _clustered(300, seed=2)
    found = ivf.search(index, other, k=10, nprobe=nprobe).positions
    assert 1 <= nprobe < index.nlist
    assert ivf.recall_of(found, ivf.exact_search(vectors, other, k=10)) >= 0.98


def test_the_tuned_nprobe_is_no_larger_than_it_must_be() -> None:
    vectors = _clustered(4000).astype(np.float16)
    index, queries = ivf.build(vectors), _clustered(300, seed=1)
    exact = ivf.exact_search(vectors, queries, k=10)
    nprobe = ivf.tune_nprobe(index, vectors, queries)
    with_one_less = ivf.search(index, queries, k=10, nprobe=nprobe - 1).positions
    assert nprobe > 1
    assert ivf.recall_of(with_one_less, exact) < ivf.RECALL_TARGET


def test_more_lists_are_probed_rather_than_too_few_documents_returned() -> None:
    vectors = _clustered(400).astype(np.float16)
    found = ivf.search(ivf.build(vectors), _clustered(20, seed=1), k=400, nprobe=1)
    assert (np.sort(found.positions, axis=1) == np.arange(400)).all()


def test_the_same_vectors_give_the_same_index(tmp_path: Path) -> None:
    vectors = _clustered(1000).astype(np.float16)
    for name in ("a", "b"):
        ivf.write(ivf.build(vectors), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "empty", "noise"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index.faiss"
    ivf.write(ivf.build(_clustered(400).astype(np.float16)), path)
    data = path.read_bytes()
    path.write_bytes({"truncate": data[: len(data) // 2], "empty": b"", "noise": b"\x00" * 200}[damage])
    with pytest.raises(AlteredArtefactError):
        ivf.read(path)


def test_an_index_of_a_kind_we_do_not_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    faiss.write_index(faiss.IndexFlatIP(4), str(path))
    with pytest.raises(AlteredArtefactError, match="IndexFlat"):
        ivf.read(path)
