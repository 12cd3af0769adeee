"""Whether receptor maps of one's own are densities, whole, in MNI space and the right way round."""

import math
from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage, signal

from analysis_lib.atlas.grids import find_background, grey_matter_labels, labels_on_grid
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.results.problems import Problem
from analysis_lib.study import receptor_files
from analysis_lib.study.grids import UNREADABLE

# A grid of 3 mm, symmetric about x = 0, that holds any head in MNI space
STEP, SHAPE, ORIGIN = 3.0, (65, 79, 65), (-96.0, -132.0, -78.0)
REACH = 8  # voxels, the farthest displacement looked for
# None of the 18 default maps is displaced by a voxel; moved by 10 mm, each is by two or three.
DISPLACED = 2
# r of what is not symmetric in the map and in the atlas's grey matter: .23 to .67 in these maps.
MIRRORED = -0.1
# Thresholded: nothing below a tenth of the high values, none at all in a tenth of grey matter. Or
# none in most of it: .49 at most in these maps, which are 0 where noise is negative.
CUT, ABSENT, EMPTY = 0.1, 0.1, 0.6


def problems(study):
    """What is wrong with the images of a study's own receptor maps; errors first, then doubts.

    A file that is absent or another one is the business of `receptor_files.problems`.
    """
    found = []
    for entry in receptor_files.local_maps(study):
        path = study.path.parent / entry.file
        if path.is_file():
            place = f"receptors ({entry.receptor}): {entry.file}"
            found += [replace(one, file=study.path.name, place=place) for one in of_file(path)]
    return found


def effect_problems(study):
    """What is wrong with the image of a study that is one map."""
    if study.effect is None or study.effect.is_table:
        return []
    path = study.path.parent / study.effect.file
    if not path.is_file():
        return [Problem(study.path.name, "effect.file", "a file", f"none at {path}")]
    found = of_file(path, "values", _cut_off)
    return [replace(one, file=study.path.name, place=f"effect: {path.name}") for one in found]


def of_file(path, what="densities", doubts=None):
    """Problems of one file of ``what``, which name neither it nor the study."""
    try:
        image = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        again = "copy or download the file again"
        return [Problem(expected="a whole NIfTI file", found=str(error), remedy=again)]
    if data.ndim < 3 or math.prod(data.shape[3:]) != 1:
        return [_volumes(data.shape, what)]
    data = data.reshape(data.shape[:3])
    plain = nib.Nifti1Image(data, image.affine)
    return _values(data, what) or _header(image) or list((doubts or _doubts)(plain))


def _volumes(shape, what):
    found = f"{shape[3]} volumes" if len(shape) > 3 else f"shape {shape}"
    remedy = "give each its own file and entry; maps of one receptor share its name"
    return Problem(expected=f"one volume of {what}", found=found, remedy=remedy)


def _values(data, what):
    """An error where values cannot be densities, or an effect."""
    values = np.unique(data[np.isfinite(data)])
    found = {0: "not one finite value", 1: f"{values[:1]} everywhere"}.get(values.size)
    remedy = "check how the file was written"
    if values.size == 2:
        found = f"the values {values[0]:g} and {values[1]:g} alone"
        remedy = f"that is a mask or a cluster: give the map of {what} that it was made from"
    return [Problem(expected=what, found=found, remedy=remedy)] if found else []


def _header(image):
    """An error where the header does not say where the voxels are."""
    if not np.allclose(image.affine, np.eye(4)):
        return []
    remedy = "save the map again with the affine of MNI152 space"
    return [Problem(expected="a place in MNI space", found="an identity affine", remedy=remedy)]


def _doubts(image):
    return list(_misplaced(image)) or list(_cut_off(image))


def _cut_off(image):
    """A warning where much of grey matter has no value: on one side, or small values."""
    data, background = image.get_fdata(), find_background(image.dataobj)
    labels = labels_on_grid(_atlas(), data.shape, image.affine)
    voxels = np.argwhere(np.isin(labels, grey_matter_labels(_atlas())))
    above = np.abs(data[tuple(voxels.T)] - (background or 0))
    known = np.isfinite(above) & (above > 0)
    if background is None or not known.any():
        return
    right = apply_affine(image.affine, voxels)[:, 0] > 0
    absent = max(1 - known[side].mean() for side in (right, ~right) if side.any())
    least = above[known].min() / np.percentile(above[known], 95)
    if (least > CUT and absent > ABSENT) or absent > EMPTY:
        found = f"none in {absent:.0%} of a side, and none below {least:.0%} of the high ones"
        remedy = "is the map thresholded, or of one side? Give it as it was before"
        expected = "values in all grey matter"
        yield Problem("", "", expected, found, remedy, warning="receptor-cut")


def _misplaced(image):
    """A warning where the map lies beside the template's grey matter, or is its mirror image."""
    density, grey = _on_grid(image), _grey_matter()
    moved = _displacement(density, grey)
    if np.abs(moved).max() >= DISPLACED:
        mm = " x ".join(f"{STEP * n:.0f}" for n in moved)
        found = f"it about {mm} mm to the right, front and top"
        remedy = "is the map in MNI152 space? Compare both in a viewer, and register it"
        yield Problem(
            "", "", "a map on the template's grey matter", found, remedy, warning="receptor-place"
        )
    elif _asymmetry(density, grey) < MIRRORED:
        remedy = "were left and right exchanged? Look at the header of the original"
        yield Problem(
            "", "", "sides as in the template", "the reverse", remedy, warning="receptor-sides"
        )


@cache
def _atlas():
    return load_atlas("neuromorphometrics")


@cache
def _grey_matter():
    """Grey matter of the atlas on the grid, smoothed."""
    labels = labels_on_grid(_atlas(), SHAPE, _grid())
    return ndimage.gaussian_filter(np.isin(labels, grey_matter_labels(_atlas())).astype(float), 1)


def _grid():
    affine = np.diag([STEP, STEP, STEP, 1])
    affine[:3, 3] = ORIGIN
    return affine


def _on_grid(image):
    """A map above its background on the grid, smoothed; high values cut, so that none decides."""
    data = image.get_fdata()
    outside = find_background(data)
    outside = np.nanmin(data) if outside is None else outside
    to_map = np.linalg.inv(image.affine) @ _grid()
    options = {"output_shape": SHAPE, "order": 1, "mode": "constant", "cval": outside}
    filled = np.nan_to_num(data, nan=outside)
    density = ndimage.affine_transform(filled, to_map[:3, :3], to_map[:3, 3], **options) - outside
    known = density[density > 0]
    top = np.percentile(known, 90) if known.size else 1.0
    return ndimage.gaussian_filter(np.clip(density / top, 0, 1), 1)


def _displacement(density, grey):
    """Voxels (3,) by which a map is moved against grey matter: the peak of their correlation."""
    centred = [density - density.mean(), (grey - grey.mean())[::-1, ::-1, ::-1]]
    middle = [slice(n // 2 - REACH, n // 2 + REACH + 1) for n in SHAPE]
    near = signal.fftconvolve(*centred, mode="same")[tuple(middle)]
    return np.array(np.unravel_index(near.argmax(), near.shape)) - REACH


def _asymmetry(density, grey):
    """r of the differences between the sides, of a map and of grey matter; 0 for a flat map."""
    sides = [(values - values[::-1])[: SHAPE[0] // 2].ravel() for values in (density, grey)]
    return np.corrcoef(*sides)[0, 1] if sides[0].any() else 0.0
