"""Fixtures of the training tests."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    """Run torch on one thread: tiny matrices gain nothing from more, and on a busy machine threads wait seconds."""
    torch = sys.modules.get("torch")  # tests of the corpus do without it
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
