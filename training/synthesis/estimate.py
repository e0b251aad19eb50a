"""What a run would take, before anybody is asked: the same stages against stored answers and made-up ones."""

import json
from collections.abc import Callable

from pydantic import Field, JsonValue

from infembed.config import Config
from training.synthesis.answers import Answer
from training.synthesis.completion import Unusable, read_reply
from training.synthesis.criteria import Criterion
from training.synthesis.draft import Product, Stage
from training.synthesis.pairs import Tasks
from training.synthesis.questions import Question, Questions
from training.synthesis.run import replay
from training.synthesis.usage import Usage, estimate_tokens

_TYPICAL_WORDS = {Product.INSTRUCTION: 15, Product.QUERY: 7, Product.DOCUMENT: 80}
_REASON_WORDS = 18


class StageEstimate(Config):
    """One stage: answers that are kept already, and what those to come would take."""

    n_kept_answers: int
    n_requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float


class Estimate(Config):
    """A run in which every answer is usable and every pair reaches the judge."""

    n_pairs: int
    n_quarantined: int
    n_requests: int
    usd: float
    usd_at_most: float = Field(description="if every answer took the tokens it may take, without further attempts")
    stages: dict[Stage, StageEstimate]


def estimate(tasks: Tasks, questions: Questions, find: Callable[[Question], Answer | None]) -> Estimate:
    """Count requests, tokens and money; pairs that stored answers reject end where they did."""
    kept = dict.fromkeys(Stage, 0)
    asked = dict.fromkeys(Stage, 0)
    usage = dict.fromkeys(Stage, Usage())
    usd = dict.fromkeys(Stage, 0.0)
    at_most = 0.0

    def answer(question: Question) -> Answer:
        nonlocal at_most
        stage = question.stage
        if (found := find(question)) is not None:
            kept[stage] += 1
            return found
        made_up = _make_up(question, questions)
        asked[stage] += 1
        usage[stage] += made_up.usage
        usd[stage] += made_up.usd
        at_most += question.price.of(question.at_most)
        return made_up

    for task in tasks.tasks:
        replay(task, questions, answer)
    return Estimate(
        n_pairs=len(tasks.tasks),
        n_quarantined=len(tasks.quarantined),
        n_requests=sum(asked.values()),
        usd=round(sum(usd.values()), 6),
        usd_at_most=round(at_most, 6),
        stages={
            stage: StageEstimate(
                n_kept_answers=kept[stage],
                n_requests=asked[stage],
                prompt_tokens=usage[stage].prompt,
                completion_tokens=usage[stage].completion,
                usd=round(usd[stage], 6),
            )
            for stage in Stage
        },
    )


def estimate_text(found: Estimate, *, budget_usd: float | None) -> str:
    """Word an estimate for people."""
    lines = [f"{'stage':22}{'kept':>8}{'requests':>10}{'prompt':>12}{'completion':>12}{'$':>12}"]
    lines += [
        f"{stage:22}{part.n_kept_answers:>8,}{part.n_requests:>10,}{part.prompt_tokens:>12,}"
        f"{part.completion_tokens:>12,}{part.usd:>12,.4f}"
        for stage, part in found.stages.items()
    ]
    lines.append(
        f"{found.n_pairs:,} pairs: about {found.n_requests:,} requests and ${found.usd:,.4f}, at most "
        f"${found.usd_at_most:,.4f} where every answer is usable at once; tokens are estimated from characters"
    )
    if budget_usd is not None and found.usd > budget_usd:
        lines.append(f"the budget of ${budget_usd:,.2f} would end before the pairs do")
    return "\n".join(lines)


def _make_up(question: Question, questions: Questions) -> Answer:
    reply = json.dumps(_typical_reply(question, questions))
    reasoning = questions.model_of(question.stage).expected_reasoning_tokens
    usage = Usage(question.at_most.prompt, estimate_tokens(reply) + reasoning, reasoning=reasoning)
    body = json.dumps({"choices": [{"message": {"content": reply}, "finish_reason": "stop"}]})
    assert not isinstance(read_reply(body, question.stage), Unusable)
    return Answer(body, usage, is_counted=False, usd=question.price.of(usage))


def _typical_reply(question: Question, questions: Questions) -> dict[str, JsonValue]:
    reason = _words(_REASON_WORDS, question.key)
    text = "" if question.stage is Stage.JUDGE else _typical_text(question, questions)
    match question.stage:
        case Stage.INSTRUCTION:
            return {"met_by": reason, "fits": True, "instruction": text}
        case Stage.INSTRUCTION_POISONING:
            return {"broken_by": reason, "instruction": text}
        case Stage.QUERY_POISONING:
            return {"difference": reason, "query": text}
        case Stage.HARD_NEGATIVE_1 | Stage.HARD_NEGATIVE_2:
            return {"plan": reason, "document": text}
        case Stage.JUDGE:
            score: JsonValue = {"reason": reason, "score": 5}
            best = {f"best_for_wish_{number}": "A" for number in (1, 2, 3)}
            return {**best, **{criterion: score for criterion in Criterion if criterion is not Criterion.MATCH}}


def _typical_text(question: Question, questions: Questions) -> str:
    product = question.stage.product
    fewest, most = questions.config.bounds.of(product)
    return _words(min(max(_TYPICAL_WORDS[product], fewest), most), question.key)


def _words(n: int, key: str) -> str:
    """Make as many different words of about six characters as asked for."""
    return " ".join(f"{key[:3]}{number:03d}" for number in range(n))
