"""The real server, whose model loads when a line says so: `python -m tests.service.held_start BUNDLE`.

Prints its address at once. The line `go` on standard input loads the model, any other is why that fails.
"""

import sys
from pathlib import Path

from infembed.errors import BadArtefactError
from service.app import create_app
from service.loading import Loaded, load
from service.server import listen, run
from service.settings import Settings


def main(bundle: Path) -> None:
    """Serve a bundle."""
    settings = Settings(bundle=bundle, threads=1)

    def held(now: Loaded | None) -> Loaded:
        if (line := sys.stdin.readline().strip()) != "go":
            raise BadArtefactError(line)
        return load(settings, now)

    with listen("127.0.0.1", 0) as listener:
        print(f"ready on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201
        try:
            run(create_app(settings, reload=held), listener, settings, on_ready=lambda _: None)
        except BadArtefactError as error:
            sys.exit(f"failed: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
