"""Correlation of a map of treatment change with receptor maps, and its tests."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis_lib.dominance import dominance as dominance  # a public name of this module
from analysis_lib.exchangeability import draw_permutations

CONTRASTS = ("active_change", "control_change", "arm_by_time")
METHODS = ("gaussianised", "pearson", "spearman")
BLOM = 3 / 8  # offset of the rank-based normal scores
COLLINEAR = 1e-10  # smallest eigenvalue of the maps' correlation matrix that is accepted
TIE = 1e-10  # two values of |r| closer than this are equal: rounding must not decide a p


# --- correlation ---------------------------------------------------------------------------------


def gaussianise(x, axis=-1):
    """Rank-based inverse normal scores.

    Phi^-1((rank - 3/8) / (n + 1/4)), Blom's (1958) approximation of normal order statistics; ties
    share their average rank. NaN stays NaN and counts neither as a rank nor in n.

    Parameters
    ----------
    x : array_like
    axis : int

    Returns
    -------
    numpy.ndarray of the shape of `x`
    """
    x = np.asarray(x, dtype=float)
    if np.isnan(x).any():
        ranks = stats.rankdata(x, axis=axis, nan_policy="omit")
    else:
        ranks = stats.rankdata(x, axis=axis)
    n = np.count_nonzero(~np.isnan(x), axis=axis, keepdims=True)
    return special.ndtri((ranks - BLOM) / (n + 1 - 2 * BLOM))


def correlate(effect_maps, receptor_maps, method="gaussianised"):
    """Correlation over parcels of every effect map with every receptor map.

    A parcel that a receptor map does not cover (NaN) is left out for that receptor alone, before
    ranking; `n_covered` counts the rest and `uncovered` names what is left out.

    Parameters
    ----------
    effect_maps : array_like, shape (k, n_parcels) or (n_parcels,)
        NaN in the same parcels of every map, if at all.
    receptor_maps : array_like, shape (m, n_parcels) or (n_parcels,)
    method : {"gaussianised", "pearson", "spearman"}
        Pearson's correlation of normal scores, of values, or of ranks.

    Returns
    -------
    numpy.ndarray, shape (k, m)

    Raises
    ------
    ValueError
        Maps of different length, a constant map, fewer than three parcels in common, an unknown
        method.
    """
    effects, receptors = _paired(effect_maps, receptor_maps)
    covered = _covered(effects, receptors)
    r = np.empty((len(effects), len(receptors)))
    for rows, pattern in _patterns(covered):
        x = _standardised(effects[:, pattern], method, "effect map")
        y = _standardised(receptors[np.ix_(rows, pattern)], method, "receptor map")
        r[:, rows] = np.clip(x @ y.T, -1, 1)
    return r


def n_covered(effect_maps, receptor_maps):
    """Number of parcels behind each receptor's correlation.

    Parameters
    ----------
    effect_maps, receptor_maps
        As in `correlate`.

    Returns
    -------
    numpy.ndarray of int, shape (m,)
    """
    return _covered(*_paired(effect_maps, receptor_maps)).sum(axis=1)


def _paired(effect_maps, receptor_maps):
    effects = np.atleast_2d(np.asarray(effect_maps, dtype=float))
    receptors = np.atleast_2d(np.asarray(receptor_maps, dtype=float))
    if effects.shape[1] != receptors.shape[1]:
        raise ValueError(
            f"effect maps have {effects.shape[1]} parcels, receptor maps {receptors.shape[1]}. "
            "Both must list the same labels in the same order."
        )
    return effects, receptors


def _covered(effects, receptors):
    gaps = np.isnan(effects)
    if (gaps != gaps[0]).any():
        raise ValueError("effect maps lack different parcels; give them one common set of parcels")
    covered = ~np.isnan(receptors) & ~gaps[0]
    poor = np.flatnonzero(covered.sum(axis=1) < 3)
    if poor.size:
        raise ValueError(f"receptor maps {poor.tolist()} share fewer than three parcels with it")
    return covered


def _standardised(maps, method, what):
    """Rows of mean 0 and length 1, so that a product of rows is a correlation."""
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; expected one of {', '.join(METHODS)}")
    if method == "gaussianised":
        maps = gaussianise(maps)
    elif method == "spearman":
        maps = stats.rankdata(maps, axis=1)
    centred = maps - maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    scale = np.abs(maps).max(axis=1, keepdims=True)
    constant = np.flatnonzero(length[:, 0] <= 1e-12 * scale[:, 0])
    if constant.size:
        raise ValueError(
            f"{what} {constant[:5].tolist()}: one value in every parcel, no correlation"
        )
    return centred / length


def partial_correlate(effect_maps, receptor_maps, given, method="gaussianised"):
    """Correlation over parcels that remains when other maps are held constant.

    Effect, receptor and given maps are turned into normal scores (or ranks, or left as they are),
    and the given ones are regressed out of both sides.

    Parameters
    ----------
    effect_maps, receptor_maps, method
        See `correlate`.
    given : array_like, shape (q, n_parcels) or (n_parcels,)
        Such as grey-matter density; parcels where one of them is NaN are left out.

    Returns
    -------
    numpy.ndarray, shape (k, m)

    Raises
    ------
    ValueError
        As `correlate`; a receptor map that follows from the given ones.
    """
    effects, receptors = _paired(effect_maps, receptor_maps)
    given = _paired(given, receptors)[0]
    receptors = np.where(np.isnan(given).any(axis=0), np.nan, receptors)
    r = np.empty((len(effects), len(receptors)))
    for rows, pattern in _patterns(_covered(effects, receptors)):
        held = np.linalg.qr(_standardised(given[:, pattern], method, "given map").T)[0]
        x = _without(_standardised(effects[:, pattern], method, "effect map"), held)
        y = _without(_standardised(receptors[np.ix_(rows, pattern)], method, "receptor map"), held)
        r[:, rows] = np.clip(x @ y.T, -1, 1)
    return r


def partial_given_others(effect_maps, receptor_maps, method="gaussianised"):
    """Correlation with each receptor map when all the other receptor maps are held constant.

    Over the parcels that every map covers. With b the coefficients of the regression of the effect
    on all maps at once, R^2 its fit and v the diagonal of the inverse of the maps' correlation
    matrix, the partial correlation is b / sqrt(b^2 + v (1 - R^2)).

    Parameters
    ----------
    effect_maps, receptor_maps, method
        See `correlate`.

    Returns
    -------
    numpy.ndarray, shape (k, m)

    Raises
    ------
    ValueError
        As `correlate`; as many maps as parcels, or maps that follow from one another.
    """
    effects, receptors = _paired(effect_maps, receptor_maps)
    covered = _covered(effects, receptors).all(axis=0)
    if covered.sum() < len(receptors) + 3:
        raise ValueError(
            f"{len(receptors)} receptor maps and {covered.sum()} parcels that all of them cover: "
            "too few parcels to hold the other maps constant; choose fewer maps"
        )
    x = _standardised(effects[:, covered], method, "effect map")
    y = _standardised(receptors[:, covered], method, "receptor map")
    among = y @ y.T
    if np.linalg.eigvalsh(among)[0] < COLLINEAR:
        raise ValueError("a receptor map follows exactly from the others: leave one of them out")
    inverse = np.linalg.inv(among)
    slopes = x @ y.T @ inverse
    left = 1 - (slopes * (x @ y.T)).sum(axis=1, keepdims=True)
    return slopes / np.sqrt(slopes**2 + np.diag(inverse) * np.maximum(left, 0))


def influence(effect, receptors, method="gaussianised"):
    """Correlation with each receptor map without each region in turn.

    Parameters
    ----------
    effect : array_like, shape (n_parcels,)
    receptors : pandas.DataFrame, shape (n_receptors, n_parcels)
    method : str
        See `correlate`.

    Returns
    -------
    pandas.DataFrame, shape (n_receptors, n_parcels)
        r without the region of the column. A region that a map does not cover changes nothing.
    """
    effect = np.asarray(effect, dtype=float)
    left_out = [
        correlate(np.delete(effect, k), receptors.drop(columns=label), method)[0]
        for k, label in enumerate(receptors.columns)
    ]
    return pd.DataFrame(np.transpose(left_out), receptors.index, receptors.columns)


def _patterns(covered):
    """Rows that share a set of covered parcels, and that set."""
    patterns, pattern_of = np.unique(covered, axis=0, return_inverse=True)
    return [
        (np.flatnonzero(pattern_of.ravel() == number), pattern)
        for number, pattern in enumerate(patterns)
    ]


def _without(maps, held):
    """Standardised rows less their projection on orthonormal columns, of length 1 again."""
    left = maps - (maps @ held) @ held.T
    length = np.linalg.norm(left, axis=1, keepdims=True)
    if (length < np.sqrt(COLLINEAR)).any():
        raise ValueError("a map follows exactly from the given maps: nothing is left to correlate")
    return left / length


# --- effect maps ---------------------------------------------------------------------------------


def arm_effect(change, arm, covariates=None, strata=None):
    """Difference of change between the arms, active - control, adjusted.

    Parameters
    ----------
    change : array_like, shape (n_participants, n_parcels)
        Percent change.
    arm : array_like, shape (n_participants,)
        "active" / "control", or true for active.
    covariates : array_like or pandas.DataFrame, shape (n_participants, n_covariates), optional
        Columns of text are coded as categories.
    strata : array_like or pandas.DataFrame, optional
        Strata of the randomisation; several columns are crossed. They enter the model as
        categories.

    Returns
    -------
    numpy.ndarray, shape (n_parcels,)
        Coefficient of the arm in ordinary least squares.
    """
    return effect_map(change, arm, "arm_by_time", covariates, strata)


def effect_map(change, arm, contrast="arm_by_time", covariates=None, strata=None):
    """Effect map of a contrast.

    Parameters
    ----------
    change, arm, covariates, strata
        See `arm_effect`.
    contrast : {"active_change", "control_change", "arm_by_time"}
        Mean within an arm, or the difference between the arms. Covariates and strata enter the
        difference alone: a mean within an arm is that arm's plain mean.

    Returns
    -------
    numpy.ndarray, shape (n_parcels,)
    """
    change, active = checked_change(change, arm, contrast)
    return effect_weights(active, contrast, covariates, strata) @ change


def checked_change(change, arm, contrast):
    """Change as an array and the arm as booleans, found usable for a contrast.

    Parameters
    ----------
    change, arm, contrast
        See `effect_map`.

    Returns
    -------
    change : numpy.ndarray, shape (n_participants, n_parcels)
    active : numpy.ndarray of bool, shape (n_participants,)

    Raises
    ------
    ValueError
        An unknown contrast or arm, rows that do not fit, parcels that some participants lack, fewer
        than two participants in an arm.
    """
    change = np.asarray(change, dtype=float)
    active = _is_active(arm)
    if contrast not in CONTRASTS:
        raise ValueError(
            f"contrast '{contrast}' is unknown; expected one of {', '.join(CONTRASTS)}"
        )
    if change.ndim != 2 or len(change) != len(active):
        raise ValueError(
            f"change has shape {change.shape}, arm names {len(active)} participants; expected "
            "change (n_participants, n_parcels) with one row for each"
        )
    _check_gaps(change)
    if min(active.sum(), (~active).sum()) < 2:
        raise ValueError(
            f"{active.sum()} active and {(~active).sum()} control participants; expected 2 of each"
        )
    return change, active


def _check_gaps(change):
    """A parcel without voxels is NaN for everybody; anything else is a fault of one participant."""
    gaps = np.isnan(change)
    uneven = gaps.any(axis=0) & ~gaps.all(axis=0)
    if uneven.any():
        rows = np.flatnonzero(gaps[:, uneven].any(axis=1))
        raise ValueError(
            f"change: participants in rows {rows.tolist()} lack parcels that others have "
            f"(columns {np.flatnonzero(uneven).tolist()}). Check their images."
        )


def _is_active(arm):
    arm = np.asarray(arm)
    if arm.dtype.kind in "OUS":
        unknown = sorted(set(arm.astype(str).tolist()) - {"active", "control"})
        if unknown:
            raise ValueError(f"arm holds {unknown}; expected 'active' or 'control'")
        return arm.astype(str) == "active"
    if not np.isin(arm, (0, 1)).all():
        raise ValueError(
            f"arm holds {np.unique(arm).tolist()}; expected 'active' / 'control' or 1 / 0"
        )
    return arm.astype(bool)


def nuisance_columns(n, covariates, strata):
    """Nuisance columns. The intercept is among them: without it the mean would be permuted too."""
    columns = [np.ones((n, 1))]
    if covariates is not None:
        columns.append(_coded(pd.DataFrame(covariates), n, "covariates"))
    if strata is not None:
        columns.append(pd.get_dummies(stratum_numbers(strata, n)).to_numpy(float)[:, 1:])
    return np.hstack(columns)


def _coded(table, n, what):
    if len(table) != n:
        raise ValueError(f"{what}: {len(table)} rows, expected {n}, one for each participant")
    lacking = table.columns[table.isna().any()].tolist()
    if lacking:
        raise ValueError(
            f"{what} {lacking} have missing values; leave those participants out first"
        )
    return pd.get_dummies(table, drop_first=True).to_numpy(float)


def stratum_numbers(strata, n):
    """Stratum number of each participant; several columns are crossed."""
    if strata is None:
        return np.zeros(n, dtype=int)
    table = pd.DataFrame(strata).reset_index(drop=True)
    if len(table) != n:
        raise ValueError(f"strata: {len(table)} rows, expected {n}, one for each participant")
    return table.groupby(list(table.columns), dropna=False).ngroup().to_numpy()


def effect_weights(active, contrast, covariates=None, strata=None):
    """Weights (n_participants,) with which the effect is a sum over participants."""
    if contrast != "arm_by_time":
        chosen = active if contrast == "active_change" else ~active
        return chosen / chosen.sum()
    nuisance = nuisance_columns(len(active), covariates, strata)
    residual = residuals(nuisance, active.astype(float))
    if residual @ residual < 1e-8:
        raise ValueError(
            "arm is a combination of covariates and strata: its effect has no estimate"
        )
    return residual / (residual @ residual)


def residuals(nuisance, values):
    """Values (n, ...) less what the nuisance columns (n, k) explain, by least squares."""
    return values - nuisance @ (np.linalg.pinv(nuisance) @ values)


# --- tests ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NullTest:
    """A correlation with its null distribution.

    Attributes
    ----------
    r : numpy.ndarray, shape (n_receptors,)
    null : numpy.ndarray, shape (n_null, n_receptors)
        Correlations under the null; the observed one is not among them.
    p : numpy.ndarray, shape (n_receptors,)
        (1 + #{|r*| >= |r|}) / (1 + n_null), two-sided.
    p_fwe : numpy.ndarray, shape (n_receptors,)
        The same with the largest |r*| over receptors.
    exhaustive : bool
        Whether `null` holds every relabelling that differs from the observed one.
    """

    r: np.ndarray
    null: np.ndarray
    p: np.ndarray
    p_fwe: np.ndarray
    exhaustive: bool = False


def null_test(observed, null, exhaustive=False):
    """Two-sided p of statistics against their null distribution, single and family-wise.

    Parameters
    ----------
    observed : array_like, shape (m,)
    null : array_like, shape (n_null, m)
        Without the observed one.
    exhaustive : bool
        Whether `null` is complete.

    Returns
    -------
    NullTest
    """
    size = np.abs(null)
    largest = size.max(axis=1, keepdims=True)
    bound = np.abs(observed) - TIE
    p, p_fwe = ((1 + (x >= bound).sum(axis=0)) / (1 + len(null)) for x in (size, largest))
    return NullTest(np.asarray(observed), np.asarray(null), p, p_fwe, exhaustive)


@dataclass(frozen=True)
class NullEffects:
    """Effect map of a trial, and those that it could have had if treatment did nothing.

    Attributes
    ----------
    observed : numpy.ndarray, shape (n_parcels,)
    null : numpy.ndarray, shape (n_null, n_parcels)
        The observed one is not among them.
    exhaustive : bool
        Whether `null` holds every relabelling that differs from the observed one.
    """

    observed: np.ndarray
    null: np.ndarray
    exhaustive: bool


def null_effects(
    change,
    arm,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_permutations=5000,
    seed=0,
):
    """Effect maps of the trial with its arms re-randomised.

    Between the arms, labels are re-randomised within strata and the whole effect map is computed
    again; with covariates, residuals of the nuisance model (intercept, covariates, strata) are
    permuted (Freedman & Lane 1983, J Bus Econ Stat 1:292). Within an arm, participants' signs are
    flipped, which assumes errors symmetric about 0.

    When no more than `n_permutations` relabellings differ from the observed one, all of them are
    used, once each.

    Parameters
    ----------
    change, arm, covariates, strata
        See `arm_effect`.
    contrast : {"active_change", "control_change", "arm_by_time"}
    n_permutations : int
    seed : int

    Returns
    -------
    NullEffects
    """
    change, active = checked_change(change, arm, contrast)
    weights = effect_weights(active, contrast, covariates, strata)
    observed = weights @ change
    if contrast == "arm_by_time":
        change = residuals(nuisance_columns(len(active), covariates, strata), change)
        stratum = stratum_numbers(strata, len(active))
    else:
        used = weights != 0
        change, weights, stratum = change[used], weights[used], None
    permutations, exhaustive = draw_permutations(
        n_permutations,
        len(weights),
        tested=np.round(weights, 12),  # equal but for rounding is equal
        blocks=stratum,
        sign_flip=contrast != "arm_by_time",
        seed=seed,
    )
    return NullEffects(observed, placed(weights, permutations) @ change, exhaustive)


def placed(weights, permutations):
    """Weight of each participant when signed permutations put them in new places.

    Parameters
    ----------
    weights : array_like, shape (n,)
    permutations : numpy.ndarray of int, shape (n_null, n)
        From `analysis_lib.exchangeability.draw_permutations`.

    Returns
    -------
    numpy.ndarray, shape (n_null, n)
    """
    placed = np.empty(permutations.shape)
    np.put_along_axis(placed, np.abs(permutations) - 1, weights * np.sign(permutations), axis=1)
    return placed


def randomisation_test(
    change,
    arm,
    receptors,
    contrast="arm_by_time",
    covariates=None,
    strata=None,
    n_permutations=5000,
    seed=0,
    method="gaussianised",
):
    """Would this alignment appear if treatment did nothing?

    The correlation of every map of `null_effects` with every receptor map, each gaussianised again.

    r has no scale. Where one spatial pattern makes up nearly all variance between participants, a
    relabelled map shows that pattern too, however weakly, and |r*| is near 1: the test stays valid
    and loses power.

    Parameters
    ----------
    change, arm, contrast, covariates, strata, n_permutations, seed
        See `null_effects`.
    receptors : array_like, shape (n_receptors, n_parcels)
    method : str
        See `correlate`.

    Returns
    -------
    NullTest
    """
    model = {"covariates": covariates, "strata": strata}
    effects = null_effects(change, arm, contrast, **model, n_permutations=n_permutations, seed=seed)
    return test_statistic(effects, lambda maps: correlate(maps, receptors, method))


def test_statistic(effects, statistic):
    """Test of any statistic of an effect map against re-randomised ones.

    Parameters
    ----------
    effects : NullEffects
    statistic : callable
        Maps (k, n_parcels) to numbers (k, m) that are far from 0 under the alternative.

    Returns
    -------
    NullTest
    """
    return null_test(
        statistic(effects.observed[None])[0], statistic(effects.null), effects.exhaustive
    )


def spatial_test(effect, receptors, surrogates, method="gaussianised"):
    """Is this receptor special, or would any equally smooth map do?

    Parameters
    ----------
    effect : array_like, shape (n_parcels,)
    receptors : array_like, shape (n_receptors, n_parcels)
    surrogates : array_like, shape (n_surrogates, n_parcels)
        Surrogates of the effect map from `analysis_lib.nulls`, one set for all receptors.
    method : str
        See `correlate`.

    Returns
    -------
    NullTest
    """
    r = correlate(effect, receptors, method)[0]
    return null_test(r, correlate(surrogates, receptors, method))


def parametric_p(r, n_parcels):
    """Two-sided p of a correlation of independent observations. Parcels are not independent.

    Parameters
    ----------
    r : array_like
    n_parcels : array_like of int

    Returns
    -------
    numpy.ndarray
        From Student's t with n - 2 degrees of freedom.
    """
    r, df = np.asarray(r, dtype=float), np.asarray(n_parcels) - 2
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / (1 - r**2))
    return 2 * stats.t.sf(t, df)


def check_labels(change, receptors):
    """Refuse change and receptor maps that do not list the same labels in the same order."""
    if not change.columns.equals(receptors.columns):
        differ = change.columns.symmetric_difference(receptors.columns).tolist()
        raise ValueError(
            f"change and receptors list different labels (only in one of them: {differ}; none "
            "means another order). Select receptors[change.columns], or use one atlas for both."
        )
