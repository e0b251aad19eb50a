from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from evaluation.canary.observations import Answer, Failure, FailureKind, Observations, Outcome, Role, ServiceFacts, Stop
from evaluation.canary.questions import Probe, Question, QuestionFile, Search, Shadow
from evaluation.canary.run import GIVE_UP_AFTER, Plan, observe
from infembed.errors import BadInputError
from tests.evaluation.canary.observed import answer, facts, failure

PLAN = Plan(k=10, probe_depth=50, rate=10, time_limit_s=60)
SHADOWS = tuple(Shadow(query=f"query {number}") for number in range(30))
PROBE = Probe(query="probe", original_instruction="a", changed_instruction="b")


class World:
    """Time, and everything that was asked in it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[tuple[str, float, str, int]] = []
        self.asked_again: list[tuple[str, float, str, int]] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


class FakeService:
    """Answers each search by a function of its number, taking a while; `again` says what a repeated one comes to."""

    def __init__(
        self,
        name: Role,
        world: World,
        outcome: Callable[[int], Outcome] = lambda _: answer(),
        *,
        described: ServiceFacts | Failure | None = None,
        takes_s: float = 0.01,
        again: Callable[[Outcome], Outcome] = lambda outcome: outcome,
    ) -> None:
        self.url = f"http://{name}"
        self._name = name
        self._world = world
        self._outcome = outcome
        self._described = described or facts()
        self._takes_s = takes_s
        self._again = again
        self._n = 0
        self._last: Search | None = None

    def facts(self, *, until: float) -> ServiceFacts | Failure:  # noqa: ARG002
        return self._described

    def search(self, search: Search, *, k: int, collection: str | None, until: float) -> Outcome:  # noqa: ARG002
        is_again, self._last = search == self._last, search
        (self._world.asked_again if is_again else self._world.asked).append(
            (self._name, self._world.now, search.query, k)
        )
        self._world.now += self._takes_s
        if is_again:
            return self._again(self._outcome(self._n - 1))
        self._n += 1
        return self._outcome(self._n - 1)


def _observe(
    questions: tuple[Question, ...] = SHADOWS,
    plan: Plan = PLAN,
    *,
    stable: dict[str, Any] | None = None,
    candidate: dict[str, Any] | None = None,
) -> tuple[Observations, World]:
    world = World()
    seen = observe(
        FakeService(Role.STABLE, world, **(stable or {})),
        FakeService(Role.CANDIDATE, world, **(candidate or {})),
        QuestionFile(questions, "0" * 64),
        plan,
        started_at="now",
        clock=world.clock,
        sleep=world.sleep,
    )
    return seen, world


def test_every_question_goes_to_both_services_one_after_the_other() -> None:
    seen, world = _observe()
    assert len(seen.seen) == 30
    first, second = world.asked[::2], world.asked[1::2]
    assert all(a[0] != b[0] and a[2] == b[2] for a, b in zip(first, second, strict=True))
    assert sorted(query for _, _, query, _ in first) == sorted(question.query for question in SHADOWS)


def test_a_query_is_asked_twice_at_once_and_the_second_time_counts() -> None:
    slow_first = {"outcome": lambda _: answer(latency_ms=30.0), "again": lambda _: answer(latency_ms=4.0)}
    seen, world = _observe(SHADOWS[:3], stable=slow_first, candidate=slow_first)
    outcomes = [exchange.of(role) for observation in seen.seen for exchange in observation.exchanges for role in Role]
    assert [outcome.latency_ms for outcome in outcomes if isinstance(outcome, Answer)] == [4.0] * 6
    assert [(role, query) for role, _, query, _ in world.asked_again] == [(asked[0], asked[2]) for asked in world.asked]


def test_a_failure_the_second_time_counts_as_well() -> None:
    seen, _ = _observe(SHADOWS[:1], candidate={"again": lambda _: failure()})
    assert isinstance(seen.seen[0].exchanges[0].candidate, Failure)


def test_who_is_asked_first_alternates() -> None:
    _, world = _observe()
    assert [asked[0] for asked in world.asked[:6]] == [
        Role.STABLE,
        Role.CANDIDATE,
        Role.CANDIDATE,
        Role.STABLE,
        Role.STABLE,
        Role.CANDIDATE,
    ]


def test_the_order_of_the_file_does_not_matter_and_is_the_same_each_time() -> None:
    _, first = _observe()
    _, again = _observe()
    queries = [asked[2] for asked in first.asked]
    assert queries == [asked[2] for asked in again.asked]
    assert queries[::2] != [question.query for question in SHADOWS]


def test_the_rate_is_kept_and_lost_time_is_not_made_up_for_in_a_burst() -> None:
    _, world = _observe()
    starts = [asked[1] for asked in world.asked[::2]]
    assert [b - a for a, b in pairwise(starts)] == pytest.approx([0.1] * 29)

    _, world = _observe(candidate={"takes_s": 0.25})
    starts = [asked[1] for asked in world.asked[::2]]
    assert min(b - a for a, b in pairwise(starts)) == pytest.approx(0.52)


def test_the_time_limit_ends_a_run() -> None:
    seen, world = _observe(plan=replace(PLAN, time_limit_s=1.05))
    assert (seen.stop, len(seen.seen), seen.n_questions) == (Stop.TIME_LIMIT, 11, 30)
    assert world.now < 1.2


def test_a_probe_is_two_searches_at_its_depth() -> None:
    seen, world = _observe((PROBE,))
    assert [asked[3] for asked in world.asked] == [50] * 4
    assert [exchange.search.instruction for exchange in seen.exchanges] == ["a", "b"]


@pytest.mark.parametrize(
    ("failing", "stop"),
    [
        (["candidate"], Stop.CANDIDATE_FAILS),
        (["stable"], Stop.STABLE_FAILS),
        (["stable", "candidate"], Stop.BOTH_FAIL),
    ],
)
def test_a_service_that_keeps_failing_ends_the_run(failing: list[str], stop: Stop) -> None:
    def dies(number: int) -> Outcome:
        return answer() if number < 5 else failure(FailureKind.UNREACHABLE, "refused")

    seen, _ = _observe(**{role: {"outcome": dies} for role in failing})  # type: ignore[arg-type]
    assert (seen.stop, len(seen.seen)) == (stop, 5 + GIVE_UP_AFTER)


def test_failures_with_answers_between_them_do_not_end_the_run() -> None:
    seen, _ = _observe(candidate={"outcome": lambda i: answer() if i % 10 == 9 else failure()})
    assert (seen.stop, len(seen.seen)) == (None, 30)


@pytest.mark.parametrize("role", ["stable", "candidate"])
def test_nothing_is_asked_where_a_service_does_not_describe_itself(role: str) -> None:
    down = {role: {"described": failure(FailureKind.UNREACHABLE, "refused")}}
    seen, world = _observe(**down)  # type: ignore[arg-type]
    assert (seen.seen, world.asked) == ((), [])


def test_a_collection_that_stable_does_not_have_is_the_callers_mistake() -> None:
    with pytest.raises(BadInputError, match="stable service has no collection 'x'; there is demo"):
        _observe(plan=replace(PLAN, collection="x"))


def test_a_collection_that_only_the_candidate_lacks_is_not_asked_for() -> None:
    seen, world = _observe(plan=replace(PLAN, collection="demo"), candidate={"described": facts(name="else")})
    assert (seen.seen, world.asked) == ((), [])


def test_a_k_that_stable_refuses_is_the_callers_mistake() -> None:
    with pytest.raises(BadInputError, match="asks for 1001 documents"):
        _observe(plan=replace(PLAN, k=1001))
    with pytest.raises(BadInputError, match="INFEMBED_MAX_K"):
        _observe((PROBE,), plan=replace(PLAN, probe_depth=1001))
