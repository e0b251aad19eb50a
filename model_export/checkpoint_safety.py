"""What is refused of a checkpoint that others made, before a library reads it: code, pickles, boundless numbers."""

import json
from pathlib import Path

from infembed.config import shown
from infembed.errors import BadArtefactError, UntrustedArtefactError
from model_export.blueprint import CONFIG_FILE, Shape, read_shape

_CONFIGS = (CONFIG_FILE, "tokenizer_config.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_ATTENTION = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
_ADAPTER, _INDEX = "adapter_config.json", "model.safetensors.index.json"


def open_safely(checkpoint: Path) -> Shape:
    """Read the shape of a Hugging Face checkpoint's directory that runs no code and whose weights are safetensors."""
    shape = read_shape(checkpoint)
    _refuse_code(checkpoint)
    _refuse_pickles(checkpoint)
    if (checkpoint / _ADAPTER).exists():
        raise UntrustedArtefactError(
            f"{checkpoint} has {_ADAPTER}: another model, named in it, would be read in its place; merge the adapter "
            "(merge_and_unload of peft) and export the result"
        )
    return shape


def _refuse_code(checkpoint: Path) -> None:
    for name in _CONFIGS:
        if not (checkpoint / name).is_file():
            continue
        config = _read(checkpoint / name)
        if "auto_map" in config:
            raise UntrustedArtefactError(
                f"{checkpoint / name} has auto_map: the model would run code that lies with it, and no code of a "
                "checkpoint is run here; take the model's version for transformers itself, or remove auto_map where it "
                "needs no code of its own"
            )
        for key in _ATTENTION:
            if "/" in str(config.get(key, "")):
                raise UntrustedArtefactError(
                    f"{checkpoint / name} has {key} {shown(config[key])}: transformers would download that kernel and "
                    "run it, and no code of a checkpoint is run here; remove the key"
                )


def _refuse_pickles(checkpoint: Path) -> None:
    if (checkpoint / _INDEX).is_file():
        files = _read(checkpoint / _INDEX).get("weight_map")
        for name in files.values() if isinstance(files, dict) else [files]:
            if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
                raise UntrustedArtefactError(
                    f"{checkpoint / _INDEX} names {shown(name)} as a file of weights; only safetensors files of the "
                    "same directory are read"
                )
    if any(checkpoint.glob("*.safetensors")):
        return
    if pickles := sorted(path.name for pattern in _PICKLES for path in checkpoint.glob(pattern)):
        raise UntrustedArtefactError(
            f"{checkpoint} has its weights as {pickles[0]}, a pickle, which can run code when it is read; where "
            f'you trust it, convert it: python -c "from transformers import AutoModel as M; '
            f"M.from_pretrained('{checkpoint}').save_pretrained('{checkpoint}-safe')\" and copy the tokenizer there"
        )


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadArtefactError(f"{path} is not valid JSON ({error}); get the checkpoint again") from error
    if not isinstance(found, dict):
        raise BadArtefactError(f"{path} is no JSON object; get the checkpoint again")
    return found
