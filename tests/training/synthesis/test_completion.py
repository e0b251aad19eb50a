"""Whatever an endpoint sends is either a reply or a fault with a name."""

import json
from typing import Any

import pytest

from training.synthesis.completion import Fault, Unusable, read_reply
from training.synthesis.draft import Stage
from training.synthesis.schemas import PoisonedQuery
from training.synthesis.usage import Usage, estimate_tokens, read_usage

GOOD = '{"difference": "another need", "query": "cold radiator"}'


def completion(content: Any, finish_reason: str = "stop", **message: Any) -> str:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "choices": [choice]})


@pytest.mark.parametrize("content", [GOOD, f"```json\n{GOOD}\n```", f"\n {GOOD} \n"])
def test_a_reply_is_read_with_or_without_a_fence(content: str) -> None:
    assert read_reply(completion(content), Stage.QUERY_POISONING) == PoisonedQuery(
        difference="another need", query="cold radiator"
    )


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("", Fault.MALFORMED),
        ("<html>bad gateway</html>", Fault.MALFORMED),
        (completion(GOOD)[:40], Fault.MALFORMED),
        ("null", Fault.MALFORMED),
        ('{"choices": []}', Fault.MALFORMED),
        ('{"choices": [{"message": null}]}', Fault.MALFORMED),
        ('{"choices": [{"message": {"content": ["a"]}}]}', Fault.MALFORMED),
        ('{"error": {"message": "content policy", "code": "content_filter"}}', Fault.REFUSED),
        (completion(None, refusal="I cannot"), Fault.REFUSED),
        (completion(GOOD, "content_filter"), Fault.REFUSED),
        (completion(GOOD, "length"), Fault.TRUNCATED),
        (completion(GOOD[:20], "length"), Fault.TRUNCATED),
        (completion(None), Fault.EMPTY),
        (completion(" \n"), Fault.EMPTY),
        (completion("Sure! Here it is: {"), Fault.NOT_JSON),
        (completion(GOOD[:-1]), Fault.NOT_JSON),
        (completion("[]"), Fault.WRONG_SCHEMA),
        (completion('{"query": 3, "difference": "d"}'), Fault.WRONG_SCHEMA),
        (completion('{"query": "q"}'), Fault.WRONG_SCHEMA),
        (completion('{"query": "q", "difference": "d", "note": "n"}'), Fault.WRONG_SCHEMA),
    ],
)
def test_every_lie_has_a_name(body: str, fault: Fault) -> None:
    reply = read_reply(body, Stage.QUERY_POISONING)
    assert isinstance(reply, Unusable)
    assert reply.fault is fault
    assert reply.detail


def test_a_score_outside_one_to_five_is_of_another_schema() -> None:
    score = {"reason": "r", "score": 6}
    criteria = ("plausible", "violating", "answerable", "positive", "not_lexical")
    judged: dict[str, object] = dict.fromkeys(criteria, score)
    judged |= {f"best_for_wish_{number}": "A" for number in (1, 2, 3)}
    reply = read_reply(completion(json.dumps(judged)), Stage.JUDGE)
    assert isinstance(reply, Unusable)
    assert reply.fault is Fault.WRONG_SCHEMA


def test_tokens_are_read_where_they_are_counted() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    assert read_usage(json.dumps({"usage": usage})) == Usage(prompt=100, completion=40, reasoning=30, cached=60)
    assert read_usage(json.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 2}})) == Usage(1, 2)
    assert read_usage(json.dumps({"usage": None})) is None
    assert read_usage("<html>") is None
    assert read_usage('{"usage": {"prompt_tokens": -1, "completion_tokens": 2}}') is None
    assert read_usage(f'{{"usage": {{"prompt_tokens": {10**30}, "completion_tokens": 2}}}}') is None
    assert estimate_tokens("five letters") == 3
