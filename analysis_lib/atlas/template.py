"""The template's grey matter."""

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_gm_template
from nilearn.image import resample_img

SPACE = "MNI152NLin2009aSym"  # the template that nilearn packages


def grey_matter_template(resolution=3):
    """nilearn's packaged MNI grey-matter template: probability 0 to 1, float32, no download.

    Voxels have any ``resolution`` in mm; other than 1 mm, they are interpolated linearly from it.
    """
    if not 1 <= resolution <= 10:
        raise ValueError(f"resolution: voxel size from 1 to 10 mm expected, found {resolution}")
    image = load_mni152_gm_template(resolution=1)
    if resolution != 1:
        image = resample_img(
            image,
            np.eye(3) * resolution,
            interpolation="linear",
            force_resample=True,
            copy_header=True,
        )
    return mni_image(np.clip(image.get_fdata(dtype=np.float32), 0, 1), image.affine)


def mni_image(data, affine, slope=None, top=None):
    """Image with a clean header: MNI space, mm, range of display, no description left over."""
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.set_sform(affine, "mni")
    image.set_qform(affine, "mni")
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = data.max() if top is None else top
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    return image
