"""Permutation inference over voxels: one loop, every family-wise p-value.

The model is ``maps = tested * effect + nuisance + error`` in every voxel, and there are two
questions. Is the *effect* 0, whatever the variances (``errors="unequal"``)? Signs of the scaled
residuals of the nuisance model are flipped and t is studentised (see :mod:`voxelperm.robust`; for
a mean of skewed errors :mod:`voxelperm.skewed`). Did
the tested column do *nothing at all*, to mean or variance (``errors="equal"``)? Labels are permuted
on these residuals (Freedman & Lane 1983; Winkler et al. 2014, NeuroImage 92:381-397). The largest
statistic of each image makes the null distribution (Nichols & Holmes 2002, Hum Brain Mapp 15:1-25).
All tests are two-sided. All statistics of an image come from one pass over its voxels (see
:mod:`voxelperm.maxima`).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from voxelperm.clusters import label_clusters
from voxelperm.collinearity import NOTHING_LEFT, variance_inflation
from voxelperm.discoveries import (
    critical_lambda,
    default_shift,
    lower_bound,
    p_of,
    p_table,
    pivot,
)
from voxelperm.enhancement import enhance, extent_powers
from voxelperm.exchangeability import check_exchangeable, draw_permutations
from voxelperm.maxima import STATISTICS
from voxelperm.memory import plan
from voxelperm.model import VoxelModel
from voxelperm.neighbours import neighbour_table
from voxelperm.normal import z_table
from voxelperm.nuisance import nuisance_basis
from voxelperm.null import Work, height, null_maxima
from voxelperm.robust import POWERS, RobustModel
from voxelperm.skewed import SkewedModel
from voxelperm.tails import p_values

TRUE_DISCOVERIES = "true_discoveries"
CONVENTIONS = {"tails apart": 6, "palm": 26}  # neighbours
ERRORS = ("unequal", "equal", "skewed")
FEWEST_DRAWS = 20  # with fewer, no p can be below .05


@dataclass(frozen=True)
class PermutationResult:
    """What :func:`permutation_test` found.

    Attributes
    ----------
    t : numpy.ndarray
        (n_voxels,), the data's t: with an HC2 standard error, Student's where errors are equal,
        Hall's transformed one where they are skewed, with a smoothed variance the pseudo-t that was
        tested.
    df : int
        Its degrees of freedom.
    p : dict of str to numpy.ndarray
        Family-wise p-value of each statistic, (n_voxels,); for cluster statistics that of the
        voxel's cluster, 1 outside clusters.
    null_max : dict of str to numpy.ndarray
        Largest statistic of each permutation, (n_permutations,), without the observed one.
    cluster_threshold : float
        |t| above which voxels form clusters.
    exhaustive : bool
        Whether all distinct permutations were made.
    tail : dict of str to voxelperm.tails.Tail
        How the small p-values of each statistic were found: ``.kind`` is "counts" or "gpd",
        ``.reason`` says why.
    p_uncorrected : numpy.ndarray or None
        Two-sided p of |t| on ``df`` degrees of freedom, (n_voxels,), for :meth:`true_discoveries`,
        as are the following; None unless "true_discoveries" was asked for.
    pivots : numpy.ndarray or None
        Pivot of each draw, (n_permutations,), without the data's.
    pivot : float or None
        The data's.
    shift : int
        Sets of this many voxels or fewer have no discoveries.
    """

    t: np.ndarray
    df: int
    p: dict
    null_max: dict
    cluster_threshold: float
    exhaustive: bool
    tail: dict = field(default_factory=dict)
    p_uncorrected: np.ndarray | None = None
    pivots: np.ndarray | None = None
    pivot: float | None = None
    shift: int = 0

    def critical_lambda(self, alpha=0.05):
        """What :func:`voxelperm.lower_bound` needs besides ``p_uncorrected`` and ``shift``.

        Parameters
        ----------
        alpha : float

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the test did not count true discoveries.
        """
        if self.pivots is None:
            raise ValueError(
                'statistics with "true_discoveries" expected, found a test without: ask for it'
            )
        return critical_lambda(self.pivots, self.pivot, alpha)

    def true_discoveries(self, selection, alpha=0.05):
        """Lower bound on the number of voxels with a true effect in any set, chosen even now.

        Parameters
        ----------
        selection : array_like
            Voxels of the mask: (n_voxels,) of bool, or their positions.
        alpha : float
            All bounds of one map hold at once with probability 1 - alpha (Andreella et al. 2023,
            see :mod:`voxelperm.discoveries`).

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the test did not count true discoveries.
        """
        critical = self.critical_lambda(alpha)
        p = self.p_uncorrected[np.asarray(selection)]
        return lower_bound(p, len(self.p_uncorrected), critical, self.shift)


def permutation_test(
    maps,
    mask,
    tested,
    nuisance=None,
    blocks=None,
    sign_flip=False,
    n_permutations=5000,
    permutations=None,
    errors="unequal",
    seed=0,
    statistics=STATISTICS,
    n_jobs=1,
    cluster_p=0.001,
    exchange="within",
    tail="counts",
    variance_fwhm=None,
    max_memory_mb=None,
    progress=None,
    standard_error="HC2",
    convention="tails apart",
    shift=None,
    run=None,
):
    r"""Test one column of a linear model in every voxel, with family-wise p-values.

    Parameters
    ----------
    maps : array_like
        (n, n_voxels), one row per participant, in any unit.
    mask : array_like of bool
        (x, y, z), with n_voxels true voxels in the order of ``maps``; neighbours share a face.
    tested : array_like
        (n,). An arm code, a score, or ones for a mean.
    nuisance : array_like, optional
        (n, n_columns). Unless ``sign_flip`` is True an intercept is added if the columns do not
        already span one: without it the values keep their mean, and the test would not be one of
        the difference between arms.
    blocks : array_like, optional
        (n,). Strata, sites or families; ``exchange`` says what they restrict. With unequal errors
        blocks that are exchanged within become nuisance columns of a difference, and each
        participant has a sign of their own.
    sign_flip : bool or "both"
        True tests a mean: signs are flipped and no intercept is added. With ``errors="equal"``,
        False permutes labels, which assumes exchangeable errors, one distribution of any shape;
        True flips the signs of participants, which assumes independent errors that are symmetric
        about zero; "both" does both and assumes both, and has more distinct rearrangements when
        there are few participants.
    n_permutations : int
        How many to draw. If fewer distinct ones exist, each of them is made once.
    permutations : array_like of int, optional
        (n_permutations, n), explicit ones: entry k of a row is +-(i + 1) if the map of participant
        i takes place k, with its sign flipped if negative. With unequal errors signs alone: entry
        k is +-(k + 1).
    errors : str
        "unequal": is the effect 0? Signs of scaled residuals are flipped and t is divided by the
        robust standard error, so that variances may differ between participants and with the tested
        column. Asymptotic; assumes independent errors (or blocks, with ``exchange="whole"``).
        "equal": did the tested column do nothing at all, neither to the mean nor to the variance?
        Student's t; exact without covariates.
        "skewed": is the mean 0, whatever the skewness? For ``sign_flip=True`` alone, without
        nuisance columns: signs are flipped, and t has Hall's transformation (see
        :mod:`voxelperm.skewed`).
    seed : int
        For drawing permutations.
    statistics : sequence of str
        Among "max_t", "cluster_extent" (voxels), "cluster_mass" (sum of |t| - threshold) and "tfce"
        (extent power 0.5, height power 2). "true_discoveries" gives no p but
        :meth:`PermutationResult.true_discoveries`.
    n_jobs : int
        Workers (joblib): threads, unless the caller has chosen another backend. The numbers do not
        depend on it.
    cluster_p : float
        Two-sided p of the cluster-forming threshold.
    exchange : str
        "within": labels are permuted among the participants of a block, which assumes errors that
        are exchangeable within blocks; signs are flipped one by one. "whole": blocks of equal size
        change places, the order of rows within them is kept, and signs are flipped block by block,
        which assumes blocks whose errors have one joint distribution, dependent within a block or
        not: for families or repeated scans. Refused below 20 distinct draws of signs.
    tail : str
        "counts", or "gpd": a generalised Pareto tail, where it fits, for p-values that rest on
        fewer than 10 permutations (see :mod:`voxelperm.tails`).
    variance_fwhm : float or sequence of float, optional
        Full width at half maximum, in voxels (mm / voxel size), of a Gaussian that smooths the
        error variance inside the mask: pseudo-t (Nichols & Holmes 2002), for few participants. The
        cluster-forming threshold remains that of t. Permutations take several times as long.
    max_memory_mb : float, optional
        Bound on the memory of the arrays of this function, excluding the maps themselves, in
        megabytes: fewer images are held at a time, then fewer workers are used. The numbers do not
        depend on it.
    progress : callable, optional
        ``progress(done, total)``, called from the calling thread as permutations complete.
    standard_error : str
        With unequal errors: "HC2", unbiased where variances are equal, or "HC3", somewhat larger.
    convention : str
        What clusters and TFCE are made of. "tails apart": t, positive and negative voxels apart,
        6 neighbours. "palm", as PALM's two-tailed tests have it: \|z\|, the normal deviate of the
        two-sided p of t, both signs in one cluster, 26 neighbours; ``cluster_threshold`` and masses
        are then in units of z. Max-t and true discoveries do not depend on it.
    shift : int, optional
        Of the bounds on true discoveries: sets of this many voxels or fewer get none, and larger
        ones more. Without it 27, or 1 % of the voxels if that is fewer.

    Returns
    -------
    PermutationResult
        p = (1 + number of permutations with at least the observed value) / (1 + n_permutations).

    Raises
    ------
    ValueError
        If shapes do not agree, an option is unknown, the nuisance columns explain the tested one,
        maps are not finite, blocks leave nothing to exchange, or the memory does not suffice.
    KeyboardInterrupt
        When interrupted; it says how many permutations were complete. No p-value is given: one from
        the permutations so far, stopped when someone looked, would not be the planned one.
    """
    maps, mask, tested = np.asarray(maps), np.asarray(mask, bool), np.asarray(tested, float)
    _check_shapes(maps, mask, tested)
    _check_options(statistics, tail, n_permutations, standard_error, convention)
    _check_errors(errors, sign_flip, variance_fwhm, tested, nuisance)
    robust = errors != "equal"
    if robust and blocks is not None and exchange == "within":
        nuisance = nuisance if sign_flip else _with_blocks(nuisance, blocks)
        blocks = None
    basis = nuisance_basis(nuisance, len(maps), intercept=sign_flip is not True)
    x = tested - basis @ (basis.T @ tested)
    if x @ x < NOTHING_LEFT * (tested @ tested):
        named = variance_inflation(tested, nuisance, intercept=sign_flip is not True)[1]
        raise ValueError(
            f"{', '.join(named) or 'the constant'} of the nuisance explain the tested column: "
            "nothing is left to test"
        )
    exhaustive = False
    if permutations is None:
        flip = sign_flip or robust
        check_exchangeable(tested, blocks, flip, exchange)
        # without covariates, participants with equal tested values are interchangeable
        distinct = tested if basis.shape[1] <= 1 else None
        permutations, exhaustive = draw_permutations(
            n_permutations, len(maps), distinct, blocks, flip, seed, exchange
        )
        _check_draws(len(permutations), robust and exchange == "whole")
    permutations = _checked_permutations(permutations, len(maps), robust)
    x /= np.sqrt(x @ x)
    if errors == "skewed":
        model = SkewedModel(maps, mask)
    elif robust:
        model = RobustModel(maps, basis, x, mask, standard_error)
    else:
        signs_stay = sign_flip is not True and bool((permutations > 0).all())
        model = VoxelModel(maps, basis, x, mask, signs_stay, variance_fwhm)
    threshold = stats.t.isf(cluster_p / 2, model.df)
    table, z = p_table(model.df) if TRUE_DISCOVERIES in statistics else None, None
    statistics = tuple(s for s in STATISTICS if s in statistics)
    if convention == "palm":
        threshold, z = stats.norm.isf(cluster_p / 2), z_table(model.df)
    neighbours = neighbour_table(mask, CONVENTIONS[convention])
    workers, held = plan(model, neighbours, permutations, n_jobs, max_memory_mb)
    powers = extent_powers(maps.shape[1], 0.5)
    shift = default_shift(maps.shape[1]) if shift is None else shift
    work = Work(threshold, statistics, held, neighbours, powers, table, shift, z)
    null, pivots = null_maxima(model, permutations, work, workers, progress, run)
    t = model.observed()
    observed = _observed(t, mask, work)
    found = {s: p_values(observed[s], null[s], tail, exhaustive) for s in statistics}
    p, how = ({s: pair[k] for s, pair in found.items()} for k in (0, 1))
    discoveries = () if table is None else _discoveries(t, work, model.df, pivots)
    return PermutationResult(
        model.exact_t, model.df, p, null, threshold, exhaustive, how, *discoveries
    )


def _discoveries(t, work, df, pivots):
    """p of the data, pivots of the draws, the data's pivot, and the shift."""
    counts = np.zeros(len(work.p_table), np.int32)
    return p_of(t, df), pivots, pivot(t, work.p_table, work.shift, counts), work.shift


def _check_shapes(maps, mask, tested):
    if maps.ndim != 2 or tested.shape != maps.shape[:1] or mask.sum() != maps.shape[1]:
        raise ValueError(
            "maps (n, n_voxels), tested (n,) and a mask of n_voxels expected, found "
            f"{maps.shape}, {tested.shape} and {mask.sum()} voxels"
        )


def _check_options(statistics, tail, n_permutations, standard_error, convention):
    known = (*STATISTICS, TRUE_DISCOVERIES)
    unknown = set(statistics) - set(known)
    if unknown or not len(statistics):
        raise ValueError(f"statistics among {known} expected, found {sorted(unknown)}")
    if tail not in ("counts", "gpd"):
        raise ValueError(f'tail "counts" or "gpd" expected, found {tail!r}')
    if standard_error not in POWERS:
        raise ValueError(f"standard_error among {tuple(POWERS)} expected, found {standard_error!r}")
    if convention not in CONVENTIONS:
        raise ValueError(f"convention among {tuple(CONVENTIONS)} expected, found {convention!r}")
    if n_permutations < 1:
        raise ValueError(f"n_permutations of at least 1 expected, found {n_permutations}")


def _check_errors(errors, sign_flip, variance_fwhm, tested, nuisance):
    """Refuse unknown errors, and options that have no meaning with them."""
    if errors not in ERRORS:
        raise ValueError(f"errors among {ERRORS} expected, found {errors!r}")
    only_equal = 'sign_flip="both"' if sign_flip == "both" else None
    only_equal = "variance_fwhm" if variance_fwhm is not None else only_equal
    if errors != "equal" and only_equal:
        raise ValueError(f'errors="equal" expected with {only_equal}, found {errors!r}')
    mean = sign_flip is True and (tested == tested[0]).all() and nuisance is None
    if errors == "skewed" and not mean:
        raise ValueError(
            'errors="skewed" tests a mean: sign_flip=True, a tested column of ones and no nuisance '
            'expected; errors="unequal" serves other models'
        )


def _check_draws(n_draws, whole_blocks):
    """Refuse whole blocks whose signs have too few values for any p below .05."""
    if whole_blocks and n_draws + 1 < FEWEST_DRAWS:
        raise ValueError(
            f"at least {FEWEST_DRAWS} draws of signs expected, found {n_draws + 1}: give more "
            'blocks, or exchange="within"'
        )


def _with_blocks(nuisance, blocks):
    """Nuisance columns and a column for each block."""
    labels = np.asarray(blocks)
    columns = (labels[:, None] == np.unique(labels)).astype(float)
    n = len(labels)
    given = np.empty((n, 0)) if nuisance is None else np.asarray(nuisance, float).reshape(n, -1)
    return np.column_stack([given, columns])


def _checked_permutations(permutations, n, signs_alone=False):
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
    if signs_alone and (np.abs(permutations) != np.arange(1, n + 1)).any():
        raise ValueError(
            'permutations that change signs alone expected with errors="unequal", found others: '
            'use errors="equal" to permute labels'
        )
    return permutations


def _observed(t, mask, work):
    """The statistic of each voxel, or of its cluster; 0 outside clusters."""
    heights = height(t, work)
    connectivity = work.neighbours.shape[1]
    labels, sizes, masses = label_clusters(heights, mask, work.threshold, connectivity)
    found = {
        "max_t": np.abs(t),
        "cluster_extent": np.concatenate([[0], sizes])[labels],
        "cluster_mass": np.concatenate([[0], masses])[labels],
    }
    if "tfce" in work.statistics:
        found["tfce"] = np.abs(enhance(heights, work.neighbours))
    return {name: found[name] for name in work.statistics}
