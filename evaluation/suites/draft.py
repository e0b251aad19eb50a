"""A suite in the making: documents are added once, queries with what is relevant to them."""

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery, derive_qrel_diff

_T = TypeVar("_T")
_SPACES = re.compile(r"\s+")
_WORDINGS = Path(__file__).with_name("wordings.toml")


class SuiteDraft:
    """Collects a suite; equal texts become one document."""

    def __init__(self) -> None:
        self._documents: dict[str, str] = {}
        self._id_of_text: dict[str, str] = {}
        self._queries: list[SuiteQuery] = []
        self._qrels: dict[str, dict[str, int]] = {}

    def document(self, identifier: str, text: str) -> str:
        """Add a document unless its text is there already; returns the id it is known by."""
        clean = _SPACES.sub(" ", text).strip()
        known = self._id_of_text.setdefault(clean.casefold(), identifier)
        if known == identifier:
            self._documents[identifier] = clean
        return known

    def query(self, query: SuiteQuery, relevant: Mapping[str, int] | Sequence[str]) -> None:
        """Add a query with its judgements: grades by document, or the documents that are relevant."""
        grades = relevant if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1)
        self._queries.append(query.model_copy(update={"text": _SPACES.sub(" ", query.text).strip()}))
        self._qrels[query.id] = dict(grades)

    def finish(self, info: SuiteInfo) -> Suite:
        """Check and return the suite."""
        return Suite(
            info=info,
            documents=self._documents,
            queries=tuple(self._queries),
            qrels=self._qrels,
            qrel_diff=derive_qrel_diff(self._queries, self._qrels),
        )


def choose(options: Sequence[_T], key: str) -> _T:
    """Choose one of the options by a digest of `key`: the same on every machine, for ever."""
    return options[digest_number(key) % len(options)]


def digest_number(key: str) -> int:
    """Return a number that depends on nothing but `key`."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


@cache
def wordings(section: str) -> Mapping[str, Any]:
    """Return one section of the instructions written for evaluation."""
    found: Mapping[str, Any] = tomllib.loads(_WORDINGS.read_text(encoding="utf-8"))[section]
    return found
