import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks.workloads import make_texts
from benchmarks.wrk import Load, joined, load_of, parse_load, run_load, write_bodies

LINE = '{"answers": 8, "seconds": 2.0, "p50_ms": 1.5, "p99_ms": 3.0, "refused": %d, "broken": %d}\n'


def test_a_load_is_the_last_line_that_the_client_prints() -> None:
    load = parse_load("Running 2s test\n  1 threads\n" + LINE % (0, 0))
    assert load == Load(answers=8, seconds=2.0, p50_ms=1.5, p99_ms=3.0)
    assert load.per_s == 4.0


@pytest.mark.parametrize("line", [LINE % (1, 0), LINE % (0, 1)])
def test_requests_that_fail_make_no_rate(line: str) -> None:
    with pytest.raises(RuntimeError, match="requests failed"):
        parse_load(line)


@pytest.mark.parametrize("printed", ["", "unable to connect to 127.0.0.1:1\n"])
def test_what_the_client_says_instead_of_a_result_is_shown(printed: str) -> None:
    with pytest.raises(RuntimeError, match=printed.strip() or "nothing"):
        parse_load(printed)


def test_a_run_without_an_answer_is_repeated_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    durations: list[float] = []

    def client(url: str, bodies: Path, connections: int, seconds: float) -> str:
        durations.append(seconds)
        return (LINE if seconds > 10 else LINE.replace("8", "0")) % (0, 0)

    monkeypatch.setattr("benchmarks.wrk._wrk", client)
    assert run_load("http://nowhere", Path("bodies"), connections=1, seconds=1).answers == 8
    assert durations == [1, 4, 16]


def test_rates_of_replicas_add_up_and_the_slowest_latency_counts() -> None:
    both = joined([Load(10, 2.0, p50_ms=1, p99_ms=9), Load(15, 3.0, p50_ms=2, p99_ms=3)])
    assert both.per_s == 10.0
    assert (both.p50_ms, both.p99_ms) == (2, 9)


def test_calls_of_this_process_are_described_like_answers() -> None:
    load = load_of([0.001, 0.002, 0.003], seconds=0.5)
    assert load.per_s == 6.0
    assert load.p50_ms == pytest.approx(2.0)


def test_texts_differ_and_have_as_many_words_as_asked() -> None:
    texts = make_texts(200, words=(18, 20), seed=1)
    assert {len(text.split()) for text in texts} == {18, 19, 20}
    assert len(set(texts)) == 200
    assert texts == make_texts(200, words=(18, 20), seed=1)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[set[bytes]] = set()

    def do_POST(self) -> None:
        self.seen.add(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200 if self.path == "/right" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk (apt-get install wrk)")
def test_every_connection_sends_other_texts_and_answers_come_in_whole_turns(url: str, tmp_path: Path) -> None:
    bodies = write_bodies(tmp_path / "bodies.jsonl", [{"input": "one"}, {"input": "two"}, {"input": "three"}])
    _Answers.seen.clear()
    load = run_load(f"{url}/right", bodies, connections=4, seconds=1)
    assert {b'{"input": "one"}', b'{"input": "two"}', b'{"input": "three"}'} == _Answers.seen
    assert load.answers > 0
    assert load.answers % 4 == 0
    with pytest.raises(RuntimeError, match="requests failed"):
        run_load(f"{url}/wrong", bodies, connections=4, seconds=1)
