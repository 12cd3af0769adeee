"""Correlation with receptors and its tests, against scipy, statsmodels and exact enumeration."""

import itertools

import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis_lib.receptors import correlation, nulls
from analysis_lib.receptors import effects as receptors_effects
from analysis_lib.results.contrasts import OF_CHANGE

# --- correlation ---


def test_gaussianise_is_blom_with_shared_ranks_and_nan_left_alone():
    found = correlation.gaussianise([3.0, np.nan, 1.0, 3.0, 9.0])
    ranks = np.array([2.5, np.nan, 1, 2.5, 4])
    np.testing.assert_allclose(found, stats.norm.ppf((ranks - 3 / 8) / (4 + 1 / 4)))
    x = np.random.default_rng(0).standard_normal((4, 5))
    np.testing.assert_allclose(correlation.gaussianise(x, axis=0), correlation.gaussianise(x.T).T)
    np.testing.assert_allclose(correlation.gaussianise(np.exp(x)), correlation.gaussianise(x))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("pearson", lambda x, y: stats.pearsonr(x, y)[0]),
        ("spearman", lambda x, y: stats.spearmanr(x, y)[0]),
        (
            "gaussianised",
            lambda x, y: stats.pearsonr(correlation.gaussianise(x), correlation.gaussianise(y))[0],
        ),
    ],
)
def test_correlate_equals_scipy_pair_by_pair_with_gaps(method, expected):
    rng = np.random.default_rng(1)
    effects, maps = rng.standard_normal((3, 25)), rng.gamma(1, size=(4, 25))
    effects[:, 7] = np.nan
    maps[1, [0, 3]] = np.nan
    maps[3, 20:] = np.nan
    found = correlation.correlate(effects, maps, method)
    for i, j in itertools.product(range(3), range(4)):
        both = ~np.isnan(effects[i]) & ~np.isnan(maps[j])
        assert found[i, j] == pytest.approx(expected(effects[i, both], maps[j, both]), abs=1e-12)
    assert correlation.n_covered(effects, maps).tolist() == [24, 22, 24, 19]


@pytest.mark.parametrize(
    ("effects", "maps", "message"),
    [
        (np.ones((1, 4)), np.eye(5), "effect maps have 4 parcels, receptor maps 5"),
        (np.ones((1, 5)), np.eye(5), r"effect map \[0\]: one value in every parcel"),
        (np.eye(5), np.ones((2, 5)), r"receptor map \[0, 1\]: one value in every parcel"),
        ([[1, 2, np.nan], [1, 2, 3]], np.eye(3), "lack different parcels"),
        ([1, 2, np.nan], np.eye(3), r"receptor maps \[0, 1, 2\] share fewer than three parcels"),
    ],
)
def test_correlate_refuses(effects, maps, message):
    with pytest.raises(ValueError, match=message):
        correlation.correlate(effects, maps)


# --- effect maps ---


def _residual(y, *given):
    design = np.column_stack([np.ones(len(y)), *given])
    return y - design @ np.linalg.lstsq(design, y)[0]


def test_partial_correlation_is_that_of_regression_residuals(trial):
    data, _ = trial
    effects, maps = data["change"][:3], data["receptors"][:2].copy()
    maps[1, 4] = np.nan
    given = np.random.default_rng(3).gamma(3, size=(2, 30))
    found = correlation.correlate(effects, maps, "pearson", given=given)
    for i, j in itertools.product(range(3), range(2)):
        known = np.isfinite(maps[j])
        x, y, *held = (v[known] for v in (effects[i], maps[j], *given))
        expected = stats.pearsonr(_residual(x, *held), _residual(y, *held))[0]
        assert found[i, j] == pytest.approx(expected)
    scores = correlation.gaussianise(np.vstack([effects[0], maps[0], given[0]]))
    found = correlation.correlate(effects[0], maps[0], given=given[0])
    assert found[0, 0] == pytest.approx(pingouin_partial(*scores))


def pingouin_partial(x, y, z):
    frame = pd.DataFrame({"x": x, "y": y, "z": z})
    return pingouin.partial_corr(frame, "x", "y", "z")["r"].iloc[0]


def test_a_map_that_is_held_constant_leaves_nothing(trial):
    data, _ = trial
    maps = data["receptors"]
    with pytest.raises(ValueError, match="combination of the given maps"):
        correlation.correlate(data["change"], maps, given=3 * maps[1])


def test_given_others_is_the_partial_correlation_and_holds_back_a_borrowed_one(trial):
    data, _ = trial
    maps = data["receptors"]
    found = correlation.partial_given_others(data["change"], maps)
    for j in range(4):
        others = np.delete(maps, j, axis=0)
        expected = correlation.correlate(data["change"], maps[j], given=others)
        np.testing.assert_allclose(found[:, [j]], expected)
    rng = np.random.default_rng(1)
    twin = maps[0] + 0.4 * rng.standard_normal(30)
    effect = maps[0] + 0.4 * rng.standard_normal(30)
    pair = np.vstack([maps[0], twin])
    alone = correlation.correlate(effect, pair, "pearson")[0]
    beside = correlation.partial_given_others(effect, pair, "pearson")[0]
    assert alone[1] > 0.8
    assert abs(beside[1]) < 0.5 < beside[0]
    with pytest.raises(ValueError, match="too few parcels to hold the other maps constant"):
        correlation.partial_given_others(data["change"][:, :6], maps[:, :6])
    with pytest.raises(ValueError, match="combination of the others"):
        correlation.partial_given_others(effect, np.vstack([maps, 2 * maps[0]]))


def test_influence_is_r_without_each_region(trial):
    data, _ = trial
    maps = pd.DataFrame(data["receptors"], index=list("abcd"), columns=range(101, 131))
    maps.loc["b", 103] = np.nan
    effect = data["change"][0]
    found = correlation.influence(effect, maps)
    assert found.shape == (4, 30)
    keep = np.arange(30) != 7
    expected = correlation.correlate(effect[keep], maps.to_numpy()[:, keep])[0]
    np.testing.assert_allclose(found[108], expected)
    assert found.loc["b", 103] == pytest.approx(correlation.correlate(effect, maps)[0, 1])


def test_arm_effect_is_the_coefficient_of_ordinary_least_squares(trial):
    data, covariates = trial
    strata = np.repeat(["a", "b"], 7)
    found = receptors_effects.effect_map(
        data["change"], data["arm"], covariates=covariates, strata=strata
    )
    design = np.column_stack(
        [
            data["arm"] == "active",
            np.ones(14),
            covariates["age"],
            covariates["sex"] == "m",
            strata == "b",
        ]
    ).astype(float)
    for parcel in (0, 17):
        fit = sm.OLS(data["change"][:, parcel], design).fit()
        assert found[parcel] == pytest.approx(fit.params[0])


def test_without_covariates_effects_are_plain_means(trial):
    data, covariates = trial
    active = data["arm"] == "active"
    change = data["change"]
    means = change[active].mean(axis=0), change[~active].mean(axis=0)
    np.testing.assert_allclose(receptors_effects.effect_map(change, active), means[0] - means[1])
    for contrast, mean in zip(OF_CHANGE[:2], means, strict=True):
        found = receptors_effects.effect_map(change, data["arm"], contrast, covariates)
        np.testing.assert_allclose(found, mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": ["active", "sham"] * 7}, r"arm holds \['sham'\]; expected 'active' or 'control'"),
        ({"arm": ["active"] * 13 + ["control"]}, "13 active and 1 control participants"),
        ({"contrast": "arm_by_week"}, "contrast 'arm_by_week' is unknown"),
        ({"covariates": np.ones((13, 1))}, "covariates: 13 rows, expected 14"),
        ({"covariates": pd.DataFrame({"age": [np.nan] + [40] * 13})}, r"\['age'\] have missing"),
        ({"covariates": np.tile([[1.0], [0.0]], (7, 1))}, "arm is a combination of covariates"),
        ({"strata": list("ab")}, "strata: 2 rows, expected 14"),
    ],
)
def test_a_design_that_cannot_be_is_refused(trial, change, message):
    data, _ = trial
    arguments = {"change": data["change"], "arm": data["arm"]} | change
    with pytest.raises(ValueError, match=message):
        receptors_effects.effect_map(**arguments)


def test_a_participant_without_a_parcel_that_others_have_is_named(trial):
    data, _ = trial
    change = data["change"].copy()
    change[:, 2] = np.nan
    assert np.isnan(receptors_effects.effect_map(change, data["arm"])[2])
    change[5, 9] = np.nan
    with pytest.raises(ValueError, match=r"rows \[5\] lack parcels .*columns \[9\]"):
        receptors_effects.effect_map(change, data["arm"])


# --- tests of the correlation ---


def _small(trial, n=8):
    data, covariates = trial
    arm = np.tile(["active", "control"], n // 2)
    return data["change"][:n], arm, data["receptors"], covariates[:n]


def test_exhaustive_randomisation_equals_enumeration(trial):
    change, arm, maps, _ = _small(trial)
    found = nulls.randomisation_test(change, arm, maps, n_permutations=100)
    r = []
    for chosen in itertools.combinations(range(8), 4):
        active = np.isin(np.arange(8), chosen)
        r.append(correlation.correlate(change[active].mean(0) - change[~active].mean(0), maps)[0])
    r = np.abs(r)
    observed = np.abs(found.r)
    assert found.exhaustive
    assert found.null.shape == (69, 4)
    np.testing.assert_allclose(found.p, (r >= observed - 1e-9).sum(axis=0) / 70)
    largest = r.max(axis=1)[:, None]
    np.testing.assert_allclose(found.p_fwe, (largest >= observed - 1e-9).sum(axis=0) / 70)


def test_a_common_shift_of_everybody_changes_nothing_between_arms(trial):
    """It would, were the intercept not among the nuisance columns."""
    data, _ = trial
    shift = 50 * np.random.default_rng(2).random(30)
    plain, shifted = (
        nulls.randomisation_test(
            data["change"] + extra, data["arm"], data["receptors"], n_permutations=50
        )
        for extra in (0, shift)
    )
    np.testing.assert_allclose(plain.null, shifted.null, atol=1e-9)
    np.testing.assert_array_equal(plain.p, shifted.p)


def test_exhaustive_sign_flips_equal_enumeration(trial):
    change, arm, maps, _ = _small(trial)
    found = nulls.randomisation_test(change, arm, maps, "active_change", n_permutations=15)
    active = change[arm == "active"]
    signs = np.array(list(itertools.product((1, -1), repeat=4)))
    r = np.abs(correlation.correlate(signs @ active / 4, maps))
    assert found.exhaustive
    np.testing.assert_allclose(found.p, (r >= np.abs(found.r) - 1e-9).sum(axis=0) / 16)


def test_sampled_randomisation_approaches_the_exhaustive_one(trial):
    data, _ = trial
    exact, sampled = (
        nulls.randomisation_test(**data, n_permutations=n_permutations)
        for n_permutations in (3431, 3430)  # 14 choose 7 is 3432
    )
    assert exact.exhaustive
    assert not sampled.exhaustive
    np.testing.assert_allclose(sampled.p, exact.p, atol=4 * np.sqrt(0.25 / 3430))


def test_sampled_p_never_reaches_zero_and_repeats_from_its_seed(trial):
    data, _ = trial
    strong = data["change"] + 3 * np.outer(data["arm"] == "active", data["receptors"][0])
    arguments = (strong, data["arm"], data["receptors"])
    found = nulls.randomisation_test(*arguments, n_permutations=99, seed=4)
    assert not found.exhaustive
    assert found.p[0] == pytest.approx(0.01)
    assert found.r[0] > 0.9
    assert (found.p_fwe >= found.p).all()
    again = nulls.randomisation_test(*arguments, n_permutations=99, seed=4)
    np.testing.assert_array_equal(found.null, again.null)


def test_spatial_test_counts_surrogates(trial):
    data, _ = trial
    effect = data["change"][0]
    surrogates = np.random.default_rng(0).permuted(np.tile(effect, (199, 1)), axis=1)
    found = nulls.spatial_test(effect, data["receptors"], surrogates)
    scored = correlation.gaussianise(data["receptors"])
    null = np.abs(np.corrcoef(np.vstack([surrogates, scored]))[:199, 199:])  # not ranked again
    np.testing.assert_allclose(found.p, (1 + (null >= np.abs(found.r)).sum(axis=0)) / 200)
    biggest = null.max(axis=1)
    expected = [(1 + (biggest >= abs(value)).sum()) / 200 for value in found.r]
    np.testing.assert_allclose(found.p_fwe, expected)


def test_parametric_p_is_scipys():
    x, y = np.random.default_rng(4).standard_normal((2, 20))
    r, p = stats.pearsonr(x, y)
    assert nulls.parametric_p(r, 20) == pytest.approx(p)
    assert nulls.parametric_p(1.0, 20) == 0


def test_randomisation_p_is_uniform_when_treatment_does_nothing():
    """200 null trials with smooth maps; the parametric p of the same maps is far too small."""
    rng = np.random.default_rng(12)
    position = rng.uniform(0, 100, 40)
    smooth = np.linalg.cholesky(
        np.exp(-np.abs(position[:, None] - position) / 60) + 1e-9 * np.eye(40)
    )
    arm = np.tile([1, 0], 8)
    rejected, parametric = 0, 0
    for seed in range(200):
        change = rng.standard_normal((16, 40)) @ smooth.T
        receptor = smooth @ rng.standard_normal(40)
        found = nulls.randomisation_test(change, arm, receptor, n_permutations=99, seed=seed)
        rejected += found.p[0] <= 0.05
        parametric += nulls.parametric_p(found.r[0], 40) <= 0.05
    assert rejected <= stats.binom.ppf(0.999, 200, 0.05)
    assert parametric > 60
