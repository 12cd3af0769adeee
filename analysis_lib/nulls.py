"""Surrogate maps: as smooth as a given map, otherwise random."""

import numpy as np
from scipy.linalg import helmert

from analysis_lib import receptors


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
        mm; positive off the diagonal.
    n : int
        Number of surrogates.
    seed : int
    gaussianise : bool
        Turn values into normal scores first, and every surrogate afterwards, so that all have the
        same, normal values. Moran's I is then kept nearly, not exactly.

    Returns
    -------
    numpy.ndarray, shape (n, n_parcels)

    Raises
    ------
    ValueError
        Shapes that do not fit, distances that are not positive and symmetric.
    """
    values, distances = np.asarray(values, dtype=float), np.asarray(distances, dtype=float)
    _check(values, distances)
    covered = ~np.isnan(values)
    eigenvectors = moran_eigenvectors(distances[np.ix_(covered, covered)])
    surrogates = np.full((n, values.size), np.nan)
    rng = np.random.default_rng(seed)
    surrogates[:, covered] = _randomised(values[covered], eigenvectors, n, rng, gaussianise)
    return surrogates


def moran_eigenvectors(distances):
    """Moran eigenvector maps of inverse-distance weights.

    Parameters
    ----------
    distances : numpy.ndarray, shape (n_parcels, n_parcels)
        mm.

    Returns
    -------
    numpy.ndarray, shape (n_parcels, n_parcels - 1)
        Orthonormal columns, each of mean 0, from the smoothest to the roughest.
    """
    # Within the space of maps of mean 0 (Helmert's basis) centring leaves no null vector to drop.
    basis = helmert(len(distances)).T
    _, vectors = np.linalg.eigh(basis.T @ inverse_distance_weights(distances) @ basis)
    return basis @ vectors[:, ::-1]


def inverse_distance_weights(distances):
    """Weights 1 / distance with 0 on the diagonal.

    Parameters
    ----------
    distances : numpy.ndarray, shape (n_parcels, n_parcels)
        mm.

    Returns
    -------
    numpy.ndarray, shape (n_parcels, n_parcels)
    """
    weights = np.zeros_like(distances, dtype=float)
    return np.divide(1.0, distances, out=weights, where=~np.eye(len(distances), dtype=bool))


def morans_i(maps, distances):
    """Moran's I of maps under inverse-distance weights.

    Parameters
    ----------
    maps : array_like, shape (n_maps, n_parcels) or (n_parcels,)
    distances : numpy.ndarray, shape (n_parcels, n_parcels)

    Returns
    -------
    numpy.ndarray, shape (n_maps,)
    """
    centred = np.atleast_2d(maps) - np.atleast_2d(maps).mean(axis=1, keepdims=True)
    weights = inverse_distance_weights(np.asarray(distances))
    products = np.einsum("ki,ij,kj->k", centred, weights, centred, optimize=True)
    return centred.shape[1] / weights.sum() * products / (centred**2).sum(axis=1)


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


def _randomised(values, eigenvectors, n, rng, normal):
    values = receptors.gaussianise(values) if normal else values
    spectrum = eigenvectors.T @ values
    signs = rng.choice((-1.0, 1.0), size=(n, spectrum.size))
    surrogates = values.mean() + (signs * spectrum) @ eigenvectors.T
    return receptors.gaussianise(surrogates) if normal else surrogates
