"""Every family under block masks, against its own forward and against masks written out with loops."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from infembed.errors import BadArtefactError, BadConfigError, InfEmbedError, MissingArtefactError
from infembed.inputs import InputType
from infembed.tokenization import TokenizedInput
from tests.families import WINDOW
from tests.tiny import make_checkpoint
from tests.training.tiny_backbones import make_input, tiny_backbone, tiny_encoder
from training.backbone import FAMILIES, Backbone, load_backbone
from training.tokens import collate

TOLERANCE = 1e-9
every_family = pytest.mark.parametrize("family", FAMILIES)


def _states(backbone: Backbone, items: Sequence[TokenizedInput]) -> list[Tensor]:
    """The states of each input's own tokens, from one batch."""
    with torch.no_grad():
        states = backbone(collate([[item] for item in items], pad_id=backbone.pad_id))
    return [row[: item.n_tokens] for row, item in zip(states, items, strict=True)]


def _own_forward(encoder: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    with torch.no_grad():
        states: Tensor = encoder(
            input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))
        ).last_hidden_state
    return states[0]


def _with_written_mask(encoder: PreTrainedModel, item: TokenizedInput) -> Tensor:
    """Encode one concatenated sequence; who sees whom is decided token by token."""
    n, n_instruction = item.n_tokens, len(item.instruction_ids)
    everywhere = torch.full((1, 1, n, n), torch.finfo(torch.float64).min, dtype=torch.float64)
    nearby = everywhere.clone()
    for query in range(n):
        for key in range(n):
            if key < n_instruction or query >= n_instruction:
                everywhere[0, 0, query, key] = 0
                if abs(query - key) <= WINDOW // 2:
                    nearby[0, 0, query, key] = 0
    ids = torch.tensor([[*item.instruction_ids, *item.ids]])
    with torch.no_grad():
        if encoder.config.model_type == "modernbert":
            encoder._update_attention_mask = lambda *_, **__: (everywhere, nearby)
            states: Tensor = encoder(input_ids=ids).last_hidden_state
        else:
            states = encoder.encoder(encoder.embeddings(input_ids=ids), attention_mask=everywhere).last_hidden_state
    return states[0]


def _assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@every_family
def test_without_instruction_it_is_the_encoder_as_pretrained_alone_or_padded(family: str) -> None:
    backbone = tiny_backbone(family)
    items = [make_input(n) for n in (1, 2, 5, 17, 40)]
    expected = [_own_forward(backbone.encoder, item.ids) for item in items]
    for item, batched, own in zip(items, _states(backbone, items), expected, strict=True):
        _assert_equal(batched, own)
        _assert_equal(_states(backbone, [item])[0], own)


@every_family
@pytest.mark.parametrize(("n_text", "n_instruction"), [(1, 1), (6, 3), (20, 12), (2, 25)])
def test_with_instruction_it_is_one_sequence_under_a_block_mask(family: str, n_text: int, n_instruction: int) -> None:
    item = make_input(n_text, n_instruction)
    (found,) = _states(tiny_backbone(family), [item])
    _assert_equal(found, _with_written_mask(tiny_encoder(family), item))


@every_family
def test_the_instruction_does_not_know_the_query_and_the_query_knows_the_instruction(family: str) -> None:
    backbone = tiny_backbone(family)
    one, other = make_input(9, 7, seed=1), make_input(4, 0, seed=2)
    same_wish = TokenizedInput(other.input_type, other.ids, one.instruction_ids)
    alone = _own_forward(backbone.encoder, one.instruction_ids)
    for states in _states(backbone, [one, same_wish]):
        _assert_equal(states[:7], alone)
    plain = _own_forward(backbone.encoder, one.ids)
    assert (_states(backbone, [one])[0][7:] - plain).abs().max() > 1e-2


@every_family
def test_a_batch_of_rows_with_and_without_instruction_equals_each_alone(family: str) -> None:
    backbone = tiny_backbone(family)
    items = [make_input(5, 3), make_input(30), make_input(1, 20), make_input(2), make_input(14, 1)]
    for item, batched in zip(items, _states(backbone, items), strict=True):
        _assert_equal(batched, _states(backbone, [item])[0])


@every_family
def test_a_pack_may_have_more_tokens_than_the_encoder_has_positions(family: str) -> None:
    backbone = tiny_backbone(family)
    wish = make_input(1, 9).instruction_ids
    pack = [TokenizedInput(InputType.QUERY, make_input(30, seed=n).ids, wish) for n in range(4)]
    with torch.no_grad():
        (states,) = backbone(collate([pack], pad_id=backbone.pad_id))
    assert len(states) > backbone.n_positions
    for number, item in enumerate(pack):
        start = 9 + 30 * number
        _assert_equal(states[start : start + 30], _states(backbone, [item])[0][9:])


def test_the_window_of_modernbert_matters_to_these_tests() -> None:
    item = make_input(20, 12)
    narrow, wide = (_states(tiny_backbone("modernbert", window=window), [item])[0] for window in (WINDOW, 64))
    assert (narrow - wide).abs().max() > 1e-2


@every_family
@pytest.mark.parametrize("n_instruction", [0, 6])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_no_nan_with_padding(family: str, n_instruction: int, dtype: torch.dtype) -> None:
    backbone = tiny_backbone(family).float()
    items = [make_input(40, n_instruction), make_input(1), make_input(3, n_instruction)]
    batch = collate([[item] for item in items], pad_id=backbone.pad_id)
    with torch.autocast("cpu", dtype=dtype):
        states = backbone(batch)
    assert states.isfinite().all()
    torch.autograd.backward(states.float().square().sum())
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())
    whole = backbone(batch)
    assert (states - whole)[batch.is_token_BT].abs().mean() < 0.05


def _plain_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: object) -> Tensor:
    """What a kernel does that has no answer for a token that sees nothing."""
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).float()
    if attn_mask is not None:
        scores += attn_mask.to(torch.float16).float()  # autocast casts the mask: its minimum becomes -inf
    found: Tensor = scores.softmax(-1).to(value.dtype) @ value
    return found


@every_family
@pytest.mark.parametrize("n_instruction", [0, 6])
def test_no_token_sees_nothing_for_not_every_kernel_bears_it(
    family: str, n_instruction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone(family).float()
    items = [make_input(40, n_instruction), make_input(1)]
    expected = _states(backbone, items)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", _plain_attention)
    for found, own in zip(_states(backbone, items), expected, strict=True):
        torch.testing.assert_close(found, own, atol=1e-4, rtol=0)


@every_family
def test_it_knows_how_many_tokens_fit(family: str) -> None:
    backbone = tiny_backbone(family)
    # Of 80 positions RoBERTa's kind leaves out those up to the padding's id.
    assert backbone.n_positions == {"bert": 80, "roberta": 78, "xlm-roberta": 76, "modernbert": 80}[family]
    (states,) = _states(backbone, [make_input(backbone.n_positions - 10, 10)])
    assert states.shape == (backbone.n_positions, backbone.dim)


def test_a_checkpoint_is_loaded_with_its_tokenizer(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    backbone, tokenizer = load_backbone(str(checkpoint))
    weights = load_file(checkpoint / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(backbone.encoder.state_dict()[name], torch.from_numpy(weights[name]))
    assert tokenizer.encode("bread").tokens == ["[CLS]", "bread", "[SEP]"]
    assert backbone.dim == 32
    assert backbone.pad_id == tokenizer.token_to_id("[PAD]")


def _with_config(checkpoint: Path, **changes: object) -> Path:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return checkpoint


def _refused(path: Path) -> InfEmbedError:
    with pytest.raises(InfEmbedError) as caught:
        load_backbone(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("where", ["vocabulary", "post_processor"])
def test_a_token_beyond_the_embeddings_is_refused_though_there_are_fewer_tokens(tmp_path: Path, where: str) -> None:
    path = make_checkpoint(tmp_path) / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    if where == "vocabulary":
        tokenizer["model"]["vocab"]["bread"] = 1000
    else:
        tokenizer["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [1000]
    path.write_text(json.dumps(tokenizer))
    assert "has a token with id 1,000, the model knows 129 tokens" in str(_refused(tmp_path))


def test_layers_that_the_configuration_leaves_out_are_refused(tmp_path: Path) -> None:
    checkpoint = _with_config(make_checkpoint(tmp_path), num_hidden_layers=1)
    assert "have 16 tensors of layers that its config.json does not call for" in str(_refused(checkpoint))


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    assert isinstance(_refused(tmp_path / "absent"), MissingArtefactError)
    # transformers guesses a kind of model from the name of a directory without config.json
    (tmp_path / "empty-bert").mkdir()
    assert "has no config.json" in str(_refused(tmp_path / "empty-bert"))


def test_a_kind_of_model_that_is_not_known_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    error = _refused(tmp_path)
    assert isinstance(error, BadConfigError)
    assert "is a 't5' model; InF-Embed reads bert, modernbert, roberta, xlm-roberta" in str(error)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    error = _refused(_with_config(make_checkpoint(tmp_path), vocab_size=20))
    assert isinstance(error, BadArtefactError)
    assert "has a token with id 128, the model knows 20 tokens" in str(error)


@pytest.mark.parametrize(
    ("file", "contents"),
    [("config.json", "{"), ("tokenizer.json", "{}"), ("model.safetensors", "no weights")],
)
def test_a_broken_file_is_refused(tmp_path: Path, file: str, contents: str) -> None:
    (make_checkpoint(tmp_path) / file).write_text(contents)
    assert isinstance(_refused(tmp_path), BadArtefactError)


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_refused(tmp_path: Path, file: str) -> None:
    (make_checkpoint(tmp_path) / file).unlink()
    assert isinstance(_refused(tmp_path), BadArtefactError)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    assert "size mismatch" in str(_refused(_with_config(make_checkpoint(tmp_path), hidden_size=64)))


def test_layers_that_would_stay_random_are_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path)
    weights = load_file(checkpoint / "model.safetensors")
    whole = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.layer.1.output.dense")}
    save_file(whole, checkpoint / "model.safetensors")
    assert "lack 2 tensors that its config.json calls for, encoder.layer.1.output.dense.bias" in str(
        _refused(checkpoint)
    )
