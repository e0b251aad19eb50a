"""The bundle's tokenizer against the original model's, on text as the model sees it."""

from pathlib import Path

import pytest
from transformers import BertTokenizerFast

from infembed.bundle import Bundle
from infembed.errors import MissingArtefactError
from infembed.inputs import Fusion, InputType, TextInput, render
from infembed.tokenization import BundleTokenizer
from model_export.assemble import BASE_RECIPE, Recipe, assemble, find_base, find_recipe

TEXTS = [
    "How do I debug a failing liveness probe?",
    "HOW DO I DEBUG A FAILING LIVENESS PROBE?!",
    "a",
    ".",
    "  leading and trailing blanks  ",
    "tab\tand\nnew\r\nline",
    "caf\u00e9 na\u00efve Stra\u00dfe \u0130stanbul",
    "e\u0301 as two characters",
    "\u4f60\u597d\u4e16\u754c and \u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "emoji \U0001f600\U0001f469\u200d\U0001f4bb flags \U0001f1e9\U0001f1ea",
    "zero\u200bwidth\u00a0no-break\u00adsoft",
    "control \x00\x07\x1b[31m characters \ufffd",
    "\u200b word",
    "\x00 word",
    "\U0001f600",
    "[CLS] [SEP] [MASK] [PAD] [UNK] written out",
    "unaffable antidisestablishmentarianism",
    "x" * 99,
    "x" * 101,
    "x" * 5000,
    "word " * 1000,
    "https://example.org/a?b=c&d=%20#e",
    "def f(x): return x**2  # comment",
    "1,234.56 \u20ac 10\u207b\u00b3 \u00bd \u2460",
    "don't can't it's \u2019quoted\u2019 \u201cdouble\u201d \u2014 dash",
    "C++ C# .NET node.js k8s IPv6",
    "\uff26\uff55\uff4c\uff4c\uff57\uff49\uff44\uff54\uff48",
    "\u1e9e \ufb01 \u0149 ligatures",
]
INSTRUCTIONS = [
    "only for beginners",
    "  only for beginners, NOT for experts!  ",
    "\u0442\u043e\u043b\u044c\u043a\u043e \u043f\u043e-\u0440\u0443\u0441\u0441\u043a\u0438",
    "\u4ec5\u4e2d\u6587 \U0001f600",
    "without " * 300,
]
CASES = [
    *(TextInput(text) for text in TEXTS),
    *(TextInput(text, InputType.QUERY, INSTRUCTIONS[n % 5]) for n, text in enumerate(TEXTS[:20])),
]


@pytest.fixture(scope="module", params=[Fusion.PREFIX, Fusion.CONCAT])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The default model under a fusion that reads two texts, and one that reads them joined."""
    path = tmp_path_factory.mktemp("tokens") / "bundle"
    try:
        assemble(find_recipe(BASE_RECIPE), path, fusion=request.param)
    except MissingArtefactError as error:
        pytest.skip(str(error))
    return Bundle.open(path)


@pytest.fixture(scope="module")
def original() -> BertTokenizerFast:
    """The original tokenizer, made from its vocabulary and not from the file in the bundle."""
    recipe = Recipe.model_validate_json((find_recipe(BASE_RECIPE) / "recipe.json").read_bytes())
    vocabulary: Path = find_base(recipe.base) / "vocab.txt"
    return BertTokenizerFast(vocab_file=str(vocabulary), do_lower_case=True)


def test_fifty_rendered_texts_have_the_original_models_token_ids(bundle: Bundle, original: BertTokenizerFast) -> None:
    assert len(CASES) == 50
    manifest = bundle.manifest
    for case, found in zip(CASES, BundleTokenizer.open(bundle).tokenize(CASES), strict=True):
        rendered = render(case, fusion=manifest.fusion, prompts=manifest.prompts)
        is_query = case.input_type is InputType.QUERY
        limit = manifest.max_query_tokens if is_query else manifest.max_tokens.document
        assert list(found.ids) == original(rendered.text, truncation=True, max_length=limit)["input_ids"]
        if rendered.instruction is None:
            assert found.instruction_ids == ()
        else:
            limit = manifest.max_tokens.instruction
            expected = original(rendered.instruction, truncation=True, max_length=limit)["input_ids"]
            assert list(found.instruction_ids) == expected
