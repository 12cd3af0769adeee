"""JuSpace mode: what the toolbox JuSpace v1.5 computes, and the same with its p-values mended.

JuSpace (Dukart et al. 2021, Hum Brain Mapp 42:555) correlates a map of effects with receptor maps
over the parcels of an atlas. This module follows its published code, read for what it does. Where a
p of JuSpace is not the p of a valid test, the mended one stands beside it.
"""

import itertools
from dataclasses import dataclass
from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
from numba import njit
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import correlation, effects, nulls
from analysis_lib.receptors.assessment import participant_rows
from analysis_lib.results.contrasts import ACTIVE_CHANGE, ARM_BY_TIME, CONTROL_CHANGE, OF_CHANGE
from voxelperm import draw_permutations

VARIANCES = range(2, 1001)  # of JuSpace's smoothing kernel, squared voxels, tried in this order
STATISTICS = ("spearman", "pearson", "regression")
IMAGES = (  # of a group, with contrast and kind: JuSpace's options 1, 2 and 3
    (ARM_BY_TIME, "cohens_d"),
    *itertools.product((ACTIVE_CHANGE, CONTROL_CHANGE), ("cohens_d", "mean")),
)
BATCH = 500  # regressions on null maps that are solved together


def effect(change, arm, contrast=ARM_BY_TIME, kind="cohens_d"):
    """JuSpace's effect map (n_parcels,) of a contrast; NaN where no image has voxels of a parcel.

    Within an arm Cohen's d of change, mean / SD (its option 2); between arms the difference of
    means / root of the mean of the two variances (option 1). Both SDs divide by n - 1. Option 3,
    ``kind="mean"``, is the plain mean: within an arm alone, since JuSpace has no plain difference
    of two groups. ``change`` is post - pre, percent, (n_participants, n_parcels); JuSpace itself
    subtracts parcel means, in the images' unit. A parcel without variation is refused.
    """
    change, active = effects.checked_change(change, arm, contrast)
    if kind == "mean":
        return effects.effect_map(change, active, contrast)
    arms = [active] if contrast == ACTIVE_CHANGE else [~active]
    arms = [active, ~active] if contrast == ARM_BY_TIME else arms
    constant = np.all([np.ptp(change[members], axis=0) == 0 for members in arms], axis=0)
    if constant.any():
        raise ValueError(
            f"change: columns {np.flatnonzero(constant).tolist()} hold one value for every "
            "participant of the contrast, so Cohen's d has no value. Check the images."
        )
    if contrast == ARM_BY_TIME:
        return _d_between(change, active[None])[0]
    return _d_within(change[arms[0]], np.ones((1, arms[0].sum())))[0]


def _d_within(members, signs):
    """Cohen's d of change, (n_flips, n_parcels), for each row of signs (n_flips, n_members)."""
    n = len(members)
    mean = signs @ members / n
    variance = ((members**2).sum(axis=0) - n * mean**2) / (n - 1)  # a sign does not touch squares
    return mean / np.sqrt(variance)


def _d_between(change, active):
    """Cohen's d between arms, (n_labellings, n_parcels); active (n_labellings, n_participants)."""
    change = change - change.mean(axis=0)  # for exact sums of squares; differences are the same
    means, variances = [], []
    for members in (active.astype(float), 1.0 - active):
        n = members.sum(axis=1, keepdims=True)
        mean = members @ change / n
        means.append(mean)
        variances.append((members @ change**2 - n * mean**2) / (n - 1))
    return (means[0] - means[1]) / np.sqrt((variances[0] + variances[1]) / 2)


def correlate(effect_maps, receptor_maps):
    """Pearson's r over parcels, and its Fisher z, which JuSpace reports in place of r: each (k, m).

    Receptor maps are parcel means with the background kept: ``parcellate(background="keep")``. A
    parcel that a map lacks (NaN) is left out for that map; JuSpace leaves it out for all.
    """
    r = correlation.correlate(effect_maps, receptor_maps, "pearson")
    with np.errstate(divide="ignore"):
        return r, np.arctanh(r)


@dataclass(frozen=True)
class Geometry:
    """Where JuSpace sees the parcels of a label image.

    ``half``: labels, ascending, with a voxel among the first half of the image's columns along x. A
    parcel of the other side that reaches over the midline by a few voxels is among them. ``source``
    (n_parcels,): position in ``half`` of the parcel whose value each parcel gets when the half is
    mirrored; -1 where the mirrored half has no voxel in it.
    """

    labels: pd.Index  # of all parcels, in the order of the maps
    half: pd.Index
    coordinates: np.ndarray  # (n_half, 3), voxels; not centroids: see `geometry`
    source: np.ndarray


def geometry(atlas="neuromorphometrics", labels=None):
    """Half, coordinates and mirror images of parcels, by JuSpace's rules; other labels are outside.

    JuSpace calls its coordinates centres of mass. They are peaks of projections: the x and the y
    with most of a parcel's voxels, and the z of its densest row of voxels along y, sought only
    above the lowest quarter of slices and among as many y as the image has x. An image whose first
    axis is not left-right is refused.
    """
    atlas = parcellation.load_atlas(atlas)
    labels = grids.known_labels(atlas, labels)
    side = nib.aff2axcodes(atlas.image.affine)[0]
    if side not in "LR":
        raise ValueError(f"atlas: first axis left-right expected, found '{side}'. Reorient it.")
    image = parcellation.label_array(atlas.image)
    image = np.where(np.isin(image, labels), image, 0)
    absent = labels.difference(np.unique(image)).tolist()
    if absent:
        raise ValueError(f"labels {absent} have no voxel in the atlas image")
    middle = len(image) // 2
    half = pd.Index(np.unique(image[:middle])).drop(0, errors="ignore")
    return Geometry(labels, half, _peaks(image, half), _sources(image, middle, labels, half))


def _peaks(image, half):
    n_x, n_y, n_z = image.shape
    lowest = int(np.floor(n_z / 4 + 0.5)) - 1  # MATLAB counts from 1 and rounds halves up
    voxels = np.argwhere(image)
    number = half.get_indexer(image[tuple(voxels.T)])
    peaks = np.empty((len(half), 3))
    for k, row in enumerate(peaks):
        x, y, z = voxels[number == k].T
        seen = (z >= lowest) & (y < n_x)
        columns = np.bincount(x[seen] * n_z + z[seen], minlength=n_x * n_z).reshape(n_x, n_z)
        row[0] = np.bincount(x, minlength=n_x).argmax()
        row[1] = np.bincount(y, minlength=n_y).argmax()
        row[2] = lowest + columns.max(axis=0)[lowest:].argmax()
    return peaks


def _sources(image, middle, labels, half):
    """The most frequent label of the mirrored half within each parcel, as a position in `half`."""
    mirrored = np.zeros_like(image)
    mirrored[:middle] = image[:middle]
    mirrored[len(image) - middle :] = image[:middle][::-1]
    met = (image > 0) & (mirrored > 0)
    pairs = pd.DataFrame({"label": image[met], "source": mirrored[met]})
    most = pairs.groupby("label")["source"].agg(lambda values: values.mode().iloc[0])
    most = most.reindex(labels)
    return half.get_indexer(most)  # NaN is in no half: -1


def autocorrelation(receptor_maps, places):
    """The number, for each map, by which JuSpace decides whether null maps keep autocorrelation.

    Over all pairs of parcels of one half, each with itself included, the correlation of their
    distance with the absolute difference of their values. JuSpace smooths null maps where it is
    above 0. Where it is not, JuSpace shuffles the parcels of both hemispheres, and its "spatial" p
    is that of independent parcels. Parcels are in the order of ``places.labels``; one that a map
    lacks is left out for it.
    """
    halves = [_half(row, places) for row in np.atleast_2d(np.asarray(receptor_maps, dtype=float))]
    return np.array([_autocorrelation(values[None], apart)[0] for values, apart in halves])


def _half(values, places):
    """Values of the half's parcels that the map covers, and the distances between these."""
    values = values[places.labels.get_indexer(places.half)]
    covered = ~np.isnan(values)
    if covered.sum() < 3:
        raise ValueError(
            f"a receptor map covers {covered.sum()} parcels of the half; expected 3 at least"
        )
    here = places.coordinates[covered]
    return values[covered], cdist(here, here)


def _autocorrelation(maps, distances):
    """`autocorrelation` of each of maps (n, n_half), without NaN."""
    product, total = _pair_means(maps, distances)
    squares = 2 * maps.var(axis=1)  # mean over all pairs of (a - b)^2
    spread = np.sqrt(distances.var() * (squares - total**2))
    return (product - distances.mean() * total) / spread


@njit(nogil=True, cache=True, fastmath=True)
def _pair_means(maps, distances):
    """Means over all pairs, each twice and with itself, of distance x |a - b| and of |a - b|."""
    n_maps, n = maps.shape
    products, totals = np.empty(n_maps), np.empty(n_maps)
    for k in range(n_maps):
        product = total = 0.0
        for i in range(n):
            for j in range(i):
                apart = abs(maps[k, i] - maps[k, j])
                product += distances[i, j] * apart
                total += apart
        products[k], totals[k] = product, total
    return 2 * products / n**2, 2 * totals / n**2


def null_maps(receptor_map, places, n, seed):
    """JuSpace's null maps (n, n_parcels) of a receptor map.

    Where `autocorrelation` is above 0: the values of one half are shuffled; a shuffle with less
    autocorrelation than the map is smoothed over parcels with a Gaussian kernel, its variance the
    smallest of `VARIANCES` that reaches the map's autocorrelation (the largest, if none does); the
    result is stretched to the map's range in that half, and mirrored. So both hemispheres hold one
    value per region, and the null has about half the parcels of the map. Elsewhere: values shuffled
    over the parcels of both hemispheres. NaN where the map is, and where the mirrored half is
    empty.

    Neither is a null for smooth effect maps. With 4,000 unrelated ones (exponential covariance of
    20 to 80 mm range) JuSpace's p was <= .05 in .25 to .39 for D1, which it only shuffles, and in
    .12 to .28 for the two maps of carfentanil, which it smooths most (Monte-Carlo error .007).
    """
    values = np.asarray(receptor_map, dtype=float)
    rng = np.random.default_rng(seed)
    if autocorrelation(values, places)[0] > 0:
        return _mirrored_nulls(values, places, n, rng)
    return _shuffled(values, n, rng)


def _shuffled(values, n, rng):
    covered = ~np.isnan(values)
    made = np.tile(values, (n, 1))
    made[:, covered] = rng.permuted(made[:, covered], axis=1)
    return made


def _mirrored_nulls(values, places, n, rng):
    # One column more than the half has parcels: a source of -1 selects it.
    made = np.full((n, len(places.half) + 1), np.nan)
    covered = np.flatnonzero(~np.isnan(values[places.labels.get_indexer(places.half)]))
    with threadpool_limits(1, "blas"):  # on products this small threads cost more than they save
        made[:, covered] = _smoothed(*_half(values, places), n, rng)
    made = made[:, places.source]
    made[:, np.isnan(values)] = np.nan
    return made


def _smoothed(values, distances, n, rng):
    """Shuffles, smoothed where too rough, all stretched to the range of the values: (n, n_half)."""
    target = _autocorrelation(values[None], distances)[0]
    shuffled = rng.permuted(np.tile(values, (n, 1)), axis=1)
    made = shuffled.copy()
    rough = np.flatnonzero(_autocorrelation(shuffled, distances) < target)
    for variance in VARIANCES:
        if not rough.size:
            break
        kernel = np.exp(-(distances**2) / (2 * variance))
        smooth = shuffled[rough] @ (kernel / kernel.sum(axis=0))
        made[rough] = smooth
        rough = rough[_autocorrelation(smooth, distances) < target]
    low, high = made.min(axis=1, keepdims=True), made.max(axis=1, keepdims=True)
    return values.min() + (made - low) / (high - low) * np.ptp(values)


def exact_p(observed, null):
    """(1 + #{|null| >= |observed|}) / (1 + n), as JuSpace counts; null is (n, ...).

    JuSpace gives its spatial test Fisher's z as `observed` and untransformed r as `null`. |z| is
    larger than |r|, so that p is too small: at a nominal .05 the rate is .0525 where the null is as
    wide as that of 119 independent parcels, .0676 at 20, .0927 at 10. From |r| = .762 on, z exceeds
    1 and p is the smallest possible, whatever the null.
    """
    return nulls.share_beyond(np.abs(observed), np.abs(null))


def relabel_test(
    change, arm, receptor_maps, contrast=ARM_BY_TIME, scheme="balanced", n_permutations=5000, seed=0
):
    """JuSpace's group p of a correlation with Cohen's d maps, and the mended one: `NullTest` of r.

    "balanced" is JuSpace: between arms half of each always changes sides; within an arm half of the
    participants change sign, n // 2 or one more. The observed labelling is none of these, and they
    are no group, so the p is no p of a permutation test (Southworth, Kim & Owen 2009, J Comput Biol
    16:625): too small. Simulated at 18 + 18 without any effect (8,000 trials, exponential
    covariance of 20 mm range, D1): p <= .05 in .058 between arms and .070 within one (Monte-Carlo
    error .003), p <= .001 in .0042 and .0069 (error .0009); free: .050, .049, .0015 and .0008. It
    is as if t were read as z, which gives .058 and .067.

    "free" draws from all relabellings (all sign patterns), or takes every one when there are no
    more than `n_permutations`. For arms of unequal size JuSpace's rows (v1.3, v2) do not always add
    up; here as many leave one arm as the other. JuSpace compares z with z here, which gives the
    same p, and knows no covariates or strata: `nulls.randomisation_test` does.
    """
    observed = effect(change, arm, contrast)
    change, active = effects.checked_change(change, arm, contrast)
    if contrast == ARM_BY_TIME:
        labels, exhaustive = _labellings(active, scheme, n_permutations, seed)
        null = _d_between(change, labels)
    else:
        members = change[active if contrast == ACTIVE_CHANGE else ~active]
        signs, exhaustive = _signs(len(members), scheme, n_permutations, seed)
        null = _d_within(members, signs)
    r = partial(correlation.correlate, receptor_maps=receptor_maps, method="pearson")
    return nulls.null_test(r(observed)[0], r(null), exhaustive)


def _labellings(active, scheme, n, seed):
    """Participants labelled active, (n, n_participants), and whether these are all labellings."""
    if scheme == "free":
        free, exhaustive = draw_permutations(n, len(active), tested=active, seed=seed)
        return nulls.placed(active.astype(float), free), exhaustive
    rng = np.random.default_rng(seed)
    size, total = active.sum(), len(active)
    moved = size - int(np.floor(size**2 / total + 0.5))  # of either arm, JuSpace's rounding
    labels = np.tile(active.astype(float), (n, 1))
    for members, kept in ((active, size - moved), (~active, moved)):
        called = np.arange(members.sum()) < kept
        labels[:, members] = rng.permuted(np.tile(called, (n, 1)), axis=1)
    return labels, False


def _signs(size, scheme, n, seed):
    """Signs of participants, (n, size), and whether that is every other pattern."""
    if scheme == "free":
        flips, exhaustive = draw_permutations(n, size, sign_flip=True, seed=seed)
        return np.sign(flips), exhaustive
    signs = np.where(np.arange(size) < size // 2, 1.0, -1.0)
    return np.random.default_rng(seed).permuted(np.tile(signs, (n, 1)), axis=1), False


def juspace_table(
    change,
    arm,
    maps_keep,
    about,
    contrasts=OF_CHANGE,
    n_permutations=5000,
    seed=0,
    atlas="neuromorphometrics",
):
    """What JuSpace would report, and what it should have, one row per contrast and receptor map.

    Of Cohen's d, for which JuSpace offers no spatial p: see `options_table`. ``change``
    (participants by labels, percent) and ``maps_keep`` (receptor maps with the background kept)
    have the same labels in the same order, those of the label image ``atlas``; ``about`` has rows
    of `catalogue.library`.

    `p_shuffle`: parcels of the effect map shuffled, |r*| against |r|; `p_shuffle_fwe`: the same
    shuffles, largest |r*| over maps. `p_relabel_juspace`, `p_relabel`: `relabel_test`, balanced and
    free. The two fwe are over the maps of one contrast. `p_group_r`: `nulls.randomisation_test`. No
    p about shuffled parcels is valid for smooth maps.
    """
    correlation.check_labels(change, maps_keep)
    places = geometry(atlas, change.columns)
    amount = autocorrelation(maps_keep, places)
    tables = []
    for contrast in contrasts:
        effect_map = effect(change, arm, contrast)
        r, z = (found[0] for found in correlate(effect_map, maps_keep))
        balanced, free = (
            relabel_test(change, arm, maps_keep, contrast, scheme, n_permutations, seed)
            for scheme in ("balanced", "free")
        )
        group = nulls.randomisation_test(
            change, arm, maps_keep, contrast, n_permutations=n_permutations, seed=seed
        )
        shuffles = _shuffled(effect_map, n_permutations, np.random.default_rng(seed))
        shuffled = nulls.spatial_test(effect_map, maps_keep, shuffles, "pearson")
        rows = {
            "contrast": contrast,
            "receptor": about.loc[maps_keep.index, "receptor"].to_numpy(),
            "annotation": maps_keep.index,
            "n_parcels": correlation.n_covered(effect_map, maps_keep),
            "r": r,
            "z": z,
            "autocorrelation": amount,
            "adjusts": amount > 0,
            "p_shuffle": shuffled.p,
            "p_shuffle_fwe": shuffled.p_fwe,
            "p_relabel_juspace": balanced.p,
            "p_relabel": free.p,
            "p_relabel_fwe": free.p_fwe,
            "p_group_r": group.p,
        }
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True)


def options_table(
    change, arm, maps_keep, about, grey, n_permutations=5000, seed=0, atlas="neuromorphometrics"
):
    """What JuSpace's options for a group image give, one row per option and receptor map.

    Arguments are those of `juspace_table`; ``grey`` (n_parcels,) is the mean grey-matter density of
    each parcel in a template, SPM's in JuSpace. The columns: contrast and `image` (Cohen's d, or
    the mean); `statistic` (Spearman's or Pearson's correlation, or the coefficients of one
    regression on all maps, each in its own unit); `adjusted`, for ``grey``; `value`, Fisher's z or
    the coefficient; `p_juspace`, its exact spatial p, which it supports for mean images alone, and
    `p_juspace_r`, the same for correlations with |r| compared with |r|.
    """
    correlation.check_labels(change, maps_keep)
    places = geometry(atlas, change.columns)
    made = np.array([null_maps(row, places, n_permutations, seed) for row in maps_keep.to_numpy()])
    tables = []
    for contrast, kind in IMAGES:
        image, null = effect(change, arm, contrast, kind), made if kind == "mean" else None
        for statistic, given in itertools.product(STATISTICS, (None, np.asarray(grey))):
            said = {"contrast": contrast, "image": kind, "statistic": statistic}
            said |= {"adjusted": given is not None, "annotation": maps_keep.index}
            found = _option(image, maps_keep.to_numpy(), null, statistic, given)
            tables.append(pd.DataFrame(said | found))
    table = pd.concat(tables, ignore_index=True)
    table.insert(4, "receptor", about.loc[table["annotation"], "receptor"].to_numpy())
    return table


def _option(image, maps, made, statistic, given):
    """Values of an option and, given null maps (n_receptors, n, n_parcels), its p-values."""
    found = dict.fromkeys(("value", "p_juspace", "p_juspace_r"), np.nan)
    if statistic == "regression":
        found["value"] = _coefficients(image, maps[None], given)[0]
        if made is not None:
            null = _coefficients(image, made.swapaxes(0, 1), given)
            found["p_juspace"] = exact_p(found["value"], null)
        return found
    correlate = partial(correlation.correlate, method=statistic, given=given)
    r = correlate(image, maps)[0]
    found["value"] = np.arctanh(r)
    if made is not None:
        null = np.stack([correlate(own, image)[:, 0] for own in made], axis=1)
        found |= {"p_juspace": exact_p(found["value"], null), "p_juspace_r": exact_p(r, null)}
    return found


def _coefficients(image, maps, given):
    """Coefficients (n, m) of an image regressed on sets of maps (n, m, n_parcels), and on given."""
    covered = ~np.isnan(maps).any(axis=(0, 1)) & ~np.isnan(image)
    y, found = image[covered] - image[covered].mean(), []
    for start in range(0, len(maps), BATCH):
        x = maps[start : start + BATCH][:, :, covered]
        if given is not None:
            x = np.concatenate([x, np.broadcast_to(given[covered], (len(x), 1, len(y)))], axis=1)
        x = x - x.mean(axis=2, keepdims=True)
        scale = x.std(axis=2)  # maps differ in unit by orders of magnitude
        x = x / scale[:, :, None]
        solved = np.linalg.solve(x @ x.swapaxes(1, 2), (x @ y)[:, :, None])[:, :, 0] / scale
        found.append(solved[:, : maps.shape[1]])
    return np.concatenate(found)


def patients_table(change, arm, maps_keep, about):
    """Fisher's z of each participant's change with each receptor map, JuSpace's option 6."""
    z = correlate(change, maps_keep)[1]
    return participant_rows(arm.loc[change.index], about.loc[maps_keep.index], z=z)
