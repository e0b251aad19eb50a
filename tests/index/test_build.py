import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from index import build as building
from index import generation, ivf
from index.build import BuildResult, Stage, build_collection
from index.collection import Collection
from index.embedding import PART_ROWS
from infembed.errors import BadArtefactError, BadInputError, MissingArtefactError, StorageError
from tests.fakes import HashingEncoder


def _write(path: Path, n: int, *, word: str = "item") -> Path:
    rows = [{"id": f"p{i}", "text": f"{word} {i} group {i % 7}", "n": i} for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _build(
    passages: Path, out: Path, encoder: HashingEncoder, progress: building.Progress = lambda *_: None
) -> BuildResult:
    return build_collection(passages, out, encoder=encoder, bundle_name="fake", progress=progress)


@pytest.mark.parametrize("n", [1, 38, 340])
def test_a_passage_finds_itself(tmp_path: Path, n: int) -> None:
    encoder = HashingEncoder()
    _build(_write(tmp_path / "p.jsonl", n), tmp_path / "c", encoder)
    collection = Collection.open(tmp_path / "c", document_fingerprint=encoder.document_fingerprint)
    (hits,) = collection.search(encoder.encode_documents([f"item {n - 1} group {(n - 1) % 7}"]), k=1)
    assert (hits[0].id, hits[0].metadata) == (f"p{n - 1}", {"n": n - 1})
    assert hits[0].score == pytest.approx(1, abs=2e-3)
    collection.close()


def test_the_same_build_again_embeds_nothing(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    passages = _write(tmp_path / "p.jsonl", 50)
    first = _build(passages, tmp_path / "c", encoder)
    encoder.encoded.clear()
    again = _build(passages, tmp_path / "c", encoder)
    assert (again.is_new, again.generation, encoder.encoded) == (False, first.generation, [])


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [PART_ROWS, 2 * PART_ROWS])
def test_an_interrupted_build_embeds_nothing_twice(tmp_path: Path, after: int) -> None:
    n = 2 * PART_ROWS + 100
    passages = _write(tmp_path / "p.jsonl", n)
    encoder = HashingEncoder()

    def die(stage: str, done: int, _total: int) -> None:
        if stage == Stage.EMBED and done >= after:
            raise _KilledError

    with pytest.raises(_KilledError):
        _build(passages, tmp_path / "c", encoder, progress=die)
    result = _build(passages, tmp_path / "c", encoder)
    assert len(encoder.encoded) == n
    assert (result.n_resumed, result.n_embedded) == (after, n - after)


@pytest.mark.parametrize("step", ["write", "next_name", "write_manifest", "publish", "remove_old"])
def test_a_build_that_dies_at_any_step_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    passages = _write(tmp_path / "p.jsonl", 200)
    encoder = HashingEncoder()

    def die(*_: object) -> None:
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(ivf if step == "write" else generation, step, die)
        with pytest.raises(_KilledError):
            _build(passages, tmp_path / "c", encoder)
    _build(passages, tmp_path / "c", encoder)
    assert len(encoder.encoded) == 200
    collection = Collection.open(tmp_path / "c", document_fingerprint=encoder.document_fingerprint)
    assert collection.n_documents == 200
    collection.close()


def test_another_model_starts_afresh_and_replaces_the_generation(tmp_path: Path) -> None:
    passages = _write(tmp_path / "p.jsonl", 60)
    _build(passages, tmp_path / "c", HashingEncoder())
    other = HashingEncoder(fingerprint="e" * 64)
    result = _build(passages, tmp_path / "c", other)
    assert (result.is_new, len(other.encoded)) == (True, 60)
    assert result.manifest.document_fingerprint == "e" * 64


def test_changed_passages_give_a_new_generation_and_keep_the_last_two(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    for n in (5, 6, 7):
        _build(_write(tmp_path / "p.jsonl", n), tmp_path / "c", encoder)
    assert len(list((tmp_path / "c" / "generations").iterdir())) == 2
    collection = Collection.open(tmp_path / "c", document_fingerprint=encoder.document_fingerprint)
    assert collection.n_documents == 7
    collection.close()


def test_an_open_collection_keeps_answering_while_it_is_rebuilt(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    _build(_write(tmp_path / "p.jsonl", 20), tmp_path / "c", encoder)
    collection = Collection.open(tmp_path / "c", document_fingerprint=encoder.document_fingerprint)
    _build(_write(tmp_path / "p.jsonl", 20, word="other"), tmp_path / "c", encoder)
    (hits,) = collection.search(encoder.encode_documents(["item 3 group 3"]), k=1)
    assert hits[0].text == "item 3 group 3"
    collection.close()


def test_searches_in_many_threads_go_on_while_three_rebuilds_pass(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    _build(_write(tmp_path / "p.jsonl", 300), tmp_path / "c", encoder)
    collection = Collection.open(tmp_path / "c", document_fingerprint=encoder.document_fingerprint)
    query = encoder.encode_documents(["item 3 group 3"])
    rebuilt = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            (hits,) = collection.search(query, k=5)
            assert hits[0].text == "item 3 group 3"
        except BaseException as error:  # noqa: BLE001 - whatever a thread met is shown by the test
            failures.append(error)

    def ask_in_new_threads() -> None:
        while not rebuilt.is_set():
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    asking = threading.Thread(target=ask_in_new_threads)
    asking.start()
    for n in (31, 32, 33):
        _build(_write(tmp_path / "p.jsonl", n), tmp_path / "c", encoder)
    rebuilt.set()
    asking.join()
    ask()
    assert failures == []
    assert collection.generation not in {path.name for path in (tmp_path / "c" / "generations").iterdir()}
    collection.close()


def test_a_damaged_store_of_an_unfinished_build_is_written_anew(tmp_path: Path) -> None:
    passages = _write(tmp_path / "p.jsonl", 200)
    encoder = HashingEncoder()

    def die(stage: str, done: int, _total: int) -> None:
        if stage == Stage.EMBED and done:
            raise _KilledError

    for damage in (b"", b"no database" * 500, None):
        with pytest.raises(_KilledError):
            _build(passages, tmp_path / "c", encoder, progress=die)
        store = tmp_path / "c" / "unfinished" / "passages.sqlite"
        data = store.read_bytes()
        store.write_bytes(data[: len(data) // 2] + b"\xff" * (len(data) // 2) if damage is None else damage)
    assert _build(passages, tmp_path / "c", encoder).manifest.n_documents == 200


@pytest.mark.parametrize("content", ["a file", "a directory of something else"])
def test_a_place_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    if content == "a file":
        out.write_text("mine")
    else:
        (out / ".tmp-mine").mkdir(parents=True)
        (out / "passages-1.sqlite").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadArtefactError, match="give a new or an empty directory"):
        _build(_write(tmp_path / "p.jsonl", 5), out, HashingEncoder())
    (tmp_path / "p.jsonl").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_may_become_a_collection(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    assert _build(_write(tmp_path / "p.jsonl", 5), tmp_path / "c", HashingEncoder()).is_new


def test_what_is_up_to_date_says_so_to_make(tmp_path: Path) -> None:
    passages = _write(tmp_path / "p.jsonl", 5)
    _build(passages, tmp_path / "c", HashingEncoder())
    current = tmp_path / "c" / "CURRENT"
    os.utime(current, (0, 0))
    assert not _build(passages, tmp_path / "c", HashingEncoder()).is_new
    assert current.stat().st_mtime > 0


def test_generations_are_numbered_past_a_million_and_strangers_are_left_alone(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    _build(_write(tmp_path / "p.jsonl", 5), tmp_path / "c", encoder)
    generations = tmp_path / "c" / "generations"
    (current,) = generations.iterdir()
    current.rename(generations / "gen-999999-00000000")
    (generations / "gen-foo").mkdir()
    for n in (6, 7):
        result = _build(_write(tmp_path / "p.jsonl", n), tmp_path / "c", encoder)
    assert result.generation.startswith("gen-1000001-")
    assert generation.current_name(tmp_path / "c") == result.generation
    kept = sorted(path.name.rpartition("-")[0] for path in generations.iterdir())
    assert kept == ["gen", "gen-1000000", "gen-1000001"]


@pytest.mark.parametrize("limit", [1_000, 15_000, 40_000])
def test_a_full_disk_is_one_sentence_and_harms_nothing(tmp_path: Path, limit: int) -> None:
    encoder = HashingEncoder()
    passages = _write(tmp_path / "p.jsonl", 400)
    with _files_of_at_most(limit), pytest.raises((StorageError, OSError), match="cannot write|File too large"):
        _build(passages, tmp_path / "c", encoder)
    assert _build(passages, tmp_path / "c", encoder).manifest.n_documents == 400


@contextmanager
def _files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let every write past this size fail, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_broken_row_leaves_no_collection_and_no_passages(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", 20)
    path.write_text(path.read_text() + '{"id": "x"}\n')
    with pytest.raises(BadInputError, match="line 21"):
        _build(path, tmp_path / "c", HashingEncoder())
    assert generation.current_name(tmp_path / "c") is None
    good = _write(tmp_path / "p.jsonl", 20)
    assert _build(good, tmp_path / "c", HashingEncoder()).manifest.n_documents == 20


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="no passage file"):
        _build(tmp_path / "absent.jsonl", tmp_path / "c", HashingEncoder())


def test_a_second_builder_is_refused(tmp_path: Path) -> None:
    passages = _write(tmp_path / "p.jsonl", 5)
    with generation.exclusive(tmp_path / "c"), pytest.raises(BadArtefactError, match="another process"):
        _build(passages, tmp_path / "c", HashingEncoder())


@pytest.mark.slow
def test_kill_9_during_embedding_loses_no_finished_part(tmp_path: Path) -> None:
    n = 3 * PART_ROWS
    passages = _write(tmp_path / "p.jsonl", n)
    code = f"""
        import os, signal
        from pathlib import Path
        from index.build import build_collection
        from tests.fakes import HashingEncoder
        def die(stage, done, total):
            if stage == "embedding" and done >= {2 * PART_ROWS}:
                os.kill(os.getpid(), signal.SIGKILL)
        build_collection(Path({str(passages)!r}), Path({str(tmp_path / "c")!r}), encoder=HashingEncoder(),
                         bundle_name="fake", progress=die)
    """
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=root, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    encoder = HashingEncoder()
    result = _build(passages, tmp_path / "c", encoder)
    assert result.n_resumed == 2 * PART_ROWS
    assert len(encoder.encoded) == PART_ROWS
    collection = Collection.open(tmp_path / "c", document_fingerprint=encoder.document_fingerprint)
    vectors = encoder.encode_documents([f"item {i} group {i % 7}" for i in range(0, n, 500)])
    found = [hits[0].id for hits in collection.search(vectors, k=1)]
    assert found == [f"p{i}" for i in range(0, n, 500)]
    assert np.isfinite(vectors).all()
    collection.close()
