"""Run the service once, and keep compiled what that imported: a read-only image cannot compile at its start.

usage: bytecode.py --bundle BUNDLE --collections COLLECTIONS ENVIRONMENT [MODULE...]

Compiling everything would take twice the room, for modules that nothing imports. Since this serves a real search,
it also proves that what trim.py left is enough. Standard library only: it runs while the image is built.
"""

import argparse
import json
import os
import py_compile
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from importlib.util import source_from_cache
from pathlib import Path
from typing import IO

SEARCH = {"query": "does it start", "instruction": "only if it is ready", "k": 1, "collection": "demo"}


def serve_once(environment: Path, bundle: Path, collections: Path) -> None:
    """Start the service, search, and stop it."""
    given = {"PATH": os.environ["PATH"], "INFEMBED_SHUTDOWN_DELAY_S": "0"}
    places = ["--bundle", str(bundle), "--collections", str(collections), "--port", "0"]
    with subprocess.Popen(
        [environment / "bin" / "infembed", "serve", *places], env=given, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        search(address(service.stdout))
        service.send_signal(signal.SIGTERM)
        if code := service.wait(timeout=60):
            raise SystemExit(f"the service ended with {code}")


def address(lines: IO[str]) -> str:
    """Read the service's output up to the line that says where it listens."""
    for line in lines:
        if found := re.match(r"ready on (http://\S+)", line):
            return found[1]
    raise SystemExit("the service ended before it was ready")


def search(url: str) -> None:
    """Ask for one document."""
    request = urllib.request.Request(f"{url}/search", json.dumps(SEARCH).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(f"searched: {json.load(answer)['results'][0]['id']}")


def imported_sources(environment: Path) -> Iterator[Path]:
    """Give the source of every module that Python compiled because something imported it."""
    for compiled in sorted((environment / "lib").rglob("__pycache__/*.pyc")):
        yield Path(source_from_cache(str(compiled)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--collections", type=Path, required=True)
    parser.add_argument("modules", nargs="*", help="what only some settings import")
    options = parser.parse_args()
    serve_once(options.environment, options.bundle, options.collections)
    subprocess.run([options.environment / "bin" / "python", "-c", f"import {', '.join(options.modules)}"], check=True)
    sources = list(imported_sources(options.environment))
    for source in sources:
        # By times alone, Python would take no notice of it once a build tool has set all times alike.
        py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    print(f"{len(sources)} modules compiled")


if __name__ == "__main__":
    main()
