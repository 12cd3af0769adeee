"""Tipping point: how bad the missing outcomes must be to change the result."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.clinical.imputation import (
    ancova_completed,
    counts,
    imputation_table,
    pool,
)
from analysis_lib.clinical.rating_patterns import CONTRAST
from analysis_lib.results.problems import NotComputed


@dataclass(frozen=True)
class TippingPoint:
    """Result of :func:`tipping_point`, a row for each pair of deltas, and where each line tips.

    In ``tips``, status is "tips", "does not tip" (within the grid) or "not significant at delta 0";
    delta_before and p_before are the last delta of the grid that leaves p below alpha, delta_tips
    and p_tips the first that does not; delta_interpolated is where p would be alpha on a straight
    line between the two.
    """

    table: pd.DataFrame
    tips: pd.DataFrame


def tipping_point(
    imputation, visit, deltas_active, deltas_control=(0.0,), alpha=0.05, shifted="missing"
):
    """Find how much worse unrated participants must have done for the result to be lost.

    To MAR imputations delta is added (points of the scale), as rbmi and the five macros do, and the
    data are analysed and pooled again. ``shifted`` says to which: "missing", every score missing at
    the visit, or "event", those after an intercurrent event. Only the delta at the analysed visit
    matters. All deltas share the same imputations, so the curve is smooth. The grids are for each
    arm; ``deltas_active`` contains 0.
    """
    deltas_active, deltas_control = (np.unique(d) for d in (deltas_active, deltas_control))
    outcomes, index = imputation.outcomes, imputation.outcomes.visit_index(visit)
    values = imputation.complete("mar")[:, :, index]
    moved = ~outcomes.observed & (outcomes.after_event if shifted == "event" else True)
    gone, n = moved[:, index], counts(outcomes, visit, moved)
    rows = []
    for delta_control in deltas_control:
        for delta_active in deltas_active:
            shift = np.where(outcomes.active, delta_active, delta_control) * gone
            row = {"visit": visit, "contrast": CONTRAST}
            row |= {"delta_active": delta_active, "delta_control": delta_control}
            rows.append(row | pool(*ancova_completed(outcomes, values + shift)) | n)
    unchanged = ["n_imputations", "fraction_missing_information", "monte_carlo_se"]
    table = pd.DataFrame(rows).drop(columns=unchanged)
    groups = table.groupby("delta_control", sort=True)
    return TippingPoint(table, pd.DataFrame([_tip(rows, alpha) for _, rows in groups]))


def find_tipping_point(imputation, visit, largest, step, shifted="missing"):
    """:func:`tipping_point` over deltas of the active arm that take the estimate to 0.

    Parameters
    ----------
    imputation : Imputation
    visit
    largest, step : float
        End and step of the grid, points.
    shifted : {"missing", "event"}
        Whose imputed scores are shifted.

    Returns
    -------
    dict
        tipping_curve and tipping_point, of :func:`tipping_point`, with how many are shifted;
        tipping_two_way, the p of a
        coarse grid of both arms' deltas, each from -``largest`` to ``largest``.
    """
    if visit not in imputation.outcomes.visits:
        raise NotComputed(f"{visit}: fewer than two of an arm were rated, nothing is imputed then")
    estimate = imputation_table(imputation, ["mar"], [visit])["estimate"].iloc[0]
    deltas = -np.sign(estimate) * np.arange(0, largest + step / 2, step)
    one = tipping_point(imputation, visit, deltas, shifted=shifted)
    both = np.linspace(-largest, largest, 5)
    two = tipping_point(imputation, visit, both, both, shifted=shifted).table
    n = ["shifted_active", "shifted_control"]
    tips = one.tips.assign(**one.table[n].iloc[0])
    tables = {"tipping_curve": one.table, "tipping_point": tips, "tipping_two_way": two}
    return {name: table.assign(shifted=shifted) for name, table in tables.items()}


def _tip(rows, alpha):
    """Walk from delta 0 in the direction that takes the estimate to 0."""
    start = rows[rows["delta_active"] == 0].iloc[0]
    row = {"visit": start["visit"], "delta_control": start["delta_control"]}
    row["status"] = "not significant at delta 0"
    found = ("delta_before", "p_before", "delta_tips", "p_tips", "delta_interpolated")
    row |= dict.fromkeys(found, np.nan)
    if start["p"] >= alpha:
        return row
    towards_zero = -np.sign(start["estimate"])
    path = rows[rows["delta_active"] * towards_zero >= 0]
    path = path.sort_values("delta_active", ascending=towards_zero > 0)
    delta, p = path["delta_active"].to_numpy(), path["p"].to_numpy()
    n_below = len(p) if (p < alpha).all() else int(np.argmax(p >= alpha))
    before = {"delta_before": delta[n_below - 1], "p_before": p[n_below - 1]}
    if n_below == len(p):
        return row | {"status": "does not tip"} | before
    tips = {"delta_tips": delta[n_below], "p_tips": p[n_below]}
    share = (alpha - before["p_before"]) / (tips["p_tips"] - before["p_before"])
    between = before["delta_before"] + share * (tips["delta_tips"] - before["delta_before"])
    return row | {"status": "tips"} | before | tips | {"delta_interpolated": between}
