from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import LAYOUTS, Layout
from infembed.bundle import Bundle, GraphName
from infembed.vectors import FloatArray

ALL = tuple(GraphName)


def _embed(bundle: Bundle, layout: Layout) -> FloatArray:
    ids = np.array([[2, 7, 8, 3]])
    return layout.open(bundle).document.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})


@pytest.mark.parametrize("layout", [Layout(ALL, unpacked=ALL), Layout(ALL, releases=False, patterns=True)])
def test_layouts_differ_in_memory_and_not_in_vectors(tiny_bundle: Path, layout: Layout) -> None:
    bundle = Bundle.open(tiny_bundle)
    expected = _embed(bundle, Layout((GraphName.DOCUMENT,)))
    np.testing.assert_allclose(_embed(bundle, layout), expected, atol=1e-5)


def test_the_document_graph_alone_comes_first_since_the_others_are_divided_by_it() -> None:
    assert next(iter(LAYOUTS)) == "document graph alone"
