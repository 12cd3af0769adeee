"""Items of a scale: internal consistency, change item by item, the suicide item apart."""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from analysis_lib.clinical.models import favours
from analysis_lib.clinical.outcomes import ancova
from analysis_lib.clinical.risks import risk_difference
from analysis_lib.study.contract import ARMS
from analysis_lib.study.items import (
    HAMD17_ITEMS,
    SUICIDE,
    hamd17_factors,
    item_columns,
    item_labels,
    suicide_column,
)
from analysis_lib.study.scores import read_scale
from voxelperm import nuisance_basis

ESTIMATE = ["n_active", "n_control", "estimate", "se", "df", "ci_low", "ci_high"]


def cronbach_alpha(scores):
    """Cronbach's alpha of scores (n_participants, n_items), and the limits of Feldt's interval.

    alpha = k / (k - 1) * (1 - sum of the items' variances / variance of their sum) (Cronbach 1951,
    Psychometrika 16:297-334); (1 - population alpha) / (1 - alpha) has an F distribution with n - 1
    and (n - 1)(k - 1) degrees of freedom when items are parallel (Feldt 1965, Psychometrika
    30:357-370). Missing scores, fewer than two items or participants, and a sum without variance
    are refused.
    """
    scores = np.asarray(scores, float)
    n, k = scores.shape
    if min(n, k) < 2 or np.isnan(scores).any():
        raise ValueError(
            "Cronbach's alpha: at least two participants and two items without missing scores "
            f"expected, found {n} and {k} with {np.isnan(scores).sum()} missing"
        )
    total = scores.sum(axis=1).var(ddof=1)
    if not total > 0:
        raise ValueError(
            f"Cronbach's alpha: a sum score that varies expected, found {n} participants with the "
            "same sum: alpha is not defined"
        )
    alpha = k / (k - 1) * (1 - scores.var(axis=0, ddof=1).sum() / total)
    quantiles = stats.f.isf([0.025, 0.975], n - 1, (n - 1) * (k - 1))
    low, high = 1 - (1 - alpha) * quantiles
    return alpha, low, high


def alpha_table(study, scale, rows):
    """Internal consistency of a scale at baseline and at the primary visit.

    Both arms together, participants with every item. At baseline alpha is usually low: inclusion by
    a minimum score narrows the range of the total. Where alpha is not defined it is missing and the
    note says why.
    """
    columns = item_columns(rows)
    table = []
    for visit in (study.baseline, study.final_visit):
        scores = rows.loc[rows["visit"] == visit, columns].dropna()
        line = {"scale": scale.name, "visit": visit, "n": len(scores), "n_items": len(columns)}
        try:
            found, note = cronbach_alpha(scores), ""
        except ValueError as error:
            found, note = (np.nan,) * 3, str(error)
        table.append(line | dict(zip(("alpha", "ci_low", "ci_high"), found, strict=True)))
        table[-1]["note"] = note
    return pd.DataFrame(table)


def item_means(scale, rows):
    """Observed mean of each item by arm and visit, points."""
    long = _long(scale, rows)
    groups = long.groupby(["scale", "item", "label", "arm", "visit"], observed=True, sort=False)
    table = groups["score"].agg(n="count", mean="mean", sd="std").reset_index()
    return table[table["n"] > 0].reset_index(drop=True)


def _long(scale, rows):
    columns = item_columns(rows)
    labels = item_labels(scale, columns)
    keys = ["participant_id", "arm", "visit"]
    long = rows[[*keys, *columns]].melt(keys, var_name="item", value_name="score")
    return long.assign(scale=scale.name, label=long["item"].map(labels))


def item_differences(study, scale, rows):
    """Difference between arms in each item's change at the primary visit, points.

    ANCOVA with the item's own baseline and HC3 errors, as for the total. There is no p: the items
    are parts of one outcome that has been tested, 17 tests of coarse scores in a small trial would
    mislead either way, and intervals not adjusted for their number say how little each item tells.
    An item without an estimate (every participant changed alike, fewer than two in an arm, a
    baseline that one participant alone determines) has a note that says why.
    """
    labels = item_labels(scale, item_columns(rows))
    parts = [({"item": k, "label": label}, rows[k]) for k, label in labels.items()]
    return _differences(study, scale, rows, parts)


def _differences(study, scale, rows, parts):
    """A row for each part of a scale: what it is called, and its scores, as the rows are."""
    table = []
    for said, scores in parts:
        long = rows.assign(score=scores)
        wide = long.pivot(index=["participant_id", "arm"], columns="visit", values="score")
        wide = wide.reindex(columns=[study.baseline, study.final_visit]).dropna().reset_index()
        line = {"scale": scale.name} | said | {"visit": study.final_visit}
        table.append(line | _item_difference(study, wide))
    found = pd.DataFrame(table)
    return found.assign(favours=favours(found["estimate"], scale.better)) if table else found


def _item_difference(study, own):
    baseline, final = own[study.baseline], own[study.final_visit]
    counts = own["arm"].value_counts().reindex(ARMS, fill_value=0)
    line = {f"n_{arm}": int(counts[arm]) for arm in ARMS}
    line |= dict.fromkeys(ESTIMATE[2:], np.nan)
    if counts.min() < 2:
        return line | {"note": "fewer than two participants rated twice in an arm"}
    if (final - baseline).nunique() == 1:
        return line | {"note": "every participant changed by the same amount"}
    changes = own[["participant_id", "arm"]].assign(
        scale="", visit="", kind="change", baseline=baseline, outcome=final - baseline
    )
    basis = nuisance_basis(np.column_stack([baseline, own["arm"] == "active"]), len(own), True)
    if np.sum(basis**2, axis=1).max() > 1 - 1e-8:  # leverage
        return line | {"note": "one participant alone differs at baseline: HC3 is not defined"}
    with warnings.catch_warnings():  # a baseline without spread explains nothing, and may stay
        warnings.filterwarnings("ignore", message="The design matrix is rank-deficient")
        found = ancova(changes).iloc[0]
    return line | {name: found[name] for name in ESTIMATE} | {"note": ""}


def factor_differences(study, scale, rows):
    """Difference between arms in the change of each factor of HAMD-17, as of the items."""
    factors = hamd17_factors(scale, item_columns(rows))
    parts = [
        ({"factor": name, "n_items": len(own)}, rows[own].sum(axis=1, skipna=False))
        for name, own in factors.items()
    ]
    return _differences(study, scale, rows, parts)


def suicide_distribution(scale, rows):
    """How many participants scored each point of the suicide item, by arm and visit.

    Points: 0 absent, 1 life not worth living, 2 wishes to be dead, 3 ideas or gestures, 4 attempts.
    Every point has a row, also where nobody scored it. Empty where the scale has no such item.
    """
    column, order = suicide_column(scale, rows), ["scale", "arm", "visit", "points", "n", "n_rated"]
    if column is None:
        return pd.DataFrame(columns=order)
    rated = rows.dropna(subset=[column])
    table = [
        {"arm": arm, "visit": visit, "points": points, "n": int((own == points).sum())}
        | {"n_rated": len(own)}
        for (arm, visit), own in rated.groupby(["arm", "visit"], observed=True, sort=True)[column]
        for points in range(HAMD17_ITEMS[SUICIDE - 1][1] + 1)
    ]
    return pd.DataFrame(table).assign(scale=scale.name)[order]


def suicide_worsening(study, scale, rows):
    """Participants whose suicide item rose above its baseline, by visit and at any visit (last).

    n are those rated at baseline and then, events those who were worse; score limits. No p: this is
    surveillance of harm. Empty where the scale has no such item.
    """
    column = suicide_column(scale, rows)
    if column is None:
        return pd.DataFrame()
    wide = rows.pivot(index=["participant_id", "arm"], columns="visit", values=column)
    wide = wide.dropna(subset=[study.baseline])
    later = wide[[v for v in study.post_visits if v in wide and wide[v].notna().any()]]
    rise = later.sub(wide[study.baseline], axis=0)
    rise["any"] = rise.max(axis=1)
    table = []
    for visit in rise:
        worse = rise[visit].dropna() > 0
        table.append({"scale": scale.name, "visit": str(visit)} | _risks(worse))
    return pd.DataFrame(table)


def _risks(reached):
    arm = reached.index.get_level_values("arm")
    n = [int((arm == which).sum()) for which in ARMS]
    events = [int(reached[arm == which].sum()) for which in ARMS]
    counts = {"n_active": n[0], "n_control": n[1]}
    counts |= {"events_active": events[0], "events_control": events[1]}
    return counts | risk_difference(events, n)


def item_tables(study, participants):
    """Every item table of every scale whose items were recorded.

    Parameters
    ----------
    study : Study
    participants : pandas.DataFrame
        From :func:`analysis_lib.study.participants.read_participants`.

    Returns
    -------
    dict of str to pandas.DataFrame
        Those without rows are left out, so that the dict is empty when no scale has items.
    """
    read = [(scale, read_scale(study, scale, participants)) for scale in study.scales]
    scales = [(scale, rows) for scale, rows in read if item_columns(rows)]
    tables = {
        "alpha": [alpha_table(study, *scale) for scale in scales],
        "item_differences": [item_differences(study, *scale) for scale in scales],
        "factors": [factor_differences(study, *scale) for scale in scales],
        "item_means": [item_means(*scale) for scale in scales],
        "suicide_item": [suicide_distribution(*scale) for scale in scales],
        "suicide_worsening": [suicide_worsening(study, *scale) for scale in scales],
    }
    kept = {name: [table for table in parts if len(table)] for name, parts in tables.items()}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in kept.items() if parts}
