"""Ask both services the same questions, in pairs a moment apart, so that a noisy moment hits both alike."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from evaluation.canary.observations import (
    Exchange,
    Failure,
    Observation,
    Observations,
    Outcome,
    Role,
    ServiceFacts,
    Stop,
    Visit,
)
from evaluation.canary.questions import Probe, Question, QuestionFile, Search
from evaluation.statistics import SEED
from infembed.errors import BadInputError

GIVE_UP_AFTER = 10
"""Searches failed in a row that end a run: nothing more would be learned."""

_FAREWELL_S = 30.0

Progress = Callable[[str, int, int], None]


class Service(Protocol):
    """What a run needs of a service; `client.ServiceClient` is one."""

    url: str

    def facts(self, *, until: float) -> ServiceFacts | Failure: ...

    def search(self, search: Search, *, k: int, collection: str | None, until: float) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run asks; `rate` is in questions per second."""

    k: int
    probe_depth: int
    rate: float
    time_limit_s: float
    collection: str | None = None

    def depth_of(self, question: Question) -> int:
        """Return how many documents a question asks for."""
        return max(self.k, self.probe_depth) if isinstance(question, Probe) else self.k


def observe(
    stable: Service,
    candidate: Service,
    file: QuestionFile,
    plan: Plan,
    *,
    started_at: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    progress: Progress = lambda *_: None,
) -> Observations:
    """Ask every question the time limit leaves room for; failures are observations, not exceptions."""
    began = clock()
    until = began + plan.time_limit_s
    services = {Role.STABLE: stable, Role.CANDIDATE: candidate}
    before = {role: service.facts(until=until) for role, service in services.items()}
    runner = _Runner(services, plan, until=until, clock=clock, sleep=sleep)
    after: dict[Role, ServiceFacts | Failure | None] = dict.fromkeys(Role)
    if _is_worth_asking(before, file.questions, plan):
        runner.run(file.questions, progress)
        after = {role: service.facts(until=clock() + _FAREWELL_S) for role, service in services.items()}
    return Observations(
        stable=Visit(stable.url, before[Role.STABLE], after[Role.STABLE]),
        candidate=Visit(candidate.url, before[Role.CANDIDATE], after[Role.CANDIDATE]),
        seen=tuple(runner.seen),
        n_questions=len(file.questions),
        k=plan.k,
        collection=plan.collection,
        stop=runner.stop,
        questions_sha256=file.sha256,
        started_at=started_at,
        duration_s=round(clock() - began, 3),
    )


def _is_worth_asking(before: dict[Role, ServiceFacts | Failure], questions: tuple[Question, ...], plan: Plan) -> bool:
    """Refuse what stable could never answer: that is the caller's mistake and says nothing of the candidate."""
    stable, candidate = before[Role.STABLE], before[Role.CANDIDATE]
    if isinstance(stable, Failure) or isinstance(candidate, Failure):
        return False
    if plan.collection is not None and plan.collection not in stable.collections:
        there = ", ".join(sorted(stable.collections)) or "none"
        raise BadInputError(f"the stable service has no collection {plan.collection!r}; there is {there}")
    deepest = max(plan.depth_of(question) for question in questions)
    if deepest > stable.limits.max_k:
        raise BadInputError(
            f"the run asks for {deepest} documents (--k, or probe_depth of the policy), the stable service gives at "
            f"most {stable.limits.max_k}; ask for fewer or raise INFEMBED_MAX_K"
        )
    return plan.collection is None or plan.collection in candidate.collections


class _Runner:
    """Keeps the pace, alternates who is asked first, and stops when a service keeps failing."""

    def __init__(
        self,
        services: dict[Role, Service],
        plan: Plan,
        *,
        until: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.seen: list[Observation] = []
        self.stop: Stop | None = None
        self._services = services
        self._plan = plan
        self._until = until
        self._clock = clock
        self._sleep = sleep
        self._failed_in_a_row = dict.fromkeys(Role, 0)
        self._order = list(Role)

    def run(self, questions: tuple[Question, ...], progress: Progress) -> None:
        """Ask in a fixed random order, so that a run cut short is still a fair sample of the file."""
        shuffled = random.Random(SEED).sample(questions, len(questions))  # noqa: S311 - no secret
        due = self._clock()
        for question in shuffled:
            due = max(due, self._clock())
            if due > self._until:
                self.stop = Stop.TIME_LIMIT
                return
            self._sleep(max(0.0, due - self._clock()))
            due += 1 / self._plan.rate
            self.seen.append(Observation(question, tuple(self._ask(question, s) for s in question.searches)))
            progress("asking both services", len(self.seen), len(questions))
            self.stop = self._given_up()
            if self.stop:
                return

    def _ask(self, question: Question, search: Search) -> Exchange:
        outcomes: dict[Role, Outcome] = {}
        for role in self._order:
            outcomes[role] = self._search(role, question, search)
            is_failure = isinstance(outcomes[role], Failure)
            self._failed_in_a_row[role] = self._failed_in_a_row[role] + 1 if is_failure else 0
        self._order.reverse()
        return Exchange(search, outcomes[Role.STABLE], outcomes[Role.CANDIDATE])

    def _search(self, role: Role, question: Question, search: Search) -> Outcome:
        """Search; again at once where the time counts, and take that time.

        Traffic keeps stable's processors awake and its instructions remembered; a candidate without any is slower by
        the time in which they wake and it computes them: twice as slow between two instances of one release.
        """
        k = self._plan.depth_of(question)
        service, collection, until = self._services[role], self._plan.collection, self._until
        first = service.search(search, k=k, collection=collection, until=until)
        if isinstance(first, Failure) or isinstance(question, Probe):
            return first
        again = service.search(search, k=k, collection=collection, until=until)
        return again if isinstance(again, Failure) else replace(first, latency_ms=again.latency_ms)

    def _given_up(self) -> Stop | None:
        failing = {role for role, n in self._failed_in_a_row.items() if n >= GIVE_UP_AFTER}
        if failing == set(Role):
            return Stop.BOTH_FAIL
        if Role.STABLE in failing:
            return Stop.STABLE_FAILS
        return Stop.CANDIDATE_FAILS if failing else None
