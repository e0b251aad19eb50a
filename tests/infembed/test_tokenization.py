from pathlib import Path

import pytest

from infembed.bundle import Bundle
from infembed.errors import EmptyInputError, InputTooLongError
from infembed.inputs import Fusion, InputType, TextInput
from infembed.tokenization import BundleTokenizer, TruncationDirection

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


def test_text_that_is_nothing_to_the_tokenizer_still_has_its_special_tokens(tokenizer: BundleTokenizer) -> None:
    (item,) = tokenizer.tokenize([TextInput("\u0000\u200b")])
    assert item.ids[0] == CLS
    assert item.ids[-1] == SEP
