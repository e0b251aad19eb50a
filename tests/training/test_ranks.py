"""torchrun with two ranks trains what one rank trains."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infembed.bundle import Tower
from tests.training.toy import losses, read_curve, toy_config, toy_model, toy_steps
from training.config import LossConfig
from training.run import train

COMMAND = """
import sys
from pathlib import Path
from training.config import TrainConfig
from training.run import train
out = Path(sys.argv[1])
train(TrainConfig.model_validate_json((out / "wanted.json").read_text()), out / "two", cache=out / "cache")
"""


@pytest.mark.slow
@pytest.mark.parametrize("tower", list(Tower))
def test_two_ranks_with_unequal_shares_give_the_curve_and_weights_of_one(tmp_path: Path, tower: Tower) -> None:
    toy_config(tmp_path)
    config = toy_config(
        tmp_path,
        model=toy_model(tmp_path, tower=tower),
        loss=LossConfig(share=1e-9, plain_weight=0.0),
        steps=toy_steps(max_steps=5, rows_per_step=7, recomputes=True),
    )
    train(config, tmp_path / "one", cache=tmp_path / "cache-of-one")
    (tmp_path / "wanted.json").write_text(config.model_dump_json(), encoding="utf-8")
    (tmp_path / "ranks.py").write_text(COMMAND, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, str(tmp_path / "ranks.py"), str(tmp_path)], check=True, timeout=300)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert len(read_curve(tmp_path / "two")) == len(read_curve(tmp_path / "one"))
    one, two = (load_file(tmp_path / name / "model" / "factors.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-5, rtol=0)
