"""The keys of a training configuration, as a TOML file writes them."""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from training.config import TrainConfig


class Key(NamedTuple):
    """A key, its default as TOML writes it, and what its field says about it."""

    name: str
    default: str
    description: str | None


def keys(model: type[BaseModel] = TrainConfig, values: BaseModel | None = None, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of a section and of those below it."""
    for name, field in model.model_fields.items():
        default = getattr(values, name) if values is not None else field.get_default(call_default_factory=True)
        nested = next((t for t in (field.annotation, *get_args(field.annotation)) if _is_section(t)), None)
        if nested is None:
            yield Key(prefix + name, _written(default), field.description)
        else:
            if default is None:  # a section that may be left out, which means something of its own
                yield Key(prefix + name, "null", field.description)
            yield from keys(nested, default, f"{prefix}{name}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, BaseModel))


def _written(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, StrEnum):
        return json.dumps(str(value))
    return json.dumps([str(v) for v in value]) if isinstance(value, tuple) else json.dumps(value)
