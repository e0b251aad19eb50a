"""Tiny random encoders of every family, in float64 so that equal means equal."""

import torch
from transformers import AutoModel, PreTrainedModel

from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from tests.families import WINDOW, tiny_config
from training.backbone import FAMILIES, Backbone

N_IDS = 50


def tiny_encoder(model_type: str, *, window: int = WINDOW) -> PreTrainedModel:
    """Make a random encoder, the same one each time."""
    config = tiny_config(model_type, vocabulary=N_IDS, window=window)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModel.from_config(config, attn_implementation="sdpa").double().eval()


def tiny_backbone(model_type: str, *, window: int = WINDOW) -> Backbone:
    encoder = tiny_encoder(model_type, window=window)
    return Backbone(encoder, FAMILIES[model_type], pad_id=encoder.config.pad_token_id)


def make_input(n_text: int, n_instruction: int = 0, *, seed: int = 0) -> TokenizedInput:
    """Random ids, none of them special."""
    random = torch.Generator().manual_seed(1000 * n_text + 10 * n_instruction + seed)
    ids = torch.randint(4, N_IDS, (n_text + n_instruction,), generator=random).tolist()
    return TokenizedInput(InputType.QUERY, tuple(ids[:n_text]), tuple(ids[n_text:]))
