"""Courses and change within a study that has no control arm."""

import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from analysis_lib.clinical.outcomes import visit_means
from analysis_lib.clinical.risks import ROUNDING, binary_outcomes
from trialmmrm import fit_with_fallback
from trialmmrm.hedges import hedges_correction


def course_tables(study, data) -> dict:
    """Courses of a study without a control arm, as result tables.

    Parameters
    ----------
    study : Study
    data : analysis_lib.clinical.trial_data.TrialData

    Returns
    -------
    dict
        flow (how many there are, are left out, are analysed), scores, means (observed), change (of
        each scale, by visit), shares (response and remission; of those rated).
    """
    people = data.participants
    primary = data.changes[data.changes["scale"] == study.primary_scale.name]
    flow = {
        "participants": len(people),
        "excluded": int(people["excluded"].notna().sum()),
        "analysed": int(primary.dropna()["participant_id"].nunique()),
    }
    tables = {"flow": flow, "scores": data.scores, "means": visit_means(data.scores)}
    return tables | {
        "change": change_table(data.changes),
        "shares": share_table(study, data.scores),
    }


def change_table(changes):
    """Mean change from baseline by scale and visit, with its interval.

    ``outcome ~ visit``, REML, unstructured covariance, Kenward-Roger: the paired t-test of each
    visit where nobody is missing, and where somebody is, valid if scores are missing at random. A
    scale without a baseline has no rows. g is the mean change over its standard deviation, times J.
    """
    groups = changes[changes["kind"] == "change"].dropna(subset=["outcome"]).groupby("scale")
    rows = [_changes(scale, own) for scale, own in groups]
    return pd.concat(rows, ignore_index=True)


def _changes(scale, rows):
    counts = rows["visit"].value_counts()
    rows = rows[rows["visit"].isin(counts.index[counts > 1])]
    rows = rows.assign(visit=rows["visit"].cat.remove_unused_categories())
    visits = list(rows["visit"].cat.categories)
    if len(visits) > 1:
        fit = fit_with_fallback(rows, "outcome ~ 0 + visit", "participant_id", "visit")
        found = fit.coefficients.rename(columns={"estimate": "mean"}).reset_index(drop=True)
    else:
        found = _one_visit(rows["outcome"])
    by_visit = rows.groupby("visit", observed=True)["outcome"].agg(["count", "std"]).loc[visits]
    margin = stats.t.ppf(0.975, found["df"].to_numpy(float)) * found["se"]
    n, sd = by_visit["count"].to_numpy(), by_visit["std"].to_numpy()
    return pd.DataFrame(
        {
            "scale": scale,
            "visit": visits,
            "n": n,
            "mean": found["mean"],
            "sd": sd,
            "se": found["se"],
            "df": found["df"],
            "ci_low": found["mean"] - margin,
            "ci_high": found["mean"] + margin,
            "t": found["t"],
            "p": found["p"],
            "hedges_g": found["mean"] / sd * hedges_correction(n - 1),
        }
    )


def _one_visit(outcome):
    """The paired t-test."""
    se, df = outcome.sem(), len(outcome) - 1
    t = outcome.mean() / se
    row = {"mean": outcome.mean(), "se": se, "df": df, "t": t, "p": 2 * stats.t.sf(abs(t), df)}
    return pd.DataFrame([row])


def share_table(study, ratings):
    """Response and remission of those rated, by scale and visit, with Wilson's 95 % limits."""
    rows = []
    for scale in study.scales:
        own = ratings[ratings["scale"] == scale.name]
        wide = own.pivot(index="participant_id", columns="visit", values="score")
        if study.baseline not in wide:
            continue
        for outcome, eligible, limit in binary_outcomes(scale, wide[study.baseline]):
            for visit in wide.columns.drop(study.baseline):
                rated = wide.loc[eligible, visit].dropna()
                beyond = (rated - limit[rated.index]) * scale.gain
                events, n = int((beyond >= -ROUNDING).sum()), len(rated)
                low, high = proportion_confint(events, n, method="wilson") if n else (None, None)
                row = {"scale": scale.name, "visit": visit, "outcome": outcome, "n": n}
                share = events / n if n else None
                rows.append(
                    row | {"events": events, "share": share, "ci_low": low, "ci_high": high}
                )
    return pd.DataFrame(rows)
