"""An API key on its way to a service."""

from infembed.errors import BadInputError


def authorization(api_key: str | None) -> dict[str, str]:
    """Write the header for a key, as a file may hold it with a newline at its end; None or blank: no header.

    A key that fits no header is refused here, without being shown: HTTP libraries quote it in their message.
    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInputError(
            "the API key has characters that no key has (controls, or other than ASCII); look at where it is read from",
            param="api_key",
        )
    return {"authorization": f"Bearer {key}"} if key else {}
