"""Prompts are files with versions; what a model is shown follows from them."""

import shutil
from pathlib import Path

import pytest

from infembed.errors import BadConfigError
from training.corpus.rows import InstructionType
from training.synthesis.draft import GENERATING, Draft, Stage
from training.synthesis.prompts import DIRECTORY, document_order, load_prompts
from training.synthesis.schemas import SCHEMAS, json_schema

DRAFT = Draft(
    InstructionType.EXCLUSION,
    "query $x",
    "passage ${y}",
    "wish one",
    "wish two",
    "other query",
    "document two",
    "document three",
)
RELEASED = {
    Stage.INSTRUCTION: "instruction@1:54142acf67d5",
    Stage.INSTRUCTION_POISONING: "instruction_poisoning@1:1286a5b731c0",
    Stage.QUERY_POISONING: "query_poisoning@1:6b4f0830e36e",
    Stage.HARD_NEGATIVE_1: "hard_negative_1@1:9fc46bef8b12",
    Stage.HARD_NEGATIVE_2: "hard_negative_2@1:4a0f25c56dd6",
    Stage.JUDGE: "judge@1:8731e5f0e1e4",
}


def test_a_prompt_that_changes_gets_a_new_version() -> None:
    """If this fails, raise `version` in the prompts that changed (all of them for types and examples), then this."""
    assert load_prompts().ids == RELEASED


def test_every_type_is_defined_and_has_one_example() -> None:
    prompts = load_prompts()
    types = [kind for kind in InstructionType if kind is not InstructionType.PLAIN]
    assert sorted(prompts.definitions) == sorted(types)
    assert sorted(example.instruction_type for example in prompts.examples) == sorted(types)


@pytest.mark.parametrize("stage", GENERATING)
def test_examples_answer_in_the_stages_schema_and_the_requested_type_comes_last(stage: Stage) -> None:
    prompts = load_prompts()
    chat = prompts.messages(stage, DRAFT, n_examples=3)
    assert [message.role for message in chat] == ["system", *("user", "assistant") * 3, "user"]
    for message in chat[2::2]:
        SCHEMAS[stage].model_validate_json(message.content)
    (own,) = (example for example in prompts.examples if example.instruction_type is DRAFT.instruction_type)
    assert own.query_positive in chat[-3].content


def test_the_judge_sees_wishes_and_shuffled_documents_and_no_example() -> None:
    chat = load_prompts().messages(Stage.JUDGE, DRAFT, n_examples=3)
    assert [message.role for message in chat] == ["system", "user"]
    letters = document_order(DRAFT)
    assert sorted(letters) == ["A", "B", "C"]
    documents = (DRAFT.document_positive, DRAFT.hard_negative_document_1, DRAFT.hard_negative_document_2)
    for letter, document in zip(letters, documents, strict=True):
        assert f'<document letter="{letter}">{document}</document>' in chat[1].content


def test_the_positive_is_as_often_first_as_last() -> None:
    drafts = [Draft(InstructionType.FACET, f"q{number}", "p", "i", "j", "r", "d", "e") for number in range(600)]
    firsts = [document_order(draft)[0] for draft in drafts]
    assert all(150 < firsts.count(letter) < 250 for letter in ("A", "B", "C"))


def test_dollar_signs_in_texts_stay_what_they_are() -> None:
    (_, user) = load_prompts().messages(Stage.INSTRUCTION, DRAFT, n_examples=0)
    assert "<query>query $x</query>" in user.content
    assert "<passage>passage ${y}</passage>" in user.content


@pytest.mark.parametrize("stage", list(Stage))
def test_schemas_are_what_strict_structured_output_takes(stage: Stage) -> None:
    schema = json_schema(stage)
    for found in [schema, *schema.get("$defs", {}).values()]:
        assert found["additionalProperties"] is False
        assert sorted(found["required"]) == sorted(found["properties"])


def test_a_directory_of_prompts_of_ones_own_is_checked(tmp_path: Path) -> None:
    own = Path(shutil.copytree(DIRECTORY, tmp_path / "prompts"))
    assert load_prompts(own).ids == RELEASED
    judge = own / "judge.toml"
    judge.write_text(judge.read_text().replace("version = 1", "version = 2"))
    assert load_prompts(own).ids[Stage.JUDGE].startswith("judge@2:")
    judge.write_text('version = 1\nsystem = "costs $5"\nuser = "u"\n')
    with pytest.raises(BadConfigError, match=r"judge\.toml.*no placeholder.*\$\$"):
        load_prompts(own)
    judge.unlink()
    with pytest.raises(BadConfigError, match=r"no prompt can be read from .*judge\.toml"):
        load_prompts(own)
