"""How often every voxelwise statistic rejects, where nothing is to be found and where something is.

    python -m benchmarks.calibration                      # 1,000 data sets; an hour or two
    python -m benchmarks.calibration --datasets 100

A data set is smooth noise in a small volume; DESIGNS says what is special about it: arms of unequal
size or spread around the same mean, a covariate related to the arm with a spread that follows it,
strata, sites, skewness, uneven smoothness, dependent pairs. Each is tested with the errors that it
names. A design without an effect rejects when its smallest family-wise p is at most the level;
true discoveries are violated when some set of voxels is said to hold more effects than it has.
With an effect the rate of the four statistics is power, and the share of affected voxels that is
discovered stands beside that of parametric ARI (nilearn). The table is written beside this file,
after every 20 data sets.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from nilearn.glm.thresholding import _compute_hommel_value
from scipy import ndimage, stats

from analysis_lib.robustness.calibration import skewed
from voxelperm import STATISTICS, lower_bound, permutation_test

HERE = Path(__file__).parent
MASK, LEVEL, EVERY = np.ones((12, 12, 12), bool), 0.05, 20
AFFECTED = np.zeros(MASK.shape, bool)
AFFECTED[2:6, 2:6, 2:6] = True
AFFECTED = AFFECTED[MASK]
BOTH = ("equal", "unequal")
DISCOVERIES = "true_discoveries"

DESIGNS = {  # arguments of `data`, and the errors to test with
    "18 v 18": ({}, BOTH),
    "12 v 24": ({"n": (12, 24)}, BOTH),
    "8 v 8": ({"n": (8, 8)}, BOTH),
    "24 v 24, active SD x 2": ({"n": (24, 24), "ratio": 2}, BOTH),
    "8 v 8, x 2": ({"n": (8, 8), "ratio": 2}, BOTH),
    "15 v 20, x 1.5": ({"n": (15, 20), "ratio": 1.5}, BOTH),
    "17 v 17, x 1.7": ({"n": (17, 17), "ratio": 1.7}, BOTH),
    "18 v 18, x 2": ({"ratio": 2}, BOTH),
    "12 v 24, x 1.4": ({"n": (12, 24), "ratio": 1.4}, BOTH),
    "12 v 24, x 2": ({"n": (12, 24), "ratio": 2}, BOTH),
    "24 v 12, x 2": ({"n": (24, 12), "ratio": 2}, BOTH),
    "18 v 18, a covariate related to the arm": ({"related": True}, BOTH),
    "the same, spread follows it": ({"related": True, "follows": 0.4}, BOTH),
    "12 v 24, x 2, such a covariate": ({"n": (12, 24), "ratio": 2, "related": True}, BOTH),
    "18 v 18 in two strata": ({"strata": 2}, BOTH),
    "18 v 18 at three sites of unequal spread": ({"strata": 3, "sites": (1, 1.5, 2)}, BOTH),
    "18 v 18, uneven smoothness": ({"uneven": True}, BOTH),
    "12 v 24, x 2, uneven smoothness": ({"n": (12, 24), "ratio": 2, "uneven": True}, BOTH),
    "18 v 18, skewness 1": ({"skewness": 1}, BOTH),
    "12 v 24, skewness 1": ({"n": (12, 24), "skewness": 1}, BOTH),
    "36 as 18 dependent pairs of one arm": ({"pairs": True}, BOTH),
    "18 v 18, labels and signs": ({"options": {"sign_flip": "both"}}, ("equal",)),
    "18 v 18, pseudo-t": ({"options": {"variance_fwhm": 3.0}}, ("equal",)),
    "one arm of 18": ({"n": (18, 0)}, ("equal", "skewed")),
    "one arm of 12, skewness 1": ({"n": (12, 0), "skewness": 1}, ("equal", "skewed")),
    "one arm of 18, skewness 0.5": ({"n": (18, 0), "skewness": 0.5}, ("equal", "skewed")),
    "one arm of 18, skewness 1": ({"n": (18, 0), "skewness": 1}, ("equal", "skewed")),
    "one arm of 18, skewness 2": ({"n": (18, 0), "skewness": 2}, ("equal", "skewed")),
    "one arm of 24, skewness 1": ({"n": (24, 0), "skewness": 1}, ("equal", "skewed")),
    "effect, 18 v 18": ({"effect": 1.05}, BOTH),
    "effect, 12 v 24": ({"n": (12, 24), "effect": 1.05}, BOTH),
    "effect, 18 v 18, x 1.7": ({"ratio": 1.7, "effect": 1.45}, BOTH),
    "effect, 12 v 24, x 2": ({"n": (12, 24), "ratio": 2, "effect": 2.0}, BOTH),
    "effect, one arm of 18": ({"n": (18, 0), "effect": 0.75}, ("equal", "skewed")),
    "effect, one arm of 18, skewness 1": (
        {"n": (18, 0), "effect": 0.75, "skewness": 1},
        ("equal", "skewed"),
    ),
}


def main():
    """Count in every design, and write the table as data sets are done."""
    options = _options()
    run = Parallel(n_jobs=options.jobs, return_as="generator")
    done = run(delayed(data_set)(seed, options.permutations) for seed in range(options.datasets))
    rows = []
    for number, found in enumerate(done, 1):
        rows += found
        if number % EVERY == 0 or number == options.datasets:
            table = rates(pd.DataFrame(rows), options.permutations)
            table.to_csv(options.table, sep="\t", index=False, float_format="%.4g", na_rep="n/a")
    print(table.to_string(index=False))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--table", type=Path, default=HERE / "calibration.tsv")
    return parser.parse_args()


def data_set(seed, n_permutations):
    """One row per design and kind of errors: what each statistic found."""
    rows = []
    for name, (special, kinds) in DESIGNS.items():
        arguments, affected = data(seed, **special), special.get("effect", 0) != 0
        for errors in kinds:
            result = permutation_test(
                **arguments,
                errors=errors,
                seed=seed,
                n_permutations=n_permutations,
                statistics=(*STATISTICS, DISCOVERIES),
            )
            rows.append({"design": name, "errors": errors} | outcome(result, affected))
    return rows


def outcome(result, affected):
    """Whether each statistic rejects, whether discoveries are false, and how many are made."""
    found = {name: result.p[name].min() <= LEVEL + 1e-12 for name in STATISTICS}
    untouched = ~AFFECTED if affected else np.full(AFFECTED.shape, True)
    found[DISCOVERIES] = result.true_discoveries(untouched, LEVEL) > 0
    if affected:
        found["share_discovered"] = result.true_discoveries(AFFECTED, LEVEL) / AFFECTED.sum()
        p = 2 * stats.t.sf(np.abs(result.t), result.df)
        h = _compute_hommel_value(stats.norm.isf(p), LEVEL)
        ari = lower_bound(p[AFFECTED], len(p), LEVEL * len(p) / max(h, 1))
        found["share_discovered_ari"] = ari / AFFECTED.sum()
    return found


def data(
    seed,
    n=(18, 18),
    ratio=1,
    skewness=0,
    effect=0,
    related=False,
    follows=0,
    strata=0,
    sites=None,
    uneven=False,
    pairs=False,
    options=None,
):
    """Arguments of the test: maps of noise, with what is special about the design.

    ``ratio``: SD of the active arm over that of the control arm. ``effect``: on AFFECTED voxels of
    the active arm. ``related``: a covariate that differs between the arms by one SD and acts on all
    voxels; the logarithm of the SD ``follows`` it. ``strata``: blocks of different means, with the
    SD of ``sites``; the arms are not balanced over them. ``pairs``: half of the variance is that of
    neighbours, who are of one arm.
    """
    rng, arm = np.random.default_rng(seed), np.repeat([1.0, 0.0], n)
    maps = skewed(noise(rng, len(arm), uneven), skewness)
    if pairs:
        maps = (maps + np.repeat(maps[::2], 2, axis=0)) / np.sqrt(2)
    spread, mean, found = np.where(arm, ratio, 1.0), np.zeros(len(arm)), {"tested": arm}
    if related:
        covariate = rng.standard_normal(len(arm)) + arm
        spread, mean = spread * np.exp(follows * covariate), mean + 0.5 * covariate
        found["nuisance"] = covariate
    if strata:
        found["blocks"] = block = (np.arange(len(arm)) % (strata + 1)) % strata
        spread, mean = spread * np.array(sites or [1] * strata)[block], mean + block
    if pairs:
        found |= {"blocks": np.arange(len(arm)) // 2, "exchange": "whole"}
    if not n[1]:
        found["sign_flip"] = True
    maps = maps * spread[:, None] + mean[:, None] + effect * np.outer(arm, AFFECTED)
    return {"maps": maps, "mask": MASK, **found, **(options or {})}


def noise(rng, n, uneven):
    """Smooth Gaussian maps of unit variance, (n, n_voxels)."""
    white = rng.standard_normal((n, *MASK.shape))
    maps = ndimage.gaussian_filter(white, (0, 1.5, 1.5, 1.5), mode="wrap")
    maps /= maps.std()
    if uneven:
        rough = ndimage.gaussian_filter(white, (0, 0.8, 0.8, 0.8), mode="wrap")
        maps[:, :6] = rough[:, :6] / rough.std()
    return maps[:, MASK]


def rates(found, n_permutations):
    """Mean of each outcome, one row per design, errors and outcome, with Monte-Carlo error."""
    rows = []
    for (design, errors), group in found.groupby(["design", "errors"], sort=False):
        for statistic, values in group.drop(columns=["design", "errors"]).items():
            values = values.dropna().astype(float)
            if len(values):
                rows.append(
                    {
                        "design": design,
                        **special_of(design),
                        "errors": errors,
                        "statistic": statistic,
                        "level": LEVEL,
                        "n_datasets": len(values),
                        "rejected": values.mean(),
                        "monte_carlo_se": values.std(ddof=0) / np.sqrt(len(values)),
                        "verdict": verdict(design, statistic, values),
                        "n_permutations": n_permutations,
                    }
                )
    return pd.DataFrame(rows)


def special_of(design):
    """Numbers of a design, for who looks for the one that is most like a trial; "other": more."""
    special = {"n": (18, 18), "ratio": 1, "skewness": 0, **DESIGNS[design][0]}
    (n_active, n_control), ratio, skewness = (special.pop(k) for k in ("n", "ratio", "skewness"))
    sizes = {"n_active": n_active, "n_control": n_control, "sd_ratio": ratio}
    return sizes | {"skewness": skewness, "other": ", ".join(special) or "n/a"}


def verdict(design, statistic, values):
    """Whether the rate is the level's, within the 99 % interval of a binomial; or it is power."""
    if "effect" in design and statistic != DISCOVERIES:
        return "power" if statistic in STATISTICS else "share"
    low, high = stats.binom.interval(0.99, len(values), LEVEL)
    count = values.sum()
    return "above" if count > high else "below" if count < low else "as stated"


if __name__ == "__main__":
    main()
