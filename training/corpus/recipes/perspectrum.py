"""Perspectrum: claims, and one-sentence perspectives that support or undermine them; the official split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from evaluation.suites.splits import Split
from training.corpus.files import Quarantined
from training.corpus.recipes.recipe import Found, Recipe
from training.corpus.recipes.records import Record, check_records, read_json
from training.corpus.recipes.sides import Side, Topic, TwoSided
from training.corpus.recipes.splits import held_out_from
from training.corpus.rows import InstructionType
from training.corpus.texts import normalized

_SPLIT_FILE = "dataset_split_v1.0.json"
_POOL_FILE = "perspective_pool_v1.0.json.gz"
_CLAIMS_FILE = "perspectrum_with_answers_v1.0.json.gz"
_SIDES = {
    "SUPPORT": Side("stance.support", "stance.spare_oppose"),
    "UNDERMINE": Side("stance.oppose", "stance.spare_support"),
}
_LICENSE = "CC BY-SA 4.0"
_TWO_SIDED = TwoSided(
    sides=(_SIDES["SUPPORT"], _SIDES["UNDERMINE"]),
    kind=InstructionType.STANCE,
    spared_kind=InstructionType.EXCLUSION,
    source="perspectrum",
    license=_LICENSE,
    max_rows_per_topic=8,
)


class _Perspective(Record):
    pId: int
    text: str


class _Cluster(Record):
    pids: list[int]
    stance_label_3: Literal["SUPPORT", "UNDERMINE"]


class _Claim(Record):
    cId: int
    text: str
    perspectives: list[_Cluster]
    topics: tuple[str, ...] = ()


def _rows(directory: Path, split: Split) -> Iterator[Found]:
    aside: list[Quarantined] = []
    splits = read_json(directory, _SPLIT_FILE)
    perspectives = check_records(read_json(directory, _POOL_FILE), _POOL_FILE, _Perspective, aside)
    pool = {perspective.pId: perspective.text for perspective in perspectives}
    topics: list[Topic] = []
    claims = list(check_records(read_json(directory, _CLAIMS_FILE), _CLAIMS_FILE, _Claim, aside))
    others = [claim for claim in claims if splits.get(str(claim.cId)) in held_out_from(split)]
    held_out = {normalized(pool[pid]) for claim in others for pid in _perspectives(claim) if pid in pool}
    held_out |= {normalized(claim.text) for claim in others}
    for claim in claims:
        if splits.get(str(claim.cId)) != split or normalized(claim.text) in held_out:
            continue
        domain = claim.topics[0].replace("_", " ") if claim.topics else "society"
        topic = Topic(str(claim.cId), claim.place, claim.text, domain=domain)
        for cluster in claim.perspectives:
            for identifier in cluster.pids:
                if identifier not in pool:
                    aside.append(Quarantined(claim.place, f"{_POOL_FILE} has no perspective {identifier}"))
                elif normalized(pool[identifier]) not in held_out:  # two splits share perspectives and even claims
                    topic.add(_SIDES[cluster.stance_label_3], pool[identifier])
        topics.append(topic)
    yield from _TWO_SIDED.rows(topics, split)
    yield from aside


def _perspectives(claim: _Claim) -> list[int]:
    return [identifier for cluster in claim.perspectives for identifier in cluster.pids]


RECIPE = Recipe(
    name="perspectrum",
    folder="perspectrum",
    files=(_SPLIT_FILE, _POOL_FILE, _CLAIMS_FILE),
    license=_LICENSE,
    origin="https://github.com/CogComp/perspectrum",
    rows=_rows,
)
