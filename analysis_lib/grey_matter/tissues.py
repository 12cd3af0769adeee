"""Brain extraction and tissues."""

import tempfile

import numpy as np
from scipy import ndimage

from analysis_lib.grey_matter.images import (
    as_mask,
    coarsened,
    greedy_registration,
    image_like,
    read_matrix,
    to_itk,
    with_margin,
)
from analysis_lib.grey_matter.itk import SimpleITK, ants
from analysis_lib.grey_matter.settings import TISSUES


def inside_skull(head, settings, templates):
    """What the skull holds, and where its white matter is likely, from a whole-head template.

    Both 0 to 1, on the grid of ``head``, whose values are from 0 to 1, with skull and skin.
    """
    coarse = coarsened(head, settings)
    found = ants.registration(
        coarse,
        templates.head,
        type_of_transform="Affine",
        aff_iterations=settings.affine_iterations,
    )
    rough = ants.apply_transforms(coarse, templates.inside_skull, found["fwdtransforms"])
    near = ants.crop_image(coarse, with_margin(rough, settings.head_margin_mm))
    affine = _greedy_affine(found["fwdtransforms"][0])
    greedy = greedy_registration(
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
        skull=to_itk(templates.inside_skull),
        white=to_itk(templates.priors["white"]),
        skull_here=None,
        white_here=None,
    )
    brought = (
        image_like(near, SimpleITK.GetArrayFromImage(greedy[f"{name}_here"]).T)
        for name in ("skull", "white")
    )
    return [ants.resample_image_to_target(image, head, interp_type="linear") for image in brought]


def segment(average, skull, warp, settings, templates):
    """How much of each voxel is which tissue: csf, grey (with the deep one) and white, 0 to 1.

    Tissues are told apart by Atropos (Avants et al. 2011, Neuroinformatics 9:381); what a voxel at
    a border holds of each is then read from its brightness (`volume_fractions`). Together they are
    1 inside the skull. ``warp`` leads from ``average`` to MNI152.
    """
    brought = {
        name: ants.apply_transforms(
            average, prior, warp.inverse, whichtoinvert=warp.inverted
        ).numpy()
        for name, prior in templates.priors.items()
    }
    total = sum(brought.values())
    priors = [
        image_like(
            average, np.where(total > 0, brought[name] / np.maximum(total, 1e-6), 1 / len(TISSUES))
        )
        for name in TISSUES
    ]
    found = ants.atropos(
        a=average,
        x=as_mask(skull),
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
        as_mask(skull).numpy() > 0,
        settings.local_mm / np.array(average.spacing),
    )
    return {name: image_like(average, share) for name, share in fractions.items()}


def volume_fractions(brightness, likely, inside, sigma, certain=0.9):
    """How much of each voxel is fluid, grey and white matter: 0 to 1, together 1 inside.

    The probability that a voxel *is* grey matter is not the share of it that is: more than half of
    a brain's voxels, at 2 mm, touch another tissue and hold some of it. There the share is read
    from the brightness between the means of the two tissues (Santago & Gage 1993, IEEE Trans Med
    Imaging 12:566; Tohka et al. 2004, NeuroImage 23:84), means nearby, since grey matter is
    brighter in some regions than in others (Rajapakse et al. 1997, IEEE Trans Med Imaging 16:176).
    Elsewhere a voxel is wholly its likeliest tissue.

    ``brightness`` is T1-weighted; ``likely`` holds the probability of csf, grey and white; means
    are over voxels ``inside`` the skull that are ``certain``, in a Gaussian of ``sigma`` voxels.
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


def _greedy_affine(path):
    """An affine file of ITK's as greedy reads it: a matrix of RAS points."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    text = tempfile.mktemp(suffix=".txt")
    np.savetxt(text, flip @ read_matrix(path) @ flip, fmt="%.10f")
    return text
