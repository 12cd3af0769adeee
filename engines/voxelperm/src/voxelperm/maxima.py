"""The largest statistics of one permuted image, from one pass over its voxels.

Voxels are added in descending order, and union-find keeps track of the components, as in
:mod:`voxelperm.enhancement`. The largest TFCE value, cluster extent and cluster mass are updated as
components grow; no map is built.
"""

import numpy as np
from numba import njit

STATISTICS = ("max_t", "cluster_extent", "cluster_mass", "tfce")  # in the order of `largest`


@njit(nogil=True, cache=True, fastmath=True)
def largest_sizes(images):
    """Largest absolute value of each row, (n_images,), from float32 of (n_images, n_voxels)."""
    found = np.zeros(len(images), np.float32)
    for p in range(len(images)):
        row, largest = images[p], np.float32(0)
        for v in range(len(row)):
            largest = max(largest, abs(row[v]))
        found[p] = largest
    return found


def largest(t, neighbours, powers, height_power, threshold, with_tfce, scratch):
    """Largest |t|, cluster extent, cluster mass and |TFCE| of one image, over both tails.

    Parameters
    ----------
    t : numpy.ndarray of float32
        (n_voxels,), finite.
    neighbours : numpy.ndarray of int32
        From :func:`voxelperm.neighbours.neighbour_table`.
    powers : numpy.ndarray
        From :func:`voxelperm.enhancement.extent_powers`.
    height_power : float
    threshold : float
        |t| above which voxels form clusters.
    with_tfce : bool
        Without it only voxels above the threshold are visited, and TFCE is 0.
    scratch : tuple of numpy.ndarray
        From :func:`make_scratch`, one per thread.

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
def _sort_descending(keys, order, other_keys, other_order, n):
    """Radix sort of n positive float32 bit patterns, stable; three passes of 11 bits.

    Positive floats sort as their bit patterns do. Returns whether the result is in the second pair.
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
    """The forest is indexed by rank, not by voxel, so that new entries are adjacent in memory."""
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
