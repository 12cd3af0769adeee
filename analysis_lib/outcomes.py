"""Clinical outcomes: flow, Table 1, means, ANCOVA, repeated-measures ANOVA, response, remission.

Every table has the columns that ``results.COLUMNS`` describes. Differences are active - control, so
a negative one favours the active arm on scales where lower is better.
"""

import numpy as np
import pandas as pd
import pingouin as pg
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from analysis_lib.glm import hedges_correction
from analysis_lib.permutation import draw_permutations, nuisance_basis

ARMS = ("active", "control")
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


def participant_flow(study, participants, ratings, pairs=None):
    """Count participants from randomisation to analysis, by arm, with reasons.

    Parameters
    ----------
    study : Study
    participants, ratings : pandas.DataFrame
        From :mod:`analysis_lib.ratings`.
    pairs : pandas.DataFrame, optional
        From :func:`analysis_lib.images.pair_maps`.

    Returns
    -------
    dict
        For each arm: randomised; excluded, withdrew and not_scanned_twice (participants by
        reason); rated (participants with the primary score, by visit); analysed (with a baseline
        and at least one later primary score); scanned_twice.
    """
    return {arm: _arm_flow(study, arm, participants, ratings, pairs) for arm in ARMS}


def _arm_flow(study, arm, participants, ratings, pairs):
    own = participants[participants["arm"] == arm]
    scored = ratings[(ratings["arm"] == arm) & (ratings["scale"] == study.primary_scale.name)]
    scored = scored.dropna(subset=["score"])
    rated = {v: set(scored.loc[scored["visit"] == v, "participant_id"]) for v in study.visits}
    later = set().union(*(rated[visit] for visit in study.post_visits))
    flow = {
        "randomised": len(own),
        "excluded": _by_reason(own, "excluded"),
        "withdrew": _by_reason(own[own["excluded"].isna()], "withdrawn_after"),
        "rated": {visit: len(who) for visit, who in rated.items()},
        "analysed": len(rated[study.baseline] & later),
    }
    if pairs is not None:
        mine = pairs[pairs["arm"] == arm]
        flow["scanned_twice"] = int((mine["status"] == "analysed").sum())
        flow["not_scanned_twice"] = _by_reason(mine[mine["status"] != "analysed"], "status")
    return flow


def _by_reason(table, column):
    groups = table.dropna(subset=[column]).groupby(column, sort=True)["participant_id"]
    return {str(reason): sorted(who) for reason, who in groups}


def baseline_table(study, participants, ratings):
    """Table 1: characteristics at baseline by arm, with standardised differences and no p.

    Randomisation makes any difference at baseline a chance one, so a test of it answers no question
    (CONSORT 2025).

    Returns
    -------
    pandas.DataFrame
        variable, summary, active, control, standardised_mean_difference (Austin 2009, Stat Med
        28:3083-3107); each level of a variable in words has a row.
    """
    included = participants[participants["excluded"].isna()].set_index("participant_id")
    wanted = [*study.covariates, *study.strata, "tiv"]
    table = included[[c for c in dict.fromkeys(wanted) if c in included]].copy()
    first = ratings[ratings["visit"] == study.baseline]
    for scale in study.scales:
        scores = first[first["scale"] == scale.name].set_index("participant_id")["score"]
        if scores.notna().any():
            table[f"{scale.name} at baseline"] = scores
    rows = [row for name in table for row in _baseline_rows(name, table[name], included["arm"])]
    return pd.DataFrame(rows)


def _baseline_rows(name, values, arm):
    active, control = (values[arm == which].dropna() for which in ARMS)
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 2:
        spread = np.sqrt((active.var() + control.var()) / 2)
        difference = (active.mean() - control.mean()) / spread
        cells = [f"{v.mean():.1f} ({v.std():.1f})" for v in (active, control)]
        return [_baseline_row(name, "mean (SD)", cells, difference)]
    rows = []
    for level in sorted(values.dropna().unique()):
        p, q = (active == level).mean(), (control == level).mean()
        spread = np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
        cells = [f"{(v == level).sum()} ({(v == level).mean():.0%})" for v in (active, control)]
        difference = (p - q) / spread if spread else 0.0
        text = f"{level:g}" if isinstance(level, float) else level
        rows.append(_baseline_row(f"{name}: {text}", "n (%)", cells, difference))
    return rows


def _baseline_row(name, summary, cells, difference):
    return {
        "variable": name,
        "summary": summary,
        "active": cells[0],
        "control": cells[1],
        "standardised_mean_difference": difference,
    }


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

    Outcome ~ baseline + arm by least squares, each visit with the participants rated at it. HC3
    (MacKinnon & White 1985) needs no equal variance in the arms and holds its level in small
    samples (Long & Ervin 2000, Am Stat 54:217-224).

    Parameters
    ----------
    changes : pandas.DataFrame
        From :func:`analysis_lib.ratings.with_baseline`.

    Returns
    -------
    pandas.DataFrame
        scale, visit, kind, contrast, n_active, n_control, estimate, se, df, ci_low, ci_high, t, p,
        hedges_g, g_ci_low, g_ci_high. g is the estimate over the pooled standard deviation of the
        outcome, times J; its interval uses the large-sample variance of g (Hedges & Olkin 1985).
        A visit with fewer than two participants in an arm has no row.
    """
    groups = changes.dropna().groupby(["scale", "visit"], observed=True, sort=False)
    return pd.DataFrame(
        [_ancova_row(*k, rows) for k, rows in groups if _smaller_arm(rows["arm"]) > 1]
    )


def _smaller_arm(arm):
    return arm.value_counts().reindex(ARMS, fill_value=0).min()


def _ancova_row(scale, visit, rows):
    rows = rows.assign(active=(rows["arm"] == "active").astype(float))
    fit = smf.ols("outcome ~ baseline + active", rows).fit(cov_type="HC3", use_t=True)
    low, high = fit.conf_int().loc["active"]
    by_arm = [rows.loc[rows["arm"] == arm, "outcome"] for arm in ARMS]
    n1, n2 = map(len, by_arm)
    pooled = np.sqrt(sum((len(v) - 1) * v.var() for v in by_arm) / (n1 + n2 - 2))
    g = fit.params["active"] / pooled * hedges_correction(n1 + n2 - 2)
    margin = stats.norm.ppf(0.975) * np.sqrt((n1 + n2) / (n1 * n2) + g**2 / (2 * (n1 + n2)))
    return {
        "scale": scale,
        "visit": visit,
        "kind": rows["kind"].iloc[0],
        "contrast": CONTRAST,
        "n_active": n1,
        "n_control": n2,
        "estimate": fit.params["active"],
        "se": fit.bse["active"],
        "df": fit.df_resid,
        "ci_low": low,
        "ci_high": high,
        "t": fit.tvalues["active"],
        "p": fit.pvalues["active"],
        "hedges_g": g,
        "g_ci_low": g - margin,
        "g_ci_high": g + margin,
    }


def randomisation_test(changes, scale, visit, strata=None, n_permutations=5000, seed=0):
    """Test the difference at a visit against re-randomised arms.

    Arm labels are drawn anew as the trial drew them (within strata), with every participant's
    baseline and outcome left as observed, and the ANCOVA of :func:`ancova` is fitted again each
    time. The statistic is its t with HC3 error: the p is exact when treatment does nothing to
    anybody, whatever the distribution of scores, and thanks to the studentised statistic it also
    holds in large samples when only the mean effect is zero and the arms' spreads differ (Wu & Ding
    2021, J Am Stat Assoc 116:1898-1913). Simple randomisation to arms of the observed sizes is
    assumed within strata; blocks that the data do not record cannot be followed.

    Parameters
    ----------
    changes : pandas.DataFrame
        From :func:`analysis_lib.ratings.with_baseline`.
    scale, visit : str
    strata : pandas.Series, optional
        One value a participant, indexed by participant_id: what randomisation was stratified by.
    n_permutations : int
        How many to draw; where fewer distinct ones exist all are made, once each.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row: scale, visit, n_active, n_control, n_strata, estimate, se, t, p_randomisation =
        (1 + number of permutations with at least the observed |t|) / (1 + n_permutations),
        n_permutations, exhaustive. A permutation whose t is not defined counts against the
        observed one.

    Raises
    ------
    ValueError
        With no such scale and visit, fewer than two participants in an arm, a participant without
        stratum, or an observed t that is not defined.
    """
    rows = changes[(changes["scale"] == scale) & (changes["visit"] == visit)].dropna()
    n = rows["arm"].value_counts().reindex(ARMS, fill_value=0)
    if n.min() < 2:
        raise ValueError(
            f"{scale} at {visit}: at least two rated participants in each arm expected, found "
            f"{n['active']} active and {n['control']} control: the arms cannot be compared"
        )
    blocks = _strata_of(rows, strata)
    active = (rows["arm"] == "active").to_numpy(float)
    order, exhaustive = draw_permutations(
        n_permutations, len(rows), active, blocks=blocks, seed=seed
    )
    baseline, outcome = (rows[c].to_numpy(float) for c in ("baseline", "outcome"))
    estimate, se = (v[0] for v in _hc3(active[None], baseline, outcome))
    if not se > 0:
        raise ValueError(
            f"{scale} at {visit}: scores that vary beyond what baseline and arm determine "
            "expected, found none, or one participant alone determines the fit: no error of the "
            "difference can be estimated"
        )
    # place k takes participant order[k] - 1, so a participant gets the label of their new place
    labels = (active[np.argsort(chunk, axis=1)] for chunk in _chunks(order))
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = [np.divide(*_hc3(chunk, baseline, outcome)) for chunk in labels]
    null = np.concatenate([[], *draws])
    below = np.abs(null) < np.abs(estimate / se) * (1 - 1e-9)
    row = {"scale": scale, "visit": visit, "n_active": n["active"], "n_control": n["control"]}
    row |= {"n_strata": 1 if blocks is None else len(np.unique(blocks))}
    row |= {"estimate": estimate, "se": se, "t": estimate / se}
    row["p_randomisation"] = (1 + np.sum(~below)) / (1 + len(null))
    return pd.DataFrame([row | {"n_permutations": len(null), "exhaustive": exhaustive}])


def _strata_of(rows, strata):
    if strata is None:
        return None
    own = rows["participant_id"].map(strata)
    if own.isna().any():
        who = ", ".join(rows.loc[own.isna(), "participant_id"])
        raise ValueError(f"strata: a stratum for every participant expected, found none for {who}")
    return own.astype(str).to_numpy()


def _chunks(order, size=2000):
    return (order[i : i + size] for i in range(0, len(order), size))


def _hc3(labels, baseline, outcome):
    """Coefficient of each row of labels in outcome ~ 1 + baseline + label, and its HC3 error.

    By Frisch, Waugh and Lovell: with r the outcome and x the labels, both less their regression on
    the baseline, b = x'r / x'x, the residuals are r - b x and the leverage that of the baseline's
    regression plus x^2 / x'x.
    """
    basis = nuisance_basis(baseline, len(baseline), intercept=True)
    r = outcome - basis @ (basis.T @ outcome)
    x = labels - (labels @ basis) @ basis.T
    square = np.einsum("pn,pn->p", x, x)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        b = x @ r / square[:, 0]
        free = 1 - np.sum(basis**2, axis=1) - x**2 / square
        free = np.where(free < 1e-9, np.nan, free)  # a leverage of 1: HC3 is not defined
        residual = r - b[:, None] * x
        residual = np.where(np.abs(residual) < 1e-10 * np.abs(outcome).max(), 0, residual)
        error = np.sqrt(np.sum((x * residual / free) ** 2, axis=1)) / square[:, 0]
        return b, error


def rm_anova(ratings):
    """Group x time repeated-measures ANOVA of each scale, participants with every visit only.

    Returns
    -------
    pandas.DataFrame
        scale, effect (arm, time, arm x time), n, df1, df2, F, epsilon_gg, p, p_gg, partial_eta2.
        epsilon is Greenhouse and Geisser's from the covariance pooled within arms; with two visits
        it is 1 (pingouin). A scale rated at one visit only, or with fewer than two complete
        participants in an arm, has no rows.
    """
    tables = [_anova(name, rows) for name, rows in ratings.groupby("scale", sort=False)]
    tables = [table for table in tables if table is not None]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=ANOVA_COLUMNS)


def _anova(scale, rows):
    wide = rows.pivot(index=["participant_id", "arm"], columns="visit", values="score")
    complete = wide.dropna(axis=1, how="all").dropna()
    if complete.shape[1] < 2 or _smaller_arm(complete.index.get_level_values("arm")) < 2:
        return None
    long = complete.rename_axis(columns="time").stack().rename("score").reset_index()
    long["time"] = long["time"].astype(str)
    table = pg.mixed_anova(
        long, dv="score", within="time", between="arm", subject="participant_id", correction=True
    )
    table = table.assign(scale=scale, n=len(complete))
    table["effect"] = table["Source"].replace("Interaction", "arm x time")
    if "p_GG_corr" not in table:  # two visits
        table["p_GG_corr"] = table["p_unc"].where(table["Source"] != "arm")
    names = {"DF1": "df1", "DF2": "df2", "p_unc": "p", "p_GG_corr": "p_gg"}
    table = table.rename(columns={**names, "np2": "partial_eta2", "eps": "epsilon_gg"})
    return table[ANOVA_COLUMNS]


def responders(study, participants, ratings):
    """Response and remission by arm at each visit after baseline that the scale was rated at.

    Response is a fall of at least 50 % from baseline, and needs a baseline above 0. Remission is a
    score at or below the scale's cut-off, and needs a baseline above it. Intervals of the risk
    difference are Newcombe's (1998, Stat Med 17:873-890, method 10), p is Fisher's exact test, and
    the number needed to treat is given only where the interval excludes 0 (Altman 1998).

    Returns
    -------
    pandas.DataFrame
        The columns of ``clinical/responders.tsv``; excluded_active and excluded_control count the
        participants without a baseline, or with one to which the outcome does not apply.
    """
    rows = []
    for scale in study.scales:
        own = ratings[ratings["scale"] == scale.name]
        wide = own.pivot(index="participant_id", columns="visit", values="score")
        wide = wide.reindex(participants.loc[participants["excluded"].isna(), "participant_id"])
        wide = wide.dropna(axis=1, how="all")
        if study.baseline not in wide:
            continue
        arm = participants.set_index("participant_id")["arm"].reindex(wide.index)
        for outcome, eligible, reached in _binary_outcomes(study, scale, wide):
            for visit in reached:
                seen = wide[visit].notna()
                for analysis, who in (
                    ("missing_is_failure", eligible),
                    ("observed", eligible & seen),
                ):
                    out = arm[~eligible].value_counts()
                    row = {"scale": scale.name, "visit": visit, "outcome": outcome}
                    row |= {"analysis": analysis} | _compare_risks(reached[visit][who], arm[who])
                    row |= {f"excluded_{a}": int(out.get(a, 0)) for a in ARMS}
                    rows.append(row)
    return pd.DataFrame(rows)


def _binary_outcomes(study, scale, wide):
    baseline, later = wide[study.baseline], wide.drop(columns=study.baseline)
    yield "response", baseline > 0, later.le(baseline / 2, axis=0)
    if scale.remission_at_most is not None:
        cut = scale.remission_at_most
        yield "remission", baseline > cut, later <= cut


def _compare_risks(reached, arm):
    n = [int((arm == which).sum()) for which in ARMS]
    events = [int(reached[arm == which].sum()) for which in ARMS]
    counts = {
        "n_active": n[0],
        "n_control": n[1],
        "events_active": events[0],
        "events_control": events[1],
    }
    if 0 in n:  # nobody to compare with
        names = ("risk_difference", "ci_low", "ci_high", "p", "nnt")
        return counts | dict.fromkeys(names, np.nan)
    low, high = newcombe_interval(*events, *n)
    difference = events[0] / n[0] - events[1] / n[1]
    table = [events, [total - count for total, count in zip(n, events, strict=True)]]
    return counts | {
        "risk_difference": difference,
        "ci_low": low,
        "ci_high": high,
        "p": stats.fisher_exact(table).pvalue,
        "nnt": 1 / difference if low * high > 0 else np.nan,
    }


def newcombe_interval(events_active, events_control, n_active, n_control):
    """95 % interval of a risk difference from two Wilson intervals (Newcombe 1998, method 10)."""
    return confint_proportions_2indep(
        events_active, n_active, events_control, n_control, method="newcomb", compare="diff"
    )
