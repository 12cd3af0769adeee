"""Smoothness of the errors: of the residuals of the whole model, never of the maps.

Effects and covariates make maps look smoother than their errors are (Kiebel et al. 1999, NeuroImage
10:756-766; Worsley 1996, Hum Brain Mapp 4:364-366).
"""

from dataclasses import dataclass

import numpy as np

from voxelperm.model import BLOCK
from voxelperm.nuisance import nuisance_basis
from voxelperm.smoothing import FWHM


@dataclass(frozen=True)
class Smoothness:
    """Of a set of residual maps.

    Attributes
    ----------
    fwhm : numpy.ndarray
        (3,), full width at half maximum along each axis of the Gaussian that makes white noise as
        smooth, in voxels (times the voxel's size: mm); infinite where neighbours are equal.
    resels : float
        Resolution elements in the mask: its voxels over the product of the widths.
    """

    fwhm: np.ndarray
    resels: float


def residual_maps(maps, tested, nuisance=None, intercept=True):
    """Residuals of the whole model, one participant at a time.

    Parameters
    ----------
    maps : array_like
        (n, n_voxels); no copy is made of them.
    tested : array_like
        (n,).
    nuisance : array_like, optional
        (n, n_columns).
    intercept : bool
        As in the test: False where a mean is tested.

    Yields
    ------
    numpy.ndarray
        (n_voxels,), float64.
    """
    maps = np.asarray(maps)
    basis = _whole_basis(tested, nuisance, intercept)
    weights = [basis.T @ maps[:, i : i + BLOCK] for i in range(0, maps.shape[1], BLOCK)]
    weights = np.concatenate(weights, axis=1)
    for row, values in zip(basis, maps, strict=True):
        yield values - row @ weights


def smoothness(maps, mask, tested, nuisance=None, intercept=True):
    """Full width at half maximum and resels, from the residuals of the whole model.

    Residuals are standardised by voxel; r is the mean correlation over participants of voxels that
    share a face, and a Gaussian kernel of variance -1 / (4 log r) makes it (Forman et al. 1995,
    Magn Reson Med 33:636-647; Jenkinson 2000, FSL technical report TR00MJ3). Few participants
    bias r, and 1 - r by (df - 1) / (df - 2) where it is small, which is corrected (Kiebel et al.).

    Parameters
    ----------
    maps, tested, nuisance, intercept
        As in :func:`residual_maps`.
    mask : array_like of bool
        (x, y, z), with n_voxels true voxels.

    Returns
    -------
    Smoothness
    """
    mask, square = np.asarray(mask, bool), np.zeros(np.shape(maps)[1])
    for residual in residual_maps(maps, tested, nuisance, intercept):
        square += residual**2
    scale = np.divide(1, np.sqrt(square), out=np.zeros_like(square), where=square > 0)
    used, shared = _volume(mask, square > 0), np.zeros(3)
    for residual in residual_maps(maps, tested, nuisance, intercept):
        shared += _with_next(_volume(mask, residual * scale))
    r = np.clip(shared / _with_next(used), 1e-12, 1)
    df = len(tested) - _whole_basis(tested, nuisance, intercept).shape[1]
    r *= 1 + (1 - r**2) / (2 * (df - 1))
    with np.errstate(divide="ignore"):
        fwhm = FWHM / np.sqrt(-4 * np.log(np.minimum(r, 1)))
    return Smoothness(fwhm, float(used.sum() / np.prod(fwhm)))


def _whole_basis(tested, nuisance, intercept):
    tested = np.asarray(tested, float)[:, None]
    given = [] if nuisance is None else [np.asarray(nuisance, float).reshape(len(tested), -1)]
    return nuisance_basis(np.hstack([tested, *given]), len(tested), intercept)


def _volume(mask, values):
    volume = np.zeros(mask.shape)
    volume[mask] = values
    return volume


def _with_next(volume):
    """Sum of the products of neighbours along each axis, (3,)."""
    along = (np.moveaxis(volume, axis, 0) for axis in range(3))
    return np.array([np.einsum("xyz,xyz->", v[1:], v[:-1]) for v in along])
