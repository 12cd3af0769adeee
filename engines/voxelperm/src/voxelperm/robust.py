"""t with errors of unequal variance, and its null distribution: a wild bootstrap.

Residuals of the model without the tested column, each over the root of 1 minus its leverage there,
get random signs; the whole model is fitted again, and its effect divided by a standard error that
holds for unequal variances: HC2 or HC3 (MacKinnon & White 1985, J Econometrics 29:305-325), with
the leverages of the whole model. Signs are Rademacher's, one per participant or per block (Davidson
& Flachaire 2008, J Econometrics 146:162-169; for brain images Guillaume et al. 2014, NeuroImage
94:287-302). The level is asymptotic, not exact; skewness of the errors is erased by the signs.
"""

import numpy as np
from numba import njit

from voxelperm.model import BLOCK, check_finite, products_of

POWERS = {"HC2": 2, "HC3": 4}  # of 1 over the root of 1 - leverage


class RobustModel:
    """Scaled residuals of the nuisance model, and t for any signs of them.

    With u the scaled residuals, s the signs, Q the basis of the whole model (the tested column x
    first, of unit length) and a = x^2 / (1 - leverage), the effect is c_1 of c = Q'(su) and its HC2
    variance the sum of a (su - Qc)^2 = sum of a u^2 - 2 c'(aQ)'(su) + c'(Q'aQ)c. Signs change
    neither the first term nor the last matrix: only the rows of Q' and (aQ)' are multiplied with
    the maps.

    Parameters
    ----------
    maps : numpy.ndarray
        (n, n_voxels).
    basis : numpy.ndarray
        (n, rank), from :func:`voxelperm.nuisance_basis`.
    x : numpy.ndarray
        (n,), orthogonal to the basis, of unit length.
    mask : numpy.ndarray of bool
        (x, y, z).
    standard_error : str
        "HC2" or "HC3": squared residuals over 1 - leverage, or over its square.

    Raises
    ------
    ValueError
        If a map has values that are not finite.
    """

    smooth = None  # as in voxelperm.model.VoxelModel: the variance is that of each voxel

    def __init__(self, maps, basis, x, mask, standard_error):
        n, n_voxels = maps.shape
        whole = np.column_stack([x, basis])
        self.mask, self.df = mask, n - whole.shape[1]
        scale, weight = _over_root(basis), x**2 * _over_root(whole) ** POWERS[standard_error]
        self.rows = np.vstack([whole.T, (weight[:, None] * whole).T])
        self.between = (whole.T @ (weight[:, None] * whole)).astype(np.float32)
        self.y = np.empty((n, n_voxels), np.float32)
        self.square, self.exact_t = np.empty(n_voxels, np.float32), np.empty(n_voxels)
        size, sums = np.empty(n_voxels), np.empty(n_voxels)
        for start in range(0, n_voxels, BLOCK):  # no second copy of the maps in double precision
            block = slice(start, start + BLOCK)
            part = maps[:, block].astype(float)
            part -= basis @ (basis.T @ part)
            size[block] = np.einsum("ij,ij->j", part, part)
            left = part - np.outer(x, x @ part)
            self.exact_t[block] = _ratio(x @ part, weight @ left**2)
            part *= scale[:, None]
            self.y[:, block], sums[block] = part, weight @ part**2
        check_finite(size)
        constant = size <= 1e-12 * size.max(initial=0)
        self.y[:, constant], self.exact_t[constant] = 0, 0
        self.square[:] = np.where(constant | (sums <= 0), 1, sums)

    def observed(self):
        """The data's own t, (n_voxels,), float32: signs that all stay give another value."""
        return self.exact_t.astype(np.float32)

    def t(self, permutations, first, held):
        """t of at most ``held`` draws of signs, from number ``first`` on.

        Parameters and value as :meth:`voxelperm.model.VoxelModel.t`; the order of participants
        stays, only signs count.
        """
        signs = np.sign(permutations)
        n_draws, n = permutations.shape
        rows = (self.rows[:, None] * signs).astype(np.float32).reshape(-1, n)
        out = np.empty((min(held, n_draws - first), self.y.shape[1]), np.float32)
        for block, products in products_of(rows, self.y):
            products = products.reshape(len(self.rows), n_draws, -1)[:, first : first + len(out)]
            _t_of_products(products, self.between, self.square[block], out[:, block])
        return out


def _over_root(basis):
    """1 over the root of 1 minus each participant's leverage; 0 where the model fits exactly."""
    left = 1 - np.einsum("ij,ij->i", basis, basis)
    return np.divide(1, np.sqrt(np.abs(left)), out=np.zeros_like(left), where=left > 1e-10)


def _ratio(effect, variance):
    return np.divide(effect, np.sqrt(variance), out=np.zeros_like(effect), where=variance > 0)


@njit(nogil=True, cache=True, fastmath=True)
def _t_of_products(products, between, square, out):
    """t of each draw; inner loops run over voxels only, and vectorise."""
    n_rows, n_draws, n_voxels = products.shape
    rank, tiny, two = n_rows // 2, np.float32(1e-6), np.float32(2)
    for p in range(n_draws):
        left = out[p]
        left[:] = square
        for k in range(rank):
            one, weighted = products[k, p], products[rank + k, p]
            for v in range(n_voxels):
                left[v] += one[v] * (between[k, k] * one[v] - two * weighted[v])
            for m in range(k):
                other, factor = products[m, p], two * between[k, m]
                for v in range(n_voxels):
                    left[v] += factor * one[v] * other[v]
        effect = products[0, p]
        for v in range(n_voxels):
            left[v] = effect[v] / np.sqrt(max(left[v], tiny * square[v]))
