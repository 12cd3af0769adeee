"""Correlation of a map of treatment change with receptor maps."""

import numpy as np
import pandas as pd
from scipy import special, stats

METHODS = ("gaussianised", "pearson", "spearman")
BLOM = 3 / 8  # offset of the rank-based normal scores
COLLINEAR = 1e-10  # smallest eigenvalue of the maps' correlation matrix that is accepted


def gaussianise(x, axis=-1):
    """Rank-based inverse normal scores.

    Phi^-1((rank - 3/8) / (n + 1/4)), Blom's (1958) approximation of normal order statistics; ties
    share their average rank. NaN stays NaN and counts neither as a rank nor in n.
    """
    x = np.asarray(x, dtype=float)
    lacking = "omit" if np.isnan(x).any() else "propagate"  # which is faster
    ranks = stats.rankdata(x, axis=axis, nan_policy=lacking)
    n = np.count_nonzero(~np.isnan(x), axis=axis, keepdims=True)
    return special.ndtri((ranks - BLOM) / (n + 1 - 2 * BLOM))


def correlate(effect_maps, receptor_maps, method="gaussianised", scored=False, given=None):
    """Correlation over parcels of effect maps (k, n_parcels) with receptor maps (m, n_parcels).

    Gives (k, m): Pearson's, of normal scores ("gaussianised"), of values ("pearson") or of ranks
    ("spearman"). A parcel that a receptor map does not cover (NaN) is left out for that receptor
    alone, before ranking; `n_covered` counts the rest and `uncovered` names what is left out.
    Effect maps lack the same parcels, if any; ``scored`` ones are scores already and are not ranked
    again. Constant maps and fewer than three parcels in common are refused.

    With ``given`` maps (q, n_parcels), such as grey-matter density, it is the partial correlation:
    they are scored, too, and regressed out of both sides. Parcels where one of these is NaN are
    left out. A receptor map that follows from the given ones is refused.
    """
    effects, receptors = _paired(effect_maps, receptor_maps)
    if given is not None:
        given = _paired(given, receptors)[0]
        receptors = np.where(np.isnan(given).any(axis=0), np.nan, receptors)
    r = np.empty((len(effects), len(receptors)))
    for rows, pattern in _patterns(_covered(effects, receptors)):
        x = _standardised(effects[:, pattern], "pearson" if scored else method, "effect map")
        y = _standardised(receptors[np.ix_(rows, pattern)], method, "receptor map")
        if given is not None:
            held = np.linalg.qr(_standardised(given[:, pattern], method, "given map").T)[0]
            x, y = _without(x, held), _without(y, held)
        r[:, rows] = np.clip(x @ y.T, -1, 1)
    return r


def n_covered(effect_maps, receptor_maps):
    """Number of parcels behind each receptor's correlation, (m,)."""
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


def scores(maps, method="gaussianised"):
    """What a statistic is computed from, along the last axis: normal scores, ranks or values."""
    if method not in METHODS:
        raise ValueError(f"method '{method}' is unknown; expected one of {', '.join(METHODS)}")
    if method == "gaussianised":
        return gaussianise(maps)
    return stats.rankdata(maps, axis=-1) if method == "spearman" else np.asarray(maps, float)


def _standardised(maps, method, what):
    """Rows of mean 0 and length 1, so that a product of rows is a correlation."""
    maps = scores(maps, method)
    centred = maps - maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    scale = np.abs(maps).max(axis=1, keepdims=True)
    constant = np.flatnonzero(length[:, 0] <= 1e-12 * scale[:, 0])
    if constant.size:
        raise ValueError(
            f"{what} {constant[:5].tolist()}: one value in every parcel, no correlation"
        )
    return centred / length


def partial_given_others(effect_maps, receptor_maps, method="gaussianised", scored=False):
    """Correlation (k, m) with each receptor map when all the other receptor maps are held constant.

    Over the parcels that every map covers. With b the coefficients of the regression of the effect
    on all maps at once, R^2 its fit and v the diagonal of the inverse of the maps' correlation
    matrix, the partial correlation is b / sqrt(b^2 + v (1 - R^2)). As many maps as parcels, or maps
    that follow from one another, are refused.
    """
    effects, receptors = _paired(effect_maps, receptor_maps)
    covered = _covered(effects, receptors).all(axis=0)
    if covered.sum() < len(receptors) + 3:
        raise ValueError(
            f"{len(receptors)} receptor maps and {covered.sum()} parcels that all of them cover: "
            "too few parcels to hold the other maps constant; choose fewer maps"
        )
    x = _standardised(effects[:, covered], "pearson" if scored else method, "effect map")
    y = _standardised(receptors[:, covered], method, "receptor map")
    among = y @ y.T
    if np.linalg.eigvalsh(among)[0] < COLLINEAR:
        raise ValueError("a receptor map is a combination of the others: leave one of them out")
    inverse = np.linalg.inv(among)
    slopes = x @ y.T @ inverse
    left = 1 - (slopes * (x @ y.T)).sum(axis=1, keepdims=True)
    return slopes / np.sqrt(slopes**2 + np.diag(inverse) * np.maximum(left, 0))


def patient_slopes(change, receptors, method="gaussianised"):
    """Percent change per standard deviation of receptor density, (n_participants, n_receptors).

    The slope of the least-squares line of a participant's change (n_participants, n_parcels) on the
    density of each map, as normal scores ("pearson": values, "spearman": ranks) over the parcels
    that the map covers. Noise widens the spread of slopes and leaves their mean alone; it pulls a
    correlation towards 0.
    """
    change, receptors = _paired(change, receptors)
    slopes = np.empty((len(change), len(receptors)))
    for rows, pattern in _patterns(_covered(change, receptors)):
        x = _standardised(receptors[np.ix_(rows, pattern)], method, "receptor map")
        slopes[:, rows] = change[:, pattern] @ x.T / np.sqrt(pattern.sum())
    return slopes


def slopes_given_others(change, receptors, method="gaussianised"):
    """The same with all maps in one regression, over the parcels that every map covers."""
    change, receptors = _paired(change, receptors)
    covered = _covered(change, receptors).all(axis=0)
    x = _standardised(receptors[:, covered], method, "receptor map") * np.sqrt(covered.sum())
    design = np.column_stack([np.ones(covered.sum()), x.T])
    return (np.linalg.pinv(design) @ change[:, covered].T)[1:].T


def influence(effect, receptors, method="gaussianised"):
    """Correlation with each receptor map without each region in turn, (n_receptors, n_parcels).

    A region that a map does not cover changes nothing.
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
        raise ValueError("a map is a combination of the given maps: nothing is left to correlate")
    return left / length


def check_labels(change, receptors):
    """Refuse change and receptor maps that do not list the same labels in the same order."""
    if not change.columns.equals(receptors.columns):
        differ = change.columns.symmetric_difference(receptors.columns).tolist()
        raise ValueError(
            f"change and receptors list different labels (only in one of them: {differ}; none "
            "means another order). Select receptors[change.columns], or use one atlas for both."
        )
