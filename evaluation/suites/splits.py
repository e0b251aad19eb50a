"""Fixed splits for sources that have none: by a digest of what must not be shared between training and test."""

from enum import StrEnum

from evaluation.suites.draft import digest_number

_TEST_SHARE = 15
_DEV_SHARE = 10


class Split(StrEnum):
    """Parts of a source; nothing is tuned on TEST."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"


def split_of(source: str, key: str) -> Split:
    """Return the split of a topic or document of a source."""
    number = digest_number(f"{source}:{key}") % 100
    if number < _TEST_SHARE:
        return Split.TEST
    return Split.DEV if number < _TEST_SHARE + _DEV_SHARE else Split.TRAIN
