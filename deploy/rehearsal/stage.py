"""What every scenario starts from, made once and kept: two bundles, two indexes, the questions, an empty registry."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.rehearsal.load import Question
from deploy.rehearsal.processes import infembed
from deploy.rehearsal.texts import questions_of, read_texts, write_lines

_NEWEST = 5
"""Passages that the blue index does not have yet."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Paths of what was made; `untrained` and `released` embed documents alike, so either may be served with either."""

    untrained: Path
    released: Path
    blue: Path
    green: Path
    queries: Path
    questions: tuple[Question, ...]
    gate_cache: Path
    empty_registry: Path


def prepare(state: Path) -> Stage:
    """Make what is missing below `state`."""
    state.mkdir(parents=True, exist_ok=True)
    log = state / "prepare.log"
    texts = read_texts()
    untrained = _bundle(state / "untrained", "all-minilm-l6-v2", log)
    released = _bundle(state / "released", "inf-embed-mini", log)
    collections = []
    for name, passages in (("blue", texts.passages[:-_NEWEST]), ("green", texts.passages)):
        source = write_lines(state / f"{name}.jsonl", passages)
        collections.append(state / name / "demo")
        _run("index", "build", f"--bundle={released}", f"--passages={source}", f"--out={collections[-1]}", log=log)
    return Stage(
        untrained=untrained,
        released=released,
        blue=collections[0],
        green=collections[1],
        queries=write_lines(state / "queries.jsonl", questions_of(texts)),
        questions=texts.shadows,
        gate_cache=state / "evaluation",
        empty_registry=empty_registry(state / "empty-registry"),
    )


def new_registry(stage: Stage, directory: Path, *, champion: Path, candidate: Path) -> None:
    """Make a registry whose champion is served with the blue index, and whose candidate brings the green one."""
    from evaluation.registry import promotion
    from evaluation.registry.location import Location
    from evaluation.registry.store import Store

    directory.mkdir(parents=True)
    shutil.copy(stage.empty_registry / "mlflow.db", directory / "mlflow.db")
    store = Store.open(Location.parse(str(directory)), create=True)
    someone = promotion.Signer("rehearsal", "the first champion")
    promotion.register(store, champion, someone)
    promotion.promote(store, None, someone, index=stage.blue)
    promotion.register(store, candidate, someone, index=stage.green)


def champion_of(registry: Path) -> dict[str, Any]:
    """Return what a registry has in production."""
    from evaluation.registry.location import Location
    from evaluation.registry.store import Store

    champion = Store.open(Location.parse(str(registry))).state().champion
    assert champion is not None
    return champion.model_dump(mode="json")


def _bundle(path: Path, recipe: str, log: Path) -> Path:
    if not (path / "manifest.json").is_file():
        shutil.rmtree(path, ignore_errors=True)
        _run("bundle", "assemble", f"--out={path}", f"--recipe={recipe}", "--precision=fp32", log=log)
    return path


def empty_registry(directory: Path) -> Path:
    """Its hundred migrations take seconds: they are made once, and the file is copied."""
    from evaluation.registry.location import Location
    from evaluation.registry.store import Store

    Store.open(Location.parse(str(directory)), create=True)
    return directory


def _run(*arguments: str, log: Path) -> None:
    ended = infembed(arguments, log=log)
    if ended.code:
        raise RuntimeError(f"`infembed {' '.join(arguments)}` ended with {ended.code}; see {log}")
