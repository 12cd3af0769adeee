"""The picture of one segmented image."""

import nibabel as nib
import numpy as np

from analysis_lib.figures import appearance, draw_maps

MNI_CUTS = {"x": (-36, -4), "z": (-18, 6, 42)}  # mm
CUT_SHARES = {"x": (0.25, 0.48), "z": (0.36, 0.53, 0.77)}  # of the brain's extent


def segmentation_picture(processed, visit, name, study=None):
    """A picture of what became of one image.

    Parameters
    ----------
    processed : analysis_lib.grey_matter.settings.Processed
    visit : str
    name : str
        Written below it.
    study : Study, optional
        Whether it is marked as simulated.

    Returns
    -------
    matplotlib.figure.Figure
        The participant's own image with its brain mask, grey matter on it, the normalised map.
    """
    images = {
        "t1": processed.t1[visit],
        "brain": processed.brain,
        "grey": processed.grey,
        "map": processed.maps[visit],
        "normalised": processed.normalised,
    }
    cuts = {"own": _cuts(processed.brain), "mni": MNI_CUTS}
    with appearance.style():
        fig, axes = appearance.brain_figure(3, 2, height=6.3)
        draw_maps.plot_segmentation(axes, images, cuts)
        fig.text(0.01, 0.005, name, va="bottom", fontsize=7)
        if study is not None:
            appearance.write_marks(fig, appearance.warnings_of(study))
    return fig


def _cuts(brain):
    """Where to cut an image in the participant's own space: shares of the brain's extent, mm."""
    voxels = np.argwhere(np.asarray(brain.dataobj) > 0.5)
    if not len(voxels):
        raise ValueError("a brain mask with at least one voxel expected, found an empty one")
    places = nib.affines.apply_affine(brain.affine, voxels)
    low, across = (dict(zip("xyz", one, strict=True)) for one in (places.min(0), np.ptp(places, 0)))
    return {a: [low[a] + share * across[a] for share in some] for a, some in CUT_SHARES.items()}
