"""A run: ask until every pair is through, then build the corpus from the stored answers alone.

The second half asks nobody, so a run that was killed ten times ends with the same bytes as one that was not.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from infembed.errors import InfEmbedError, UnfinishedError
from infembed.progress import Report
from training.synthesis.answers import Answer, AnswerStore
from training.synthesis.draft import Stage
from training.synthesis.endpoint import Endpoint, NoAnswerError
from training.synthesis.pairs import Task
from training.synthesis.pipeline import Outcome, synthesize
from training.synthesis.questions import Question, Questions

ASKING = "asking"


@dataclass
class Asked:
    """What this process did; a later run of the same command counts anew."""

    n_requests: int = 0
    n_from_store: int = 0
    n_retries: int = 0
    usd: float = 0.0
    unanswered: dict[str, int] = field(default_factory=dict)
    """How many questions got no answer, by what was seen."""


@dataclass
class _Purse:
    """Money: spent on stored answers, and set aside for those on their way at the most they can cost."""

    budget_usd: float | None
    spent_usd: float
    reserved_usd: float = 0.0

    def can_pay(self, usd: float) -> bool:
        return self.budget_usd is None or self.spent_usd + self.reserved_usd + usd <= self.budget_usd

    @contextmanager
    def reserve(self, usd: float) -> Iterator[None]:
        self.reserved_usd += usd
        try:
            yield
        finally:
            self.reserved_usd -= usd


class Run:
    """Asks the questions of many pairs at once; stops without losing an answer that is on its way."""

    def __init__(self, questions: Questions, store: AnswerStore, *, generator: Endpoint, judge: Endpoint) -> None:
        self.asked = Asked()
        self._questions = questions
        self._store = store
        self._endpoints = {stage: judge if stage is Stage.JUDGE else generator for stage in Stage}
        self._purse = _Purse(questions.config.budget_usd, store.spent_usd())
        self._failures_in_a_row = 0
        self._stopped_by: InfEmbedError | None = None
        for endpoint in (generator, judge):
            endpoint.has_answered = endpoint.has_answered or store.knows_model(endpoint.model.model)

    async def ask_all(self, tasks: list[Task], report: Report) -> None:
        """Ask until every pair is through; raises what stopped the run, after the last answer on its way is kept."""
        waiting = iter(tasks)
        n_done = 0

        async def work() -> None:
            nonlocal n_done
            for task in waiting:
                if self._stopped_by is not None:
                    return
                if await self._ask_about(task):
                    n_done += 1
                    report(ASKING, n_done, len(tasks))

        report(ASKING, 0, len(tasks))
        with _signals_call(self._stop_for_signal):
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._questions.config.concurrency, len(tasks))):
                    group.create_task(work())
        self.asked.n_retries = sum(endpoint.n_retries for endpoint in set(self._endpoints.values()))
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _ask_about(self, task: Task) -> bool:
        """Take a pair through its stages; False if the run stopped meanwhile."""
        asking = synthesize(task, self._questions)
        try:
            question = next(asking)
            while self._stopped_by is None:
                question = asking.send(await self._answer(question))
        except StopIteration:
            return self._stopped_by is None
        asking.close()
        return False

    async def _answer(self, question: Question) -> str | None:
        stored = self._store.get(question)
        if stored is not None:
            self.asked.n_from_store += 1
            return stored.body
        at_most = question.price.of(question.at_most)
        if not self._purse.can_pay(at_most):
            self._stop(self._budget_is_spent())
            return None
        with self._purse.reserve(at_most):
            return await self._buy(question)

    async def _buy(self, question: Question) -> str | None:
        self.asked.n_requests += 1
        try:
            response = await self._endpoints[question.stage].ask(question)
            answer = self._store.put(question, response.body, is_paid=response.is_paid)
        except NoAnswerError as error:
            self._count_failure(error)
            return None
        except InfEmbedError as error:
            self._stop(error)
            return None
        self._purse.spent_usd += answer.usd
        self.asked.usd += answer.usd
        self._failures_in_a_row = 0
        return answer.body

    def _count_failure(self, error: NoAnswerError) -> None:
        self.asked.unanswered[str(error)] = self.asked.unanswered.get(str(error), 0) + 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._questions.config.retries.stop_after_failures:
            self._stop(self._endpoint_is_down(error))

    def _stop(self, reason: InfEmbedError) -> None:
        self._stopped_by = self._stopped_by or reason

    def _stop_for_signal(self) -> None:
        self._stop(UnfinishedError(f"stopped by a signal; {self._kept()}"))

    def _budget_is_spent(self) -> UnfinishedError:
        purse = self._purse
        return UnfinishedError(
            f"the budget of ${purse.budget_usd:,.2f} is spent: ${purse.spent_usd:,.4f} so far, and the next answer "
            f"could pass it; raise budget_usd, then {self._kept()}"
        )

    def _endpoint_is_down(self, error: NoAnswerError) -> UnfinishedError:
        return UnfinishedError(
            f"no answer to {self._failures_in_a_row} questions in a row, the last with {error}; see to the endpoint, "
            f"then {self._kept()}"
        )

    def _kept(self) -> str:
        kept = f"{len(self._store):,} answers are kept and not paid twice"
        return f"run the same command again: {kept} (--finished writes the pairs that are through)"


class Bought(NamedTuple):
    """A question and its answer."""

    question: Question
    answer: Answer


class Replayed(NamedTuple):
    """A pair's outcome, and the questions it took with the answers that are there."""

    outcome: Outcome
    bought: list[Bought]


def replay(task: Task, questions: Questions, find: Callable[[Question], Answer | None]) -> Replayed:
    """Take a pair through its stages with the answers that `find` has."""
    bought: list[Bought] = []
    asking = synthesize(task, questions)
    try:
        question = next(asking)
        while True:
            answer = find(question)
            if answer is not None:
                bought.append(Bought(question, answer))
            question = asking.send(None if answer is None else answer.body)
    except StopIteration as end:
        return Replayed(end.value, bought)


@contextmanager
def _signals_call(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM finish what is on its way; a second one ends at once."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        for number in signals:
            loop.remove_signal_handler(number)
        stop()

    try:
        for number in signals:
            loop.add_signal_handler(number, first)
    except (RuntimeError, ValueError, NotImplementedError):  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
