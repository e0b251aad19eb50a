"""A drill: what a deployment lives on is backed up while a writer writes, destroyed, restored, and answers the same.

    python -m deploy.backup_drill --bundle .cache/bundle --passages examples/demo/passages.jsonl

Every step is a command that an operator would type. Exit code 0: the restored service gave the same answers.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_READY = re.compile(r"ready on (http://\S+)")
_BACKUP = Path(__file__).with_name("backup.py")
_INFEMBED = Path(sys.executable).with_name("infembed")
QUESTIONS: tuple[dict[str, str], ...] = (
    {"query": "wifi dead zone"},
    {"query": "bread", "instruction": "only for a beginner"},
    {"query": "bike chain", "instruction": "leave out what it costs"},
)
Answers = list[list[dict[str, object]]]


@dataclass(frozen=True)
class Site:
    """Where the pieces of the deployment lie."""

    root: Path

    @property
    def collections(self) -> Path:
        return self.root / "srv" / "collections"

    @property
    def registry(self) -> Path:
        return self.root / "srv" / "registry"

    @property
    def settings(self) -> Path:
        return self.root / "srv" / "infembed.toml"

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def backup(self) -> Path:
        return self.root / "backup"


def drill(bundle: Path, passages: Path, root: Path) -> bool:
    """Run the whole drill below `root`, an empty directory; returns whether the answers are the same."""
    site = Site(root.resolve())
    _build(site, bundle, passages)
    with _serving(site) as address, _writing(site, bundle, passages):
        before = _answers(address)
        _say(f"answers before: {_first(before)}")
        saved = ("--collections", site.collections, "--registry", site.registry, "--file", site.settings)
        _run(sys.executable, _BACKUP, "create", site.backup, *saved)
    _say("destroy collections, registry, settings and what was pulled")
    shutil.rmtree(site.root / "srv")
    shutil.rmtree(site.release)
    _run(sys.executable, _BACKUP, "restore", site.backup)
    _run(_INFEMBED, "registry", "verify", "--registry", site.registry)
    _pull(site)
    for collection in sorted(site.collections.iterdir()):
        _run(_INFEMBED, "index", "verify", collection, "--bundle", site.release / "current" / "bundle")
    with _serving(site) as address:
        after = _answers(address)
    _say(f"answers after:  {_first(after)}")
    _say("the same answers" if before == after else "OTHER ANSWERS THAN BEFORE")
    return before == after


def _build(site: Site, bundle: Path, passages: Path) -> None:
    """Make a collection, a registry whose champion answers from it, and settings."""
    build = (_INFEMBED, "index", "build", "--bundle", bundle, "--passages")
    _run(*build, passages, "--out", site.collections / "served")
    registry = ("--registry", site.registry)
    _run(_INFEMBED, "registry", "register", bundle, *registry)
    first = ("--initial", "--by", "drill", "--reason", "first", "--index", site.collections / "served")
    _run(_INFEMBED, "registry", "promote", *first, *registry)
    current = site.release / "current"
    site.settings.write_text(
        f"bundle = {json.dumps(str(current / 'bundle'))}\ncollections = {json.dumps(str(current / 'collections'))}\n"
    )
    _pull(site)


def _pull(site: Site) -> None:
    _run(_INFEMBED, "registry", "pull", site.release, "--registry", site.registry)


@contextmanager
def _serving(site: Site) -> Iterator[str]:
    """Run the service on the settings that are there; gives its address."""
    command = [str(_INFEMBED), "serve", "--config", str(site.settings), "--port", "0"]
    log = (site.root / "service.log").open("a")
    with log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=_environment()) as service:
        assert service.stdout is not None
        found = next((match for line in service.stdout if (match := _READY.search(line))), None)
        try:
            if found is None:
                raise SystemExit(f"the service did not start; see {log.name}")
            yield found[1]
        finally:
            service.terminate()


@contextmanager
def _writing(site: Site, bundle: Path, passages: Path) -> Iterator[None]:
    """Keep a writer busy with another collection, which has a generation already when this begins."""
    rows = passages.read_text(encoding="utf-8").splitlines(keepends=True)[:8]
    files = [site.root / "half.jsonl", site.root / "whole.jsonl"]
    files[0].write_text("".join(rows[: len(rows) // 2]), encoding="utf-8")
    files[1].write_text("".join(rows), encoding="utf-8")
    out = site.collections / "written"
    command = [str(_INFEMBED), "index", "build", "--bundle", str(bundle), "--out", str(out), "--passages"]
    is_over, has_begun = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not is_over.is_set():
            done = subprocess.run(
                [*command, str(files[number % 2])], capture_output=True, env=_environment(), check=False
            )
            if done.returncode:
                sys.stderr.write(done.stderr.decode())
                break
            number += 1
            has_begun.set()
        has_begun.set()
        _say(f"the writer published {number} generations meanwhile")

    writer = threading.Thread(target=write)
    writer.start()
    has_begun.wait()
    try:
        yield
    finally:
        is_over.set()
        writer.join()


def _answers(address: str) -> Answers:
    found = []
    for question in QUESTIONS:
        body = json.dumps({**question, "k": 5}).encode()
        request = urllib.request.Request(f"{address}/search", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            found.append(json.load(response)["results"])
    return found


def _first(answers: Answers) -> str:
    return ", ".join(str(results[0]["id"]) for results in answers)


def _run(*command: str | Path) -> None:
    """Run a command and show it with what it says; anything but exit code 0 ends the drill."""
    _say("$ " + " ".join([Path(command[0]).name, *map(str, command[1:])]))
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=_environment(), check=False)
    for line in (done.stdout + done.stderr).splitlines():
        _say(f"  {line}")
    if done.returncode:
        raise SystemExit(f"the drill ended at this command, with exit code {done.returncode}")


def _environment() -> dict[str, str]:
    """No setting of the person who runs the drill reaches it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INFEMBED_")}


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')}  {line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Back up, destroy and restore a small deployment.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--passages", type=Path, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="infembed-drill-") as root:
        return 0 if drill(options.bundle.resolve(), options.passages.resolve(), Path(root)) else 1


if __name__ == "__main__":
    sys.exit(main())
