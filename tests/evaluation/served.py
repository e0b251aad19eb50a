"""A real service in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """Serve a bundle with the real command; yields its URL once it says that it is ready."""
    command = [str(Path(sys.executable).with_name("infembed")), "serve", "--port", "0", "--bundle", str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            ready = next(found for line in process.stdout if (found := re.search(r"ready on (http://\S+)", line)))
            yield ready[1]
        finally:
            process.kill()
