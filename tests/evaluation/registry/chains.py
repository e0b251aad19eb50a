"""A chain of decisions that one can follow by hand."""

from evaluation.registry.entries import GENESIS, Action, Entry, IndexPointer, Release


def release(version: int, *, index: str | None = None) -> Release:
    digest = f"{version:064x}"
    pointer = IndexPointer(collection="/blue", generation=index, manifest_sha256=digest) if index else None
    return Release(
        version=version,
        run_id="r",
        name=f"m{version}",
        fusion="prefix",
        bundle_digest=digest,
        document_fingerprint="f" * 64,
        index=pointer,
    )


def follow(entries: list[Entry], action: Action, champion: Release | None, candidate: Release | None = None) -> Entry:
    """Append an entry that follows the last one."""
    entry = Entry(
        id=f"entry-{len(entries):04}",
        number=len(entries) + 1,
        previous=entries[-1].hash if entries else GENESIS,
        at="2026-01-01T00:00:00+00:00",
        action=action,
        by="ann",
        champion=champion,
        candidate=candidate,
    )
    entries.append(entry)
    return entry


def history() -> list[Entry]:
    """Registered and promoted 1, then 2; the index of 2 moved; rolled back."""
    one, two = release(1), release(2, index="gen-000001-a")
    moved = release(2, index="gen-000002-b")
    entries: list[Entry] = []
    follow(entries, Action.REGISTER, None, one)
    follow(entries, Action.PROMOTE, one)
    follow(entries, Action.REGISTER, one, release(2))
    follow(entries, Action.PROMOTE, two)
    follow(entries, Action.AMEND, moved)
    follow(entries, Action.ROLLBACK, one)
    return entries
