from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import LAYOUTS
from infembed.bundle import Bundle
from infembed.graphs import Feeds
from infembed.loading import LoadedGraphs


def _embed(graphs: LoadedGraphs) -> np.ndarray:
    feeds: Feeds = {"input_ids": np.array([[2, 7, 8, 3]]), "attention_mask": np.ones((1, 4), dtype=np.int64)}
    if graphs.query_reads_documents:
        feeds = {**feeds, **graphs.after([None]), "instruction_index": np.zeros(1, dtype=np.int64)}
    return graphs.document.run(feeds)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_that_is_compared_gives_the_same_vectors(tiny_bundle: Path, layout: str) -> None:
    bundle = Bundle.open(tiny_bundle)
    first = _embed(LAYOUTS["document graph alone"](bundle))
    np.testing.assert_allclose(_embed(LAYOUTS[layout](bundle)), first, atol=1e-5)
