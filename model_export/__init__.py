"""Checkpoint to bundle: ONNX graphs with fused instruction-query attention, assembly, parity."""
