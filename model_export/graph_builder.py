"""ONNX graphs under construction: nodes, constants, and the names of the weights they read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper

from infembed.weightfile import StoredTensor
from model_export.initializers import external_initializer
from model_export.weights import QUERY_TOWER

OPSET = 17
IR_VERSION = 10
MICROSOFT = "com.microsoft"


class Draft(NamedTuple):
    """A graph whose weights have names but no places yet."""

    graph: onnx.GraphProto
    initializers: Mapping[str, onnx.TensorProto | None]

    @property
    def weights(self) -> frozenset[str]:
        """Names of the weights that the graph reads."""
        return frozenset(name for name, tensor in self.initializers.items() if tensor is None)

    def model(self, layout: Mapping[str, StoredTensor]) -> onnx.ModelProto:
        """Point every weight to its place."""
        tensors = [tensor or external_initializer(layout[name]) for name, tensor in self.initializers.items()]
        graph = onnx.GraphProto()
        graph.CopyFrom(self.graph)
        graph.initializer.extend(tensors)
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=IR_VERSION,
            producer_name="inf-embed",
        )


@dataclass
class GraphBuilder:
    """Each method adds nodes and returns the output's name; `own` are the weights a tower has for itself."""

    own: frozenset[str] = frozenset()
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto | None] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], *, domain: str = "", n_outputs: int = 1, **attributes: object) -> str:
        """Append a node; with several outputs the names are `<output>`, `<output>.1`, ..."""
        return self.op_with(kind, inputs, range(1, n_outputs), domain=domain, **attributes)

    def op_with(
        self, kind: str, inputs: list[str], wanted: range | tuple[int, ...], *, domain: str = "", **attributes: object
    ) -> str:
        """Append a node of whose further outputs only some are wanted."""
        name = f"{kind}.{len(self.nodes)}"
        outputs = [name] + [f"{name}.{i}" if i in wanted else "" for i in range(1, max(wanted, default=0) + 1)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return name

    def weight(self, name: str) -> str:
        """Read a tensor of the weight files; the tower's own where it has one."""
        name = QUERY_TOWER + name if name in self.own else name
        self.initializers.setdefault(name, None)
        return name

    def constant(self, name: str, value: float | list[int], dtype: type[np.generic] = np.int64) -> str:
        """Declare a small constant that lives in the graph itself."""
        if name not in self.initializers:
            self.initializers[name] = onnx.numpy_helper.from_array(np.array(value, dtype=dtype), name)
        return name

    def once(self, key: str, make: Callable[[], str]) -> str:
        """Add nodes that several layers share when the first of them asks."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def rename_output(self, name: str) -> None:
        """Make the last node's output one of the graph's."""
        self.nodes[-1].output[0] = name

    def draft(self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> Draft:
        """Finish the graph."""
        return Draft(helper.make_graph(self.nodes, name, inputs, outputs), dict(self.initializers))
