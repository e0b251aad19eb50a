import shutil
from pathlib import Path

import pytest

from evaluation.registry import promotion
from evaluation.registry.overview import choose
from evaluation.registry.pull import pull
from evaluation.registry.store import Store
from index.collection import Collection
from infembed.bundle import Bundle
from infembed.errors import (
    AlteredArtefactError,
    MismatchedArtefactError,
    MissingArtefactError,
    UntrustedArtefactError,
)
from infembed.signatures import make_key_pair, sign_bundle, signature_path
from tests.evaluation.registry.registries import ANN, Bundles, digest_of, judge, make_collection


def bundle_in_store(store: Store, version: int) -> Path:
    """Where the embedded registry keeps a version's files."""
    release = store.state().release_of_version(version)
    assert release is not None
    (run,) = (store.location.directory / "artifacts").glob(release.run_id)
    return run / "artifacts" / "bundle"


def test_a_pull_makes_what_a_service_needs(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    champion = store.state().champion
    assert champion is not None
    pulled = pull(store, champion, tmp_path / "serving")
    bundle = Bundle.open(tmp_path / "serving" / "current" / "bundle")
    assert bundle.digest == digest_of(bundles.first)
    assert pulled.collections is not None
    collection = Collection.open(
        pulled.collections / "bread", document_fingerprint=bundle.manifest.document_fingerprint
    )
    assert champion.index is not None
    assert (collection.generation, collection.n_documents) == (champion.index.generation, 3)
    collection.close()


def test_a_second_pull_finds_everything_there(store: Store, tmp_path: Path) -> None:
    champion = store.state().champion
    assert champion is not None
    assert pull(store, champion, tmp_path / "serving").is_new
    shutil.rmtree(store.location.directory / "artifacts")
    assert not pull(store, champion, tmp_path / "serving").is_new


def test_bundle_and_index_change_in_one_step_and_back(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    out = tmp_path / "serving"
    first = store.state().champion
    assert first is not None
    pull(store, first, out)
    before = (out / "current").resolve()
    promotion.register(store, bundles.other, ANN)
    green = make_collection(tmp_path / "green" / "bread", bundles.other)
    second = promotion.promote(store, judge(bundles.first, bundles.other, tmp_path).evidence(), ANN, index=green)
    pull(store, second, out)
    fingerprint = Bundle.open(out / "current" / "bundle").manifest.document_fingerprint
    Collection.open(out / "current" / "collections" / "bread", document_fingerprint=fingerprint).close()
    pull(store, promotion.rollback(store, ANN), out)
    assert (out / "current").resolve() == before


def test_the_pulled_index_stays_the_promoted_one_when_the_collection_is_rebuilt(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    pulled = pull(store, promotion.amend(store, ANN, index=blue), tmp_path / "serving")
    make_collection(blue, bundles.other)
    assert pulled.collections is not None
    fingerprint = Bundle.open(bundles.first).manifest.document_fingerprint
    Collection.open(pulled.collections / "bread", document_fingerprint=fingerprint).close()


def test_a_candidate_is_pulled_with_the_index_that_a_promotion_would_give_it(store: Store, bundles: Bundles) -> None:
    champion, sharing = store.state().champion, choose(store.state(), alias="candidate", version=None)
    assert champion is not None
    assert sharing.index == champion.index
    promotion.register(store, bundles.other, ANN)
    assert choose(store.state(), alias="candidate", version=None).index is None


def test_a_candidate_registered_with_an_index_is_one_pair_from_the_canary_to_the_champion(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    before = store.state().champion
    green = make_collection(tmp_path / "green" / "bread", bundles.other)
    promotion.register(store, bundles.other, ANN, index=green)
    promotion.register(store, bundles.other, ANN)
    pair = choose(store.state(), alias=None, version=3)
    pulled = pull(store, pair, tmp_path / "canary")
    fingerprint = Bundle.open(pulled.bundle).manifest.document_fingerprint
    assert pulled.collections is not None
    Collection.open(pulled.collections / "bread", document_fingerprint=fingerprint).close()
    make_collection(green, bundles.other, n_documents=5)
    assert promotion.promote(store, judge(bundles.first, bundles.other, tmp_path).evidence(), ANN) == pair
    assert choose(store.state(), alias=None, version=1) == before
    assert promotion.rollback(store, ANN) == before


def test_an_index_of_other_vectors_is_not_registered_with_a_bundle(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    with pytest.raises(MismatchedArtefactError, match="holds vectors of tiny"):
        promotion.register(store, bundles.other, ANN, index=blue)


@pytest.mark.parametrize("name", ["tokenizer.json", "fp32/weights.bin", "manifest.json"])
def test_a_bundle_altered_in_the_registry_is_not_pulled(
    store: Store, bundles: Bundles, tmp_path: Path, name: str
) -> None:
    champion = store.state().champion
    assert champion is not None
    pull(store, champion, tmp_path / "serving")
    before = (tmp_path / "serving" / "current").resolve()
    path = bundle_in_store(store, 2) / name
    path.write_bytes(path.read_bytes() + b" ")
    candidate = store.state().candidate
    assert candidate is not None
    with pytest.raises(AlteredArtefactError):
        pull(store, candidate, tmp_path / "serving")
    assert (tmp_path / "serving" / "current").resolve() == before
    assert [path.name for path in (tmp_path / "serving" / "releases").iterdir()] == [before.name]


def test_another_whole_bundle_put_in_its_place_is_not_pulled(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    place = bundle_in_store(store, 1)
    shutil.rmtree(place)
    shutil.copytree(bundles.other, place)
    champion = store.state().champion
    assert champion is not None
    with pytest.raises(AlteredArtefactError, match="have digest .* they were altered"):
        pull(store, champion, tmp_path / "serving")


def test_a_bundle_lost_in_the_registry_is_not_promoted(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    shutil.rmtree(bundle_in_store(store, 2))
    with pytest.raises(MissingArtefactError, match="does not give out bundle of version 2"):
        promotion.promote(store, judge(bundles.first, bundles.second, tmp_path).evidence(), ANN)
    assert store.aliases()["champion"] == 1


def test_a_pulled_release_that_was_damaged_is_refused(store: Store, tmp_path: Path) -> None:
    champion = store.state().champion
    assert champion is not None
    pulled = pull(store, champion, tmp_path / "serving")
    (pulled.bundle / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(AlteredArtefactError, match="pulled earlier, is damaged .* remove it and pull again"):
        pull(store, champion, tmp_path / "serving")


def test_an_index_that_is_not_on_this_machine_is_named(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    champion = promotion.amend(store, ANN, index=blue)
    shutil.rmtree(blue)
    with pytest.raises(MissingArtefactError, match="copy it there, or pull --without-index"):
        pull(store, champion, tmp_path / "serving")
    pulled = pull(store, champion, tmp_path / "serving", with_index=False)
    assert pulled.collections is None


@pytest.fixture
def signed(bundles: Bundles, tmp_path: Path) -> tuple[Path, Path]:
    """A signed copy of the other bundle, and the public key."""
    bundle = Path(shutil.copytree(bundles.other, tmp_path / "signed" / "bundle"))
    public_key = make_key_pair(tmp_path / "keys" / "ours")
    sign_bundle(bundle, tmp_path / "keys" / "ours")
    return bundle, public_key


def test_a_signature_travels_with_its_bundle(empty: Store, signed: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, public_key = signed
    release, _ = promotion.register(empty, bundle, ANN, public_key=public_key)
    pulled = pull(empty, release, tmp_path / "serving", public_key=public_key)
    assert pulled.is_signature_checked
    assert signature_path(pulled.bundle).read_bytes() == signature_path(bundle).read_bytes()


def test_what_the_configured_key_did_not_sign_is_not_pulled(
    store: Store, empty_database: Path, signed: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, public_key = signed
    champion = store.state().champion
    assert champion is not None
    with pytest.raises(UntrustedArtefactError, match="is not signed"):
        pull(store, champion, tmp_path / "serving", public_key=public_key)
    release, _ = promotion.register(store, bundle, ANN)
    stranger = make_key_pair(tmp_path / "keys" / "stranger")
    with pytest.raises(UntrustedArtefactError, match="Key mismatch"):
        pull(store, release, tmp_path / "serving", public_key=stranger)
    assert not (tmp_path / "serving" / "current").exists()


def test_a_signature_altered_in_the_registry_is_found_out(
    empty: Store, signed: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, _ = signed
    release, _ = promotion.register(empty, bundle, ANN)
    (kept,) = bundle_in_store(empty, 1).parent.glob("signatures/*.sig")
    kept.write_bytes(kept.read_bytes().replace(b"sig", b"sog", 1))
    with pytest.raises(AlteredArtefactError, match="is not the one that was registered"):
        pull(empty, release, tmp_path / "serving")


def test_a_champion_can_be_signed_later(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    public_key = make_key_pair(tmp_path / "ours")
    bundle = Path(shutil.copytree(bundles.first, tmp_path / "copy" / "bundle"))
    signature = sign_bundle(bundle, tmp_path / "ours")
    other = Path(shutil.copytree(bundles.other, tmp_path / "other" / "bundle"))
    wrong = sign_bundle(other, tmp_path / "ours")
    with pytest.raises(UntrustedArtefactError, match="Signature mismatch"):
        promotion.amend(store, ANN, signature=wrong, public_key=public_key)
    champion = promotion.amend(store, ANN, signature=signature, public_key=public_key)
    assert pull(store, champion, tmp_path / "serving", public_key=public_key).is_signature_checked
