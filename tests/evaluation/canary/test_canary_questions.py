import json
from hashlib import sha256
from pathlib import Path

import pytest

from evaluation.canary.questions import Probe, Search, Shadow, read_questions
from infembed.errors import BadInputError, MissingArtefactError

PROBE = {"query": "bread", "original_instruction": "with prices", "changed_instruction": "no prices"}


def _file(directory: Path, *lines: object) -> Path:
    path = directory / "queries.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_shadow_queries_and_probes_share_a_file(tmp_path: Path) -> None:
    path = _file(tmp_path, {"query": "a"}, "", {"query": "b", "instruction": "c"}, PROBE | {"withdrawn": ["d1"]})
    found = read_questions(path)
    assert found.questions == (
        Shadow(query="a"),
        Shadow(query="b", instruction="c"),
        Probe(query="bread", original_instruction="with prices", changed_instruction="no prices", withdrawn=("d1",)),
    )
    assert found.sha256 == sha256(path.read_bytes()).hexdigest()


def test_a_probe_is_searched_under_both_instructions() -> None:
    assert Probe.model_validate(PROBE).searches == (Search("bread", "with prices"), Search("bread", "no prices"))


def test_other_keys_of_a_query_log_are_welcome(tmp_path: Path) -> None:
    path = _file(tmp_path, {"query": "a", "user": 7, "at": "2026-01-01", "queries_so_far": 2})
    assert read_questions(path).questions == (Shadow(query="a"),)


def test_a_byte_order_mark_is_not_part_of_the_first_query(tmp_path: Path) -> None:
    path = _file(tmp_path, '\ufeff{"query": "a"}')
    assert read_questions(path).questions == (Shadow(query="a"),)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        (["a"], "is list"),
        ({"instruction": "a"}, "query"),
        ({"query": ""}, "query"),
        ({"query": "  "}, "query"),
        ({"query": 5}, "query"),
        ({"query": "a", "instruction": ""}, "instruction"),
        ({"query": "a", "instructon": "b"}, "did you mean 'instruction'"),
        ({"query": "a", "original_instruction": "b"}, "changed_instruction"),
        (PROBE | {"changed_instruction": "with prices"}, "are the same"),
        (PROBE | {"withdrawn": "d1"}, "withdrawn"),
        (PROBE | {"withdrawn": [1]}, "withdrawn"),
        ({"query": "a", "withdrawn": ["d1"]}, "not both instructions"),
    ],
)
def test_a_malformed_line_is_named_with_what_was_expected(tmp_path: Path, line: object, words: str) -> None:
    with pytest.raises(BadInputError) as refused:
        read_questions(_file(tmp_path, {"query": "fine"}, line))
    message = str(refused.value)
    assert "queries.jsonl line 2" in message
    assert words in message
    assert 'one JSON object with "query"' in message


def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b'{"query": "a"}\n{"query": "\xff"}\n')
    with pytest.raises(BadInputError, match="line 2 is not UTF-8"):
        read_questions(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(content)
    with pytest.raises(BadInputError, match="holds no query"):
        read_questions(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match="no file of queries"):
        read_questions(tmp_path / "none")
