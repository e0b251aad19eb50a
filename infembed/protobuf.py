"""A reader of the protobuf wire format, for the few fields of a message that somebody wants.

Nothing is copied and nothing is trusted: a length beyond the end is an error. Inner messages are read when asked for.
"""

from dataclasses import dataclass, field

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class MalformedError(ValueError):
    """These bytes are no message."""


@dataclass(frozen=True)
class Message:
    """The fields of one message by number, in order."""

    numbers: dict[int, list[int]] = field(default_factory=dict)
    chunks: dict[int, list[memoryview]] = field(default_factory=dict)

    def messages(self, number: int) -> list["Message"]:
        """Return the inner messages of a field."""
        return [read_message(chunk) for chunk in self.chunks.get(number, [])]

    def text(self, number: int) -> str:
        """Return a string; the last one counts, none is empty."""
        chunks = self.chunks.get(number)
        return bytes(chunks[-1]).decode("utf-8", errors="replace") if chunks else ""

    def integer(self, number: int) -> int:
        """Return an integer; the last one counts, none is zero."""
        return self.numbers.get(number, [0])[-1]

    def integers(self, number: int) -> tuple[int, ...]:
        """Return signed integers of a repeated field, packed or not."""
        found = list(self.numbers.get(number, []))
        for chunk in self.chunks.get(number, []):
            position = 0
            while position < len(chunk):
                value, position = _read_varint(chunk, position)
                found.append(value)
        return tuple(value - 2**64 if value >= 2**63 else value for value in found)


def read_message(data: bytes | memoryview) -> Message:
    """Read the fields of a message."""
    view = memoryview(data)
    message = Message()
    position = 0
    while position < len(view):
        key, position = _read_varint(view, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _read_varint(view, position)
            message.numbers.setdefault(number, []).append(value)
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            length, position = _read_varint(view, position)
        if length is None or position + length > len(view):
            raise MalformedError(f"field {number} of kind {kind} does not end within its message")
        if kind == _BYTES:
            message.chunks.setdefault(number, []).append(view[position : position + length])
        position += length
    return message


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        if position >= len(view):
            break
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise MalformedError("a number does not end")
