"""Settings and templates of the way from T1-weighted images to grey-matter maps."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from nilearn.image import resample_img

from analysis_lib.atlas import files
from analysis_lib.atlas.parcellation import label_array, load_atlas
from analysis_lib.grey_matter.images import image_like
from analysis_lib.grey_matter.itk import ants

SPACE = "MNI152NLin2009aSym"  # nilearn's packaged template
TISSUES = ("csf", "grey", "white", "deep")
# Brighter than cortex: a class of their own (Tustison et al. 2014, NeuroImage 99:166), counted as
# grey matter afterwards. With one class of grey matter putamen is called white.
DEEP = ("Accumbens Area", "Caudate", "Pallidum", "Putamen", "Thalamus Proper")
DEEP_BLUR = 1.5  # mm, standard deviation: edges of the atlas are not sharper than that in a person


@dataclass(frozen=True)
class Settings:
    """Everything that the numbers depend on; written beside every map.

    Iterations are counts at each resolution, the coarsest first; radii are of windows whose
    correlation is compared; smoothing is the standard deviation of Gaussians.
    """

    working_mm: float = 2.0  # voxels of the midpoint space, of comparison and segmentation
    output_mm: float = 1.5  # voxels of the maps in MNI152
    # Of comparisons with the templates and between visits, unless working_mm is larger. Finer
    # ones cost eight times as much and change little: what is compared is smoother than that.
    coarse_mm: float = 2.0
    affine_iterations: tuple = (1000, 500, 100, 0)  # of every affine stage
    head_iterations: tuple = (100, 70, 30)  # of the deformation to the whole-head template
    head_radius: int = 2  # voxels
    head_smoothing: tuple = (2.0, 1.0)  # voxels: of each step of the deformation, of the whole
    head_margin_mm: float = 24.0  # what is kept around the brain for its extraction
    mni_iterations: tuple = (60, 40, 20)  # of the deformation to MNI152
    visit_iterations: tuple = (50, 40, 20)  # of that between the visits
    visit_blur_mm: float = 1.5  # of both visits before comparison
    visit_radius: int = 3  # voxels
    visit_smoothing: tuple = (5.0, 1.5)  # as head_smoothing, between the visits
    visit_step: float = 0.1  # length of a step between the visits, voxels
    n4_iterations: tuple = (50, 50, 30)  # of the bias-field correction
    prior_weight: float = 0.25  # of the tissue priors in the segmentation, 0 to 1
    smoothness: float = 0.1  # of the segmentation's Markov random field
    local_mm: float = 6.0  # in which a tissue's local brightness is averaged
    margin_mm: float = 12.0  # what is kept around the brain after its extraction

    @property
    def compared_mm(self) -> float:
        """Voxel size, mm, of what is compared with a template or another visit."""
        return max(self.working_mm, self.coarse_mm)


@dataclass(frozen=True)
class Templates:
    """What every participant is compared with, as ANTs images.

    head and inside_skull: SPM12's average of 152 whole heads, and its mask of what the skull holds.
    brain: skull-stripped MNI152 (ICBM 2009a symmetric, packaged with nilearn), as coarse as what is
    compared with it; output: the same on the output grid. priors: probability of each tissue; CSF
    is what the skull holds beside grey and white. Deep grey matter is where neuromorphometrics'
    atlas has it; both other tissues give way.
    """

    head: object
    inside_skull: object
    brain: object
    output: object
    priors: dict


@dataclass(frozen=True)
class Processed:
    """What became of one participant's images."""

    maps: dict  # by visit: modulated, MNI152; volume before normalisation / voxel volume
    volumes: pd.DataFrame  # a row a visit: tiv_ml (one for both), grey_ml, white_ml, csf_ml
    t1: dict  # by visit: bias-corrected, midpoint space
    grey: nib.Nifti1Image  # probability, midpoint space
    brain: nib.Nifti1Image  # mask, midpoint space
    log_change: nib.Nifti1Image | None  # of volume, second visit over first, midpoint space
    errors: dict  # by name in ERROR_MAPS: MNI152, second visit over first, percent
    normalised: nib.Nifti1Image  # the brain in MNI152
    seconds: dict  # by step


def memory_mb(settings):
    """Memory that one participant takes, MB: an estimate.

    With output at 1.5 mm, 987 MB were measured at 2 mm and 1,898 at 1 mm
    (benchmarks/preprocess_cost.tsv), and the estimate lies a little above.
    """
    return 720 + 1040 / settings.working_mm**3 + 600 / settings.output_mm**3


def load_templates(settings, cache=None):
    """Templates on the output grid. Never downloads: a missing file is named with how to get it."""
    head, inside_skull = (
        ants.from_nibabel_nifti(nib.load(path)) for path in files.cached_templates(cache)
    )
    resolution = settings.compared_mm
    brain = template_on_grid(load_mni152_template, resolution)
    output = template_on_grid(load_mni152_template, settings.output_mm)
    grey = template_on_grid(load_mni152_gm_template, resolution)
    white = template_on_grid(load_mni152_wm_template, resolution)
    skull = ants.resample_image_to_target(inside_skull, brain, interp_type="linear")
    rest = np.clip(skull.numpy() - grey.numpy() - white.numpy(), 0, 1)
    solid = grey.numpy() + white.numpy()
    deep = np.minimum(_deep_grey(brain), solid)
    left = 1 - deep / np.maximum(solid, 1e-6)
    shares = (rest, grey.numpy() * left, white.numpy() * left, deep)
    priors = {name: image_like(brain, share) for name, share in zip(TISSUES, shares, strict=True)}
    return Templates(head, inside_skull, brain, output, priors)


def _deep_grey(grid):
    """Where the atlas has deep grey matter, 0 to 1, on a grid."""
    parcels = load_atlas("neuromorphometrics")
    chosen = parcels.table.index[parcels.table["region"].isin(DEEP)]
    inside = np.isin(label_array(parcels.image), chosen).astype(np.float32)
    image = nib.Nifti1Image(inside, parcels.image.affine)
    image.header.set_xyzt_units("mm", "sec")
    blurred = ants.smooth_image(ants.from_nibabel_nifti(image), DEEP_BLUR)
    return ants.resample_image_to_target(blurred, grid, interp_type="linear").numpy()


def template_on_grid(load, resolution):
    """One of nilearn's packaged images on a grid of any mm: nilearn itself takes whole ones."""
    image = resample_img(load(1), resolution * np.eye(3), force_resample=True, copy_header=True)
    image = nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine)
    image.header.set_xyzt_units("mm", "sec")
    return ants.from_nibabel_nifti(image)
