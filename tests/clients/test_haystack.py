"""Haystack's embedders."""

from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import Embed
from tests.clients.contract import TEXTS

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]
DOCUMENTS = list(TEXTS)
haystack = pytest.importorskip("haystack", reason="needs haystack-ai (requirements/clients.txt)")


def _check(of_text: Any, of_documents: Any, embed: Embed, **options: Any) -> None:
    np.testing.assert_allclose(of_text.run("bread")["embedding"], embed(["bread"], **options)[0], atol=1e-5)
    found = of_documents.run([haystack.Document(content=text) for text in DOCUMENTS])["documents"]
    np.testing.assert_allclose([one.embedding for one in found], embed(DOCUMENTS, **options), atol=1e-5)


def test_openai_embedders(url: str, embed: Embed) -> None:
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.utils import Secret

    options = {"api_key": Secret.from_token("unused"), "model": "tiny", "api_base_url": f"{url}/v1"}
    _check(OpenAITextEmbedder(**options), OpenAIDocumentEmbedder(**options, progress_bar=False), embed)


@pytest.mark.parametrize("normalize", [False, True])
def test_hugging_face_api_embedders_do_not_normalise_unless_told_to(url: str, embed: Embed, normalize: bool) -> None:
    name = "haystack_integrations.components.embedders.huggingface_api"
    embedders = pytest.importorskip(name, reason="needs huggingface-api-haystack (requirements/clients.txt)")
    options = {"api_type": "text_embeddings_inference", "api_params": {"url": url}, "normalize": normalize}
    of_text = embedders.HuggingFaceAPITextEmbedder(**options)
    of_documents = embedders.HuggingFaceAPIDocumentEmbedder(**options, progress_bar=False)
    _check(of_text, of_documents, embed, normalize=normalize)
