"""A LangChain retriever over `/search`: the instruction travels apart from the question.

    retriever = InfEmbedRetriever(client=Client("http://127.0.0.1:8080"), k=5)
    retriever.invoke("how do I fix a Wi-Fi dead zone", instruction="I rent, so no holes in the walls")

Needs `inf-embed[client]` and `langchain-core`.
"""

import asyncio

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from infembed.client import Client


class InfEmbedRetriever(BaseRetriever):
    """Finds the `k` best documents; `instruction` holds for every question that comes without one of its own."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: Client
    collection: str | None = None
    instruction: str | None = None
    k: int = 10

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, instruction: str | None = None
    ) -> list[Document]:
        return self._find(query, instruction)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, instruction: str | None = None
    ) -> list[Document]:
        return await asyncio.to_thread(self._find, query, instruction)

    def _find(self, query: str, instruction: str | None) -> list[Document]:
        found = self.client.search(
            query, instruction=instruction or self.instruction, k=self.k, collection=self.collection
        )
        return [
            Document(id=hit.id, page_content=hit.text, metadata={**hit.metadata, "score": hit.score})
            for hit in found.results
        ]
