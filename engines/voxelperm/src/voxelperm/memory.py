"""How many workers, and how many images each, fit within a bound on memory."""

import numpy as np
from joblib import effective_n_jobs

from voxelperm.model import BLOCK
from voxelperm.null import CHUNK


def plan(model, neighbours, permutations, n_jobs, max_memory_mb):
    """Workers, and images that each of them holds at a time, within the bound.

    Parameters
    ----------
    model : voxelperm.model.VoxelModel
    neighbours : numpy.ndarray
    permutations : numpy.ndarray of int
        (n_permutations, n).
    n_jobs : int
        Workers that were asked for.
    max_memory_mb : float or None
        Megabytes for everything but the maps themselves.

    Returns
    -------
    n_workers, n_held : int

    Raises
    ------
    ValueError
        If one worker with one image does not fit; the message says what would.
    """
    if max_memory_mb is None:
        return n_jobs, CHUNK
    kept, passing, worker, image = _megabytes(model, neighbours, permutations)
    room = max_memory_mb - kept
    needed = kept + max(passing, worker + image)
    if needed > max_memory_mb:
        n, n_voxels = model.y.shape
        raise ValueError(
            f"max_memory_mb of at least {np.ceil(needed):.0f} expected, found {max_memory_mb}: "
            f"{n} maps of {n_voxels} voxels and {len(permutations)} permutations need it; use a "
            "smaller mask, larger voxels or fewer permutations"
        )
    workers = effective_n_jobs(n_jobs)
    fitting = [held for held in (16, 8, 4, 2, 1) if workers * (worker + held * image) <= room]
    if fitting:
        return workers, fitting[0]
    return int(room / (worker + image)), 1


def _megabytes(model, neighbours, permutations):
    """Megabytes kept throughout, used before and after the loop, per worker, and per image."""
    n, n_voxels = model.y.shape
    kept = model.y.nbytes + neighbours.nbytes + permutations.nbytes + 20 * n_voxels
    # neighbours are found and permutations drawn; observed clusters and p of all voxels
    passing = 130 * n_voxels + 26 * model.mask.size + 2 * permutations.nbytes
    n_rows = len(model.rows) * CHUNK
    worker = 60 * n_voxels + 8 * n_rows * (n + BLOCK)
    image = 4 * n_voxels
    if model.smooth is not None:
        worker += 12 * model.smooth.mask.size + 16 * n_voxels
        image += 4 * n_voxels
    return kept / 1e6, passing / 1e6, worker / 1e6, image / 1e6
