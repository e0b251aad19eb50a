"""Instructions written by hand for the recipes; a fifth of every list is kept for dev and test.

`wordings/NAME.toml` holds the sections `NAME.…`: lists of wordings, or tables of them. A table named `phrases` holds
lists of names for one thing, to be put into a wording; these are the same in every split.
"""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from evaluation.suites.draft import choose, digest_number
from evaluation.suites.splits import Split

DIRECTORY = Path(__file__).with_name("wordings")
PHRASES = "phrases"
_HELD_OUT_SHARE = 5


class Wordings(NamedTuple):
    """One list of wordings in its two parts."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        """Return the part that a split may use."""
        return self.train if split is Split.TRAIN else self.held_out


def choose_wording(section: str, key: str, split: Split) -> str:
    """Choose a wording of a section by a digest of `key`: TRAIN of four fifths of them, DEV and TEST of the rest."""
    return choose(all_wordings()[section].of(split), f"{section}:{key}")


def choose_phrase(section: str, key: str) -> str:
    """Choose one of the names of a thing, `NAME.phrases.THING`, by a digest of `key`."""
    return choose(all_phrases()[section], f"{section}:{key}")


@cache
def all_wordings() -> Mapping[str, Wordings]:
    """Return every list of wordings by its section."""
    return {section: _in_two_parts(texts) for section, texts in _lists() if PHRASES not in section.split(".")}


@cache
def all_phrases() -> Mapping[str, tuple[str, ...]]:
    """Return every list of phrases by its section."""
    return {section: tuple(texts) for section, texts in _lists() if PHRASES in section.split(".")}


def _in_two_parts(texts: list[str]) -> Wordings:
    by_digest = sorted(texts, key=digest_number)
    n_held_out = len(texts) // _HELD_OUT_SHARE
    return Wordings(train=tuple(by_digest[n_held_out:]), held_out=tuple(by_digest[:n_held_out]))


def _lists() -> Iterator[tuple[str, list[str]]]:
    for path in sorted(DIRECTORY.glob("*.toml")):
        yield from _walk(path.stem, tomllib.loads(path.read_text(encoding="utf-8")))


def _walk(section: str, value: object) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, list):
        yield section, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(f"{section}.{name}", inner)
