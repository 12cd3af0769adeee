"""The kernel of joint inference, against PIMA's example, statsmodels and the definitions."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis_lib.robustness.multiverse import (
    Design,
    draw_flips,
    estimates,
    flipped,
    joint_test,
    p_of,
    step_down,
)
from benchmarks.specifications import block

N = 20  # of PIMA's example


@pytest.fixture(scope="module")
def pima(reference_data):
    """Y, and the design of X given each of the four sets of covariates."""
    path = reference_data / "reference" / "multiverse" / "pima_readme_data.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} absent: PIMA's example is not copied here")
    table = pd.read_csv(path)
    x, z1, z2, y = (table[name].to_numpy() for name in ("X", "Z1", "Z2", "Y"))
    held = ([z1, z2], [z1, z1**2, z2], [z1, z1**2, z2, z2**2], [z1, z2, z2**2])
    return y[:, None], [Design(x, np.column_stack([np.ones(N), *some])) for some in held]


def test_estimates_give_the_effective_scores_and_partial_correlations_of_pima(pima):
    y, designs = pima
    estimate, se, df = (np.ravel(x) for x in zip(*(estimates(d, y) for d in designs), strict=True))
    scores = estimate * [np.square(design.parts()[1]).sum() for design in designs]
    np.testing.assert_allclose(scores, [19.78375, 15.38036, 14.31866, 17.62979], atol=6e-6)
    r = estimate / np.sqrt(estimate**2 + df * se**2)
    np.testing.assert_allclose(r, [0.7605058, 0.7608195, 0.7643816, 0.7501552], atol=6e-8)


def test_p_over_all_flips_is_that_of_pima(pima):
    y, designs = pima
    # all 2^20, of which half mirror the other; flips without the last subject's
    counts, observed = np.zeros(4), [abs(flipped(d, y, np.ones((1, N)))[0, 0]) for d in designs]
    for some in np.split(np.arange(2 ** (N - 1)), 8):
        flips = 1.0 - 2 * ((some[:, None] >> np.arange(N)) & 1)
        for k, design in enumerate(designs):
            counts[k] += (np.abs(flipped(design, y, flips)) >= observed[k] * (1 - 1e-5)).sum()
    expected = [0.014902, 0.015394, 0.016232, 0.011187]
    # the published p count scores that agree with the observed one in five digits as ties
    np.testing.assert_allclose(counts / 2 ** (N - 1), expected, atol=6e-7)


def made_up(n=24, m=3):
    rng = np.random.default_rng(3)
    nuisance = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
    return Design(rng.integers(0, 2, n).astype(float), nuisance), rng.standard_normal((n, m))


@pytest.mark.parametrize(
    ("errors", "cov_type"), [("equal", "nonrobust"), ("unequal", "HC2"), ("hc3", "HC3")]
)
def test_estimates_and_errors_are_those_of_least_squares(errors, cov_type):
    design, y = made_up()
    estimate, se, df = estimates(design, y, errors)
    x = np.column_stack([design.tested, design.nuisance])
    fits = [sm.OLS(column, x).fit(cov_type=cov_type) for column in y.T]
    np.testing.assert_allclose(estimate, [fit.params[0] for fit in fits])
    np.testing.assert_allclose(se, [fit.bse[0] for fit in fits])
    assert df == fits[0].df_resid


def test_a_flipped_score_has_the_spread_that_the_hat_matrix_gives_it():
    design, y = made_up()
    flips = draw_flips(len(y), 6, seed=1)
    x, z = design.tested, design.nuisance
    left = np.eye(len(y)) - z @ np.linalg.pinv(z)
    for drawn, signs in zip(flipped(design, y, flips), flips, strict=True):
        weights = x @ left @ np.diag(signs) @ left
        sigma = np.sqrt(((left @ y) ** 2).sum(axis=0) / (len(y) - 3))
        np.testing.assert_allclose(drawn, weights @ y / np.linalg.norm(weights) / sigma)


def test_unequal_errors_fit_the_whole_model_again_in_every_draw():
    design, y = made_up()
    flips = draw_flips(len(y), 300, seed=1)
    found = flipped(design, y, flips, "unequal")
    x, z = np.column_stack([design.tested, design.nuisance]), design.nuisance
    hat = z @ np.linalg.pinv(z)
    residual = y - hat @ y
    drawn = flips[7][:, None] * residual / np.sqrt(1 - np.diag(hat))[:, None]
    for at, values in ((0, y), (7, drawn)):
        fits = [sm.OLS(column, x).fit(cov_type="HC2") for column in values.T]
        np.testing.assert_allclose(found[at], [fit.tvalues[0] for fit in fits])


def test_all_rows_of_a_subject_are_flipped_together():
    design, y = made_up()
    subject, flips = np.arange(24) // 2, draw_flips(12, 50, seed=2)
    found = flipped(Design(design.tested, design.nuisance, subject), y, flips)
    np.testing.assert_allclose(found, flipped(design, y, np.repeat(flips, 2, axis=1)))


def test_what_is_tested_must_not_follow_from_what_is_held_constant():
    with pytest.raises(ValueError, match="no estimate"):
        Design(np.ones(5), np.ones((5, 1))).parts()


def test_adjusted_p_and_the_number_of_true_ones_are_those_of_closed_testing():
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((199, 5)) + rng.standard_normal((199, 1))
    draws[0] = [4, -3, 1, 0.2, 2.6]

    def local(some):
        largest = np.abs(draws[:, list(some)]).max(axis=1)
        return (largest >= largest[0]).mean()

    sets = [some for size in range(1, 6) for some in combinations(range(5), size)]
    closed = [max(local(some) for some in sets if k in some) for k in range(5)]
    np.testing.assert_allclose(step_down(draws), closed)
    kept = max([len(some) for some in sets if local(some) > 0.05], default=0)
    assert joint_test(draws, draws[0]).n_true == 5 - kept
    assert 0 < kept < 5


def test_of_one_analysis_every_joint_p_is_its_own():
    design, y = made_up(m=1)
    draws = flipped(design, y, draw_flips(24, 400))
    found, p = joint_test(draws, estimates(design, y)[0]), p_of(draws)[0, 0]
    np.testing.assert_allclose([found.p_median, found.p_stouffer, found.p_adjusted[0]], p)
    assert found.median == pytest.approx(estimates(design, y)[0][0])


def test_the_three_statistics_are_simonsohns():
    rng = np.random.default_rng(4)
    draws = rng.standard_normal((1000, 4))
    draws[0] = [3, 3.5, 2.5, 0.1]
    found = joint_test(draws, np.array([1.0, 2, 3, 4]))
    p = (np.abs(draws) >= np.abs(draws[0])).mean(axis=0)
    assert found.median == 2.5
    assert found.share == np.mean(p <= 0.05) == 0.75
    assert found.stouffer == pytest.approx(stats.norm.isf(p / 2).sum() / 2)
    assert found.p_stouffer < 0.01


@pytest.mark.parametrize("design", ["18 + 18", "24 + 12, active SD x 2"])
def test_joint_tests_keep_the_level(design):
    """Sixty null trials of the benchmark, with noise that is white over regions."""
    target = np.random.default_rng(1).standard_normal(40)
    rows = block(target, np.eye(40), design, 0, n_trials=60)
    assert rows.groupby("test")["rejected"].sum().max() <= 8  # binomial, .995


def test_joint_tests_find_a_link():
    target = np.random.default_rng(1).standard_normal(40)
    rows = block(target / target.std(), np.eye(40), "18 + 18, r = .4", 0, n_trials=10)
    assert rows.groupby("test")["rejected"].mean().min() > 0.5
