"""A run: ask until every pair is through, then build the corpus from the stored answers alone.

The second half asks nobody, so a run that was killed ten times ends with the same bytes as one that was not.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
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


class _Purse:
    """Money: spent on stored answers, and set aside for those on their way at the most they can cost."""

    def __init__(self, budget_usd: float | None, spent_usd: float) -> None:
        self.budget_usd = budget_usd
        self.spent_usd = spent_usd
        self._reserved_usd: list[float] = []
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def reserve(self, usd: float) -> AsyncIterator[bool]:
        """Set money aside, or yield False; an answer on its way may turn out cheaper than feared, so wait for it."""
        async with self._settled:
            await self._settled.wait_for(lambda: self._can_pay(usd) or not self._reserved_usd)
            is_affordable = self._can_pay(usd)
            self._reserved_usd += [usd] if is_affordable else []
        try:
            yield is_affordable
        finally:
            if is_affordable:
                async with self._settled:
                    self._reserved_usd.remove(usd)
                    self._settled.notify_all()

    def _can_pay(self, usd: float) -> bool:
        return self.budget_usd is None or self.spent_usd + sum(self._reserved_usd) + usd <= self.budget_usd


class Run:
    """Asks the questions of many pairs at once; stops without losing an answer that is on its way."""

    def __init__(self, questions: Questions, store: AnswerStore, *, generator: Endpoint, judge: Endpoint) -> None:
        self.asked = Asked()
        self._questions = questions
        self._store = store
        self._endpoints = {stage: judge if stage is Stage.JUDGE else generator for stage in Stage}
        self._purse = _Purse(questions.config.budget_usd, store.spent_usd())
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
                await asyncio.sleep(0)  # pairs that are answered already never wait; let those on their way go on

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
        async with self._purse.reserve(question.price.of(question.at_most)) as is_affordable:
            if is_affordable:
                return await self._buy(question)
        self._stop(self._budget_is_spent())
        return None

    async def _buy(self, question: Question) -> str | None:
        if self._stopped_by is not None:  # while this question waited for money
            return None
        self.asked.n_requests += 1
        endpoint = self._endpoints[question.stage]
        try:
            response = await endpoint.ask(question)
            answer = self._store.put(question, response.body, is_paid=response.is_paid)
        except NoAnswerError as error:
            self.asked.unanswered[str(error)] = self.asked.unanswered.get(str(error), 0) + 1
            if endpoint.n_failures_in_a_row >= self._questions.config.retries.stop_after_failures:
                self._stop(self._endpoint_is_down(endpoint, error))
            return None
        except InfEmbedError as error:
            self._stop(error)
            return None
        self._purse.spent_usd += answer.usd
        self.asked.usd += answer.usd
        return answer.body

    def _stop(self, reason: InfEmbedError) -> None:
        self._stopped_by = self._stopped_by or reason
        for endpoint in self._endpoints.values():
            endpoint.hurry()

    def _stop_for_signal(self) -> None:
        self._stop(UnfinishedError(f"stopped by a signal; {self._kept()}"))

    def _budget_is_spent(self) -> UnfinishedError:
        purse = self._purse
        return UnfinishedError(
            f"the budget of ${purse.budget_usd:,.2f} is spent: ${purse.spent_usd:,.4f} so far, and the next answer "
            f"could pass it; raise budget_usd, then {self._kept()}"
        )

    def _endpoint_is_down(self, endpoint: Endpoint, error: NoAnswerError) -> UnfinishedError:
        return UnfinishedError(
            f"{endpoint.model.base_url} gave no answer to {endpoint.n_failures_in_a_row} questions in a row, the last "
            f"with {error}; see to the endpoint, then {self._kept()}"
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
