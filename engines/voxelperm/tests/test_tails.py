"""Generalised Pareto tails: against scipy, simulated critical values, and nulls of known tail."""

import numpy as np
import pytest
from scipy import stats

from voxelperm import fit_pareto, fit_tail, p_values, survival
from voxelperm.pareto import CRITICAL, SHAPES, anderson_darling


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.25])
def test_fit_is_the_maximum_likelihood_of_scipy(shape):
    excess = stats.genpareto.rvs(shape, scale=3, size=500, random_state=1)
    ours = fit_pareto(excess)
    start = {"loc": 0, "scale": 3}
    theirs = stats.genpareto.fit(excess, shape, floc=0, **start)
    np.testing.assert_allclose(ours, (theirs[0], theirs[2]), rtol=2e-3, atol=2e-3)


def test_survival_is_that_of_scipy():
    tail = fit_tail(np.random.default_rng(2).gumbel(size=5000))
    x = tail.threshold + np.linspace(0, 6, 7)
    expected = stats.genpareto.sf(x, tail.shape, tail.threshold, tail.scale)
    np.testing.assert_allclose(survival(x, tail), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.2])
def test_the_goodness_of_fit_test_rejects_one_true_tail_in_twenty(shape):
    rng, rejected = np.random.default_rng(3), 0
    for _ in range(600):
        excess = stats.genpareto.rvs(shape, size=150, random_state=rng)
        fitted = fit_pareto(excess)
        rejected += anderson_darling(excess, *fitted) > np.interp(fitted[0], SHAPES, CRITICAL)
    assert 14 <= rejected <= 48  # 99.9 % of a binomial(600, .05)


@pytest.mark.parametrize("null", ["exponential", "largest of 500 t"])
def test_p_of_one_in_ten_thousand_from_five_thousand_permutations(null):
    rng = np.random.default_rng(4)
    if null == "exponential":
        quantile = stats.expon.isf
    else:  # the largest |t(33)| of 500 independent voxels

        def quantile(p):
            return stats.t.isf(-np.expm1(np.log1p(-np.asarray(p)) / 500) / 2, 33)

    truth = quantile([1e-4])
    logs = []
    for _ in range(100):
        p, tail = p_values(truth, quantile(rng.uniform(size=5000)), "gpd")
        assert tail.kind == "gpd"
        logs.append(np.log10(p[0]))
    # counting gives 2e-4 or more; the tail is right to within a factor of 2 in the median, and its
    # error is about half a decade
    assert np.median(logs) == pytest.approx(-4, abs=0.3)
    assert np.sqrt(np.mean((np.array(logs) + 4) ** 2)) < 0.65


def test_p_never_rises_with_the_statistic_and_has_a_floor():
    null = np.random.default_rng(5).gumbel(size=2000)
    x = np.linspace(0, 60, 2000)
    p, tail = p_values(x, null, "gpd")
    assert tail.kind == "gpd"
    assert (np.diff(p) <= 0).all()
    assert p.min() == pytest.approx(0.01 / 2001)
    counted, _ = p_values(x, null)
    np.testing.assert_array_equal(p[counted > 10.5 / 2001], counted[counted > 10.5 / 2001])


def test_a_tail_that_does_not_fit_leaves_the_counts():
    null = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], [600, 200, 100, 60, 40])  # few sizes, many ties
    counted, _ = p_values(np.array([9.0]), null)
    p, tail = p_values(np.array([9.0]), null, "gpd")
    assert p == counted
    assert tail.kind == "counts"
    assert "no generalised Pareto tail fits" in tail.reason


def test_a_misfit_is_met_with_fewer_exceedances():
    rng = np.random.default_rng(6)
    body, top = rng.uniform(0, 1, 9750), 3 + rng.exponential(size=250)
    tail = fit_tail(np.concatenate([body, top]))
    assert tail.kind == "gpd"
    assert 50 <= tail.n_exceedances <= 260
    assert tail.misfit <= 1


@pytest.mark.parametrize(
    ("null", "exhaustive", "reason"),
    [
        (np.arange(300.0), False, "300 permutations, at least 500 needed"),
        (np.arange(2000.0), True, "exact: all permutations were made"),
        (np.full(2000, 1e6), False, "every value was reached by at least 10"),
    ],
)
def test_reasons_to_count_are_given(null, exhaustive, reason):
    p, tail = p_values(np.array([5e3]), null, "gpd", exhaustive)
    assert tail.kind == "counts"
    assert reason in tail.reason
    assert p == (1 + (null >= 5e3).sum()) / (1 + len(null))
