"""API keys: made once, kept as salted hashes, found in constant time.

A key is 256 random bits, so nobody guesses it, and the hash need not be slow: HMAC-SHA-256 of the key under a random
salt. A slow hash (scrypt, Argon2) protects passwords that people choose; here it would only cost every request
milliseconds and give strangers a way to burn the processor. The salt keeps equal keys apart.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field, field_validator

from infembed.config import Config

KEY_PREFIX = "infembed_"
"""Begins every key, so that scanners of repositories and logs recognise one."""
KEY_PATTERN = re.compile(rf"{KEY_PREFIX}[\w-]{{43}}", re.ASCII)
_HASH_PATTERN = re.compile(r"hmac-sha256:([0-9a-f]{32}):([0-9a-f]{64})")
_SECRET_BYTES = 32
_SALT_BYTES = 16
_LONGEST_KEY = 256
_NAME_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Scope(StrEnum):
    """What a key may be good for; none includes another."""

    EMBED = "embed"
    SEARCH = "search"
    WRITE = "write"
    ADMIN = "admin"


class StoredKey(Config):
    """A key as the configuration keeps it. Without scopes it reads /info, /v1/models and /metrics."""

    scopes: tuple[Scope, ...] = Field(default=(), description="Each more lets the key's holder do more.")
    hash: str

    @field_validator("hash")
    @classmethod
    def _is_a_hash(cls, value: str) -> str:
        if not _HASH_PATTERN.fullmatch(value):
            raise ValueError("is no hash of a key; `infembed keys create` makes a key and prints the line to put here")
        return value


class KnownKey(NamedTuple):
    """Whose key a request carried, and what it may do."""

    name: str
    scopes: frozenset[Scope]


def new_key() -> str:
    """Make a key; it exists nowhere else."""
    return KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def hash_key(key: str, *, salt: bytes | None = None) -> str:
    """Hash a key for the configuration; `salt` None draws a new one."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    return f"hmac-sha256:{salt.hex()}:{_digest(salt, key).hex()}"


def is_key_name(name: str) -> bool:
    """Whether a name can stand in the configuration and in logs as it is."""
    return _NAME_PATTERN.fullmatch(name) is not None


class Keyring:
    """The configured keys."""

    def __init__(self, keys: Mapping[str, StoredKey]) -> None:
        self._entries = [(_parse(key.hash), KnownKey(name, frozenset(key.scopes))) for name, key in keys.items()]

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> KnownKey | None:
        """Return the key's entry, or None; every entry is compared, whatever was found before."""
        found: KnownKey | None = None
        if len(key) > _LONGEST_KEY:
            return None
        for (salt, digest), known in self._entries:
            if hmac.compare_digest(_digest(salt, key), digest):
                found = known
        return found


class _SaltedDigest(NamedTuple):
    salt: bytes
    digest: bytes


def _parse(text: str) -> _SaltedDigest:
    match = _HASH_PATTERN.fullmatch(text)
    assert match is not None, "checked by StoredKey"
    return _SaltedDigest(bytes.fromhex(match[1]), bytes.fromhex(match[2]))


def _digest(salt: bytes, key: str) -> bytes:
    return hmac.digest(salt, key.encode(), "sha256")
