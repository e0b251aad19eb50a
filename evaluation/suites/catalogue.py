"""Finds a suite by name: part of this package, built from public data, in a directory, or on the hub."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.suites import classic, csfcube, hub, medquad, opposites
from evaluation.suites.builtin import BUILTIN, load_builtin
from evaluation.suites.layout import Suite
from evaluation.suites.storage import SUITE_FILE, load_suite
from infembed.errors import BadConfigError, MissingArtefactError


@dataclass(frozen=True)
class BuiltSuite:
    """A suite built from a public data set; `directory` is its place below the data directory."""

    directory: str
    build: Callable[[Path], Suite]


BUILT: Mapping[str, BuiltSuite] = {
    "medquad": BuiltSuite("medquad", medquad.build),
    "condaqa": BuiltSuite("condaqa", opposites.build_condaqa),
    "perspectrum": BuiltSuite("perspectrum", opposites.build_perspectrum),
    "fever-symmetric": BuiltSuite("fever-symmetric", opposites.build_fever_symmetric),
    "csfcube": BuiltSuite("csfcube", csfcube.build),
    "npl": BuiltSuite("npl", classic.build_npl),
    "cranfield": BuiltSuite("cranfield", classic.build_cranfield),
    "cisi": BuiltSuite("cisi", classic.build_cisi),
}
DEFAULT = (
    "instruct-mini",
    "instruct-mini-2",
    "like-mini",
    "medquad",
    "condaqa",
    "perspectrum",
    "fever-symmetric",
    "cranfield",
    "cisi",
)
"""What the gate looks at unless told otherwise. `--suite` adds npl, whose corpus takes longest to encode, and csfcube,
whose long abstracts take nearly as long and whose 16 topics with changed instructions would weigh as much as 250."""


def find_suite(name: str, *, data: Path | None) -> Suite:
    """Return a suite: a name of `BUILTIN` or `BUILT`, a directory with one, or the name of an mteb task."""
    if name in BUILTIN:
        return load_builtin(name)
    if name in BUILT:
        built = BUILT[name]
        if data is None or not (data / built.directory).is_dir():
            where = "no data directory was given" if data is None else f"there is no {data / built.directory}"
            raise MissingArtefactError(
                f"suite {name} is built from public data and {where}; set INFEMBED_DATA or --data (docs/data.md)"
            )
        return built.build(data / built.directory)
    if (Path(name) / SUITE_FILE).is_file():
        return load_suite(Path(name))
    if hub.find_task(name) is not None:
        return hub.load(name)
    names = [*BUILTIN, *BUILT, *hub.TASKS]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise BadConfigError(f"no suite {name!r}; {hint}there are {', '.join(names)}, or a directory with a {SUITE_FILE}")
