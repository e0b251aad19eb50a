"""Text for people: printed as it is, whatever it holds."""

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """Make a console that takes no `[...]` for markup and no `:x:` for an emoji: paths and ids may hold either."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)
