"""What is set aside from the collector goes when it is asked for, and not before."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from service import garbage


class Knot:
    """An object that only the collector can end."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_was_set_aside_is_left_alone_until_it_is_collected_everywhere() -> None:
    knot = Knot()
    seen = weakref.ref(knot)
    garbage.set_aside()
    del knot
    gc.collect()
    assert seen() is not None
    garbage.collect()
    assert seen() is None
    assert gc.get_freeze_count() > 0


def test_a_process_that_set_nothing_aside_stays_so() -> None:
    gc.unfreeze()
    knot = Knot()
    seen = weakref.ref(knot)
    del knot
    garbage.collect()
    assert seen() is None
    assert gc.get_freeze_count() == 0
