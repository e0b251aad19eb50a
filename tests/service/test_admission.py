import pytest

from infembed.errors import OverloadedError, TooManyInputsError
from service.admission import Admission, TokenRate
from service.batching import Lane


def _admission(*, per_s: float = 1000, interactive: int = 10_000, bulk: int = 10_000) -> Admission:
    admission = Admission(max_interactive_tokens=interactive, max_bulk_tokens=bulk)
    admission.rate = TokenRate(first=per_s)
    return admission


def _admit(admission: Admission, n_tokens: int, lane: Lane, *, timeout_s: float) -> None:
    admission.require_room(n_tokens, lane, timeout_s=timeout_s)
    admission.admit(n_tokens, lane)


def _retry_s(admission: Admission, n_tokens: int, lane: Lane, *, timeout_s: float = 1000) -> float:
    with pytest.raises(OverloadedError) as caught:
        _admit(admission, n_tokens, lane, timeout_s=timeout_s)
    return caught.value.retry_after_s


def test_a_full_lane_refuses_until_tokens_are_released() -> None:
    admission = _admission(interactive=100)
    _admit(admission, 90, Lane.INTERACTIVE, timeout_s=5)
    with pytest.raises(OverloadedError, match="90 tokens of interactive requests are waiting and this request has 20"):
        _admit(admission, 20, Lane.INTERACTIVE, timeout_s=5)
    admission.release(90, Lane.INTERACTIVE)
    _admit(admission, 20, Lane.INTERACTIVE, timeout_s=5)
    assert admission.n_tokens == 20


def test_a_lane_full_of_bulk_leaves_room_for_single_queries() -> None:
    admission = _admission(interactive=100, bulk=1000)
    _admit(admission, 1000, Lane.BULK, timeout_s=50)
    assert _retry_s(admission, 1, Lane.BULK) > 0
    _admit(admission, 100, Lane.INTERACTIVE, timeout_s=50)
    assert _retry_s(admission, 1, Lane.INTERACTIVE) > 0


def test_a_request_larger_than_a_lane_is_taken_when_nothing_waits_there() -> None:
    admission = _admission(bulk=100)
    _admit(admission, 500, Lane.BULK, timeout_s=5)
    assert admission.n_tokens == 500


def test_the_time_to_come_back_is_that_in_which_the_excess_drains() -> None:
    admission = _admission(interactive=5000)
    _admit(admission, 5000, Lane.INTERACTIVE, timeout_s=100)
    assert _retry_s(admission, 3000, Lane.INTERACTIVE) == pytest.approx(3.0)


def test_bulk_is_told_that_it_drains_slower_while_others_wait() -> None:
    admission = _admission(bulk=5000)
    _admit(admission, 5000, Lane.BULK, timeout_s=100)
    alone = _retry_s(admission, 1000, Lane.BULK)
    _admit(admission, 10_000, Lane.INTERACTIVE, timeout_s=100)
    assert alone == pytest.approx(1.0)
    assert _retry_s(admission, 1000, Lane.BULK) == pytest.approx(1.0 * (6000 + 10_000) / 6000)


def test_what_would_wait_for_more_than_seven_tenths_of_its_time_is_refused() -> None:
    admission = _admission()
    _admit(admission, 600, Lane.INTERACTIVE, timeout_s=1)
    with pytest.raises(OverloadedError, match="at most 700 may wait"):
        _admit(admission, 101, Lane.INTERACTIVE, timeout_s=1)
    _admit(admission, 100, Lane.INTERACTIVE, timeout_s=1)


def test_what_could_never_be_done_in_time_is_an_error_of_the_request() -> None:
    with pytest.raises(TooManyInputsError, match=r"has 3000 tokens, about 2000 can be computed within its 2 s"):
        _admit(_admission(), 3000, Lane.BULK, timeout_s=2)


def test_urgent_work_is_always_taken() -> None:
    admission = _admission(interactive=1)
    _admit(admission, 1, Lane.INTERACTIVE, timeout_s=1)
    _admit(admission, 5000, Lane.URGENT, timeout_s=0.01)
    assert admission.n_tokens == 5001


def test_the_rate_weighs_batches_by_their_time_and_leaves_out_small_ones() -> None:
    rate = TokenRate(first=1000)
    for _ in range(100):
        rate.observe(4, 0.1)
    assert rate.per_s == 1000
    for _ in range(200):
        rate.observe(3000, 1.0)
        rate.observe(600, 0.1)
    assert rate.per_s == pytest.approx(3600 / 1.1, rel=0.1)
