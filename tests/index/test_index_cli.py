"""`infembed index`, `infembed search` and `infembed bundle` as their users meet them."""

import gzip
import json
import resource
import shutil
from pathlib import Path

import pytest

from infembed.cli import UNUSABLE
from tests.command_line import Command, Ended

ROWS = [{"id": "[/foo]", "text": "[bold]bread[/] :smile: [/x]"}, {"id": "b", "text": "bike chain"}]


def _refusal(ended: Ended) -> str:
    assert ended.code == UNUSABLE, ended
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    return line


def _passages(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_brackets_in_paths_ids_and_texts_are_printed_as_they_are(
    run: Command, tmp_path: Path, tiny_bundle: Path
) -> None:
    passages = _passages(tmp_path / "[bold].jsonl")
    out = tmp_path / "[v2] :smile: news"
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "[red]bundle"))
    built = run("index", "build", "--bundle", bundle, "--passages", passages, "--out", out)
    assert (built.code, built.err) == (0, "")
    assert f"collection {out.name}: 2 passages" in built.out
    assert f"at {out}\n" in built.out
    again = run("index", "build", "--bundle", bundle, "--passages", passages, "--out", out)
    assert again.out.startswith(f"{out} is up to date: 2 passages, gen-000001-")
    assert run("index", "verify", out, "--bundle", bundle).out.startswith(f"{out} is intact: 2 passages")
    assert f"collection             {out.name}\n" in run("index", "stats", out).out
    assert f"{bundle} is intact" in run("bundle", "verify", bundle).out
    found = run("search", "bread", "--bundle", bundle, "--index", out)
    assert found.out.startswith(" 1  ")
    assert "  [/foo]\n" in found.out
    assert "    [bold]bread[/] :smile: [/x]\n" in found.out


def test_search_prints_json_for_machines(run: Command, tmp_path: Path, tiny_bundle: Path) -> None:
    passages, out = _passages(tmp_path / "p.jsonl"), tmp_path / "c"
    built = run("index", "build", "--bundle", tiny_bundle, "--passages", passages, "--out", out, "--json")
    assert json.loads(built.out)["n_documents"] == 2
    found = run("search", "bike", "--bundle", tiny_bundle, "--index", out, "--json")
    assert {hit["id"] for hit in json.loads(found.out)} == {"[/foo]", "b"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("[/x].jsonl", b'{"id": "a"}\n'),
        ("p.jsonl", b'{"id": "[/foo]", "text": "x"}\n{"id": "[/foo]", "text": "x"}\n'),
        ("p.jsonl", b'{"id": "\\ud800", "text": "x"}\n'),
        ("p.jsonl", b'{"id": "a", "text": "x", "m": {"\\ud800": 1}}\n'),
        ("p.jsonl", b'{"id": "a", "text": "x", "m": "\\ud800"}\n'),
        ("p.jsonl", b"[" * 100_000),
        ("p.jsonl.gz", gzip.compress(b"{}\n" * 1000)[:10] + b"\xff" * 30),
        ("p.csv", b"id,body\na,x\n"),
        ("p.parquet", b"PAR1" + b"\xff" * 100 + b"PAR1"),
        ("p.xml", b"<a/>"),
    ],
)
def test_broken_passages_are_one_sentence(
    run: Command, tmp_path: Path, tiny_bundle: Path, name: str, data: bytes
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    build = ("index", "build", "--bundle", tiny_bundle, "--passages", tmp_path / name)
    assert str(tmp_path / name) in _refusal(run(*build, "--out", tmp_path / "c"))


@pytest.mark.parametrize("command", ["index build", "bundle assemble"])
@pytest.mark.parametrize("place", ["file", "below a file"])
def test_a_file_in_the_way_is_one_sentence(
    run: Command, tmp_path: Path, tiny_bundle: Path, command: str, place: str
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "c" if place == "below a file" else tmp_path / "file"
    options = ["--bundle", tiny_bundle, "--passages", _passages(tmp_path / "p.jsonl")] if command[0] == "i" else []
    message = _refusal(run(*command.split(), *options, "--out", out))
    assert str(tmp_path / "file") in message
    assert ";" in message
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("limit", [100, 15_000, 30_000])
def test_a_full_disk_is_one_sentence(run: Command, tmp_path: Path, tiny_bundle: Path, limit: int) -> None:
    passages = tmp_path / "p.jsonl"
    passages.write_text("".join(json.dumps({"id": str(n), "text": f"bread {n}"}) + "\n" for n in range(400)))
    build = ("index", "build", "--bundle", tiny_bundle, "--passages", passages, "--out", tmp_path / "c")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        ended = run(*build)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.code == UNUSABLE
    assert [line for line in ended.err.splitlines() if line.startswith("error: ")] == ended.err.splitlines()
    assert run(*build).code == 0


@pytest.mark.parametrize("command", [["index", "stats"], ["index", "verify", "--bundle"], ["search", "x", "--bundle"]])
def test_what_is_no_collection_says_how_to_make_one(
    run: Command, tmp_path: Path, tiny_bundle: Path, command: list[str]
) -> None:
    bundle = [tiny_bundle] if command[-1] == "--bundle" else []
    place = ["--index", tmp_path / "[/none]"] if command[0] == "search" else [tmp_path / "[/none]"]
    message = _refusal(run(*command, *bundle, *place))
    assert str(tmp_path / "[/none]") in message
    assert "infembed index build" in message
