from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from infembed.config import Config
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
