"""Decisions as the registry records them: a hash chain whose last link says what is in production. No input or output.

An entry holds the whole state after it: the champion's bundle and its index pointer in one object. There is no moment
at which one has changed and the other has not. Entries whose `previous` is not the head were overtaken: they lost a
race against another process, changed nothing, and stay on record as void.
"""

import hashlib
import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from evaluation.gate import Verdict
from infembed.config import Config, explain
from infembed.errors import AlteredArtefactError
from infembed.versions import refuse_newer, refuse_unknown_fields

GENESIS = "0" * 64
SCHEMA_VERSION: Literal[1] = 1
_DIGEST = r"^[0-9a-f]{64}$"


class Action(StrEnum):
    """What a decision did."""

    REGISTER = "register"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    AMEND = "amend"


class IndexPointer(Config):
    """One index generation, by place and content."""

    collection: str = Field(description="absolute path of the collection")
    generation: str = Field(pattern=r"^gen-[0-9A-Za-z-]+$")
    manifest_sha256: str = Field(pattern=_DIGEST)


class Release(Config):
    """What can be served together: a registered bundle, and the index generation that belongs to it."""

    version: int = Field(ge=1, description="number of the model version in MLflow")
    run_id: str = Field(min_length=1, description="MLflow run that holds the bundle's files")
    name: str
    fusion: str
    bundle_digest: str = Field(pattern=_DIGEST)
    document_fingerprint: str = Field(pattern=_DIGEST)
    signature_sha256: str | None = Field(default=None, pattern=_DIGEST)
    index: IndexPointer | None = None

    def __str__(self) -> str:
        return f"version {self.version} ({self.name}, digest {self.bundle_digest[:12]})"


class Entry(Config):
    """One decision, and the state after it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    id: str = Field(min_length=8, description="drawn by the writer, so that it knows its own entry again")
    number: int = Field(ge=1)
    previous: str = Field(pattern=_DIGEST, description="hash of the entry before; zeros for the first")
    at: str
    action: Action
    by: str = Field(min_length=1)
    reason: str | None = None
    verdict: Verdict | None = None
    decision_sha256: str | None = Field(default=None, pattern=_DIGEST)
    policy_sha256: str | None = Field(default=None, pattern=_DIGEST, description="what the gate asked for")
    is_override: bool = False
    champion: Release | None = None
    candidate: Release | None = None

    @property
    def hash(self) -> str:
        """SHA-256 over the entry's canonical JSON."""
        return _digest(self.model_dump(mode="json"))


class State(NamedTuple):
    """What the chain says: its valid entries, and the numbers of entries that were overtaken."""

    entries: tuple[Entry, ...] = ()
    void: tuple[Entry, ...] = ()

    @property
    def head(self) -> str:
        return self.entries[-1].hash if self.entries else GENESIS

    @property
    def champion(self) -> Release | None:
        return self.entries[-1].champion if self.entries else None

    @property
    def candidate(self) -> Release | None:
        return self.entries[-1].candidate if self.entries else None

    @property
    def earlier_champion(self) -> Release | None:
        """The champion that a rollback restores; None where there was none."""
        stack: list[Release] = []
        for entry in self.entries:
            if entry.action is Action.ROLLBACK:
                stack.pop()
            elif entry.champion is not None and entry.action is Action.AMEND:
                stack[-1] = entry.champion
            elif entry.champion is not None and entry.action is Action.PROMOTE:
                stack.append(entry.champion)
        return stack[-2] if len(stack) > 1 else None

    def release_of(self, digest: str) -> Release | None:
        """Return the newest record of a bundle; None where it was never registered."""
        return next((found for found in self._releases() if found.bundle_digest == digest), None)

    def release_of_version(self, version: int) -> Release | None:
        """Return the newest record of a model version; None where there is none."""
        return next((found for found in self._releases() if found.version == version), None)

    def pair_of(self, release: Release) -> Release:
        """Return a release with the index it would be promoted with: its own, or a champion's of the same vectors."""
        champion = self.champion
        if release.index is None and champion and champion.document_fingerprint == release.document_fingerprint:
            return release.model_copy(update={"index": champion.index})
        return release

    def _releases(self) -> Iterable[Release]:
        for entry in reversed(self.entries):
            yield from (found for found in (entry.champion, entry.candidate) if found is not None)


def write_line(entry: Entry) -> str:
    """Return an entry as one line of JSON with its hash, without the newline."""
    return _canonical({"entry": entry.model_dump(mode="json"), "hash": entry.hash})


def read_line(line: str, *, where: str) -> Entry:
    """Parse a line and check its hash; `where` names it in the message of a failure."""
    try:
        data = json.loads(line)
        fields, recorded = data["entry"], data["hash"]
        is_intact = _digest(fields) == recorded
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AlteredArtefactError(f"{where} is not a decision: {error!r}; {_ALTERED}") from error
    try:
        entry = Entry.model_validate(fields)
    except ValidationError as error:
        if is_intact and isinstance(fields, dict):
            refuse_newer(where, fields.get("schema_version"), reads=SCHEMA_VERSION, data=fields)
            refuse_unknown_fields(where, error, data=fields)
        raise AlteredArtefactError(f"{where} is not a decision: {explain(error)}; {_ALTERED}") from error
    if entry.hash != recorded:
        raise AlteredArtefactError(f"{where} has hash {entry.hash[:12]}, it records {recorded[:12]}; {_ALTERED}")
    return entry


def fold(entries: Iterable[Entry], *, where: str) -> State:
    """Follow the chain from its first entry; entries in the order in which they were committed."""
    valid: list[Entry] = []
    void: list[Entry] = []
    hashes = [GENESIS]
    for entry in entries:
        if entry.previous == hashes[-1] and entry.number == len(valid) + 1:
            valid.append(entry)
            hashes.append(entry.hash)
        elif entry.previous in hashes and entry.number <= len(valid):
            void.append(entry)
        else:
            raise AlteredArtefactError(
                f"{where}: the entry numbered {entry.number} ({entry.action} at {entry.at}) does not follow entry "
                f"{len(valid)}, whose hash is {hashes[-1][:12]}; {_ALTERED}"
            )
    return State(tuple(valid), tuple(void))


_ALTERED = "the log was altered or cut: compare it with another copy before trusting the registry"


def _digest(data: object) -> str:
    return hashlib.sha256(_canonical(data).encode()).hexdigest()


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
