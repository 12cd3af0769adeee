"""The null distribution: the largest statistics of every permuted image, made in parallel."""

import warnings
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from voxelperm.maxima import STATISTICS, largest, largest_sizes, make_scratch

CHUNK = 16  # permutations to a matrix product; fixed, since its rounding depends on its shape


@dataclass(frozen=True)
class Work:
    """What to compute for every chunk; ``held`` images are in memory at a time."""

    threshold: float
    statistics: tuple
    held: int


def null_maxima(model, permutations, work, n_jobs, progress):
    """Largest value of each statistic in every permuted image.

    Parameters
    ----------
    model : voxelperm.model.VoxelModel
    permutations : numpy.ndarray of int
        (n_permutations, n), signed and counted from 1.
    work : Work
    n_jobs : int
        Workers; the numbers do not depend on it.
    progress : callable or None
        ``progress(done, total)``.

    Returns
    -------
    dict of str to numpy.ndarray
        (n_permutations,) for each statistic.

    Raises
    ------
    KeyboardInterrupt
        When interrupted; it says how many permutations were complete.
    """
    chunks = [permutations[i : i + CHUNK] for i in range(0, len(permutations), CHUNK)]
    jobs = (delayed(_chunk_maxima)(model, chunk, work) for chunk in chunks)
    maxima, done = [], 0
    # Limited here as well: threads that enter and leave the limit restore each other's value.
    with threadpool_limits(1):
        results = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(jobs)
        try:
            for found in results:
                maxima.append(found)
                done += len(found)
                if progress is not None:
                    progress(done, len(permutations))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped after {done} of {len(permutations)} permutations: no p is given, since "
                "the planned number was not reached; run again, or plan fewer"
            ) from None
        finally:
            with warnings.catch_warnings():  # joblib's, on cancelled tasks
                warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning)
                results.close()  # running chunks end, no new one starts
    maxima = np.concatenate(maxima)
    return {name: maxima[:, STATISTICS.index(name)] for name in work.statistics}


def _chunk_maxima(model, permutations, work):
    scratch = None
    if set(work.statistics) != {"max_t"}:
        scratch = make_scratch(model.y.shape[1])
    with threadpool_limits(1):  # BLAS sums in an order that depends on its threads
        found = [
            _image_maxima(model.t(permutations, first, work.held), model, work, scratch)
            for first in range(0, len(permutations), work.held)
        ]
    return np.concatenate(found)


def _image_maxima(images, model, work, scratch):
    """(n_images, 4), in the order of STATISTICS."""
    max_t = largest_sizes(images)
    if scratch is None:
        return np.pad(max_t[:, None], ((0, 0), (0, len(STATISTICS) - 1)))
    options = (model.neighbours, model.powers, 2.0, work.threshold, "tfce" in work.statistics)
    maxima = np.array([largest(t, *options, scratch) for t in images])
    maxima[:, 0] = max_t  # without TFCE, the pass sees only voxels above the threshold
    return maxima
