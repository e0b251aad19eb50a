"""Signatures of bundles: OpenSSF model-signing with an elliptic-curve key pair, kept offline.

The signature lies beside the bundle (`bundle` and `bundle.sig`), so signing changes no digest. It covers every file,
the manifest included. The library is heavy and only wanted where a key is configured: it loads when it is needed.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infembed.errors import BadConfigError, MissingArtefactError, UntrustedArtefactError

_INSTALL = "install it with `pip install 'inf-embed[signing]'`"


def signature_path(bundle: Path) -> Path:
    """Return where the signature of a bundle lies: beside it."""
    return bundle.with_name(f"{bundle.name}.sig")


def make_key_pair(private_key: Path) -> Path:
    """Write a new P-256 key pair, the private half readable by its owner only; returns the public key's path."""
    with _library():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

    public_key = private_key.with_name(f"{private_key.name}.pub")
    for path in (private_key, public_key):
        if path.exists():
            raise BadConfigError(f"{path} exists already; a key is never overwritten, choose another name")
    private_key.parent.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    public_key.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return public_key


def sign_bundle(bundle: Path, private_key: Path) -> Path:
    """Sign every file of a bundle; returns the signature's path."""
    with _library():
        from model_signing import signing

    _require_key(private_key)
    signature = signature_path(bundle)
    try:
        signer = signing.Config()  # type: ignore[no-untyped-call]
        signer.use_elliptic_key_signer(private_key=private_key).sign(bundle.resolve(), signature)
    except (TypeError, ValueError) as error:
        raise BadConfigError(f"cannot sign {bundle} with {private_key}: {error}") from error
    return signature


def verify_signature(bundle: Path, public_key: Path, *, signature: Path | None = None) -> None:
    """Check that the key's owner signed exactly these files; `signature` None: the one beside the bundle."""
    with _library():
        from cryptography.exceptions import InvalidSignature
        from model_signing import verifying

    signature = signature or signature_path(bundle)
    _require_key(public_key)
    if not bundle.is_dir():
        raise MissingArtefactError(f"no bundle at {bundle}")
    if not signature.is_file():
        raise UntrustedArtefactError(
            f"bundle {bundle} is not signed (no {signature}), but the public key {public_key} is configured; "
            "sign it with `infembed registry sign`"
        )
    try:
        verifier = verifying.Config()  # type: ignore[no-untyped-call]
        verifier.use_elliptic_key_verifier(public_key=public_key)
    except (TypeError, ValueError) as error:
        raise BadConfigError(f"{public_key} is not a public elliptic-curve key in PEM: {error}") from error
    try:
        verifier.verify(bundle.resolve(), signature)
    except InvalidSignature as error:
        raise UntrustedArtefactError(_untrusted(bundle, public_key, "the signature is forged or damaged")) from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:  # what a damaged file provokes
        raise UntrustedArtefactError(_untrusted(bundle, public_key, _reason(error))) from error


def _untrusted(bundle: Path, public_key: Path, reason: str) -> str:
    return (
        f"bundle {bundle} has no valid signature of {public_key}: {reason}; "
        "do not serve it, pull it again or ask who signed it"
    )


def _reason(error: Exception) -> str:
    """Shorten the library's words; anything but a mismatch means that it could not read the file."""
    words = " ".join(str(error).split())
    if not words.startswith(("Signature mismatch", "Key mismatch")):
        return "the signature file is damaged"
    return re.sub(r"[\[\]\"\\]", "", words.split(": Expected")[0]).replace(": 'Hash", ": Hash").rstrip(".")


def _require_key(path: Path) -> None:
    if not path.is_file():
        raise MissingArtefactError(f"no key at {path}; make a pair with `infembed registry keygen`")


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise BadConfigError(
            f"signatures need the package model-signing, which is not installed; {_INSTALL}"
        ) from error
