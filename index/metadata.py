"""What a document may carry besides its text: JSON that every reader of an answer can parse."""

import math
from collections.abc import Mapping

from pydantic import JsonValue

from infembed.config import shown

Metadata = dict[str, JsonValue]
MAX_DEPTH = 64
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1
"""Answers are written with 64-bit integers."""


def storable(metadata: Mapping[object, object]) -> Metadata:
    """Return metadata as JSON values, or raise ValueError saying what no answer could carry.

    Dates, decimals and bytes of Parquet become text; a float NaN, its missing value, becomes null.
    """
    return {_text(name): _value(value, depth=1) for name, value in metadata.items()}


def _value(value: object, *, depth: int) -> JsonValue:
    if depth > MAX_DEPTH:
        raise ValueError(f"its metadata is nested more than {MAX_DEPTH} deep; flatten it")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return [_value(item, depth=depth + 1) for item in value]
    if isinstance(value, dict):
        return {_text(name): _value(item, depth=depth + 1) for name, item in value.items()}
    return _text(value)


def _integer(value: int) -> int:
    if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        raise ValueError(f"the number {shown(value)} in its metadata has more than 64 bits; give it as a string")
    return value


def _number(value: float) -> float | None:
    if math.isinf(value):
        raise ValueError("a number in its metadata is infinite, which JSON cannot say; leave it out or use a string")
    return None if math.isnan(value) else value


def _text(value: object) -> str:
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{shown(text)} in its metadata is not valid Unicode ({error.reason}); repair it") from error
    return text
