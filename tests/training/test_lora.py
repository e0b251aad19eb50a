"""Low-rank factors: where they go, that they change nothing at first, and that they can be scaled and rounded."""

from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from tests.training.tiny_backbones import make_input, tiny_backbone
from training.backbone import FAMILIES, Backbone
from training.config import LoraConfig
from training.lora import add_factors, factors, load_factors, round_factors, scale_factors
from training.tokens import collate

CONFIG = LoraConfig(rank=2, alpha=4)
MATRICES = {
    "bert": ("query", "key", "value", "attention.output.dense", "intermediate.dense", "0.output.dense"),
    "roberta": ("query", "key", "value", "attention.output.dense", "intermediate.dense", "0.output.dense"),
    "xlm-roberta": ("query", "key", "value", "attention.output.dense", "intermediate.dense", "0.output.dense"),
    "modernbert": ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
}


def states(backbone: Backbone) -> Tensor:
    batch = collate([[make_input(6, 4)], [make_input(9)], [make_input(3, 2)]], pad_id=backbone.pad_id)
    found: Tensor = backbone(batch).detach()
    return found


def trained(backbone: Backbone) -> Backbone:
    """Give every factor a value, as training would."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in backbone.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.2
    return backbone


def test_every_family_is_tested() -> None:
    assert set(MATRICES) == set(FAMILIES)


@pytest.mark.parametrize("family", list(MATRICES))
def test_factors_stand_beside_every_matrix_of_every_layer(family: str) -> None:
    backbone = tiny_backbone(family)
    add_factors(backbone, CONFIG)
    names = [name for name in factors(backbone) if "lora_A" in name]
    n_layers = backbone.encoder.config.num_hidden_layers
    assert len(names) == n_layers * len(MATRICES[family])
    for ending in MATRICES[family]:
        assert any(f"{ending}.lora_A" in name for name in names), f"no factor at {ending}"
    assert not any("embeddings" in name for name in names)


@pytest.mark.parametrize("family", list(MATRICES))
def test_output_is_unchanged_until_the_factors_are_trained(family: str) -> None:
    backbone = tiny_backbone(family)
    before = states(backbone)
    add_factors(backbone, CONFIG)
    torch.testing.assert_close(states(backbone.eval()), before, atol=1e-12, rtol=0)
    assert float((states(trained(backbone)) - before).abs().max()) > 0.01


@pytest.mark.parametrize("family", list(MATRICES))
def test_only_factors_get_gradients(family: str) -> None:
    backbone = tiny_backbone(family)
    add_factors(backbone, CONFIG)
    backbone(collate([[make_input(6, 4)]], pad_id=backbone.pad_id)).sum().backward()
    with_gradient = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert with_gradient == {name for name, _ in backbone.named_parameters() if "lora_" in name}


@pytest.mark.parametrize("family", list(MATRICES))
def test_factors_that_act_on_instructions_change_texts_only_through_them(family: str) -> None:
    backbone = tiny_backbone(family)
    plain, wished = [make_input(9)], [make_input(6, 4)]
    before = [backbone(collate([pack], pad_id=backbone.pad_id)).detach() for pack in (plain, wished)]
    add_factors(backbone, CONFIG, only_instructions=True)
    trained(backbone).eval()
    after = [backbone(collate([pack], pad_id=backbone.pad_id)).detach() for pack in (plain, wished)]
    assert torch.equal(after[0], before[0])
    assert float((after[1] - before[1]).abs().amin(dim=(0, 2)).min()) > 1e-6


@pytest.mark.parametrize("family", list(MATRICES))
def test_what_the_instruction_says_does_not_reach_the_weights_of_the_text(family: str) -> None:
    """Instruction tokens are read as the trained model reads them, text tokens by base layers that look at them."""
    backbone, whole = tiny_backbone(family), tiny_backbone(family)
    add_factors(backbone, CONFIG, only_instructions=True)
    add_factors(whole, CONFIG)
    for model in (backbone, whole):
        trained(model).eval()
    item = make_input(6, 4)
    found, everything = (model(collate([[item]], pad_id=model.pad_id)).detach() for model in (backbone, whole))
    torch.testing.assert_close(found[:, :4], everything[:, :4], atol=1e-12, rtol=0)
    assert float((found[:, 4:] - everything[:, 4:]).abs().max()) > 1e-3


@pytest.mark.parametrize("family", list(MATRICES))
def test_factors_of_instructions_are_factors_of_all_tokens_with_the_others_thrown_away(family: str) -> None:
    """The same states and gradients as the literal reading: compute for every token, keep the instructions'."""
    batch = collate([[make_input(6, 4)], [make_input(9)], [make_input(3, 2)]], pad_id=tiny_backbone(family).pad_id)
    found = []
    for is_literal in (False, True):
        backbone = tiny_backbone(family)
        add_factors(backbone, CONFIG, only_instructions=not is_literal)
        trained(backbone)
        if is_literal:
            for module in backbone.modules():
                if isinstance(module, LoraLayer):
                    module.lora_B["default"].register_forward_hook(
                        lambda _module, _inputs, output: output * batch.is_instruction_BT[..., None]
                    )
        output = backbone(batch)[batch.is_token_BT]
        output.pow(2).sum().backward()
        gradients = [parameter.grad for name, parameter in backbone.named_parameters() if "lora_" in name]
        found.append([output.detach(), *[g for g in gradients if g is not None]])
    assert len(found[0]) == len(found[1]) > 1
    for ours, literal in zip(*found, strict=True):
        torch.testing.assert_close(ours, literal)


def test_at_half_scale_factors_add_half() -> None:
    backbone, half = tiny_backbone("bert"), tiny_backbone("bert")
    for model in (backbone, half):
        trained(_with_factors(model)).eval()
    scale_factors(half, 0.5)
    for name, module in half.encoder.named_modules():
        if isinstance(module, LoraLayer):
            whole = backbone.encoder.get_submodule(name).get_delta_weight("default")
            torch.testing.assert_close(module.get_delta_weight("default"), whole / 2, atol=1e-12, rtol=0)


def test_rounded_factors_are_numbers_of_half_precision() -> None:
    backbone = trained(_with_factors(tiny_backbone("bert")))
    before = factors(backbone)
    round_factors(backbone)
    for name, after in factors(backbone).items():
        assert torch.equal(after, before[name].half().to(after.dtype))
        assert not torch.equal(after, before[name])


def _with_factors(backbone: Backbone) -> Backbone:
    add_factors(backbone, CONFIG)
    return backbone


def test_loaded_factors_are_the_saved_ones(tmp_path: Path) -> None:
    one, other = tiny_backbone("bert"), tiny_backbone("bert")
    for backbone in (one, other):
        add_factors(backbone, CONFIG)
    load_factors(other, factors(trained(one)))
    torch.testing.assert_close(states(other.eval()), states(one.eval()), atol=1e-12, rtol=0)
