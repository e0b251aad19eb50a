import gzip
import json
from pathlib import Path

import pytest

from evaluation.suites.catalogue import BUILT, find_suite
from evaluation.suites.hub import TASKS
from evaluation.suites.layout import Suite, SuiteInfo, SuiteQuery
from evaluation.suites.storage import save_suite
from infembed.errors import BadConfigError, MissingArtefactError


def test_a_built_suite_is_found_below_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "condaqa").mkdir()
    rows = [
        {"passage_id": 1, "edit": n, "question_id": "q", "question": "Open?", "passage": label, "label": label}
        for n, label in enumerate(("YES", "NO"))
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "condaqa" / "dev.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert find_suite("condaqa", data=tmp_path).info.name == "condaqa-polarity"


def test_a_directory_with_a_suite_is_loaded(tmp_path: Path) -> None:
    query = SuiteQuery(id="q", topic="q", text="tea")
    suite = Suite(SuiteInfo(name="own", licence="none", source="mine"), {"d": "tea"}, (query,), {"q": {"d": 1}}, {})
    save_suite(suite, tmp_path / "own")
    assert find_suite(str(tmp_path / "own"), data=None) == suite


@pytest.mark.parametrize("name", BUILT)
def test_a_suite_whose_data_is_not_there_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingArtefactError, match=r"no data directory was given; set INFEMBED_DATA .*docs/data\.md"):
        find_suite(name, data=None)
    with pytest.raises(MissingArtefactError, match=f"there is no {tmp_path / BUILT[name].directory}"):
        find_suite(name, data=tmp_path)


@pytest.mark.parametrize("name", ["medqad", "mair-no_such_task", "nevir/part"])
def test_an_unknown_name_gets_the_list_of_suites(name: str) -> None:
    known = "instruct-mini, instruct-mini-2, like-mini, medquad, .*followir-core17.*mair-nevir"
    with pytest.raises(BadConfigError, match=f"no suite '{name}'; .*there are {known}"):
        find_suite(name, data=None)


def test_every_suite_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in text.splitlines() if line.startswith("| ")]
    documented: set[str] = set()
    for row in rows:
        names = row[0].split(", ")
        stem = names[0].partition("-")[0]
        documented |= {f"{stem}{name}" if name.startswith("-") else name for name in names}
    assert {*BUILT, *TASKS} <= documented
