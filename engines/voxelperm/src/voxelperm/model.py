"""One linear model in every voxel, and its t for any rearrangement of the participants.

This is what permutation inference evaluates thousands of times (see :mod:`voxelperm.inference`).
"""

import numpy as np
from numba import njit

from voxelperm.smoothing import Smoother

BLOCK = 8192  # voxels at a time: products stay in the processor's cache


class VoxelModel:
    """Residuals of the nuisance model, and t for any rearrangement of them.

    With y the residuals, P a signed permutation, Q the nuisance basis and x the tested column
    (residualised, of unit length), t = x'Py / sqrt((|y|^2 - |Q'Py|^2 - (x'Py)^2) / df): only the
    few rows x'P and Q'P are multiplied with the maps. The row of the constant is left out where no
    sign is flipped, because the residuals sum to zero in any order.

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
    signs_stay : bool
        No sign is flipped, and the basis starts with a constant.
    variance_fwhm : float or sequence of float or None
        Full width at half maximum, in voxels, of the Gaussian that smooths the error variance.

    Raises
    ------
    ValueError
        If a map has values that are not finite, or the width is not above 0.
    """

    def __init__(self, maps, basis, x, mask, signs_stay, variance_fwhm):
        n, n_voxels = maps.shape
        self.mask, self.df = mask, n - basis.shape[1] - 1
        self.rows = np.column_stack([x, basis[:, 1:] if signs_stay else basis]).T
        self.y = np.empty((n, n_voxels), np.float32)
        square, effect = np.empty(n_voxels), np.empty(n_voxels)
        for start in range(0, n_voxels, BLOCK):  # no second copy of the maps in double precision
            block = slice(start, start + BLOCK)
            part = maps[:, block].astype(float)
            part -= basis @ (basis.T @ part)
            self.y[:, block], effect[block] = part, x @ part
            square[block] = np.einsum("ij,ij->j", part, part)
        check_finite(square)
        # t is undefined where the maps do not vary: effect 0 over any divisor gives 0
        constant = square <= 1e-12 * square.max(initial=0)
        square[constant], self.y[:, constant] = 0, 0
        self.smooth = None if variance_fwhm is None else Smoother(mask, variance_fwhm)
        divisor = np.where(constant, 1, square) if self.smooth is None else square
        self.square = divisor.astype(np.float32)
        self.exact_t = self._exact_t(effect, square)

    def _exact_t(self, effect, square):
        """Observed t in double precision, (n_voxels,)."""
        left = np.maximum(square - effect**2, 0) / self.df
        if self.smooth is not None:
            left = np.where(square > 0, self.smooth(left), 0)
        return np.divide(effect, np.sqrt(left), out=np.zeros_like(effect), where=left > 0)

    def observed(self):
        """Observed t computed as the permuted ones are, (n_voxels,), float32."""
        return self.t(np.arange(1, len(self.y) + 1)[None], 0, 1)[0]

    def t(self, permutations, first, held):
        """t of at most ``held`` permutations, from number ``first`` on.

        Parameters
        ----------
        permutations : numpy.ndarray of int
            (n_permutations, n), signed and counted from 1. All of them enter the matrix product,
            whatever ``held`` is: its rounding depends on its shape.
        first, held : int

        Returns
        -------
        numpy.ndarray of float32
            (n_held, n_voxels); 0 where the maps do not vary.
        """
        order, sign = np.abs(permutations) - 1, np.sign(permutations)
        n_perm, n = permutations.shape
        rows = np.zeros((len(self.rows), n_perm, n), np.float32)
        rows[:, np.arange(n_perm)[:, None], order] = self.rows[:, None] * sign
        out = np.empty((min(held, n_perm - first), self.y.shape[1]), np.float32)
        left = None if self.smooth is None else np.empty_like(out)
        for block, products in products_of(rows.reshape(-1, n), self.y):
            products = products.reshape(len(rows), n_perm, -1)[:, first : first + len(out)]
            if left is None:
                _t_of_products(products, self.square[block], self.df, out[:, block])
            else:
                out[:, block] = products[0]
                left[:, block] = self.square[block] - np.einsum("kpv,kpv->pv", products, products)
        return out if left is None else self._pseudo_t(out, left)

    def _pseudo_t(self, effect, left):
        """t with the smoothed error variance; overwrites the effect."""
        for row, variance in zip(effect, left, strict=True):
            smooth = self.smooth(np.maximum(variance, 0)) / np.float32(self.df)
            row /= np.sqrt(np.maximum(smooth, np.float32(1e-9) * smooth.max()))
        return effect


def products_of(rows, maps, power=1):
    """Yield slices of voxels, and products of the rows with a power of them, in the same memory.

    New memory for each would be given back and cleared again, for a quarter of the time where Dask
    has told malloc to give back what is free; and NumPy's own ``**`` takes a hundred times as long
    for negative values.
    """
    width = min(BLOCK, maps.shape[1])
    space = np.empty(len(rows) * width, np.float32)
    powers = np.empty((len(maps), width), np.float32) if power > 1 else None
    for start in range(0, maps.shape[1], BLOCK):
        part = values = maps[:, start : start + BLOCK]
        for _ in range(1, power):
            part = np.multiply(part, values, out=powers[:, : part.shape[1]])
        out = space[: len(rows) * part.shape[1]].reshape(len(rows), -1)
        yield slice(start, start + BLOCK), np.matmul(rows, part, out=out)


def check_finite(square):
    """Refuse maps whose sum of squares is not finite in every voxel."""
    if not np.isfinite(square).all():
        bad = (~np.isfinite(square)).sum()
        raise ValueError(f"finite maps expected, found {bad} voxels with values that are not")


@njit(nogil=True, cache=True, fastmath=True)
def _t_of_products(products, square, df, out):
    """t from the products of each permutation; inner loops run over voxels only, and vectorise."""
    n_rows, n_perm, n_voxels = products.shape
    root, tiny = np.float32(np.sqrt(df)), np.float32(1e-9)
    for p in range(n_perm):
        left = out[p]
        left[:] = square
        for k in range(n_rows):
            row = products[k, p]
            for v in range(n_voxels):
                left[v] -= row[v] * row[v]
        effect = products[0, p]
        for v in range(n_voxels):
            left[v] = root * effect[v] / np.sqrt(max(left[v], tiny * square[v]))
