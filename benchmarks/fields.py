"""Random maps of change on the regions of an atlas, left-right symmetric to a chosen degree.

Noise lives on voxels: white noise is smoothed, and each region takes the mean over its voxels. All
of that is linear, so that the covariance between regions is computed, not simulated. A voxel's
noise is correlated with that of the mirrored voxel (``homotopic``), as real change is.
"""

import numpy as np
from scipy import ndimage

from analysis_lib.atlas import grids
from analysis_lib.atlas.template import grey_matter_template

VOXEL = 4  # mm
GRID, CORNER = (39, 48, 40), (-76, -112, -76)  # mirrored about x = 0
VBM_LIKE = ((14, 0.7), (30, 0.3))  # FWHM in mm, and share of the variance


class Regions:
    """Regions of an atlas on a coarse grid that is its own mirror image."""

    def __init__(self, atlas, labels):
        self.affine = np.diag([VOXEL, VOXEL, VOXEL, 1.0])
        self.affine[:3, 3] = CORNER
        here = grids.labels_on_grid(atlas, GRID, self.affine)
        members = here == np.asarray(labels)[:, None, None, None]
        self.averages = members / members.sum(axis=(1, 2, 3), keepdims=True)
        self.template = _on_grid(grey_matter_template(3), self.affine)

    def noise(self, parts, homotopic):
        """Covariance (n_regions, n_regions) of a mixture of smooth noises."""
        made = [(share, *_products(self.averages, fwhm, 1)) for fwhm, share in parts]
        return sum(
            share * (own + homotopic * across) / np.diag(own).mean() for share, own, across in made
        )

    def registration(self, fwhm, homotopic):
        """Covariance of what a smooth error of registration does: displacement times gradient."""
        total = 0
        for axis, sign in enumerate((-1, 1, 1)):
            gradient = np.gradient(self.template, axis=axis)
            own, across = _products(self.averages * gradient, fwhm, sign)
            total = total + own + homotopic * across
        density = (self.averages * self.template).sum(axis=(1, 2, 3))
        return total / np.outer(density, density)


def root(covariance):
    """Matrix that turns white noise into maps of this covariance, of mean variance 1."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0) / np.diag(covariance).mean())


def _products(weights, fwhm, sign):
    """Covariance of weighted means of smoothed noise, and that with the mirrored noise."""
    sigma = fwhm / np.sqrt(8 * np.log(2)) / VOXEL
    smooth = np.array([ndimage.gaussian_filter(w, sigma, mode="constant") for w in weights])
    flat, flipped = (v.reshape(len(v), -1) for v in (smooth, sign * smooth[:, ::-1]))
    return flat @ flat.T, flat @ flipped.T


def _on_grid(image, affine):
    to_image = np.linalg.inv(image.affine) @ affine
    data = np.asarray(image.dataobj, dtype=float)
    return ndimage.affine_transform(data, to_image[:3, :3], to_image[:3, 3], GRID, order=1)
