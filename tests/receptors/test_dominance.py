"""Dominance analysis: published values, one regression a model, and closed forms."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import LinearRegression

from analysis_lib.receptors.dominance_analysis import cross_validated_r, dominance, dominance_test

CRITERIA = ("adjusted_r2", "r2")


@pytest.fixture(scope="module")
def regions():
    """Five correlated receptors and an outcome in 40 named regions."""
    rng = np.random.default_rng(11)
    mixed = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 5))
    names = [f"region {i}" for i in range(40)]
    x = pd.DataFrame(100 + 30 * mixed, names, ["D1", "D2", "DAT", "NET", "MOR"])
    y = pd.Series(0.02 * x["D1"] - 0.01 * x["NET"] + rng.standard_normal(40), names)
    return x, y


def fit(x, y, criterion):
    """The criterion of one model, by least squares."""
    if x.shape[1] == 0:
        return 0.0
    design = np.column_stack([np.ones(len(x)), x])
    residual = y - design @ np.linalg.lstsq(design, y)[0]
    r2 = 1 - residual @ residual / ((y - y.mean()) ** 2).sum()
    n, p = x.shape
    return r2 if criterion == "r2" else 1 - (1 - r2) * (n - 1) / (n - p - 1)


def brute_force(x, y, criterion):
    """Total dominance from its definition: one regression a model."""
    p = x.shape[1]
    total = np.zeros(p)
    for j in range(p):
        others = [k for k in range(p) if k != j]
        by_size = [
            np.mean(
                [
                    fit(x[:, [*subset, j]], y, criterion) - fit(x[:, list(subset)], y, criterion)
                    for subset in itertools.combinations(others, size)
                ]
            )
            for size in range(p)
        ]
        total[j] = np.mean(by_size)
    return total


@pytest.mark.parametrize("disorder", ["depression", "adhd"])
def test_total_dominance_is_that_of_hansen_2022(reference_data, disorder):
    folder = reference_data / "reference" / "hansen2022"
    x, y, published = (
        pd.read_csv(folder / name, sep="\t", index_col=0)
        for name in ("receptor_density_dk68.tsv", "enigma_cohens_d_dk68.tsv", "total_dominance.tsv")
    )
    found = dominance(x, y[disorder])
    pd.testing.assert_series_equal(
        found.total, published.loc[disorder], check_names=False, rtol=0, atol=1e-9
    )
    assert found.total.sum() == pytest.approx(found.adjusted_r2, abs=1e-12)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("p", [2, 4, 5])
def test_total_dominance_is_the_mean_increase_over_all_models(regions, p, criterion):
    x, y = regions[0].iloc[:, :p], regions[1]
    found = dominance(x, y, criterion)
    expected = brute_force(x.to_numpy(), y.to_numpy(), criterion)
    np.testing.assert_allclose(found.total, expected, atol=1e-12)
    assert list(found.total.index) == list(x.columns)


def test_shares_sum_to_the_full_model(regions):
    x, y = regions
    adjusted, plain = (dominance(x, y, criterion) for criterion in CRITERIA)
    assert adjusted.total.sum() == pytest.approx(fit(x.to_numpy(), y.to_numpy(), "adjusted_r2"))
    assert plain.total.sum() == pytest.approx(fit(x.to_numpy(), y.to_numpy(), "r2"))
    assert adjusted.adjusted_r2 == plain.adjusted_r2 < adjusted.r2 == plain.r2
    assert adjusted.percent.sum() == pytest.approx(100)
    assert (plain.total > 0).all()


def test_a_single_predictor_has_its_squared_correlation(regions):
    x, y = regions
    r2 = np.corrcoef(x["D1"], y)[0, 1] ** 2
    assert dominance(x[["D1"]], y, "r2").total["D1"] == pytest.approx(r2)
    assert dominance(x[["D1"]], y).total["D1"] == pytest.approx(1 - (1 - r2) * 39 / 38)


def test_orthogonal_predictors_keep_their_own_squared_correlation():
    basis = np.linalg.qr(np.column_stack([np.ones(30), np.random.default_rng(2).random((30, 4))]))
    x = pd.DataFrame(basis[0][:, 1:4], columns=list("abc"))
    y = basis[0][:, 1:5] @ [2.0, 1.0, 0.5, 1.0]
    expected = np.array([4, 1, 0.25]) / 6.25
    np.testing.assert_allclose(dominance(x, y, "r2").total, expected, atol=1e-12)


def test_units_and_order_do_not_matter_and_regions_are_matched_by_name(regions):
    x, y = regions
    found = dominance(x, y).total
    other = dominance(x[x.columns[::-1]] * 7 - 3, 5 - 2 * y.sample(frac=1, random_state=1)).total
    np.testing.assert_allclose(other[x.columns], found, atol=1e-12)
    np.testing.assert_allclose(dominance(x, y.to_numpy()).total, found, atol=1e-15)


def test_a_model_that_explains_nothing_has_no_percentages(regions):
    x = regions[0]
    residual = np.random.default_rng(0).standard_normal(40)
    design = np.column_stack([np.ones(40), x])
    residual -= design @ np.linalg.lstsq(design, residual)[0]
    found = dominance(x, residual)
    assert found.adjusted_r2 < 0
    assert found.percent.isna().all()


def test_collinear_predictors_are_named(regions):
    x, y = regions
    x = x.assign(sum=2 * x["D1"] + x["MOR"])
    with pytest.raises(ValueError, match=r"\['D1', 'MOR', 'sum'\] are collinear"):
        dominance(x, y)


def test_missing_values_are_refused_by_region(regions):
    x, y = regions
    holed = x.copy()
    holed.loc["region 7", "DAT"] = np.nan
    with pytest.raises(ValueError, match=r"DAT has no finite value in regions \['region 7'\]"):
        dominance(holed, y)
    with pytest.raises(ValueError, match=r"outcome has no finite value in regions \['region 2'\]"):
        dominance(x, y.where(y.index != "region 2"))


def test_other_bad_input_is_refused(regions):
    x, y = regions
    with pytest.raises(ValueError, match=r"same regions.*only one of them has \['region 0'\]"):
        dominance(x, y.iloc[1:])
    with pytest.raises(ValueError, match=r"outcome has shape \(39,\), predictors have 40 regions"):
        dominance(x, y.to_numpy()[1:])
    with pytest.raises(ValueError, match=r"\['flat'\] have one value in every region"):
        dominance(x.assign(flat=3.0), y)
    with pytest.raises(ValueError, match="6 regions are too few for 5 predictors"):
        dominance(x.iloc[:6], y.iloc[:6])
    with pytest.raises(ValueError, match="criterion 'aic' is unknown"):
        dominance(x, y, "aic")
    with pytest.raises(ValueError, match="1 to 25 predictors expected, found 26"):
        dominance(np.random.default_rng(0).random((40, 26)), y.to_numpy())


def test_p_counts_surrogates_that_reach_the_observed_value(regions):
    """130 surrogates fill more than two blocks; each equals an analysis of its own."""
    x, y = regions
    surrogates = np.random.default_rng(3).permuted(np.tile(y, (130, 1)), axis=1)
    found = dominance_test(x, y, surrogates)
    each = [dominance(x, outcome) for outcome in surrogates]
    totals = np.array([one.total for one in each])
    np.testing.assert_allclose(found.null_total, totals, atol=1e-12)
    np.testing.assert_allclose(found.null_adjusted_r2, [one.adjusted_r2 for one in each])
    observed = found.observed
    assert found.p_model == (1 + (found.null_adjusted_r2 >= observed.adjusted_r2).sum()) / 131
    for name in x:
        reached = (found.null_total[name] >= observed.total[name]).sum()
        assert found.p[name] == (1 + reached) / 131
        assert found.p_fwe[name] >= found.p[name]
    assert found.p.min() < 0.05 < found.p.max()


def test_p_of_the_observed_map_itself_is_one(regions):
    x, y = regions
    found = dominance_test(x, y, np.tile(3 * y + 1, (9, 1)))
    assert found.p_model == 1
    assert (found.p == 1).all()


def test_p_is_uniform_when_the_outcome_is_noise(regions):
    x = regions[0]
    noise = np.random.default_rng(8).standard_normal((400, 99 + 1, 40))
    tests = [dominance_test(x, draw[0], draw[1:]) for draw in noise]
    for p in (np.array([t.p_model for t in tests]), np.array([t.p["D1"] for t in tests])):
        assert abs((p <= 0.2).mean() - 0.2) < 3.3 * np.sqrt(0.2 * 0.8 / 400)


def test_cross_validation_trains_near_a_seed_and_tests_far_from_it(regions):
    x, y = regions
    points = np.random.default_rng(4).uniform(0, 100, (40, 3))
    distances = cdist(points, points)
    found = cross_validated_r(x, y, distances)
    assert list(found.index) == list(x.index)
    for seed in (0, 17):
        order = np.argsort(distances[seed])
        train, test = order[:30], order[30:]
        model = LinearRegression().fit(x.iloc[train], y.iloc[train])
        for column, rows in (("train_r", train), ("test_r", test)):
            expected = np.corrcoef(model.predict(x.iloc[rows]), y.iloc[rows])[0, 1]
            assert found[column].iloc[seed] == pytest.approx(expected)


def test_cross_validation_refuses_what_leaves_too_little(regions):
    x, y = regions
    with pytest.raises(ValueError, match="gives 4 of 40 regions to train 5 predictors"):
        cross_validated_r(x, y, np.zeros((40, 40)), train_share=0.1)
