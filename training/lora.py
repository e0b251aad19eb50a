"""Low-rank factors beside the encoder's matrices (LoRA, arXiv 2106.09685), through peft."""

from collections.abc import Mapping

import peft
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from training.backbone import Backbone
from training.config import LoraConfig

_ADAPTER = "default"


def add_factors(backbone: Backbone, config: LoraConfig, *, only_instructions: bool = False) -> None:
    """Put factors beside every matrix of the encoder's layers and freeze the rest; the output does not change yet.

    `only_instructions`: texts are read as before, the factors act on instruction tokens alone.
    """
    layers = [
        name
        for name, module in backbone.encoder.named_modules()
        if isinstance(module, nn.Linear) and (".layer." in name or ".layers." in name or name.startswith("layers."))
    ]
    adapter = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=layers, bias="none"
    )
    peft.inject_adapter_in_model(adapter, backbone.encoder, adapter_name=_ADAPTER)
    if only_instructions:
        for module in _adapted(backbone):
            module.lora_A[_ADAPTER].register_forward_pre_hook(backbone.take_instructions)
            module.lora_B[_ADAPTER].register_forward_hook(backbone.put_back)


def factors(backbone: Backbone) -> dict[str, Tensor]:
    """Return the factors by name, on the CPU."""
    state = peft.get_peft_model_state_dict(backbone.encoder, adapter_name=_ADAPTER)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def load_factors(backbone: Backbone, found: Mapping[str, Tensor]) -> None:
    """Put trained factors in the place of fresh ones; names and shapes must be the same."""
    peft.set_peft_model_state_dict(backbone.encoder, dict(found), adapter_name=_ADAPTER)


def round_factors(backbone: Backbone) -> None:
    """Round factors to half precision, as they are shipped (docs/decisions/0008): what is scored is what is served."""
    for name, parameter in backbone.encoder.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.half().to(parameter.dtype)


def scale_factors(backbone: Backbone, scale: float) -> None:
    """Multiply what factors add; below 1 this averages the weights with the base model's (arXiv 2203.05482)."""
    for module in _adapted(backbone):
        module.scaling[_ADAPTER] *= scale


def _adapted(backbone: Backbone) -> list[LoraLayer]:
    return [module for module in backbone.encoder.modules() if isinstance(module, LoraLayer)]
