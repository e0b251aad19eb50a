"""Which splits must not share anything, and splits of sources whose test part is a file of its own."""

from evaluation.suites.splits import Split, split_of

_HELD_OUT_FROM = {Split.TRAIN: (Split.DEV, Split.TEST), Split.DEV: (Split.TEST,), Split.TEST: ()}


def held_out_from(split: Split) -> tuple[Split, ...]:
    """Return the splits whose documents a split must do without."""
    return _HELD_OUT_FROM[split]


def train_or_dev(source: str, key: str) -> Split:
    """Return the split of a document or topic of a file that holds nothing of the test part."""
    return Split.DEV if split_of(source, key) is Split.DEV else Split.TRAIN
