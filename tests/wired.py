"""Every column of a result table holds its own values, and no other column's would pass."""

from itertools import combinations

import numpy as np
import pandas as pd


def assert_table(found, expected, alike=(), rtol=1e-6, numbered=True):
    """Compare a table with what is known of each of its columns.

    Parameters
    ----------
    found : pandas.DataFrame
    expected : dict of str to sequence
        Every column in its order, each from a closed form or another implementation.
    alike : sequence of set of str
        Pairs of columns whose values are the same by definition; no other two may be, since a
        table with them exchanged would pass.
    rtol : float
    numbered : bool
        Rows are numbered from 0, as they are in a table that is written; not in a part of one.
    """
    assert not numbered or list(found.index) == list(range(len(found)))
    assert list(found.columns) == list(expected)
    expected = {name: _filled(values, len(found)) for name, values in expected.items()}
    for first, second in combinations(expected, 2):
        if {first, second} not in list(map(set, alike)):
            same = _same(expected[first], expected[second], rtol)
            assert not same, f"{first} and {second} expect the same values: use other data"
    for name, values in expected.items():
        shown = f"{name}: expected {list(values)}, found {found[name].tolist()}"
        assert _same(found[name], values, rtol), shown


def _filled(values, n):
    """One value stands for a column of it."""
    if isinstance(values, str) or np.ndim(values) == 0:
        values = [values] * n
    assert len(values) == n, f"{len(values)} rows expected, found {n}"
    return pd.Series(list(values))


def _same(first, second, rtol):
    first, second = pd.Series(list(first)), pd.Series(list(second))
    if first.empty:
        return False
    if all(map(pd.api.types.is_numeric_dtype, (first, second))):
        a, b = (s.to_numpy(dtype=float, na_value=np.nan) for s in (first, second))
        return np.allclose(a, b, rtol=rtol, atol=1e-12, equal_nan=True)
    pairs = zip(first, second, strict=True)
    return all((pd.isna(a) and pd.isna(b)) or str(a) == str(b) for a, b in pairs)
