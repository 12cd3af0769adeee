"""Response and remission: risks and how they compare."""

import numpy as np
import pandas as pd

from analysis_lib.clinical.proportions import DIFFERENCE, compare_proportions, number_needed
from analysis_lib.results.problems import NotComputed
from analysis_lib.study.contract import ARMS, Response

ROUNDING = 1e-9  # of a score that is a baseline plus a change
HALF = Response(percent=50, of="baseline")


def risk_difference(events, n):
    """Difference of two proportions, active - control, with Miettinen and Nurminen's 95 % limits.

    ``events`` and ``n`` are of the active and the control arm; missing where one has no
    participants.
    """
    found = compare_proportions(events, n)
    return {name: found[name] for name in DIFFERENCE}


def responders(study, participants, ratings, imputed=None):
    """Response and remission by arm at each visit after baseline that the scale was rated at.

    Response is by the scale's rule, or where lower is better a fall of at least 50 % from baseline,
    which needs a baseline above 0. Remission is a score at the scale's cut-off or better, and needs
    a baseline worse than it. Limits and p are of one
    score test: :func:`analysis_lib.clinical.proportions.compare_proportions`.

    Parameters
    ----------
    study : Study
    participants, ratings : pandas.DataFrame
    imputed : dict of Imputation, optional
        From :func:`analysis_lib.clinical.impute_scales`; rows ``multiple_imputation`` count the
        participants whose scores imputed as missing at random reach the outcome, on average.

    Returns
    -------
    pandas.DataFrame
        The columns of ``clinical/responders.tsv``; excluded_active and excluded_control count the
        participants without a baseline, or with one to which the outcome does not apply.
    """
    arm = participants[participants["excluded"].isna()].set_index("participant_id")["arm"]
    rows = []
    for scale in study.scales:
        own = ratings[ratings["scale"] == scale.name]
        wide = own.pivot(index="participant_id", columns="visit", values="score")
        wide = wide.reindex(arm.index).dropna(axis=1, how="all")
        if study.baseline in wide:
            completed = _completed(wide, study.baseline, (imputed or {}).get(scale.name))
            rows += _scale_rows(study, scale, wide, completed, arm)
    if not rows:
        raise NotComputed(
            "a scale with baselines, and a rule for response or remission, expected, found none: "
            "where higher scores are better, response needs a rule in the study file"
        )
    return pd.DataFrame(rows)


def _scale_rows(study, scale, wide, completed, arm):
    for outcome, eligible, limit in binary_outcomes(scale, wide[study.baseline]):
        out = arm[~eligible].value_counts()
        excluded = {f"excluded_{a}": int(out.get(a, 0)) for a in ARMS}
        for visit in wide.columns.drop(study.baseline):
            for analysis, scores in _analyses(wide[visit], completed.get(visit), eligible):
                who = scores.index
                beyond = scores.sub(limit[who], axis=0) * scale.gain
                reached = beyond >= -ROUNDING
                row = {"scale": scale.name, "visit": visit, "outcome": outcome}
                row |= {"analysis": analysis} | _compare_risks(reached.to_numpy(), arm[who])
                yield row | excluded


def binary_outcomes(scale, baseline):
    """Name of each outcome, whom it applies to, and the score at which it is reached."""
    rule = scale.response or (HALF if scale.better == "lower" else None)
    if rule is not None:
        size = baseline if rule.of == "baseline" else (scale.best - baseline).abs()
        gain = rule.points or size * rule.percent / 100
        limit = baseline + scale.gain * gain
        within = (scale.best - limit) * scale.gain >= -ROUNDING
        yield "response", (size > 0) & within, limit
    if scale.remission is not None:
        cut = float(scale.remission)
        worse = (cut - baseline) * scale.gain > 0
        yield "remission", worse, pd.Series(cut, baseline.index)


def _completed(wide, baseline, imputation):
    """Imputed scores of each visit, a column per imputation."""
    if imputation is None:
        return {}
    who, first = imputation.outcomes.participants, wide[baseline]
    changes = imputation.complete("mar")
    return {
        visit: pd.DataFrame(changes[:, :, k].T, who).add(first[who], axis=0)
        for k, visit in enumerate(imputation.outcomes.visits)
    }


def _analyses(scores, completed, eligible):
    """Scores of those who count, a column each time that they are counted; missing: not reached."""
    yield "missing_is_failure", scores[eligible].to_frame()
    yield "observed", scores[eligible & scores.notna()].to_frame()
    if completed is not None:
        yield "multiple_imputation", completed.reindex(scores.index[eligible])


def _compare_risks(reached, arm):
    """Compare arms; ``reached`` has a column for each imputation (Rubin's rules), or one."""
    n = [int((arm == which).sum()) for which in ARMS]
    events = np.array([reached[arm == which].sum(axis=0) for which in ARMS])
    counts = {"n_active": n[0], "n_control": n[1]}
    counts |= dict(zip(("events_active", "events_control"), events.mean(axis=1), strict=True))
    found = compare_proportions(list(events.mean(axis=1)), n, *_uncertainty(events, n))
    return counts | found | number_needed(*(found[name] for name in DIFFERENCE))


def _uncertainty(events, n):
    """Total over within-imputation variance of a risk difference, and degrees of freedom."""
    m = events.shape[1]
    if m < 2 or min(n) == 0:
        return 1.0, np.inf
    size = np.array(n)[:, None]
    risk = events / size
    within = (risk * (1 - risk) / size).sum(axis=0).mean()
    extra = (1 + 1 / m) * np.var(risk[0] - risk[1], ddof=1)
    if extra < 1e-12:
        return 1.0, np.inf
    return 1 + extra / within, (m - 1) * (1 + within / extra) ** 2
