"""A registry with a champion and a candidate, made once and copied for each test."""

import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from evaluation.registry import promotion
from evaluation.registry.location import Location
from evaluation.registry.store import Store
from infembed.inputs import Fusion
from tests.evaluation.registry.registries import ANN, Bundles, copy_registry, make_collection
from tests.tiny import make_tiny_bundle


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Three tiny models."""
    root = tmp_path_factory.mktemp("models")
    return Bundles(
        first=make_tiny_bundle(root / "first", fusion=Fusion.CONCAT),
        second=make_tiny_bundle(root / "second", fusion=Fusion.PREFIX),
        other=make_tiny_bundle(root / "other", fusion=Fusion.PREFIX, seed=1),
    )


@pytest.fixture(scope="session")
def empty_database(pytestconfig: pytest.Config) -> Path:
    """An empty MLflow database; made once per MLflow version, since its hundred migrations take seconds."""
    assert pytestconfig.cache is not None
    directory = pytestconfig.cache.mkdir(f"mlflow-{version('mlflow-skinny')}") / "registry"
    Store.open(Location.parse(str(directory)), create=True)
    return directory / "mlflow.db"


@pytest.fixture(scope="session")
def prepared(empty_database: Path, bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose champion is `first`, with an index, and whose candidate is `second`."""
    directory = tmp_path_factory.mktemp("prepared") / "registry"
    directory.mkdir()
    shutil.copy(empty_database, directory / "mlflow.db")
    store = Store.open(Location.parse(str(directory)), create=True)
    promotion.register(store, bundles.first, ANN)
    index = make_collection(tmp_path_factory.mktemp("blue") / "bread", bundles.first)
    promotion.promote(store, None, ANN, index=index)
    promotion.register(store, bundles.second, ANN)
    return directory


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    """The prepared registry, for one test alone."""
    return copy_registry(prepared, tmp_path / "registry")


@pytest.fixture
def empty(empty_database: Path, tmp_path: Path) -> Store:
    """A registry without anything in it."""
    directory = tmp_path / "registry"
    directory.mkdir()
    shutil.copy(empty_database, directory / "mlflow.db")
    return Store.open(Location.parse(str(directory)), create=True)
