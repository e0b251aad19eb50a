"""Python's collector of objects that refer to each other in circles.

A full collection looks at every object there is, and nothing is answered meanwhile: 43 ms for the libraries and the
routes, again every 700 requests or so. None of these goes before the model does, so they are set aside once it is
loaded.
"""

import gc


def set_aside() -> None:
    """Collect once; what is left is not looked at again until `collect`."""
    gc.collect()
    gc.freeze()


def collect() -> None:
    """Collect everywhere, also among what was set aside; the rest of it is set aside again."""
    was_set_aside = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if was_set_aside:
        gc.freeze()
