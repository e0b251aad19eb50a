"""Wishes about what documents have: which ones tell two documents apart, and how they are said."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from evaluation.suites.draft import digest_number
from evaluation.suites.splits import Split
from training.corpus.recipes.wordings import choose_wording
from training.corpus.rows import InstructionType

D = TypeVar("D")


@dataclass(frozen=True)
class Attribute(Generic[D]):
    """Something that documents have or lack, and the sections with the wordings to ask for it and to leave it out.

    `judge` answers None where a reader could not tell: such a document is neither right nor wrong.
    """

    only: str
    without: str
    slots: Mapping[str, str]
    type: InstructionType
    judge: Callable[[D], bool | None]
    facet: str = ""


@dataclass(frozen=True)
class Wish(Generic[D]):
    """An attribute that a document must have, or must not have."""

    attribute: Attribute[D]
    is_wanted: bool

    def is_fulfilled_by(self, document: D) -> bool:
        return self.attribute.judge(document) is self.is_wanted

    @property
    def type(self) -> InstructionType:
        return self.attribute.type if self.is_wanted else InstructionType.EXCLUSION

    def instruction(self, key: str, split: Split) -> str:
        """Say the wish in a wording that is chosen by a digest of `key`."""
        section = self.attribute.only if self.is_wanted else self.attribute.without
        return choose_wording(section, key, split).format(**self.attribute.slots)


def telling_apart(right: D, wrong: D, attributes: Callable[[D], Iterable[Attribute[D]]]) -> list[Wish[D]]:
    """Return the wishes that `right` fulfils and `wrong` violates; `attributes` lists what a document has."""
    having = [Wish(found, is_wanted=True) for found in attributes(right)]
    lacking = [Wish(found, is_wanted=False) for found in attributes(wrong)]
    return [
        wish
        for wish in having + lacking
        if wish.attribute.judge(right) is wish.is_wanted and wish.attribute.judge(wrong) is (not wish.is_wanted)
    ]


def rotated(values: Sequence[D], key: str) -> list[D]:
    """Return the values from a place on that a digest of `key` chooses, so that none comes first too often."""
    start = digest_number(f"{key}:start") % max(len(values), 1)
    return [*values[start:], *values[:start]]
