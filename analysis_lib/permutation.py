"""Permutation inference over voxels: one loop, every family-wise p.

The model is ``maps = tested * effect + nuisance + error`` in every voxel. Labels are permuted, or
signs flipped, on the residuals of the nuisance model (Freedman & Lane 1983; Winkler et al. 2014,
NeuroImage 92:381-397), and the largest statistic of each permuted image makes the null
distribution (Nichols & Holmes 2002, Hum Brain Mapp 15:1-25). All tests are two-sided. All
statistics of a permuted image come from one pass over its voxels (see :mod:`analysis_lib.tfce`).
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from numba import njit
from scipy import ndimage, stats
from threadpoolctl import threadpool_limits

from analysis_lib import tfce as enhancement

STATISTICS = ("max_t", "cluster_extent", "cluster_mass", "tfce")
CHUNK = 16  # permutations at a time; fixed, so that numbers do not depend on n_jobs
BLOCK = 8192  # voxels at a time: products stay in the processor's cache
TIE = 1e-5  # relative; a permuted statistic this close to the observed one equals it


@dataclass(frozen=True)
class PermutationResult:
    """What :func:`permutation_test` found.

    Attributes
    ----------
    t : numpy.ndarray
        (n_voxels,), Student's t.
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
    """

    t: np.ndarray
    df: int
    p: dict
    null_max: dict
    cluster_threshold: float
    exhaustive: bool


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
        (n,). Labels are permuted only among participants of the same block (stratum, site).
    sign_flip : bool
        Flip the signs of participants instead of permuting labels. Assumes errors that are
        symmetric about zero.
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

    Returns
    -------
    PermutationResult
        p = (1 + number of permutations with at least the observed value) / (1 + n_permutations).

    Raises
    ------
    ValueError
        If shapes do not agree, or the nuisance columns explain the tested one.
    """
    maps, mask, tested = np.asarray(maps, float), np.asarray(mask, bool), np.asarray(tested, float)
    _check_shapes(maps, mask, tested, statistics)
    basis = nuisance_basis(nuisance, len(maps), intercept=not sign_flip)
    x = tested - basis @ (basis.T @ tested)
    if x @ x < 1e-10 * (tested @ tested):
        raise ValueError("the nuisance columns explain the tested column: nothing is left to test")
    exhaustive = False
    if permutations is None:
        distinct = tested if basis.shape[1] <= 1 else None
        permutations, exhaustive = draw_permutations(
            n_permutations, len(maps), distinct, blocks, sign_flip, seed
        )
    model = _Model(maps - basis @ (basis.T @ maps), basis, x / np.sqrt(x @ x), mask, not sign_flip)
    threshold = stats.t.isf(cluster_p / 2, model.df)
    null = _null_maxima(model, np.asarray(permutations), threshold, statistics, n_jobs)
    observed = _observed(model.observed(), model, threshold, statistics)
    p = {name: _p_values(observed[name], null[name]) for name in statistics}
    return PermutationResult(model.exact_t(), model.df, p, null, threshold, exhaustive)


def _check_shapes(maps, mask, tested, statistics):
    if maps.ndim != 2 or tested.shape != maps.shape[:1] or mask.sum() != maps.shape[1]:
        raise ValueError(
            "maps (n, n_voxels), tested (n,) and a mask of n_voxels expected, found "
            f"{maps.shape}, {tested.shape} and {mask.sum()} voxels"
        )
    unknown = set(statistics) - set(STATISTICS)
    if unknown:
        raise ValueError(f"statistics among {STATISTICS} expected, found {sorted(unknown)}")


def nuisance_basis(nuisance, n, intercept):
    """Orthonormal columns that span the nuisance model, (n, rank).

    Parameters
    ----------
    nuisance : array_like or None
        (n, n_columns).
    n : int
        Number of participants.
    intercept : bool
        Whether the model holds a constant; it is then the first column.
    """
    columns = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, float).reshape(n, -1)
    constant = np.full((n, 1), 1 / np.sqrt(n))[:, : int(intercept)]
    size = np.abs(columns).max(axis=0, initial=0)
    columns = columns - constant @ (constant.T @ columns)
    columns = columns[:, np.abs(columns).max(axis=0, initial=0) > 1e-12 * size]
    if columns.shape[1]:
        u, s, _ = np.linalg.svd(columns, full_matrices=False)
        columns = u[:, s > s[0] * n * np.finfo(float).eps]
    return np.column_stack([constant, columns])


def draw_permutations(n_permutations, n, tested=None, blocks=None, sign_flip=False, seed=0):
    """Draw permutations or sign flips, all distinct ones where these are fewer.

    Parameters
    ----------
    n_permutations, n : int
        How many, and of how many participants.
    tested : array_like, optional
        (n,). Permutations that only exchange equal values are not distinct. Left out: all orders
        are.
    blocks : array_like, optional
        (n,). Exchange within blocks only.
    sign_flip : bool
    seed : int

    Returns
    -------
    permutations : numpy.ndarray of int
        (n_drawn, n), signed and counted from 1, as :func:`permutation_test` takes them; never the
        identity when all are made.
    exhaustive : bool
    """
    groups = _groups(n, blocks)
    if sign_flip:
        if 2**n - 1 <= n_permutations:
            signs = np.array(list(itertools.product([1, -1], repeat=n)))[1:]
            return signs * np.arange(1, n + 1), True
        signs = np.random.default_rng(seed).choice([1, -1], size=(n_permutations, n))
        return signs * np.arange(1, n + 1), False
    if _n_distinct(tested, groups) - 1 <= n_permutations:
        return _all_permutations(n, tested, groups) + 1, True
    rng = np.random.default_rng(seed)
    order = np.tile(np.arange(n), (n_permutations, 1))
    for members in groups:
        order[:, members] = rng.permuted(np.tile(members, (n_permutations, 1)), axis=1)
    return order + 1, False


def _groups(n, blocks):
    if blocks is None:
        return [np.arange(n)]
    labels = np.asarray(blocks)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _n_distinct(tested, groups):
    total = 1
    for members in groups:
        counts = (
            [1] if tested is None else np.unique(np.asarray(tested)[members], return_counts=True)[1]
        )
        total *= math.factorial(len(members)) // math.prod(math.factorial(c) for c in counts)
    return total


def _all_permutations(n, tested, groups):
    """One order for each distinct arrangement of the tested values, the identity left out."""
    values = np.arange(n) if tested is None else np.asarray(tested)
    found = []
    for orders in itertools.product(*(list(_arrangements(list(g), values)) for g in groups)):
        order = np.empty(n, int)
        for members, new in zip(groups, orders, strict=True):
            order[members] = new
        found.append(order)
    # an arrangement says which value each participant gets, a permutation who takes each place
    found = [np.argsort(o) for o in found if (values[o] != values).any()]
    return np.array(found, int).reshape(-1, n)


def _arrangements(members, values):
    """Orders of ``members`` that differ in their values, each once."""
    if not members:
        yield []
    firsts = {values[member]: member for member in reversed(members)}
    for first in firsts.values():
        rest = [member for member in members if member != first]
        for order in _arrangements(rest, values):
            yield [first, *order]


class _Model:
    """Residuals of the nuisance model, and t for any rearrangement of them.

    With y the residuals, P a signed permutation, Q the nuisance basis and x the tested column
    (residual, unit length), t = x'Py / sqrt((|y|^2 - |Q'Py|^2 - (x'Py)^2) / df): only the few rows
    x'P and Q'P meet the maps. The row of the constant is left out where signs stay: residuals add
    up to zero in any order.
    """

    def __init__(self, residuals, basis, x, mask, has_constant):
        self.residuals, self.x, self.mask = residuals, x, mask
        self.y = residuals.astype(np.float32)
        self.square = np.einsum("ij,ij->j", residuals, residuals)
        # a voxel that does not vary has no t: its effect is 0, whatever it is divided by
        constant = self.square <= 1e-12 * self.square.max(initial=0)
        self.square[constant], self.y[:, constant] = 0, 0
        self.divisor = np.where(constant, 1, self.square).astype(np.float32)
        self.rows = np.column_stack([x, basis[:, 1:] if has_constant else basis]).T
        self.df = len(residuals) - basis.shape[1] - 1
        self.neighbours = enhancement.neighbour_table(mask)
        self.powers = enhancement.extent_powers(residuals.shape[1], 0.5)

    def exact_t(self):
        """Observed t in double precision, (n_voxels,)."""
        effect = self.x @ self.residuals
        left = np.maximum(self.square - effect**2, 0) / self.df
        return np.divide(effect, np.sqrt(left), out=np.zeros_like(effect), where=left > 0)

    def observed(self):
        """Observed t as the permuted ones are computed, (n_voxels,)."""
        return self.t(np.arange(1, len(self.y) + 1)[None])[0]

    def t(self, permutations):
        """(n_permutations, n_voxels), float32; 0 where the maps do not vary."""
        order, sign = np.abs(permutations) - 1, np.sign(permutations)
        n_perm, n = permutations.shape
        rows = np.zeros((len(self.rows), n_perm, n), np.float32)
        rows[:, np.arange(n_perm)[:, None], order] = self.rows[:, None] * sign
        out = np.empty((n_perm, self.y.shape[1]), np.float32)
        for start in range(0, out.shape[1], BLOCK):
            block = slice(start, start + BLOCK)
            products = rows.reshape(-1, n) @ self.y[:, block]
            products = products.reshape(len(rows), n_perm, -1)
            _t_of_products(products, self.divisor[block], self.df, out[:, block])
        return out


@njit(nogil=True, cache=True, fastmath=True)
def _t_of_products(products, square, df, out):
    """t from the products of each permutation; loops over voxels alone, so that they vectorise."""
    n_rows, n_perm, n_voxels = products.shape
    root, tiny = np.float32(np.sqrt(df)), np.float32(1e-9)
    for p in range(n_perm):
        left = out[p]
        left[:] = square
        for k in range(n_rows):
            row = products[k, p]
            for v in range(n_voxels):
                left[v] -= row[v] * row[v]
        effect = products[0, p]
        for v in range(n_voxels):
            left[v] = root * effect[v] / np.sqrt(max(left[v], tiny * square[v]))


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


def _null_maxima(model, permutations, threshold, statistics, n_jobs):
    chunks = [permutations[i : i + CHUNK] for i in range(0, len(permutations), CHUNK)]
    work = (delayed(_chunk_maxima)(model, chunk, threshold, statistics) for chunk in chunks)
    # Limited here too: threads that enter and leave the limit would restore each other's.
    with threadpool_limits(1):
        maxima = np.concatenate(Parallel(n_jobs=n_jobs, prefer="threads")(work))
    return {name: maxima[:, STATISTICS.index(name)] for name in statistics}


def _chunk_maxima(model, permutations, threshold, statistics):
    with threadpool_limits(1):  # the order of sums in BLAS depends on its threads
        images = model.t(permutations)
    largest = _largest_sizes(images)
    if set(statistics) == {"max_t"}:
        return np.pad(largest[:, None], ((0, 0), (0, len(STATISTICS) - 1)))
    scratch = enhancement.make_scratch(images.shape[1])
    options = (model.neighbours, model.powers, 2.0, threshold, "tfce" in statistics, scratch)
    maxima = np.array([enhancement.largest(t, *options) for t in images])
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


def _p_values(observed, null):
    ordered = np.sort(null)
    at_least = len(null) - np.searchsorted(ordered, observed * (1 - TIE), side="left")
    return (1 + at_least) / (1 + len(null))
