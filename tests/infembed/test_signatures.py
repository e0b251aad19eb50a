import base64
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from infembed.bundle import Bundle
from infembed.errors import BadConfigError, MissingArtefactError, UntrustedArtefactError
from infembed.signatures import make_key_pair, sign_bundle, signature_path, verify_signature


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def private_key(tmp_path: Path) -> Path:
    make_key_pair(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def public_key(private_key: Path) -> Path:
    return private_key.with_name("ours.pub")


def test_what_was_signed_verifies_and_keeps_its_digest(bundle: Path, private_key: Path, public_key: Path) -> None:
    before = Bundle.open(bundle).digest
    assert sign_bundle(bundle, private_key) == bundle.with_name("bundle.sig")
    verify_signature(bundle, public_key)
    assert Bundle.open(bundle).digest == before


def test_a_bundle_behind_a_link_verifies(bundle: Path, private_key: Path, public_key: Path, tmp_path: Path) -> None:
    signature = sign_bundle(bundle, private_key)
    (tmp_path / "current").symlink_to(bundle)
    signature.rename(tmp_path / "current.sig")
    verify_signature(tmp_path / "current", public_key)


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "fp32/weights.bin", "fp32/query.onnx"])
def test_one_more_byte_in_any_file_is_refused(bundle: Path, private_key: Path, public_key: Path, name: str) -> None:
    sign_bundle(bundle, private_key)
    (bundle / name).write_bytes((bundle / name).read_bytes() + b" ")
    with pytest.raises(UntrustedArtefactError, match=f"Hash mismatch for '{name}'; do not serve it"):
        verify_signature(bundle, public_key)


def test_a_file_more_or_less_is_refused(bundle: Path, private_key: Path, public_key: Path) -> None:
    sign_bundle(bundle, private_key)
    (bundle / "extra").write_text("x")
    with pytest.raises(UntrustedArtefactError, match="Extra files found"):
        verify_signature(bundle, public_key)
    (bundle / "extra").unlink()
    (bundle / "tokenizer.json").unlink()
    with pytest.raises(UntrustedArtefactError, match="Missing files"):
        verify_signature(bundle, public_key)


def test_a_signature_of_other_contents_is_refused(bundle: Path, private_key: Path, public_key: Path) -> None:
    signature = sign_bundle(bundle, private_key)
    data = json.loads(signature.read_text())
    payload = base64.b64decode(data["dsseEnvelope"]["payload"]).replace(b"tokenizer", b"tokenizes")
    data["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    signature.write_text(json.dumps(data))
    with pytest.raises(UntrustedArtefactError, match="forged or damaged"):
        verify_signature(bundle, public_key)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff\xfe", b'{"mediaType": "x"}'])
def test_a_file_that_is_no_signature_is_refused(
    bundle: Path, private_key: Path, public_key: Path, content: bytes
) -> None:
    sign_bundle(bundle, private_key).write_bytes(content)
    with pytest.raises(UntrustedArtefactError, match="the signature file is damaged"):
        verify_signature(bundle, public_key)


def test_another_key_is_refused(bundle: Path, private_key: Path, tmp_path: Path) -> None:
    sign_bundle(bundle, private_key)
    with pytest.raises(UntrustedArtefactError, match="Key mismatch"):
        verify_signature(bundle, make_key_pair(tmp_path / "stranger"))


def test_an_unsigned_bundle_is_refused(bundle: Path, public_key: Path) -> None:
    with pytest.raises(UntrustedArtefactError, match=r"is not signed \(no .*bundle.sig\)"):
        verify_signature(bundle, public_key)


def test_the_private_key_is_for_its_owner_alone_and_never_overwritten(private_key: Path) -> None:
    assert stat.S_IMODE(private_key.stat().st_mode) == 0o600
    before = private_key.read_bytes()
    with pytest.raises(BadConfigError, match="never overwritten"):
        make_key_pair(private_key)
    assert private_key.read_bytes() == before


def test_keys_given_the_wrong_way_round_are_refused(bundle: Path, private_key: Path, public_key: Path) -> None:
    with pytest.raises(BadConfigError, match="cannot sign"):
        sign_bundle(bundle, public_key)
    sign_bundle(bundle, private_key)
    with pytest.raises(BadConfigError, match="is not a public elliptic-curve key"):
        verify_signature(bundle, private_key)
    with pytest.raises(MissingArtefactError, match="no key at"):
        verify_signature(bundle, private_key.with_name("none"))


def test_the_librarys_own_command_verifies_our_signatures(bundle: Path, private_key: Path, public_key: Path) -> None:
    signature = sign_bundle(bundle, private_key)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle)]
    command += ["--signature", str(signature), "--public_key", str(public_key)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_without_the_library_the_message_says_what_to_install(
    bundle: Path, public_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature_path(bundle).write_text("{}")
    for name in ("model_signing", "model_signing.verifying"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BadConfigError, match=r"pip install 'inf-embed\[signing\]'"):
        verify_signature(bundle, public_key)
