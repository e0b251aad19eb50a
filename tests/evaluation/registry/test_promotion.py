import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from evaluation.gate import Verdict
from evaluation.registry import promotion
from evaluation.registry.decision_log import LOG_FILE, read_log
from evaluation.registry.entries import Action
from evaluation.registry.promotion import Signer, Step
from evaluation.registry.store import Store
from evaluation.registry.verification import verify
from infembed.errors import (
    AlteredArtefactError,
    BadInputError,
    ConflictError,
    MismatchedArtefactError,
    MissingArtefactError,
)
from tests.evaluation.registry.registries import (
    ANN,
    Bundles,
    copy_registry,
    digest_of,
    judge,
    make_collection,
    write_decision,
)


def problems(store: Store) -> list[str]:
    return [finding.text for finding in verify(store) if finding.is_problem]


def test_registering_makes_a_candidate_and_twice_is_once(empty: Store, bundles: Bundles) -> None:
    first, was_new = promotion.register(empty, bundles.first, ANN)
    again, is_new = promotion.register(empty, bundles.first, ANN)
    assert (was_new, is_new, first) == (True, False, again)
    assert empty.state().candidate == first
    assert empty.aliases() == {"candidate": 1}
    assert len(empty.state().entries) == 1


def test_the_champion_registered_again_stays_champion(store: Store, bundles: Bundles) -> None:
    release, is_new = promotion.register(store, bundles.first, ANN)
    assert (release, is_new) == (store.state().champion, False)
    assert store.aliases() == {"champion": 1, "candidate": 2}


def test_an_altered_bundle_is_not_registered(empty: Store, tiny_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in tiny_bundle.rglob("*"):
        target = copy / path.relative_to(tiny_bundle)
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    (copy / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(AlteredArtefactError, match=r"tokenizer\.json"):
        promotion.register(empty, copy, ANN)
    assert empty.state().entries == ()


def test_a_pass_for_exactly_these_two_promotes_and_carries_the_index_over(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    before = store.state().champion
    files = judge(bundles.first, bundles.second, tmp_path)
    promoted = promotion.promote(store, files.evidence(), Signer("bob"))
    state = store.state()
    assert before is not None
    assert state.champion == promoted
    assert promoted.bundle_digest == digest_of(bundles.second)
    assert promoted.index == before.index
    assert state.candidate is None
    assert store.aliases() == {"champion": 2}
    entry = state.entries[-1]
    assert (entry.action, entry.by, entry.verdict, entry.is_override) == (Action.PROMOTE, "bob", Verdict.PASS, False)
    assert read_log(store.location.directory / LOG_FILE).entries == state.entries
    assert problems(store) == []


def test_promotion_keeps_metrics_report_and_decision_beside_the_version(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    files = judge(bundles.first, bundles.second, tmp_path)
    promoted = promotion.promote(store, files.evidence(), ANN)
    run = store._client.get_run(promoted.run_id)
    assert run.data.metrics["facets/p-MRR"] == pytest.approx(0.5, abs=0.01)
    assert run.data.metrics["all suites/nDCG at 10"] == pytest.approx(0.6, abs=0.01)
    folder = f"decisions/{files.evidence().sha256[:12]}"
    kept = {Path(item.path).name for item in store._client.list_artifacts(promoted.run_id, folder)}
    assert kept == {"decision.json", "champion.json", "candidate.json"}


def test_a_fail_is_refused_with_the_gates_reason(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    files = judge(bundles.first, bundles.second, tmp_path, gain=-0.2)
    with pytest.raises(BadInputError, match="verdict is FAIL, promotion needs PASS: p-MRR changes by"):
        promotion.promote(store, files.evidence(), ANN)
    assert len(store.state().entries) == 3


def test_an_override_needs_a_reason_and_is_recorded(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    evidence = judge(bundles.first, bundles.second, tmp_path, gain=-0.2).evidence()
    with pytest.raises(BadInputError, match="an override is recorded with a name and a reason"):
        promotion.promote(store, evidence, Signer("ann", " "), is_override=True)
    promotion.promote(store, evidence, Signer("ann", "the old model is withdrawn"), is_override=True)
    entry = store.state().entries[-1]
    assert (entry.is_override, entry.verdict) == (True, Verdict.FAIL)
    assert (entry.by, entry.reason) == ("ann", "the old model is withdrawn")


def test_a_decision_about_other_bundles_is_refused_even_with_an_override(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    for number, pair in enumerate([(bundles.first, bundles.other), (bundles.second, bundles.first)]):
        evidence = judge(*pair, tmp_path / str(number)).evidence()
        with pytest.raises(
            MismatchedArtefactError, match="the decision is about champion .* the registry has champion"
        ):
            promotion.promote(store, evidence, ANN, is_override=True)


def test_a_decision_edited_to_pass_is_refused(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    files = judge(bundles.first, bundles.second, tmp_path, gain=-0.2)
    decision = files.evidence().decision
    write_decision(files.decision, decision.model_copy(update={"verdict": Verdict.PASS}))
    with pytest.raises(AlteredArtefactError, match="the decision says PASS, the gate finds FAIL"):
        promotion.promote(store, files.evidence(), ANN)


def test_the_first_champion_needs_a_name_and_a_reason(empty: Store, bundles: Bundles) -> None:
    promotion.register(empty, bundles.first, Signer("ann"))
    with pytest.raises(BadInputError, match="recorded with a name and a reason"):
        promotion.promote(empty, None, Signer("ann"))
    promotion.promote(empty, None, Signer("ann", "nothing was served before"))
    assert empty.state().entries[-1].reason == "nothing was served before"


def test_only_the_first_champion_goes_without_a_decision(store: Store) -> None:
    with pytest.raises(BadInputError, match="the registry has a champion"):
        promotion.promote(store, None, ANN)


def test_without_a_candidate_there_is_nothing_to_promote(empty: Store) -> None:
    with pytest.raises(BadInputError, match="there is no candidate"):
        promotion.promote(empty, None, ANN)


def test_new_document_vectors_are_promoted_with_their_index_or_not_at_all(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    promotion.register(store, bundles.other, ANN)
    evidence = judge(bundles.first, bundles.other, tmp_path).evidence()
    with pytest.raises(MismatchedArtefactError, match="build an index with the candidate's bundle"):
        promotion.promote(store, evidence, ANN)
    old = store.state().champion
    assert old is not None
    assert old.index is not None
    with pytest.raises(MismatchedArtefactError, match="holds vectors of tiny"):
        promotion.promote(store, evidence, ANN, index=Path(old.index.collection))
    green = make_collection(tmp_path / "green" / "bread", bundles.other)
    promoted = promotion.promote(store, evidence, ANN, index=green)
    assert promoted.index is not None
    assert promoted.index.collection == str(green.resolve())
    assert store.state().champion == promoted


def test_rollback_restores_bundle_and_index_together(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    before = store.state().champion
    promotion.register(store, bundles.other, ANN)
    green = make_collection(tmp_path / "green" / "bread", bundles.other)
    promotion.promote(store, judge(bundles.first, bundles.other, tmp_path).evidence(), ANN, index=green)
    restored = promotion.rollback(store, Signer("bob", "worse in the canary"))
    assert restored == before
    assert store.aliases() == {"champion": 1}
    entry = store.state().entries[-1]
    assert (entry.action, entry.by, entry.reason) == (Action.ROLLBACK, "bob", "worse in the canary")
    with pytest.raises(BadInputError, match="no earlier champion"):
        promotion.rollback(store, ANN)
    assert problems(store) == []


def rebuild(collection: Path, bundle: Path, *, sizes: Iterable[int]) -> None:
    """Build generation after generation: the builder keeps the last two, and those that are pinned."""
    for n_documents in sizes:
        make_collection(collection, bundle, n_documents=n_documents)


def test_later_builds_keep_what_a_rollback_needs(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    amended = promotion.amend(store, ANN, index=blue)
    rebuild(blue, bundles.first, sizes=(4, 5, 6))
    promotion.promote(store, judge(bundles.first, bundles.second, tmp_path).evidence(), ANN, index=blue)
    rebuild(blue, bundles.first, sizes=(7, 8, 9))
    assert promotion.rollback(store, ANN) == amended
    assert problems(store) == []


def test_a_generation_that_nothing_goes_back_to_is_released(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    promotion.amend(store, ANN, index=blue)
    rebuild(blue, bundles.first, sizes=(4,))
    newer = promotion.amend(store, ANN, index=blue)
    assert newer.index is not None
    assert [pin.name for pin in (blue / "pins").iterdir()] == [newer.index.generation]


def test_rollback_to_an_index_that_is_gone_is_refused(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    blue = make_collection(tmp_path / "blue" / "bread", bundles.first)
    amended = promotion.amend(store, ANN, index=blue)
    make_collection(blue, bundles.first, n_documents=4)
    promotion.promote(store, judge(bundles.first, bundles.second, tmp_path).evidence(), ANN, index=blue)
    assert amended.index is not None
    shutil.rmtree(blue / "generations" / amended.index.generation)
    with pytest.raises(MissingArtefactError, match="no index generation"):
        promotion.rollback(store, ANN)
    assert store.aliases() == {"champion": 2}


def test_an_amendment_moves_the_index_pointer_and_is_no_step_of_rollback(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    newer = make_collection(tmp_path / "newer" / "bread", bundles.first, n_documents=4)
    amended = promotion.amend(store, ANN, index=newer)
    assert amended.index is not None
    assert amended.index.collection == str(newer.resolve())
    assert amended.version == 1
    promotion.promote(store, judge(bundles.first, bundles.second, tmp_path).evidence(), ANN)
    assert promotion.rollback(store, ANN) == amended


class KilledError(Exception):
    """Stands for a process that ends at a step."""


def steps_of(store: Store, bundles: Bundles, directory: Path) -> list[Step]:
    seen: list[Step] = []
    evidence = judge(bundles.first, bundles.second, directory).evidence()
    promotion.promote(store, evidence, ANN, at_step=seen.append)
    return seen


def test_a_promotion_that_ends_at_any_step_leaves_one_champion_and_the_next_command_goes_on(
    prepared: Path, bundles: Bundles, tmp_path: Path
) -> None:
    evidence = judge(bundles.first, bundles.second, tmp_path).evidence()
    steps = steps_of(copy_registry(prepared, tmp_path / "dry"), bundles, tmp_path)
    for last in range(len(steps)):
        store = copy_registry(prepared, tmp_path / f"at{last}")
        seen: list[Step] = []

        def end(step: Step, seen: list[Step] = seen, last: int = last) -> None:
            seen.append(step)
            if len(seen) > last:
                raise KilledError(step)

        with pytest.raises(KilledError):
            promotion.promote(store, evidence, ANN, at_step=end)
        champion = store.state().champion
        assert champion is not None
        assert champion.version == (2 if Step.COMMITTED in seen else 1)
        promotion.recover(store)
        assert problems(store) == []
        if champion.version == 1:
            promotion.promote(store, evidence, ANN)
        assert store.aliases() == {"champion": 2}


def test_of_two_promotions_that_saw_the_same_state_the_first_to_commit_wins(
    store: Store, bundles: Bundles, tmp_path: Path
) -> None:
    evidence = judge(bundles.first, bundles.second, tmp_path).evidence()

    def overtake(step: Step) -> None:
        if step is Step.EVIDENCE:
            promotion.promote(Store(store.location), evidence, Signer("carol"))

    with pytest.raises(ConflictError, match="somebody else was faster: carol did a promote"):
        promotion.promote(store, evidence, Signer("dave"), at_step=overtake)
    state = store.state()
    assert [entry.by for entry in state.entries].count("carol") == 1
    assert [entry.by for entry in state.void] == ["dave"]
    assert problems(store) == []


def test_registering_while_another_registers_loses_neither(empty: Store, bundles: Bundles) -> None:
    others = iter([bundles.other])

    def overtake(step: Step) -> None:
        if step is Step.READ:
            for other in others:
                promotion.register(Store(empty.location), other, ANN)

    release, is_new = promotion.register(empty, bundles.first, Signer("eve"), at_step=overtake)
    state = empty.state()
    assert is_new
    assert state.candidate == release
    assert state.release_of(digest_of(bundles.other)) is not None
    assert problems(empty) == []


def test_a_report_edited_after_the_decision_is_refused(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    promotion.register(store, bundles.second, ANN)
    files = judge(bundles.first, bundles.second, tmp_path / "judged")
    text = files.candidate.read_text()
    files.candidate.write_text(text.replace('"created_at": "2026-01-01T00:00:00+00:00"', '"created_at": "today"'))
    with pytest.raises(AlteredArtefactError, match="were edited; run `infembed gate`"):
        promotion.promote(store, files.evidence(), ANN)
