"""From T1-weighted images of one participant to modulated grey-matter maps, with ANTs."""

import tempfile
import time
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pandas as pd

from analysis_lib.grey_matter.alignment import midpoint, midpoint_grid, read_t1w
from analysis_lib.grey_matter.change import change_between, sharpness_between
from analysis_lib.grey_matter.images import (
    as_mask,
    image_like,
    read_matrix,
    scratch_folder,
    with_margin,
)
from analysis_lib.grey_matter.itk import ants
from analysis_lib.grey_matter.settings import Processed
from analysis_lib.grey_matter.tissues import inside_skull, segment


def process(paths, settings, templates):
    """Modulated grey-matter maps of one participant, from T1-weighted images by visit.

    One visit or two, in the order of time. An image that is no T1-weighted head by its dimensions,
    voxel size or values is refused.
    """
    clock = _Clock()
    native = [read_t1w(path) for path in paths.values()]
    clock.lap("read")
    with scratch_folder():
        to_visits = midpoint(*native, settings) if len(native) == 2 else [np.eye(4)]
        grid = midpoint_grid(native, to_visits, settings.working_mm)
        visits = [
            _moved(image, grid, matrix) for image, matrix in zip(native, to_visits, strict=True)
        ]
        clock.lap("midpoint")
        skull, white = inside_skull(_mean(visits), settings, templates)
        clock.lap("brain")
        box = with_margin(skull, settings.margin_mm)
        visits = [ants.crop_image(image, box) for image in visits]
        skull, white = (ants.crop_image(image, box) for image in (skull, white))
        visits = _balanced([_without_bias(image, skull, settings) for image in visits], skull)
        average = _mean(visits)
        even = _without_bias(average, skull, settings, white)
        clock.lap("bias")
        log_change, errors = _compared(visits, skull, settings)
        clock.lap("change")
        warp = _normalise(even * as_mask(skull), settings, templates)
        clock.lap("normalise")
        tissues = segment(average, skull, warp, settings, templates)
        clock.lap("segment")
        changed = _processed(paths, visits, skull, tissues, log_change, warp, templates, clock)
        return replace(changed, errors=_in_template(errors, warp, templates))


def _moved(image, grid, matrix):
    """The image on another grid, by cubic splines: linear interpolation would blur one visit."""
    moved = ants.apply_transforms(grid, image, [_affine_file(matrix)], interpolator="bSpline")
    return image_like(moved, np.clip(moved.numpy(), 0, None))


def _without_bias(image, skull, settings, white=None):
    """The image without its bias field (N4).

    For what is compared between visits, and for tissues, the field is estimated inside the whole
    skull: from white matter alone it is less certain elsewhere. For normalisation, from white
    matter: the image then resembles the template more.
    """
    return ants.n4_bias_field_correction(
        image,
        mask=as_mask(skull),
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


@dataclass(frozen=True)
class _Warp:
    """From MNI152 to the participant: files for `ants.apply_transforms`, and its Jacobian."""

    forward: list
    inverse: list
    inverted: list
    jacobian: np.ndarray


def _compared(visits, skull, settings):
    """Change between two visits, and what tells how far to trust it; nothing with one visit."""
    if len(visits) == 1:
        return None, {}
    change, error = change_between(*visits, skull, settings)
    sharper = sharpness_between(*visits, settings)
    return change, {"registration_error": error, "image_sharpness": sharper}


def _in_template(errors, warp, templates):
    """Maps of errors in MNI152, percent."""
    moved = {
        name: ants.apply_transforms(templates.output, image * 100, warp.forward)
        for name, image in errors.items()
    }
    return {name: _nifti(image) for name, image in moved.items()}


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
        jacobian=local * abs(np.linalg.det(read_matrix(affine)[:3, :3])),
    )


def _modulated(density, warp, templates):
    """Density in MNI152 times the volume that each voxel had in the participant."""
    moved = ants.apply_transforms(templates.output, density, warp.forward, interpolator="linear")
    return image_like(moved, moved.numpy() * warp.jacobian)


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
        visit: _modulated(image_like(skull, tissues["grey"].numpy() * more), warp, templates)
        for visit, more in zip(paths, growth, strict=True)
    }
    brain = ants.apply_transforms(templates.output, _mean(visits) * as_mask(skull), warp.forward)
    clock.lap("modulate")
    return Processed(
        maps={visit: _nifti(image) for visit, image in maps.items()},
        volumes=pd.DataFrame(volumes)[["visit", "tiv_ml", "grey_ml", "white_ml", "csf_ml"]],
        t1={visit: _nifti(image) for visit, image in zip(paths, visits, strict=True)},
        grey=_nifti(tissues["grey"]),
        brain=_nifti(as_mask(skull)),
        log_change=None if log_change is None else _nifti(log_change),
        errors={},
        normalised=_nifti(brain),
        seconds=clock.laps,
    )


class _Clock:
    def __init__(self):
        self.laps, self._last = {}, time.perf_counter()

    def lap(self, name):
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


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


def _mean(images):
    return image_like(images[0], np.mean([image.numpy() for image in images], axis=0))


def _nifti(image):
    """As nibabel has it, float32, RAS."""
    affine = np.diag([-1.0, -1.0, 1.0]) @ (np.array(image.direction) * image.spacing)
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = affine, np.array(image.origin) * [-1, -1, 1]
    nifti = nib.Nifti1Image(image.numpy().astype(np.float32), whole)
    nifti.header.set_xyzt_units("mm", "sec")
    return nib.as_closest_canonical(nifti)
