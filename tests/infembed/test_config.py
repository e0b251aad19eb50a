from pathlib import Path

import pytest
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from infembed.config import Config, explain, shown
from infembed.errors import BadConfigError


class _Inner(Config):
    size: int = Field(gt=0)


class _Outer(Config):
    name: str
    inner: _Inner


def test_a_toml_file_becomes_a_config(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "a"\n[inner]\nsize = 3\n')
    assert _Outer.from_toml(path) == _Outer(name="a", inner=_Inner(size=3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "a"\n[inner]\nsize = 0\n', "inner.size"),
        ('name = "a"\nnmae = 1\n[inner]\nsize = 1\n', "nmae"),
        ('name = "a', "not valid TOML"),
        ("", "name"),
    ],
)
def test_a_fault_names_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(BadConfigError) as caught:
        _Outer.from_toml(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="no configuration file at"):
        _Outer.from_toml(tmp_path / "absent.toml")


def test_a_config_cannot_change() -> None:
    with pytest.raises(ValidationError):
        _Inner(size=1).size = 2


def _nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("short", "'short'"),
        (7, "7"),
        (None, "None"),
        ("a" * 10**6, "'aaa"),
        ("\ud800\x1b[31m", r"'\ud800\x1b[31m'"),
        (10**5000, "an integer of 16,610 bits"),
        (_nested(100_000), "[[["),
        (list(range(10**6)), "[0, 1, 2"),
        ({"key": {"key": {"key": {"key": 1}}}}, "{'key'"),
    ],
    ids=["text", "number", "none", "long", "odd", "huge", "deep", "wide", "nested"],
)
def test_any_value_is_shown_in_a_few_printable_characters(value: object, expected: str) -> None:
    assert shown(value).startswith(expected)
    assert len(shown(value)) <= 60
    assert shown(value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        {"size": _nested(3000)},
        {"size": "9" * 10**6},
        {"size": 1, "k" * 10**6: 1},
        {"size": 1, "\ud800": 1},
        {"size": 1, **{f"key{n}": n for n in range(10_000)}},
    ],
    ids=["deep", "long value", "long key", "odd key", "many keys"],
)
def test_a_fault_of_any_input_is_one_short_printable_line(data: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        _Inner.model_validate(data)
    message = explain(caught.value)
    assert len(message) < 1000
    assert message.isprintable()
    assert "(got " in message


def test_a_deep_place_is_named_by_its_ends() -> None:
    value: object = object()
    for _ in range(50):
        value = [value]
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(JsonValue).validate_python(value)
    assert len(explain(caught.value)) < 300
