"""mteb's wrapper of OpenAI-compatible services."""

from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed
from tests.clients.contract import MODEL_TOKENS, TEXTS

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.filterwarnings("default")]


def _encode(url: str, **options: Any) -> Any:
    made = pytest.importorskip("mteb.models", reason="needs mteb (requirements/dev.txt)").OpenAIAPIEncodeWrapper
    from datasets import Dataset
    from torch.utils.data import DataLoader

    (model,) = _models(url)
    wrapper = made(endpoint_url=url, model_name=model, modalities=["text"], **options)
    assert wrapper.max_length == MODEL_TOKENS
    inputs = DataLoader(Dataset.from_dict({"text": list(TEXTS)}), batch_size=2)
    return wrapper.encode(inputs, task_metadata=None, hf_split="test", hf_subset="default", show_progress_bar=False)


def _models(url: str) -> list[str]:
    import requests

    return [model["id"] for model in requests.get(f"{url}/v1/models", timeout=30).json()["data"]]


def test_texts_are_embedded_as_plain_http_does(url: str, embed: Embed) -> None:
    np.testing.assert_allclose(_encode(url, use_chat_template=False), embed(list(TEXTS)), atol=1e-5)


def test_its_default_of_chat_messages_is_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(RuntimeError, match="use_chat_template=False"):
        _encode(url)
