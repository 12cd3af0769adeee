"""t of a mean whose errors are skewed: Hall's transformation, under sign flips.

Signs assume errors that are symmetric about zero; skewed ones are found "changed" in one tail too
often. Hall's transformation removes from t what skewness puts there, to second order (Hall 1992,
J R Stat Soc B 54:221-228), in the data and in each draw, by the skewness that it has, corrected for
the number of participants (G1). Family-wise rejections at n = 18 and skewness 0, 1, 2 (300 data
sets): .05, .20, .75 by flips of t; .05, .08, .09 here; .05, .09, .15 without that correction; .06,
.10, .15 with Johnson's (1978, JASA 73:536-544) terms alone, which are not monotone. Mammen's
two-point weights, which keep skewness, gave .27 and .61 of t, .09 and .21 of this one.
"""

import numpy as np
from numba import njit

from voxelperm.model import BLOCK, check_finite, products_of


class SkewedModel:
    """Maps of unit mean square, and the transformed t of their mean for any signs.

    Signs leave the sum of squares alone: the signed sums of the values and of their cubes give the
    mean, the variance and the skewness of each draw.

    Parameters
    ----------
    maps : numpy.ndarray
        (n, n_voxels).
    mask : numpy.ndarray of bool
        (x, y, z).

    Raises
    ------
    ValueError
        If a map has values that are not finite.
    """

    smooth, rows = None, range(2)  # as in voxelperm.model.VoxelModel

    def __init__(self, maps, mask):
        n, n_voxels = maps.shape
        self.mask, self.df = mask, n - 1
        self.y, self.exact_t = np.empty((n, n_voxels), np.float32), np.empty(n_voxels)
        size = np.empty(n_voxels)
        for start in range(0, n_voxels, BLOCK):  # no second copy of the maps in double precision
            block = slice(start, start + BLOCK)
            part = maps[:, block].astype(float)
            size[block] = np.sqrt(np.mean(part**2, axis=0))
            part = np.divide(part, size[block], out=np.zeros_like(part), where=size[block] > 0)
            self.y[:, block] = part
            sums, cubes = part.sum(axis=0)[None], (part**3).sum(axis=0)[None]
            _hall(sums, cubes, n, self.exact_t[None, block])
        check_finite(size)
        constant = self.y.std(axis=0) <= 1e-6
        self.y[:, constant], self.exact_t[constant] = 0, 0

    def observed(self):
        """The data's own t, (n_voxels,), float32."""
        return self.exact_t.astype(np.float32)

    def t(self, permutations, first, held):
        """Transformed t of at most ``held`` draws of signs, from number ``first`` on.

        Parameters and value as :meth:`voxelperm.robust.RobustModel.t`.
        """
        signs = np.sign(permutations).astype(np.float32)
        out = np.empty((min(held, len(signs) - first), self.y.shape[1]), np.float32)
        chosen = slice(first, first + len(out))
        products = zip(products_of(signs, self.y), products_of(signs, self.y, 3), strict=True)
        for (block, sums), (_, cubes) in products:
            _hall(sums[chosen], cubes[chosen], signs.shape[1], out[:, block])
        return out


@njit(nogil=True, cache=True, fastmath=True)
def _hall(sums, cubed, n, out):
    """Hall's transformed t, from the sums of values and of their cubes; the mean square is 1."""
    most = (n - 2) / np.sqrt(n - 1.0)  # the largest skewness that n values can have
    unbiased = np.sqrt(n * (n - 1.0)) / (n - 2) if n > 2 else 1.0  # two values have no skewness
    for p in range(sums.shape[0]):
        for v in range(sums.shape[1]):
            mean, cubes = sums[p, v] / n, cubed[p, v] / n
            variance = max(1 - mean * mean, 1e-6)
            skewness = (cubes - 3 * mean + 2 * mean**3) / (variance * np.sqrt(variance))
            skewness = unbiased * min(max(skewness, -most), most)
            u = mean / np.sqrt(variance * n / (n - 1))
            third = skewness * u / 3
            out[p, v] = np.sqrt(n) * (u * (1 + third + third * third / 3) + skewness / (6 * n))
