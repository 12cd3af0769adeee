"""What the demo trial is made of: doses of effect, D1 weights, the planted change."""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import norm

from analysis_lib.atlas.grids import labels_on_grid
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.atlas.template import mni_image
from analysis_lib.study.items import HAMD17_ITEMS

VISITS = {"baseline": 0, "week1": 1, "week2": 2, "week3": 3}

STEP = 1e-4  # maps are rounded to this and stored as integers
TOP_VALUE = 1.3  # largest value of a map

SIMULATED = "SIMULATED data: no patient, no scanner. Made by analysis_lib.datasets.simulate."

# Weight of each class of regions relative to the putamen, two digits. They are voxel-weighted means
# of the [11C]SCH23390 binding map of 13 healthy volunteers (Kaller et al. 2017, Eur J Nucl Med Mol
# Imaging 44:1025-1032, doi 10.1007/s00259-017-3645-0) over neuromorphometrics regions; the order,
# striatum >> limbic > neocortex > cerebellum, is also that of autoradiography (Hall et al. 1994,
# Neuropsychopharmacology 11:245-256). One class departs from the map: "occipital" has the value of
# the lateral and polar gyri (the medial ones are .22 in the map), so that one whole lobe is without
# a planted change.
_D1 = pd.read_csv(Path(__file__).with_name("truth.tsv"), sep="\t", encoding="utf-8")
D1_WEIGHTS = dict(zip(_D1["name"], _D1["weight"], strict=True))
D1_REGIONS = dict(zip(_D1["name"], _D1["regions"].str.split("; ").map(tuple), strict=True))

# The items of HAMD-17: what they rate, highest score, how early an item rises.
_RISES = (1.2, 0.3, -0.6, 0.6, 0.5, 0.4, 1.0, -0.2, -0.5, 0.6, 0.2, 0.1, 0.8, 0.4, -0.7, -0.4, -0.8)
HAMD_ITEMS = tuple(
    (what, top, rises) for (what, top), rises in zip(HAMD17_ITEMS, _RISES, strict=True)
)


@dataclass(frozen=True)
class Plan:
    """Everything that is planted, and how noisy it is.

    Grey matter in percent of the pre-treatment map, volumes in ml, scores in scale points, one
    number per visit after baseline where there are three.
    """

    top_percent: float = 6.0  # change where the D1 weight is 1
    lowest_weight: float = 0.15  # no change below this weight
    z_slope: float = 0.5  # a patient's change is planted x (1 + z_slope z)
    z_correlation: float = 0.6  # of z with latent HAMD-17 improvement at the last visit
    noise_sd: float = 1.0  # of post - pre at a voxel, after smoothing
    noise_fwhm: tuple = (14.0, 30.0)  # mm, after smoothing
    noise_share: tuple = (0.7, 0.3)  # of the variance
    global_sd: float = 0.3  # of the whole map, beside noise_sd
    smoothing: float = 8.0  # mm, the smoothing that the noise numbers refer to
    ratio_mean: float = 0.65  # volume of a map / volume of the template
    ratio_sd: float = 0.07  # before volumes outside grey_ml are left out
    grey_ml: tuple = (505.0, 775.0)  # before treatment; leaves room for the change
    tiv_ml: tuple = (1200.0, 1750.0)
    anatomy_sd: float = 0.08  # share of local volume, between participants
    anatomy_fwhm: float = 20.0  # mm
    baseline_mean: float = 22.5  # HAMD-17, before the lowest are left out
    baseline_sd: float = 4.2
    baseline_lowest: float = 17.0  # inclusion criterion
    baseline_slope: float = 0.85  # of later scores on baseline
    change_control: tuple = (-2.5, -4.5, -6.0)  # HAMD-17, mean change
    arm_difference: tuple = (-1.2, -3.0, -4.5)  # HAMD-17, active - control
    residual_sd: tuple = (3.2, 4.4, 5.3)
    residual_correlation: tuple = (0.68, 0.55)  # one visit apart, two visits apart
    hama_intercept: float = 3.5
    hama_slope: float = 0.72  # points of HAMA for a point of HAMD-17
    hama_person_sd: float = 3.0
    hama_visit_sd: float = 2.0

    @property
    def baseline_expected(self):
        """Mean HAMD-17 at baseline of those included."""
        cut = (self.baseline_lowest - 0.5 - self.baseline_mean) / self.baseline_sd
        return self.baseline_mean + self.baseline_sd * norm.pdf(cut) / norm.sf(cut)


# As real data have it: after electroconvulsive therapy the mean change of no region exceeds 2.9 %,
# and its SD is 2.57 % in the median region (argyelan_ect, FreeSurfer, response included), where the
# demo's control arm has .73 %. README.md and appendix S5 compare the two.
REALISTIC = Plan(top_percent=3.0, noise_sd=3.5, global_sd=1.05)


@dataclass(frozen=True)
class Trial:
    """A simulated trial without its maps, which ``trial_images.simulate_pair`` makes one by one.

    participants: one row each, with number, arm (active or sham), z and grey_ml (planned volume
    before treatment). scores: one row per rating, missing at a missed visit. template (0 to 1) and
    planted (change, percent) are on the maps' grid; truth is what truth.json holds.
    """

    seed: int
    plan: Plan
    participants: pd.DataFrame
    scores: pd.DataFrame
    template: nib.Nifti1Image
    planted: nib.Nifti1Image
    truth: dict = field(repr=False)


def planted_change(grid, plan=None):
    """Percent change planted in an average active patient, unsmoothed, float32.

    top_percent x sqrt(weight), and exactly 0 where the weight is below lowest_weight.
    """
    percent = percent_change(_weights_on(grid), plan or Plan())
    return mni_image(percent.astype(np.float32), grid.affine)


def percent_change(weight, plan):
    """Planted percent change for a D1 weight (number or array)."""
    weight = np.asarray(weight, dtype=float)
    return np.where(weight < plan.lowest_weight, 0.0, plan.top_percent * np.sqrt(weight))


def _weights_on(grid, reach=10.0):
    """Weight of the nearest labelled grey matter at every voxel, 0 beyond `reach` mm of one."""
    table = load_atlas("neuromorphometrics").table
    weight_of = {region: D1_WEIGHTS[k] for k, regions in D1_REGIONS.items() for region in regions}
    by_label = np.full(table.index.max() + 1, np.nan)
    by_label[table.index] = table["region"].map(weight_of)
    weights = by_label[labels_on_grid("neuromorphometrics", grid.shape, grid.affine)]
    # The template has grey matter at voxels that the atlas calls white matter or leaves empty.
    distance, nearest = ndimage.distance_transform_edt(
        np.isnan(weights), sampling=nib.affines.voxel_sizes(grid.affine), return_indices=True
    )
    return np.where(distance <= reach, weights[tuple(nearest)], 0.0)


def smooth_percent(percent, template, fwhm_mm):
    """Percent change that remains after smoothing: smooth(template x percent) / smooth(template).

    0 where there is no grey matter within reach of the kernel.
    """
    grey = template.get_fdata()
    sigma = sigma_voxels(fwhm_mm, template.affine)
    above = ndimage.gaussian_filter(grey * percent.get_fdata(), sigma, mode="constant")
    below = ndimage.gaussian_filter(grey, sigma, mode="constant")
    smoothed = np.divide(above, below, out=np.zeros_like(above), where=below > 1e-6)
    return mni_image(smoothed.astype(np.float32), template.affine)


def sigma_voxels(fwhm_mm, affine):
    """Standard deviation in voxels of a Gaussian of this width."""
    return fwhm_mm / np.sqrt(8 * np.log(2)) / nib.affines.voxel_sizes(affine)
