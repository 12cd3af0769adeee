"""Permutation inference over voxels: one loop, every family-wise p.

The model is ``maps = tested * effect + nuisance + error`` in every voxel. Labels are permuted, or
signs flipped, on the residuals of the nuisance model (Freedman & Lane 1983; Winkler et al. 2014,
NeuroImage 92:381-397), and the largest statistic of each permuted image makes the null
distribution (Nichols & Holmes 2002, Hum Brain Mapp 15:1-25). All tests are two-sided. All
statistics of a permuted image come from one pass over its voxels (see :mod:`analysis_lib.tfce`).
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numba import njit
from scipy import ndimage, stats
from threadpoolctl import threadpool_limits

from analysis_lib import tails
from analysis_lib import tfce as enhancement
from analysis_lib.exchangeability import check_exchangeable, draw_permutations
from analysis_lib.glm import BLOCK, VoxelModel, nuisance_basis

STATISTICS = ("max_t", "cluster_extent", "cluster_mass", "tfce")
CHUNK = 16  # permutations to a matrix product; fixed, since its rounding depends on its shape


@dataclass(frozen=True)
class PermutationResult:
    """What :func:`permutation_test` found.

    Attributes
    ----------
    t : numpy.ndarray
        (n_voxels,), Student's t; with a smoothed variance the pseudo-t that was tested.
    df : int
        Its degrees of freedom.
    p : dict of str to numpy.ndarray
        Family-wise p of each statistic, (n_voxels,); for clusters that of the voxel's cluster, 1
        outside clusters.
    null_max : dict of str to numpy.ndarray
        Largest statistic of each permutation, (n_permutations,), the observed one left out.
    cluster_threshold : float
        |t| above which voxels form clusters.
    exhaustive : bool
        Whether all distinct permutations were made.
    tail : dict of str to analysis_lib.tails.Tail
        How each statistic's small p were found: ``.kind`` is "counts" or "gpd", ``.reason`` says
        why.
    """

    t: np.ndarray
    df: int
    p: dict
    null_max: dict
    cluster_threshold: float
    exhaustive: bool
    tail: dict = field(default_factory=dict)


def permutation_test(
    maps,
    mask,
    tested,
    nuisance=None,
    blocks=None,
    sign_flip=False,
    n_permutations=5000,
    permutations=None,
    seed=0,
    statistics=STATISTICS,
    n_jobs=1,
    cluster_p=0.001,
    exchange="within",
    tail="counts",
    variance_fwhm=None,
    max_memory_mb=None,
    progress=None,
):
    """Test one column of a linear model in every voxel, with family-wise p.

    Parameters
    ----------
    maps : array_like
        (n, n_voxels), one row a participant.
    mask : array_like of bool
        (x, y, z), with n_voxels true voxels in the order of ``maps``; neighbours share a face.
    tested : array_like
        (n,). An arm code, a score, or ones for a mean.
    nuisance : array_like, optional
        (n, n_columns). When labels are permuted an intercept is added if the columns do not
        already span one: without it the permuted values keep their mean and the test is not of the
        difference between arms.
    blocks : array_like, optional
        (n,). Strata, sites or families; what they restrict is said by ``exchange``.
    sign_flip : bool or "both"
        False permutes labels, which assumes errors that are exchangeable: of one distribution,
        whatever its shape. True flips the signs of participants, which assumes independent errors
        that are symmetric about zero; their variances may differ. "both" does both and assumes
        both; it has more distinct rearrangements where participants are few.
    n_permutations : int
        How many to draw. Where fewer distinct ones exist, all are made, once each.
    permutations : array_like of int, optional
        (n_permutations, n), explicit: entry k of a row is +-(i + 1) where participant i's map takes
        place k, with its sign flipped if negative.
    seed : int
    statistics : sequence of str
        Among "max_t", "cluster_extent" (voxels), "cluster_mass" (sum of |t| - threshold) and "tfce"
        (extent power 0.5, height power 2).
    n_jobs : int
        Workers (joblib): threads by default, or the backend that the caller has chosen. The numbers
        do not depend on it.
    cluster_p : float
        Two-sided p of the cluster-forming threshold.
    exchange : str
        "within": labels are permuted among participants of one block; assumes errors exchangeable
        inside a block. Signs are flipped one by one. "whole": blocks of equal size change places,
        the order of rows inside is kept, and signs are flipped a block at a time; assumes blocks
        whose errors have one joint distribution, dependent inside a block or not.
    tail : str
        "counts", or "gpd": a generalised Pareto tail for p that fewer than 10 permutations
        determine, where it fits (see :mod:`analysis_lib.tails`).
    variance_fwhm : float or sequence of float, optional
        Full width at half maximum, in voxels (mm / voxel size), of a Gaussian that smooths the
        error variance inside the mask: pseudo-t (Nichols & Holmes 2002), for few participants. The
        cluster-forming threshold stays that of t. Permutations take several times as long.
    max_memory_mb : float, optional
        Bound on the memory of this function's arrays, the maps themselves left out: fewer images
        are held at a time, then fewer workers used. The numbers do not depend on it.
    progress : callable, optional
        ``progress(done, total)``, called from the calling thread as permutations complete.

    Returns
    -------
    PermutationResult
        p = (1 + number of permutations with at least the observed value) / (1 + n_permutations).

    Raises
    ------
    ValueError
        If shapes do not agree, an option is unknown, the nuisance columns explain the tested one,
        blocks leave nothing to exchange, or the memory does not suffice.
    KeyboardInterrupt
        When interrupted; it says how many permutations were complete. No p is given: one from the
        permutations at hand, stopped when someone looked, would not be what was planned.
    """
    maps, mask, tested = np.asarray(maps), np.asarray(mask, bool), np.asarray(tested, float)
    _check_shapes(maps, mask, tested)
    _check_options(statistics, tail, n_permutations)
    basis = nuisance_basis(nuisance, len(maps), intercept=sign_flip is not True)
    x = tested - basis @ (basis.T @ tested)
    if x @ x < 1e-10 * (tested @ tested):
        raise ValueError("the nuisance columns explain the tested column: nothing is left to test")
    exhaustive = False
    if permutations is None:
        check_exchangeable(tested, blocks, sign_flip, exchange)
        # in the order of values alone, if no other column tells participants apart
        distinct = tested if basis.shape[1] <= 1 else None
        permutations, exhaustive = draw_permutations(
            n_permutations, len(maps), distinct, blocks, sign_flip, seed, exchange
        )
    permutations = _checked_permutations(permutations, len(maps))
    signs_stay = sign_flip is not True and bool((permutations > 0).all())
    model = VoxelModel(maps, basis, x / np.sqrt(x @ x), mask, signs_stay, variance_fwhm)
    threshold = stats.t.isf(cluster_p / 2, model.df)
    workers, held = _plan(model, permutations, n_jobs, max_memory_mb)
    work = _Work(threshold, tuple(statistics), held)
    null = _null_maxima(model, permutations, work, workers, progress)
    observed = _observed(model.observed(), model, threshold, statistics)
    found = {s: tails.p_values(observed[s], null[s], tail, exhaustive) for s in statistics}
    p, how = ({s: pair[k] for s, pair in found.items()} for k in (0, 1))
    return PermutationResult(model.exact_t, model.df, p, null, threshold, exhaustive, how)


def _check_shapes(maps, mask, tested):
    if maps.ndim != 2 or tested.shape != maps.shape[:1] or mask.sum() != maps.shape[1]:
        raise ValueError(
            "maps (n, n_voxels), tested (n,) and a mask of n_voxels expected, found "
            f"{maps.shape}, {tested.shape} and {mask.sum()} voxels"
        )


def _check_options(statistics, tail, n_permutations):
    unknown = set(statistics) - set(STATISTICS)
    if unknown or not len(statistics):
        raise ValueError(f"statistics among {STATISTICS} expected, found {sorted(unknown)}")
    if tail not in ("counts", "gpd"):
        raise ValueError(f'tail "counts" or "gpd" expected, found {tail!r}')
    if n_permutations < 1:
        raise ValueError(f"n_permutations of at least 1 expected, found {n_permutations}")


def _checked_permutations(permutations, n):
    permutations = np.asarray(permutations)
    if permutations.ndim != 2 or permutations.shape[1] != n or not len(permutations):
        raise ValueError(
            f"permutations of shape (n_permutations, {n}) expected, found {permutations.shape}"
        )
    wrong = (np.sort(np.abs(permutations), axis=1) != np.arange(1, n + 1)).any(axis=1)
    if wrong.any():
        raise ValueError(
            f"each of +-1 to +-{n} once in a row of permutations expected, found another row first "
            f"at {np.flatnonzero(wrong)[0]}: participants are counted from 1"
        )
    return permutations


@njit(nogil=True, cache=True, fastmath=True)
def _largest_sizes(images):
    """Largest absolute value of each row."""
    found = np.zeros(len(images), np.float32)
    for p in range(len(images)):
        row, largest = images[p], np.float32(0)
        for v in range(len(row)):
            largest = max(largest, abs(row[v]))
        found[p] = largest
    return found


@dataclass(frozen=True)
class _Work:
    """What is done with every chunk of permutations; ``held`` images are in memory at a time."""

    threshold: float
    statistics: tuple
    held: int


def _plan(model, permutations, n_jobs, max_memory_mb):
    """Workers, and images that each holds at a time, within the memory."""
    if max_memory_mb is None:
        return n_jobs, CHUNK
    kept, passing, worker, image = _megabytes(model, permutations)
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


def _megabytes(model, permutations):
    """Memory kept throughout, in passing before and after the loop, of a worker, of an image."""
    n, n_voxels = model.y.shape
    kept = model.y.nbytes + model.neighbours.nbytes + permutations.nbytes + 20 * n_voxels
    # neighbours are found and permutations drawn; observed clusters and p of all voxels
    passing = 130 * n_voxels + 26 * model.mask.size + 2 * permutations.nbytes
    n_rows = len(model.rows) * CHUNK
    worker = 56 * n_voxels + 8 * n_rows * (n + BLOCK)
    image = 4 * n_voxels
    if model.smooth is not None:
        worker += 12 * model.smooth.mask.size + 16 * n_voxels
        image += 4 * n_voxels
    return kept / 1e6, passing / 1e6, worker / 1e6, image / 1e6


def _null_maxima(model, permutations, work, n_jobs, progress):
    chunks = [permutations[i : i + CHUNK] for i in range(0, len(permutations), CHUNK)]
    jobs = (delayed(_chunk_maxima)(model, chunk, work) for chunk in chunks)
    maxima, done = [], 0
    # Limited here too: threads that enter and leave the limit would restore each other's.
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
            with warnings.catch_warnings():  # joblib's on cancelled tasks: the message says it
                warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning)
                results.close()  # what is under way ends, nothing new starts
    maxima = np.concatenate(maxima)
    return {name: maxima[:, STATISTICS.index(name)] for name in work.statistics}


def _chunk_maxima(model, permutations, work):
    scratch = None
    if set(work.statistics) != {"max_t"}:
        scratch = enhancement.make_scratch(model.y.shape[1])
    with threadpool_limits(1):  # the order of sums in BLAS depends on its threads
        found = [
            _image_maxima(model.t(permutations, first, work.held), model, work, scratch)
            for first in range(0, len(permutations), work.held)
        ]
    return np.concatenate(found)


def _image_maxima(images, model, work, scratch):
    """(n_images, 4), in the order of STATISTICS."""
    largest = _largest_sizes(images)
    if scratch is None:
        return np.pad(largest[:, None], ((0, 0), (0, len(STATISTICS) - 1)))
    options = (model.neighbours, model.powers, 2.0, work.threshold, "tfce" in work.statistics)
    maxima = np.array([enhancement.largest(t, *options, scratch) for t in images])
    maxima[:, 0] = largest  # no voxel may have passed the threshold
    return maxima


def label_clusters(t, mask, threshold):
    """Number the clusters of voxels with |t| above a threshold, each tail by itself.

    Parameters
    ----------
    t : numpy.ndarray
        (n_voxels,).
    mask : numpy.ndarray of bool
        (x, y, z).
    threshold : float

    Returns
    -------
    labels : numpy.ndarray of int
        (n_voxels,), 0 outside clusters.
    sizes, masses : numpy.ndarray
        (n_clusters,): voxels, and sum of |t| - threshold.
    """
    volume = np.zeros(mask.shape)
    volume[mask] = t
    positive, n_positive = ndimage.label(volume > threshold)
    negative, n_negative = ndimage.label(volume < -threshold)
    labels = (positive + np.where(negative, negative + n_positive, 0))[mask]
    n_clusters = n_positive + n_negative
    sizes = np.bincount(labels, minlength=n_clusters + 1)[1:]
    masses = np.bincount(labels, np.abs(t) - threshold, minlength=n_clusters + 1)[1:]
    return labels, sizes, masses


def _observed(t, model, threshold, statistics):
    """The statistic of each voxel, or of its cluster; 0 outside clusters."""
    labels, sizes, masses = label_clusters(t, model.mask, threshold)
    found = {
        "max_t": np.abs(t),
        "cluster_extent": np.concatenate([[0], sizes])[labels],
        "cluster_mass": np.concatenate([[0], masses])[labels],
    }
    if "tfce" in statistics:
        found["tfce"] = np.abs(enhancement.enhance(t, model.neighbours))
    return {name: found[name] for name in statistics}
