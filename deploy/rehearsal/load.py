"""Clients that ask the proxy all the time and count every answer: what users see of a rollout."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

from deploy.rehearsal.proxy import TRACK_HEADER

_TIMEOUT_S = 60.0
_N_CLIENTS = 6
_EXPLAIN_EVERY = 3
NO_ANSWER = 0


class Question(NamedTuple):
    """One search as a client sends it."""

    query: str
    instruction: str | None


class Answer(NamedTuple):
    """What one request came to; status 0: no answer at all."""

    asked_at: float
    track: str
    status: int
    seconds: float

    @property
    def is_error(self) -> bool:
        return self.status != 200


class Tally(NamedTuple):
    """Answers of some time, counted."""

    answers: int
    by_track: Counter[str]
    errors: Counter[str]
    p95_ms: float

    def __str__(self) -> str:
        tracks = ", ".join(f"{name} {self.by_track[name]}" for name in ("stable", "candidate") if self.by_track[name])
        errors = ", ".join(f"{name} {n}" for name, n in sorted(self.errors.items())) or "none"
        return f"{self.answers} answers ({tracks or 'none'}), errors: {errors}, p95 {self.p95_ms:.0f} ms"


def count(answers: Iterable[Answer]) -> Tally:
    """Count answers by who gave them; errors without an answer belong to `none`."""
    kept = list(answers)
    times = sorted(answer.seconds for answer in kept)
    return Tally(
        answers=len(kept),
        by_track=Counter(answer.track for answer in kept),
        errors=Counter(answer.track for answer in kept if answer.is_error),
        p95_ms=1000 * times[int(0.95 * len(times))] if times else 0.0,
    )


class Clients:
    """Some threads that share one pace; each request has a connection of its own, as if from somebody new."""

    def __init__(self, url: str, questions: Sequence[Question], *, rate: float) -> None:
        self._address = urlsplit(url).netloc
        self._questions = cycle(questions)
        self._interval_s = 1 / rate
        self._lock = threading.Lock()
        self._due = time.monotonic()
        self._n_sent = 0
        self._answers: list[Answer] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(_N_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more, and wait for what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=_TIMEOUT_S + 5)

    def wait_for(self, n_answers: int) -> None:
        """Return once so many more requests, asked from now on, are answered."""
        since = time.monotonic()
        while len(self.answers(since=since)) < n_answers:
            time.sleep(0.05)

    @property
    def n_sent(self) -> int:
        return self._n_sent

    def answers(self, *, since: float = 0.0) -> list[Answer]:
        """Return the answers to what was asked from then on."""
        with self._lock:
            return [answer for answer in self._answers if answer.asked_at >= since]

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                now = time.monotonic()
                self._due = (
                    max(self._due, now - 1) + self._interval_s
                )  # what was missed for more than 1 s is not made up
                wait_s, question, number = self._due - now, next(self._questions), self._n_sent
                self._n_sent += 1
            if self._stop.wait(max(0.0, wait_s)):
                with self._lock:
                    self._n_sent -= 1
                return
            answer = self._ask(question, explain=number % _EXPLAIN_EVERY == 0)
            with self._lock:
                self._answers.append(answer)

    def _ask(self, question: Question, *, explain: bool) -> Answer:
        body = {"query": question.query, "instruction": question.instruction, "k": 10, "explain": explain}
        asked_at = time.monotonic()
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", "/search", json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            track, status = response.getheader(TRACK_HEADER, "none"), response.status
        except (OSError, http.client.HTTPException):
            track, status = "none", NO_ANSWER
        finally:
            connection.close()
        return Answer(asked_at, track, status, time.monotonic() - asked_at)
