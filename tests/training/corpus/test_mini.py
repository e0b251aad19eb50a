import json
from collections import Counter
from collections.abc import Mapping

import pytest

from evaluation.suites.builtin import BUILTIN, load_builtin
from training.corpus.files import read_corpus
from training.corpus.mini import DEV_DOMAINS, DIRECTORY, Part, read_mini
from training.corpus.rows import InstructionType

PARTS = {
    "inf-ir-mini": 15_943,
    "like:inf-ir-mini": 1_883,
    "stance:inf-ir-mini": 1_738,
    "kinds:inf-ir-mini": 1_311,
}


def test_every_row_holds_two_or_three_pairs_and_says_where_it_comes_from() -> None:
    reading = read_corpus(DIRECTORY)
    rows = list(reading.rows)
    assert reading.quarantined == []
    assert len(rows) == 20_875  # as its README says, and the numbers below
    assert len({row.domain for row in rows}) == 319
    # the third pair, another query under the same instruction, only where the judge found its document right
    assert {len(row.pairs()) for row in rows} == {2, 3}
    assert all(row.hard_negative_document_1 for row in rows)
    assert {row.license for row in rows} == {"Apache-2.0"}
    assert Counter(row.source for row in rows) == PARTS
    kinds = Counter(row.instruction_type for row in rows)
    assert set(kinds) == set(InstructionType) - {InstructionType.PLAIN}
    assert (kinds[InstructionType.EXCLUSION] + kinds[InstructionType.NEGATION]) / len(rows) >= 0.3


def test_parts_share_no_domain_and_no_text() -> None:
    train, dev = (list(read_mini(part)) for part in (Part.TRAIN, Part.DEV))
    assert len(dev) == 893
    queries = [{pair.query for row in rows for pair in row.pairs()} for rows in (train, dev)]
    assert queries[0] & queries[1] == {"mangroves", "lithium for bipolar disorder"}  # under other wishes
    assert {row.domain for row in dev} == DEV_DOMAINS
    assert {row.source for row in dev} == {row.source for row in train}
    assert not {row.domain for row in train} & DEV_DOMAINS
    texts = [{pair.document for row in rows for pair in row.pairs()} for rows in (train, dev)]
    assert not texts[0] & texts[1]


@pytest.mark.parametrize("name", BUILTIN)
def test_it_shares_no_domain_and_no_document_with_the_suites_it_is_tested_on(name: str) -> None:
    suite = load_builtin(name)
    rows = list(read_corpus(DIRECTORY).rows)
    assert not {row.domain for row in rows} & {query.topic.rpartition("-")[0] for query in suite.queries}
    assert not {pair.document for row in rows for pair in row.pairs()} & set(suite.documents.values())


def test_rejected_rows_are_kept_apart_with_their_reasons() -> None:
    lines = (DIRECTORY / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    rejected = [json.loads(line) for line in lines]
    assert all(row["failed"] for row in rejected)
    kept = {_wishes(row.model_dump()) for row in read_corpus(DIRECTORY).rows}
    assert not kept & {_wishes(row) for row in rejected}


def test_no_two_rows_ask_the_same() -> None:
    rows = [_wishes(row.model_dump()) for row in read_corpus(DIRECTORY).rows]
    assert len(set(rows)) == len(rows)


def _wishes(row: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(row[column] for column in ("query_positive", "instruction_positive", "instruction_negative"))
