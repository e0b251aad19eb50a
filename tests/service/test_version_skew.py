"""Bundle, index and service of different releases: each pair works, or is refused with the command that helps."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index.build import build_collection
from infembed.artefacts import describe_file
from infembed.cli import UNUSABLE
from infembed.encoder import OnnxEncoder
from infembed.errors import BadArtefactError
from infembed.manifests import sealed
from service.app import create_app
from service.loading import load
from service.settings import Settings
from tests.command_line import Command
from tests.tiny import make_tiny_bundle

Skew = Callable[[Path], None]
"""Makes one artefact of a release directory what another release would have written."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle and a collection that belong together."""
    root = tmp_path_factory.mktemp("sound")
    make_tiny_bundle(root)
    passages = root / "bread recipes.jsonl"
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"bread {n}"}) + "\n" for n in range(3)))
    encoder = OnnxEncoder.open(root / "bundle", n_threads=1)
    build_collection(passages, root / "collections" / "words", encoder=encoder, bundle_name="tiny")
    return root


def _generation(release: Path) -> Path:
    collection = release / "collections" / "words"
    return collection / "generations" / (collection / "CURRENT").read_text().strip()


def _reseal(path: Path, **fields: object) -> None:
    data: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(sealed(data | fields)))


def _bundle(**fields: object) -> Skew:
    return lambda release: _reseal(release / "bundle" / "manifest.json", **fields)


def _index(**fields: object) -> Skew:
    return lambda release: _reseal(_generation(release) / "MANIFEST.json", **fields)


def _store(version: int) -> Skew:
    def skew(release: Path) -> None:
        generation = _generation(release)
        with closing(sqlite3.connect(generation / "passages.sqlite")) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        files = [
            describe_file(generation, entry["name"]).model_dump()
            for entry in json.loads((generation / "MANIFEST.json").read_text())["files"]
        ]
        _reseal(generation / "MANIFEST.json", files=files)

    return skew


LATER = {"inf-embed": "0.9.0", "faiss": "2"}
ASSEMBLE = "infembed bundle assemble --out NEW"
BUILD = "infembed index build --bundle BUNDLE --passages "
SKEWS: dict[str, tuple[Skew, str]] = {
    "older bundle": (_bundle(schema_version=0), ASSEMBLE),
    "newer bundle": (_bundle(schema_version=2, made_with=LATER), "needs InF-Embed 0.9.0"),
    "bundle with a newer field": (_bundle(rotary=True, made_with=LATER), "needs InF-Embed 0.9.0"),
    "older index": (_index(schema_version=1), BUILD + "PASSAGES --out "),
    "newer index": (_index(schema_version=3, made_with=LATER), "needs InF-Embed 0.9.0"),
    "index with a newer field": (_index(shards=4, made_with=LATER), "needs InF-Embed 0.9.0"),
    "older passage store": (_store(0), "infembed index build"),
    "newer passage store": (_store(2), "needs a newer one"),
    "index of another model": (_index(document_fingerprint="0" * 64), BUILD + "'bread recipes.jsonl' --out "),
}


@pytest.fixture(params=SKEWS)
def skewed(request: pytest.FixtureRequest, sound: Path, tmp_path: Path) -> tuple[Path, str]:
    """A release with one skew, its index a later generation than the sound one, and words of the refusal."""
    release = Path(shutil.copytree(sound, tmp_path / "skewed"))
    later = _generation(release).with_name("gen-000002-0badcafe")
    _generation(release).rename(later)
    (release / "collections" / "words" / "CURRENT").write_text(later.name)
    skew, words = SKEWS[request.param]
    skew(release)
    return release, words


def test_the_command_line_refuses_in_one_sentence_that_says_what_helps(run: Command, skewed: tuple[Path, str]) -> None:
    release, words = skewed
    ended = run("index", "verify", release / "collections" / "words", "--bundle", release / "bundle")
    (line,) = ended.err.splitlines()
    assert (ended.code, ended.out) == (UNUSABLE, "")
    assert line.startswith("error: ")
    assert words in line


def test_a_service_does_not_start_on_it(skewed: tuple[Path, str]) -> None:
    release, words = skewed
    with pytest.raises(BadArtefactError) as refused:
        load(Settings(bundle=release / "bundle", collections=release / "collections", threads=1))
    assert words in str(refused.value)


def test_a_running_service_refuses_it_and_goes_on_with_the_pair_it_has(
    sound: Path, skewed: tuple[Path, str], tmp_path: Path
) -> None:
    release, words = skewed
    current = tmp_path / "current"
    current.symlink_to(sound)
    settings = Settings(bundle=current / "bundle", collections=current / "collections", threads=1)
    encoder, collections = load(settings)
    app = create_app(settings, encoder=encoder, collections=collections)
    with TestClient(app, client=("127.0.0.1", 1)) as client:
        before = client.get("/info").json(), client.post("/search", json={"query": "bread 1"}).json()["results"]
        current.unlink()
        current.symlink_to(release)
        refused = client.post("/admin/reload")
        after = client.get("/info").json(), client.post("/search", json={"query": "bread 1"}).json()["results"]
    assert refused.status_code == 409
    assert refused.json()["error"].startswith("nothing was changed: ")
    assert words in refused.json()["error"]
    assert after == before


def test_the_command_that_a_refusal_names_makes_an_older_index_current(
    run: Command, sound: Path, tmp_path: Path
) -> None:
    release = Path(shutil.copytree(sound, tmp_path / "old"))
    _index(schema_version=1)(release)
    collection, bundle = release / "collections" / "words", release / "bundle"
    passages = sound / "bread recipes.jsonl"
    assert run("index", "build", "--bundle", bundle, "--passages", passages, "--out", collection).code == 0
    assert run("index", "verify", collection, "--bundle", bundle).code == 0


def test_a_build_leaves_the_index_of_a_later_release_alone(run: Command, sound: Path, tmp_path: Path) -> None:
    release = Path(shutil.copytree(sound, tmp_path / "new"))
    _index(schema_version=3, made_with=LATER)(release)
    collection = release / "collections" / "words"
    before = {path: path.read_bytes() for path in collection.rglob("*") if path.is_file() and path.name != "LOCK"}
    built = run(
        *("index", "build", "--bundle", release / "bundle", "--passages", sound / "bread recipes.jsonl"),
        *("--out", collection),
    )
    assert built.code == UNUSABLE
    assert "needs InF-Embed 0.9.0, which wrote it, or newer; use that, or build into another --out" in built.err
    assert {
        path: path.read_bytes() for path in collection.rglob("*") if path.is_file() and path.name != "LOCK"
    } == before
