"""Every column of notebook 01's tables, against closed forms on arms of unequal size and spread."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, special, stats
from wired import assert_table

from analysis_lib.clinical import (
    adherence,
    baseline,
    blinding,
    consort,
    flow,
    harms,
    imputation,
    item_analysis,
    models,
    numbers,
    outcomes,
    proportions,
    randomisation,
    risks,
    tipping,
)
from analysis_lib.clinical.rating_patterns import missing_patterns, pattern_visits
from analysis_lib.study import scores as study_scores

VISITS = ["week1", "week2"]
DIFFERENCE = "active - control"


def jitter(rng, n, sd):
    return np.round(rng.normal(0, sd, n), 2)


def people(n_active, n_control):
    names = [f"sub-{k:02d}" for k in range(n_active + n_control)]
    return names, np.repeat(["active", "control"], [n_active, n_control])


def changes_of(scale, kind, n_active, n_control, effects, seed):
    """Complete rows of one scale, as ``with_baseline`` gives them; the active arm spreads more."""
    rng = np.random.default_rng(seed)
    names, arm = people(n_active, n_control)
    first = np.round(rng.normal(22, 3, len(names)), 1)
    person = jitter(rng, len(names), 1.5)
    spread = np.where(arm == "active", 3.0, 1.2)
    tables = []
    for visit, effect in zip(VISITS, effects, strict=True):
        outcome = -2 + effect * (arm == "active") - 0.2 * (first - 22) + person
        outcome = outcome + spread * jitter(rng, len(names), 1)
        tables.append(pd.DataFrame({"visit": visit, "baseline": first, "outcome": outcome}))
        tables[-1].insert(0, "arm", arm)
        tables[-1].insert(0, "participant_id", names)
    rows = pd.concat(tables, ignore_index=True).assign(scale=scale, kind=kind)
    return rows.assign(visit=pd.Categorical(rows["visit"], VISITS, ordered=True))


@pytest.fixture(scope="module")
def changes():
    """Two scales of other sizes and opposite effects, everybody rated at both visits."""
    return pd.concat(
        [
            changes_of("HAMD-17", "change", 9, 6, (-1.5, -4.0), 1),
            changes_of("CGI", "value", 8, 5, (1.0, 2.5), 2),
        ],
        ignore_index=True,
    )


def wide(changes, scale):
    own = changes[changes["scale"] == scale]
    table = own.pivot(index="participant_id", columns="visit", values="outcome")
    first = own.drop_duplicates("participant_id").set_index("participant_id")
    table.columns = table.columns.astype(str)
    return table.assign(
        all=table.mean(axis=1), active=first["arm"].eq("active"), b=first["baseline"]
    )


def least_squares(table, visit):
    """Outcome on intercept, centred baseline and arm: what a complete MMRM reduces to."""
    x = np.column_stack([np.ones(len(table)), table["b"] - table["b"].mean(), table["active"]])
    return sm.OLS(table[visit], x.astype(float)).fit()


def j(df):
    return np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)


def noncentrality(t, df, level):
    """The noncentrality at which the observed t is a quantile."""
    # sf, since cdf is NaN at some far d on some processors
    return optimize.brentq(lambda d: 1 - stats.nct.sf(t, df, d) - level, t - 12, t + 12)


def pooled_sd(table, visit):
    """Within arms; averaged over visits: the root of the mean variance."""
    visits, n = VISITS if visit == "all" else [visit], table["active"].value_counts() - 1
    spread = table.groupby("active")[visits].var()
    return np.sqrt((spread.mul(n, axis=0).sum() / n.sum()).mean())


def raw_g_columns(table, visit, estimate, t, df, se):
    sd = pooled_sd(table, visit)
    low, high = (noncentrality(t, df, level) * se / sd for level in (0.975, 0.025))
    g = estimate / sd * j(len(table) - 2)
    return {"hedges_g_raw": g, "g_raw_ci_low": low, "g_raw_ci_high": high}


def contrast_rows(changes, scale):
    table = wide(changes, scale)
    fits = [least_squares(table, visit) for visit in VISITS]
    variances = [fit.mse_resid for fit in fits]
    for visit in [*VISITS, "all"]:
        fit = least_squares(table, visit)
        t, df, se = fit.tvalues.iloc[2], fit.df_resid, fit.bse.iloc[2]
        sd = np.sqrt(np.mean(variances) if visit == "all" else variances[VISITS.index(visit)])
        low, high = fit.conf_int().iloc[2]
        g_low, g_high = (noncentrality(t, df, level) * se / sd for level in (0.975, 0.025))
        yield {"scale": scale, "visit": visit} | {
            "kind": changes.loc[changes["scale"] == scale, "kind"].iloc[0],
            "contrast": DIFFERENCE,
            "estimate": fit.params.iloc[2],
            "se": se,
            "df": df,
            "ci_low": low,
            "ci_high": high,
            "t": t,
            "p": fit.pvalues.iloc[2],
            "hedges_g": fit.params.iloc[2] / sd * j(df),
            "g_ci_low": g_low,
            "g_ci_high": g_high,
            **raw_g_columns(table, visit, fit.params.iloc[2], t, df, se),
            "n_active": int(table["active"].sum()),
            "n_control": int((~table["active"]).sum()),
            "rated_active": int(table["active"].sum()),
            "rated_control": int((~table["active"]).sum()),
            "covariance": "us",
        }


def as_columns(rows):
    return pd.DataFrame(list(rows)).to_dict("list")


def test_the_primary_contrasts_of_a_complete_trial_are_those_of_least_squares(changes):
    found = models.contrast_table(models.fit_models(changes), changes)
    expected = [row for scale in ("HAMD-17", "CGI") for row in contrast_rows(changes, scale)]
    expected = [r | {"favours": "active" if r["estimate"] < 0 else "control"} for r in expected]
    alike = [{f"n_{arm}", f"rated_{arm}"} for arm in ("active", "control")]  # all were rated
    assert_table(found, as_columns(expected), alike, rtol=1e-4)
    signs = found.groupby("scale")["estimate"].agg(lambda e: np.sign(e.iloc[-1]))
    assert signs.to_dict() == {"HAMD-17": -1, "CGI": 1}


def test_the_model_means_of_a_complete_trial_are_those_of_least_squares(changes):
    expected = []
    for scale, arm in itertools.product(("HAMD-17", "CGI"), ("control", "active")):
        for visit in VISITS:
            fit = least_squares(wide(changes, scale), visit)
            at = fit.get_prediction([[1.0, 0.0, float(arm == "active")]])
            low, high = at.conf_int()[0]
            row = {"scale": scale, "arm": arm, "visit": visit, "mean": at.predicted_mean[0]}
            row |= {"se": at.se_mean[0], "df": fit.df_resid, "ci_low": low, "ci_high": high}
            expected.append(row)
    found = models.mean_table(models.fit_models(changes))
    assert_table(found, as_columns(expected), rtol=1e-4)


@pytest.mark.parametrize(("left", "kept"), [(0, 1), (1, 1), (2, 2)])
def test_a_visit_with_fewer_than_two_participants_of_an_arm_is_not_in_the_model(left, kept):
    rows = changes_of("HAMD-17", "change", 9, 6, (-1.5, -4.0), 1)
    last = rows["visit"].eq("week2") & rows["arm"].eq("control")
    who = rows.loc[last, "participant_id"].iloc[left:]
    rows = rows[~(last & rows["participant_id"].isin(who))]
    fit = models.fit_models(rows)["HAMD-17"]
    assert list(fit.visits) == VISITS[:kept]


def hc3(table, visit):
    """White's error with squared residuals over (1 - leverage)^2, by its definition."""
    x = np.column_stack([np.ones(len(table)), table["b"], table["active"]]).astype(float)
    inverse = np.linalg.inv(x.T @ x)
    y = table[visit].to_numpy()
    beta = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    meat = x.T * ((y - x @ beta) / (1 - leverage)) ** 2 @ x
    return beta[2], np.sqrt((inverse @ meat @ inverse)[2, 2])


def ancova_rows(changes, scale):
    table = wide(changes, scale)
    n = [int(table["active"].sum()), int((~table["active"]).sum())]
    df = sum(n) - 3
    for visit in VISITS:
        b, se = hc3(table, visit)
        margin = stats.t.isf(0.025, df) * se
        row = {"scale": scale, "visit": visit}
        row["kind"] = changes.loc[changes["scale"] == scale, "kind"].iloc[0]
        row |= {"contrast": DIFFERENCE, "n_active": n[0], "n_control": n[1]}
        row |= {"estimate": b, "se": se, "df": df, "ci_low": b - margin, "ci_high": b + margin}
        row |= {"t": b / se, "p": 2 * stats.t.sf(abs(b / se), df)}
        yield row | raw_g_columns(table, visit, b, b / se, df, se)


def test_the_ancova_of_each_visit_is_white_s_by_definition(changes):
    expected = [row for scale in ("HAMD-17", "CGI") for row in ancova_rows(changes, scale)]
    assert_table(outcomes.ancova(changes), as_columns(expected))


def test_the_re_randomisation_counts_every_relabelling_of_a_small_trial():
    small = changes_of("HAMD-17", "change", 5, 4, (-1.5, -3.0), 3)
    table = wide(small, "HAMD-17")
    estimate, se = hc3(table, "week2")
    t = []
    for chosen in itertools.combinations(range(9), 5):
        b, error = hc3(table.assign(active=np.isin(range(9), chosen)), "week2")
        t.append(b / error)
    expected = {"scale": "HAMD-17", "visit": "week2", "n_active": 5, "n_control": 4}
    expected |= {"n_strata": 1, "estimate": estimate, "se": se, "t": estimate / se}
    expected["p_randomisation"] = np.mean(np.abs(t) >= abs(estimate / se) - 1e-9)
    expected |= {"n_permutations": 125, "exhaustive": True}
    found = randomisation.randomisation_test(small, "HAMD-17", "week2")
    alike = [{"n_strata", "exhaustive"}]  # 1 and True
    assert_table(found, {k: [v] for k, v in expected.items()}, alike)


@pytest.fixture(scope="module")
def ratings():
    """Three visits in straight lines with noise, seven and five participants, one never rated."""
    rng = np.random.default_rng(8)
    names, arm = people(7, 5)
    rows = []
    for who, which in zip(names, arm, strict=True):
        start, slope = rng.normal(24, 3), rng.normal(-3 if which == "active" else -1, 0.8)
        for visit, week in {"baseline": 0, "week1": 1, "week3": 3}.items():
            score = np.round(start + slope * week + rng.normal(0, 0.7), 1)
            rows.append((who, which, "HAMD-17", visit, float(week), score))
    columns = ["participant_id", "arm", "scale", "visit", "week", "score"]
    table = pd.DataFrame(rows, columns=columns)
    order = ["baseline", "week1", "week3"]
    return table.assign(visit=pd.Categorical(table["visit"], order, ordered=True))


def test_observed_means_have_n_mean_spread_and_a_t_interval(ratings):
    some = ratings.copy()
    some.loc[[1, 5, 25], "score"] = np.nan
    expected = []
    for (arm, week), own in some.groupby(["arm", "week"])["score"]:
        values = own.dropna()
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        row = {"scale": "HAMD-17", "arm": arm, "visit": f"week{week:.0f}" if week else "baseline"}
        row |= {"week": week, "n": len(values), "mean": values.mean(), "sd": values.std()}
        expected.append(row | {"ci_low": low, "ci_high": high})
    assert_table(outcomes.visit_means(some), as_columns(expected))


def test_observed_means_stand_by_week_and_a_visit_that_nobody_had_has_none(ratings):
    later = ratings.assign(visit=ratings["visit"].cat.add_categories(["week9"]))
    late = later["week"].eq(3)
    later.loc[late & later["arm"].eq("control"), "score"] = np.nan
    later.loc[late & later["participant_id"].ne("sub-00"), "score"] = np.nan
    found = outcomes.visit_means(later.iloc[::-1])
    rows = [("active", 0), ("active", 1), ("active", 3), ("control", 0), ("control", 1)]
    assert found[["arm", "week"]].to_records(index=False).tolist() == rows
    assert found["n"].tolist() == [7, 7, 1, 5, 5]
    assert found.index.tolist() == list(range(5))


@pytest.mark.parametrize(("left", "rows"), [(0, 1), (1, 1), (2, 2)])
def test_a_visit_with_fewer_than_two_in_an_arm_has_no_ancova(left, rows):
    table = changes_of("HAMD-17", "change", 9, 6, (-1.5, -4.0), 1)
    last = table["visit"].eq("week2") & table["arm"].eq("control")
    gone = last & table["participant_id"].isin(table.loc[last, "participant_id"].iloc[left:])
    assert outcomes.ancova(table[~gone])["visit"].tolist() == VISITS[:rows]


def split_plot(ratings):
    """F and sums of squares of arm, time and their product, from cell means."""
    table = ratings.pivot(index=["arm", "participant_id"], columns="week", values="score")
    y, arm = table.to_numpy(), table.index.get_level_values("arm")
    n, k = y.shape
    groups = [y[arm == which] for which in ("active", "control")]
    means = [g.mean(axis=0) for g in groups]
    between = k * sum(
        len(g) * (m.mean() - y.mean()) ** 2 for g, m in zip(groups, means, strict=True)
    )
    subjects = k * ((y.mean(axis=1) - y.mean()) ** 2).sum() - between
    time = n * ((y.mean(axis=0) - y.mean()) ** 2).sum()
    cells = sum(len(g) * ((m - y.mean()) ** 2).sum() for g, m in zip(groups, means, strict=True))
    product = cells - between - time
    left = ((y - y.mean()) ** 2).sum() - subjects - cells
    return {
        "arm": (between, 1, subjects, n - 2),
        "time": (time, k - 1, left, (n - 2) * (k - 1)),
    } | {"arm x time": (product, k - 1, left, (n - 2) * (k - 1))}, groups


def greenhouse_geisser(groups):
    """Epsilon of the covariance pooled within arms, double-centred."""
    s = sum((len(g) - 1) * np.cov(g.T) for g in groups)
    k = len(s)
    centre = np.eye(k) - 1 / k
    c = centre @ s @ centre
    return np.trace(c) ** 2 / ((k - 1) * (c**2).sum())


def test_the_analysis_of_variance_is_that_of_a_split_plot(ratings):
    sums, groups = split_plot(ratings)
    eps = greenhouse_geisser(groups)
    expected = []
    for effect, (ss, df1, error, df2) in sums.items():
        f = ss / df1 / (error / df2)
        e = np.nan if effect == "arm" else eps
        row = {"scale": "HAMD-17", "effect": effect, "n": 12, "df1": df1, "df2": df2, "F": f}
        row |= {"epsilon_gg": e, "p": stats.f.sf(f, df1, df2)}
        row |= {"p_gg": stats.f.sf(f, e * df1, e * df2), "partial_eta2": ss / (ss + error)}
        expected.append(row)
    assert expected[2]["epsilon_gg"] < 0.95
    assert_table(outcomes.rm_anova(ratings), as_columns(expected), rtol=2e-3)


def test_the_analyses_of_variance_keep_the_order_of_the_scales_and_need_two_in_each_arm(ratings):
    few = ratings[ratings["participant_id"].isin(["sub-00", "sub-03", "sub-07", "sub-11"])]
    found = outcomes.rm_anova(pd.concat([ratings, few.assign(scale="CGI")]))
    assert found["scale"].tolist() == ["HAMD-17"] * 3 + ["CGI"] * 3
    assert found["n"].tolist() == [12] * 3 + [4] * 3
    assert found.index.tolist() == list(range(6))
    assert len(outcomes.rm_anova(few[few["participant_id"] != "sub-11"])) == 0


def test_two_visits_need_no_correction_and_arm_has_none(ratings):
    found = outcomes.rm_anova(ratings[ratings["week"] < 3]).set_index("effect")
    assert found.index.tolist() == ["arm", "time", "arm x time"]
    assert np.isnan(found.loc["arm", "p_gg"])
    assert found["p_gg"].tolist()[1:] == found["p"].tolist()[1:]


def test_the_difference_of_slopes_of_a_balanced_trial_is_that_of_each_patients_line(ratings):
    slopes = {"active": [], "control": []}
    for (_, arm), own in ratings.groupby(["participant_id", "arm"]):
        slopes[arm].append(np.polyfit(own["week"], own["score"], 1)[0])
    active, control = slopes.values()
    estimate = np.mean(active) - np.mean(control)
    pooled = (6 * np.var(active, ddof=1) + 4 * np.var(control, ddof=1)) / 10
    se = np.sqrt(pooled * (1 / 7 + 1 / 5))
    expected = {"scale": "HAMD-17", "effect": "arm x week", "n": 12, "estimate": estimate, "se": se}
    expected |= {"ci_low": estimate - 1.959964 * se, "ci_high": estimate + 1.959964 * se}
    expected |= {"p": 2 * stats.norm.sf(abs(estimate / se)), "note": "normal interval"}
    found = models.growth_table(ratings)
    assert_table(
        found.drop(columns="p"), {k: [v] for k, v in expected.items() if k != "p"}, rtol=1e-3
    )
    assert found["p"][0] == pytest.approx(expected["p"], rel=0.02)
    assert found["p"][0] < 0.01 < found["se"][0]


def test_growth_curves_need_three_visits_and_a_score_alone(ratings):
    found = models.growth_table(ratings[ratings["week"] < 3])
    assert list(found) == models.GROWTH_COLUMNS
    assert len(found) == 0
    noted = models.growth_table(ratings.assign(remark=np.nan))
    assert noted["n"].tolist() == [12]


@pytest.mark.parametrize("note", ["singular", "did not converge"])
def test_a_growth_curve_without_an_estimate_says_why(ratings, monkeypatch, note):
    def fit(*_):
        if note == "singular":
            raise np.linalg.LinAlgError
        return SimpleNamespace(converged=False)

    monkeypatch.setattr(models, "fit_growth_curve", fit)
    found = models.growth_table(ratings)
    assert found["note"].tolist() == [note]
    assert found["n"].tolist() == [12]
    assert found[["estimate", "se", "ci_low", "ci_high", "p"]].isna().all(axis=None)


# --- missing data


def leavers(effect, seed=4):
    """Nine and six participants; two of the active arm leave after week 1, one of the control."""
    rows = changes_of("HAMD-17", "change", 9, 6, (effect / 2, effect), seed)
    gone = rows["participant_id"].isin(["sub-01", "sub-04", "sub-12"]) & rows["visit"].eq("week2")
    return rows[~gone]


def rubin(completed, rows):
    """Rubin's rules with Barnard and Rubin's df, each completed data set by statsmodels."""
    first = rows.drop_duplicates("participant_id").sort_values("participant_id")
    x = np.column_stack([np.ones(len(first)), first["baseline"], first["arm"] == "active"])
    fits = [sm.OLS(y, x.astype(float)).fit() for y in completed]
    q, u = (np.array(v) for v in zip(*((f.params[2], f.bse[2] ** 2) for f in fits), strict=True))
    m, nu = len(q), len(first) - 3
    b = q.var(ddof=1)
    total = u.mean() + (1 + 1 / m) * b
    lam = (1 + 1 / m) * b / total
    old = (m - 1) / lam**2
    df = 1 / (1 / old + 1 / ((nu + 1) / (nu + 3) * nu * (1 - lam)))
    r = (1 + 1 / m) * b / u.mean()
    t = q.mean() / np.sqrt(total)
    margin = stats.t.isf(0.025, df) * np.sqrt(total)
    row = {"estimate": q.mean(), "se": np.sqrt(total), "df": df}
    row |= {"ci_low": q.mean() - margin, "ci_high": q.mean() + margin, "t": t}
    row |= {"p": 2 * stats.t.sf(abs(t), df), "n_imputations": m}
    row["fraction_missing_information"] = (r + 2 / (old + 3)) / (r + 1)
    return row | {"monte_carlo_se": np.sqrt(b / m)}


def at_week2(rows):
    """Participants rated and imputed at week 2, by arm."""
    arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"]
    seen = arm.index.isin(rows.loc[rows["visit"] == "week2", "participant_id"])
    found = {"rated": seen, "imputed": ~seen}
    return {f"{k}_{a}": (v & (arm == a)).sum() for k, v in found.items() for a in arm.unique()}


def test_imputed_results_are_pooled_by_rubin_s_rules_under_each_strategy():
    rows = leavers(-4)
    stopped = pd.Series(1, ["sub-01", "sub-04", "sub-12"])
    fit = imputation.fit_imputation(rows, n_imputations=25, seed=1, n_before=stopped)
    expected = []
    for strategy, k in itertools.product(imputation.STRATEGIES, (0, 1)):
        row = {"analysis": strategy, "visit": VISITS[k], "contrast": DIFFERENCE}
        completed = fit.complete(strategy)[:, :, k]
        if k == 1:
            # sub-01 and sub-04 of the active arm and sub-12 stopped after week1
            moved = {"shifted_active": 0 if strategy == "mar" else 2, "shifted_control": 0}
            expected.append(row | rubin(completed, rows) | at_week2(rows) | moved)
    found = imputation.imputation_table(fit, visits=["week2"])
    assert_table(found, as_columns(expected))
    size = found.set_index("analysis")["estimate"].abs()
    assert size["mar"] > size["copy_increments"] > 0
    assert size["mar"] > size["jump_to_reference"]


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_tipping_point_is_searched_against_the_effect(sign):
    rows = leavers(-9).assign(outcome=lambda r: r["outcome"] * -sign)
    fit = imputation.fit_imputation(rows, n_imputations=25, seed=1)
    result = tipping.tipping_point(fit, "week2", np.arange(-30, 31, 2.0))
    start = result.table.set_index("delta_active")
    assert np.sign(start.loc[0, "estimate"]) == sign
    delta = -sign * np.arange(0, 31, 2.0)
    p = start.loc[delta, "p"].to_numpy()
    k = np.argmax(p >= 0.05)
    assert 0 < k < len(p) - 1
    at = np.interp(0.05, p[k - 1 : k + 1], delta[k - 1 : k + 1])
    expected = {"visit": "week2", "delta_control": 0.0, "status": "tips"}
    expected |= {"delta_before": delta[k - 1], "p_before": p[k - 1]}
    expected |= {"delta_tips": delta[k], "p_tips": p[k], "delta_interpolated": at}
    assert_table(result.tips, {name: [value] for name, value in expected.items()})
    assert np.sign(result.tips["delta_interpolated"][0]) == -sign


SHIFT_ALL = [{f"imputed_{arm}", f"shifted_{arm}"} for arm in ("active", "control")]


def test_each_delta_is_added_to_the_leavers_of_its_own_arm():
    rows = leavers(-4)
    fit = imputation.fit_imputation(rows, n_imputations=25, seed=1)
    result = tipping.tipping_point(fit, "week2", (0.0, 3.0), (0.0, 7.0))
    who = np.array(fit.outcomes.participants)
    expected = []
    for control, active in itertools.product((0.0, 7.0), (0.0, 3.0)):
        values = fit.complete("mar")[:, :, 1].copy()
        values[:, np.isin(who, ["sub-01", "sub-04"])] += active
        values[:, who == "sub-12"] += control
        row = {"visit": "week2", "contrast": DIFFERENCE, "delta_active": active}
        row |= {"delta_control": control} | rubin(values, rows)
        left_out = ("n_imputations", "fraction_missing_information", "monte_carlo_se")
        row |= at_week2(rows) | {"shifted_active": 2, "shifted_control": 1}
        expected.append({k: v for k, v in row.items() if k not in left_out})
    assert_table(result.table, as_columns(expected), SHIFT_ALL)


def test_the_tipping_search_says_when_nothing_tips_or_nothing_is_significant():
    fit = imputation.fit_imputation(leavers(-9), n_imputations=25, seed=1)
    kept = tipping.tipping_point(fit, "week2", (0.0, 0.5)).tips
    assert kept["status"].tolist() == ["does not tip"]
    assert kept["delta_before"].tolist() == [0.5]
    weak = imputation.fit_imputation(leavers(0), n_imputations=25, seed=1)
    lost = tipping.tipping_point(weak, "week2", (0.0, 0.5)).tips
    assert lost["status"].tolist() == ["not significant at delta 0"]


@pytest.mark.parametrize(
    ("estimate", "p", "expected"),
    [
        (-2, {0: 0.05, 1: 0.2}, ("not significant at delta 0", *[np.nan] * 5)),
        (-2, {-1: 0.001, 0: 0.01, 1: 0.05}, ("tips", 0, 0.01, 1, 0.05, 1)),
        (-2, {-1: 0.9, 0: 0.01, 1: 0.03, 2: 0.07}, ("tips", 1, 0.03, 2, 0.07, 1.5)),
        (2, {-2: 0.6, -1: 0.2, 0: 0.01, 1: 0.001}, ("tips", 0, 0.01, -1, 0.2, -4 / 19)),
        (2, {-2: 0.04, -1: 0.03, 0: 0.01}, ("does not tip", -2, 0.04, *[np.nan] * 3)),
    ],
)
def test_the_result_tips_where_p_reaches_alpha_on_the_way_to_no_effect(estimate, p, expected):
    rows = pd.DataFrame({"delta_active": list(p), "p": list(p.values()), "estimate": estimate})
    found = tipping._tip(rows.assign(visit="week2", delta_control=3.0), 0.05)
    names = ["delta_before", "p_before", "delta_tips", "p_tips", "delta_interpolated"]
    assert list(found) == ["visit", "delta_control", "status", *names]
    assert [found[k] for k in ("visit", "delta_control", "status")] == ["week2", 3, expected[0]]
    values = np.array([found[name] for name in names])
    assert values.dtype == float
    np.testing.assert_allclose(values, expected[1:])


def test_patterns_of_missing_visits_are_counted_by_arm():
    rows = leavers(-4)
    rows = rows[
        ~(rows["participant_id"].isin(["sub-02", "sub-13", "sub-14"]) & rows["visit"].eq("week1"))
    ]
    found = missing_patterns(rows)
    expected = {"pattern": ["11", "10", "01"], "n_active": [6, 2, 1], "n_control": [3, 1, 2]}
    kinds = ["complete", "monotone", "intermittent"]
    assert_table(found, expected | {"missingness": kinds})
    assert_table(pattern_visits(rows), {"place": [1, 2], "visit": VISITS})


# --- counts by arm


def small_trial(tiny):
    """Five active and three control participants with scores whose every count is known."""
    tiny.participants["arm"] = ["active"] * 5 + ["sham"] * 3
    scores = {
        "sub-01": (20, 8, 5),
        "sub-02": (22, 10, 11),
        "sub-03": (6, 4, 2),  # too low for remission
        "sub-04": (24, 20, "n/a"),
        "sub-05": ("n/a", 9, 6),  # no baseline
        "sub-06": (20, 18, 10),
        "sub-07": (26, 25, 24),
        "sub-08": (28, 13, 20),
    }
    rows = [
        (who, f"ses-{visit}", value)
        for who, values in scores.items()
        for visit, value in zip(("baseline", "week1", "week2"), values, strict=True)
    ]
    columns = ["participant_id", "session_id", "total"]
    tiny.scales["hamd17.tsv"] = pd.DataFrame(rows, columns=columns).astype(object)
    tiny.participants.loc[3, "withdrawn_after"] = "week1"
    study = tiny.write()
    participants = study_scores.read_participants(study)
    return study, participants, study_scores.read_ratings(study, participants)


def score_limits(events, n):
    """Where Miettinen and Nurminen's z is 1.96, its restricted shares by search."""
    total, difference = sum(n), events[0] / n[0] - events[1] / n[1]

    def excess(d):
        def minus_loglik(q):
            return -stats.binom.logpmf(events, n, np.clip([q + d, q], 0, 1)).sum()

        bounds = (max(0, -d), min(1, 1 - d))
        q = optimize.minimize_scalar(minus_loglik, bounds=bounds, options={"xatol": 1e-13}).x
        p = np.array([q + d, q])
        variance = (p * (1 - p) / n).sum() * total / (total - 1)
        return (difference - d) ** 2 - 1.959963985**2 * variance

    return tuple(
        end if difference == end else optimize.brentq(excess, difference, 0.999999 * end)
        for end in (-1, 1)
    )


def difference_columns(events, n):
    low, high = score_limits(events, n)
    row = {"n_active": n[0], "n_control": n[1]}
    row |= {"events_active": events[0], "events_control": events[1]}
    difference = events[0] / n[0] - events[1] / n[1]
    return row | {"risk_difference": difference, "ci_low": low, "ci_high": high}


def risk_columns(events, n):
    """The ratios' limits: as tests/clinical/test_proportions.py checks them."""
    row = difference_columns(events, n)
    ratios = proportions.compare_proportions(events, n)
    names = [f"{part}_ci_{end}" for part in ("rr", "or") for end in ("low", "high")]
    misses = [n[0] - events[0], n[1] - events[1]]
    table = np.array([events, misses])
    row["risk_ratio"] = ratio(events[0] / n[0], events[1] / n[1])
    row |= {name: ratios[name] for name in names[:2]}
    row["odds_ratio"] = ratio(events[0] * misses[1], events[1] * misses[0])
    row |= {name: ratios[name] for name in names[2:]}
    chi2 = 0.0
    if table.sum(axis=1).all():
        chi2 = stats.chi2_contingency(table, correction=False).statistic
    row["p"] = stats.chi2.sf(chi2 * (1 - 1 / sum(n)), 1)
    numbers = (row["risk_difference"], row["ci_high"], row["ci_low"])
    with np.errstate(divide="ignore"):
        numbers = np.divide(1.0, numbers)
    return row | dict(zip(("nnt", "nnt_ci_low", "nnt_ci_high"), numbers, strict=True))


def ratio(a, b):
    return a / b if b else (np.inf if a else np.nan)


RISKS = {  # events and participants, by hand
    ("week1", "response", "missing_is_failure"): ([2, 1], [4, 3], [1, 0]),
    ("week1", "response", "observed"): ([2, 1], [4, 3], [1, 0]),
    ("week2", "response", "missing_is_failure"): ([3, 1], [4, 3], [1, 0]),
    ("week2", "response", "observed"): ([3, 1], [3, 3], [1, 0]),
    ("week1", "remission", "missing_is_failure"): ([0, 0], [3, 3], [2, 0]),
    ("week1", "remission", "observed"): ([0, 0], [3, 3], [2, 0]),
    ("week2", "remission", "missing_is_failure"): ([1, 0], [3, 3], [2, 0]),
    ("week2", "remission", "observed"): ([1, 0], [2, 3], [2, 0]),
}


def test_responders_and_remitters_are_counted_by_hand(tiny):
    found = risks.responders(*small_trial(tiny))
    expected = []
    for (visit, outcome, analysis), (events, n, out) in RISKS.items():
        row = {"scale": "HAMD-17", "visit": visit, "outcome": outcome, "analysis": analysis}
        row |= risk_columns(events, n) | {"excluded_active": out[0], "excluded_control": out[1]}
        expected.append(row)
    assert_table(found[found["scale"] == "HAMD-17"].reset_index(drop=True), as_columns(expected))


EDGES = {  # baseline, week 1, week 2: at the limits of what counts; the last was never rated
    "sub-01": (0, 0, 0),  # nothing to fall from
    "sub-02": (1, 0, 0),
    "sub-03": (7, 3, 3),  # at the cut-off already
    "sub-04": (8, 7, 8),
    "sub-05": (20, 7, 20),
    "sub-06": (20, 9, 20),
    "sub-07": (20, 8, 20),
}


def edge_trial(tiny):
    """The primary scale last; the other one was not rated at baseline."""
    tiny.content["scales"].reverse()
    visits = ("baseline", "week1", "week2")
    rows = [
        (w, f"ses-{v}", s) for w, own in EDGES.items() for v, s in zip(visits, own, strict=True)
    ]
    columns = ["participant_id", "session_id", "total"]
    tiny.scales["hamd17.tsv"] = pd.DataFrame(rows, columns=columns).astype(object)
    hama = tiny.scales["hama.tsv"]
    tiny.scales["hama.tsv"] = hama[hama["session_id"] != "ses-baseline"]
    tiny.participants["arm"] = ["active"] * 4 + ["sham"] * 4
    study = tiny.write()
    people = study_scores.read_participants(study)
    return study, people, study_scores.read_ratings(study, people)


def test_who_can_respond_or_remit_is_decided_at_the_limits(tiny):
    study, people, ratings = edge_trial(tiny)
    people.loc[people["participant_id"] == "sub-06", "excluded"] = "site"
    found = risks.responders(study, people, ratings)
    found = found[found["visit"] == "week1"].set_index(["outcome", "analysis"])
    assert set(found["scale"]) == {"HAMD-17"}
    counts = ["n_active", "n_control", "events_active", "events_control"]
    counts += ["excluded_active", "excluded_control"]
    assert found.loc[("response", "missing_is_failure"), counts].tolist() == [3, 2, 2, 2, 1, 1]
    assert found.loc[("remission", "missing_is_failure"), counts].tolist() == [1, 2, 1, 1, 3, 1]


def test_without_anybody_in_an_arm_there_are_counts_and_no_comparison():
    nobody = risks.risk_difference([3, 0], [5, 0])
    assert list(nobody) == ["risk_difference", "ci_low", "ci_high"]
    assert np.isnan(list(nobody.values())).all()
    one = risks.risk_difference([3, 0], [5, 1])
    assert one["risk_difference"] == pytest.approx(0.6)
    reached = np.array([[True], [False]])
    found = risks._compare_risks(reached, np.array(["control", "control"]))
    counts = {"n_active": 0, "n_control": 2, "events_active": 0, "events_control": 1}
    assert list(found) == list(risk_columns([1, 1], [2, 2]))
    assert {k: found[k] for k in counts} == counts
    assert np.isnan([found[k] for k in found if k not in counts]).all()
    alone = risks._compare_risks(reached, np.array(["active", "control"]))
    assert alone["risk_difference"] == 1


def test_a_comparison_of_risks_is_that_of_the_counts():
    reached = np.array([True] * 9 + [False] * 6 + [True])[:, None]
    row = risks._compare_risks(reached, np.repeat(["active", "control"], [10, 6]))
    assert row == pytest.approx(risk_columns([9, 1], [10, 6]))


def imputed_trial(study, people, ratings, m=40):
    """Changes of the small trial, as imputed; the one missing score differs between imputations."""
    wide = ratings[ratings["scale"] == "HAMD-17"].pivot(
        index="participant_id", columns="visit", values="score"
    )
    wide = wide.dropna(subset=["baseline"])
    changes = wide[["week1", "week2"]].sub(wide["baseline"], axis=0)
    completed = np.repeat(changes.to_numpy()[None], m, axis=0)
    missing = np.flatnonzero(changes["week2"].isna())
    completed[:, missing, 1] = np.where(np.arange(m) % 4 == 0, -20.0, -1.0)[:, None]
    outcomes = SimpleNamespace(participants=wide.index.tolist(), visits=["week1", "week2"])
    return {"HAMD-17": SimpleNamespace(outcomes=outcomes, complete=lambda strategy: completed)}


def test_responders_of_imputed_scores_are_pooled_by_rubins_rules(tiny):
    trial = small_trial(tiny)
    found = risks.responders(*trial, imputed_trial(*trial))
    found = found[found["scale"].eq("HAMD-17") & found["outcome"].eq("response")]
    rows = found.set_index(["visit", "analysis"])
    row = rows.loc[("week2", "multiple_imputation")]
    assert (row["n_active"], row["events_active"], row["events_control"]) == (4, 3.25, 1)
    p = np.array([np.where(np.arange(40) % 4 == 0, 1.0, 0.75), np.full(40, 1 / 3)])
    within = (p[0] * (1 - p[0]) / 4 + p[1] * (1 - p[1]) / 3).mean()
    extra = (1 + 1 / 40) * np.var(p[0] - p[1], ddof=1)
    pooled = np.array([[3.25, 1], [0.75, 2]])
    z2 = stats.chi2_contingency(pooled, correction=False).statistic * 6 / 7
    t, df = np.sqrt(z2 / (1 + extra / within)), 39 * (1 + within / extra) ** 2
    assert row["p"] == pytest.approx(2 * stats.t.sf(t, df))
    assert row["risk_difference"] == pytest.approx(3.25 / 4 - 1 / 3)
    everyone = ["missing_is_failure", "multiple_imputation"]
    complete = rows.loc["week1"].drop(columns=["scale", "outcome"])
    assert complete.loc[everyone[0]].tolist() == pytest.approx(
        complete.loc[everyone[1]].tolist(), nan_ok=True
    )


def test_table_1_describes_each_arm_in_its_own_column(tiny):
    found = baseline.baseline_table(*small_trial(tiny))
    age = [[30, 41, 35, 52, 28], [47, 60, 33]]
    score = [[20, 22, 6, 24], [20, 26, 28]]

    def numeric(values):
        spread = np.sqrt((np.var(values[0], ddof=1) + np.var(values[1], ddof=1)) / 2)
        cells = [f"{np.mean(v):.1f} ({np.std(v, ddof=1):.1f})" for v in values]
        return [*cells, (np.mean(values[0]) - np.mean(values[1])) / spread]

    female = (0.6 - 1 / 3) / np.sqrt((0.6 * 0.4 + 2 / 9) / 2)
    rows = [
        ["age", "mean (SD)", *numeric(age)],
        ["sex: F", "n (%)", "3 (60%)", "1 (33%)", female],
        ["sex: M", "n (%)", "2 (40%)", "2 (67%)", -female],
        ["HAMD-17 at baseline", "mean (SD)", *numeric(score)],
    ]
    columns = ["variable", "summary", "active", "control", "standardised_mean_difference"]
    expected = {c: [row[k] for row in rows] for k, c in enumerate(columns)}
    assert_table(found.iloc[:4], expected)


def table_1(**columns):
    """Table 1 of four active and four control participants, by variable."""
    participants = pd.DataFrame({"participant_id": list("abcdefgh"), "excluded": pd.NA, **columns})
    participants["arm"] = ["active"] * 4 + ["control"] * 4
    study = SimpleNamespace(
        covariates=list(columns), strata=[], scales=[], baseline="baseline", protected=False
    )
    return baseline.baseline_table(study, participants, pd.DataFrame({"visit": []})).set_index(
        "variable"
    )


def test_table_1_counts_words_and_two_numbers_and_averages_more():
    found = table_1(
        site=list("ABCABCAB"),
        handed=[1.0, 2, 1, 2, 2, 2, 2, np.nan],
        grade=[1, 2, 3, 1, 2, 2, 3, 3],
    )
    levels = ["site: A", "site: B", "site: C", "handed: 1", "handed: 2", "grade"]
    assert found.index.tolist() == levels
    assert found["summary"].tolist() == ["n (%)"] * 5 + ["mean (SD)"]
    assert found.loc["handed: 2", ["active", "control"]].tolist() == ["2 (50%)", "3 (100%)"]
    assert found.loc["grade", "active"] == "1.8 (1.0)"


def test_table_1_gives_head_size_where_it_is_known():
    found = table_1(tiv=[1400.0, 1500, 1600, 1700, 1300, 1400, 1500, 1600])
    assert found.loc["tiv", "active"] == "1550.0 (129.1)"
    participants = pd.DataFrame({"participant_id": ["a", "b"], "arm": ["active", "control"]})
    participants = participants.assign(excluded=pd.NA, tiv=[1400.0, 1500.0])
    study = SimpleNamespace(
        covariates=[], strata=[], scales=[], baseline="baseline", protected=False
    )
    unasked = baseline.baseline_table(study, participants, pd.DataFrame({"visit": []}))
    assert unasked["variable"].tolist() == ["tiv: 1400", "tiv: 1500"]


def test_a_level_that_all_have_differs_by_0():
    row = table_1(site=["A"] * 8).loc["site: A"]
    assert row["standardised_mean_difference"] == 0
    assert row["active"] == row["control"] == "4 (100%)"


def test_the_flow_counts_each_arm_at_each_stage(tiny):
    tiny.participants.loc[7, "withdrawn_after"] = "week2"
    study, participants, ratings = small_trial(tiny)
    pairs = participants[["participant_id", "arm"]].assign(status="analysed")
    pairs.loc[[0, 6, 7], "status"] = ["no map", "no post map", "no post map"]
    participants.loc[5, "excluded"] = "site"
    found = flow.participant_flow(study, participants, ratings, pairs)
    assert found["active"] == {
        "randomised": 5,
        "excluded": {},
        "withdrew": {"week1": ["sub-04"]},
        "rated": {"baseline": 4, "week1": 5, "week2": 4},
        "analysed": 4,
        "not_analysed": {"no baseline": 1},
        "scanned_twice": 4,
        "not_scanned_twice": {"no map": ["sub-01"]},
    }
    assert found["control"] == {
        "randomised": 3,
        "excluded": {"site": ["sub-06"]},
        "withdrew": {"week2": ["sub-08"]},
        "rated": {"baseline": 3, "week1": 3, "week2": 3},
        "analysed": 3,
        "not_analysed": {},
        "scanned_twice": 1,
        "not_scanned_twice": {"no post map": ["sub-07", "sub-08"]},
    }


def test_reasons_of_the_flow_stand_in_alphabetical_order():
    table = pd.DataFrame({"participant_id": list("dcba"), "why": ["site", "age", "site", None]})
    found = flow._by_reason(table.assign(other=None), "why")
    assert list(found.items()) == [("age", ["c"]), ("site", ["b", "d"])]


def arm_flow(randomised, out, rated, analysed):
    excluded = {"site closed": [f"x{k}" for k in range(out)]} if out else {}
    counts = {"randomised": randomised, "excluded": excluded, "withdrew": {"week1": ["y"]}}
    return counts | {"rated": rated, "analysed": analysed, "not_analysed": {"never rated": 1}}


ENROLMENT = "Assessed for eligibility: not recorded; not randomised, and why: not recorded"


def test_the_boxes_of_the_flow_diagram_name_the_arm_and_its_count():
    counted = {
        "active": arm_flow(9, 2, {"baseline": 8, "week1": 6}, 7),
        "control": arm_flow(6, 1, {"baseline": 5, "week1": 3}, 4),
    }
    treated = pd.DataFrame({"arm": ["active"] * 7 + ["control"] * 5, "sessions": [0, *[3] * 11]})
    aside = pd.Series({"allocated to waiting list": 4, "not randomised (group HC)": 9})
    found = consort.consort_flow(counted, {"active": "rTMS", "control": "sham"}, treated, aside)
    never = "; never in the trial, not randomised (group HC): 9"
    rows = [
        (*("enrolment", "both", np.nan), ENROLMENT + never),
        (*("randomised", "both", 19), "Randomised: 19; allocated to waiting list, not compared"),
        ("allocated", "active", 9, "Allocated to rTMS: 9; received treatment: 6; received none: 1"),
        ("excluded", "active", 2, "Excluded after randomisation: 2; site closed: 2"),
        ("follow_up", "active", 6, "Follow-up; rated at baseline: 8; rated at week1: 6; withdrew"),
        (*("analysed", "active", 7), "Analysed, primary outcome: 7; not in the model, never rated"),
        ("allocated", "control", 6, "Allocated to sham: 6; received treatment: 5; excluded"),
        ("excluded", "control", 1, "Excluded after randomisation: 1; site closed: 1"),
        ("follow_up", "control", 3, "Follow-up; rated at baseline: 5; rated at week1: 3; withdrew"),
        ("analysed", "control", 4, "Analysed, primary outcome: 4"),
    ]
    for box, text in zip(found["text"], (row[3] for row in rows), strict=True):
        assert box.startswith(text), box
    expected = {c: [r[k] for r in rows] for k, c in enumerate(("stage", "arm", "n"))}
    assert_table(found.drop(columns="text"), expected)


def test_the_checklist_says_of_each_item_what_it_is_where_it_is_answered_and_how_well(tiny):
    study = tiny.write()
    without = consort.consort_checklist(study).set_index("item")
    recorded = consort.consort_checklist(study, ["guess", "adverse_events", "stimulation"])
    assert list(recorded) == ["item", "topic", "where", "status"]
    assert recorded["item"].is_unique
    assert recorded["topic"].is_unique
    assert set(recorded["status"]) == {"answered", "partly", "not in the data"}
    absent = recorded["status"] == "not in the data"
    assert (recorded["where"] == "").equals(absent)
    better = recorded.set_index("item")["status"] != without["status"]
    assert 0 < better.sum() < 10


def test_blinding_indices_belong_to_the_arm_that_guessed():
    answers = {"active": ["active"] * 6 + ["control"] * 2 + ["unknown"]}
    answers["control"] = ["control"] * 1 + ["active"] * 4 + ["unknown"] * 2
    guesses = pd.concat([pd.DataFrame({"arm": a, "guess": g}) for a, g in answers.items()])

    def bang(right, wrong, n):
        value = (right - wrong) / n
        se = np.sqrt(((right + wrong) / n - value**2) / n)
        return value, se, *blinding.bang_index(right, wrong, n - right - wrong)[2:]

    p = np.array([[6, 4], [2, 1], [1, 2]]) / 16
    q, wrong = p[:2].sum(), p[1, 0] + p[0, 1]
    expected_wrong = p[0].sum() * p[:2, 1].sum() + p[1].sum() * p[:2, 0].sum()
    james = 1 - q + q**2 * wrong / (2 * expected_wrong)
    found = blinding.blinding_table(guesses)
    both = found.iloc[2]
    columns = ("value", "se", "ci_low", "ci_high")
    rows = [bang(6, 2, 9), bang(1, 4, 7), (james, *both[["se", "ci_low", "ci_high"]])]
    expected = {"index": ["Bang", "Bang", "James"], "arm": ["active", "control", "both"]}
    expected |= {"n": [9, 7, 16], "n_correct": [6, 1, 7], "n_wrong": [2, 4, 6]}
    expected |= {"n_unknown": [1, 2, 3]} | dict(zip(columns, zip(*rows, strict=True), strict=True))
    assert_table(found, expected | {"note": ""})
    assert both["ci_low"] == pytest.approx(james - 1.959964 * both["se"])
    assert both["ci_high"] == pytest.approx(james + 1.959964 * both["se"])


def test_blinding_of_an_arm_that_nobody_asked_is_missing_and_says_why():
    found = blinding.blinding_table(pd.DataFrame({"arm": ["active"] * 3, "guess": "active"}))
    notes = ["", "nobody was asked"]
    assert found["note"].tolist() == [*notes, "not defined: only one arm guessed"]
    assert found["n"].tolist() == [3, 0, 3]
    assert found["value"].fillna(9).tolist() == [1, 9, 9]


def test_the_interval_of_bang_s_index_ends_at_1_and_at_minus_1():
    assert blinding.bang_index(5, 0, 0)[3] == 1
    assert blinding.bang_index(0, 5, 0)[2] == -1
    low, high = blinding.bang_index(4, 0, 1)[2:]
    assert 0 < low < 0.8 < high < 1
    assert blinding.bang_index(0, 4, 1)[2:] == pytest.approx((-high, -low))


@pytest.mark.filterwarnings("error")
def test_james_index_of_nobody_one_and_one_arm_is_missing_or_1_and_divides_by_nothing():
    nobody = blinding.james_index(np.zeros((3, 2)))
    assert len(nobody) == 4
    assert np.isnan(nobody).all()
    assert blinding.james_index([[0, 0], [0, 0], [1, 0]])[0] == 1
    assert np.isnan(blinding.james_index([[5, 0], [0, 0], [3, 8]])).all()


EVENTS = pd.DataFrame(
    [
        ("a1", "active", "headache", "mild", "no", "yes"),
        ("a1", "active", "headache", "moderate", "no", "yes"),
        ("a2", "active", "headache", "mild", "no", "yes"),
        ("a2", "active", "seizure", "severe", "yes", "no"),
        ("a3", "active", "headache", "mild", "no", "no"),
        ("a3", "active", "seizure", "mild", "yes", "yes"),
        ("c1", "control", "headache", "severe", "yes", "no"),
        ("c2", "control", "headache", None, "no", "yes"),
    ],
    columns=["participant_id", "arm", "term", "severity", "serious", "related"],
)


def harm_row(group, term, people, reports, serious, related):
    row = {"group": group, "term": term, "n_active": 5, "n_control": 4}
    for name, counts in (
        ("participants", people),
        ("reports", reports),
        ("serious", serious),
        ("related", related),
    ):
        row |= {f"{name}_active": counts[0], f"{name}_control": counts[1]}
    low, high = score_limits(people, [5, 4])
    return row | {
        "risk_difference": people[0] / 5 - people[1] / 4,
        "ci_low": low,
        "ci_high": high,
    }


def test_harms_count_people_reports_serious_and_related_by_arm():
    who = [f"a{k}" for k in range(1, 6)] + [f"c{k}" for k in range(1, 5)]
    arm = ["active"] * 5 + ["control"] * 4
    participants = pd.DataFrame({"participant_id": who, "arm": arm, "excluded": pd.NA})
    expected = [
        harm_row("all", "any event", (3, 2), (6, 2), (2, 1), (4, 1)),
        harm_row("serious", "any serious event", (2, 1), (2, 1), (2, 1), (1, 0)),
        harm_row("related", "any related event", (3, 1), (4, 1), (1, 0), (4, 1)),
        harm_row("severity", "mild", (3, 0), (4, 0), (1, 0), (3, 0)),
        harm_row("severity", "moderate", (1, 0), (1, 0), (0, 0), (1, 0)),
        harm_row("severity", "severe", (1, 1), (1, 1), (1, 1), (0, 0)),
        harm_row("severity", "not recorded", (0, 1), (0, 1), (0, 0), (0, 1)),
        harm_row("term", "headache", (3, 2), (4, 2), (0, 1), (3, 1)),
        harm_row("term", "seizure", (2, 0), (2, 0), (2, 0), (1, 0)),
    ]
    alike = [{"reports_control", "participants_control"}]  # each had one
    found = harms.adverse_event_table(EVENTS, participants)
    assert_table(found, as_columns(expected), alike)


def test_the_commonest_event_stands_first_and_an_arm_without_anybody_counts_0():
    events = EVENTS[EVENTS["arm"] == "active"].replace({"headache": "vertigo"})
    participants = pd.DataFrame({"participant_id": ["a1", "a2", "a3", "a4"], "arm": "active"})
    found = harms.adverse_event_table(events, participants.assign(excluded=pd.NA))
    assert found.loc[found["group"] == "term", "term"].tolist() == ["vertigo", "seizure"]
    assert set(found["n_control"]) == {0}
    assert found["risk_difference"].isna().all()


def test_adherence_summarises_each_arms_own_dose():
    received = {"a1": 4, "a2": 2, "a3": 3, "c1": 4, "c2": 1}
    arm = {who: "active" if who[0] == "a" else "control" for who in received} | {"a4": "active"}
    rows = [
        (who, arm[who], k, None, 100 + 5 * k + 3 * len(received) * (who[0] == "c"), 1000 + n)
        for n, (who, total) in enumerate(received.items())
        for k in range(1, total + 1)
    ]
    columns = ["participant_id", "arm", "session", "date", "percent_motor_threshold", "pulses"]
    sessions = pd.DataFrame(rows, columns=columns)
    participants = pd.DataFrame({"participant_id": list(arm), "arm": list(arm.values())})
    participants["excluded"] = pd.NA
    dose = adherence.participant_dose(sessions, participants)
    intensity = [112.5, 107.5, 110, 127.5, 120, np.nan]
    expected = {"participant_id": list(arm), "arm": list(arm.values())}
    expected |= {"sessions": [4, 2, 3, 4, 1, 0], "percent_motor_threshold": intensity}
    assert_table(dose, expected | {"pulses": [4000, 2002, 3006, 4012, 1004, 0]})
    measures = {
        "sessions received": ([4, 2, 3, 0], [4, 1]),
        "sessions received, percent of 4 planned": ([100, 50, 75, 0], [100, 25]),
        "all 4 sessions, percent of participants": ([100, 0, 0, 0], [100, 0]),
        "intensity, percent of motor threshold": ([112.5, 107.5, 110], [127.5, 120]),
        "pulses in total": ([4000, 2002, 3006, 0], [4012, 1004]),
    }
    table = []
    for measure, by_arm in measures.items():
        for which, v in zip(("active", "control"), by_arm, strict=True):
            row = {"arm": which, "measure": measure, "n": len(v), "mean": np.mean(v)}
            values = (np.std(v, ddof=1), np.median(v), min(v), max(v))
            values = values if "all 4" not in measure else (np.nan,) * 4
            names = ("sd", "median", "lowest", "highest")
            table.append(row | dict(zip(names, values, strict=True)))
    assert_table(adherence.adherence_table(sessions, participants), as_columns(table))


# --- items


class Visits:
    """The part of a study that the item tables use."""

    baseline, final_visit, post_visits = "v0", "v2", ("v1", "v2")


@pytest.fixture
def item_rows():
    """Eight active and five control participants with 17 items at three visits."""
    rng = np.random.default_rng(4)
    names, arm = people(8, 5)
    values = rng.integers(0, 3, (13, 3, 17)).astype(float)
    values[:8, 2, :3] += 1
    table = pd.DataFrame(values.reshape(-1, 17), columns=[f"item_{k:02d}" for k in range(1, 18)])
    table["visit"] = pd.Categorical(["v0", "v1", "v2"] * 13, ["v0", "v1", "v2"], ordered=True)
    table["participant_id"], table["arm"] = np.repeat(names, 3), np.repeat(arm, 3)
    table.loc[(table["participant_id"] == "sub-03") & table["visit"].eq("v1"), "item_03"] = np.nan
    table.loc[(table["participant_id"] == "sub-09") & table["visit"].eq("v2"), "item_05"] = np.nan
    return table


@pytest.fixture
def hamd(tiny):
    return tiny.write().primary_scale


def test_alpha_of_each_visit_is_cronbach_s_with_feldt_s_interval(hamd, item_rows):
    expected = []
    for visit, n in (("v0", 13), ("v2", 12)):
        x = item_rows[item_rows["visit"] == visit].filter(like="item_").dropna().to_numpy()
        c = np.cov(x.T)
        alpha = 17 / 16 * (1 - np.trace(c) / c.sum())
        f = stats.f(n - 1, (n - 1) * 16)
        row = {"scale": "HAMD-17", "visit": visit, "n": n, "n_items": 17, "alpha": alpha}
        row |= {"ci_low": 1 - (1 - alpha) * f.ppf(0.975), "ci_high": 1 - (1 - alpha) * f.ppf(0.025)}
        expected.append(row | {"note": ""})
    assert_table(item_analysis.alpha_table(Visits, hamd, item_rows), as_columns(expected))


def test_item_means_belong_to_arm_and_visit(hamd, item_rows):
    found = item_analysis.item_means(hamd, item_rows)
    row = found[
        (found["item"] == "item_03") & (found["arm"] == "active") & (found["visit"] == "v1")
    ]
    own = item_rows[(item_rows["arm"] == "active") & (item_rows["visit"] == "v1")][
        "item_03"
    ].dropna()
    expected = {"scale": "HAMD-17", "item": "item_03", "label": "3 suicide", "arm": "active"}
    expected |= {"visit": "v1", "n": 7, "mean": own.mean(), "sd": own.std()}
    assert_table(row, {k: [v] for k, v in expected.items()}, numbered=False)
    counts = found.groupby(["arm", "visit"], observed=True)["n"].sum().to_dict()
    full = {("active", v): 8 * 17 for v in ("v0", "v1", "v2")}
    full |= {("control", v): 5 * 17 for v in ("v0", "v1", "v2")}
    assert counts == full | {("active", "v1"): 8 * 17 - 1, ("control", "v2"): 5 * 17 - 1}


def test_item_differences_are_the_ancova_of_the_final_visit(hamd, item_rows):
    found = item_analysis.item_differences(Visits, hamd, item_rows)
    expected = []
    for k, label in ((2, "2 feelings of guilt"), (3, "3 suicide"), (5, "5 insomnia, middle")):
        item = f"item_{k:02d}"
        both = item_rows.pivot(index=["participant_id", "arm"], columns="visit", values=item)
        both = both[["v0", "v2"]].dropna().reset_index()
        table = pd.DataFrame({"b": both["v0"], "active": both["arm"] == "active"})
        estimate, se = hc3(table.assign(change=both["v2"] - both["v0"]), "change")
        df = len(table) - 3
        margin = stats.t.isf(0.025, df) * se
        row = {"scale": "HAMD-17", "item": item, "label": label, "visit": "v2", "n_active": 8}
        row |= {"n_control": len(table) - 8, "estimate": estimate, "se": se, "df": df}
        row |= {"ci_low": estimate - margin, "ci_high": estimate + margin, "note": ""}
        row["favours"] = "active" if estimate < 0 else "control"
        expected.append(row)
    chosen = found[found["item"].isin(["item_02", "item_03", "item_05"])]
    assert_table(chosen, as_columns(expected), numbered=False)


def test_alpha_needs_a_sum_that_varies_however_little():
    scores = np.random.default_rng(6).normal(size=(9, 3)) + np.arange(9)[:, None]
    alpha = item_analysis.cronbach_alpha(scores)
    assert item_analysis.cronbach_alpha(scores / 100) == pytest.approx(alpha)
    two = np.array([[0.0, 1, 2], [1, 2, 4]])
    assert item_analysis.cronbach_alpha(two)[0] == pytest.approx(1.5 * (1 - 3 / 8))


def test_item_means_keep_the_order_of_the_rows_and_leave_out_what_nobody_was_asked(hamd, item_rows):
    rows = item_rows.iloc[::-1].copy()
    rows["visit"] = rows["visit"].cat.add_categories(["v9"])
    rows.loc[rows["visit"].eq("v1"), "item_17"] = np.nan
    alone = rows["visit"].eq("v2") & rows["participant_id"].ne("sub-12")
    rows.loc[alone & rows["arm"].eq("control"), "item_01"] = np.nan
    found = item_analysis.item_means(hamd, rows)
    assert found["arm"].tolist()[:2] == ["control", "control"]
    assert found["visit"].tolist()[:3] == ["v2", "v1", "v0"]
    assert found["n"].tolist()[0] == 1
    assert len(found) == 17 * 6 - 2
    assert found.index.tolist() == list(range(100))


@pytest.mark.filterwarnings("error")
def test_an_item_has_a_difference_with_two_in_an_arm_and_without_spread_at_baseline(
    hamd, item_rows
):
    rows = item_rows[~item_rows["participant_id"].isin(["sub-10", "sub-11", "sub-12"])].copy()
    rows.loc[rows["visit"].eq("v0"), "item_01"] = 2.0
    rows.loc[rows["arm"].eq("control") & rows["visit"].eq("v2"), "item_01"] = [0.0, 1.0]
    rows.loc[rows["participant_id"].eq("sub-08"), "item_02"] = np.nan
    found = item_analysis.item_differences(Visits, hamd, rows).set_index("item")
    final = rows[rows["visit"].eq("v2")].groupby("arm")["item_01"].mean()
    assert found.loc["item_01", "estimate"] == pytest.approx(final["active"] - 0.5)
    assert found.loc["item_01", ["n_active", "n_control", "note"]].tolist() == [8, 2, ""]
    assert found.loc["item_02", "n_control"] == 1
    assert found["note"]["item_02"] == "fewer than two participants rated twice in an arm"
    assert found["estimate"].dtype == found["ci_high"].dtype == float


def test_an_item_without_anybody_in_an_arm_has_a_note_and_no_number(hamd, item_rows):
    rows = item_rows.assign(item_01=np.repeat(np.arange(13.0) % 3, 3), item_02=0.0)
    rows.loc[rows["arm"].eq("control"), "item_03"] = np.nan
    rows.loc[rows["participant_id"].eq("sub-00"), "item_02"] = 1.0
    rows.loc[rows["visit"].eq("v2"), "item_02"] = np.arange(13) % 3
    three = ["participant_id", "arm", "visit", "item_01", "item_02", "item_03"]
    found = item_analysis.item_differences(Visits, hamd, rows[three])
    assert found["note"].tolist() == [
        "every participant changed by the same amount",
        "one participant alone differs at baseline: HC3 is not defined",
        "fewer than two participants rated twice in an arm",
    ]
    assert found["n_control"].tolist() == [5, 5, 0]
    numbers_of = found[["estimate", "se", "df", "ci_low", "ci_high"]]
    assert numbers_of.isna().all(axis=None)
    assert set(numbers_of.dtypes) == {np.dtype(float)}


def suicide_rows():
    """Scores of the suicide item at three visits: five active, three control participants."""
    scores = {
        "active": [(0, 1, 0), (1, 1, 2), (2, 1, 1), (0, 0, np.nan), (0, 2, 3)],
        "control": [(1, 0, 2), (2, 2, 2), (0, 0, 0)],
    }
    rows = [
        (f"{arm[0]}{i}", arm, f"v{v}", score)
        for arm, people_of_arm in scores.items()
        for i, values in enumerate(people_of_arm)
        for v, score in enumerate(values)
    ]
    table = pd.DataFrame(rows, columns=["participant_id", "arm", "visit", "item_03"])
    table["visit"] = pd.Categorical(table["visit"], ["v0", "v1", "v2"], ordered=True)
    return table.assign(**{f"item_{k:02d}": 0.0 for k in range(1, 18) if k != 3})


def test_points_of_the_suicide_item_are_counted_by_arm_and_visit(hamd):
    found = item_analysis.suicide_distribution(hamd, suicide_rows())
    expected = []
    counts = {
        ("active", "v0"): [3, 1, 1, 0, 0],
        ("active", "v1"): [1, 3, 1, 0, 0],
        ("active", "v2"): [1, 1, 1, 1, 0],
        ("control", "v0"): [1, 1, 1, 0, 0],
        ("control", "v1"): [2, 0, 1, 0, 0],
        ("control", "v2"): [1, 0, 2, 0, 0],
    }
    for (arm, visit), by_point in counts.items():
        for points, n in enumerate(by_point):
            row = {"scale": "HAMD-17", "arm": arm, "visit": visit, "points": points}
            expected.append(row | {"n": n, "n_rated": sum(by_point)})
    assert_table(found, as_columns(expected))


def test_points_of_the_suicide_item_stand_by_arm_and_visit_whatever_else_is_missing(hamd):
    rows = suicide_rows().iloc[::-1].copy()
    rows["visit"] = rows["visit"].cat.add_categories(["v9"])
    rows.loc[0, "item_05"] = np.nan
    found = item_analysis.suicide_distribution(hamd, rows)
    pd.testing.assert_frame_equal(
        found.astype({"visit": str}),
        item_analysis.suicide_distribution(hamd, suicide_rows()).astype({"visit": str}),
    )
    none = item_analysis.suicide_distribution(hamd, rows.drop(columns="item_17"))
    assert list(none) == ["scale", "arm", "visit", "points", "n", "n_rated"]
    assert len(none) == 0


def test_worsening_leaves_out_a_visit_that_nobody_had_or_that_was_not_planned(hamd):
    rows = suicide_rows()
    study = SimpleNamespace(baseline="v0", post_visits=("v1", "v2", "v8", "v9"))
    rows["visit"] = rows["visit"].cat.add_categories(["v9"])
    extra = rows[rows["visit"].eq("v1")].assign(visit="v9", item_03=np.nan)
    found = item_analysis.suicide_worsening(study, hamd, pd.concat([rows, extra]))
    assert found["visit"].tolist() == ["v1", "v2", "any"]


def test_worsening_of_the_suicide_item_is_counted_by_arm(hamd):
    found = item_analysis.suicide_worsening(Visits, hamd, suicide_rows())
    rows = [("v1", [5, 3], [2, 0]), ("v2", [4, 3], [2, 1]), ("any", [5, 3], [3, 1])]
    expected = []
    for visit, n, events in rows:
        row = {"scale": "HAMD-17", "visit": visit} | difference_columns(events, n)
        expected.append(row)
    assert_table(found, as_columns(expected))


def test_the_item_tables_are_named_for_what_they_hold(tiny, item_rows):
    study = tiny.write()
    renamed = {"v0": "baseline", "v1": "week1", "v2": "week2"}
    rows = item_rows.assign(session_id="ses-" + item_rows["visit"].astype(str).map(renamed))
    kept = sorted(rows["participant_id"].unique())[:8]
    names = dict(zip(kept, study_scores.read_participants(study)["participant_id"], strict=True))
    rows = rows[rows["participant_id"].isin(names)]
    rows = rows.assign(participant_id=rows["participant_id"].map(names))
    path = study.root / "phenotype" / "hamd17.tsv"
    kept = ["participant_id", "session_id", *(c for c in rows if c.startswith("item_"))]
    rows[kept].to_csv(path, sep="\t", index=False, na_rep="n/a")
    participants = study_scores.read_participants(study)
    found = item_analysis.item_tables(study, participants)
    scale = study.primary_scale
    read = study_scores.read_scale(study, scale, participants)
    made = {
        "alpha": item_analysis.alpha_table(study, scale, read),
        "item_differences": item_analysis.item_differences(study, scale, read),
        "factors": item_analysis.factor_differences(study, scale, read),
        "item_means": item_analysis.item_means(scale, read),
        "suicide_item": item_analysis.suicide_distribution(scale, read),
        "suicide_worsening": item_analysis.suicide_worsening(study, scale, read),
    }
    assert list(found) == list(made)
    for name, table in made.items():
        pd.testing.assert_frame_equal(found[name], table)


def test_item_tables_are_those_of_the_scales_with_items_one_below_the_other(
    monkeypatch, hamd, item_rows
):
    other = SimpleNamespace(name="other", key="other", better="lower", items=None)
    four = item_rows[["participant_id", "arm", "visit", *(f"item_{k:02d}" for k in range(1, 5))]]
    read = {"HAMD-17": item_rows, "other": four, "CGI": four.iloc[:, :3]}
    read = {(name, "everybody"): table for name, table in read.items()}
    monkeypatch.setattr(item_analysis, "read_scale", lambda _, scale, who: read[scale.name, who])
    study = SimpleNamespace(baseline="v0", final_visit="v2", post_visits=("v1", "v2"))
    study.scales = [SimpleNamespace(name="CGI", key="cgi", better="lower", items=None), other]
    found = item_analysis.item_tables(study, "everybody")
    assert list(found) == ["alpha", "item_differences", "item_means"]
    study.scales.append(hamd)
    found = item_analysis.item_tables(study, "everybody")
    assert found["alpha"]["scale"].tolist() == ["other"] * 2 + ["HAMD-17"] * 2
    assert all(list(t.index) == list(range(len(t))) for t in found.values())
    assert len(found["item_differences"]) == 4 + 17


# --- what is written and quoted


def test_scores_and_changes_hold_each_visit_of_each_participant(tiny):
    study, participants, ratings = small_trial(tiny)
    one = ratings[(ratings["participant_id"] == "sub-06") & (ratings["scale"] == "HAMD-17")]
    expected = {"participant_id": "sub-06", "arm": "control", "scale": "HAMD-17"}
    expected |= {
        "visit": ["baseline", "week1", "week2"],
        "week": [0.0, 1, 2],
        "score": [20, 18, 10],
    }
    assert_table(one, expected, numbered=False)
    later = study_scores.with_baseline(study, ratings)
    one = later[(later["participant_id"] == "sub-06") & (later["scale"] == "HAMD-17")]
    expected |= {"visit": ["week1", "week2"], "week": [1.0, 2], "score": [18, 10]}
    expected |= {"baseline": [20, 20], "outcome": [-2, -10], "kind": "change"}
    assert_table(one, expected, numbered=False)
    improved = study_scores.improvement(
        study, study_scores.read_scale(study, study.primary_scale, participants), "week2"
    )
    assert improved["sub-06"] == 10


def test_quoted_numbers_are_the_cells_that_their_names_say(tiny):
    study, participants, ratings = small_trial(tiny)
    visits = ["week1", "week2", "all"]
    contrasts = pd.DataFrame({"scale": "HAMD-17", "visit": visits})
    for k, name in enumerate(("estimate", "ci_low", "ci_high", "p", "hedges_g")):
        contrasts[name] = 10.0 * k + np.arange(3)
    responders = risks.responders(study, participants, ratings)
    counted = {
        "active": {"randomised": 5, "analysed": 4},
        "control": {"randomised": 3, "analysed": 2},
    }
    tables = {"mmrm_contrasts": contrasts, "responders": responders}
    results = SimpleNamespace(table=tables.get, json={"flow": counted}.get)
    results.has = tables.__contains__
    found = numbers.clinical_numbers(study, results)
    for k, name in enumerate(("estimate", "ci_low", "ci_high", "p", "hedges_g")):
        for i, visit in enumerate(visits):
            assert found[f"hamd17.{visit}.{name}"] == (10.0 * k + i, "mmrm_contrasts.tsv")
    rows = responders.set_index(["scale", "visit", "outcome", "analysis"])
    for outcome in ("response", "remission"):
        row = rows.loc[("HAMD-17", "week2", outcome, "missing_is_failure")]
        for name in ("events_active", "events_control", "risk_difference", "ci_low", "ci_high"):
            assert found[f"hamd17.week2.{outcome}.{name}"] == (row[name], "responders.tsv")
    flows = {k: v for k, v in found.items() if k.startswith("flow")}
    assert flows == {
        "flow.active.randomised": (5, "flow.json"),
        "flow.active.analysed": (4, "flow.json"),
        "flow.control.randomised": (3, "flow.json"),
        "flow.control.analysed": (2, "flow.json"),
    }
