"""Smoothing of the error variance inside a mask, for the pseudo-t (Nichols & Holmes 2002)."""

import numpy as np
from scipy import ndimage

FWHM = np.sqrt(8 * np.log(2))  # of a Gaussian with standard deviation 1


class Smoother:
    """Gaussian smoothing of the values in a mask; voxels outside it have no weight.

    Parameters
    ----------
    mask : numpy.ndarray of bool
        (x, y, z).
    fwhm : float or sequence of float
        Full width at half maximum in voxels, one for all axes or one per axis.

    Raises
    ------
    ValueError
        If a width is not above 0.
    """

    def __init__(self, mask, fwhm):
        fwhm = np.broadcast_to(np.asarray(fwhm, float), 3)
        if not (np.isfinite(fwhm).all() and (fwhm > 0).all()):
            raise ValueError(f"variance_fwhm above 0, in voxels, expected, found {fwhm.tolist()}")
        self.mask = mask[ndimage.find_objects(mask.astype(np.uint8))[0]]
        self.sigma = fwhm / FWHM
        self.weight = self._filter(np.ones(self.mask.sum()))

    def __call__(self, values):
        """Smoothed values, (n_voxels,), from values of the same shape."""
        return self._filter(values) / self.weight.astype(values.dtype)

    def _filter(self, values):
        volume = np.zeros(self.mask.shape, values.dtype)
        volume[self.mask] = values
        return ndimage.gaussian_filter(volume, self.sigma, mode="constant")[self.mask]
