import pytest

from infembed.api_key import authorization
from infembed.client import AsyncClient, Client
from infembed.errors import BadInputError


@pytest.mark.parametrize("found", ["infembed_key", "infembed_key\n", " infembed_key\r\n"])
def test_a_key_is_sent_without_the_white_space_of_the_file_it_was_read_from(found: str) -> None:
    assert authorization(found) == {"authorization": "Bearer infembed_key"}


@pytest.mark.parametrize("none", [None, "", "\n"])
def test_no_key_is_no_header(none: str | None) -> None:
    assert authorization(none) == {}


@pytest.mark.parametrize("bad", ["se\ncret", "se\x00cret", "sécret"])
def test_a_key_that_fits_no_header_is_refused_and_not_shown(bad: str) -> None:
    for make in (
        lambda: Client("http://service", api_key=bad),
        lambda: AsyncClient("http://service", api_key=bad),
    ):
        with pytest.raises(BadInputError, match="the API key has characters that no key has") as refused:
            make()
        assert "cret" not in str(refused.value)
