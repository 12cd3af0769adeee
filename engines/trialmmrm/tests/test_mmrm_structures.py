"""Covariance structures: one contract for all, and how they are related."""

import numpy as np
import pytest
from mmrm_trials import FORMULA, KEYS, trial

from trialmmrm import STRUCTURES, fit_mmrm
from trialmmrm.jets import Jet
from trialmmrm.structures import lags, levinson


@pytest.mark.parametrize("structure", STRUCTURES)
def test_sas_parameters_give_the_same_matrix_and_the_same_inference(structure):
    """The optimiser and SAS: one matrix, and the derivatives in parameters of SAS are right."""
    data = trial(n_visits=4, missing=0.1, seed=3)
    fit = fit_mmrm(data, FORMULA, covariance=structure, **KEYS)
    shape, natural = STRUCTURES[structure], fit._estimate.natural
    np.testing.assert_allclose(natural.value, fit._estimate.matrix, rtol=1e-12)
    assert np.linalg.matrix_rank(natural.first.reshape(16, -1)) == fit.n_parameters
    gradient, _ = fit._estimate.likelihood.chain(fit._estimate.state, natural)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert shape.linear == (not natural.second.any())
    for k in range(fit.n_parameters):  # along a step in one parameter of SAS's
        h = 1e-4 * np.sqrt(natural.value[0, 0])
        moved = natural.value + h * natural.first[..., k] + h**2 / 2 * natural.second[..., k, k]
        again = shape.natural(moved).value
        np.testing.assert_allclose(again, moved, atol=1e-3 * h**2)


@pytest.mark.parametrize("seed", range(3))
def test_nested_structures_have_ordered_likelihoods(seed):
    data = trial(n_visits=4, missing=0.1, seed=seed)
    loglik = {c: fit_mmrm(data, FORMULA, covariance=c, **KEYS).loglik for c in STRUCTURES}
    larger = ["us", "toeph", "toeph", "toeph", "toep", "toep", "csh", "ar1h"]
    smaller = ["toeph", "toep", "csh", "ar1h", "cs", "ar1", "cs", "ar1"]
    for big, small in zip(larger, smaller, strict=True):
        assert loglik[big] > loglik[small]


@pytest.mark.parametrize("group", [("toep", "cs", "ar1"), ("us", "toeph", "csh", "ar1h")])
def test_structures_that_are_the_same_for_two_visits_give_the_same(group):
    data = trial(n_visits=2, missing=0.15, seed=8)
    fits = [fit_mmrm(data, FORMULA, covariance=c, **KEYS) for c in group]
    for fit in fits[1:]:
        assert fit.loglik == pytest.approx(fits[0].loglik, abs=1e-9)
        np.testing.assert_allclose(fit.covariance, fits[0].covariance, rtol=1e-6)
        np.testing.assert_allclose(fit.coefficients["df"], fits[0].coefficients["df"], rtol=1e-6)


@pytest.mark.parametrize("structure", ["toep", "ar1"])
def test_a_simpler_structure_finds_the_covariance_that_made_the_data(structure):
    data = trial(n=4000, n_visits=4, seed=11)
    sd = data["visit"].str[-1].astype(int).map(lambda v: 3 + 0.5 * (v - 1))
    centre = data.groupby(["visit", "arm"], observed=True)["change"].transform("mean")
    data["change"] = (data["change"] - centre - 0.3 * (data["baseline"] - 25)) / sd
    covariance = fit_mmrm(data, "change ~ visit", covariance=structure, **KEYS).covariance
    np.testing.assert_allclose(covariance, 0.6 ** lags(4), atol=0.03)


def test_partial_autocorrelations_near_the_edge_give_a_positive_definite_matrix():
    for seed in range(20):
        partial = np.random.default_rng(seed).uniform(-0.99, 0.99, 7)
        r = levinson(Jet.parameters(partial)).value
        matrix = r[lags(8)]
        assert np.linalg.eigvalsh(matrix)[0] > 0
        # the determinant of a Toeplitz matrix is prod (1 - partial_k^2)^(n - k)
        expected = np.prod((1 - partial**2) ** np.arange(7, 0, -1))
        assert np.linalg.det(matrix) == pytest.approx(expected, rel=1e-6)
