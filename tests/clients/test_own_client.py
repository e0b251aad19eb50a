"""Our own client against a running service, and the snippets of docs/client.md."""

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infembed.client import AsyncClient, Client
from infembed.errors import BadInputError, NotFoundError, OverloadedError
from tests.clients.conftest import ROOT, Embed
from tests.clients.contract import COLLECTION, CUT_DIM, DIM, MODEL_TOKENS, RETRY_AFTER_S, TEXTS

pytestmark = pytest.mark.clients


def test_embeddings_are_those_of_plain_http_whatever_the_size_of_a_part(url: str, embed: Embed) -> None:
    wishes = ["for a child", None, None, None, "no yeast"]
    with Client(url) as client:
        found = client.embed(TEXTS, instruction=wishes, batch_size=2)
        raw = client.embed(TEXTS, normalize=False)
    assert found.shape == (len(TEXTS), DIM)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, embed(list(TEXTS), instruction=wishes), atol=1e-6)
    np.testing.assert_allclose(raw, embed(list(TEXTS), normalize=False), atol=1e-5)


def test_vectors_are_cut_to_a_width_that_info_names(url: str) -> None:
    with Client(url) as client:
        assert client.info().dimensions == (DIM, CUT_DIM)
        whole, cut = client.embed(TEXTS), client.embed(TEXTS, dimensions=CUT_DIM)
    wanted = whole[:, :CUT_DIM] / np.linalg.norm(whole[:, :CUT_DIM], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, wanted, atol=1e-5)


def test_details_say_what_was_read_of_each_text(url: str) -> None:
    with Client(url) as client:
        found = client.embed_with_details(["bread", "bread " * 100], instruction=[None, "no yeast"])
    assert (found.tokens[0], found.truncated) == (3, (False, True))
    assert 3 < found.tokens[1] <= 2 * MODEL_TOKENS


def test_both_clients_answer_alike(url: str) -> None:
    async def ask() -> tuple[Any, ...]:
        async with AsyncClient(url) as client:
            return (
                await client.search("bread", instruction="for an expert", k=3, explain=True),
                await client.similarity("bread", TEXTS),
                await client.tokenize("bread and oven"),
                await client.info(),
                await client.collections(),
            )

    search, similarity, tokens, info, collections = asyncio.run(ask())
    with Client(url) as client:
        assert client.search("bread", instruction="for an expert", k=3, explain=True) == search
        np.testing.assert_allclose(client.similarity("bread", TEXTS), similarity, atol=1e-6)
        assert client.tokenize("bread and oven") == tokens
        assert client.info() == info
        assert client.collections() == collections
    assert [hit.metadata["number"] for hit in search.results] == [int(hit.id[1:]) for hit in search.results]
    assert search.effect is not None
    assert search.effect.query_shift > 0
    assert (info.dim, collections[COLLECTION].documents) == (DIM, len(TEXTS))


def test_tokens_say_where_they_stand_in_the_text(url: str) -> None:
    with Client(url) as client:
        (tokens,) = client.tokenize("The bread, oven")
        (bare,) = client.tokenize("The bread, oven", add_special_tokens=False)
    assert [(token.text, token.start, token.stop) for token in bare] == [
        ("The", 0, 3),
        ("bread", 4, 9),
        (",", 9, 10),
        ("oven", 11, 15),
    ]
    assert [token.special for token in tokens] == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"k": 5000}, BadInputError, "at most 1000 can be reached"),
        ({"collection": "absent"}, NotFoundError, f"no collection 'absent'; there is {COLLECTION}"),
    ],
)
def test_a_refusal_is_an_exception_with_the_services_sentence(
    url: str, options: Any, error: type[Exception], words: str
) -> None:
    with Client(url) as client, pytest.raises(error, match=words):
        client.search("bread", **options)


def test_a_busy_service_is_waited_for_as_long_as_it_asks(url: str, busy: Path) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        busy.unlink()

    with Client(url, sleep=sleep) as client:
        assert client.embed("bread").shape == (1, DIM)
    (wait_s,) = waits
    assert RETRY_AFTER_S <= wait_s <= 1.25 * RETRY_AFTER_S


def test_a_service_that_stays_busy_is_an_overloaded_error(url: str, busy: Path) -> None:
    waits: list[float] = []
    with Client(url, timeout_s=100, clock=lambda: 40.0 * len(waits), sleep=waits.append) as client:
        with pytest.raises(OverloadedError, match="1000 tokens are waiting") as found:
            client.embed("bread")
    assert len(waits) == 3
    assert found.value.retry_after_s == pytest.approx(RETRY_AFTER_S)


def test_the_snippets_of_the_documentation_run_and_print_what_it_says(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8").replace("http://127.0.0.1:8080", url)
    names: dict[str, Any] = {}
    for snippet in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        exec(compile(snippet, "docs/client.md", "exec"), names)
        promised = re.findall(r"# -> (.*)", snippet)
        assert capsys.readouterr().out.splitlines() == promised
