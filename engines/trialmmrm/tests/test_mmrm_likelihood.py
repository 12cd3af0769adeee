"""The likelihood, its derivatives and its maximum."""

import numpy as np
import pytest
from mmrm_trials import FORMULA, KEYS, participant_by_participant, trial

from trialmmrm import STRUCTURES, fit_mmrm


def test_likelihood_by_pattern_is_the_likelihood_by_participant():
    fit = fit_mmrm(trial(missing=0.2, seed=7), FORMULA, **KEYS)
    estimate = fit.covariance.to_numpy()
    assert len(fit._estimate.likelihood.patterns) > 3
    assert fit.deviance == pytest.approx(participant_by_participant(fit, estimate), abs=1e-8)
    for a, b in [(0, 0), (0, 1), (1, 2), (2, 2)]:  # and it is a maximum
        for shift in (-0.1, 0.1):
            other = estimate.copy()
            other[[a, b], [b, a]] += shift
            assert participant_by_participant(fit, other) > fit.deviance


def derivative(function, at, step=1e-5):
    moves = step * np.eye(len(at))
    return np.stack([(function(at + m) - function(at - m)) / (2 * step) for m in moves], axis=-1)


@pytest.mark.parametrize("n_visits", [2, 4])
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_gradient_and_hessian_are_those_of_finite_differences(structure, reml, n_visits):
    data = trial(n_visits=n_visits, missing=0.1, seed=1)
    fit = fit_mmrm(data, FORMULA, df="satterthwaite", reml=reml, covariance="cs", **KEYS)
    likelihood, shape = fit._estimate.likelihood, STRUCTURES[structure]
    at = shape.start(np.linspace(0.8, 1.2, n_visits), 0.4)
    at = at + 0.1 * np.random.default_rng(5).standard_normal(len(at))

    def slope(phi):
        covariance = shape.free(phi, n_visits)
        return likelihood.chain(likelihood.differentiate(covariance.value), covariance)

    def value(phi):
        return likelihood.solve(shape.free(phi, n_visits).value).deviance

    gradient, hessian = slope(at)
    assert len(at) == shape.n_parameters(n_visits)
    np.testing.assert_allclose(gradient, derivative(value, at), atol=1e-6 * np.abs(gradient).max())
    numerical = derivative(lambda phi: slope(phi)[0], at)
    np.testing.assert_allclose(hessian, numerical, atol=1e-7 * np.abs(hessian).max())


def test_eight_visits_with_missing_ones():
    data = trial(n=40, n_visits=8, missing=0.05, seed=3)
    fit = fit_mmrm(data, FORMULA, **KEYS)
    assert fit.n_parameters == 36
    assert fit.contrasts("arm")["visit"].tolist() == [f"week{v}" for v in range(1, 9)]
    assert fit.deviance == pytest.approx(
        participant_by_participant(fit, fit.covariance.to_numpy()), abs=1e-7
    )


def test_nothing_depends_on_units_or_on_the_order_of_rows():
    data = trial(missing=0.15, seed=6)
    fit = fit_mmrm(data, FORMULA, **KEYS)
    moved = data.assign(change=data["change"] * 1e-4 + 7, baseline=data["baseline"] * 1e3)
    other = fit_mmrm(moved.sample(frac=1, random_state=1), FORMULA, **KEYS).contrasts("arm")
    ours = fit.contrasts("arm")
    np.testing.assert_allclose(other["estimate"], ours["estimate"] * 1e-4, rtol=1e-7)
    columns = ["df", "t", "p", "hedges_g", "g_ci_low", "g_ci_high"]
    np.testing.assert_allclose(other[columns], ours[columns], rtol=1e-6)
