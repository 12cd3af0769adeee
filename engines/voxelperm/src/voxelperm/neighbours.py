"""Which voxels of a mask touch each other."""

import numpy as np

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
    where = np.argwhere(mask) + 1
    steps = np.argwhere(np.ones((3, 3, 3))) - 1
    differing = np.abs(steps).sum(axis=1)
    steps = steps[(differing > 0) & (differing <= CONNECTIVITY[connectivity])]
    return np.stack([number[tuple((where + step).T)] for step in steps], axis=1)
