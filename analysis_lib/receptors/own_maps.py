"""Whether receptor maps of one's own are densities, whole, in MNI space and the right way round."""

from dataclasses import replace

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine

from analysis_lib.atlas import placement
from analysis_lib.atlas.grids import find_background
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study import receptor_files
from analysis_lib.study.image_file import few_values, read_image

# r of what is not symmetric in the map and in the atlas's grey matter: .23 to .67 in these maps.
MIRRORED = -0.1
# Thresholded: nothing below a tenth of the high values, none at all in a tenth of grey matter. Or
# none in most of it: .49 at most in these maps, which are 0 where noise is negative.
CUT, ABSENT, EMPTY = 0.1, 0.1, 0.6
NEGATED = 0.5  # share of grey matter below the background


def problems(study):
    """What is wrong with a study's own receptor maps, or with the one map that it is.

    A receptor map that is absent or another file is the business of `receptor_files.problems`.
    """
    own = [(f"receptors ({one.receptor})", one.file) for one in receptor_files.local_maps(study)]
    found = [one for place, file in own for one in _of_study(study, place, file, _of_densities)]
    if study.effect is None or study.effect.is_table:
        return found
    path = study.path.parent / study.effect.file
    if not path.is_file():
        return [*found, Problem(study.path.name, "effect.file", "a file", f"none at {path}")]
    return [*found, *_of_study(study, "effect", study.effect.file, _of_effect)]


def _of_study(study, place, file, look):
    path = study.path.parent / file
    found = of_file(path, look) if path.is_file() else []
    return [replace(one, file=study.path.name, place=f"{place}: {file}") for one in found]


def of_file(path, look=None) -> list[Problem]:
    """Problems of one file, by default of densities: an error, or else doubts."""
    try:
        image = read_image(path)
    except StudyError as error:
        return error.problems
    if found := few_values(image.get_fdata(dtype=np.float32)):
        remedy = "Give the map that it was made from"
        return [Problem(path.name, "", "a map of many values", found, remedy)]
    return list((look or _of_densities)(image))


def _of_densities(image):
    above, right = _in_grey_matter(image)
    if wrong := _no_densities(above):
        yield wrong
        return
    density = placement.on_grid(image)
    doubts = list(_misplaced(placement.displacement(density)))
    if not doubts and placement.asymmetry(density) < MIRRORED:
        expected = "sides as in the template"
        remedy = "were left and right exchanged? Look at the header of the original"
        yield Problem("", "", expected, "the reverse", remedy, warning="receptor-sides")
    yield from doubts or _cut_off(above, right)


def _no_densities(above):
    """An error where nothing lies in grey matter, or most of it is below the background."""
    if not above.any():
        return Problem("", "", "values in grey matter", "none", "is the map in MNI152 space?")
    negative = (above < 0).mean()
    if negative > NEGATED:
        expected, remedy = "densities above the background", "was the sign changed?"
        return Problem("", "", expected, f"{negative:.0%} of grey matter below it", remedy)
    return None


def _of_effect(image):
    """An effect has either sign: its place is that of the voxels that have a value."""
    background = find_background(image.dataobj)
    if background is not None:
        size = np.abs(image.get_fdata() - background)
        density = placement.on_grid(nib.Nifti1Image(size, image.affine))
        yield from _misplaced(placement.displacement(density)) or _cut_off(*_in_grey_matter(image))


def _in_grey_matter(image):
    """Values above the background in grey matter, 0 where none is, and which are on the right."""
    voxels = np.argwhere(placement.in_grey_matter(image.shape, image.affine))
    values = np.asarray(image.dataobj)[tuple(voxels.T)]
    above = np.nan_to_num(values - (find_background(image.dataobj) or 0), posinf=0, neginf=0)
    return above, apply_affine(image.affine, voxels)[:, 0] > 0


def _cut_off(above, right):
    """A warning where much of grey matter has no value: on one side, or small values."""
    size = np.abs(above)
    known = size > 0
    if known.all() or not known.any():
        return
    absent = max(1 - known[side].mean() for side in (right, ~right) if side.any())
    least = size[known].min() / np.percentile(size[known], 95)
    if (least > CUT and absent > ABSENT) or absent > EMPTY:
        found = f"none in {absent:.0%} of a side, and none below {least:.0%} of the high ones"
        remedy = "is the map thresholded, or of one side? Give it as it was before"
        expected = "values in all grey matter"
        yield Problem("", "", expected, found, remedy, warning="receptor-cut")


def _misplaced(moved):
    """A warning where a map lies beside the template's grey matter."""
    remedy = "is the map in MNI152 space? Compare both in a viewer, and register it"
    expected = "a map on the template's grey matter"
    return [Problem("", "", expected, moved, remedy, warning="receptor-place")] if moved else []
