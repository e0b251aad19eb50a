"""ONNX Runtime, imported in this one place.

Since 1.29 its official Linux wheels report sessions and hardware to Microsoft unless the environment says no before
the library is loaded. A search service must not call home: it says no here, whatever the environment said.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

__all__ = ["ort"]
