"""TREC topic files, whose topics are the queries of FollowIR: Robust04, Core17 and News21 must stay out of training."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infembed.errors import BadConfigError, MissingArtefactError

_TOPIC = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_FIELD = re.compile(r"<(num|title|desc|narr)>(.*?)(?=<(?:num|title|desc|narr|/)|\Z)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(r"^\s*(?:Number|Topic|Description|Narrative)\s*:", re.IGNORECASE)


class Topic(NamedTuple):
    """One topic; the narrative is what FollowIR's instructions are made from."""

    number: str
    title: str
    description: str
    narrative: str


def read_topics(path: Path) -> Iterator[Topic]:
    """Read topics in TREC's SGML format (`<top>`, `<num>`, `<title>`, `<desc>`, `<narr>`)."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise MissingArtefactError(f"no topic file at {path}") from error
    found = [_topic(body) for body in _TOPIC.findall(text)]
    if not found or not all(topic.number and topic.title for topic in found):
        raise BadConfigError(f"{path} holds no TREC topics: expected <top> with <num> and <title> inside")
    yield from found


def _topic(body: str) -> Topic:
    fields = {name.lower(): _clean(value) for name, value in _FIELD.findall(body)}
    return Topic(
        number=fields.get("num", ""),
        title=fields.get("title", ""),
        description=fields.get("desc", ""),
        narrative=fields.get("narr", ""),
    )


def _clean(value: str) -> str:
    return " ".join(_LABEL.sub("", value).split())
