"""HTTPS with a certificate of the test's own."""

import datetime as dt
import signal
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infembed.errors import BadConfigError
from service.settings import Settings
from service.tls import Certificate, certificate_of
from tests.service.processes import get, serving


def make_certificate(directory: Path, name: str, *, password: bytes | None = None) -> Certificate:
    """Write a self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    found = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    found.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    found.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return found


def test_plain_http_needs_no_certificate() -> None:
    assert certificate_of(Settings()) is None


def test_a_certificate_and_its_key_are_taken(tmp_path: Path) -> None:
    one = make_certificate(tmp_path, "one")
    found = certificate_of(Settings(tls_cert=one.cert, tls_key=one.key))
    assert found == one
    found.check()


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one, other = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "other")
    with pytest.raises(BadConfigError, match=r"are no certificate with its key .*KEY_VALUES_MISMATCH"):
        Certificate(one.cert, other.key).check()


def test_a_missing_file_is_named_with_its_setting(tmp_path: Path) -> None:
    one = make_certificate(tmp_path, "one")
    with pytest.raises(BadConfigError, match="INFEMBED_TLS_KEY is .*absent, and there is no such file"):
        Certificate(one.cert, tmp_path / "absent").check()


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="INFEMBED_TLS_KEY needs a password"):
        make_certificate(tmp_path, "one", password=b"secret").check()


def test_a_renewal_that_cannot_be_used_leaves_the_old_certificate(tmp_path: Path) -> None:
    one, other = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    one.load_into(context)
    with pytest.raises(BadConfigError):
        Certificate(other.cert, one.key).renew(context)


@pytest.mark.slow
def test_the_service_speaks_https_only_and_takes_a_renewed_certificate_on_sighup(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    current = make_certificate(tmp_path, "current")
    environment = {"INFEMBED_TLS_CERT": str(current.cert), "INFEMBED_TLS_KEY": str(current.key)}
    trusts_first = ssl.create_default_context(cafile=current.cert)
    with serving("--bundle", tiny_bundle, environment=environment) as service:
        assert service.url.startswith("https://")
        assert get(f"{service.url}/health", context=trusts_first).status == 200
        with pytest.raises(OSError, match=r".+"):
            get(service.url.replace("https", "http") + "/health")
        make_certificate(tmp_path, "current")
        trusts_second = ssl.create_default_context(cafile=current.cert)
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_log("nothing to reload")
        assert get(f"{service.url}/health", context=trusts_second).status == 200
