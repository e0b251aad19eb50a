"""Tiny random encoders of every family, in float64 so that equal means equal."""

import torch
from transformers import AutoModel, BertConfig, ModernBertConfig, PreTrainedModel, RobertaConfig, XLMRobertaConfig

from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from training.backbone import FAMILIES, Backbone

N_IDS = 50
WINDOW = 8
"""Tokens that ModernBERT's local layers see, half on each side; shorter than the tests' sequences."""

_SIZES = {
    "vocab_size": N_IDS,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,
}


def tiny_encoder(model_type: str, *, window: int = WINDOW) -> PreTrainedModel:
    """Make a random encoder, the same one each time."""
    config = {
        "bert": lambda: BertConfig(**_SIZES),
        "roberta": lambda: RobertaConfig(**_SIZES, pad_token_id=1),
        "xlm-roberta": lambda: XLMRobertaConfig(**_SIZES, pad_token_id=3),
        "modernbert": lambda: ModernBertConfig(
            **_SIZES,
            initializer_cutoff_factor=3.0,
            global_attn_every_n_layers=2,
            local_attention=window,
            reference_compile=False,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
        ),
    }[model_type]()
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
