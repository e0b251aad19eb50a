from collections import Counter

from evaluation.suites.splits import Split, split_of


def test_a_key_stays_in_its_split_for_ever() -> None:
    assert [split_of("medquad", key) for key in ("asthma", "gout", "measles")] == ["train", "dev", "train"]


def test_the_shares_are_15_10_and_75_percent() -> None:
    counts = Counter(split_of("source", str(number)) for number in range(10_000))
    assert 1400 < counts[Split.TEST] < 1600
    assert 900 < counts[Split.DEV] < 1100
    assert counts[Split.TRAIN] == 10_000 - counts[Split.TEST] - counts[Split.DEV]


def test_two_sources_split_the_same_keys_differently() -> None:
    keys = [str(number) for number in range(100)]
    assert [split_of("a", key) for key in keys] != [split_of("b", key) for key in keys]
