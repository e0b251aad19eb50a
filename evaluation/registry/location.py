"""Where a registry lives: a directory with its own SQLite, or an MLflow server by URL."""

import re
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from infembed.errors import BadConfigError

DEFAULT_REGISTRY = ".cache/registry"


class Location(NamedTuple):
    """A registry's address; `directory` holds the decision log, and for an embedded registry everything else."""

    directory: Path
    server: str | None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read a directory or an http(s) URL; a server's decision log is kept below the default directory."""
        if "://" not in uri:
            return cls(Path(uri).absolute(), None)
        parts = urlsplit(uri)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadConfigError(f"registry {uri!r} is neither a directory nor an http(s) URL of an MLflow server")
        if parts.username or parts.password:
            raise BadConfigError(
                "the registry's URL holds a user or password; give them as MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, so that no message or log shows them"
            )
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{parts.hostname}:{parts.port or ''}{parts.path}").strip("_")
        return cls(Path(DEFAULT_REGISTRY).absolute() / "servers" / name, uri.rstrip("/"))

    @property
    def database(self) -> Path:
        return self.directory / "mlflow.db"

    @property
    def uri(self) -> str:
        """The address as MLflow wants it."""
        return self.server or f"sqlite:///{self.database}"

    def __str__(self) -> str:
        return self.server or str(self.directory)
