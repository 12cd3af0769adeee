"""Power of the voxel maps by effect size and extent: the study's own difference maps, resampled."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import KDTree

from analysis_lib.results.problems import NotComputed
from analysis_lib.results.section import Section
from analysis_lib.robustness import power
from analysis_lib.robustness.power_closed_forms import LEVEL, t_power
from analysis_lib.vbm.scans import read_scans, smooth

SIZES = np.round(np.arange(0, 2.51, 0.1), 10)  # true change, in SDs of change within an arm
NAMED, ANY = "voxel named beforehand", "one voxel"
ACROSS_MM = (12, 24)  # spheres in which all of the change is
N_PLACES = 20  # where the change is put, at random in the mask
HELD = 20  # trials whose maps are held together
NULL_TRIALS = 5  # trials without change, for the threshold, per simulated trial


def voxel_power(study, n_trials, multiples, seed=0, n_jobs=1):
    """Power to find a change of volume by its size, its extent and the number of participants.

    Residuals of the study's difference maps, as notebook 02 smoothed them, are drawn with
    replacement within arms and with random signs; t has the HC2 error, which for two arms is
    Welch's. The threshold is the 95th percentile of the largest |t| over the mask in such trials,
    one per size. A change found is one with a significant voxel inside it; what is observed at its
    highest voxel, over the truth, is the winner's curse.

    Parameters and value as `clinical_power`; the unit is the SD of change within arms, the same
    everywhere in a sphere; closed_form is the t test of one voxel at the same threshold.

    Raises
    ------
    NotComputed
        Without maps, or before notebook 02.
    """
    before = Section(study, "vbm")
    if not (before.folder / "mask.nii.gz").is_file():
        raise NotComputed("no results of notebook 02 on images")
    shared = _noise(study, before.json("settings"), np.random.default_rng(seed))
    sizes = power.sizes_of(*(len(shared["maps"].get(a, ())) for a in power.ARMS), multiples)
    options = {"seed": seed} | study.work("power", n_jobs)
    many = {"n_trials": NULL_TRIALS * n_trials, "per_block": 500}
    null = power.simulate(largest, sizes, shared=shared, **many, **options)
    limits = {n: np.quantile(own, 1 - LEVEL) for n, own in null.items()}
    options["seed"] = seed + 1
    shared |= {"limits": limits}
    draws = power.simulate(found_there, sizes, n_trials, shared, **options)
    tables = []
    for multiple, size in sizes.items():
        for k, (setting, _, corrected) in enumerate(shared["settings"]):
            rows = power.curve(draws[size][:, k], SIZES, size, multiple=multiple, setting=setting)
            limit = limits[size] if corrected else None
            single = t_power(SIZES, *size, limit=limit) if setting in (NAMED, ANY) else np.nan
            tables.append(rows.assign(closed_form=single))
    return pd.concat(tables).assign(question="voxels", unit="SD of change")


def _noise(study, settings, rng):
    """Residual maps of each arm, their SD, and voxels of the places by distance."""
    options = (settings[name] for name in ("fwhm_mm", "mask_threshold", "tiv"))
    maps = smooth(read_scans(study), *options)
    held = 1 if maps.columns is None else 1 + maps.columns.shape[1]
    rows, arm = maps.residuals(), np.asarray(maps.arm)
    rows *= np.sqrt(len(rows) / (len(rows) - held - (1 if study.arms else 0)))
    sd = np.sqrt(np.square(rows).mean(axis=0))
    usable = sd > 0
    where = np.argwhere(maps.mask)[usable] @ maps.affine[:3, :3].T
    names = [(NAMED, 0, False), (ANY, 0, True)]
    names += [(f"sphere, {mm} mm across", mm / 2, True) for mm in ACROSS_MM]
    return {
        "maps": {a: rows[arm == a][:, usable] for a in power.ARMS if (arm == a).any()},
        "sd": sd[usable],
        "places": places(where, rng, [radius for _, radius, _ in names]),
        "settings": names,
    }


def places(where, rng, radii, n=N_PLACES):
    """Voxels around random ones: of each place and radius (mm), positions in the mask."""
    centres = rng.choice(len(where), n)
    tree = KDTree(where)
    return [[np.array(tree.query_ball_point(where[c], r + 1e-6)) for r in radii] for c in centres]


def t_parts(maps, sizes, n_draws, rng):
    """Mean difference (or mean) and its error in trials without an effect, (n_draws, n_voxels)."""
    estimate, variance = 0, 0
    for pool, n, side in zip(maps.values(), sizes, (1, -1), strict=False):
        who = rng.integers(len(pool), size=(n_draws, n))
        signs = rng.choice((-1.0, 1.0), size=who.shape)
        rows = np.arange(n_draws)[:, None]
        signed, counted = np.zeros((2, n_draws, len(pool)), np.float32)
        np.add.at(signed, (rows, who), signs)
        np.add.at(counted, (rows, who), 1)
        mean = signed @ pool / n
        estimate = estimate + side * mean
        variance = variance + (counted @ pool**2 - n * mean**2) / (n - 1) / n
    return estimate, np.sqrt(np.maximum(variance, 1e-12))


def largest(part, shared):
    """Largest |t| over the mask in trials without an effect, (n,)."""
    *sizes, n_draws, seed = part
    rng, maps, found = np.random.default_rng(seed), shared["maps"], []
    for start in range(0, n_draws, HELD):
        estimate, se = t_parts(maps, sizes, min(HELD, n_draws - start), rng)
        found.append(np.abs(estimate / se).max(axis=1))
    return np.concatenate(found)


def found_there(part, shared):
    """Tallies of each setting, means over the places, (n, n_settings, 3, n_effects)."""
    *sizes, n_draws, seed = part
    union = np.unique(np.concatenate([own[-1] for own in shared["places"]]))
    maps = {arm: pool[:, union] for arm, pool in shared["maps"].items()}
    sd = shared["sd"][union]
    estimate, se = (x / sd for x in t_parts(maps, sizes, n_draws, np.random.default_rng(seed)))
    df = sum(sizes) - len(maps)
    limits = shared["limits"][tuple(sizes)], stats.t.isf(LEVEL / 2, df)
    tallies = np.zeros((n_draws, len(shared["settings"]), 3, len(SIZES)))
    for place in shared["places"]:
        for k, (own, (_, _, corrected)) in enumerate(zip(place, shared["settings"], strict=True)):
            at = np.searchsorted(union, own)
            tallies[:, k] += peak_tally(estimate[:, at], se[:, at], limits[not corrected])
    return tallies / len(shared["places"])


def peak_tally(estimate, se, limit):
    """`power.tally` at the voxel with the largest |t|, (n_draws, 3, n_effects)."""
    moved = estimate[..., None] + SIZES
    t = moved / se[..., None]
    peak = np.abs(t).argmax(axis=1)[:, None]
    moved, t = (np.take_along_axis(x, peak, axis=1)[:, 0] for x in (moved, t))
    return power.counted(moved, np.abs(t) > limit)
