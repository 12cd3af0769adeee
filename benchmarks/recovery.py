"""Does the chain find what was planted, and nothing where nothing was?

    python -m benchmarks.recovery            # ten trials with a planted truth, 200 null ones
    python -m benchmarks.recovery --seeds 2 --null-seeds 4

Every trial goes through the library's own functions with the notebooks' defaults, in memory. The
tables are written beside this file. Receptor maps come from neuromaps' cache ($NEUROMAPS_DATA);
without them the receptor columns are empty, and a line says so.
"""

import argparse
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from nilearn.image import smooth_img
from scipy import stats

from analysis_lib.atlas import anatomy, grids, parcellation
from analysis_lib.atlas import distances as atlas_distances
from analysis_lib.datasets.truth import smooth_percent
from analysis_lib.receptors import assessment, densities
from analysis_lib.receptors import surrogates as receptors_surrogates
from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.receptors.dominance_analysis import dominance
from analysis_lib.receptors.library import combine
from analysis_lib.receptors.validity import where_tracers_hold
from analysis_lib.results.contrasts import ARM_BY_TIME, CONTROL_CHANGE, OF_CHANGE
from analysis_lib.study import catalogue, participants
from analysis_lib.study.contract import FRONTAL_LIMBIC
from analysis_lib.vbm import contrasts, planted_truth
from analysis_lib.vbm import effects as vbm_effects
from analysis_lib.vbm import regions as vbm_regions
from analysis_lib.vbm.maps import grey_matter_mask
from benchmarks.simulated_maps import simulate_change_maps

HERE = Path(__file__).parent
FWHM, MASK, COVARIATES = 8.0, 0.2, ["age", "sex"]  # as the notebooks' defaults and demo.yml
LEVEL = 0.05


def main():
    """Run both tables and print them."""
    options = _options()
    maps = _receptor_maps()
    run = Parallel(n_jobs=options.jobs)
    seeds = range(1, options.seeds + 1)
    found = run(delayed(recover)(seed, maps, options.permutations) for seed in seeds)
    _write(pd.DataFrame(found), "recovery.tsv")
    seeds = range(1001, 1001 + options.null_seeds)
    alarms = run(delayed(false_alarms)(seed, maps) for seed in seeds)
    _write(count_alarms(alarms), "false_alarms.tsv")


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--null-seeds", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def _receptor_maps():
    lacking = catalogue.missing()
    if lacking:
        print(f"receptor columns left empty: {len(lacking)} maps are not in the cache")
        return None
    return densities.parcellate()


def _write(table, name):
    table.to_csv(HERE / name, sep="\t", index=False, float_format="%.4g", na_rep="n/a")
    print(f"\n{name}\n{table.to_string(index=False)}")


def recover(seed, maps, n_permutations=1000):
    """One trial at 18 + 18 and 3 mm with the planted truth: what is found of it.

    Returns
    -------
    dict
        For the contrasts in which something is planted: how many of the five frontal-limbic regions
        hold a voxel with family-wise p < .05, the share of true voxels found, and the
        false-discovery proportion; D1's rank by |r| among the maps, its p,
        and its rank by dominance among the receptors whose tracers hold.
    """
    trial = _Trial(seed)
    row = {"seed": seed}
    truth = smooth_percent(trial.sim.planted, trial.sim.template, FWHM).get_fdata()[trial.mask]
    for contrast in OF_CHANGE:
        result = trial.test(contrast, n_permutations, ["max_t", "true_discoveries"])
        recovery = planted_truth.recovery(contrast, result, truth)
        if contrast == CONTROL_CHANGE:
            row["control_false_voxels"] = recovery["significant"]
            continue
        effects = trial.effects(contrast)
        regions = vbm_regions.region_table(result, effects, trial.mask, trial.affine, trial.parcels)
        held = regions.loc[regions["n_voxels_fwe"] > 0, "region"]
        row[f"{contrast}_regions"] = held.isin(FRONTAL_LIMBIC).sum()
        row[f"{contrast}_sensitivity"] = recovery["true_found"] / recovery["true_voxels"]
        row[f"{contrast}_fdp"] = recovery["false_discovery_proportion"]
    return row | _d1(trial, maps, n_permutations)


def _d1(trial, maps, n_permutations):
    if maps is None:
        return {}
    result = trial.receptor_test(ARM_BY_TIME, maps, n_permutations)
    k = result.annotations.index("kaller2017/sch23390")
    rank = stats.rankdata(-np.abs(result.spatial.r))[k]
    return {
        "d1_r": result.spatial.r[k],
        "d1_rank": int(rank),
        "d1_p_randomisation": result.randomisation.p[k],
        "d1_p_fwe": result.randomisation.p_fwe[k],
        "d1_p_spatial": result.spatial.p[k],
        "d1_p_spatial_anatomy": result.spatial_anatomy.p[k],
        "d1_dominance_rank": _dominance_rank(result.effect, maps, trial.parcels),
    }


def _dominance_rank(effect, maps, parcels):
    """Rank of D1 by dominance in one model of all receptors, as in notebook 03."""
    held = where_tracers_hold(maps[effect.index], parcels)[0]
    joint, about = combine(held, catalogue.library().loc[held.index])
    joint = joint.loc[:, joint.notna().all()]
    scores = pd.DataFrame(gaussianise(joint), about["receptor"], joint.columns)
    found = dominance(scores.T, gaussianise(effect[joint.columns]))
    return int(found.total.rank(ascending=False)["D1"])


def false_alarms(seed, maps, resolution=5, n_permutations=199):
    """One null trial, reduced: which families of tests reject at .05.

    Returns
    -------
    dict
        (contrast, what) to bool; what is a voxel or cluster statistic, or a receptor family.
    """
    trial = _Trial(seed, null=True, resolution=resolution)
    rejects = {}
    for contrast in OF_CHANGE:
        result = trial.test(contrast, n_permutations)
        for statistic, p in result.p.items():
            rejects[contrast, statistic] = p.min() <= LEVEL
        if maps is not None:
            test = trial.receptor_test(contrast, maps, n_permutations)
            rejects[contrast, "receptors, slopes"] = test.randomisation.p_fwe.min() <= LEVEL
            rejects[contrast, "receptors, surrogates"] = test.spatial.p_fwe.min() <= LEVEL
    return rejects


def count_alarms(alarms):
    """Rejections by contrast and family, with the rate, its Monte-Carlo error, and a 95 % bound."""
    n = len(alarms)
    keys = pd.DataFrame(list(alarms[0]), columns=["contrast", "family"])
    table = keys.assign(rejected=[sum(alarm[key] for alarm in alarms) for key in alarms[0]])
    rate = table["rejected"].astype(float) / n
    return table.assign(
        trials=n,
        rate=rate,
        monte_carlo_se=np.sqrt(LEVEL * (1 - LEVEL) / n),
        expected_at_most=int(stats.binom.ppf(0.975, n, LEVEL)),
    )


class _Trial:
    """A simulated trial, smoothed and masked as notebook 02 does."""

    def __init__(self, seed, **options):
        self.sim = simulate_change_maps(seed=seed, **options)
        self.affine = self.sim.template.affine
        pre, post = (self._smoothed(maps) for maps in (self.sim.pre, self.sim.post))
        self.mask = grey_matter_mask(np.concatenate([pre, post]), MASK)
        self.pre, self.post = pre[:, self.mask], post[:, self.mask]
        self.arm = self.sim.participants["arm"].replace("sham", "control").to_numpy()
        self.covariates = participants.covariate_matrix(self.sim.participants, COVARIATES)
        self.parcels = parcellation.load_atlas("neuromorphometrics")

    def _smoothed(self, maps):
        images = (nib.Nifti1Image(values, self.affine) for values in maps)
        return np.stack([smooth_img(image, FWHM).get_fdata(dtype="f4") for image in images])

    def test(self, contrast, n_permutations, statistics=None):
        options = {"statistics": statistics} if statistics else {}
        options |= {"n_permutations": n_permutations}
        change = self.post - self.pre
        return contrasts.contrast_test(
            contrast, change, self.mask, self.arm, self.covariates, **options
        )

    def effects(self, contrast):
        return vbm_effects.effect_sizes(contrast, self.pre, self.post, self.arm, self.covariates)

    def receptor_test(self, contrast, maps, n_permutations):
        labels = maps.columns
        whole = nib.Nifti1Image(np.ones(self.sim.template.shape, np.int8), self.affine)
        means = [
            grids.parcel_mean_matrix(m.reshape(len(m), -1), whole, self.parcels, labels)
            for m in (self.sim.pre, self.sim.post)
        ]
        change = vbm_regions.parcel_change(*(m.to_numpy() for m in means), labels).dropna(axis=1)
        distances = atlas_distances.parcel_distances(self.parcels, change.columns)
        distances = atlas_distances.mirrored(distances, self.parcels, change.columns)[0]
        held = anatomy.regional_anatomy(self.parcels, change.columns)
        draws = {"n_permutations": n_permutations, "n_bootstrap": 2}
        surrogates = partial(
            receptors_surrogates.moran_surrogates, distances=distances, n=n_permutations, seed=0
        )
        return assessment.assess_contrast(
            change,
            self.arm,
            maps[change.columns],
            surrogates,
            held,
            contrast,
            self.covariates,
            **draws,
        )


if __name__ == "__main__":
    main()
