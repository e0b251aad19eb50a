"""Make the ONNX model that Infinity's optimum engine serves; runs in Infinity's environment (peer_servers.py).

    HF_HOME=CACHE python export_for_infinity.py CHECKPOINT OUT

Infinity 0.0.78 means to fuse the model itself, but passes an option that optimum 2 no longer has, logs a warning and
serves the unfused one. So the same fusion is done here and put where Infinity looks for it.
"""

import sys
from pathlib import Path

from huggingface_hub.constants import HUGGINGFACE_HUB_CACHE
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTModelForFeatureExtraction, ORTOptimizer
from optimum.onnxruntime.configuration import OptimizationConfig

checkpoint, out = sys.argv[1:]
# Left to itself optimum sees sentence-transformers, and exports outputs that Infinity does not know.
main_export(checkpoint, out, task="feature-extraction", library_name="transformers")
optimizer = ORTOptimizer.from_pretrained(ORTModelForFeatureExtraction.from_pretrained(out))
kept = Path(HUGGINGFACE_HUB_CACHE) / "infinity_onnx" / "CPUExecutionProvider"
optimizer.optimize(OptimizationConfig(optimization_level=99), save_dir=kept, one_external_file=True)
