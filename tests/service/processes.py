"""The real `infembed serve` in a process of its own."""

import os
import re
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

READY = re.compile(r"ready on (https?://\S+)")


class Answer(NamedTuple):
    """A status and the body that came with it."""

    status: int
    body: bytes


class Service:
    """A running service; its log is read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.log: list[str] = []
        self._grew = threading.Condition()
        assert process.stdout is not None
        self.url = next(found for line in process.stdout if (found := READY.search(line)))[1]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_log(self, words: str) -> str:
        """Return the first line of the log with these words in it, once it is there."""
        with self._grew:
            assert self._grew.wait_for(lambda: any(words in line for line in self.log), timeout=60), self.log
            return next(line for line in self.log if words in line)

    def end(self) -> str:
        """Stop it; returns all that it wrote after its first lines."""
        assert self.process.stdout is not None
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0
        self._reader.join()
        return self.process.stdout.read() + "".join(self.log)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._grew:
                self.log.append(line)
                self._grew.notify_all()


@contextmanager
def serving(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Start the command on a free port; give it once it says that it is ready."""
    command = [str(Path(sys.executable).with_name("infembed")), "serve", "--port", "0", *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | dict(environment or {})
    ) as process:
        try:
            yield Service(process)
        finally:
            process.kill()


def get(url: str, *, context: ssl.SSLContext | None = None) -> Answer:
    """Ask on a connection of its own."""
    return _send(urllib.request.Request(url), context)


def post(url: str, body: object, *, key: str | None = None) -> Answer:
    """Send JSON on a connection of its own."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    return _send(urllib.request.Request(url, orjson.dumps(body), headers), None)


def _send(request: urllib.request.Request, context: ssl.SSLContext | None) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as response:
            return Answer(response.status, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read())
