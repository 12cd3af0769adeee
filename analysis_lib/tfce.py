"""Threshold-free cluster enhancement (TFCE), as an exact integral.

TFCE gives each voxel the integral over heights h, from 0 to its own, of e(h)^E h^H, where e(h) is
the number of voxels connected to it at or above h (Smith & Nichols 2009, NeuroImage 44:83-98).
Other programs add up steps. Here voxels join in descending order, and union-find keeps the
components: between two joins a component has one size, so that its part of the integral is a
closed form (Chen et al. 2026, arXiv 2603.03004). One pass costs a sort and a few look-ups a voxel,
and the largest value, extent and mass come from the same pass without a map being built.
"""

import numpy as np
from numba import njit

CONNECTIVITY = {6: 1, 18: 2, 26: 3}  # neighbours to the number of coordinates that may differ


def tfce(stat, mask, extent_power=0.5, height_power=2.0, connectivity=6):
    """Enhance a statistic image, both signs, by the exact integral.

    Parameters
    ----------
    stat : array_like
        (x, y, z), for example t. Negative values are enhanced by themselves and keep their sign.
    mask : array_like of bool
        (x, y, z).
    extent_power, height_power : float
        E and H; 0.5 and 2 are those that the method's authors recommend for volumes.
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


def neighbour_table(mask, connectivity=6):
    """Neighbours of each voxel of a mask, as positions among the mask's voxels.

    Parameters
    ----------
    mask : numpy.ndarray of bool
        (x, y, z).
    connectivity : int
        6, 18 or 26.

    Returns
    -------
    numpy.ndarray of int32
        (n_voxels, connectivity), -1 where a neighbour lies outside the mask.
    """
    if connectivity not in CONNECTIVITY:
        raise ValueError(f"connectivity 6, 18 or 26 expected, found {connectivity}")
    number = np.full(np.array(mask.shape) + 2, -1, np.int32)
    number[1:-1, 1:-1, 1:-1][mask] = np.arange(mask.sum(), dtype=np.int32)
    where = np.argwhere(mask) + 1
    steps = np.argwhere(np.ones((3, 3, 3))) - 1
    differing = np.abs(steps).sum(axis=1)
    steps = steps[(differing > 0) & (differing <= CONNECTIVITY[connectivity])]
    return np.stack([number[tuple((where + step).T)] for step in steps], axis=1)


def enhance(values, neighbours, extent_power=0.5, height_power=2.0):
    """TFCE of the voxels of a mask.

    Parameters
    ----------
    values : numpy.ndarray
        (n_voxels,), finite.
    neighbours : numpy.ndarray of int32
        From :func:`neighbour_table`.
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
    """k to the power E for every cluster size k from 0 to n."""
    return np.arange(n + 1.0) ** extent_power


def largest(t, neighbours, powers, height_power, threshold, with_tfce, scratch):
    """Largest |t|, cluster extent, cluster mass and |TFCE| of one image, both tails, from one pass.

    Parameters
    ----------
    t : numpy.ndarray of float32
        (n_voxels,), finite.
    neighbours : numpy.ndarray of int32
        From :func:`neighbour_table`.
    powers : numpy.ndarray
        From :func:`extent_powers`.
    height_power : float
    threshold : float
        |t| above which voxels form clusters.
    with_tfce : bool
        Without it only voxels above the threshold are visited, and TFCE is 0.
    scratch : tuple of numpy.ndarray
        From :func:`make_scratch`, one for each thread.

    Returns
    -------
    numpy.ndarray
        (4,): max |t|, extent (voxels), mass (sum of |t| - threshold), TFCE.
    """
    return _largest(t, neighbours, powers, height_power, threshold, with_tfce, *scratch)


def make_scratch(n):
    """Work space of :func:`largest` for n voxels: keys and orders for sorting, and the forest."""
    return (
        np.empty(n, np.uint32),
        np.empty(n, np.int32),
        np.empty(n, np.uint32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n),
        np.empty(n),
        np.empty(n),
    )


@njit(nogil=True, cache=True)
def _root(parent, voxel):
    while parent[voxel] != voxel:
        parent[voxel] = parent[parent[voxel]]
        voxel = parent[voxel]
    return voxel


@njit(nogil=True, cache=True)
def _enhance_tail(heights, order, neighbours, powers, height_power, sign, out):
    """Add sign x TFCE of the voxels in ``order`` (descending heights) to ``out``.

    A component's voxels all gain the same, so the gain is kept at its root; a root that joins
    another one takes the difference with it, and a voxel's value is the sum up to the last root.
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


@njit(nogil=True, cache=True)
def _sort_descending(keys, order, other_keys, other_order, n):
    """Radix sort of n positive float32 bit patterns, stable; three passes of 11 bits.

    Positive floats order as their bits do. Returns whether the result is in the second pair.
    """
    swapped = False
    counts = np.empty(2048, np.int64)
    for shift in (0, 11, 22):
        counts[:] = 0
        source, target = (other_keys, keys) if swapped else (keys, other_keys)
        source_order, target_order = (other_order, order) if swapped else (order, other_order)
        for i in range(n):
            counts[2047 - ((source[i] >> shift) & 2047)] += 1
        total = 0
        for i in range(2048):
            count = counts[i]
            counts[i] = total
            total += count
        for i in range(n):
            digit = 2047 - ((source[i] >> shift) & 2047)
            place = counts[digit]
            counts[digit] += 1
            target[place] = source[i]
            target_order[place] = source_order[i]
        swapped = not swapped
    return swapped


@njit(nogil=True, cache=True)
def _largest(
    t,
    neighbours,
    powers,
    height_power,
    threshold,
    with_tfce,
    keys,
    order,
    other_keys,
    other_order,
    rank,
    parent,
    size,
    best,
    since,
    height_sum,
):
    """The forest is kept by rank, not by voxel, so that new entries lie beside each other."""
    found = np.zeros(4)
    bits = t.view(np.uint32)
    lowest = np.float32(0.0) if with_tfce else np.float32(threshold)
    exponent = height_power + 1.0
    for tail in range(2):
        n = 0
        for voxel in range(len(t)):
            value = t[voxel] if tail == 0 else -t[voxel]
            rank[voxel] = -1
            if value > lowest:
                keys[n] = bits[voxel] & np.uint32(0x7FFFFFFF)
                order[n] = voxel
                n += 1
        if n == 0:
            continue
        swapped = _sort_descending(keys, order, other_keys, other_order, n)
        ranked = other_order if swapped else order
        found[0] = max(found[0], abs(t[ranked[0]]))
        for i in range(n):
            voxel = ranked[i]
            rank[voxel] = i
            height = np.float64(abs(t[voxel]))
            if height_power == 2.0:
                level = height * height * height / 3.0
            else:
                level = height**exponent / exponent
            root = -1  # the component that the voxel is in
            for k in range(neighbours.shape[1]):
                neighbour = neighbours[voxel, k]
                if neighbour < 0 or rank[neighbour] < 0:
                    continue
                other = _root(parent, rank[neighbour])
                if other == root:
                    continue
                # what the component's voxels have gained since its size last changed
                best[other] += powers[size[other]] * (since[other] - level)
                since[other] = level
                if root < 0:
                    root = other
                    continue
                if size[root] < size[other]:
                    root, other = other, root
                parent[other] = root
                size[root] += size[other]
                height_sum[root] += height_sum[other]
                best[root] = max(best[root], best[other])
            if root < 0:
                root = i
                size[i], best[i], since[i], height_sum[i] = 0, 0.0, level, 0.0
            parent[i] = root
            size[root] += 1
            height_sum[root] += height
            if height > threshold:
                found[1] = max(found[1], size[root])
                found[2] = max(found[2], height_sum[root] - size[root] * threshold)
        if with_tfce:
            for i in range(n):
                if parent[i] == i:
                    found[3] = max(found[3], best[i] + powers[size[i]] * since[i])
    return found
