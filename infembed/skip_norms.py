"""`SkipLayerNormalization` taken apart while a graph is loaded for the processor.

The written graphs hold the fused operator, which graphics processors run in one kernel. On the processor ONNX Runtime
1.32 computes it element by element, five times slower than two additions and a `LayerNormalization`
(docs/experiments.md, Precisions).
"""

from collections.abc import Iterator, Sequence

from infembed.protobuf import Message, read_message, with_replaced, write_chunk

_GRAPH, _NODE = 7, 1
_INPUT, _OUTPUT, _NAME, _KIND, _ATTRIBUTE = 1, 2, 3, 4, 5
_SUM = 3
"""Which output is the sum before the norm."""


def take_apart(model: bytes) -> bytes:
    """Return a serialized model without `SkipLayerNormalization`; names of results stay as they are."""
    return with_replaced(model, _GRAPH, lambda graph: [with_replaced(graph, _NODE, _simpler)])


def _simpler(node: memoryview) -> Iterator[bytes | memoryview]:
    """Write new + bias + residual and its norm in the place of the one node."""
    message = read_message(node)
    if message.text(_KIND) != "SkipLayerNormalization":
        yield node
        return
    new, residual, gain, shift, bias = (*_texts(message, _INPUT), "", "")[:5]
    outputs = _texts(message, _OUTPUT)
    result = outputs[0]
    total = outputs[_SUM] if len(outputs) > _SUM else f"{result}/sum"
    if bias:
        yield _node("Add", [new, bias], f"{result}/biased")
        new = f"{result}/biased"
    yield _node("Add", [new, residual], total)
    yield _node("LayerNormalization", [total, gain, *([shift] if shift else [])], result, message.chunks[_ATTRIBUTE])


def _texts(message: Message, number: int) -> list[str]:
    return [bytes(chunk).decode() for chunk in message.chunks.get(number, [])]


def _node(kind: str, inputs: Sequence[str], output: str, attributes: Sequence[memoryview] = ()) -> bytes:
    fields = [*((_INPUT, name) for name in inputs), (_OUTPUT, output), (_NAME, output), (_KIND, kind)]
    written = [write_chunk(number, text.encode()) for number, text in fields]
    return b"".join([*written, *(write_chunk(_ATTRIBUTE, attribute) for attribute in attributes)])
