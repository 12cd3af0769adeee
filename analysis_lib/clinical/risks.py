"""Response and remission: risks and their difference."""

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from analysis_lib.study.contract import ARMS


def risk_difference(events, n):
    """Difference of two proportions, active - control, with Newcombe's 95 % interval.

    ``events`` and ``n`` are of the active and the control arm; missing where one has no
    participants.
    """
    found = (np.nan,) * 3
    if min(n) > 0:
        found = (events[0] / n[0] - events[1] / n[1], *newcombe_interval(*events, *n))
    return dict(zip(("risk_difference", "ci_low", "ci_high"), found, strict=True))


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
