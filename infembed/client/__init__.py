"""A typed client of a running service: `Client`, and `AsyncClient` for event loops (extra `client`)."""

from infembed.client.answers import CollectionInfo, Embeddings, Hit, InstructionEffect, SearchAnswer, ServiceInfo, Token
from infembed.client.http import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "CollectionInfo",
    "Embeddings",
    "Hit",
    "InstructionEffect",
    "SearchAnswer",
    "ServiceInfo",
    "Token",
]
