"""Model and index are swapped while requests run: none fails, none sees half of each, the old one goes."""

import gc
import json
import shutil
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from index.build import build_collection
from infembed.encoder import OnnxEncoder, StatesOf
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service import garbage
from service.app import create_app
from service.loading import Loaded, load
from service.settings import Settings
from tests.service.app import TEXTS, FaultyEncoder, ListCollection, make_client
from tests.tiny import make_tiny_bundle


def _build_index(release: Path, words: str, *, bundle: Path | None = None) -> None:
    passages = release / "passages.jsonl"
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"{words} {n}"}) + "\n" for n in range(3)))
    encoder = OnnxEncoder.open(bundle or release / "bundle", n_threads=1)
    build_collection(passages, release / "collections" / "words", encoder=encoder, bundle_name="tiny")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases with models that do not read each other's index."""
    root = tmp_path_factory.mktemp("releases")
    for seed, name in enumerate(("first", "second")):
        make_tiny_bundle(root / name, seed=seed)
        _build_index(root / name, "bread")
    return root


class Site:
    """A directory whose `current` names one of the releases, and the service that reads it."""

    def __init__(self, directory: Path, releases: Path) -> None:
        self._directory = directory
        self.releases = releases
        directory.mkdir(exist_ok=True)
        self.point("first")
        settings = Settings(
            bundle=directory / "current" / "bundle", collections=directory / "current" / "collections", threads=1
        )
        encoder, collections = load(settings)
        self.app = create_app(settings, encoder=encoder, collections=collections)
        self.client = TestClient(self.app, client=("127.0.0.1", 1))

    @property
    def current(self) -> Path:
        return self._directory / "current"

    def point(self, name: str) -> None:
        """Move `current` in one step, as `infembed registry pull` does."""
        new = self._directory / "new"
        new.symlink_to(self.releases / name)
        new.rename(self.current)

    def reload(self) -> dict[str, object]:
        response = self.client.post("/admin/reload")
        assert response.status_code == 200, response.text
        found: dict[str, object] = response.json()
        return found


def test_a_swap_under_load_fails_no_request_and_mixes_no_model_with_anothers_index(
    tmp_path: Path, releases: Path
) -> None:
    site = Site(tmp_path / "site", releases)
    stop = threading.Event()
    problems: list[str] = []

    def ask(n: int) -> int:
        asked = 0
        while not stop.is_set():
            answer = site.client.post("/search", json={"query": f"bread {n}"})
            best = answer.json()["results"][0] if answer.status_code == 200 else {}
            if best.get("id") != str(n) or abs(best["score"] - 1) > 1e-3:
                problems.append(answer.text)
            asked += 1
        return asked

    with site.client, ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, n) for n in range(3)]
        digests = []
        for name in ("second", "first", "second"):
            site.point(name)
            found = site.reload()
            assert found["outcome"] == "swapped"
            digests.append(found["digest"])
            assert site.client.get("/info").json()["model_sha"] == found["digest"]
        stop.set()
        assert all(done.result() > 0 for done in asking)
    assert problems == []
    assert digests[0] == digests[2] != digests[1]


def test_the_old_models_memory_is_released(tmp_path: Path, releases: Path) -> None:
    site = Site(tmp_path / "site", releases)
    old = weakref.ref(site.app.state.releases.current.loaded.encoder)
    with site.client:
        site.client.post("/search", json={"query": "bread 1"})
        site.point("second")
        site.reload()
        site.reload()  # begins once the old release has ended
        assert old() is None


def test_memory_is_released_that_was_set_aside_from_the_collector(tmp_path: Path, releases: Path) -> None:
    root = tmp_path / "own"
    shutil.copytree(releases / "first", root / "first")
    shutil.copytree(releases / "second", root / "second")
    site = Site(tmp_path / "site", root)
    first = site.app.state.releases.current.loaded
    model, index = weakref.ref(first.encoder), weakref.ref(first.collections[0])
    del first
    with site.client:
        site.client.post("/search", json={"query": "bread 1"})
        garbage.set_aside()
        try:
            _build_index(root / "first", "oven")
            site.reload()
            site.reload()  # begins once the old release has ended
            assert index() is None
            site.point("second")
            site.reload()
            site.reload()
            assert model() is None
        finally:
            gc.unfreeze()


def test_a_new_index_generation_is_picked_up_with_the_model_kept(tmp_path: Path, releases: Path) -> None:
    root = tmp_path / "own"
    shutil.copytree(releases / "first", root / "first")
    site = Site(tmp_path / "site", root)
    encoder = site.app.state.releases.current.loaded.encoder
    with site.client:
        before = site.reload()
        _build_index(root / "first", "oven")
        after = site.reload()
        assert site.client.post("/search", json={"query": "oven 1"}).json()["results"][0]["text"] == "oven 1"
        assert 'infembed_reloads_total{outcome="swapped"} 1.0' in site.client.get("/metrics").text
    assert (before["outcome"], after["outcome"]) == ("unchanged", "swapped")
    assert before["collections"] != after["collections"]
    assert site.app.state.releases.current.loaded.encoder is encoder


def test_an_index_of_another_model_refuses_the_swap_and_changes_nothing(tmp_path: Path, releases: Path) -> None:
    root = tmp_path / "own"
    shutil.copytree(releases / "first", root / "first")
    shutil.copytree(releases / "second" / "bundle", root / "mixed" / "bundle")
    shutil.copytree(releases / "first" / "collections", root / "mixed" / "collections")
    site = Site(tmp_path / "site", root)
    with site.client:
        before = site.client.get("/info").json()
        site.point("mixed")
        refused = site.client.post("/admin/reload")
        assert refused.status_code == 409
        assert "nothing was changed: index" in refused.json()["error"]
        assert "was built with another model" in refused.json()["error"]
        assert site.client.get("/info").json() == before
        assert site.client.post("/search", json={"query": "bread 1"}).json()["results"][0]["id"] == "1"
        site.point("first")
        assert site.reload()["outcome"] == "unchanged"


def test_a_damaged_bundle_refuses_the_swap(tmp_path: Path, releases: Path) -> None:
    root = tmp_path / "own"
    for name in ("first", "second"):
        shutil.copytree(releases / name, root / name)
    tokenizer = root / "second" / "bundle" / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b" ")
    site = Site(tmp_path / "site", root)
    with site.client:
        site.point("second")
        refused = site.client.post("/admin/reload")
        assert refused.status_code == 409
        assert "tokenizer.json" in refused.json()["error"]
        assert site.client.post("/embed", json={"inputs": "bread"}).status_code == 200


class _HeldEncoder(FaultyEncoder):
    """Encodes nothing more until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_free = threading.Event()
        self.is_free.set()
        self.is_asked = threading.Event()

    def encode(
        self, items: Sequence[TokenizedInput], *, states_of: StatesOf | None = None, is_alone: bool = True
    ) -> FloatArray:
        self.is_asked.set()
        assert self.is_free.wait(timeout=30)
        return super().encode(items, states_of=states_of, is_alone=is_alone)


def _loaded(encoder: FaultyEncoder, bundle: Path) -> Loaded:
    vectors = OnnxEncoder.open(bundle, n_threads=1).encode_documents(TEXTS)
    return Loaded(encoder, [ListCollection("words", vectors, TEXTS)])


def test_running_requests_finish_on_the_old_release_which_then_closes(tiny_bundle: Path) -> None:
    held = _HeldEncoder(tiny_bundle)
    old = _loaded(held, tiny_bundle)
    new = _loaded(FaultyEncoder(tiny_bundle), tiny_bundle)
    app = create_app(
        Settings(),
        encoder=old.encoder,
        collections=old.collections,
        reload=lambda now: new if now is None or now.encoder is held else now,
    )
    client = TestClient(app, client=("127.0.0.1", 1))
    (collection,) = old.collections
    assert isinstance(collection, ListCollection)
    with client, ThreadPoolExecutor(1) as pool:
        held.is_asked.clear()
        held.is_free.clear()
        running = pool.submit(client.post, "/search", json={"query": "bread"})
        assert held.is_asked.wait(timeout=30)
        assert client.post("/admin/reload").json()["outcome"] == "swapped"
        assert client.post("/search", json={"query": "bread"}).status_code == 200
        assert not running.done()
        assert not collection.is_closed
        held.is_free.set()
        assert running.result().status_code == 200
        assert client.post("/admin/reload").json()["outcome"] == "unchanged"  # begins once the old one has ended
        assert collection.is_closed


@pytest.mark.parametrize("fault", [RuntimeError("secret"), float("nan")])
def test_a_model_that_does_not_work_is_not_swapped_in(tiny_bundle: Path, fault: Exception | float) -> None:
    broken = FaultyEncoder(tiny_bundle)
    broken.fault = fault
    loaded = _loaded(broken, tiny_bundle)
    client, _, collection = make_client(tiny_bundle, host="127.0.0.1", reload=lambda _: loaded)
    with client:
        refused = client.post("/admin/reload")
        assert refused.status_code == 409
        assert "nothing was changed" in refused.json()["error"]
        assert "secret" not in refused.text
        assert client.post("/search", json={"query": "bread"}).status_code == 200
        assert not collection.is_closed
        (unused,) = loaded.collections
        assert isinstance(unused, ListCollection)
        assert unused.is_closed
        assert 'infembed_reloads_total{outcome="refused"} 1.0' in client.get("/metrics").text
