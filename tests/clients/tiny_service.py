"""A service to try clients on: a tiny model, a small collection, and a way to make it busy.

Runs in the environment that has the service (`python -m tests.clients.tiny_service DIRECTORY`), so that the clients'
environments need nothing of ours. While the file `busy` is in the directory, the model refuses all work.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from index.build import build_collection
from infembed.bundle import Bundle
from infembed.encoder import OnnxEncoder
from infembed.errors import OverloadedError
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray
from service.app import create_app
from service.collections import open_collections
from service.server import listen, run
from service.settings import Settings
from tests.clients.contract import BUSY_FILE, COLLECTION, CUT_DIM, RETRY_AFTER_S, TEXTS
from tests.tiny import make_tiny_bundle


class BusyEncoder(OnnxEncoder):
    """The tiny real model; refuses as a full queue does while a file says so."""

    def __init__(self, bundle: Bundle, busy: Path) -> None:
        super().__init__(bundle, n_threads=1)
        self._busy = busy

    def encode(self, items: Sequence[TokenizedInput], **options: Any) -> FloatArray:
        if self._busy.exists():
            raise OverloadedError("1000 tokens are waiting: try again later", retry_after_s=RETRY_AFTER_S)
        return super().encode(items, **options)


def main(directory: Path) -> None:
    """Build everything below `directory`, print the address, serve until told to stop."""
    bundle = Bundle.open(make_tiny_bundle(directory / "model", dimensions=[CUT_DIM]))
    encoder = BusyEncoder(bundle, directory / BUSY_FILE)
    passages = directory / "passages.jsonl"
    rows = [{"id": f"d{number}", "text": text, "number": number} for number, text in enumerate(TEXTS)]
    passages.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_collection(passages, directory / "collections" / COLLECTION, encoder=encoder, bundle_name="tiny")
    opened = open_collections(directory / "collections", document_fingerprint=encoder.document_fingerprint)
    settings = Settings(max_client_batch=64)
    app = create_app(settings, encoder=encoder, collections=opened)
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        run(app, listener, settings, on_ready=lambda _: print(f"ready on {url}", flush=True))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
