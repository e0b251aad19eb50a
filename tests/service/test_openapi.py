from pathlib import Path

import pytest

from tests.service.openapi import COMMITTED, described


def test_the_committed_description_of_the_api_is_that_of_the_code(tiny_bundle: Path) -> None:
    """Run `make openapi` and look at the difference: what is gone or stricter breaks somebody's client."""
    if COMMITTED.read_text(encoding="utf-8") != described(tiny_bundle):
        pytest.fail("docs/openapi.json is not what the service describes; run `make openapi` and review the difference")
