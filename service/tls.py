"""Certificates: checked before anything heavy loads, and renewed without a restart."""

import ssl
from pathlib import Path
from typing import NamedTuple, NoReturn

from infembed.errors import BadConfigError
from service.settings import Settings


class Certificate(NamedTuple):
    """A certificate chain and its key, as PEM files."""

    cert: Path
    key: Path

    def check(self) -> None:
        """Refuse files that are no certificate and its key."""
        self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def renew(self, context: ssl.SSLContext) -> None:
        """Give new connections the files' present contents; what cannot be used changes nothing."""
        self.check()
        self.load_into(context)

    def load_into(self, context: ssl.SSLContext) -> None:
        for name, path in (("INFEMBED_TLS_CERT", self.cert), ("INFEMBED_TLS_KEY", self.key)):
            if not path.is_file():
                raise BadConfigError(f"{name} is {path}, and there is no such file")
        try:
            context.load_cert_chain(self.cert, self.key, password=_refuse_password)
        except ssl.SSLError as error:
            raise BadConfigError(
                f"{self.cert} and {self.key} are no certificate with its key (PEM): {error.reason or error}"
            ) from error


def certificate_of(settings: Settings) -> Certificate | None:
    """Return the configured certificate, or None: plain HTTP."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


def _refuse_password() -> NoReturn:
    """Stand where OpenSSL would ask at the terminal."""
    raise BadConfigError("INFEMBED_TLS_KEY needs a password; give a key without one, readable by the service alone")
