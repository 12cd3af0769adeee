"""The null distribution: the largest statistics of every permuted image, made in parallel."""

import functools
import warnings
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import ThreadpoolController

from voxelperm.discoveries import pivot
from voxelperm.maxima import STATISTICS, largest, largest_sizes, make_scratch
from voxelperm.normal import to_z

CHUNK = 16  # permutations to a matrix product; fixed, since its rounding depends on its shape
TOGETHER = 8  # such chunks to a block of work elsewhere


@dataclass(frozen=True)
class Work:
    """What to compute for every chunk; ``held`` images are in memory at a time.

    ``neighbours`` and ``powers`` are from :mod:`voxelperm.neighbours` and
    :mod:`voxelperm.enhancement`; ``p_table`` and ``shift`` from :mod:`voxelperm.discoveries`, or
    None: no pivots; ``z_table`` from :mod:`voxelperm.normal`, or None: clusters and TFCE of t.
    """

    threshold: float
    statistics: tuple
    held: int
    neighbours: np.ndarray
    powers: np.ndarray
    p_table: np.ndarray | None = None
    shift: int = 0
    z_table: np.ndarray | None = None


def null_maxima(model, permutations, work, n_jobs, progress, run=None):
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
    run : callable or None
        Where the work is done, if not here: see :func:`voxelperm.permutation_test`.

    Returns
    -------
    maxima : dict of str to numpy.ndarray
        (n_permutations,) for each statistic.
    pivots : numpy.ndarray
        (n_permutations,), see :mod:`voxelperm.discoveries`; 0 if not asked for.

    Raises
    ------
    KeyboardInterrupt
        When interrupted; it says how many permutations were complete.
    """
    chunks = [permutations[i : i + CHUNK] for i in range(0, len(permutations), CHUNK)]
    maxima, done = [], 0
    # Limited here as well: threads that enter and leave the limit restore each other's value.
    with _libraries().limit(limits=1):
        if run is None:
            jobs = (delayed(_chunk_maxima)(model, chunk, work) for chunk in chunks)
            results = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(jobs)
        else:
            blocks = [chunks[i : i + TOGETHER] for i in range(0, len(chunks), TOGETHER)]
            results = run(_block_maxima, blocks, (model, work))
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
    named = {name: maxima[:, STATISTICS.index(name)] for name in work.statistics}
    return named, maxima[:, len(STATISTICS)]


@functools.cache
def _libraries():
    """BLAS and the like, looked for once in a process: a search takes as long as ten images."""
    return ThreadpoolController()


def _block_maxima(chunks, shared):
    model, work = shared
    return np.concatenate([_chunk_maxima(model, chunk, work) for chunk in chunks])


def _chunk_maxima(model, permutations, work):
    scratch = None
    if set(work.statistics) - {"max_t"}:
        scratch = make_scratch(model.y.shape[1])
    counts = None if work.p_table is None else np.zeros(len(work.p_table), np.int32)
    with _libraries().limit(limits=1):  # BLAS sums in an order that depends on its threads
        found = [
            _image_maxima(model.t(permutations, first, work.held), work, scratch, counts)
            for first in range(0, len(permutations), work.held)
        ]
    return np.concatenate(found)


def height(t, work):
    """What clusters and TFCE are made of: t, or |z|."""
    return t if work.z_table is None else to_z(t, work.z_table)


def _image_maxima(images, work, scratch, counts):
    """(n_images, 5), in the order of STATISTICS, then the pivots."""
    found = np.zeros((len(images), len(STATISTICS) + 1))
    if scratch is not None:
        options = (work.neighbours, work.powers, 2.0, work.threshold, "tfce" in work.statistics)
        found[:, :-1] = [largest(height(t, work), *options, scratch) for t in images]
    found[:, 0] = largest_sizes(images)  # without TFCE, only voxels above the threshold are seen
    if counts is not None:
        found[:, -1] = [pivot(t, work.p_table, work.shift, counts) for t in images]
    return found
