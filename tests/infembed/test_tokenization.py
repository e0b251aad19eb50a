from pathlib import Path

import pytest

from infembed.bundle import Bundle
from infembed.errors import EmptyInputError, InputTooLongError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.tokenization import BundleTokenizer, TruncationDirection
from tests.tiny import make_tiny_bundle

CLS, SEP = 2, 3


@pytest.fixture
def tokenizer(tiny_bundle: Path) -> BundleTokenizer:
    return BundleTokenizer.open(Bundle.open(tiny_bundle))


def test_special_tokens_enclose_the_text(tokenizer: BundleTokenizer) -> None:
    (item,) = tokenizer.tokenize([TextInput("bread dough")])
    assert (item.ids[0], item.ids[-1], len(item.ids)) == (CLS, SEP, 4)
    assert not item.is_truncated


def test_a_long_text_is_cut_and_says_so(tokenizer: BundleTokenizer) -> None:
    (item,) = tokenizer.tokenize([TextInput("bread " * 100)])
    assert (len(item.ids), item.ids[0], item.ids[-1]) == (48, CLS, SEP)
    assert item.is_truncated


def test_left_truncation_keeps_the_end(tokenizer: BundleTokenizer) -> None:
    text = "bread " * 100 + "oven"
    (right,) = tokenizer.tokenize([TextInput(text)], direction=TruncationDirection.RIGHT)
    (left,) = tokenizer.tokenize([TextInput(text)], direction=TruncationDirection.LEFT)
    (oven,) = tokenizer.tokenize([TextInput("oven")])
    assert left.ids[-2] == oven.ids[1]
    assert right.ids[-2] != oven.ids[1]


def test_a_text_of_exactly_the_limit_is_not_truncated(tokenizer: BundleTokenizer) -> None:
    (item,) = tokenizer.tokenize([TextInput("bread " * 46)], truncate=False)
    assert (len(item.ids), item.is_truncated) == (48, False)


def test_a_too_long_text_is_refused_with_both_numbers(tokenizer: BundleTokenizer) -> None:
    with pytest.raises(InputTooLongError, match="input 1 has 49 tokens, the model takes 48"):
        tokenizer.tokenize([TextInput("bread"), TextInput("bread " * 47)], truncate=False)


def test_a_too_long_instruction_is_refused_by_name(tokenizer: BundleTokenizer) -> None:
    item = TextInput("bread", InputType.QUERY, "not " * 40)
    with pytest.raises(InputTooLongError, match="the instruction of input 0 has 42 tokens") as caught:
        tokenizer.tokenize([item], truncate=False)
    assert caught.value.param == "instruction"


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_text_is_refused(tokenizer: BundleTokenizer, text: str) -> None:
    with pytest.raises(EmptyInputError, match="input 1 is empty"):
        tokenizer.tokenize([TextInput("bread"), TextInput(text)])


def test_instruction_tokens_count(tokenizer: BundleTokenizer) -> None:
    (item,) = tokenizer.tokenize([TextInput("bread", InputType.QUERY, "no yeast")])
    assert (len(item.ids), len(item.instruction_ids), item.n_tokens) == (3, 4, 7)


def test_concat_reads_one_text(any_tiny_bundle: Path) -> None:
    bundle = Bundle.open(any_tiny_bundle)
    tokenizer = BundleTokenizer.open(bundle)
    (item,) = tokenizer.tokenize([TextInput("bread", InputType.QUERY, "no yeast")])
    assert (item.instruction_ids == ()) is (bundle.manifest.fusion is Fusion.CONCAT)


def test_concat_says_that_a_long_query_cost_its_instruction_the_end(tmp_path: Path) -> None:
    """Both share one sequence of 64 tokens, and the instruction stands at its end."""
    tokenizer = BundleTokenizer.open(Bundle.open(make_tiny_bundle(tmp_path, fusion=Fusion.CONCAT)))
    long = TextInput("bread " * 60, InputType.QUERY, "not the oven")
    (found,) = tokenizer.tokenize([long])
    assert (len(found.ids), found.is_truncated) == (64, True)
    with pytest.raises(InputTooLongError, match="input 0 with its instruction has 65 tokens, the model takes 64"):
        tokenizer.tokenize([long], truncate=False)
    with pytest.raises(InputTooLongError, match="input 0 has 72 tokens, the model takes 64"):
        tokenizer.tokenize([TextInput("bread " * 70, InputType.QUERY, "\u200b")], truncate=False)


@pytest.mark.parametrize("text", ["\u0000", "\u200b\u200d", "\u0301", "\u00a0"])
def test_a_text_of_invisible_characters_is_empty(tokenizer: BundleTokenizer, text: str) -> None:
    with pytest.raises(EmptyInputError, match="input 0 is empty"):
        tokenizer.tokenize([TextInput(text)])


@pytest.mark.parametrize("direction", list(TruncationDirection))
def test_of_a_monstrous_text_only_the_end_that_is_kept_is_tokenized(
    tokenizer: BundleTokenizer, direction: TruncationDirection
) -> None:
    text = "oven " + "bread " * 1_000_000 + "yeast"
    (whole,) = tokenizer.tokenize([TextInput("oven " + "bread " * 99 + "yeast")], direction=direction)
    (found,) = tokenizer.tokenize([TextInput(text)], direction=direction)
    assert found == whole
    with pytest.raises(InputTooLongError, match="has 6000010 characters, the model takes 48 tokens"):
        tokenizer.tokenize([TextInput(text)], truncate=False)


def test_an_input_at_fault_is_called_what_its_caller_calls_it(tokenizer: BundleTokenizer) -> None:
    with pytest.raises(EmptyInputError, match="sentence 2 is empty"):
        tokenizer.tokenize([TextInput("bread"), TextInput("")], name_of=lambda i: f"sentence {i + 1}")


def test_many_inputs_are_tokenized_in_order(tokenizer: BundleTokenizer) -> None:
    words = ["bread", "oven", "yeast"]
    items = [TextInput(words[i % 3], InputType.QUERY, words[i % 2]) for i in range(300)]
    alone = [tokenizer.tokenize([item])[0] for item in items[:6]]
    assert tokenizer.tokenize(items) == [alone[i % 6] for i in range(300)]
