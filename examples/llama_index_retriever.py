"""A LlamaIndex retriever over `/search`: the instruction travels apart from the question.

    retriever = InfEmbedRetriever(Client("http://127.0.0.1:8080"), instruction="I rent, so no holes in the walls")
    retriever.retrieve("how do I fix a Wi-Fi dead zone")

Needs `inf-embed[client]` and `llama-index-core`.
"""

import asyncio

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from infembed.client import Client


class InfEmbedRetriever(BaseRetriever):
    """Finds the `k` best documents as the instruction wants them."""

    def __init__(
        self, client: Client, *, instruction: str | None = None, k: int = 10, collection: str | None = None
    ) -> None:
        super().__init__()
        self._client = client
        self._instruction = instruction
        self._k = k
        self._collection = collection

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._client.search(
            query_bundle.query_str, instruction=self._instruction, k=self._k, collection=self._collection
        )
        return [
            NodeWithScore(node=TextNode(id_=hit.id, text=hit.text, metadata=hit.metadata), score=hit.score)
            for hit in found.results
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
