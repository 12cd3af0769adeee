"""From T1-weighted images to modulated grey-matter maps, with ANTs (extra `preprocess`).

One participant at a time, both visits together. They meet at a midpoint that favours neither
(Reuter et al. 2012, NeuroImage 61:1402; Ashburner & Ridgway 2013, Front Neurosci 6:197): a rigid
halfway space, in which the average of the visits is segmented and normalised once. What differs
between visits comes from the Jacobian of the deformation between them alone, never from two
segmentations, whose errors differ by more than the change looked for.
"""

import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Before ITK is loaded: one thread an image, so that sums come in one order and the numbers are the
# same however many images run beside one another. A value that the user has set stays.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.datasets import (
    load_mni152_gm_template,
    load_mni152_template,
    load_mni152_wm_template,
)
from nilearn.image import resample_img
from scipy import ndimage
from scipy.linalg import expm, logm

try:
    import ants
    import SimpleITK
    from picsl_greedy import Greedy3D
except ImportError as error:
    raise ImportError(
        f"notebook 00 needs {error.name}, which is not installed: pip install antspyx picsl-greedy "
        "(Python 3.11 to 3.13), or give the study grey-matter maps of another program"
    ) from error

from analysis_lib import fetch
from analysis_lib.atlas import label_array, load_atlas

ants.config.set_ants_deterministic(True, seed_value=1)  # which voxels an affine stage samples

SPACE = "MNI152NLin2009aSym"  # nilearn's packaged template
TISSUES = ("csf", "grey", "white", "deep")
# Brighter than cortex: a class of their own (Tustison et al. 2014, NeuroImage 99:166), counted as
# grey matter afterwards. With one class of grey matter putamen is called white.
DEEP = ("Accumbens Area", "Caudate", "Pallidum", "Putamen", "Thalamus Proper")
DEEP_BLUR = 1.5  # mm, standard deviation: edges of the atlas are not sharper than that in a person
COARSEST = 3.0  # mm; a larger voxel holds too many tissues to be segmented


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
        See `analysis_lib.fetch.cache_folder`.

    Returns
    -------
    Templates

    Raises
    ------
    FileNotFoundError
        The cache lacks SPM12's files; the message names the command that gets them.
    """
    head, inside_skull = (
        ants.from_nibabel_nifti(nib.load(path)) for path in fetch.cached_templates(cache)
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
    priors = {name: _like(brain, share) for name, share in zip(TISSUES, shares, strict=True)}
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


def process(paths, settings, templates):
    """Modulated grey-matter maps of one participant.

    Parameters
    ----------
    paths : dict of str to pathlib.Path
        T1-weighted image by visit, one visit or two, in the order of time.
    settings : Settings
    templates : Templates

    Returns
    -------
    Processed

    Raises
    ------
    ValueError
        An image that is no T1-weighted head: dimensions, voxel size, values; more than two visits.
    """
    if not 1 <= len(paths) <= 2:
        raise ValueError(f"one visit or two expected, found {len(paths)}: {', '.join(paths)}")
    clock = _Clock()
    native = [read_t1w(path) for path in paths.values()]
    clock.lap("read")
    with _scratch():
        to_visits = midpoint(*native, settings) if len(native) == 2 else [np.eye(4)]
        grid = midpoint_grid(native, to_visits, settings.working_mm)
        visits = [
            _moved(image, grid, matrix) for image, matrix in zip(native, to_visits, strict=True)
        ]
        clock.lap("midpoint")
        skull, white = inside_skull(_mean(visits), settings, templates)
        clock.lap("brain")
        box = _margin(skull, settings.margin_mm)
        visits = [ants.crop_image(image, box) for image in visits]
        skull, white = (ants.crop_image(image, box) for image in (skull, white))
        visits = _balanced([_without_bias(image, skull, settings) for image in visits], skull)
        average = _mean(visits)
        even = _without_bias(average, skull, settings, white)
        clock.lap("bias")
        log_change = change_between(*visits, skull, settings) if len(visits) == 2 else None
        clock.lap("change")
        warp = _normalise(even * _solid(skull), settings, templates)
        clock.lap("normalise")
        tissues = segment(average, skull, warp, settings, templates)
        clock.lap("segment")
        return _processed(paths, visits, skull, tissues, log_change, warp, templates, clock)


def read_t1w(path):
    """A T1-weighted image, nearest to RAS orientation, its values from 0 to 1.

    Parameters
    ----------
    path : path

    Returns
    -------
    ants.core.ANTsImage

    Raises
    ------
    ValueError
        The file, what was expected and what was found.
    """
    try:
        image = nib.load(path)
        data = np.asanyarray(image.dataobj, dtype=np.float32)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError) as error:
        raise ValueError(f"{path}: a NIfTI image expected, could not be read ({error})") from error
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ValueError(f"{path}: one three-dimensional image expected, found shape {data.shape}")
    voxel = nib.affines.voxel_sizes(image.affine)
    extent = voxel * data.shape
    if voxel.max() > COARSEST or extent.min() < 120:
        raise ValueError(
            f"{path}: voxels of at most {COARSEST:.0f} mm and 120 mm of head in each direction "
            f"expected, found voxels of {voxel.round(2).tolist()} and {extent.round().tolist()} mm"
        )
    if not np.isfinite(data).all() or data.max() <= 0:
        raise ValueError(f"{path}: finite values above 0 expected, found none or NaN")
    head = nib.as_closest_canonical(nib.Nifti1Image(np.clip(data, 0, None), image.affine))
    head.header.set_xyzt_units("mm", "sec")
    return scaled(ants.from_nibabel_nifti(head))


def scaled(image, top=0.999):
    """Values from 0 to 1, the brightest thousandth cut: fat and vessels would rule otherwise."""
    values = image.numpy()
    high = np.quantile(values[values > 0], top)
    return _like(image, np.clip(values, 0, high) / high)


# --- the midpoint of two visits -----------------------------------------------------------------


def midpoint(first, second, settings):
    """Rigid maps from a halfway space to each of two images.

    The images are registered both ways, and the two answers averaged as logarithms of matrices, so
    that exchanging the images exchanges the maps and changes nothing else.

    Parameters
    ----------
    first, second : ants.core.ANTsImage
    settings : Settings

    Returns
    -------
    list of numpy.ndarray, shape (4, 4)
        Points of the halfway space (LPS, mm) to points of each image.
    """
    there, back = (
        np.real(logm(_rigid(*pair, settings))) for pair in ((first, second), (second, first))
    )
    half = (there - back) / 4
    return [expm(-half), expm(half)]


def _rigid(fixed, moving, settings):
    """Matrix (4, 4) that takes points of `fixed` to points of `moving`."""
    found = ants.registration(
        fixed,
        moving,
        type_of_transform="Rigid",
        aff_iterations=settings.affine_iterations,
    )
    return _matrix(found["fwdtransforms"][0])


def _matrix(path):
    """An affine file of ITK's as one matrix: A (x - c) + c + t."""
    transform = ants.read_transform(path)
    numbers, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return matrix


def midpoint_grid(images, to_images, spacing):
    """An empty image that holds all of some images, seen from the halfway space.

    Parameters
    ----------
    images : list of ants.core.ANTsImage
    to_images : list of numpy.ndarray, shape (4, 4)
        From `midpoint`.
    spacing : float
        Voxel size, mm.

    Returns
    -------
    ants.core.ANTsImage
        The same for images in another order.
    """
    corners = np.vstack(
        [_corners(image) @ np.linalg.inv(m).T for image, m in zip(images, to_images, strict=True)]
    )[:, :3]
    low = np.floor(corners.min(axis=0))
    shape = np.ceil((corners.max(axis=0) - low) / spacing).astype(int) + 1
    return ants.make_image(
        tuple(shape.tolist()),
        voxval=0,
        spacing=(float(spacing),) * 3,
        origin=tuple(low.tolist()),
        direction=np.eye(3),
    )


def _corners(image):
    """The eight corners, LPS, mm, homogeneous (8, 4)."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(3, -1).T
    points = np.array(image.origin) + (ends * image.spacing) @ np.array(image.direction).T
    return np.column_stack([points, np.ones(8)])


def _moved(image, grid, matrix):
    """The image on another grid, by cubic splines: linear interpolation would blur one visit."""
    moved = ants.apply_transforms(grid, image, [_affine_file(matrix)], interpolator="bSpline")
    return _like(moved, np.clip(moved.numpy(), 0, None))


def change_between(first, second, skull, settings):
    """Logarithm of local volume at the second visit over that at the first.

    The visits are registered both ways and the two Jacobians averaged, so that exchanging the
    visits changes the sign and nothing else. greedy (Yushkevich et al. 2016, Alzheimers Dement
    12:P126) compares windows by their correlation, which a remaining bias field does not disturb.
    Its smoothing is strong, since noise between two visits of one head is as large as the change
    looked for: of 5.0 % planted in a real image 3.7 % came back. Most of that noise is no noise of
    the scanner but interpolation, which differs between heads that lie differently: it is gone
    with the finest detail, so both visits are blurred first.

    Parameters
    ----------
    first, second : ants.core.ANTsImage
        Both in the halfway space.
    skull : ants.core.ANTsImage
        What the skull holds, 0 to 1.
    settings : Settings

    Returns
    -------
    ants.core.ANTsImage
    """
    pair = [
        _coarse(ants.smooth_image(image, settings.visit_blur_mm), settings)
        for image in (first, second)
    ]
    within = _itk(_solid(_coarse(skull, settings)))
    there, back = (
        _log_jacobian(fixed, moving, within, settings) for fixed, moving in (pair, pair[::-1])
    )
    change = _like(pair[0], (there - back) / 2)
    return ants.resample_image_to_target(change, first, interp_type="linear")


def _coarse(image, settings):
    """As coarse as what is compared."""
    return ants.resample_image(image, (settings.compared_mm,) * 3, interp_type=0)


def _itk(image):
    """For greedy: the same voxels at the same place."""
    found = SimpleITK.GetImageFromArray(image.numpy().T)
    found.SetSpacing(image.spacing)
    found.SetOrigin(image.origin)
    found.SetDirection(np.array(image.direction).ravel())
    return found


def _greedy(fixed, moving, more, iterations, radius, smoothing, **images):
    """A deformation of `fixed` towards `moving`, in the result as "warp"."""
    window, levels = "x".join([str(radius)] * 3), "x".join(map(str, iterations))
    step, whole = smoothing
    greedy = Greedy3D()
    greedy.execute(
        f"-i fixed moving {more} -m NCC {window} -n {levels} -s {step}vox {whole}vox "
        # by default greedy adds random noise to images and rounds to a tenth of a voxel
        "-noise 0 -wp 0 -o warp -threads 1 -V 0",
        fixed=_itk(fixed),
        moving=_itk(moving),
        warp=None,
        **images,
    )
    return greedy


def _log_jacobian(fixed, moving, within, settings):
    greedy = _greedy(
        fixed,
        moving,
        f"-gm mask -e {settings.visit_step}",
        settings.visit_iterations,
        settings.visit_radius,
        settings.visit_smoothing,
        mask=within,  # not cut out of the images: an edge of zeros would take most of each step
    )
    # greedy's own Jacobian counts voxels as 1 mm: right only where they are
    shift = SimpleITK.GetArrayFromImage(greedy["warp"]).T
    spacing = fixed.spacing
    slopes = np.stack([np.stack(np.gradient(part, *spacing), axis=-1) for part in shift], axis=-2)
    return np.log(np.linalg.det(np.eye(3) + slopes))


# --- brain, bias, tissues -----------------------------------------------------------------------


def inside_skull(head, settings, templates):
    """What the skull holds, and where its white matter is likely, from a whole-head template.

    Parameters
    ----------
    head : ants.core.ANTsImage
        Values from 0 to 1, with skull and skin.
    settings : Settings
    templates : Templates

    Returns
    -------
    skull, white : ants.core.ANTsImage
        0 to 1, on the grid of `head`.
    """
    coarse = _coarse(head, settings)
    found = ants.registration(
        coarse,
        templates.head,
        type_of_transform="Affine",
        aff_iterations=settings.affine_iterations,
    )
    rough = ants.apply_transforms(coarse, templates.inside_skull, found["fwdtransforms"])
    near = ants.crop_image(coarse, _margin(rough, settings.head_margin_mm))
    affine = _greedy_affine(found["fwdtransforms"][0])
    greedy = _greedy(
        near,
        templates.head,
        f"-it {affine}",
        settings.head_iterations,
        settings.head_radius,
        settings.head_smoothing,
    )
    greedy.execute(
        f"-rf fixed -ri LINEAR -rm skull skull_here -rm white white_here -r warp {affine} "
        "-threads 1 -V 0",
        skull=_itk(templates.inside_skull),
        white=_itk(templates.priors["white"]),
        skull_here=None,
        white_here=None,
    )
    brought = (
        _like(near, SimpleITK.GetArrayFromImage(greedy[f"{name}_here"]).T)
        for name in ("skull", "white")
    )
    return [ants.resample_image_to_target(image, head, interp_type="linear") for image in brought]


def _without_bias(image, skull, settings, white=None):
    """The image without its bias field (N4).

    For what is compared between visits, and for tissues, the field is estimated inside the whole
    skull: from white matter alone it is less certain elsewhere. For normalisation, from white
    matter: the image then resembles the template more.
    """
    return ants.n4_bias_field_correction(
        image,
        mask=_solid(skull),
        weight_mask=white,
        shrink_factor=max(1, round(6 / settings.working_mm)),
        convergence={"iters": list(settings.n4_iterations), "tol": 1e-4},
    )


def _balanced(visits, skull):
    """Visits on one scale: one median of the brighter half of what the skull holds."""
    inside = skull.numpy() > 0.5
    levels = []
    for image in visits:
        values = image.numpy()[inside]
        levels.append(np.median(values[values > np.median(values)]))
    return [image * float(0.7 / level) for image, level in zip(visits, levels, strict=True)]


def segment(average, skull, warp, settings, templates):
    """How much of each voxel is which tissue.

    Tissues are told apart by Atropos (Avants et al. 2011, Neuroinformatics 9:381); what a voxel at
    a border holds of each is then read from its brightness (`volume_fractions`).

    Parameters
    ----------
    average, skull : ants.core.ANTsImage
    warp : _Warp
        From `average` to MNI152.
    settings : Settings
    templates : Templates

    Returns
    -------
    dict of ants.core.ANTsImage
        csf, grey (with the deep one), white; each 0 to 1, together 1 inside the skull.
    """
    brought = {
        name: ants.apply_transforms(
            average, prior, warp.inverse, whichtoinvert=warp.inverted
        ).numpy()
        for name, prior in templates.priors.items()
    }
    total = sum(brought.values())
    priors = [
        _like(
            average, np.where(total > 0, brought[name] / np.maximum(total, 1e-6), 1 / len(TISSUES))
        )
        for name in TISSUES
    ]
    found = ants.atropos(
        a=average,
        x=_solid(skull),
        i=priors,
        m=f"[{settings.smoothness},1x1x1]",
        c="[5,0]",
        priorweight=settings.prior_weight,
        r=0,  # a fixed seed: by default each call takes another
    )
    likely = dict(zip(TISSUES, (p.numpy() for p in found["probabilityimages"]), strict=True))
    likely["grey"] = likely["grey"] + likely.pop("deep")
    fractions = volume_fractions(
        average.numpy(),
        likely,
        _solid(skull).numpy() > 0,
        settings.local_mm / np.array(average.spacing),
    )
    return {name: _like(average, share) for name, share in fractions.items()}


def volume_fractions(brightness, likely, inside, sigma, certain=0.9):
    """How much of each voxel is fluid, grey and white matter.

    The probability that a voxel *is* grey matter is not the share of it that is: more than half
    of a brain's voxels, at 2 mm, touch another tissue and hold some of it. There the share is
    read from the brightness between the means of the two tissues (Santago & Gage 1993, IEEE Trans
    Med Imaging 12:566; Tohka et al. 2004, NeuroImage 23:84), means nearby, since grey matter is
    brighter in some regions than in others (Rajapakse et al. 1997, IEEE Trans Med Imaging
    16:176). Elsewhere a voxel is wholly its likeliest tissue.

    Parameters
    ----------
    brightness : numpy.ndarray
        T1-weighted: fluid darker than grey, grey darker than white matter.
    likely : dict of numpy.ndarray
        Probability of csf, grey and white.
    inside : numpy.ndarray of bool
        What the skull holds; 0 outside.
    sigma : float or sequence of float
        Standard deviation, voxels, of the Gaussian in which means are taken.
    certain : float
        Probability above which a voxel counts in its tissue's mean.

    Returns
    -------
    dict of numpy.ndarray
        csf, grey, white; each 0 to 1, together 1 inside.

    Raises
    ------
    ValueError
        No voxel is certainly of one of the tissues.
    """
    names = ("csf", "grey", "white")
    label = np.argmax([likely[name] for name in names], axis=0)
    around = ndimage.generate_binary_structure(brightness.ndim, brightness.ndim)
    near = [ndimage.binary_dilation(inside & (label == k), around) for k in range(3)]
    fluid, grey, white = (
        _local_mean(brightness, inside & (likely[name] > certain), sigma, name) for name in names
    )
    # Three at once: fluid and grey up to the brightness of grey, grey and white above it.
    darker = near[0] & ~(near[2] & (brightness > grey))
    share = np.where(
        darker,
        _between(brightness, fluid, grey),
        1 - _between(brightness, grey, white),
    )
    # Without grey matter nearby, as at the ventricles, fluid and white matter mix.
    wall, mixture = ~near[1], _between(brightness, fluid, white)
    found = {
        "csf": np.where(wall, 1 - mixture, np.where(darker, 1 - share, 0)),
        "grey": np.where(wall, 0, share),
        "white": np.where(wall, mixture, np.where(darker, 0, 1 - share)),
    }
    alone = np.sum(near, axis=0) == 1
    return {name: np.where(alone, label == k, found[name]) * inside for k, name in enumerate(names)}


def _local_mean(brightness, chosen, sigma, name):
    if not chosen.any():
        raise ValueError(
            f"no voxel is certainly {name}: a T1-weighted head expected; look at the picture of "
            "its brain mask, and at the image's contrast"
        )
    # a little of the mean over the brain, for where the tissue is far away
    weight, little = ndimage.gaussian_filter(chosen.astype(float), sigma), 1e-3
    nearby = ndimage.gaussian_filter(brightness * chosen.astype(float), sigma)
    return (nearby + little * brightness[chosen].mean()) / (weight + little)


def _between(brightness, low, high):
    """0 at one mean, 1 at the other."""
    return np.clip((brightness - low) / np.maximum(high - low, 1e-6), 0, 1)


# --- normalisation and modulation ---------------------------------------------------------------


@dataclass(frozen=True)
class _Warp:
    """From MNI152 to the participant: files for `ants.apply_transforms`, and its Jacobian."""

    forward: list
    inverse: list
    inverted: list
    jacobian: np.ndarray


def _normalise(brain, settings, templates):
    found = ants.registration(
        templates.brain,
        brain,
        type_of_transform="SyN",
        reg_iterations=settings.mni_iterations,
        aff_iterations=settings.affine_iterations,
    )
    field, affine = found["fwdtransforms"]  # points of MNI152 to points of the participant
    local = ants.create_jacobian_determinant_image(templates.brain, field)
    local = ants.resample_image_to_target(local, templates.output, interp_type="linear").numpy()
    return _Warp(
        forward=found["fwdtransforms"],
        inverse=found["invtransforms"],
        inverted=[True, False],  # the affine file is that of the other direction
        jacobian=local * abs(np.linalg.det(_matrix(affine)[:3, :3])),
    )


def _modulated(density, warp, templates):
    """Density in MNI152 times the volume that each voxel had in the participant."""
    moved = ants.apply_transforms(templates.output, density, warp.forward, interpolator="linear")
    return _like(moved, moved.numpy() * warp.jacobian)


def _processed(paths, visits, skull, tissues, log_change, warp, templates, clock):
    halves = [np.zeros(skull.shape)]
    if log_change is not None:
        halves = [-log_change.numpy() / 2, log_change.numpy() / 2]
    growth = [np.exp(half) for half in halves]
    ml = float(np.prod(skull.spacing)) / 1000
    volumes = [
        {"visit": visit, "tiv_ml": float(skull.numpy().sum()) * ml}
        | {f"{name}_ml": float((p.numpy() * more).sum()) * ml for name, p in tissues.items()}
        for visit, more in zip(paths, growth, strict=True)
    ]
    maps = {
        visit: _modulated(_like(skull, tissues["grey"].numpy() * more), warp, templates)
        for visit, more in zip(paths, growth, strict=True)
    }
    brain = ants.apply_transforms(templates.output, _mean(visits) * _solid(skull), warp.forward)
    clock.lap("modulate")
    return Processed(
        maps={visit: _nifti(image) for visit, image in maps.items()},
        volumes=pd.DataFrame(volumes)[["visit", "tiv_ml", "grey_ml", "white_ml", "csf_ml"]],
        t1={visit: _nifti(image) for visit, image in zip(paths, visits, strict=True)},
        grey=_nifti(tissues["grey"]),
        brain=_nifti(_solid(skull)),
        log_change=None if log_change is None else _nifti(log_change),
        normalised=_nifti(brain),
        seconds=clock.laps,
    )


# --- small things -------------------------------------------------------------------------------


class _Clock:
    def __init__(self):
        self.laps, self._last = {}, time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


@contextmanager
def _scratch():
    """ANTs leaves its transforms in the temporary folder: one that goes away afterwards."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="midpoint-") as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def _affine_file(matrix):
    transform = ants.create_ants_transform(
        transform_type="AffineTransform",
        precision="double",
        dimension=3,
        matrix=matrix[:3, :3],
        translation=matrix[:3, 3],
    )
    path = tempfile.mktemp(suffix=".mat")  # in the scratch folder
    ants.write_transform(transform, path)
    return path


def _greedy_affine(path):
    """An affine file of ITK's as greedy reads it: a matrix of RAS points."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    text = tempfile.mktemp(suffix=".txt")
    np.savetxt(text, flip @ _matrix(path) @ flip, fmt="%.10f")
    return text


def _like(image, values):
    return image.new_image_like(np.ascontiguousarray(values, dtype=np.float32))


def _mean(images):
    return _like(images[0], np.mean([image.numpy() for image in images], axis=0))


def _solid(skull):
    return ants.threshold_image(skull, 0.5, 2)


def _margin(skull, margin_mm):
    """The brain and what is kept around it when an image is cropped."""
    return ants.iMath(_solid(skull), "MD", round(margin_mm / skull.spacing[0]))


def _nifti(image):
    """As nibabel has it, float32, RAS."""
    affine = np.diag([-1.0, -1.0, 1.0]) @ (np.array(image.direction) * image.spacing)
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = affine, np.array(image.origin) * [-1, -1, 1]
    nifti = nib.Nifti1Image(image.numpy().astype(np.float32), whole)
    nifti.header.set_xyzt_units("mm", "sec")
    return nib.as_closest_canonical(nifti)
