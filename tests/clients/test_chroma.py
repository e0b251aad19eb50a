"""Chroma's embedding functions, alone and in a collection."""

from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed
from tests.clients.contract import TEXTS

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]
DOCUMENTS = list(TEXTS)
chromadb = pytest.importorskip("chromadb", reason="needs chromadb (requirements/clients.txt)")


def _functions(url: str) -> dict[str, Any]:
    from chromadb.utils import embedding_functions as made

    return {
        "server": made.HuggingFaceEmbeddingServer(url=f"{url}/embed"),
        "openai": made.OpenAIEmbeddingFunction(api_key="unused", api_base=f"{url}/v1", model_name="tiny"),
    }


@pytest.mark.parametrize("name", ["server", "openai"])
def test_an_embedding_function_gives_our_vectors(url: str, embed: Embed, name: str) -> None:
    np.testing.assert_allclose(_functions(url)[name](DOCUMENTS), embed(DOCUMENTS), atol=1e-5)


@pytest.mark.parametrize("name", ["server", "openai"])
def test_a_collection_finds_a_document_by_its_own_words(url: str, name: str) -> None:
    client = chromadb.EphemeralClient()
    collection = client.create_collection(f"words-{name}", embedding_function=_functions(url)[name])
    collection.add(ids=[f"d{number}" for number in range(len(DOCUMENTS))], documents=DOCUMENTS)
    assert collection.query(query_texts=["bike chain"], n_results=1)["ids"] == [["d2"]]
