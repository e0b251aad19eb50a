"""The retrievers of examples/, over a running service."""

import asyncio

import pytest

from infembed.client import Client

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


def test_the_langchain_retriever_takes_an_instruction_with_each_question(url: str) -> None:
    pytest.importorskip("langchain_core", reason="needs langchain-core (requirements/clients.txt)")
    from examples.langchain_retriever import InfEmbedRetriever

    with Client(url) as client:
        retriever = InfEmbedRetriever(client=client, k=2)
        expected = client.search("bread", instruction="for an expert", k=2).results
        found = retriever.invoke("bread", instruction="for an expert")
        assert asyncio.run(retriever.ainvoke("bread", instruction="for an expert")) == found
        plain = client.search("bread", k=2).results
        assert [document.metadata["score"] for document in retriever.invoke("bread")] == [hit.score for hit in plain]
    assert [(document.id, document.page_content) for document in found] == [(hit.id, hit.text) for hit in expected]
    assert found[0].metadata == {**expected[0].metadata, "score": expected[0].score}
    assert plain[0].score != expected[0].score


def test_the_llama_index_retriever_keeps_its_instruction(url: str) -> None:
    pytest.importorskip("llama_index.core", reason="needs llama-index-core (requirements/clients.txt)")
    from examples.llama_index_retriever import InfEmbedRetriever

    with Client(url) as client:
        retriever = InfEmbedRetriever(client, instruction="for an expert", k=2)
        expected = client.search("bread", instruction="for an expert", k=2).results
        found = retriever.retrieve("bread")
        assert [one.score for one in asyncio.run(retriever.aretrieve("bread"))] == [one.score for one in found]
    assert [(one.node.node_id, one.score) for one in found] == [(hit.id, hit.score) for hit in expected]
    assert found[0].node.metadata == expected[0].metadata
