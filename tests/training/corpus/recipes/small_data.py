"""Small data sets in the layout of the public ones, every sentence written for these tests."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from evaluation.suites.splits import Split, split_of

PAGES = {
    "information": "{name} is an illness of the inner ear that makes people hear the sea.",
    "symptoms": "People with {name} hear waves at night and lose their balance on stairs.",
    "treatment": "{name} is treated with rest in the mountains, far from any coast, and with a tonic.",
    "frequency": "About one sailor in nine hundred is thought to have {name} at some time.",
    "prevention": "Cotton wool in the ears keeps {name} away from most of those who go to sea.",
}


def names(source: str, split: Split, n: int, *, stem: str) -> list[str]:
    """Invent `n` names that fall into a split of a source."""
    found = (f"{stem}{number}" for number in range(10_000))
    return [name for name in found if split_of(source, name.casefold()) is split][:n]


def write_medquad(data: Path) -> None:
    """Write four conditions of each split with five facets each, and a brief page on one of them."""
    rows = []
    for split in Split:
        for name in names("medquad", split, 4, stem="Thalassitis"):
            for facet, text in PAGES.items():
                rows.append(_page(name, facet, text.format(name=name)))
            long = (
                f"The tonic against {name} is taken at dawn. " + "It tastes of iron and is stirred with a spoon. " * 18
            )
            rows.append(_page(name, "treatment", long))
    _write_lines(data / "medquad" / "medquad.jsonl.gz", rows)


def write_condaqa(data: Path) -> None:
    """Write passages of which two edits answer a question with no and yes; one of the train file is tested too."""
    files = {
        "test_from_fewshot_union.jsonl.gz": range(100, 160),
        "dev.jsonl.gz": range(900, 903),
    }
    for file, numbers in files.items():
        rows = [row for number in numbers for row in _answers(number)]
        if file.startswith("dev"):
            rows.append(_answers(100)[1] | {"passage_id": 903})
        _write_lines(data / "condaqa" / file, rows)


def write_perspectrum(data: Path) -> None:
    """Write three claims of each split, and a perspective that all have; the first train claim is tested too."""
    folder = data / "perspectrum"
    claims: list[dict[str, object]] = []
    pool: list[dict[str, object]] = [{"pId": 1, "text": "Everyone says so."}]
    splits: dict[str, str] = {}
    for place, split in enumerate([Split.TRAIN, Split.DEV, Split.TEST] * 3):
        number = 10 * (place + 1)
        splits[str(number)] = split.value
        texts = [f"Village {number} would be quieter.", f"Village {number} could not pay for it."]
        pool += [{"pId": number + side, "text": text} for side, text in enumerate(texts)]
        clusters = [
            {"pids": [number, 1], "stance_label_3": "SUPPORT"},
            {"pids": [number + 1], "stance_label_3": "UNDERMINE"},
        ]
        claim = f"Village {number} should close its road to cars."
        claims.append({"cId": number, "text": claim, "perspectives": clusters, "topics": ["town_planning"]})
    splits["500"] = Split.TEST.value
    claims.append(claims[0] | {"cId": 500, "perspectives": []})
    _write_json(folder / "dataset_split_v1.0.json", splits)
    _write_json(folder / "perspective_pool_v1.0.json.gz", pool)
    _write_json(folder / "perspectrum_with_answers_v1.0.json.gz", claims)


def write_fever_symmetric(data: Path) -> None:
    """Write pairs of claims that share two sentences; one pair of the train file is also in the test file."""
    folder = data / "fever-symmetric"
    _write_lines(folder / "fever_symmetric_dev.jsonl.gz", [row for number in range(40) for row in _claims(number)])
    _write_lines(folder / "fever_symmetric_test.jsonl.gz", [row for number in range(39, 43) for row in _claims(number)])


def write_negation_pairs(data: Path) -> None:
    """Write 60 sentences with their denials, and a line with one column."""
    lines = ["sentence\tnegated"]
    for number in range(60):
        sentence = f"The lighthouse keeper of island {number} always lit the big lamp before supper"
        lines.append(f"{sentence}.\t{sentence.replace('always', 'never')}.")
    lines.insert(3, "a line without its second column")
    path = data / "negation-pairs" / "wikifactcheck_english_negation_pairs.tsv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))


def write_pubmedqa(data: Path) -> None:
    """Write 30 abstracts with five sections, the results with figures, the conclusion without."""
    abstracts = {
        str(number): {
            "QUESTION": f"Do goats of herd {number} sleep longer in winter?",
            "LABELS": ["BACKGROUND", "OBJECTIVE", "METHODS", "RESULTS", "UNLABELLED"],
            "CONTEXTS": [
                f"Why the goats of this valley, herd {number}, rest so much has never been studied before.",
                f"To learn whether the goats of herd {number} sleep longer when days are short.",
                f"We watched herd {number} from a hut and wrote down when each goat lay down.",
                f"In herd {number}, 14 of 20 goats slept 9.5 hours in winter, 7 hours in summer (p = 0.04, n = 20).",
                "Nothing is said here.",
            ],
            "LONG_ANSWER": "Goats seem to sleep longer in winter, at least in the herd that was watched "
            + "and " * 2
            + f"called {_in_letters(number)} by its owner.",
            "MESHES": ["Animals", "Goats", "Sleep", "Seasons"],
        }
        for number in range(30)
    }
    _write_json(data / "pubmedqa" / "ori_pqal.json.gz", abstracts)


def _in_letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def _page(name: str, facet: str, answer: str) -> dict[str, object]:
    question = f"What is (are) the {facet} of {name} ?"
    row = {"id": f"{name}-{facet}-{len(answer)}", "focus": name, "synonyms": [], "qtype": facet}
    return {**row, "question": question, "answer": answer}


def _answers(number: int) -> list[dict[str, object]]:
    common = {
        "passage_id": number,
        "question_id": "q10",
        "question": f"Could one cross the ford of mile {number} on foot?",
    }
    return [
        common | {"edit": 0, "passage": f"The ford at mile {number} was rarely shallow.", "label": "NO"},
        common | {"edit": 3, "passage": f"The ford at mile {number} was usually shallow.", "label": "YES"},
        common | {"edit": 1, "passage": f"The ford at mile {number} has a name.", "label": "in summer"},
    ]


def _claims(number: int) -> list[dict[str, str]]:
    sentences = (f"Bridge {number} was built of oak .", f"Bridge {number} was built of iron .")
    claims = (f"Bridge {number} is wooden .", f"Bridge {number} is made of metal .")
    return [
        {"claim": claim, "evidence": sentence, "gold_label": "SUPPORTS" if here == there else "REFUTES"}
        for here, claim in enumerate(claims)
        for there, sentence in enumerate(sentences)
    ]


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
