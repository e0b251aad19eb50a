"""Initializers of graphs that hold no weights: each names a place in a weight file of the bundle."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from infembed.weightfile import StoredTensor


def external_initializer(stored: StoredTensor) -> onnx.TensorProto:
    """Declare a tensor that lies in a weight file beside the graph."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(stored.dtype))
    tensor = TensorProto(name=stored.name, data_type=kind, dims=stored.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", stored.file), ("offset", stored.offset), ("length", stored.size_bytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
