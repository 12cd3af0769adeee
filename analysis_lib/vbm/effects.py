"""Effect sizes of each contrast, and result images."""

import nibabel as nib
import numpy as np

from analysis_lib.results.contrasts import ARM_BY_TIME
from analysis_lib.vbm.contrasts import is_within_arm
from voxelperm import hedges_correction

P_NAMES = {
    "max_t": "p_fwe_t",
    "cluster_extent": "p_fwe_cluster",
    "cluster_mass": "p_fwe_mass",
    "tfce": "p_fwe_tfce",
}


def effect_sizes(contrast, pre, post, arm):
    """Hedges g and percent change in every voxel, not adjusted for covariates.

    Parameters
    ----------
    contrast : str
    pre, post : numpy.ndarray
        (n, n_voxels), smoothed maps.
    arm : array_like of str
        (n,).

    Returns
    -------
    dict
        g: mean change over the standard deviation of change within an arm; between arms, the
        difference of mean changes over the pooled standard deviation of change; times J(df).
        percent: 100 x mean change / mean before treatment; between arms, the difference of these.
        Each (n_voxels,); 0 where nothing varies.
    """
    arm = np.asarray(arm)
    names = ["active", "control"] if contrast == ARM_BY_TIME else [is_within_arm(contrast)]
    change = post - pre
    means = [change[arm == name].mean(axis=0, dtype=float) for name in names]
    before = [pre[arm == name].mean(axis=0, dtype=float) for name in names]
    df = [(arm == name).sum() - 1 for name in names]
    squares = [
        d * change[arm == n].var(axis=0, ddof=1, dtype=float)
        for n, d in zip(names, df, strict=True)
    ]
    spread = np.sqrt(sum(squares) / sum(df))
    signs = [1, -1][: len(names)]
    difference = sum(s * m for s, m in zip(signs, means, strict=True))
    percent = [
        np.divide(100 * m, b, where=b > 0, out=np.zeros_like(m))
        for m, b in zip(means, before, strict=True)
    ]
    g = np.divide(difference, spread, where=spread > 0, out=np.zeros_like(difference))
    return {
        "g": g * hedges_correction(sum(df)),
        "percent": sum(s * p for s, p in zip(signs, percent, strict=True)),
    }


def to_image(values, mask, affine, outside=0.0):
    """Put the values of a mask's voxels into an image.

    Parameters
    ----------
    values : numpy.ndarray
        (n_voxels,), or one value for all.
    mask : numpy.ndarray of bool
        (x, y, z).
    affine : numpy.ndarray
        (4, 4).
    outside : float
        Value of the other voxels: 0, or 1 for maps of p.

    Returns
    -------
    nibabel.Nifti1Image
        float32.
    """
    data = np.full(mask.shape, outside, np.float32)
    data[mask] = values
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b""
    return image


def result_images(contrast, result, effects, mask, affine):
    """The images of one contrast by name: t, g, percent, and p of each statistic.

    Returns
    -------
    dict of str to nibabel.Nifti1Image
    """
    maps = {"t": result.t, **effects}
    images = {f"{contrast}_{k}": to_image(v, mask, affine) for k, v in maps.items()}
    for statistic, p in result.p.items():
        images[f"{contrast}_{P_NAMES[statistic]}"] = to_image(p, mask, affine, outside=1.0)
    return images
