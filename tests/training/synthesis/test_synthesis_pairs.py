"""Pairs are read whole, broken ones are told apart, and types are dealt evenly."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infembed.errors import BadArtefactError, MissingArtefactError
from training.corpus.rows import InstructionType
from training.synthesis.pairs import AVOIDING, deal_types, read_tasks

TYPES = tuple(kind for kind in InstructionType if kind is not InstructionType.PLAIN)


@pytest.mark.parametrize("n", range(1, 200, 7))
def test_a_third_is_exclusion_or_negation_and_the_others_are_even_at_every_length(n: int) -> None:
    dealt = Counter(islice(deal_types(TYPES, seed=0), n))
    assert sum(dealt[kind] for kind in AVOIDING) == -(-n // 3)
    others = [dealt[kind] for kind in TYPES if kind not in AVOIDING]
    assert max(others) - min(others) <= 1
    assert abs(dealt[AVOIDING[0]] - dealt[AVOIDING[1]]) <= 1


def test_fewer_types_are_dealt_alone() -> None:
    assert set(islice(deal_types([InstructionType.STANCE], seed=0), 9)) == {InstructionType.STANCE}
    assert set(islice(deal_types([InstructionType.NEGATION], seed=0), 9)) == {InstructionType.NEGATION}


def test_rows_that_are_appended_change_nothing_before_them() -> None:
    assert list(islice(deal_types(TYPES, seed=3), 40)) == list(islice(deal_types(TYPES, seed=3), 90))[:40]
    assert list(islice(deal_types(TYPES, seed=3), 40)) != list(islice(deal_types(TYPES, seed=4), 40))


def test_broken_and_repeated_rows_are_set_aside_with_their_numbers(tmp_path: Path) -> None:
    good = {"query": " a query ", "passage": "a passage", "domain": "tests", "url": "left alone"}
    asks = {"query": "b", "passage": "b", "instruction_type": "stance"}
    lines = [json.dumps(good), "{", "[1]", '{"query": "", "passage": "p"}', '{"query": "q"}', json.dumps(good)]
    lines += [json.dumps(asks), json.dumps({**asks, "query": "c", "instruction_type": "plain"})]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    read = read_tasks(tmp_path / "pairs.jsonl", types=TYPES, seed=0)
    assert [(task.number, task.pair.query) for task in read.tasks] == [(1, "a query"), (7, "b")]
    assert read.tasks[1].instruction_type is InstructionType.STANCE
    assert [found.number for found in read.quarantined] == [2, 3, 4, 5, 6, 8]
    assert read.quarantined[4].reason == "the same query and passage as row 1"


def test_parquet_is_read_by_the_same_columns(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"query": "q", "passage": "p", "domain": None}]), tmp_path / "pairs.parquet")
    (task,) = read_tasks(tmp_path / "pairs.parquet", types=TYPES, seed=0).tasks
    assert (task.pair.query, task.pair.domain) == ("q", None)


def test_a_file_without_usable_pairs_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"text": "neither"}\n')
    with pytest.raises(BadArtefactError, match="no usable pair.*row 1, query"):
        read_tasks(tmp_path / "pairs.jsonl", types=TYPES, seed=0)
    with pytest.raises(MissingArtefactError, match="no pairs at"):
        read_tasks(tmp_path / "none.jsonl", types=TYPES, seed=0)
