"""Two proportions: limits and p of one score test, against published and independent values."""

import itertools

import numpy as np
import pytest
from scipy import optimize, stats
from statsmodels.stats.proportion import confint_proportions_2indep

from analysis_lib.clinical import proportions
from analysis_lib.clinical.proportions import compare_proportions, number_needed

RATIOS = {"risk_ratio": ("rr_ci_low", "rr_ci_high"), "odds_ratio": ("or_ci_low", "or_ci_high")}


def tables(sizes):
    for n in sizes:
        yield from ((events, n) for events in itertools.product(*(range(k + 1) for k in n)))


def test_limits_and_p_disagree_in_no_table_of_up_to_12_and_12(monkeypatch):
    measures = {proportions.DIFFERENCE: proportions.MEASURES[proportions.DIFFERENCE]}
    monkeypatch.setattr(proportions, "MEASURES", measures)  # the ratios: the next test
    sizes = list(itertools.combinations_with_replacement(range(1, 13), 2))
    found = [compare_proportions(*one) for one in tables(sizes)]
    assert len(found) == 4459
    for row in found:
        assert (row["ci_low"] > 0 or row["ci_high"] < 0) == (row["p"] < 0.05)
        assert -1 <= row["ci_low"] <= row["risk_difference"] <= row["ci_high"] <= 1


def test_ratios_of_all_tables_of_12_and_12_agree_with_p():
    for events, n in tables([(12, 12)]):
        row = compare_proportions(events, n)
        for name, (low, high) in RATIOS.items():
            if np.isfinite(row[low]):
                assert (row[low] > 1 or row[high] < 1) == (row["p"] < 0.05)
                assert 0 <= row[low] <= row[name] <= row[high]
            else:
                assert events in ((0, 0), (12, 12))


def test_exchanged_arms_exchange_the_limits():
    row, mirrored = compare_proportions([7, 3], [12, 10]), compare_proportions([3, 7], [10, 12])
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        (-mirrored["ci_high"], -mirrored["ci_low"])
    )
    assert row["rr_ci_low"] == pytest.approx(1 / mirrored["rr_ci_high"])
    assert row["or_ci_high"] == pytest.approx(1 / mirrored["or_ci_low"])
    assert row["p"] == pytest.approx(mirrored["p"])


@pytest.mark.parametrize(
    ("events", "n", "low", "high"),
    [  # Newcombe 1998, Stat Med 17:873-890, table II, Miettinen and Nurminen's method
        ((56, 48), (70, 80), 0.0528, 0.3382),
        ((9, 3), (10, 10), 0.1700, 0.8406),
        ((6, 2), (7, 7), 0.0342, 0.8534),
        ((5, 0), (56, 29), -0.0326, 0.1933),
        ((0, 0), (10, 20), -0.1658, 0.2844),
        ((0, 0), (10, 10), -0.2879, 0.2879),
        ((10, 0), (10, 20), 0.7156, 1.0),
        ((10, 0), (10, 10), 0.6636, 1.0),
    ],
)
def test_limits_of_the_difference_are_the_published_ones(events, n, low, high):
    row = compare_proportions(events, n)
    assert (round(row["ci_low"], 4), round(row["ci_high"], 4)) == (low, high)


@pytest.mark.parametrize(
    ("events", "n"), [((9, 3), (10, 10)), ((5, 8), (12, 17)), ((2, 1), (9, 6))]
)
def test_limits_of_ratios_are_those_of_statsmodels(events, n):
    row = compare_proportions(events, n)
    for name, (low, high) in RATIOS.items():
        measure = {"risk_ratio": "ratio", "odds_ratio": "odds-ratio"}[name]
        pair = [value for both in zip(events, n, strict=True) for value in both]
        theirs = confint_proportions_2indep(*pair, method="score", compare=measure)
        assert (row[low], row[high]) == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    ("events", "n"), [((7, 3), (12, 12)), ((0, 4), (8, 12)), ((11, 12), (12, 12))]
)
def test_at_a_limit_the_score_by_numerical_maximisation_is_critical(events, n):
    """Their restricted maximum likelihood, by search instead of the paper's cubic."""
    row = compare_proportions(events, n)
    for limit in (row["ci_low"], row["ci_high"]):

        def minus_loglik(q, d=limit):
            p = np.array([q + d, q])
            return -(stats.binom.logpmf(events, n, np.clip(p, 0, 1))).sum()

        bounds = (max(0, -limit), min(1, 1 - limit))
        q = optimize.minimize_scalar(minus_loglik, bounds=bounds, options={"xatol": 1e-12}).x
        p, total = np.array([q + limit, q]), sum(n)
        variance = (p * (1 - p) / n).sum() * total / (total - 1)
        z = (events[0] / n[0] - events[1] / n[1] - limit) / np.sqrt(variance)
        assert abs(z) == pytest.approx(1.959964, rel=1e-4)


def test_p_is_pearsons_with_n_less_1():
    row = compare_proportions([9, 3], [14, 11])
    table = [[9, 5], [3, 8]]
    pearson = stats.chi2_contingency(table, correction=False).statistic
    assert row["p"] == pytest.approx(stats.chi2.sf(pearson * 24 / 25, 1))
    assert compare_proportions([0, 0], [5, 7])["p"] == 1


def test_uncertainty_of_imputation_widens_limits_and_raises_p_together():
    plain = compare_proportions([9, 3], [14, 14])
    wide = compare_proportions([9, 3], [14, 14], inflation=1.5, df=20)
    z = stats.norm.isf(plain["p"] / 2) / np.sqrt(1.5)
    assert wide["p"] == pytest.approx(2 * stats.t.sf(z, 20))
    assert wide["ci_low"] < plain["ci_low"] < plain["ci_high"] < wide["ci_high"]
    assert wide["risk_difference"] == plain["risk_difference"]
    critical = compare_proportions([9, 3], [14, 14], (z * np.sqrt(1.5) / 1.959964) ** 2)
    assert critical["p"] == pytest.approx(0.05, abs=1e-6)
    assert critical["ci_low"] == pytest.approx(0, abs=1e-6)


def test_an_empty_arm_has_no_comparison_and_0_of_0_no_ratio():
    assert np.isnan(list(compare_proportions([3, 0], [5, 0]).values())).all()
    row = compare_proportions([3, 0], [5, 4])
    assert (row["risk_ratio"], row["rr_ci_high"], row["odds_ratio"]) == (np.inf,) * 3


def test_an_interval_of_numbers_needed_passes_through_infinity():
    """Altman 1998: 0.05 (-0.083 to 0.2) is NNTB 20 (NNTB 5 to infinity to NNTH 12)."""
    found = number_needed(0.05, -1 / 12, 0.2)
    assert found == pytest.approx({"nnt": 20, "nnt_ci_low": 5, "nnt_ci_high": -12})
    assert number_needed(0.0, -0.1, 0.1)["nnt"] == np.inf
