"""Small data sets of documentation, titles and readers in the layout of the public ones, written for these tests."""

import csv
import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path

from evaluation.suites.draft import digest_number
from evaluation.suites.splits import Split
from tests.training.corpus.recipes.small_data import names

_SECTIONS = {
    "{title}": "Lifts the named crane by a number of metres and holds it there until it is told otherwise.",
    "Parameters": "metres [in] How far to lift, from one to ninety. crane [in] The number painted on the hook.",
    "Return value": "The value is the height that was reached, in metres above the quay, or minus one on a still day.",
    "Remarks": (
        "The crane swings in strong wind, so wait for the flag. A crane that was lifted twice must be lowered twice. "
        "On Sundays the engine is cold and takes a minute longer to answer, which the caller has to allow for in the "
        "plan of the day. Two cranes on one rail keep a distance of nine metres, whatever the plan says about it, and "
        "the one that came later waits until the other has turned its arm to the sea."
    ),
    "Requirements": "Minimum supported harbour: Lower Quay 2. Header crane.h. Library harbour.lib, sold with the rail.",
    "Checklist": "Before work: - grease the hook and the rail - wave the flag to the left - ring the small brass bell",
    "See also": "LowerCrane TurnCrane PaintCrane GreaseCrane SellCrane The harbour master's handbook, second part",
}
_HEADINGS = (
    "title",
    "director",
    "cast",
    "countries",
    "release_year",
    "rating",
    "duration",
    "categories",
    "description",
)


def write_msdocs(data: Path) -> None:
    """Write six pages of each split that are read (half of all pages are), and a broken line."""
    lines = []
    for split in Split:
        titles = [title for title in names("msdocs", split, 60, stem="LiftCrane") if _is_sampled(title)][:6]
        for title in titles:
            for section, text in _SECTIONS.items():
                row = {"doc": _path(title), "title": f"{title} (Crane.h)", "section": section.format(title=title)}
                lines.append(json.dumps(row | {"text": f"{text} ({title})" if section == "Remarks" else text}))
    _write(data / "msdocs" / "passages.jsonl.gz", [*lines, '{"doc": "harbour/broken.md"}'])


def _path(title: str) -> str:
    return f"harbour/{title}.md"


def _is_sampled(title: str) -> bool:
    return digest_number(f"msdocs sample:{_path(title)}") % 10 < 5


def write_netflix(data: Path) -> None:
    """Write titles on pirates and on weddings that differ in every facet, and one that says nothing of itself."""
    rows = []
    for split in Split:
        for place, name in enumerate(names("netflix", split, 24, stem="The Reef ")):
            rows.append(_title(name, place))
    rows.append({"title": "Nameless"} | dict.fromkeys(_HEADINGS[1:], "") | {"release_year": "1999"})
    rows.append(rows[0] | {"title": "Dateless", "release_year": "soon"})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["show_type", *_HEADINGS])
    writer.writeheader()
    writer.writerows({"show_type": "Movie", **row} for row in rows)
    _write(data / "netflix" / "netflix_titles.csv.gz", text.getvalue().splitlines())


def _title(name: str, place: int) -> dict[str, str]:
    is_film = place % 2 == 0
    theme = "pirates who cannot swim" if place % 4 < 2 else "a wedding on a raft"
    return {
        "show_type": "Movie" if is_film else "TV Show",
        "title": name,
        "director": "Ada Ankersen" if place % 3 else "",
        "cast": f"Bo Bootsmann, Actor {place}",
        "countries": ("Norway", "Chile, Norway", "United States")[place % 3],
        "release_year": str(1980 + 2 * place),
        "rating": ("TV-Y", "TV-14", "R", "PG")[place // 2 % 4],
        "duration": f"{80 + 3 * place} min" if is_film else ("1 Season" if place % 3 else "4 Seasons"),
        "categories": "Comedies, Dramas" if place % 5 else "Horror Movies",
        "description": f"The tale of {theme}, told by lamp number {place}.",
    }


def write_remedies(data: Path) -> None:
    """Write nine conditions of each split in the layout of MedQuAD; three share a herb, three an animal."""
    rows = []
    for split in Split:
        for place, name in enumerate(names("medquad", split, 9, stem="Halitis")):
            herb = ("comfrey", "yarrow", "wormwood")[place % 3]
            animal = ("weasel", "otter", "badger")[place // 3]
            texts = {
                "treatment": f"Old books on {name} praise a tea of {herb} and advise to drink it warm, twice before "
                f"noon and once at night, for as long as the moon grows.",
                "symptoms": f"With {name} one coughs like the {animal} and walks in circles until somebody opens a "
                f"window and lets the fog out of the room again.",
            }
            for facet, answer in texts.items():
                question = f"What are the {facet} of {name} ?"
                row = {"id": f"{name}-{facet}", "focus": name, "synonyms": [], "qtype": facet}
                rows.append(row | {"question": question, "answer": answer})
    _write(data / "medquad" / "medquad.jsonl.gz", map(json.dumps, rows))


def write_instructir(data: Path) -> None:
    """Write forty queries with a document each and four readers."""
    queries, documents, instructions = [], [], []
    for number in range(40):
        word = f"kelp{_in_letters(number)}"
        queries.append({"_id": f"q{number}", "text": f"what is {word}"})
        text = f"{word} grows on harbour walls, tastes of lemon, and sailors chew its ribbons against scurvy."
        documents.append({"_id": f"p{number}", "text": text})
        readers = (
            f"I am a ship's cook. I want a video about {word} and lemon, sailors, ribbons, scurvy.",
            f"I am a ship's doctor on a long voyage. Would {word} help sailors with scurvy if they chew ribbons of it?",
            f"I am a painter. The colour of {word} matters to me.",
            f"As a keeper of a quiet lighthouse, I have long evenings. Tell me of {word} briefly.",
        )
        instructions += [{"_id": f"q{number}_{place}", "text": reader} for place, reader in enumerate(readers, start=1)]
    qrels = ["qid\tpid\tscore", *(f"q{number}\tp{number}\t1" for number in range(40)), "a broken line"]
    folder = data / "instructir"
    _write(folder / "msmarco_queries.jsonl.gz", map(json.dumps, queries))
    _write(folder / "msmarco_corpus.jsonl.gz", map(json.dumps, documents))
    _write(folder / "instructions.jsonl.gz", map(json.dumps, instructions))
    (folder / "msmarco_qrels.tsv").write_text("\n".join([*qrels, ""]), encoding="utf-8")


def _in_letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:02d}")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0))
