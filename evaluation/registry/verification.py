"""Check that everything that is served, or could be, agrees with the decision log: `infembed registry verify`."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from evaluation.registry.decision_log import LOG_FILE, missing_from, read_log
from evaluation.registry.entries import Release, State
from evaluation.registry.index_pointer import check_pointer, is_here
from evaluation.registry.store import CANDIDATE, CHAMPION, Store
from infembed.errors import AlteredArtefactError, BadArtefactError


class Finding(NamedTuple):
    """One fact in words."""

    text: str
    is_problem: bool


def verify(store: Store, *, public_key: Path | None = None) -> list[Finding]:
    """Check chain, log file, aliases, bundles and index pointers; raises where the chain itself is broken."""
    state = store.state()
    return [
        Finding(f"the chain of {len(state.entries)} decisions is whole{_void(state)}", is_problem=False),
        *_log_file(store, state),
        *_aliases(store, state),
        *_releases(store, state, public_key),
    ]


def _void(state: State) -> str:
    return f" ({len(state.void)} attempts were overtaken and changed nothing)" if state.void else ""


def _log_file(store: Store, state: State) -> Iterator[Finding]:
    path = store.location.directory / LOG_FILE
    try:
        contents = read_log(path)
        missing = missing_from(path, contents, state.entries)
    except AlteredArtefactError as error:
        yield Finding(str(error), is_problem=True)
        return
    if not missing:
        yield Finding(f"{path} agrees with it", is_problem=False)
        return
    torn = f" and ends in a torn line of {len(contents.torn)} bytes" if contents.torn else ""
    yield Finding(
        f"{path} lacks the last {len(missing)} decisions{torn}: a process was interrupted, or they were made on "
        "another machine; `infembed registry verify --repair` adds them",
        is_problem=True,
    )


def _aliases(store: Store, state: State) -> Iterator[Finding]:
    found = store.aliases()
    for alias, release in ((CHAMPION, state.champion), (CANDIDATE, state.candidate)):
        wanted = release.version if release else None
        if found.get(alias) == wanted:
            yield Finding(f"{alias}: {release or 'none'}", is_problem=False)
        else:
            yield Finding(
                f"alias {alias} points to version {found.get(alias, 'none')}, the log says {wanted or 'none'}: "
                "somebody moved it by hand, or a process was interrupted; "
                "`infembed registry verify --repair` sets it right",
                is_problem=True,
            )


def _releases(store: Store, state: State, public_key: Path | None) -> Iterator[Finding]:
    named = (("champion", state.champion), ("rollback target", state.earlier_champion), ("candidate", state.candidate))
    for role, release in named:
        if release is not None:
            yield _bundle(store, role, release, public_key)
        if release is not None and release.index is not None:
            yield _index(role, release)


def _bundle(store: Store, role: str, release: Release, public_key: Path | None) -> Finding:
    with TemporaryDirectory() as directory:
        try:
            store.fetch(release, Path(directory), public_key=public_key)
        except BadArtefactError as error:
            return Finding(f"{role}: {error}", is_problem=True)
    signed = "signature verified" if public_key else "signature not checked: no public key is configured"
    return Finding(f"{role}: the files of {release} are intact ({signed})", is_problem=False)


def _index(role: str, release: Release) -> Finding:
    pointer = release.index
    assert pointer is not None
    if not is_here(pointer):
        return Finding(f"{role}: index {pointer.collection} is not on this machine, not checked", is_problem=False)
    try:
        check_pointer(pointer)
    except BadArtefactError as error:
        return Finding(f"{role}: {error}", is_problem=True)
    return Finding(f"{role}: index {pointer.collection}, {pointer.generation} is there", is_problem=False)
