import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.rehearsal.load import Clients, Question, count
from deploy.rehearsal.proxy import Proxy, configuration, shares_of


@pytest.mark.parametrize(("percent", "shares"), [(0, (1, 0)), (5, (19, 1)), (25, (3, 1)), (50, (1, 1)), (100, (0, 1))])
def test_shares_are_the_smallest_weights(percent: int, shares: tuple[int, int]) -> None:
    assert shares_of(percent) == shares


def test_a_track_without_traffic_is_not_in_the_configuration(tmp_path: Path) -> None:
    text = configuration(directory=tmp_path, port=1, stable="127.0.0.1:2", candidate="127.0.0.1:3", percent=100)
    assert "server 127.0.0.1:3 weight=1 max_fails=0;" in text
    assert "server 127.0.0.1:2" not in text
    assert "proxy_next_upstream off" in text


class _Search(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"results": []}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[str]:
    """A server that answers every search; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Search)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_weights_change_under_load_and_no_request_is_lost(tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx (Debian: nginx-light)")
    with answering() as stable, answering() as candidate:
        proxy = Proxy(tmp_path / "nginx", stable=stable)
        clients = Clients(proxy.url, [Question("bread", None)], rate=200)
        clients.wait_for(20)
        for percent in (5, 50, 100, 0):
            proxy.send(percent, candidate)
            clients.wait_for(60)
        back_at = time.monotonic()
        clients.wait_for(20)
        clients.stop()
        proxy.stop()
    tally = count(clients.answers())
    assert tally.answers == clients.n_sent
    assert not tally.errors
    assert tally.by_track["candidate"] > 60
    assert set(count(clients.answers(since=back_at)).by_track) == {"stable"}
