"""Register, promote, roll back: each prepares, commits one entry, then brings aliases and log file after it.

Whatever comes before the commit can be done twice; whatever comes after it can be done later. A process killed at any
step leaves the old champion or the new one, and the next command finishes what follows from the chain.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from evaluation.gate import Verdict
from evaluation.registry.decision_log import LOG_FILE, append, exclusive, missing_from, read_log
from evaluation.registry.entries import Action, Entry, IndexPointer, Release, State
from evaluation.registry.evidence import Evidence
from evaluation.registry.index_pointer import check_pointer, is_here, point_to_current, release_pins
from evaluation.registry.store import CANDIDATE, CHAMPION, Store
from infembed.bundle import Bundle
from infembed.errors import BadInputError, ConflictError, MismatchedArtefactError, MissingArtefactError
from infembed.signatures import signature_path, verify_signature

_ATTEMPTS = 5


class Step(StrEnum):
    """The points between which a process may die; `at_step` is called when one is reached."""

    READ = "state read"
    FETCHED = "bundle fetched and verified"
    METRICS = "metrics written"
    EVIDENCE = "decision and reports written"
    COMMITTED = "entry committed"
    CHAMPION_ALIAS = "champion alias set"
    CANDIDATE_ALIAS = "candidate alias set"
    LOGGED = "log file written"


AtStep = Callable[[Step], None]


class Signer(NamedTuple):
    """Who decides, and why; both are recorded."""

    by: str
    reason: str | None = None

    def require_reason(self, what: str) -> None:
        """Refuse to go on without a name and a reason in words."""
        if not self.by.strip() or not (self.reason or "").strip():
            raise BadInputError(f"{what} is recorded with a name and a reason; give --by NAME and --reason TEXT")


def _ignore(_: Step) -> None:
    pass


def register(
    store: Store,
    bundle_path: Path,
    signer: Signer,
    *,
    report: Path | None = None,
    index: Path | None = None,
    public_key: Path | None = None,
    at_step: AtStep = _ignore,
) -> tuple[Release, bool]:
    """Upload a verified bundle and make it the candidate; the second value says whether anything changed.

    `index` is the collection it is to be tried and promoted with; None where the champion's vectors stay valid.
    """
    bundle = Bundle.open(bundle_path)
    if public_key is not None:
        verify_signature(bundle.path, public_key)
    recover(store, at_step=at_step)
    release = _upload(store, bundle)
    if report is not None:
        store.put(release, "reports", {report.name: report.read_bytes()})
    if index is not None:
        release = release.model_copy(update={"index": point_to_current(index, release)})
    for _ in range(_ATTEMPTS):  # two registrations do not contradict each other: take the new head and go on
        state = store.state()
        at_step(Step.READ)
        known = state.release_of(bundle.digest)
        wanted = release.signature_sha256 or (known.signature_sha256 if known else None)
        release = release.model_copy(update={"signature_sha256": wanted})
        if index is None and state.candidate and state.candidate.bundle_digest == bundle.digest:
            release = release.model_copy(update={"index": state.candidate.index})
        if state.champion is not None and state.champion.bundle_digest == bundle.digest:
            return state.champion, False
        if state.candidate == release:
            return release, False
        try:
            _commit(store, _entry(state, Action.REGISTER, signer, champion=state.champion, candidate=release), at_step)
        except ConflictError:
            continue
        return release, True
    raise ConflictError("other processes keep changing the registry; register again")


def promote(
    store: Store,
    evidence: Evidence | None,
    signer: Signer,
    *,
    index: Path | None = None,
    is_override: bool = False,
    public_key: Path | None = None,
    at_step: AtStep = _ignore,
) -> Release:
    """Make the candidate the champion, with its index; evidence None: the first champion, on somebody's word."""
    recover(store, at_step=at_step)
    state = store.state()
    at_step(Step.READ)
    candidate = state.candidate
    if candidate is None:
        raise BadInputError("there is no candidate; register a bundle first (`infembed registry register`)")
    if evidence is None:
        _require_first(state, signer)
    else:
        _judge(evidence, state.champion, candidate, signer, is_override=is_override)
    promoted = candidate.model_copy(update={"index": _index_for(state.champion, candidate, index)})
    with TemporaryDirectory() as directory:
        store.fetch(candidate, Path(directory), public_key=public_key)
    at_step(Step.FETCHED)
    entry = _entry(state, Action.PROMOTE, signer, champion=promoted, candidate=None)
    if evidence is not None:
        _put_evidence(store, candidate, evidence, at_step)
        verdict = evidence.decision.verdict
        facts = {
            "verdict": verdict,
            "decision_sha256": evidence.sha256,
            "policy_sha256": evidence.decision.policy.digest,
            "is_override": verdict is not Verdict.PASS,
        }
        entry = entry.model_copy(update=facts)
    _commit(store, entry, at_step)
    return promoted


def rollback(store: Store, signer: Signer, *, at_step: AtStep = _ignore) -> Release:
    """Restore the champion before this one: its bundle and its index, in one entry."""
    signer.require_reason("a rollback")
    recover(store, at_step=at_step)
    state = store.state()
    at_step(Step.READ)
    earlier = state.earlier_champion
    if earlier is None:
        raise BadInputError("there is no earlier champion to go back to; register and promote another to go on")
    if earlier.index is not None and is_here(earlier.index):
        check_pointer(earlier.index)
    _commit(store, _entry(state, Action.ROLLBACK, signer, champion=earlier, candidate=state.candidate), at_step)
    return earlier


def amend(
    store: Store,
    signer: Signer,
    *,
    index: Path | None = None,
    signature: Path | None = None,
    public_key: Path | None = None,
    at_step: AtStep = _ignore,
) -> Release:
    """Give the champion another generation of its index, or its signature; the bundle stays."""
    signer.require_reason("an amendment")
    recover(store, at_step=at_step)
    state = store.state()
    at_step(Step.READ)
    if state.champion is None:
        raise BadInputError("there is no champion to amend; promote a bundle first")
    amended = state.champion
    if index is not None:
        amended = amended.model_copy(update={"index": point_to_current(index, amended)})
    if signature is not None:
        _check_signature(store, state.champion, signature, public_key)
        amended = store.upload_signature(amended, signature)
    if amended != state.champion:
        _commit(store, _entry(state, Action.AMEND, signer, champion=amended, candidate=state.candidate), at_step)
    return amended


def recover(store: Store, *, at_step: AtStep = _ignore) -> list[str]:
    """Bring aliases and log file after the committed chain; returns what had to be done, nothing in the usual case."""
    with exclusive(store.location.directory):
        done: list[str] = []
        state = store.state()
        while True:
            done += _set_aliases(store, state, at_step)
            done += _write_log(store, state)
            done += _release_pins(state)
            at_step(Step.LOGGED)
            head = state.head
            state = store.state()
            if state.head == head:
                return done


def _commit(store: Store, entry: Entry, at_step: AtStep) -> None:
    store.commit(entry)
    at_step(Step.COMMITTED)
    recover(store, at_step=at_step)


def _set_aliases(store: Store, state: State, at_step: AtStep) -> list[str]:
    done = []
    found = store.aliases()
    for alias, release, step in (
        (CHAMPION, state.champion, Step.CHAMPION_ALIAS),
        (CANDIDATE, state.candidate, Step.CANDIDATE_ALIAS),
    ):
        wanted = release.version if release else None
        if found.get(alias) != wanted:
            store.set_alias(alias, wanted)
            done.append(f"alias {alias}: version {found.get(alias, 'none')} -> {wanted or 'none'}")
        at_step(step)
    return done


def _write_log(store: Store, state: State) -> list[str]:
    path = store.location.directory / LOG_FILE
    contents = read_log(path)
    missing = missing_from(path, contents, state.entries)
    if not missing:
        return []
    append(path, contents, missing)
    torn = f" after cutting off {len(contents.torn)} bytes of a line that was never finished" if contents.torn else ""
    return [f"{path.name}: {len(missing)} decisions added{torn}"]


def _release_pins(state: State) -> list[str]:
    releases = [release for entry in state.entries for release in (entry.champion, entry.candidate)]
    pointers = [release.index for release in releases if release and release.index]
    kept = (state.champion, state.earlier_champion, state.candidate)
    needed = [release.index for release in kept if release and release.index]
    return release_pins(pointers, needed=needed)


def _entry(
    state: State, action: Action, signer: Signer, *, champion: Release | None, candidate: Release | None
) -> Entry:
    return Entry(
        id=uuid.uuid4().hex,
        number=len(state.entries) + 1,
        previous=state.head,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        action=action,
        by=signer.by,
        reason=signer.reason,
        champion=champion,
        candidate=candidate,
    )


def _upload(store: Store, bundle: Bundle) -> Release:
    manifest = bundle.manifest
    tags = {"document_fingerprint": manifest.document_fingerprint, "fusion": str(manifest.fusion)}
    release = store.upload(bundle, tags)
    signature = signature_path(bundle.path)
    return store.upload_signature(release, signature) if signature.is_file() else release


def _check_signature(store: Store, release: Release, signature: Path, public_key: Path | None) -> None:
    if not signature.is_file():
        raise MissingArtefactError(f"no signature at {signature}; make one with `infembed registry sign`")
    if public_key is not None:
        with TemporaryDirectory() as directory:
            bundle = store.fetch(release, Path(directory), public_key=None)
            verify_signature(bundle.path, public_key, signature=signature)


def _require_first(state: State, signer: Signer) -> None:
    if state.champion is not None:
        raise BadInputError(
            f"the registry has a champion ({state.champion}); a promotion needs the gate's decision: "
            "give --decision, --champion and --candidate"
        )
    signer.require_reason("a first promotion, which no gate judged,")


def _judge(
    evidence: Evidence, champion: Release | None, candidate: Release, signer: Signer, *, is_override: bool
) -> None:
    if champion is None:
        raise BadInputError("there is no champion yet; make the first one with --initial, --by and --reason")
    evidence.check(champion, candidate)
    verdict = evidence.decision.verdict
    if verdict is Verdict.PASS:
        return
    if not is_override:
        reasons = "; ".join(evidence.decision.reasons[:3])
        raise BadInputError(
            f"the gate's verdict is {verdict}, promotion needs PASS: {reasons}. Improve the candidate, or take the "
            "responsibility with --override --by NAME --reason TEXT"
        )
    signer.require_reason("an override")


def _index_for(champion: Release | None, candidate: Release, index: Path | None) -> IndexPointer | None:
    """Return the index to promote: the one given, the candidate's own, or the champion's if its vectors stay valid."""
    if index is not None:
        return point_to_current(index, candidate)
    if candidate.index is not None:
        check_pointer(candidate.index)
        return candidate.index
    if champion is None or champion.document_fingerprint == candidate.document_fingerprint:
        return champion.index if champion else None
    if champion.index is None:
        raise MismatchedArtefactError(_rebuild("the champion's bundle", champion, candidate))
    raise MismatchedArtefactError(_rebuild(f"the champion's index {champion.index.collection}", champion, candidate))


def _rebuild(what: str, champion: Release, candidate: Release) -> str:
    return (
        f"{what} has document fingerprint {champion.document_fingerprint[:12]}, the candidate has "
        f"{candidate.document_fingerprint[:12]}: build an index with the candidate's bundle (`infembed index build`) "
        "and promote both with --index"
    )


def _put_evidence(store: Store, candidate: Release, evidence: Evidence, at_step: AtStep) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    store.put_metrics(candidate, evidence.metrics(), timestamp_ms=now_ms)
    at_step(Step.METRICS)
    store.put(candidate, f"decisions/{evidence.sha256[:12]}", evidence.files)
    at_step(Step.EVIDENCE)
