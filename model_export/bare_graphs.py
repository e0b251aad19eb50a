"""A bundle's graphs as anybody may run them: pads on the left, instruction states from a cache, no shared weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from infembed.bundle import Bundle, GraphName, Precision
from infembed.encoder import pad
from infembed.inputs import Fusion, InputType
from infembed.onnx_runtime import ort
from infembed.tokenization import TokenizedInput
from infembed.vectors import FloatArray

Feeds = dict[str, npt.NDArray[Any]]


class BareGraphs:
    """Runs one precision; every query goes through the query graph, one without instruction too."""

    def __init__(self, bundle: Bundle, precision: Precision) -> None:
        self.has_states = bundle.manifest.fusion is not Fusion.CONCAT
        names = [GraphName.DOCUMENT, GraphName.QUERY, *([GraphName.INSTRUCTION] if self.has_states else [])]
        options = ort.SessionOptions()
        # Without VNNI the fast sum of 8-bit products overflows; this one is exact on every processor.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self._sessions = {
            name: ort.InferenceSession(
                str(bundle.graph_path(name, precision)), options, providers=["CPUExecutionProvider"]
            )
            for name in names
        }

    def encode_with_left_pads(self, items: Sequence[TokenizedInput]) -> FloatArray:
        """Encode a batch whose pads, the instructions' too, stand before the tokens."""
        return self._encode(items, _left_padded, self._states_together)

    def encode_with_cached_states(self, items: Sequence[TokenizedInput]) -> FloatArray:
        """Encode a batch whose instruction states were each computed alone."""
        return self._encode(items, _right_padded, self._states_apart)

    def _encode(self, items: Sequence[TokenizedInput], padded: Any, states_of: Any) -> FloatArray:
        is_query = np.array([item.input_type is InputType.QUERY for item in items])
        found: FloatArray | None = None
        for name, chosen in ((GraphName.QUERY, is_query), (GraphName.DOCUMENT, ~is_query)):
            rows = np.flatnonzero(chosen).tolist()
            if not rows:
                continue
            part = [items[row] for row in rows]
            feeds: Feeds = padded([item.ids for item in part])
            if name is GraphName.QUERY and self.has_states:
                unique = list(dict.fromkeys(item.instruction_ids for item in part))
                feeds |= states_of(unique, padded)
                feeds["instruction_index"] = np.array([unique.index(item.instruction_ids) for item in part])
            (vectors,) = self._sessions[name].run(["embedding"], feeds)
            found = np.empty((len(items), vectors.shape[1]), np.float32) if found is None else found
            found[rows] = vectors
        assert found is not None, "there are inputs"
        return found

    def _states_together(self, instructions: Sequence[Sequence[int]], padded: Any) -> Feeds:
        tokens = padded(instructions)
        (state,) = self._sessions[GraphName.INSTRUCTION].run(["instruction_state"], tokens)
        return {"instruction_state": state, "instruction_mask": tokens["attention_mask"]}

    def _states_apart(self, instructions: Sequence[Sequence[int]], padded: Any) -> Feeds:
        """Join states of different lengths: the tokens' axis is the last but one."""
        each = [self._states_together([instruction], padded) for instruction in instructions]
        longest = max(one["instruction_mask"].shape[1] for one in each)
        joined: dict[str, list[npt.NDArray[Any]]] = {"instruction_state": [], "instruction_mask": []}
        for one in each:
            missing = longest - one["instruction_mask"].shape[1]
            state = one["instruction_state"]
            widths = [(0, 0)] * (state.ndim - 2) + [(0, missing), (0, 0)]
            joined["instruction_state"].append(np.pad(state, widths))
            joined["instruction_mask"].append(np.pad(one["instruction_mask"], [(0, 0), (0, missing)]))
        return {name: np.concatenate(parts) for name, parts in joined.items()}


def _right_padded(rows: Sequence[Sequence[int]]) -> Feeds:
    ids, mask = pad(rows)
    return {"input_ids": ids, "attention_mask": mask}


def _left_padded(rows: Sequence[Sequence[int]]) -> Feeds:
    feeds = _right_padded([row[::-1] for row in rows])
    return {name: np.ascontiguousarray(values[:, ::-1]) for name, values in feeds.items()}
