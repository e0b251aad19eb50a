"""Every answer to generated requests is as the OpenAPI description says; `make fuzz` tries 10,000 of them."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.site import Site, build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return build(tmp_path_factory.mktemp("fuzzed"))


@pytest.mark.parametrize("has_keys", [False, True])
def test_every_answer_is_as_described(site: Site, has_keys: bool) -> None:
    for found in fuzz(site, has_keys=has_keys, n_cases=10):
        assert not found.problems, found.output
        assert found.n_cases > found.n_operations > 0
