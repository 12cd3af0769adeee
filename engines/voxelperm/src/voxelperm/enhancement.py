"""Threshold-free cluster enhancement (TFCE), as an exact integral.

TFCE gives each voxel the integral over heights h, from 0 to its own, of e(h)^E h^H, where e(h) is
the number of voxels connected to it at or above h (Smith & Nichols 2009, NeuroImage 44:83-98).
Most programs add up steps of h. Here voxels are added in descending order, and union-find keeps
track of the components: between two joins the size of a component is constant, so that its part of
the integral has a closed form (Chen et al. 2026, arXiv 2603.03004). One pass costs a sort and a few
look-ups per voxel.
"""

import numpy as np
from numba import njit

from voxelperm.neighbours import neighbour_table


def tfce(stat, mask, extent_power=0.5, height_power=2.0, connectivity=6):
    """Threshold-free cluster enhancement of a statistic image, both signs, as an exact integral.

    Programs differ in what they enhance: here t, each sign apart, with 6 neighbours, as FSL's
    randomise; PALM's two-tailed tests take |z|, both signs at once, with 26:
    ``tfce(abs(z), mask, connectivity=26)``.

    Parameters
    ----------
    stat : array_like
        (x, y, z), for example t. Negative values are enhanced separately and keep their sign.
    mask : array_like of bool
        (x, y, z).
    extent_power, height_power : float
        E and H; Smith & Nichols (2009) recommend 0.5 and 2 for volumes.
    connectivity : int
        6, 18 or 26 neighbours.

    Returns
    -------
    numpy.ndarray
        (x, y, z), float64; 0 outside the mask.

    Raises
    ------
    ValueError
        If shapes differ, the statistic is not finite in the mask, or the connectivity is unknown.
    """
    stat, mask = np.asarray(stat, float), np.asarray(mask, bool)
    if stat.shape != mask.shape or stat.ndim != 3:
        raise ValueError(
            f"stat and mask of one shape (x, y, z) expected, found {stat.shape}, {mask.shape}"
        )
    values = stat[mask]
    if not np.isfinite(values).all():
        bad = (~np.isfinite(values)).sum()
        raise ValueError(f"finite values in the mask expected, found {bad} that are not")
    enhanced = np.zeros(stat.shape)
    enhanced[mask] = enhance(
        values, neighbour_table(mask, connectivity), extent_power, height_power
    )
    return enhanced


def enhance(values, neighbours, extent_power=0.5, height_power=2.0):
    """TFCE of the voxels of a mask; :func:`tfce` without its checks.

    Parameters
    ----------
    values : numpy.ndarray
        (n_voxels,), finite.
    neighbours : numpy.ndarray of int32
        From :func:`voxelperm.neighbours.neighbour_table`.
    extent_power, height_power : float

    Returns
    -------
    numpy.ndarray
        (n_voxels,), signed.
    """
    values = np.asarray(values, float)
    powers = extent_powers(len(values), extent_power)
    out = np.zeros(len(values))
    for sign in (1.0, -1.0):
        heights = sign * values
        order = np.argsort(-heights, kind="stable")[: (heights > 0).sum()].astype(np.int32)
        if len(order):
            _enhance_tail(heights, order, neighbours, powers, height_power, sign, out)
    return out


def extent_powers(n, extent_power):
    """k to the power E for every cluster size k from 0 to n, (n + 1,)."""
    return np.arange(n + 1.0) ** extent_power


@njit(nogil=True, cache=True)
def _enhance_tail(heights, order, neighbours, powers, height_power, sign, out):
    """Add sign x TFCE of the voxels in ``order`` (descending heights) to ``out``.

    All voxels of a component gain the same, so the gain is kept at its root. A root that joins
    another keeps the difference, and the value of a voxel is the sum along its path to the root.
    """
    n = len(heights)
    parent = np.full(n, -1, np.int32)
    size = np.zeros(n, np.int32)
    gain = np.zeros(n)
    since = np.zeros(n)
    exponent = height_power + 1.0
    for voxel in order:
        level = heights[voxel] ** exponent / exponent
        parent[voxel], size[voxel], since[voxel] = voxel, 1, level
        for neighbour in neighbours[voxel]:
            if neighbour < 0 or parent[neighbour] < 0:
                continue
            a, b = voxel, neighbour
            while parent[a] != a:
                a = parent[a]
            while parent[b] != b:
                b = parent[b]
            if a == b:
                continue
            for root in (a, b):
                gain[root] += powers[size[root]] * (since[root] - level)
                since[root] = level
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            gain[b] -= gain[a]
    for voxel in order:
        if parent[voxel] == voxel:
            gain[voxel] += powers[size[voxel]] * since[voxel]
    for voxel in order:
        total, at = gain[voxel], voxel
        while parent[at] != at:
            at = parent[at]
            total += gain[at]
        out[voxel] = sign * total
