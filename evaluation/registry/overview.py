"""The registry in words: what is in production, what could be, and how it came about."""

from collections.abc import Iterator

from evaluation.registry.entries import Action, Entry, Release, State
from infembed.errors import BadInputError, NotFoundError


def choose(state: State, *, alias: str | None, version: int | None) -> Release:
    """Return the release that an alias or a version number names, with its index; neither means the champion."""
    if alias is not None and version is not None:
        raise BadInputError("give --alias or --version, not both")
    if version is not None:
        found = state.release_of_version(version)
        if found is None:
            raise NotFoundError(f"the registry has no version {version}; see `infembed registry list`")
        return state.pair_of(found)
    named = {"champion": state.champion, "candidate": state.candidate}
    name = alias or "champion"
    if name not in named:
        raise BadInputError(f"there is no alias {name!r}; choose champion or candidate")
    release = named[name]
    if release is None:
        raise NotFoundError(f"the registry has no {name}; see `infembed registry list`")
    return state.pair_of(release)


def as_data(state: State) -> dict[str, object]:
    """Return the state as JSON values."""

    def data(release: Release | None) -> object:
        return release.model_dump(mode="json") if release else None

    return {
        "champion": data(state.champion),
        "candidate": data(state.candidate),
        "rollback_target": data(state.earlier_champion),
        "decisions": [entry.model_dump(mode="json") | {"hash": entry.hash} for entry in state.entries],
        "overtaken": [entry.model_dump(mode="json") for entry in state.void],
    }


def as_table(state: State) -> Iterator[str]:
    """Yield lines for a person."""
    named = (("champion", state.champion), ("candidate", state.candidate), ("rollback to", state.earlier_champion))
    for role, release in named:
        yield f"{role:12} {_describe(release)}"
    yield ""
    for entry in state.entries:
        yield _line(entry)
    for entry in state.void:
        yield f"{_line(entry)} [overtaken, changed nothing]"


def _describe(release: Release | None) -> str:
    if release is None:
        return "none"
    signed = "signed" if release.signature_sha256 else "not signed"
    index = f", index {release.index.collection} {release.index.generation}" if release.index else ""
    return f"{release}, {release.fusion}, documents {release.document_fingerprint[:12]}, {signed}{index}"


def _line(entry: Entry) -> str:
    subject = entry.candidate if entry.action is Action.REGISTER else entry.champion
    policy = f" under policy {entry.policy_sha256[:8]}" if entry.policy_sha256 else ""
    verdict = f", gate {entry.verdict}{policy}" if entry.verdict else ""
    override = " OVERRIDDEN" if entry.is_override else ""
    reason = f": {entry.reason}" if entry.reason else ""
    version = f"version {subject.version}" if subject else ""
    return f"{entry.number:4}  {entry.at}  {entry.action:8}  {version}{verdict}{override}, by {entry.by}{reason}"
