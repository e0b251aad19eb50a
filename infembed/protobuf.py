"""The protobuf wire format, for the few fields of a message that somebody wants to read or to replace.

Reading copies nothing and trusts nothing: a length beyond the end is an error. Inner messages are read when asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class MalformedError(ValueError):
    """These bytes are no message."""


class Field(NamedTuple):
    """One field as it stands in a message; `value` is None for the fixed-width numbers that nobody reads."""

    number: int
    value: int | memoryview | None
    raw: memoryview


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
    message = Message()
    for number, value, _ in read_fields(data):
        if isinstance(value, int):
            message.numbers.setdefault(number, []).append(value)
        elif value is not None:
            message.chunks.setdefault(number, []).append(value)
    return message


def read_fields(data: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message in order."""
    view = memoryview(data)
    position = 0
    while position < len(view):
        start = position
        key, position = _read_varint(view, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _read_varint(view, position)
            yield Field(number, value, view[start:position])
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            length, position = _read_varint(view, position)
        if length is None or position + length > len(view):
            raise MalformedError(f"field {number} of kind {kind} does not end within its message")
        chunk = view[position : position + length] if kind == _BYTES else None
        position += length
        yield Field(number, chunk, view[start:position])


def with_replaced(
    data: bytes | memoryview, number: int, replace: Callable[[memoryview], Iterable[bytes | memoryview]]
) -> bytes:
    """Rebuild a message; every chunk of one field gives way to those that `replace` makes of it, in its place."""
    parts: list[bytes | memoryview] = []
    for each in read_fields(data):
        if each.number == number and isinstance(each.value, memoryview):
            parts += [write_chunk(number, chunk) for chunk in replace(each.value)]
        else:
            parts.append(each.raw)
    return b"".join(parts)


def write_chunk(number: int, data: bytes | memoryview) -> bytes:
    """Write a field that holds a string, bytes or an inner message."""
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(data)) + data


def _write_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


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
