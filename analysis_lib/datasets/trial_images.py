"""Grey-matter maps of the simulated trial's participants."""

import numpy as np
from scipy import ndimage

from analysis_lib.datasets.trial import random_stream
from analysis_lib.datasets.truth import STEP, TOP_VALUE, sigma_voxels


def simulate_pair(trial, participant_id):
    """Grey-matter maps of one participant before and after treatment: int16, in units of ``STEP``.

    Before: template x volume ratio x smooth anatomical variation. After: before x (1 + percent),
    percent being the planted change of a patient in the active arm, plus smooth noise, plus a
    change of the whole map. A participant who withdrew has a post map here too; it was never taken,
    and ``simulate.simulate_study`` does not write it.
    """
    row = trial.participants.set_index("participant_id").loc[participant_id]
    pre = _anatomy(trial, row)
    percent = _noise(trial, row["number"])
    if row["arm"] == "active":
        percent += trial.planted.get_fdata() * (1 + trial.plan.z_slope * row["z"])
    return _as_steps(pre), _as_steps(pre * (1 + percent / 100))


def _anatomy(trial, row):
    """Map before treatment: the planned volume exactly, but for rounding."""
    random = random_stream(trial.seed, row["number"], "anatomy")
    affine = trial.template.affine
    variation = _smooth_field(random, trial.template.shape, trial.plan.anatomy_fwhm, affine)
    local = trial.template.get_fdata() * (1 + trial.plan.anatomy_sd * np.clip(variation, -3, 3))
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return local * (row["grey_ml"] / (local.sum() * voxel_ml))


def _noise(trial, number):
    """Percent: fields whose SD and smoothness are as planned once the maps are smoothed."""
    random = random_stream(trial.seed, number, "noise")
    plan, affine = trial.plan, trial.template.affine
    total = np.full(trial.template.shape, plan.global_sd * random.standard_normal())
    for fwhm, share in zip(plan.noise_fwhm, plan.noise_share, strict=True):
        before = np.sqrt(fwhm**2 - plan.smoothing**2)
        # Smoothing a field of unit variance by a kernel divides its SD by (after / before)^1.5.
        sd = plan.noise_sd * np.sqrt(share) * (fwhm / before) ** 1.5
        total += sd * _smooth_field(random, total.shape, before, affine)
    return total


def _smooth_field(random, shape, fwhm_mm, affine):
    """Gaussian field of zero mean and unit variance, periodic at the edges of the grid."""
    sigma = sigma_voxels(fwhm_mm, affine)
    field = ndimage.gaussian_filter(random.standard_normal(shape), sigma, mode="wrap")
    sd = np.prod([_kernel_norm(n, s) for n, s in zip(shape, sigma, strict=True)])
    return field / sd


def _kernel_norm(n, sigma):
    impulse = np.zeros(n)
    impulse[n // 2] = 1
    return np.linalg.norm(ndimage.gaussian_filter1d(impulse, sigma, mode="wrap"))


def _as_steps(values):
    return np.rint(np.clip(values, 0, TOP_VALUE) / STEP).astype(np.int16)
