"""Family-wise error of every voxelwise statistic where nothing is to be found.

    python -m benchmarks.calibration                      # 1,000 null data sets; some minutes
    python -m benchmarks.calibration --datasets 100

Then arms of unequal size and spread around the same mean, which break what relabelling assumes.
A data set is smooth Gaussian noise in a small volume, 18 + 18 participants, and two covariates that
act on every voxel; the first one differs between the arms. A design rejects when its smallest
family-wise p is at most the level. The rate must lie within Monte-Carlo error of the level, or
below it where few distinct values make a statistic conservative. The table is written beside this
file.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import ndimage, stats

from voxelperm import STATISTICS, permutation_test

HERE = Path(__file__).parent
SHAPE, FWHM_VOXELS, N_ARM = (16, 16, 16), 3.0, 18
LEVEL = 0.05


def main():
    """Count rejections in every design, and write the table."""
    options = _options()
    run = Parallel(n_jobs=options.jobs, verbose=0)
    seeds = range(options.datasets)
    found = run(delayed(smallest_p)(seed, options.permutations) for seed in seeds)
    table = rates(pd.DataFrame([row for rows in found for row in rows]))
    table.insert(len(table.columns), "n_permutations", options.permutations)
    table.to_csv(HERE / "calibration.tsv", sep="\t", index=False, float_format="%.4g")
    print(table.to_string(index=False))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def null_data(seed):
    """Maps (36, n_voxels) without any effect of the arm, the mask, the arms and covariates."""
    rng = np.random.default_rng(seed)
    mask = np.ones(SHAPE, bool)
    arm = np.repeat([1.0, 0.0], N_ARM)
    covariates = rng.standard_normal((2 * N_ARM, 2))
    covariates[:, 0] += 0.5 * arm
    sigma = FWHM_VOXELS / np.sqrt(8 * np.log(2))
    noise = rng.standard_normal((2 * N_ARM, *SHAPE))
    noise = ndimage.gaussian_filter(noise, (0, sigma, sigma, sigma), mode="wrap")[:, mask]
    return noise / noise.std() + covariates @ [[0.5], [-0.3]], noise, mask, arm, covariates


def designs(seed):
    """Arguments of the test, by the name of the design."""
    maps, noise, mask, arm, covariates = null_data(seed)
    strata = np.tile([0, 0, 1], 2 * N_ARM // 3)
    pairs = np.repeat(np.arange(N_ARM), 2)  # of one arm each, with half of their variance in common
    shared = np.repeat(noise[::2], 2, axis=0) + noise
    between = {"tested": arm, "nuisance": covariates, "errors": "equal"}
    within = {"tested": np.ones(N_ARM), "sign_flip": True}
    return {
        "arm difference": {"maps": maps, "mask": mask, **between},
        "arm difference in strata": {"maps": maps, "mask": mask, **between, "blocks": strata},
        "arm difference, labels and signs": {
            "maps": maps,
            "mask": mask,
            **between,
            "sign_flip": "both",
        },
        "arm difference, pseudo-t": {"maps": maps, "mask": mask, **between, "variance_fwhm": 3.0},
        "arm difference of dependent pairs": {
            "maps": shared,
            "mask": mask,
            "tested": arm,
            "blocks": pairs,
            "exchange": "whole",
            "errors": "equal",
        },
        "one arm, sign flips": {"maps": noise[:N_ARM], "mask": mask, **within},
    }


UNEQUAL_ARMS = {  # participants in the active and the control arm, ratio of their spread of change
    "18 v 18": (18, 18, 1),
    "8 v 8": (8, 8, 1),
    "8 v 8, active SD x 2": (8, 8, 2),
    "15 v 20, x 1.5": (15, 20, 1.5),
    "17 v 17, x 1.7": (17, 17, 1.7),
    "18 v 18, x 2": (18, 18, 2),
    "12 v 24, x 1.4": (12, 24, 1.4),
    "12 v 24, x 2": (12, 24, 2),
    "24 v 12, x 2": (24, 12, 2),
}


def unequal_arms(seed):
    """Arms that vary differently around the same mean, tested with equal and unequal errors."""
    mask, found = np.ones((12, 12, 12), bool), {}
    for words, (n_active, n_control, ratio) in UNEQUAL_ARMS.items():
        rng, arm = np.random.default_rng(seed), np.repeat([1.0, 0.0], [n_active, n_control])
        noise = rng.standard_normal((len(arm), *mask.shape))
        maps = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 1.5))[:, mask]
        maps *= np.where(arm, ratio, 1)[:, None] / maps.std()
        for errors in ("equal", "unequal"):
            design = {"maps": maps, "mask": mask, "tested": arm, "errors": errors}
            found[f"{words}: errors {errors}"] = design
    return found


def smallest_p(seed, n_permutations):
    """One row a design: the smallest family-wise p of every statistic."""
    options = {"n_permutations": n_permutations, "seed": seed}
    rows = []
    for name, arguments in (designs(seed) | unequal_arms(seed)).items():
        p = permutation_test(**arguments, **options).p
        rows.append({"design": name} | {s: p[s].min() for s in STATISTICS})
    return rows


def rates(smallest):
    """Rejections at the level, one row a design and statistic, with their Monte-Carlo error."""
    rows = []
    for design, group in smallest.groupby("design", sort=False):
        for statistic in STATISTICS:
            n, count = len(group), int((group[statistic] <= LEVEL + 1e-12).sum())
            low, high = stats.binom.interval(0.99, n, LEVEL)
            row = {"design": design, "statistic": statistic, "level": LEVEL, "n_datasets": n}
            row |= {"rejected": count / n, "monte_carlo_se": np.sqrt(LEVEL * (1 - LEVEL) / n)}
            row |= {"expected_low": low / n, "expected_high": high / n}
            row["verdict"] = "above" if count > high else "below" if count < low else "as stated"
            rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
