"""Multiple imputation: against SAS, R (gls, rbmi), ANCOVA, closed forms and limits."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from analysis_lib.clinical import imputation, rating_patterns
from analysis_lib.clinical import posterior as clinical_posterior
from analysis_lib.clinical import tipping as clinical_tipping
from trialmmrm import fit_mmrm

VISITS = ["week1", "week2", "week3"]


def made_up_trial(n=40, seed=3, effect=-2.0, gaps=True):
    """Rows of a trial of two arms of n, three visits; a third withdraws when there are gaps."""
    rng = np.random.default_rng(seed)
    baseline = rng.normal(22, 4, 2 * n)
    active = np.arange(2 * n) % 2 == 0
    mean = -2.0 * np.arange(1, 4) - 0.3 * (baseline[:, None] - 22) + effect * active[:, None]
    covariance = 9 * (0.5 + 0.5 * np.eye(3))
    wide = mean + rng.multivariate_normal(np.zeros(3), covariance, 2 * n)
    if gaps:
        last = rng.choice([1, 2, 3], 2 * n, p=[0.15, 0.2, 0.65])
        wide[np.arange(3) >= last[:, None]] = np.nan
    return long_rows(wide, active, baseline)


def long_rows(wide, active, baseline):
    visits = [f"week{j + 1}" for j in range(wide.shape[1])]
    table = pd.DataFrame(wide, columns=visits)
    table["participant_id"] = [f"sub-{i:03d}" for i in range(len(wide))]
    table["arm"] = np.where(active, "active", "control")
    table["baseline"] = baseline
    keys = ["participant_id", "arm", "baseline"]
    rows = table.melt(keys, var_name="visit", value_name="outcome").dropna(subset=["outcome"])
    return rows.assign(visit=pd.Categorical(rows["visit"], visits, ordered=True))


def last_rated(rows):
    """Number of visits up to the last rated one: the event of those who have no later one."""
    return rows.groupby("participant_id")["visit"].agg(lambda v: v.cat.codes.max() + 1)


def fit_leavers(rows, baselines=None, *arguments, **options):
    """Fit the imputation model; participants stopped treatment after their last rating."""
    n_before = last_rated(rows)
    if baselines is not None:
        n_before = n_before.reindex(baselines["participant_id"].unique(), fill_value=0)
    return imputation.fit_imputation(rows, baselines, *arguments, n_before=n_before, **options)


@pytest.fixture(scope="module")
def trial():
    """A made-up trial, fitted once."""
    return fit_leavers(made_up_trial(), n_imputations=200, seed=4)


@pytest.fixture(scope="module")
def antidepressant(reference_data):
    """HAMD-17 of the antidepressant trial: visits 4 to 7, 84 drug, 88 placebo."""
    rows = pd.read_csv(reference_data / "data/trials/antidepressant/antidepressant_data.csv")
    visit = pd.Categorical(rows["VISIT"].astype(str), list("4567"), ordered=True)
    return pd.DataFrame(
        {
            "participant_id": rows["PATIENT"].astype(str),
            "arm": rows["THERAPY"].map({"DRUG": "active", "PLACEBO": "control"}),
            "visit": visit,
            "baseline": rows["BASVAL"],
            "outcome": rows["CHANGE"],
        }
    )


@pytest.fixture(scope="module")
def many(antidepressant):
    """5,000 imputations of it, one covariance matrix."""
    return fit_leavers(antidepressant, n_imputations=5000, seed=1)


@pytest.fixture(scope="module")
def at_visit_7(many):
    return imputation.imputation_table(many, visits=["7"]).set_index("analysis")


def known_parameters(outcomes, coefficients, covariances, n_draws=1):
    """A posterior that is one point."""
    return clinical_posterior.Posterior(
        np.repeat(np.asarray(coefficients, float)[None], n_draws, axis=0),
        np.repeat(np.asarray(covariances, float)[None], n_draws, axis=0),
        None,
    )


def estimate_at_reml(changes, strategy):
    """Effect at each visit with missing outcomes at their conditional means, REML parameters."""
    outcomes = rating_patterns.outcome_table(changes, n_before=last_rated(changes))
    sigma = clinical_posterior.reml_covariance(outcomes)
    beta, _, _ = clinical_posterior._gls(
        outcomes, rating_patterns.group_by_pattern(outcomes), sigma
    )
    posterior = known_parameters(outcomes, beta, sigma)
    normal = np.zeros((1, *outcomes.values.shape))
    completed = imputation.impute(outcomes, posterior, normal, strategy)
    columns = np.moveaxis(completed, 2, 0)
    return [imputation.ancova_completed(outcomes, values)[0][0] for values in columns]


def reml_deviance(outcomes, sigma):
    """-2 restricted log-likelihood up to a constant, one participant at a time."""
    information, right, total = 0, 0, 0
    n_visits = len(outcomes.visits)
    for x, y in zip(outcomes.design, outcomes.values, strict=True):
        seen = ~np.isnan(y)
        v = sigma[np.ix_(seen, seen)]
        design, solved = np.kron(x, np.eye(n_visits))[seen], np.linalg.inv(v)
        information = information + design.T @ solved @ design
        right = right + design.T @ solved @ y[seen]
        total += y[seen] @ solved @ y[seen] + np.linalg.slogdet(v)[1]
    total += np.linalg.slogdet(information)[1]
    return total - right @ np.linalg.solve(information, right)


# --- published results ----------------------------------------------------------------------------


def test_agrees_with_sas_multiple_imputation(at_visit_7, reference_data):
    # The SAS program gives the macros no covariance group: one matrix for both arms.
    sas = pd.read_csv(reference_data / "reference/clinical/antidepressant_sas.tsv", sep="\t")
    sas = sas[sas["analysis"].str.startswith("multiple imputation")].reset_index(drop=True)
    for strategy, (_, row) in zip(("mar", "copy_reference"), sas.iterrows(), strict=True):
        ours = at_visit_7.loc[strategy]
        error = 3 * np.hypot(ours["monte_carlo_se"], 0.004)  # theirs: as the file states
        assert ours["estimate"] == pytest.approx(row["drug_minus_placebo"], abs=error)
    mar = at_visit_7.loc["mar"]
    assert mar["se"] == pytest.approx(1.11445, rel=0.01)
    assert mar["df"] == pytest.approx(144.2, abs=1.5)
    assert mar["p"] == pytest.approx(0.0132, abs=0.0015)


def test_reml_is_a_stationary_point(antidepressant):
    outcomes = rating_patterns.outcome_table(antidepressant)
    best = clinical_posterior.reml_covariance(outcomes)
    least = reml_deviance(outcomes, best)
    rng = np.random.default_rng(0)
    for _ in range(5):
        step = rng.normal(0, 0.01, best.shape) * best.mean()
        step = step + step.T
        up, down = (reml_deviance(outcomes, best + sign * step) for sign in (1, -1))
        assert min(up, down) > least
        assert abs(up - down) < 0.3 * (up + down - 2 * least)  # no slope, only curvature


def test_jump_to_reference_equals_rbmi_conditional_means(antidepressant):
    # rbmi's vignette "Inference with Conditional Mean Imputation", JR, common covariance: the
    # effect at visits 4 to 7, placebo - drug, without Monte-Carlo error.
    estimates = estimate_at_reml(antidepressant, "jump_to_reference")
    np.testing.assert_allclose(estimates, [0.092, -1.305, -1.929, -2.126], atol=0.0006)


def test_jump_to_reference_agrees_with_rbmi_bayesian_imputation(at_visit_7):
    # rbmi's vignette "Quickstart", JR, 150 draws: 2.178, se 1.108 (an earlier version of the
    # vignette, another seed: 2.106, se 1.130); their Monte-Carlo se is about 0.03.
    ours = at_visit_7.loc["jump_to_reference"]
    assert ours["estimate"] == pytest.approx(-2.106, abs=0.1)
    assert ours["estimate"] == pytest.approx(-2.178, abs=0.1)
    assert ours["se"] == pytest.approx((1.108 + 1.130) / 2, rel=0.02)


def test_strategies_differ_from_mar_as_in_the_five_macros(at_visit_7):
    # CAMIS (PSI/PHUSE), reference-based imputation in SAS, 5,000 draws: MAR -2.825, CR -2.400, J2R
    # -2.144, CIR -2.481. Its model has sex beside baseline, so only differences are compared.
    published = {"copy_reference": 0.425, "jump_to_reference": 0.681, "copy_increments": 0.344}
    for strategy, difference in published.items():
        ours = at_visit_7.loc[strategy, "estimate"] - at_visit_7.loc["mar", "estimate"]
        assert ours == pytest.approx(difference, abs=0.025)


def test_mar_imputation_is_close_to_the_mixed_model(at_visit_7):
    mar = at_visit_7.loc["mar"]
    assert mar["estimate"] == pytest.approx(-2.8018, abs=3 * mar["monte_carlo_se"])
    assert at_visit_7["estimate"].idxmax() == "jump_to_reference"  # the nearest to 0


def test_reml_estimate_equals_r_gls(antidepressant, reference_data):
    gls = pd.read_csv(
        reference_data / "reference/clinical/mmrm_antidepressant_hamd17.tsv", sep="\t"
    )
    outcomes = rating_patterns.outcome_table(antidepressant)
    patterns = rating_patterns.group_by_pattern(outcomes)
    beta, uncertainty, _ = clinical_posterior._gls(
        outcomes, patterns, clinical_posterior.reml_covariance(outcomes)
    )
    np.testing.assert_allclose(beta[2], gls["estimate"], rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(uncertainty[2, :, 2])), gls["se"], rtol=1e-4)


# --- limits ---------------------------------------------------------------------------------------


def test_complete_data_give_ancova_exactly():
    rows = made_up_trial(gaps=False)
    model = fit_leavers(rows, n_imputations=20)
    table = imputation.imputation_table(model)
    for row in table.itertuples():
        fit = smf.ols(
            "outcome ~ baseline + C(arm, Treatment('control'))", rows[rows["visit"] == row.visit]
        ).fit()
        name = fit.params.index[1]
        found = [row.estimate, row.se, row.df, row.t, row.p, row.ci_low, row.ci_high]
        expected = [fit.params[name], fit.bse[name], fit.df_resid, fit.tvalues[name]]
        expected += [fit.pvalues[name], *fit.conf_int().loc[name]]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (table["fraction_missing_information"] == 0).all()
    assert len(table) == 3 * len(imputation.STRATEGIES)


def test_a_visit_that_all_attended_is_not_imputed(trial):
    first = imputation.imputation_table(trial, visits=["week1"])
    assert first["estimate"].nunique() == 1
    assert (first["monte_carlo_se"] == 0).all()


def test_posterior_of_a_complete_visit_is_the_ols_distribution():
    # With this prior the posterior variance of the arm effect is exactly the squared OLS error.
    rows = made_up_trial(n=10, gaps=False)
    rows = rows[rows["visit"] == "week1"]
    rows = rows.assign(visit=rows["visit"].cat.remove_unused_categories())
    outcomes = rating_patterns.outcome_table(rows)
    effects = clinical_posterior.draw_posterior(outcomes, 4000, seed=2).coefficients[:, 2, 0]
    estimate, variance, _ = imputation.ancova_completed(outcomes, outcomes.values.T)
    assert effects.mean() == pytest.approx(estimate[0], abs=4 * np.sqrt(variance[0] / 4000))
    assert effects.var() == pytest.approx(variance[0], rel=0.12)


def test_inverse_wishart_is_scipys():
    scale = np.array([[4.0, 1.0], [1.0, 2.0]])
    draws = clinical_posterior.inverse_wishart(
        12, np.repeat(scale[None], 20000, axis=0), np.random.default_rng(0)
    )
    # The inverse is Wishart, whose moments have less Monte-Carlo error.
    wishart = stats.wishart(12, np.linalg.inv(scale))
    np.testing.assert_allclose(np.linalg.inv(draws).mean(axis=0), wishart.mean(), rtol=0.02)
    np.testing.assert_allclose(np.linalg.inv(draws).var(axis=0), wishart.var(), rtol=0.06)
    assert stats.kstest(draws[:, 0, 0], stats.invgamma(11 / 2, scale=2).cdf).pvalue > 0.001


def test_chains_mix(many):
    mixing = many.posterior.mixing
    assert mixing["r_hat"].between(0.99, 1.01).all()
    assert (mixing["effective_draws"] > 4500).all()


def test_short_sampling_warns_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(clinical_posterior, "MAX_R_HAT", 0.9)
    with pytest.warns(RuntimeWarning, match="R-hat of at most 0.9 expected.*Raise BURN_IN"):
        fit_leavers(made_up_trial(), n_imputations=40)


# --- the strategies in closed form ----------------------------------------------------------------

OWN, REFERENCE = np.array([[[1.0, 3.0, 8.0]]]), np.array([[[2.0, 7.0, 4.0]]])


@pytest.mark.parametrize(
    ("strategy", "n_before", "mean"),
    [
        ("mar", 1, [1, 3, 8]),
        ("jump_to_reference", 1, [1, 7, 4]),
        ("jump_to_reference", 2, [1, 3, 4]),
        ("copy_reference", 1, [2, 7, 4]),
        ("copy_increments", 1, [1, 6, 3]),
        ("copy_increments", 2, [1, 3, 0]),
        *((strategy, 3, [1, 3, 8]) for strategy in imputation.STRATEGIES),
        *((strategy, 0, [2, 7, 4]) for strategy in imputation.STRATEGIES[1:]),
    ],
)
def test_joint_means_are_those_of_carpenter_roger_kenward(strategy, n_before, mean):
    found = imputation.expected_outcomes(strategy, n_before, OWN, REFERENCE)
    np.testing.assert_allclose(found[0, 0], mean)


def test_jump_to_reference_of_two_visits_in_closed_form():
    rows = made_up_trial()
    rows = rows[rows["visit"] != "week3"]
    rows = rows.assign(visit=rows["visit"].cat.remove_categories("week3"))
    outcomes = rating_patterns.outcome_table(rows, n_before=last_rated(rows))
    beta = [[-2, -4], [-0.3, -0.2], [-1, -3]]  # intercept, baseline, active; by visit
    posterior = known_parameters(outcomes, beta, [[5.0, 2.0], [2.0, 6.0]], n_draws=20000)
    normal = np.random.default_rng(0).standard_normal((20000, *outcomes.values.shape))
    drawn = imputation.impute(outcomes, posterior, normal, "jump_to_reference")
    who = np.flatnonzero(outcomes.active & outcomes.after_event[:, 1])[0]
    y, baseline = outcomes.values[who, 0], outcomes.design[who, 1]
    mean = -4 - 0.2 * baseline + 2 / 5 * (y - (-2 - 0.3 * baseline - 1))
    variance = 6 - 2 * 2 / 5  # given the first visit
    assert drawn[:, who, 1].mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 20000))
    assert drawn[:, who, 1].var() == pytest.approx(variance, rel=0.04)
    assert (drawn[:, who, 0] == y).all()


def test_every_strategy_is_mar_in_the_control_arm_and_leaves_ratings_alone(trial):
    outcomes = trial.outcomes
    mar = trial.complete("mar")
    assert not np.isnan(mar).any()
    for strategy in imputation.STRATEGIES[1:]:
        completed = trial.complete(strategy)
        np.testing.assert_array_equal(completed[:, ~outcomes.active], mar[:, ~outcomes.active])
        ratings = outcomes.values[outcomes.observed]
        assert (completed[:, outcomes.observed] == ratings).all()
        gone = outcomes.active[:, None] & outcomes.after_event
        assert (completed[:, gone] != mar[:, gone]).all()


def with_gap(rows, who, visit):
    return rows[(rows["participant_id"] != who) | (rows["visit"] != visit)]


@pytest.mark.parametrize("strategy", imputation.STRATEGIES[1:])
def test_a_gap_without_withdrawal_is_mar_in_every_strategy(strategy):
    rows = with_gap(made_up_trial(gaps=False), "sub-000", "week2")
    model = fit_leavers(rows, n_imputations=20)
    np.testing.assert_array_equal(model.complete(strategy), model.complete("mar"))


@pytest.mark.parametrize(
    ("strategy", "gap_is_mar"),
    [("jump_to_reference", True), ("copy_increments", True), ("copy_reference", False)],
)
def test_a_gap_before_withdrawal_is_as_in_rbmi(strategy, gap_is_mar):
    rows = made_up_trial(gaps=False)
    fourth = rows[rows["visit"] == "week3"].assign(visit="week4")
    fourth["outcome"] += np.random.default_rng(0).normal(0, 2, len(fourth))
    visits = pd.CategoricalDtype([*VISITS, "week4"], ordered=True)
    rows = pd.concat([rows.astype({"visit": str}), fourth]).astype({"visit": visits})
    rows = with_gap(with_gap(rows, "sub-000", "week2"), "sub-000", "week4")
    model = fit_leavers(rows, n_imputations=20)
    gap, after = (0, 1), (0, 3)
    ours, mar = model.complete(strategy), model.complete("mar")
    assert np.allclose(ours[:, *gap], mar[:, *gap]) == gap_is_mar
    assert not np.isclose(ours[:, *after], mar[:, *after]).any()


def test_a_participant_without_any_later_score_is_imputed():
    rows = made_up_trial()
    late = pd.DataFrame([{"participant_id": "sub-999", "arm": "active", "baseline": 30.0}])
    model = fit_leavers(rows, baselines=late, n_imputations=20)
    assert len(model.outcomes.participants) == rows["participant_id"].nunique() + 1
    normal = np.zeros((20, *model.outcomes.values.shape))
    own, reference = (
        imputation.impute(model.outcomes, model.posterior, normal, strategy)[:, -1]
        for strategy in ("mar", "jump_to_reference")
    )
    # Conditional means: those of a participant of that baseline; the arm effect is their distance.
    np.testing.assert_allclose(own - reference, model.posterior.coefficients[:, 2])


# --- the same numbers -----------------------------------------------------------------------------


def test_same_seed_same_numbers_whatever_the_order_of_rows(trial):
    rows = made_up_trial()
    before = rows.copy()
    shuffled = rows.sample(frac=1, random_state=0)
    again = fit_leavers(shuffled, n_imputations=200, seed=4)
    np.testing.assert_array_equal(again.complete("mar"), trial.complete("mar"))
    other = fit_leavers(rows, n_imputations=200, seed=5)
    assert (other.complete("mar") != trial.complete("mar")).any()
    pd.testing.assert_frame_equal(rows, before)


# --- pooling --------------------------------------------------------------------------------------


def test_pooling_by_hand():
    # W = 1, B = 1, m = 3: T = 1 + 4/3; share = 4/7; old df = 2 / share^2 = 6.125;
    # observed df = 21/23 x 20 x 3/7; fraction = (4/3 + 2/9.125) / (7/3).
    found = imputation.pool([1.0, 2.0, 3.0], [0.5, 1.0, 1.5], 20)
    observed = 21 / 23 * 20 * 3 / 7
    df = 6.125 * observed / (6.125 + observed)
    assert found["estimate"] == pytest.approx(2)
    assert found["se"] == pytest.approx(np.sqrt(7 / 3))
    assert found["df"] == pytest.approx(df)
    assert found["t"] == pytest.approx(2 / np.sqrt(7 / 3))
    assert found["p"] == pytest.approx(2 * stats.t(df).sf(2 / np.sqrt(7 / 3)))
    margin = stats.t(df).ppf(0.975) * np.sqrt(7 / 3)
    assert [found["ci_low"], found["ci_high"]] == pytest.approx([2 - margin, 2 + margin])
    assert found["fraction_missing_information"] == pytest.approx((4 / 3 + 2 / 9.125) / (7 / 3))
    assert found["monte_carlo_se"] == pytest.approx(np.sqrt(1 / 3))
    assert found["n_imputations"] == 3


def test_monte_carlo_error_is_the_spread_between_seeds(monkeypatch):
    rows = made_up_trial()
    short = {"BURN_IN": 30, "THINNING": 3, "MAX_R_HAT": np.inf}  # too short for R-hat to settle
    for name, value in short.items():
        monkeypatch.setattr(clinical_posterior, name, value)
    tables = [
        imputation.imputation_table(
            fit_leavers(rows, n_imputations=40, seed=seed),
            ["mar"],
            ["week3"],
        )
        for seed in range(15)
    ]
    table = pd.concat(tables)
    assert table["estimate"].std() == pytest.approx(table["monte_carlo_se"].mean(), rel=0.5)


# --- tipping point --------------------------------------------------------------------------------


def test_delta_0_is_mar_and_the_estimate_is_linear_in_delta(trial):
    tipping = clinical_tipping.tipping_point(trial, "week3", np.linspace(0, 8, 5), [-1.0, 0.0])
    mar = imputation.imputation_table(trial, ["mar"], ["week3"]).iloc[0]
    table = tipping.table
    zero = table[(table["delta_active"] == 0) & (table["delta_control"] == 0)].iloc[0]
    for column in ("estimate", "se", "df", "ci_low", "ci_high", "t", "p"):
        assert zero[column] == mar[column]
    # Closed form: the slope is the ANCOVA coefficient of "withdrawn from the active arm".
    outcomes = trial.outcomes
    shifted = (outcomes.active & outcomes.after_event[:, 2]).astype(float)
    slope = np.linalg.lstsq(outcomes.design, shifted, rcond=None)[0][2]
    own = table[table["delta_control"] == 0]
    np.testing.assert_allclose(own["estimate"] - mar["estimate"], slope * own["delta_active"])
    assert slope > 0.2
    # Controls who withdrew and did better make the active arm look worse.
    better = table[(table["delta_active"] == 0) & (table["delta_control"] == -1)].iloc[0]
    assert better["estimate"] > zero["estimate"]


def test_tipping_point_is_bracketed(trial):
    tips = clinical_tipping.tipping_point(trial, "week3", np.arange(0, 12.5, 0.5)).tips.iloc[0]
    assert tips["status"] == "tips"
    assert tips["p_before"] < 0.05 <= tips["p_tips"]
    assert tips["delta_tips"] - tips["delta_before"] == pytest.approx(0.5)
    assert tips["delta_before"] < tips["delta_interpolated"] <= tips["delta_tips"]
    fine = clinical_tipping.tipping_point(trial, "week3", [0, tips["delta_interpolated"]]).table
    assert fine["p"].iloc[1] == pytest.approx(0.05, abs=0.003)


def test_tipping_point_of_the_antidepressant_trial(many):
    tips = clinical_tipping.tipping_point(many, "7", np.arange(0, 6, 0.5)).tips.iloc[0]
    assert (tips["delta_before"], tips["delta_tips"]) == (2.0, 2.5)


def test_tipping_point_says_when_there_is_none(trial):
    short = clinical_tipping.tipping_point(trial, "week3", [0, 0.1]).tips.iloc[0]
    assert short["status"] == "does not tip"
    assert short["delta_before"] == 0.1
    assert np.isnan(short["delta_tips"])
    null = fit_leavers(made_up_trial(effect=0.0), n_imputations=40)
    nothing = clinical_tipping.tipping_point(null, "week3", [0, 5]).tips.iloc[0]
    assert nothing["status"] == "not significant at delta 0"


def test_tipping_point_goes_down_where_the_control_arm_did_better():
    model = fit_leavers(made_up_trial(effect=4.0), n_imputations=40)
    tips = clinical_tipping.tipping_point(model, "week3", np.arange(-12.0, 1.0)).tips.iloc[0]
    assert tips["status"] == "tips"
    assert tips["delta_tips"] < tips["delta_before"] <= 0


# --- patterns -------------------------------------------------------------------------------------


def test_missing_patterns_of_the_antidepressant_trial(antidepressant):
    table = rating_patterns.missing_patterns(antidepressant).set_index("pattern")
    assert table.index.tolist() == ["1111", "1110", "1011", "1100", "1000"]
    assert rating_patterns.pattern_visits(antidepressant)["visit"].tolist() == ["4", "5", "6", "7"]
    assert table.loc["1111", ["n_active", "n_control"]].tolist() == [63, 65]
    assert table.loc["1011", ["n_active", "n_control"]].tolist() == [1, 0]
    kinds = ["complete", "monotone", "intermittent", "monotone", "monotone"]
    assert table["missingness"].tolist() == kinds
    assert table[["n_active", "n_control"]].sum().tolist() == [84, 88]


def test_patterns_leave_out_a_visit_at_which_nobody_was_rated(antidepressant):
    rows = antidepressant.assign(
        outcome=antidepressant["outcome"].mask(antidepressant["visit"] == "5")
    )
    for given in (rows, rows.dropna(subset=["outcome"])):
        visits = rating_patterns.pattern_visits(given)
        assert visits.to_dict("list") == {"place": [1, 2, 3], "visit": ["4", "6", "7"]}
        patterns = rating_patterns.missing_patterns(given)
        assert patterns["pattern"].tolist() == ["111", "110", "100"]
        assert patterns["missingness"].tolist() == ["complete", "monotone", "monotone"]


def test_patterns_count_those_who_were_never_rated():
    late = pd.DataFrame([{"participant_id": "sub-999", "arm": "control", "baseline": 30.0}])
    last = rating_patterns.missing_patterns(made_up_trial(), late).iloc[-1]
    assert (last["pattern"], last["missingness"]) == ("000", "none rated")
    assert (last["n_active"], last["n_control"]) == (0, 1)


# --- refusals -------------------------------------------------------------------------------------


def copied_visit(rows):
    wide = rows.pivot(index="participant_id", columns="visit", values="outcome")
    copied = rows["participant_id"].map(wide["week1"])
    return rows.assign(outcome=rows["outcome"].mask(rows["visit"] == "week2", copied))


def few(rows, n):
    return rows[rows["participant_id"].isin([f"sub-{i:03d}" for i in range(n)])]


PROBLEMS = {
    "same baseline": (
        lambda rows: rows.assign(baseline=20.0),
        "visit week1: ratings that distinguish arm, baseline and what else",
    ),
    "constant visit": (
        lambda rows: rows.assign(outcome=rows["outcome"].mask(rows["visit"].eq("week2"), -3.0)),
        "all participants, visit week2: outcomes that vary between participants expected",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_refuses_and_says_what_to_do(name):
    spoil, message = PROBLEMS[name]
    rows = spoil(made_up_trial(gaps=False))
    with pytest.raises(ValueError, match=message):
        imputation.fit_imputation(rows, n_imputations=20)


def no_complete_participant(rows):
    early = rows["participant_id"].lt("sub-040")
    return rows[
        (rows["arm"] == "control")
        | rows["visit"].eq("week3")
        | rows["visit"].eq("week1") & early
        | rows["visit"].eq("week2") & ~early
    ]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda rows: few(rows, 5), "us: all participants: at least 6 rated participants expected"),
        (copied_visit, "us: visits week1, week2, week3: a covariance matrix of full rank expected"),
        (no_complete_participant, "us: active arm: at least one participant rated at every visit"),
    ],
)
def test_what_cannot_be_unstructured_is_imputed_with_a_simpler_covariance(spoil, reason):
    rows = spoil(made_up_trial(n=30))
    model = fit_leavers(rows, n_imputations=50)
    assert model.posterior.structure in ("toeph", "csh", "cs")
    assert reason in model.posterior.fallback_reason
    assert np.isfinite(imputation.imputation_table(model)["p"]).all()


def test_draws_of_a_simpler_covariance_pool_to_its_mixed_model():
    """Missing at random, imputation and the model of the same covariance agree."""
    rows = made_up_trial(n=60).assign(scale="X", kind="change")
    outcomes = rating_patterns.outcome_table(rows)
    fit = clinical_posterior._fit_patterned(outcomes, "for the test")
    drawn = clinical_posterior._draw_patterned(outcomes, fit, 1000, 0)
    model = imputation.Imputation(outcomes, drawn, 0)
    ours = imputation.imputation_table(model, ["mar"], ["week3"]).iloc[0]
    peer = fit_mmrm(
        rows.assign(arm=pd.Categorical(rows["arm"], ["control", "active"])),
        "outcome ~ baseline*visit + arm*visit",
        "participant_id",
        "visit",
        fit.covariance_structure,
    )
    theirs = peer.contrasts("arm").iloc[2]
    assert ours["estimate"] == pytest.approx(theirs["estimate"], abs=0.1 * theirs["se"])
    assert ours["se"] == pytest.approx(theirs["se"], rel=0.06)


def test_twelve_visits_are_imputed_as_they_are_modelled():
    rng = np.random.default_rng(0)
    wide = rng.normal(0, 2, (24, 1)) + rng.normal(0, 2, (24, 12))
    wide[np.arange(12) >= rng.choice([6, 12], 24)[:, None]] = np.nan
    rows = long_rows(wide, np.arange(24) % 2 == 0, rng.normal(22, 4, 24))
    model = fit_leavers(rows, n_imputations=20)
    assert model.posterior.fallback_reason.startswith("us: at most 10 visits expected")
    assert np.isfinite(model.complete("jump_to_reference")).all()


def ketamine(folder):
    """First period of the ketamine trial: MADRS before, at day 2 and day 10."""
    people = pd.read_csv(folder / "participants.tsv", sep="\t")
    people = people[people["group"].eq("MDD") & people["infusion_1"].notna()]
    scores = pd.read_csv(folder / "phenotype" / "phenotype.tsv", sep="\t")
    scores = scores.set_index(["participant_id", "session_id"])["MADRS_Total"]
    rows = []
    for who, first in people[["participant_id", "infusion_1"]].itertuples(index=False):
        arm = {"d": "active", "p": "control"}[first]
        for day in (2, 10):
            score = scores.get((who, f"ses-{first}{day}"), np.nan)
            rows.append((who, arm, f"day{day}", scores[who, "ses-b0"], score))
    table = pd.DataFrame(rows, columns=["participant_id", "arm", "visit", "baseline", "score"])
    table["visit"] = pd.Categorical(table["visit"], ["day2", "day10"], ordered=True)
    return table.assign(outcome=table["score"] - table["baseline"])


def test_delta_shifts_every_missing_score_also_before_a_later_rating(reference_data):
    """Ketamine trial, day 2: p = .010 at 12 points; by events that nobody had, nobody moves."""
    table = ketamine(reference_data / "data" / "trials" / "ds005917")
    rows, everyone = table.dropna(subset=["outcome"]), table.drop_duplicates("participant_id")
    fit = imputation.fit_imputation(rows, everyone[["participant_id", "arm", "baseline"]])
    found = clinical_tipping.tipping_point(fit, "day2", [0.0, 12.0]).table.iloc[1]
    assert found["p"] == pytest.approx(0.010, abs=0.001)
    assert (found["imputed_active"], found["imputed_control"]) == (2, 1)
    assert (found["shifted_active"], found["shifted_control"]) == (2, 1)
    table = imputation.imputation_table(fit, visits=["day2"])
    assert table["shifted_active"].eq(0).all()
    assert table["estimate"].nunique() == 1
    none = clinical_tipping.tipping_point(fit, "day2", [0.0, 12.0], shifted="event").table
    assert none["shifted_active"].eq(0).all()
    assert none["estimate"].nunique() == 1
