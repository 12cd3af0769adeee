"""The nuisance model: its span, its constant, and columns that add nothing."""

import numpy as np
import pytest

from voxelperm import nuisance_basis


@pytest.fixture
def columns():
    return np.random.default_rng(1).standard_normal((12, 3)) + 5


@pytest.mark.parametrize("intercept", [False, True])
def test_basis_is_orthonormal_and_spans_the_columns(columns, intercept):
    basis = nuisance_basis(columns, 12, intercept)
    assert basis.shape == (12, 3 + intercept)
    np.testing.assert_allclose(basis.T @ basis, np.eye(3 + intercept), atol=1e-12)
    np.testing.assert_allclose(basis @ (basis.T @ columns), columns, atol=1e-12)


def test_the_constant_comes_first(columns):
    basis = nuisance_basis(columns, 12, True)
    np.testing.assert_allclose(basis[:, 0], 1 / np.sqrt(12))


def test_collinear_and_constant_columns_add_nothing(columns):
    more = np.column_stack([columns, columns[:, 0] - 2 * columns[:, 1], np.full(12, 7.0)])
    assert nuisance_basis(more, 12, True).shape == (12, 4)


def test_without_columns_the_constant_alone_is_left():
    assert nuisance_basis(None, 12, True).shape == (12, 1)
    assert nuisance_basis(None, 12, False).shape == (12, 0)
