"""The largest statistics of one permuted image, from one pass over its voxels.

Voxels are added in descending order (see :mod:`voxelperm.components`). The largest TFCE value,
cluster extent and cluster mass are updated as components grow; no map is built.
"""

import numpy as np
from numba import njit, uint32

from voxelperm.components import integral, join, sort_descending
from voxelperm.neighbours import CONNECTIVITY

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
    neighbours : numpy.ndarray of uint32
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
    kernel = _LARGEST[neighbours.shape[1]]
    return kernel(t, neighbours, powers, height_power, threshold, with_tfce, *scratch)


def make_scratch(n):
    """Work space of :func:`largest` for n voxels: for sorting, labels, and the components."""
    kinds = (np.uint32,) * 8 + (np.float64,) * 3
    return tuple(np.empty(n + 1, kind) for kind in kinds)


@njit(nogil=True, cache=True)
def gain(root, level, powers, size, since, best):
    """Add to a component what its voxels have gained since its size last changed."""
    best[root] += powers[size[root]] * (since[root] - level)
    since[root] = level


def _make_largest(connectivity):
    """The function for so many neighbours: a loop of known length is twice as fast."""

    @njit(nogil=True, cache=True)
    def largest_of(
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
        label,
        top,
        following,
        size,
        best,
        since,
        height_sum,
    ):
        found = np.zeros(4)
        bits = t.view(np.uint32)
        lowest = np.float32(0.0) if with_tfce else np.float32(threshold)
        for tail in range(2):
            n, flip = 0, np.float32(1 - 2 * tail)
            label[:] = 0
            top[0] = 0
            for voxel in range(len(t)):
                keys[n] = bits[voxel] & np.uint32(0x7FFFFFFF)
                order[n] = voxel
                n += flip * t[voxel] > lowest  # no branch: signs cannot be guessed
            if n == 0:
                continue
            swapped = sort_descending(keys, order, other_keys, other_order, n)
            ranked = other_order if swapped else order
            heights = (other_keys if swapped else keys).view(np.float32)
            found[0] = max(found[0], heights[0])
            n_components = uint32(0)
            for i in range(n):
                voxel, height = ranked[i], np.float64(heights[i])
                level = integral(height, height_power)
                root, apart = uint32(0), False  # without a branch, as above
                for k in range(connectivity):
                    root = max(root, top[label[neighbours[voxel, k]]])
                for k in range(connectivity):
                    other = top[label[neighbours[voxel, k]]]
                    apart |= (other != 0) & (other != root)
                if root == 0:
                    n_components += uint32(1)
                    root = n_components
                    top[root], following[root] = root, root
                    size[root], best[root], since[root], height_sum[root] = 0, 0.0, level, 0.0
                else:
                    gain(root, level, powers, size, since, best)
                if apart:
                    for k in range(connectivity):
                        other = top[label[neighbours[voxel, k]]]
                        if other == 0 or other == root:
                            continue
                        gain(other, level, powers, size, since, best)
                        if size[root] < size[other]:
                            root, other = other, root
                        join(root, other, top, following)
                        size[root] += size[other]
                        height_sum[root] += height_sum[other]
                        best[root] = max(best[root], best[other])
                label[voxel] = root
                size[root] += uint32(1)
                height_sum[root] += height
                if height > threshold:
                    found[1] = max(found[1], size[root])
                    found[2] = max(found[2], height_sum[root] - size[root] * threshold)
            if with_tfce:
                for k in range(1, n_components + 1):
                    if top[k] == k:
                        found[3] = max(found[3], best[k] + powers[size[k]] * since[k])
        return found

    return largest_of


_LARGEST = {n: _make_largest(n) for n in CONNECTIVITY}
