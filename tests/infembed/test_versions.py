"""Artefacts of other releases: older ones name the command that renews them, newer ones the release that reads them."""

import json
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from infembed import version
from infembed.config import Config, parse_json
from infembed.errors import AlteredArtefactError, BadArtefactError, NewerArtefactError
from infembed.manifests import read_sealed, sealed


class Thing(Config):
    """An artefact whose second version is the one that is read."""

    schema_version: Literal[2] = 2
    name: str = "thing"
    made_with: dict[str, str] = Field(default_factory=dict)


def _read(path: Path, **fields: object) -> Thing:
    path.write_text(json.dumps(sealed(json.loads(json.dumps(fields)))))
    return read_sealed(Thing, path, version=2, remedy="make it again", renew="run `renew`")


def test_an_older_one_names_who_wrote_it_and_the_command_that_renews_it(tmp_path: Path) -> None:
    with pytest.raises(BadArtefactError) as refused:
        _read(tmp_path / "m", schema_version=1, made_with={"inf-embed": "0.0.9"})
    assert str(refused.value) == (
        f"{tmp_path / 'm'} has schema version 1 (InF-Embed 0.0.9 wrote it), InF-Embed {version()} reads version 2; "
        "run `renew`"
    )


def test_an_older_one_is_recognised_though_it_was_sealed_otherwise_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"schema_version": 1}')
    with pytest.raises(BadArtefactError, match="schema version 1, .*run `renew`"):
        read_sealed(Thing, tmp_path / "m", version=2, remedy="make it again", renew="run `renew`")


def test_a_newer_one_names_the_release_that_reads_it(tmp_path: Path) -> None:
    with pytest.raises(
        NewerArtefactError, match=r"schema version 3, .*needs InF-Embed 0\.3\.1, which wrote it, or newer"
    ):
        _read(tmp_path / "m", schema_version=3, made_with={"inf-embed": "0.3.1"}, colour="red")


@pytest.mark.parametrize("writer", [None, 3, "", "x" * 9, "1" * 99, "1\x1b[2J", version()])
def test_a_writer_that_is_no_version_is_not_repeated(tmp_path: Path, writer: object) -> None:
    with pytest.raises(NewerArtefactError, match="reading it needs a newer one$"):
        _read(tmp_path / "m", schema_version=3, made_with={"inf-embed": writer})


def test_a_field_that_this_release_does_not_know_makes_it_newer(tmp_path: Path) -> None:
    with pytest.raises(NewerArtefactError, match=r"has colour, which InF-Embed .* does not know; .* 0\.3\.1"):
        _read(tmp_path / "m", schema_version=2, made_with={"inf-embed": "0.3.1"}, colour="red")


def test_damage_is_not_taken_for_a_newer_version(tmp_path: Path) -> None:
    data = sealed({"schema_version": 2, "name": "a"})
    (tmp_path / "m").write_text(json.dumps({**data, "schema_version": 3}))
    with pytest.raises(AlteredArtefactError, match="was changed after it was written.*make it again"):
        read_sealed(Thing, tmp_path / "m", version=2, remedy="make it again")


@pytest.mark.parametrize("found", [None, "2", True, 2.0, -1, 10**30])
def test_what_is_no_version_is_damage(tmp_path: Path, found: object) -> None:
    with pytest.raises(AlteredArtefactError, match="has no schema version.*make it again"):
        _read(tmp_path / "m", schema_version=found)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema_version": 1}, "has schema version 1, InF-Embed .* reads version 2; make it again"),
        ({"schema_version": 3}, "has schema version 3, .*reading it needs a newer one"),
        ({"made_with": {"inf-embed": "9.9"}, "colour": "red"}, r"has colour, which .* needs InF-Embed 9\.9"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted .*make it again"),
        ({"schema_version": "x"}, "schema_version: .*make it again"),
    ],
)
def test_files_without_a_seal_are_told_apart_as_well(tmp_path: Path, fields: dict[str, object], words: str) -> None:
    (tmp_path / "report.json").write_text(json.dumps(fields))
    with pytest.raises(BadArtefactError, match=words):
        parse_json(Thing, tmp_path / "report.json")
