"""Re-randomisation test of the primary contrast."""

import numpy as np
import pandas as pd

from analysis_lib.clinical.outcomes import usable
from analysis_lib.study.contract import ARMS
from voxelperm import draw_permutations, nuisance_basis

CHUNK = 2000  # permutations whose arrays are held together


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
        From :func:`analysis_lib.study.scores.with_baseline`.
    scale, visit : str
    strata : pandas.Series, optional
        One value per participant, indexed by participant_id: what randomisation was stratified by.
    n_permutations : int
        How many to draw; where fewer distinct ones exist all are made, once each.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row of clinical/randomisation.tsv; p_randomisation = (1 + number of permutations with at
        least the observed |t|) / (1 + n_permutations). A permutation whose t is not defined counts
        against the observed one.

    Raises
    ------
    ValueError
        With no such scale and visit, fewer than two participants in an arm, or an observed t that
        is not defined.
    """
    rows = changes[(changes["scale"] == scale) & (changes["visit"] == visit)].dropna()
    n = rows["arm"].value_counts().reindex(ARMS, fill_value=0)
    if n.min() < 2:
        raise ValueError(
            f"{scale} at {visit}: at least two rated participants in each arm expected, found "
            f"{n['active']} active and {n['control']} control: the arms cannot be compared"
        )
    blocks = None if strata is None else rows["participant_id"].map(strata).astype(str).to_numpy()
    active = (rows["arm"] == "active").to_numpy(float)
    order, exhaustive = draw_permutations(
        n_permutations, len(rows), active, blocks=blocks, seed=seed
    )
    held = rows[["baseline", *usable(rows)]].to_numpy(float)
    outcome = rows["outcome"].to_numpy(float)
    estimate, se = (v[0] for v in _hc3(active[None], held, outcome))
    if not se > 0:
        raise ValueError(
            f"{scale} at {visit}: scores that vary beyond what baseline and arm determine "
            "expected, found none, or one participant alone determines the fit: no error of the "
            "difference can be estimated"
        )
    # place k takes participant order[k] - 1, so a participant gets the label of their new place
    chunks = (order[i : i + CHUNK] for i in range(0, len(order), CHUNK))
    labels = (active[np.argsort(chunk, axis=1)] for chunk in chunks)
    with np.errstate(divide="ignore"):  # labels that leave no residual: an infinite t
        draws = [np.divide(*_hc3(chunk, held, outcome)) for chunk in labels]
    null = np.concatenate([[], *draws])
    below = np.abs(null) < np.abs(estimate / se) * (1 - 1e-9)
    row = {"scale": scale, "visit": visit, "n_active": n["active"], "n_control": n["control"]}
    row |= {"n_strata": 1 if blocks is None else len(np.unique(blocks))}
    row |= {"estimate": estimate, "se": se, "t": estimate / se}
    row["p_randomisation"] = (1 + np.sum(~below)) / (1 + len(null))
    return pd.DataFrame([row | {"n_permutations": len(null), "exhaustive": exhaustive}])


def _hc3(labels, held, outcome):
    """Coefficient of each row of labels in outcome ~ 1 + held + label, and its HC3 error.

    By Frisch, Waugh and Lovell: with r the outcome and x the labels, both less their regression on
    what is held, b = x'r / x'x, the residuals are r - b x and the leverage that of the baseline's
    regression plus x^2 / x'x.
    """
    basis = nuisance_basis(held, len(held), intercept=True)
    r = outcome - basis @ (basis.T @ outcome)
    x = labels - (labels @ basis) @ basis.T
    square = np.einsum("pn,pn->p", x, x)[:, None]
    square = np.where(square < 1e-12, np.nan, square)  # labels that follow from the baseline
    b = x @ r / square[:, 0]
    free = 1 - np.sum(basis**2, axis=1) - x**2 / square
    free = np.where(free < 1e-9, np.nan, free)  # a leverage of 1: HC3 is not defined
    residual = r - b[:, None] * x
    residual = np.where(np.abs(residual) < 1e-10 * np.abs(outcome).max(), 0, residual)
    error = np.sqrt(np.sum((x * residual / free) ** 2, axis=1)) / square[:, 0]
    return b, error
