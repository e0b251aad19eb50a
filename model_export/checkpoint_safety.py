"""What is refused of a checkpoint that others made, before a library reads it: code, pickles, boundless numbers."""

import json
from pathlib import Path

from infembed.errors import BadArtefactError, UntrustedArtefactError
from model_export.blueprint import CONFIG_FILE, Shape, read_shape

_CONFIGS = (CONFIG_FILE, "tokenizer_config.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def open_safely(checkpoint: Path) -> Shape:
    """Read the shape of a Hugging Face checkpoint's directory that runs no code and whose weights are safetensors."""
    shape = read_shape(checkpoint)
    for name in _CONFIGS:
        if (checkpoint / name).is_file() and "auto_map" in _read(checkpoint / name):
            raise UntrustedArtefactError(
                f"{checkpoint / name} has auto_map: the model would run code that lies with it, and no code of a "
                "checkpoint is run here; take the model's version for transformers itself, or remove auto_map where it "
                "needs no code of its own"
            )
    if not any(checkpoint.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in _PICKLES for path in checkpoint.glob(pattern))
        if pickles:
            raise UntrustedArtefactError(
                f"{checkpoint} has its weights as {pickles[0]}, a pickle, which can run code when it is read; where "
                f'you trust it, convert it: python -c "from transformers import AutoModel as M; '
                f"M.from_pretrained('{checkpoint}').save_pretrained('{checkpoint}-safe')\" and copy the tokenizer there"
            )
    return shape


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadArtefactError(f"{path} is not valid JSON ({error}); get the checkpoint again") from error
    return found if isinstance(found, dict) else {}
