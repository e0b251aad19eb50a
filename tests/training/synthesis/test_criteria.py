"""What a program finds by itself never reaches a judge."""

import pytest

from training.corpus.rows import InstructionType
from training.synthesis.criteria import Bounds, Check, check_draft, share_copied
from training.synthesis.draft import Draft, Stage
from training.synthesis.prompts import load_prompts

PASSAGE = "Most knocks come from a pipe that grows as it warms and catches on a joist under the floor of the hall."
OTHER = (
    "Ours banged until the engineer found a valve fitted backwards, so that water hammered its seat each cold morning."
)
DRAFT = Draft(
    InstructionType.EXCLUSION,
    query_positive="radiator noise",
    document_positive=PASSAGE,
    instruction_positive="nothing that needs a plumber",
    instruction_negative="without touching the floor",
    query_negative="radiator cold at the top",
)


def checks(stage: Stage, text: str) -> set[str]:
    return {finding.reason for finding in check_draft(stage, DRAFT.with_text(stage, text), Bounds())}


@pytest.mark.parametrize(
    ("stage", "text", "expected"),
    [
        (Stage.HARD_NEGATIVE_1, f"{OTHER} It took half a day.", set()),
        (Stage.HARD_NEGATIVE_1, "Too short.", {Check.LENGTH}),
        (Stage.HARD_NEGATIVE_1, "word " * 161, {Check.LENGTH}),
        (Stage.HARD_NEGATIVE_1, ("x" * 1_000 + " ") * 25, {Check.LENGTH}),
        (Stage.HARD_NEGATIVE_2, f"{OTHER} There is nothing that needs a plumber here.", {Check.ECHOED}),
        (Stage.INSTRUCTION, "a pipe that grows as it warms", {Check.COPIED}),
        (Stage.HARD_NEGATIVE_1, PASSAGE, {Check.UNCHANGED, Check.COPIED}),
        (Stage.HARD_NEGATIVE_1, f"{PASSAGE} And so on.", {Check.COPIED}),
        (Stage.HARD_NEGATIVE_1, f"{OTHER} This passage breaks the instruction.", {Check.TELLTALE}),
        (Stage.HARD_NEGATIVE_1, f"<document>{OTHER} It took half a day.</document>", {Check.TELLTALE}),
        (Stage.INSTRUCTION, "only felt and patience", set()),
        (Stage.INSTRUCTION, "Radiator noise?", {Check.LENGTH, Check.UNCHANGED}),
        (Stage.INSTRUCTION, "the passage must name felt", {Check.TELLTALE}),
        (Stage.INSTRUCTION_POISONING, "Nothing that needs a plumber!", {Check.UNCHANGED}),
        (Stage.QUERY_POISONING, "Radiator, noise", {Check.UNCHANGED}),
        (Stage.QUERY_POISONING, "", {Check.LENGTH}),
    ],
)
def test_checks_name_what_is_wrong(stage: Stage, text: str, expected: set[str]) -> None:
    assert checks(stage, text) == expected


def test_copying_is_measured_in_runs_of_five_words() -> None:
    assert share_copied("a b c d e f", "A b, c d e; f g") == 1.0
    assert share_copied("a b c d e x", "a b c d e f") == 0.5
    assert share_copied("too short", "too short") == 0.0


def test_the_examples_that_models_are_shown_pass_every_check() -> None:
    for example in load_prompts().examples:
        whole, draft = example.draft(), Draft(DRAFT.instruction_type, example.query_positive, example.document_positive)
        for stage in Stage:
            if stage is not Stage.JUDGE:
                draft = draft.with_text(stage, whole.text_of(stage))
                assert list(check_draft(stage, draft, Bounds())) == []
