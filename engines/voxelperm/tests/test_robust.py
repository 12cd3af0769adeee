"""Errors of unequal variance: against statsmodels, and by how often a true null is rejected."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from test_inference import smooth_noise

from voxelperm import STATISTICS, permutation_test
from voxelperm.nuisance import nuisance_basis


@pytest.fixture
def design():
    rng = np.random.default_rng(4)
    arm = np.repeat([1.0, 0.0], [7, 11])
    covariates = rng.standard_normal((18, 2))
    maps, mask = smooth_noise(18)
    return maps * (1 + arm)[:, None] + covariates[:, :1], mask, arm, covariates


def hc(sm, y, tested, covariates, kind="HC2"):
    """t of the tested column from statsmodels, by voxel."""
    model = sm.add_constant(np.column_stack([tested, covariates]))
    return np.array([sm.OLS(one, model).fit(cov_type=kind).tvalues[1] for one in y.T])


def scaled_residuals(maps, arm, nuisance):
    """Residuals of the model without the arm, over the root of 1 - leverage there."""
    basis = nuisance_basis(nuisance, len(arm), True)
    hat = basis @ basis.T
    return (maps - hat @ maps) / np.sqrt(1 - np.diag(hat))[:, None]


@pytest.mark.parametrize("kind", ["HC2", "HC3"])
def test_t_is_that_of_statsmodels(design, oracle, kind):
    maps, mask, arm, covariates = design
    options = {"n_permutations": 2, "standard_error": kind}
    result = permutation_test(maps, mask, arm, covariates, **options)
    expected = hc(oracle("statsmodels.api"), maps[:, :9], arm, covariates, kind)
    np.testing.assert_allclose(result.t[:9], expected, rtol=1e-10)
    assert result.df == 14


def test_t_is_that_of_r_s_sandwich():
    """sandwich.R made the table."""
    folder = Path(__file__).parent
    arm, *covariates, change = np.loadtxt(folder / "sandwich_data.tsv", skiprows=1).T
    maps, mask = change[:, None] * [[1.0, -2.0]], np.ones((2, 1, 1), bool)
    for line in (folder / "sandwich.tsv").read_text().splitlines()[1:]:
        name, t = line.split()
        options = {"n_permutations": 1, "standard_error": name}
        result = permutation_test(maps, mask, arm, np.transpose(covariates), **options)
        np.testing.assert_allclose(result.t, float(t) * np.array([1, -1]), rtol=1e-10)


@pytest.mark.parametrize("kind", ["HC2", "HC3"])
def test_each_draw_is_the_whole_model_fitted_to_flipped_residuals(design, oracle, kind):
    maps, mask, arm, covariates = design
    signs = np.random.default_rng(0).choice([1, -1], (3, 18))
    rows = signs * np.arange(1, 19)
    options = {"permutations": rows, "standard_error": kind}
    null = permutation_test(maps, mask, arm, covariates, **options).null_max["max_t"]
    u, sm = scaled_residuals(maps, arm, covariates), oracle("statsmodels.api")
    for drawn, sign in zip(null, signs, strict=True):
        t = hc(sm, sign[:, None] * u, arm, covariates, kind)
        assert drawn == pytest.approx(np.abs(t).max(), rel=1e-4)


def test_p_counts_every_draw_of_signs_and_compares_with_the_data_s_own_t(oracle):
    maps, mask = smooth_noise(8, (3, 3, 3), seed=3)
    arm = np.repeat([1.0, 0.0], [3, 5])
    result = permutation_test(maps, mask, arm, statistics=["max_t"], n_permutations=999)
    u, sm = scaled_residuals(maps, arm, None), oracle("statsmodels.api")
    largest = [
        np.abs(hc(sm, np.array(signs)[:, None] * u, arm, np.empty((8, 0)))).max()
        for signs in itertools.product([1, -1], repeat=8)
    ][1:]  # all signs as they are: left out, and counted as the data
    assert result.exhaustive
    np.testing.assert_allclose(result.null_max["max_t"], largest, rtol=1e-4)
    count = np.sum(np.array(largest) >= np.abs(result.t).max() * (1 - 1e-6))
    assert result.p["max_t"].min() == pytest.approx((1 + count) / 256)


def test_of_a_mean_it_is_the_flip_of_student_s_t():
    maps, mask = smooth_noise(9, (5, 5, 5), seed=2)
    found = [
        permutation_test(maps, mask, np.ones(9), sign_flip=True, n_permutations=600, errors=errors)
        for errors in ("equal", "unequal")
    ]
    np.testing.assert_allclose(found[0].t, found[1].t, rtol=1e-6)
    for name in STATISTICS:
        np.testing.assert_allclose(found[0].p[name], found[1].p[name], atol=0.005)


def test_blocks_are_columns_of_the_model_and_whole_blocks_keep_one_sign(design):
    maps, mask, arm, _ = design
    site = np.tile([0, 1, 2], 6)
    columns = (site[:, None] == [0, 1]).astype(float)
    options = {"n_permutations": 20, "seed": 3}
    within = permutation_test(maps, mask, arm, blocks=site, **options)
    by_hand = permutation_test(maps, mask, arm, columns, **options)
    np.testing.assert_allclose(within.t, by_hand.t, rtol=1e-9)
    np.testing.assert_allclose(within.null_max["tfce"], by_hand.null_max["tfce"], rtol=1e-3)
    pairs = np.repeat(np.arange(9), 2)
    whole = permutation_test(maps, mask, arm, blocks=pairs, exchange="whole", n_permutations=999)
    assert len(whole.null_max["max_t"]) == 2**9 - 1
    with pytest.raises(ValueError, match="at least 20 draws of signs expected, found 8"):
        permutation_test(maps, mask, arm, blocks=site, exchange="whole")


def test_blocks_do_not_matter_where_signs_of_a_mean_are_flipped_one_by_one(design):
    maps, mask, arm, _ = design
    for errors in ("unequal", "skewed"):
        options = {"sign_flip": True, "errors": errors, "n_permutations": 20}
        result = permutation_test(maps, mask, np.ones(18), blocks=arm, **options)
        without = permutation_test(maps, mask, np.ones(18), **options)
        np.testing.assert_array_equal(result.null_max["max_t"], without.null_max["max_t"])


def test_numbers_do_not_depend_on_processes_or_memory(design):
    maps, mask, arm, covariates = design
    options = {"n_permutations": 40, "seed": 5, "cluster_p": 0.05}
    one = permutation_test(maps, mask, arm, covariates, **options)
    two = permutation_test(maps, mask, arm, covariates, n_jobs=2, max_memory_mb=9, **options)
    for name in STATISTICS:
        np.testing.assert_array_equal(one.null_max[name], two.null_max[name])


def test_voxels_that_do_not_vary_and_participants_fitted_exactly_change_no_other(design):
    maps, mask, arm, _ = design
    maps = maps.copy()
    maps[:, 100:150] = 0.2
    alone = (np.arange(18) == 3).astype(float)  # a column of its own: nothing is left of that one
    result = permutation_test(maps, mask, arm, alone, n_permutations=30, cluster_p=0.05)
    assert (result.t[100:150] == 0).all()
    assert np.isfinite(result.null_max["max_t"]).all()
    without = permutation_test(
        np.delete(maps, 3, 0), mask, np.delete(arm, 3), n_permutations=30, cluster_p=0.05
    )
    np.testing.assert_allclose(result.t, without.t, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"errors": "robust"}, r"errors among \(.*\) expected, found 'robust'"),
        ({"sign_flip": "both"}, 'errors="equal" expected with sign_flip="both"'),
        ({"variance_fwhm": 2.0}, 'errors="equal" expected with variance_fwhm'),
        ({"errors": "skewed"}, "a tested column of ones and no nuisance expected"),
        ({"standard_error": "HC4"}, "among .*HC2.* expected, found 'HC4'"),
        ({"convention": "fsl"}, "convention among .*palm.* expected, found 'fsl'"),
        ({"permutations": np.arange(18)[None, ::-1] + 1}, "change signs alone expected"),
    ],
)
def test_what_unequal_errors_do_not_allow_is_refused(design, options, message):
    maps, mask, arm, _ = design
    with pytest.raises(ValueError, match=message):
        permutation_test(maps, mask, arm, **options)


def test_twice_the_spread_in_the_smaller_arm_keeps_the_level_where_relabelling_does_not():
    arm, rejected = np.repeat([1, 0], [8, 16]), {"unequal": 0, "equal": 0}
    for seed in range(120):
        maps, mask = smooth_noise(24, (7, 7, 7), seed=seed)
        maps = maps * np.where(arm, 2, 1)[:, None]
        for errors in rejected:
            options = {"n_permutations": 99, "statistics": ["max_t"], "errors": errors}
            p = permutation_test(maps, mask, arm, seed=seed, **options).p["max_t"]
            rejected[errors] += p.min() <= 0.05
    # 99.9 % of a binomial(120, .08) lies within 1 to 20
    assert 0 < rejected["unequal"] <= 20 < rejected["equal"], rejected
