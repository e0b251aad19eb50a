import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.build import build_collection
from index.collection import Collection
from index.generation import STORE_FILE, open_current
from index.store import PassageStore
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


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _replace_current(text: bytes) -> Callable[[Path], None]:
    def damage(collection: Path) -> None:
        (collection / "CURRENT").write_bytes(text)

    return damage


def _replace_manifest(text: bytes) -> Callable[[Path], None]:
    def damage(collection: Path) -> None:
        (_generation(collection) / "MANIFEST.json").write_bytes(text)

    return damage


def _edit_manifest(**fields: object) -> Callable[[Path], None]:
    def damage(collection: Path) -> None:
        path = _generation(collection) / "MANIFEST.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def _spoil(name: str, spoil: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(collection: Path) -> None:
        spoil(_generation(collection) / name)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    **{
        f"{name} {spoil.__name__.strip('_')}": _spoil(name, spoil)
        for name in ("index.faiss", "vectors.f16", "ids.i64", "passages.sqlite", "MANIFEST.json")
        for spoil in (_flip, _truncate, Path.unlink)
    },
    "passages.sqlite is something else": _spoil("passages.sqlite", lambda path: _write(path, b"no database" * 500)),
    "generation removed": lambda collection: shutil.rmtree(_generation(collection)),
    "all generations removed": lambda collection: shutil.rmtree(collection / "generations"),
    "CURRENT removed": lambda collection: (collection / "CURRENT").unlink(),
    "CURRENT leaves": _replace_current(b"../other"),
    "CURRENT points nowhere": _replace_current(b"gen-000009-deadbeef"),
    "CURRENT names a stranger": _replace_current(b"gen-foo"),
    "CURRENT empty": _replace_current(b""),
    "CURRENT binary": _replace_current(b"\xff\xfe\x00"),
    "manifest broken": _replace_manifest(b"{"),
    "manifest deep": _replace_manifest(b"[" * 100_000),
    "manifest of another kind": _replace_manifest(b"[]"),
    "manifest with another nprobe": _edit_manifest(nprobe=1000),
    "manifest without files": _edit_manifest(files=[]),
}


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_collection_is_refused_with_a_remedy_that_works(
    built: Path, copy: Path, damage: Callable[[Path], None]
) -> None:
    damage(copy)
    with pytest.raises(BadArtefactError, match=r"build the index again \(`infembed index build`\)"):
        _open(copy)
    build_collection(built.parent / "p.jsonl", copy, encoder=ENCODER, bundle_name="fake")
    repaired, sound = _open(copy), _open(built)
    assert repaired.search(_queries(), k=20) == sound.search(_queries(), k=20)
    repaired.close()
    sound.close()


def test_a_manifest_lists_every_file_of_its_generation_with_its_digest(built: Path) -> None:
    collection = _open(built)
    files = {path.name: path for path in _generation(built).iterdir()}
    listed = {entry.name: (entry.size_bytes, entry.sha256) for entry in collection.manifest.files}
    assert files.keys() == {*listed, "MANIFEST.json"}
    for name, recorded in listed.items():
        data = files[name].read_bytes()
        assert recorded == (len(data), hashlib.sha256(data).hexdigest())
    collection.close()


def test_a_directory_that_is_no_collection_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="infembed index build"):
        _open(tmp_path)


def test_searching_writes_nothing_so_that_a_read_only_directory_will_do(built: Path) -> None:
    store = _generation(built) / "passages.sqlite"
    uses_wal = store.read_bytes()[18:20] != b"\x01\x01"
    assert not uses_wal, "SQLite's WAL needs files beside the database, also for reading"
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    collection = _open(built)
    collection.search(_queries(), k=5)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before
    collection.close()


def test_closing_waits_for_a_read_that_runs_and_later_reads_fail(built: Path) -> None:
    store = PassageStore.open(open_current(built, document_fingerprint=ENCODER.document_fingerprint).path / STORE_FILE)
    closing = threading.Thread(target=store.close)
    with store._connection() as connection:
        closing.start()
        while store._idle.qsize():
            pass
        assert closing.is_alive()
        assert connection.execute("SELECT count(*) FROM passages").fetchone() == (N,)
    closing.join()
    with pytest.raises(AlteredArtefactError, match="closed"):
        store.count()
