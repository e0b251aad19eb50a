"""Tiny encoders of every family: the sizes that tests of training and of export share."""

from transformers import BertConfig, ModernBertConfig, PretrainedConfig, RobertaConfig, XLMRobertaConfig

N_LAYERS = 3
WINDOW = 8
"""Tokens that ModernBERT's local layers see, half on each side; shorter than the tests' sequences."""


def tiny_config(model_type: str, *, vocabulary: int, window: int = WINDOW) -> PretrainedConfig:
    """Configure an encoder of two heads and 80 positions; ModernBERT's layers look near, far, near."""
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 80,
        "initializer_range": 0.3,
    }
    if model_type == "modernbert":
        return ModernBertConfig(
            **sizes,
            initializer_cutoff_factor=3.0,
            global_attn_every_n_layers=2,
            local_attention=window,
            reference_compile=False,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
        )
    roberta = {"type_vocab_size": 1}
    return {
        "bert": lambda: BertConfig(**sizes),
        "roberta": lambda: RobertaConfig(**sizes, **roberta, pad_token_id=1),
        "xlm-roberta": lambda: XLMRobertaConfig(**sizes, **roberta, pad_token_id=3),
    }[model_type]()
