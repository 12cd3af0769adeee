"""The models of a study's scales over visits: the primary MMRM and, beside it, growth curves."""

import warnings

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from analysis_lib.clinical.by_scale import ByScale
from analysis_lib.clinical.outcomes import CONTRAST, pooled_variance, raw_g
from analysis_lib.clinical.rating_patterns import adjusting, at_estimable_visits
from analysis_lib.study.contract import ARMS
from trialmmrm import fit_with_fallback
from trialmmrm.structures import FALLBACK

FORMULA = "outcome ~ {baseline} + arm*visit"
# Where participants left at a visit share a baseline: one slope for all visits, then none.
BASELINES = ("baseline*visit", "baseline", "1")
CONTRAST_COLUMNS = ["scale", "visit", "kind", "contrast", "estimate", "se", "df", "ci_low"]
CONTRAST_COLUMNS += ["ci_high", "t", "p", "hedges_g", "g_ci_low", "g_ci_high", "hedges_g_raw"]
CONTRAST_COLUMNS += ["g_raw_ci_low", "g_raw_ci_high", "n_active", "n_control"]
CONTRAST_COLUMNS += ["rated_active", "rated_control", "covariance", "favours"]
MEAN_COLUMNS = ["scale", "arm", "visit", "mean", "se", "df", "ci_low", "ci_high"]
GROWTH_COLUMNS = ["scale", "effect", "n", "estimate", "se", "ci_low", "ci_high", "p", "note"]


def fit_models(changes, study=None):
    """Fit the primary model, an MMRM, to every scale.

    ``outcome ~ baseline*visit + arm*visit`` and what the study adjusts for (`study.adjustment`),
    REML, unstructured covariance (a simpler one where it does not converge), Kenward-Roger; see
    :mod:`trialmmrm`. A visit with fewer than two participants in an arm is left out.

    Parameters
    ----------
    changes : pandas.DataFrame
        From :func:`analysis_lib.study.scores.with_baseline`.
    study : Study, optional
        A model without its primary contrast gets a reason, too.

    Returns
    -------
    ByScale of MMRM
        By scale; its ``reasons`` say why others have none.
    """
    used = changes.dropna()
    scales = changes["scale"].drop_duplicates()
    fits = ByScale(lambda scale: fit_mmrm_rows(used[used["scale"] == scale]), scales)
    primary = study and fits.get(study.primary_scale.name)
    if primary and study.final_visit not in primary.visits:
        why = f"{study.final_visit}: fewer than two of an arm were rated, no contrast then"
        fits.reasons[study.primary_scale.name] = why
    return fits


def fit_mmrm_rows(rows, order=FALLBACK, adjusted=True):
    """Fit the primary model to the rows of one scale, with the first covariance that converges.

    A column to adjust for that the others determine in these rows is left out, and so is the
    baseline, at a visit or altogether (at once, unless ``adjusted``). A covariance that leaves no
    degrees of freedom for the contrasts gives way to a simpler one.
    """
    rows = at_estimable_visits(rows)
    arm = pd.Categorical(rows["arm"], ["control", "active"])
    rows = rows.assign(arm=arm)
    baseline = next(b for b in BASELINES if _full_rank(rows, b)) if adjusted else "1"
    held = _independent(rows, baseline)
    formula = " + ".join([FORMULA.format(baseline=baseline), *held])

    def wanted(fit):
        return fit.contrasts("arm", "control"), fit.means("arm")

    return fit_with_fallback(rows, formula, "participant_id", "visit", order=order, wanted=wanted)


def _full_rank(rows, baseline):
    """Whether baseline can be told from visit and arm: at each visit, or over all."""
    groups = [rows] if baseline == "baseline" else [g for _, g in rows.groupby("visit")]
    if baseline == "1":
        return True
    return all(_rank(own, ["baseline"]) == 3 for own in groups)


def _rank(rows, columns):
    active = (rows["arm"] == "active").to_numpy(float)
    x = np.column_stack([np.ones(len(rows)), active, rows[columns].to_numpy(float)])
    return np.linalg.matrix_rank(x)


def _independent(rows, baseline):
    """Columns to adjust for that arm, baseline and those before do not determine."""
    kept = [] if baseline == "1" else ["baseline"]
    for name in adjusting(rows):
        kept += [name] if _rank(rows, [*kept, name]) == len(kept) + 3 else []
    return [name for name in kept if name != "baseline"]


def contrast_table(fits, changes, study=None):
    """Adjusted difference between arms at each visit, and averaged over visits ("all").

    Parameters
    ----------
    fits : dict
        From :func:`fit_models`.
    changes : pandas.DataFrame
        What they were fitted to.
    study : Study, optional
        Says which scales are better when higher; by default none is.

    Returns
    -------
    pandas.DataFrame
        Rows of clinical/mmrm_contrasts.tsv: g by the model's SD, and by the SD of outcomes within
        arms ("all": the root of the mean variance); the estimate keeps its raw sign, favours names
        the arm that did better.
    """
    better = {scale.name: scale.better for scale in study.scales} if study else {}
    tables = [
        _contrasts(scale, fit, changes, better.get(scale, "lower")) for scale, fit in fits.items()
    ]
    return pd.concat(tables or [pd.DataFrame(columns=CONTRAST_COLUMNS)], ignore_index=True)


def _contrasts(scale, fit, changes, better):
    own = changes[changes["scale"] == scale].dropna()
    own = own[own["visit"].isin(fit.visits)]
    table = fit.contrasts("arm", "control")
    if len(fit.visits) > 1:
        table = pd.concat([table, fit.contrasts("arm", "control", by=None)], ignore_index=True)
    table.insert(0, "scale", scale)
    table.insert(2, "kind", own["kind"].iloc[0])
    table["contrast"] = CONTRAST
    rows = [own if visit == "all" else own[own["visit"] == visit] for visit in table["visit"]]
    table = table.join(raw_g(table, [_raw_sd(own) for own in rows], [_rated(own) for own in rows]))
    n = _rated(own)
    table["n_active"], table["n_control"] = n["active"], n["control"]
    for arm in ARMS:
        table[f"rated_{arm}"] = [_rated(own)[arm] for own in rows]
    return table.assign(
        covariance=fit.covariance_structure, favours=favours(table["estimate"], better)
    )


def favours(estimate, better):
    """The arm that an estimate of active - control favours, by the scale's direction."""
    gain = estimate if better == "higher" else -estimate
    return np.select([gain > 0, gain < 0], ["active", "control"], "neither")


def _rated(rows):
    return rows.drop_duplicates("participant_id")["arm"].value_counts()


def _raw_sd(rows):
    by_visit = rows.groupby("visit", observed=True)
    return np.sqrt(np.mean([pooled_variance(own) for _, own in by_visit]))


def mean_table(fits):
    """Model means by arm and visit: scale, arm, visit, mean, se, df, ci_low, ci_high.

    Changes from baseline (values, for a scale without one), at the mean baseline of all.
    """
    tables = [fit.means("arm").assign(scale=scale) for scale, fit in fits.items()]
    found = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return found.reindex(columns=MEAN_COLUMNS)


def describe_fits(study, fits, contrasts) -> str:
    """What each model was fitted to, a line per scale.

    Parameters
    ----------
    study : Study
    fits : dict
        From :func:`fit_models`.
    contrasts : pandas.DataFrame
        From :func:`contrast_table`.
    """
    lines = [
        f"{scale}: {fit.n_participants} participants, {fit.n_rows} ratings after {study.baseline}, "
        f"covariance {_structure(fit)}{_simpler(fit)}"
        for scale, fit in fits.items()
    ]
    if study.adjusted_for:
        lines.append(f"All are adjusted for {', '.join(study.adjusted_for)}, beside baseline.")
    values = contrasts.loc[contrasts["kind"] == "value", "scale"].unique()
    if len(values):
        first, primary = study.baseline, study.primary_scale.name
        lines.append(
            f"{', '.join(values)} was not rated at {first}: its scores are compared as they are, "
            f"adjusted for {primary} at {first}, not as changes."
        )
    return "\n".join(lines)


def _simpler(fit):
    """What the formula could not hold of the baseline."""
    if "baseline*visit" in fit.formula:
        return ""
    return "; one slope of baseline" if "baseline" in fit.formula else "; baseline left out"


def _structure(fit):
    why = f" ({fit.fallback_reason})" if fit.fallback_reason else ""
    known = {"us": "unstructured"}
    return known.get(fit.covariance_structure, fit.covariance_structure) + why


def growth_table(ratings):
    """Straight lines over weeks: does the slope differ between arms?

    ``score ~ week * arm`` with a random intercept and slope for each participant, REML
    (statsmodels). A line is a coarse summary of a course that flattens, and the intervals are
    normal ones, too narrow in small samples: shown because growth curves are widely read.

    Parameters
    ----------
    ratings : pandas.DataFrame
        From :func:`analysis_lib.study.scores.read_ratings`.

    Returns
    -------
    pandas.DataFrame
        Rows of conduct/growth.tsv. Scales with fewer than three visits are left out; where the
        model does not converge the estimate is missing and the note says so.
    """
    groups = ratings.dropna(subset=["score"]).groupby("scale", sort=False)
    chosen = [(scale, rows) for scale, rows in groups if rows["week"].nunique() > 2]
    rows = [{"scale": s, "effect": "arm x week"} | _growth_row(own) for s, own in chosen]
    return pd.DataFrame(rows, columns=GROWTH_COLUMNS)


def _growth_row(rows):
    rows = rows.assign(active=(rows["arm"] == "active").astype(float))
    row = {"n": rows["participant_id"].nunique()}
    try:
        fit = fit_growth_curve(rows, "score ~ week * active", "participant_id")
    except np.linalg.LinAlgError:
        return row | {"note": "singular"}
    if not fit.converged:
        return row | {"note": "did not converge"}
    low, high = fit.conf_int().loc["week:active"]
    return row | {
        "estimate": fit.params["week:active"],
        "se": fit.bse["week:active"],
        "ci_low": low,
        "ci_high": high,
        "p": fit.pvalues["week:active"],
        "note": "normal interval",
    }


def fit_growth_curve(rows, formula, participant, reml=True):
    """Linear mixed model with a random intercept and a random slope over the column ``week``."""
    model = smf.mixedlm(formula, rows, groups=rows[participant], re_formula="~week")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by .converged
        return model.fit(reml=reml, method="lbfgs")
