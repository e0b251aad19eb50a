"""Exit 0 where the service in this container is ready: a recent real forward pass, by its own word.

Standard library only. Reads the variables the service reads, so that a changed port or TLS needs no other check.
"""

import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 3.0


def ready_url(environment: Mapping[str, str]) -> str:
    """Give the address to ask; an INFEMBED_PORT that Kubernetes injected (`tcp://...`) is not the service's."""
    port = environment.get("INFEMBED_PORT", "")
    scheme = "https" if environment.get("INFEMBED_TLS_CERT") else "http"
    return f"{scheme}://127.0.0.1:{port if port.isdecimal() else 8080}/ready"


def is_ready(url: str) -> bool:
    """Ask once. The certificate is not looked at: it names a host, not this address, and the answer stays inside."""
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context) as answer:
            return bool(answer.status == 200)
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(0 if is_ready(ready_url(os.environ)) else 1)
