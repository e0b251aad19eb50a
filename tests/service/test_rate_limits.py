import pytest

from infembed.errors import OverloadedError
from service.rate_limits import BURST_S, RateLimits


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def _retry_s(limits: RateLimits, client: str) -> float:
    with pytest.raises(OverloadedError, match="more than its 100 tokens a second") as caught:
        limits.require(client)
    return caught.value.retry_after_s


def test_a_client_may_save_up_a_burst_and_then_waits_for_its_rate() -> None:
    clock = Clock()
    limits = RateLimits(100, clock=clock)
    limits.require("a")
    limits.charge("a", int(100 * BURST_S) + 50)
    assert _retry_s(limits, "a") == pytest.approx(0.5)
    clock.now += 0.6
    limits.require("a")


def test_a_large_request_is_taken_whole_and_paid_for_afterwards() -> None:
    clock = Clock()
    limits = RateLimits(100, clock=clock)
    limits.charge("a", 10_000)
    assert _retry_s(limits, "a") == pytest.approx(100 - BURST_S)


def test_clients_do_not_pay_for_each_other() -> None:
    limits = RateLimits(100, clock=Clock())
    limits.charge("a", 5000)
    assert _retry_s(limits, "a") > 0
    limits.require("b")


def test_tokens_of_a_refused_request_are_given_back() -> None:
    limits = RateLimits(100, clock=Clock())
    limits.charge("a", 5000)
    limits.charge("a", -5000)
    limits.require("a")


def test_without_a_limit_or_a_name_everything_is_taken() -> None:
    for limits in (RateLimits(None), RateLimits(1)):
        limits.charge(None, 10**9)
        limits.require(None)
    unlimited = RateLimits(None)
    unlimited.charge("a", 10**9)
    unlimited.require("a")


def test_clients_that_have_paid_are_forgotten() -> None:
    clock = Clock()
    limits = RateLimits(1, clock=clock)
    for number in range(10_000):
        limits.charge(f"client {number}", 1)
        clock.now += 1
    assert len(limits._paid_until) <= 4097
