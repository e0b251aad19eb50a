import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from index.build import build_collection
from index.collection import Collection
from infembed.errors import AlteredArtefactError, BadArtefactError, MismatchedArtefactError, MissingArtefactError
from infembed.vectors import FloatArray
from tests.fakes import HashingEncoder

N = 300
ENCODER = HashingEncoder()
TEXTS = [f"word{i % 11} word{i % 17} word{i}" for i in range(N)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("collections")
    rows = [{"id": f"d{i}", "text": text, "even": i % 2 == 0} for i, text in enumerate(TEXTS)]
    (directory / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_collection(directory / "p.jsonl", directory / "words", encoder=ENCODER, bundle_name="fake")
    return directory / "words"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "words"))


def _open(path: Path) -> Collection:
    return Collection.open(path, document_fingerprint=ENCODER.document_fingerprint)


def _queries() -> FloatArray:
    return ENCODER.encode_documents(["word3 word5", "word0", "word7 word16 word120"])


def _generation(collection: Path) -> Path:
    return collection / "generations" / (collection / "CURRENT").read_text().strip()


def test_ranking_equals_brute_force(built: Path) -> None:
    collection = _open(built)
    scores = _queries() @ ENCODER.encode_documents(TEXTS).astype(np.float16).astype(np.float32).T
    for hits, row in zip(collection.search(_queries(), k=20, nprobe=8), scores, strict=True):
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1][:20], atol=1e-3)
        for hit in hits:
            assert hit.score == pytest.approx(row[int(hit.id[1:])], abs=1e-3)
            assert (hit.text, hit.metadata["even"]) == (TEXTS[int(hit.id[1:])], int(hit.id[1:]) % 2 == 0)
    collection.close()


def test_an_offset_continues_the_ranking(built: Path) -> None:
    collection = _open(built)
    (whole,) = collection.search(_queries()[:1], k=30, nprobe=8)
    (page,) = collection.search(_queries()[:1], k=10, offset=20, nprobe=8)
    assert page == whole[20:30]
    collection.close()


def test_fewer_documents_than_asked_for_are_all_returned(built: Path) -> None:
    collection = _open(built)
    (hits,) = collection.search(_queries()[:1], k=1000)
    assert len({hit.id for hit in hits}) == N
    assert collection.search(_queries()[:1], k=5, offset=N) == [[]]
    collection.close()


def test_many_threads_get_their_own_answers(built: Path) -> None:
    collection = _open(built)
    expected = [hits[0].id for hits in collection.search(_queries(), k=1)]
    wrong: list[str] = []

    def ask(row: int) -> None:
        for _ in range(50):
            (hits,) = collection.search(_queries()[row : row + 1], k=1)
            if hits[0].id != expected[row]:
                wrong.append(hits[0].id)

    threads = [threading.Thread(target=ask, args=(row % 3,)) for row in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    collection.close()


def test_what_a_collection_says_of_itself(built: Path) -> None:
    collection = _open(built)
    assert (collection.name, collection.n_documents, collection.dim) == ("words", N, 16)
    assert collection.generation == (built / "CURRENT").read_text().strip()
    assert collection.size_bytes > N * 16 * 2
    assert collection.built_at.startswith("20")
    collection.close()


def test_an_index_of_another_model_is_refused_with_both_fingerprints(built: Path) -> None:
    with pytest.raises(MismatchedArtefactError, match=r"built with another model \(fake.*ffffffffffff.*eeeeeeeeeeee"):
        Collection.open(built, document_fingerprint="e" * 64)


@pytest.mark.parametrize("name", ["index.faiss", "vectors.f16", "ids.i64"])
@pytest.mark.parametrize("damage", ["change", "truncate", "remove"])
def test_a_damaged_generation_is_refused(copy: Path, name: str, damage: str) -> None:
    path = _generation(copy) / name
    data = bytearray(path.read_bytes())
    if damage == "change":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:-8])
    else:
        path.unlink()
    with pytest.raises(BadArtefactError, match=name):
        _open(copy)


def test_a_damaged_manifest_is_refused(copy: Path) -> None:
    (_generation(copy) / "MANIFEST.json").write_text("{")
    with pytest.raises(AlteredArtefactError, match="MANIFEST.json"):
        _open(copy)


def test_a_missing_passage_store_is_refused(copy: Path) -> None:
    for path in copy.glob("passages-*"):
        path.unlink()
    with pytest.raises(MissingArtefactError, match="passage store"):
        _open(copy)


def test_a_store_that_is_not_sqlite_is_refused(copy: Path) -> None:
    for path in copy.glob("passages-*"):
        path.unlink() if path.suffix != ".sqlite" else path.write_bytes(b"no database" * 500)
    with pytest.raises(AlteredArtefactError, match="not a passage store"):
        _open(copy)


@pytest.mark.parametrize("name", ["../other", "gen-000009-deadbeef", ""])
def test_a_pointer_to_nowhere_is_refused(copy: Path, name: str) -> None:
    (copy / "CURRENT").write_text(name)
    with pytest.raises(BadArtefactError):
        _open(copy)


def test_a_directory_that_is_no_collection_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="infembed index build"):
        _open(tmp_path)


def test_searching_writes_nothing_so_that_a_read_only_directory_will_do(built: Path) -> None:
    (store,) = built.glob("*.sqlite")
    uses_wal = store.read_bytes()[18:20] != b"\x01\x01"
    assert not uses_wal, "SQLite's WAL needs files beside the database, also for reading"
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    collection = _open(built)
    collection.search(_queries(), k=5)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before
    collection.close()
