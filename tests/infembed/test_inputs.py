import pytest

from infembed.inputs import Fusion, InputType, TextInput, render

NO_PROMPTS: dict[InputType, str] = {}


@pytest.mark.parametrize("fusion", list(Fusion))
@pytest.mark.parametrize("instruction", [None, "", "  \n", "\u200b", "\u0301 \x00"])
def test_a_query_without_instruction_renders_alike_for_every_fusion(fusion: Fusion, instruction: str | None) -> None:
    rendered = render(TextInput("dense bread", InputType.QUERY, instruction), fusion=fusion, prompts=NO_PROMPTS)
    assert (rendered.text, rendered.instruction) == ("dense bread", None)


def test_concat_appends_the_instruction_to_the_query() -> None:
    item = TextInput("dense bread", InputType.QUERY, " no rye ")
    rendered = render(item, fusion=Fusion.CONCAT, prompts=NO_PROMPTS)
    assert (rendered.text, rendered.instruction) == ("dense bread no rye", None)


@pytest.mark.parametrize("fusion", [Fusion.PREFIX, Fusion.ATTENTION])
def test_other_fusions_keep_the_instruction_apart(fusion: Fusion) -> None:
    item = TextInput("dense bread", InputType.QUERY, " no rye ")
    rendered = render(item, fusion=fusion, prompts=NO_PROMPTS)
    assert (rendered.text, rendered.instruction) == ("dense bread", "no rye")


def test_each_side_gets_its_own_prompt() -> None:
    prompts = {InputType.QUERY: "query: ", InputType.DOCUMENT: "passage: "}
    texts = [render(TextInput("a", side), fusion=Fusion.PREFIX, prompts=prompts).text for side in InputType]
    assert texts == ["query: a", "passage: a"]


def test_a_document_never_carries_an_instruction() -> None:
    item = TextInput("a", InputType.DOCUMENT, "no rye")
    assert render(item, fusion=Fusion.CONCAT, prompts=NO_PROMPTS).text == "a"
