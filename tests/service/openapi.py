"""The committed description of the API, docs/openapi.json (`make openapi` writes it).

A client generator reads it without a running service, and whoever changes the API sees in review what changes for
others. It is that of a service with keys, which says more: the scope each operation needs.
"""

import json
import sys
import tempfile
from pathlib import Path

from service.keys import Scope, StoredKey, hash_key, new_key
from tests.service.app import make_client
from tests.tiny import make_tiny_bundle

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def described(bundle: Path) -> str:
    """Write the description of the API as it is now."""
    key = StoredKey(scopes=tuple(Scope), hash=hash_key(new_key()))
    client, _, _ = make_client(bundle, keys={"any": key})
    return json.dumps(client.get("/openapi.json").json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        COMMITTED.write_text(described(make_tiny_bundle(Path(directory))), encoding="utf-8")
    print(f"wrote {COMMITTED}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
