"""Effect sizes of each contrast, and result images."""

import nibabel as nib
import numpy as np

from analysis_lib.vbm.contrasts import is_within_arm
from voxelperm import hedges_correction, nuisance_basis

BLOCK = 2**14  # voxels
P_NAMES = {
    "max_t": "p_fwe_t",
    "cluster_extent": "p_fwe_cluster",
    "cluster_mass": "p_fwe_mass",
    "tfce": "p_fwe_tfce",
}


def effect_sizes(contrast, pre, post, arm, columns=None):
    """Hedges g and percent change in every voxel, adjusted as t is: all three have one sign.

    Parameters
    ----------
    contrast : str
    pre, post : numpy.ndarray
        (n, n_voxels), smoothed maps.
    arm : array_like of str
        (n,).
    columns : array_like, optional
        (n, n_columns), covariates and strata that the difference between arms is adjusted for.

    Returns
    -------
    dict
        g: mean change over the standard deviation of change within an arm; between arms, the
        adjusted difference over the pooled standard deviation of change; times J(df).
        percent: 100 x mean change / mean before treatment; between arms, 100 x adjusted difference
        / mean before treatment in both. Within an arm t, Student's, which tables and maps show
        whatever is tested. Each (n_voxels,); 0 where nothing varies.
    """
    arm, within = np.asarray(arm), is_within_arm(contrast)
    rows = np.isin(arm, [within] if within else ["active", "control"])
    weights = arm_weights(arm[rows], within, columns)
    blocks = [slice(start, start + BLOCK) for start in range(0, pre.shape[1], BLOCK)]
    parts = [_sizes(pre[:, b][rows], post[:, b][rows], arm[rows], weights) for b in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sizes(pre, post, arm, weights):
    """Effect sizes of some voxels: maps of all are not copied in double precision."""
    change = post - pre
    effect = weights @ change.astype(float)
    groups = [change[arm == name] for name in np.unique(arm)]
    df = [len(group) - 1 for group in groups]
    squares = sum(d * g.var(axis=0, ddof=1, dtype=float) for g, d in zip(groups, df, strict=True))
    standardised = _ratio(effect, np.sqrt(squares / sum(df)))
    sizes = {
        "g": standardised * hedges_correction(sum(df)),
        "percent": 100 * _ratio(effect, pre.mean(axis=0, dtype=float)),
    }
    within = len(groups) == 1
    return sizes | ({"t": standardised * np.sqrt(len(arm))} if within else {})


def arm_weights(arm, within, columns):
    """The effect is their product with change: the arm's row of least squares, or a mean, (n,)."""
    if within:
        return np.full(len(arm), 1 / len(arm))
    x = (arm == "active").astype(float)
    basis = nuisance_basis(columns, len(arm), intercept=True)
    x -= basis @ (basis.T @ x)
    return x / (x @ x)


def _ratio(above, below):
    return np.divide(above, below, where=below > 0, out=np.zeros_like(above))


def to_image(values, mask, affine, outside=0.0, dtype=np.float32):
    """Values of a mask's voxels, (n_voxels,) or one for all, as an image; ``outside`` elsewhere."""
    data = np.full(mask.shape, outside, dtype)
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
