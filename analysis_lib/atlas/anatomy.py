"""What a region's place and size alone would give it: head anatomy by region."""

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from analysis_lib.atlas.grids import known_labels, parcel_means
from analysis_lib.atlas.naming import VENTRICLES
from analysis_lib.atlas.parcellation import label_array, load_atlas


def regional_anatomy(atlas="neuromorphometrics", labels=None):
    """Four properties of each region that artefacts follow, at most (4, n_parcels), by label.

    `ventricle_distance`: mean distance of the region's voxels to the ventricles, mm, which are
    those of the packaged neuromorphometrics whatever ``atlas`` is. `depth`: mean distance to the
    edge of the template's brain mask, mm. `log_size`: natural logarithm of the volume, mm3.
    `grey_density`: mean grey-matter density of the MNI template. NaN where a region has no voxel.
    A property that is the same in every region, such as the size of equal parcels, is left out.
    """
    from nilearn.datasets import load_mni152_brain_mask  # slow to import, as is the next

    from analysis_lib.atlas.template import grey_matter_template

    atlas = load_atlas(atlas)
    labels = known_labels(atlas, labels)
    packaged = load_atlas("neuromorphometrics").image
    outside = ~np.isin(label_array(packaged), VENTRICLES)
    brain = load_mni152_brain_mask(resolution=2)
    rows = {
        "ventricle_distance": parcel_means(_distances(outside, packaged), atlas),
        "depth": parcel_means(_distances(np.asarray(brain.dataobj) > 0, brain), atlas),
        "log_size": np.log(_volumes(atlas, labels)),
        "grey_density": parcel_means(grey_matter_template(3), atlas),
    }
    table = pd.DataFrame({name: values.reindex(labels) for name, values in rows.items()}).T
    return table[table.nunique(axis=1) > 1]


def _distances(inside, image):
    """Distance of each voxel inside to the nearest outside, mm, as an image."""
    sampling = image.header.get_zooms()[:3]
    apart = ndimage.distance_transform_edt(inside, sampling=sampling)
    return nib.Nifti1Image(apart.astype(np.float32), image.affine)


def _volumes(atlas, labels):
    """Volume of each region, mm3; NaN where it has no voxel."""
    counts = np.bincount(label_array(atlas.image).ravel(), minlength=labels.max() + 1)[labels]
    voxel = abs(np.linalg.det(atlas.image.affine[:3, :3]))
    return pd.Series(np.where(counts > 0, counts * voxel, np.nan), index=labels)
