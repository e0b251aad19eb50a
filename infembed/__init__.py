"""Shared vocabulary of InF-Embed: errors, configuration, rendering, bundle, encoder, ranking types."""

from importlib.metadata import version as _version


def version() -> str:
    """Return the installed version of InF-Embed."""
    return _version("inf-embed")
