"""Inputs of every length for the parity check, from a few texts in many scripts."""

import tomllib
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from infembed.inputs import InputType, TextInput
from infembed.tokenization import BundleTokenizer

_TEXTS = Path(__file__).with_name("parity_texts.toml")
_SHORTEST = 8


class _Texts(NamedTuple):
    documents: list[str]
    queries: list[str]
    instructions: list[str]


def length_buckets(longest: int) -> list[int]:
    """Return 8, 16, 32, ... up to the longest."""
    buckets = [_SHORTEST]
    while buckets[-1] * 2 < longest:
        buckets.append(buckets[-1] * 2)
    return [*buckets, longest] if longest > _SHORTEST else [longest]


def parity_inputs(tokenizer: BundleTokenizer, *, document: int, query: int, instruction: int) -> list[TextInput]:
    """Make documents, plain queries and queries with instructions: each text as it is, and as long as each bucket.

    The longest of each kind has more tokens than the model takes, so that truncation is compared as well.
    """
    texts = _Texts(**tomllib.loads(_TEXTS.read_text(encoding="utf-8")))
    return [
        *(TextInput(text) for text in texts.documents),
        *(TextInput(text) for text in _of_every_length(tokenizer, texts.documents, document)),
        *(TextInput(text, InputType.QUERY) for text in texts.queries),
        *(
            TextInput(text, InputType.QUERY, why)
            for text, why in zip(texts.queries, cycle(texts.instructions), strict=False)
        ),
        *_queries(tokenizer, texts, query=query, instruction=instruction),
    ]


def _queries(tokenizer: BundleTokenizer, texts: _Texts, *, query: int, instruction: int) -> Iterator[TextInput]:
    """Pair queries of every length with no instruction, one alike in length, and one at the other end."""
    long_queries = _of_every_length(tokenizer, texts.documents[::-1], query)
    wishes = _of_every_length(tokenizer, texts.instructions, instruction)
    n = len(long_queries)
    for text, near, far in zip(long_queries, islice(cycle(wishes), n), islice(cycle(wishes[::-1]), n), strict=True):
        for wish in (None, near, far):
            yield TextInput(text, InputType.QUERY, wish)


def _of_every_length(tokenizer: BundleTokenizer, texts: Sequence[str], longest: int) -> list[str]:
    buckets = length_buckets(longest)
    found = []
    for number, bucket in enumerate(buckets):
        text = " ".join(islice(cycle([*texts[number % len(texts) :], *texts[: number % len(texts)]]), longest))
        found.append(_cut(tokenizer, text, bucket) if bucket < longest else _cut(tokenizer, text, longest) + " " + text)
    return found


def _cut(tokenizer: BundleTokenizer, text: str, n_tokens: int) -> str:
    """Return the longest beginning of a text with at most so many tokens, at least one character."""
    least, most = 1, min(len(text), 16 * n_tokens)
    while least < most:
        middle = (least + most + 1) // 2
        (item,) = tokenizer.tokenize([TextInput(text[:middle])])
        least, most = (middle, most) if item.n_tokens <= n_tokens and not item.is_truncated else (least, middle - 1)
    return text[:least]
