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
    numpy.ndarray of int32
        (n_voxels, connectivity), -1 where a neighbour lies outside the mask.

    Raises
    ------
    ValueError
        If the connectivity is unknown.
    """
    if connectivity not in CONNECTIVITY:
        raise ValueError(f"connectivity 6, 18 or 26 expected, found {connectivity}")
    number = np.full(np.array(mask.shape) + 2, -1, np.int32)
    number[1:-1, 1:-1, 1:-1][mask] = np.arange(mask.sum(), dtype=np.int32)
    steps = np.argwhere(np.ones((3, 3, 3))) - 1
    differing = np.abs(steps).sum(axis=1)
    steps = steps[(differing > 0) & (differing <= CONNECTIVITY[connectivity])]
    return _look_up(number.ravel(), steps @ (np.array(number.strides) // number.itemsize))


@njit(cache=True)
def _look_up(number, steps):
    """The numbers of each voxel's neighbours; no voxel lies on the border of the volume."""
    found, n = np.empty((number.max() + 1, len(steps)), np.int32), 0
    for place in range(len(number)):
        if number[place] >= 0:
            for k in range(len(steps)):
                found[n, k] = number[place + steps[k]]
            n += 1
    return found
