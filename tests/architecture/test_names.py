"""Our generic package names resolve to this repository, and no other installed distribution claims them."""

import importlib
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("infembed", "index", "service", "evaluation", "training", "model_export")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_resolves_inside_the_repository(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).parents[1] == ROOT


def test_no_other_distribution_ships_a_package_of_ours() -> None:
    intruders = [
        f"{distribution.metadata['Name']}: {file}"
        for distribution in distributions()
        if distribution.metadata["Name"] != "inf-embed"
        for file in distribution.files or []
        if file.parts[0] in PACKAGES or file.parts[0] in {f"{name}.py" for name in PACKAGES}
    ]
    assert intruders == []


def test_the_wheel_lists_our_packages_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["packages"]
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for name in PACKAGES
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert set(listed) == found


def test_test_files_have_unique_names_and_no_packages() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []
