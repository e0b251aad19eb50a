"""The FastAPI application: batching, API, metrics."""
