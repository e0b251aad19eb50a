import numpy as np
import pytest

from infembed.errors import NonFiniteError
from infembed.vectors import normalize, require_finite


def test_rows_get_unit_length_and_zero_stays_zero() -> None:
    unit = normalize(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, 0.0]])
    assert unit.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_rows_are_named(bad: float) -> None:
    with pytest.raises(NonFiniteError, match=r"rows \[1\] of 2"):
        require_finite(np.array([[1.0, 2.0], [bad, 0.0]], dtype=np.float32))
