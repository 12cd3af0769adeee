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

    Attributes
    ----------
    working_mm : float
        Voxel size of the midpoint space, in which visits are compared and segmented.
    output_mm : float
        Voxel size of the maps in MNI152.
    coarse_mm : float
        Voxel size at which a brain is compared with the templates, and the visits with each other,
        unless working_mm is larger. Finer ones cost eight times as much and change little: the
        templates, and the visits as they are compared, are smoother than that.
    affine_iterations, head_iterations, mni_iterations, visit_iterations : tuple of int
        Iterations at each resolution, the coarsest first: of every affine stage, and of the
        deformations to the whole-head template, to MNI152 and between the visits.
    head_radius, visit_radius : int
        Radius, voxels, of the windows whose correlation compares a head with the template, and
        the visits with each other.
    head_smoothing, visit_smoothing : tuple of float
        Standard deviations, voxels, of the Gaussians that smooth each step of the deformation,
        and the whole of it.
    visit_blur_mm : float
        Standard deviation of the Gaussian that both visits are blurred with before comparison.
    visit_step : float
        Length of a step between the visits, voxels.
    n4_iterations : tuple of int
        Of the bias-field correction at each of its resolutions.
    prior_weight : float
        Of the tissue priors in the segmentation, 0 to 1.
    smoothness : float
        Of the segmentation's Markov random field.
    local_mm : float
        Standard deviation of the Gaussian in which a tissue's local brightness is averaged.
    head_margin_mm, margin_mm : float
        What is kept around the brain for its extraction, and afterwards.
    """

    working_mm: float = 2.0
    output_mm: float = 1.5
    coarse_mm: float = 2.0
    affine_iterations: tuple = (1000, 500, 100, 0)
    head_iterations: tuple = (100, 70, 30)
    head_radius: int = 2
    head_smoothing: tuple = (2.0, 1.0)
    head_margin_mm: float = 24.0
    mni_iterations: tuple = (60, 40, 20)
    visit_iterations: tuple = (50, 40, 20)
    visit_blur_mm: float = 1.5
    visit_radius: int = 3
    visit_smoothing: tuple = (5.0, 1.5)
    visit_step: float = 0.1
    n4_iterations: tuple = (50, 50, 30)
    prior_weight: float = 0.25
    smoothness: float = 0.1
    local_mm: float = 6.0
    margin_mm: float = 12.0

    @property
    def compared_mm(self) -> float:
        """Voxel size, mm, of what is compared with a template or another visit."""
        return max(self.working_mm, self.coarse_mm)


@dataclass(frozen=True)
class Templates:
    """What every participant is compared with, as ANTs images.

    Attributes
    ----------
    head, inside_skull
        SPM12's average of 152 whole heads, and its mask of what the skull holds.
    brain
        Skull-stripped MNI152 (ICBM 2009a symmetric, packaged with nilearn), as coarse as what is
        compared with it.
    output
        The same on the output grid.
    priors : dict
        Probability of each tissue; CSF is what the skull holds beside grey and white. Deep grey
        matter is where neuromorphometrics' atlas has it; both other tissues give way.
    """

    head: object
    inside_skull: object
    brain: object
    output: object
    priors: dict


@dataclass(frozen=True)
class Processed:
    """What became of one participant's images.

    Attributes
    ----------
    maps : dict of nibabel.Nifti1Image
        By visit: modulated grey matter in MNI152, voxel value = volume before normalisation per
        voxel volume.
    volumes : pandas.DataFrame
        A row a visit: visit, tiv_ml (one for both), grey_ml, white_ml, csf_ml.
    t1 : dict of nibabel.Nifti1Image
        By visit: bias-corrected image in the midpoint space.
    grey, brain : nibabel.Nifti1Image
        Grey-matter probability and brain mask in the midpoint space.
    log_change : nibabel.Nifti1Image or None
        Logarithm of the volume at the second visit over that at the first, midpoint space.
    normalised : nibabel.Nifti1Image
        The participant's brain in MNI152.
    seconds : dict of float
        By step.
    """

    maps: dict
    volumes: pd.DataFrame
    t1: dict
    grey: nib.Nifti1Image
    brain: nib.Nifti1Image
    log_change: nib.Nifti1Image | None
    normalised: nib.Nifti1Image
    seconds: dict


def memory_mb(settings):
    """Memory that one participant takes, MB: an estimate.

    With output at 1.5 mm, 987 MB were measured at 2 mm and 1,898 at 1 mm
    (benchmarks/preprocess_cost.tsv), and the estimate lies a little above.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    float
    """
    return 720 + 1040 / settings.working_mm**3 + 600 / settings.output_mm**3


def load_templates(settings, cache=None):
    """Templates on the output grid. Never downloads.

    Parameters
    ----------
    settings : Settings
    cache : path, optional
        See `analysis_lib.results.environment.cache_folder`.

    Returns
    -------
    Templates

    Raises
    ------
    FileNotFoundError
        The cache lacks SPM12's files; the message names the command that gets them.
    """
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
    """One of nilearn's packaged images on another grid: nilearn itself takes whole mm alone.

    Parameters
    ----------
    load : function
        Of nilearn.datasets: takes a resolution, gives an image.
    resolution : float
        Voxel size, mm.

    Returns
    -------
    ants.core.ANTsImage
    """
    image = resample_img(load(1), resolution * np.eye(3), force_resample=True, copy_header=True)
    image = nib.Nifti1Image(image.get_fdata(dtype=np.float32), image.affine)
    image.header.set_xyzt_units("mm", "sec")
    return ants.from_nibabel_nifti(image)
