import os
from pathlib import Path

import pytest

from infembed.errors import BadConfigError
from service.configuration import read_settings
from service.keys import KEY_PATTERN, Keyring, Scope, StoredKey, hash_key, new_key
from tests.command_line import Command


def test_a_key_is_found_by_its_hash_and_nothing_else_is() -> None:
    first, second = new_key(), new_key()
    keyring = Keyring(
        {
            "one": StoredKey(scopes=(Scope.EMBED,), hash=hash_key(first)),
            "two": StoredKey(scopes=(Scope.SEARCH, Scope.WRITE), hash=hash_key(second)),
        }
    )
    found = keyring.find(second)
    assert found is not None
    assert (found.name, found.scopes) == ("two", frozenset({Scope.SEARCH, Scope.WRITE}))
    for wrong in ("", first[:-1], first.upper(), hash_key(first), new_key(), "é" * 40, "a" * 10_000):
        assert keyring.find(wrong) is None


def test_a_hash_holds_nothing_of_its_key_and_equal_keys_look_different() -> None:
    key = new_key()
    one, other = hash_key(key), hash_key(key)
    assert one != other
    assert key.removeprefix("infembed_") not in one
    assert hash_key(key, salt=bytes(16)) == hash_key(key, salt=bytes(16))


def test_keys_are_long_random_and_recognised_by_their_shape() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(KEY_PATTERN.fullmatch(key) for key in keys)


def test_the_line_that_is_printed_makes_the_key_that_is_printed_good(run: Command, tmp_path: Path) -> None:
    done = run("keys", "create", "--name", "ingest", "--scope", "embed", "--scope", "write")
    assert done.code == 0
    found = KEY_PATTERN.search(done.err)
    assert found is not None
    assert found[0] not in done.out
    file = tmp_path / "infembed.toml"
    file.write_text(done.out)
    settings = read_settings({}, file=file)
    known = Keyring(settings.keys).find(found[0])
    assert known is not None
    assert (known.name, known.scopes) == ("ingest", frozenset({Scope.EMBED, Scope.WRITE}))


def test_a_name_that_cannot_stand_in_a_file_is_refused(run: Command) -> None:
    done = run("keys", "create", "--name", 'a"b', "--scope", "embed")
    assert (done.code, done.out) == (3, "")
    assert "use 1 to 64 letters" in done.err


def test_a_plain_key_in_place_of_its_hash_is_refused_and_not_repeated(tmp_path: Path) -> None:
    key = new_key()
    file = tmp_path / "infembed.toml"
    file.write_text(f'keys.me = {{ scopes = ["embed"], hash = "{key}" }}\n')
    with pytest.raises(BadConfigError, match=r"is no hash of a key; `infembed keys create`") as refused:
        read_settings({}, file=file)
    assert key not in str(refused.value)
    assert os.fspath(file) in str(refused.value)
