"""Means, per-visit ANCOVA and repeated-measures ANOVA of the scales."""

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import stats

from analysis_lib.clinical.rating_patterns import adjusting
from analysis_lib.results.problems import NotComputed
from analysis_lib.study.contract import ARMS
from trialmmrm.hedges import hedges_correction, hedges_g

CONTRAST = "active - control"
ANOVA_COLUMNS = [
    "scale",
    "effect",
    "n",
    "df1",
    "df2",
    "F",
    "epsilon_gg",
    "p",
    "p_gg",
    "partial_eta2",
]


def visit_means(ratings):
    """Observed means by scale, arm and visit.

    Returns
    -------
    pandas.DataFrame
        scale, arm, visit, week, n, mean, sd, ci_low, ci_high (t intervals, each visit by itself).
    """
    groups = ratings.groupby(["scale", "arm", "visit", "week"], observed=True, sort=False)["score"]
    table = groups.agg(n="count", mean="mean", sd="std").reset_index()
    margin = stats.t.ppf(0.975, table["n"] - 1) * table["sd"] / np.sqrt(table["n"])
    table = table.assign(ci_low=table["mean"] - margin, ci_high=table["mean"] + margin)
    return table[table["n"] > 0].sort_values(["scale", "arm", "week"]).reset_index(drop=True)


def ancova(changes):
    """Difference between arms at each visit, adjusted for baseline, with HC3 standard errors.

    Outcome ~ baseline + arm, and what the study adjusts for, by least squares, each visit with the
    participants rated at it. HC3 (MacKinnon & White 1985) needs no equal variance in the arms and
    holds its level in small samples (Long & Ervin 2000, Am Stat 54:217-224).

    Parameters
    ----------
    changes : pandas.DataFrame
        From :func:`analysis_lib.study.scores.with_baseline`.

    Returns
    -------
    pandas.DataFrame
        Rows of clinical/ancova.tsv. A visit with fewer than two participants in an arm has none;
        NotComputed if all have.
    """
    groups = changes.dropna().groupby(["scale", "visit"], observed=True, sort=False)
    found = [_ancova_row(*k, rows) for k, rows in groups if _smaller_arm(rows["arm"]) > 1]
    if not found:
        raise NotComputed("no visit after baseline at which two of each arm were rated")
    return pd.DataFrame(found)


def usable(rows):
    """Columns to adjust for (`study.adjustment`) that vary among these participants.

    A 0/1 column of one participant alone is left out: HC3 has no error for a leverage of 1.
    """
    columns = adjusting(rows)
    flags = [name for name in columns if rows[name].isin([0, 1]).all()]
    alone = [name for name in flags if not 1 < rows[name].sum() < len(rows) - 1]
    return [name for name in columns if name not in alone]


def _smaller_arm(arm):
    return arm.value_counts().reindex(ARMS, fill_value=0).min()


def _ancova_row(scale, visit, rows):
    rows = rows.assign(active=(rows["arm"] == "active").astype(float))
    formula = " + ".join(["outcome ~ baseline + active", *usable(rows)])
    fit = smf.ols(formula, rows).fit(cov_type="HC3", use_t=True)
    low, high = fit.conf_int().loc["active"]
    n = rows["arm"].value_counts()
    row = {
        "scale": scale,
        "visit": visit,
        "kind": rows["kind"].iloc[0],
        "contrast": CONTRAST,
        "n_active": n["active"],
        "n_control": n["control"],
        "estimate": fit.params["active"],
        "se": fit.bse["active"],
        "df": fit.df_resid,
        "ci_low": low,
        "ci_high": high,
        "t": fit.tvalues["active"],
        "p": fit.pvalues["active"],
    }
    g = raw_g(pd.DataFrame([row]), [np.sqrt(pooled_variance(rows))], [n])
    return row | g.iloc[0].to_dict()


def pooled_variance(rows):
    """Variance of the outcome within arms, pooled."""
    by_arm = [rows.loc[rows["arm"] == arm, "outcome"] for arm in ARMS]
    return sum((len(v) - 1) * v.var() for v in by_arm) / (sum(map(len, by_arm)) - 2)


def raw_g(table, sd, n):
    """Hedges g by the raw standard deviation, which meta-analyses of unadjusted trials use, too.

    The estimate over the SD, times J of the SD's degrees of freedom. The limits are those of the
    noncentral t of :func:`trialmmrm.hedges.hedges_g`, so that they exclude 0 where p < .05.
    ``table`` has estimate, se, df and t; of each row ``sd`` is the pooled SD within arms, ``n`` the
    participants of each arm.
    """
    found = hedges_g(table, np.array(sd), 0.95)
    df = np.array([sum(own) - 2 for own in n])
    found["hedges_g"] = table["estimate"].to_numpy() / sd * hedges_correction(df)
    return found.set_axis(["hedges_g_raw", "g_raw_ci_low", "g_raw_ci_high"], axis=1)


def rm_anova(ratings):
    """Group x time repeated-measures ANOVA of each scale, participants with every visit only.

    Returns
    -------
    pandas.DataFrame
        Rows of clinical/anova.tsv. epsilon is Greenhouse and Geisser's from the covariance pooled
        within arms; with two visits it is 1 (pingouin). A scale rated at one visit only, or with
        fewer than two complete participants in an arm, has none.
    """
    tables = [_anova(name, rows) for name, rows in ratings.groupby("scale", sort=False)]
    tables = [table for table in tables if table is not None]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=ANOVA_COLUMNS)


def _anova(scale, rows):
    import pingouin  # slow: it brings seaborn and matplotlib

    wide = rows.pivot(index=["participant_id", "arm"], columns="visit", values="score")
    complete = wide.dropna(axis=1, how="all").dropna()
    if complete.shape[1] < 2 or _smaller_arm(complete.index.get_level_values("arm")) < 2:
        return None
    long = complete.rename_axis(columns="time").stack().rename("score").reset_index()
    long["time"] = long["time"].astype(str)
    table = pingouin.mixed_anova(
        long, dv="score", within="time", between="arm", subject="participant_id", correction=True
    )
    table = table.assign(scale=scale, n=len(complete))
    table["effect"] = table["Source"].replace("Interaction", "arm x time")
    if "p_GG_corr" not in table:  # two visits
        table["p_GG_corr"] = table["p_unc"].where(table["Source"] != "arm")
    names = {"DF1": "df1", "DF2": "df2", "p_unc": "p", "p_GG_corr": "p_gg"}
    table = table.rename(columns={**names, "np2": "partial_eta2", "eps": "epsilon_gg"})
    return table[ANOVA_COLUMNS]
