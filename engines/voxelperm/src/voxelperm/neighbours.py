"""Which voxels of a mask touch each other."""

import numpy as np
from numba import njit

CONNECTIVITY = {6: 1, 18: 2, 26: 3}  # neighbours: number of coordinates that may differ


def neighbour_table(mask, connectivity=6):
    """Neighbours of each voxel of a mask, as positions among the voxels of the mask.

    Parameters
    ----------
    mask : numpy.ndarray of bool
        (x, y, z).
    connectivity : int
        6, 18 or 26.

    Returns
    -------
    numpy.ndarray of uint32
        (n_voxels, connectivity), n_voxels where a neighbour lies outside the mask. Without a sign,
        because numba has to look at each that may be negative.

    Raises
    ------
    ValueError
        If the connectivity is unknown.
    """
    if connectivity not in CONNECTIVITY:
        raise ValueError(f"connectivity 6, 18 or 26 expected, found {connectivity}")
    n_voxels = mask.sum()
    number = np.full(np.array(mask.shape) + 2, n_voxels, np.uint32)
    number[1:-1, 1:-1, 1:-1][mask] = np.arange(n_voxels, dtype=np.uint32)
    steps = np.argwhere(np.ones((3, 3, 3))) - 1
    differing = np.abs(steps).sum(axis=1)
    steps = steps[(differing > 0) & (differing <= CONNECTIVITY[connectivity])]
    steps = steps @ (np.array(number.strides) // number.itemsize)
    return _look_up(number.ravel(), steps, n_voxels)


@njit(cache=True)
def _look_up(number, steps, n_voxels):
    """The numbers of each voxel's neighbours; no voxel lies on the border of the volume."""
    found, n = np.empty((n_voxels, len(steps)), np.uint32), 0
    for place in range(len(number)):
        if number[place] < n_voxels:
            for k in range(len(steps)):
                found[n, k] = number[place + steps[k]]
            n += 1
    return found
