"""Surrogate maps: as smooth as a given map, otherwise random."""

import numpy as np
from scipy.linalg import helmert

from analysis_lib.receptors import correlation

DELTAS = tuple(k / 10 for k in range(1, 10))  # shares of nearest neighbours that smoothing uses
NEAR = 25  # percentile of distances: pairs of parcels closer than this make the variogram
N_LAGS = 25  # distances at which it is evaluated
BATCH = 100  # surrogates made together: their pairwise differences stay in the processor's cache


def moran_surrogates(values, distances, n, seed, gaussianise=True):
    """Moran spectral randomisation (Wagner & Dray 2015, Methods Ecol Evol 6:1169).

    The map is written in Moran eigenvector maps, the eigenvectors of the doubly centred matrix of
    inverse distances, and the signs of its coefficients are drawn at random (their "singleton"
    procedure). That keeps mean, variance and Moran's I exactly. Their "pair" procedure is not
    offered: it mixes smooth with rough eigenvectors, so that surrogates of a smooth map are too
    rough and the test rejects too often.

    Parameters
    ----------
    values : array_like, shape (n_parcels,)
        NaN parcels take no part and are NaN in every surrogate.
    distances : array_like, shape (n_parcels, n_parcels)
        mm; positive off the diagonal. With those of `analysis_lib.atlas.distances.mirrored` every
        eigenvector is even or odd about the midline, so that surrogates of a symmetric map are
        symmetric; others understate how often two symmetric maps correlate.
    n : int
        Number of surrogates.
    seed : int
    gaussianise : bool
        Turn values into normal scores first. Surrogates are not ranked again: that would make them
        rougher than the map, and family-wise p too small (.125 to .098 at .05 for maps of 60 mm
        FWHM, 400 pairs, anatomy held constant).

    Returns
    -------
    numpy.ndarray, shape (n, n_parcels)

    Raises
    ------
    ValueError
        Shapes that do not fit, distances that are not positive and symmetric.
    """
    return _where_covered(_randomised, values, distances, n, seed, gaussianise)


def variogram_surrogates(values, distances, n, seed, gaussianise=True):
    """Surrogates with the map's variogram (Burt et al. 2020, NeuroImage 220:117038, BrainSMASH).

    The values are shuffled over parcels and smoothed over the nearest neighbours, with weights that
    fall off exponentially, once for each share of neighbours in `DELTAS`. The map's variogram is
    regressed on that of each smoothed shuffle; the share that fits best is kept, scaled by the
    square root of the slope, and white noise with the intercept's square root is added. Shares and
    lags are BrainSMASH's defaults: with a hundred parcels surrogates of rough maps come out too
    smooth and the test is conservative.

    Parameters
    ----------
    values, distances, n, seed
        As in `moran_surrogates`.
    gaussianise : bool
        Turn values into normal scores first, and every surrogate afterwards, so that each surrogate
        is a permutation of the map's normal scores (BrainSMASH's ``resample=True``, of normal
        scores). If not, surrogates have the map's mean and only roughly its variance and
        distribution (``resample=False``).

    Returns
    -------
    numpy.ndarray, shape (n, n_parcels)

    Raises
    ------
    ValueError
        As `moran_surrogates`; a constant map; parcels that leave nothing to smooth or compare.
    """
    return _where_covered(_permuted, values, distances, n, seed, gaussianise)


def _where_covered(make, values, distances, n, seed, normal):
    """Surrogates (n, n_parcels) of the values that are not missing, as scores if asked for."""
    values, distances = np.asarray(values, dtype=float), np.asarray(distances, dtype=float)
    _check(values, distances)
    covered, rng = ~np.isnan(values), np.random.default_rng(seed)
    kept = correlation.gaussianise(values[covered]) if normal else values[covered]
    surrogates = np.full((n, values.size), np.nan)
    surrogates[:, covered] = make(kept, distances[np.ix_(covered, covered)], n, rng, normal)
    return surrogates


def variogram(maps, distances):
    """Smoothed variograms, as `variogram_surrogates` matches them and as a figure shows them.

    Half the squared difference of two parcels, averaged over pairs around each distance (lag) with
    Gaussian weights; pairs far apart (`NEAR`) take no part. Maps (n_maps, n_parcels) lack nothing;
    distances and lags (n_lags,) are mm, semivariances (n_maps, n_lags).
    """
    pairs, weights, lags = _lag_weights(np.asarray(distances, dtype=float))
    return lags, _semivariance(np.atleast_2d(maps).T, pairs, weights).T


def moran_eigenvectors(distances):
    """Moran eigenvector maps of inverse-distance weights, (n_parcels, n_parcels - 1).

    Orthonormal columns, each of mean 0, from the smoothest to the roughest.
    """
    # Within the space of maps of mean 0 (Helmert's basis) centring leaves no null vector to drop.
    basis = helmert(len(distances)).T
    _, vectors = np.linalg.eigh(basis.T @ inverse_distance_weights(distances) @ basis)
    return basis @ vectors[:, ::-1]


def inverse_distance_weights(distances):
    """Weights 1 / distance (n_parcels, n_parcels) with 0 on the diagonal."""
    weights = np.zeros_like(distances, dtype=float)
    return np.divide(1.0, distances, out=weights, where=~np.eye(len(distances), dtype=bool))


def _check(values, distances):
    if distances.shape != (values.size, values.size):
        raise ValueError(
            f"distances have shape {distances.shape}, expected {(values.size, values.size)} "
            f"for {values.size} parcels"
        )
    off_diagonal = distances[~np.eye(values.size, dtype=bool)]
    if not (np.isfinite(off_diagonal).all() and (off_diagonal > 0).all()):
        raise ValueError("distances between different parcels must be positive and finite")
    if not np.allclose(distances, distances.T):
        raise ValueError("distances must be symmetric")


def _randomised(values, distances, n, rng, normal):
    eigenvectors = moran_eigenvectors(distances)
    spectrum = eigenvectors.T @ values
    signs = rng.choice((-1.0, 1.0), size=(n, spectrum.size))
    surrogates = values.mean() + (signs * spectrum) @ eigenvectors.T
    # Homologues of a symmetric map are equal but for rounding, which must not rank them.
    return np.round(surrogates, 6) if normal else surrogates


def _permuted(values, distances, n, rng, normal):
    if np.ptp(values) == 0:
        raise ValueError("the map has one value in every parcel; nothing to match")
    smoothers, (pairs, weights, _) = _smoothers(distances), _lag_weights(distances)
    target = _semivariance(values[:, None], pairs, weights)
    sizes = [min(BATCH, n - start) for start in range(0, n, BATCH)]
    made = [_matched(values, target, smoothers, pairs, weights, size, rng) for size in sizes]
    found = np.hstack([np.empty((len(values), 0)), *made]).T
    return correlation.gaussianise(found) if normal else found


def _smoothers(distances):
    """A smoothing matrix for each share of nearest neighbours, the parcel itself left out."""
    n = len(distances)
    if int(DELTAS[0] * n) < 1:
        raise ValueError(
            f"{n} parcels: at least {round(1 / DELTAS[0])} expected, to have neighbours"
        )
    order = np.argsort(distances, axis=1, kind="stable")
    matrices = np.zeros((len(DELTAS), n, n))
    for matrix, delta in zip(matrices, DELTAS, strict=True):
        nearest = order[:, 1 : int(delta * n) + 1]
        near = np.take_along_axis(distances, nearest, axis=1)
        weights = np.exp(-near / near.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        np.put_along_axis(matrix, nearest, weights, axis=1)
    return matrices


def _lag_weights(distances):
    """Pairs of near parcels, and each pair's weight at each lag: rows of sum 1."""
    i, j = np.triu_indices(len(distances), k=1)
    apart = distances[i, j]
    near = apart < np.percentile(apart, NEAR)
    if np.unique(apart[near]).size < 3:
        raise ValueError(
            f"fewer than three distances lie below percentile {NEAR}: too few parcels, or "
            "distances too alike, for a variogram"
        )
    i, j, apart = i[near], j[near], apart[near]
    lags = np.linspace(apart.min(), apart.max(), N_LAGS)
    bandwidth = 3 * (lags[1] - lags[0])
    weights = np.exp(-((2.68 * (apart - lags[:, None]) / bandwidth) ** 2) / 2)
    return (i, j), weights / weights.sum(axis=1, keepdims=True), lags


def _semivariance(maps, pairs, weights):
    """(n_lags, n_maps) of maps (n_parcels, n_maps)."""
    squared = maps[pairs[0]] - maps[pairs[1]]
    np.square(squared, out=squared)
    return weights @ squared / 2


def _matched(values, target, smoothers, pairs, weights, n, rng):
    """Surrogates (n_parcels, n): the best-fitting smoothed shuffle of each, scaled, and noise."""
    shuffled = rng.permuted(np.repeat(values[:, None], n, axis=1), axis=0)
    best, noise = np.empty_like(shuffled), np.empty(n)
    misfit = np.full(n, np.inf)
    for smoother in smoothers:
        smooth = smoother @ shuffled
        intercept, slope, error = _fit(_semivariance(smooth, pairs, weights), target)
        better = error < misfit
        best[:, better] = smooth[:, better] * np.sqrt(np.abs(slope[better]))
        misfit[better], noise[better] = error[better], np.abs(intercept[better])
    found = best + np.sqrt(noise) * rng.standard_normal(best.shape)
    return found - found.mean(axis=0) + values.mean()


def _fit(x, y):
    """Least squares of y (n_lags, 1) on each column of x: intercept, slope, squared error."""
    centred = x - x.mean(axis=0)
    slope = (centred * y).sum(axis=0) / (centred**2).sum(axis=0)
    intercept = y.mean() - slope * x.mean(axis=0)
    return intercept, slope, ((y - intercept - slope * x) ** 2).sum(axis=0)
