"""Whether images lie on one grid, in a place where a head can be."""

import itertools
from collections import Counter

import nibabel as nib
import numpy as np

from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.image_file import affine_text, open_image

SAME_MM = 0.01  # grids whose corners are no further apart are the same
# The core of grey matter in MNI space, mm, and its centre (nilearn's template: 0, -23, 5)
BRAIN_MM = {"x": (-60, 60), "y": (-90, 60), "z": (-30, 60)}


def check_grids(paths):
    """Check that images share one grid that covers the brain in MNI space: its affine (4, 4).

    Axes may run in any order and direction: grids are compared, and the affine is given, as
    `load_map` reads them, along x, y and z. The grid that most of them have, or that of the first,
    is the one the others must have, to 0.01 mm. Headers alone are read: a map in a participant's
    own space can pass, if its origin happens to lie where that of MNI space does. A `StudyError`
    names every image of another shape or affine, or says that the grid is oblique, or as large as
    a head and yet leaves out a part of the brain.
    """
    grids, found = [], []
    for path in paths:
        try:
            image = open_image(path)
            grids.append((path.name, *_along_axes(image.shape, image.affine)))
        except StudyError as error:
            found += error.problems
    first = _most_common(grids)
    for name, shape, affine in grids:
        if shape != first[1]:
            found.append(_other_grid(name, "shape", first[0], first[1], shape))
        elif apart_mm(shape, affine, first[2]) > SAME_MM:
            expected, got = (affine_text(a) for a in (first[2], affine))
            found.append(_other_grid(name, "affine", first[0], expected, got))
    found += _placement_problems(*first) if first else []
    if found:
        raise StudyError(found)
    return first[2]


def _along_axes(shape, affine):
    """Shape and affine of a grid turned, without interpolation, so that its axes are x, y and z."""
    turn = nib.io_orientation(affine)
    order = np.argsort(turn[:, 0])
    kept = [n for n in shape[3:] if n > 1]  # one volume may be written in four dimensions
    turned = affine @ nib.orientations.inv_ornt_aff(turn, shape[:3])
    return (*(shape[axis] for axis in order), *kept), turned


def apart_mm(shape, affine, other):
    """How far the corners of two grids of one shape lie apart at most."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape[:3]))))
    first, second = (nib.affines.apply_affine(a, corners) for a in (affine, other))
    return np.linalg.norm(first - second, axis=1).max()


def _most_common(grids):
    """The first image of the grid that most images have: an odd one is then named alone."""
    keys = [(shape, tuple(affine.round(3).ravel() + 0.0)) for _, shape, affine in grids]
    return grids[keys.index(Counter(keys).most_common(1)[0][0])] if grids else None


def _placement_problems(name, shape, affine):
    """Whether a grid can be one of MNI space: axes along its axes, the brain within."""
    hint = "Is it in the participant's own space? Give the normalised map"
    steps = np.abs(affine[:3, :3])
    if (np.sort(steps, axis=0)[:2] > 0.01 * steps.max(axis=0)).any():
        found = f"affine {affine_text(affine)}"
        yield Problem(name, "", "axes along those of MNI space", found, hint)
        return
    box = _extent(shape, affine)
    beyond = any(box[a][0] > low or box[a][1] < high for a, (low, high) in BRAIN_MM.items())
    if beyond and holds_a_head(shape, affine):
        expected = f"a grid that holds the brain in MNI space ({_box_text(BRAIN_MM)} mm)"
        yield Problem(name, "", expected, f"{_box_text(box)} mm", hint)


def _extent(shape, affine):
    """Lowest and highest coordinate of a grid's voxels along x, y and z, mm."""
    ends = affine[:3, :3] @ np.array([[0, n - 1] for n in shape[:3]]) + affine[:3, 3:]
    return dict(zip("xyz", np.sort(ends, axis=1), strict=True))


def holds_a_head(shape, affine):
    """Whether a grid is as large as a brain; of a smaller one, a cut-out, no place is expected."""
    sizes = np.array([high - low for low, high in _extent(shape, affine).values()])
    return (sizes >= [high - low for low, high in BRAIN_MM.values()]).all()


def _box_text(box):
    return ", ".join(f"{axis} {low:.0f} to {high:.0f}" for axis, (low, high) in box.items())


def _other_grid(name, what, reference, expected, got):
    remedy = "Resample the maps to one grid first; nothing is resampled here"
    return Problem(name, "", f"{what} {expected} expected (as {reference})", str(got), remedy)


def robust_z(values):
    """Distance (n,) from the median in robust SDs (1.4826 x median absolute deviation).

    NaN is passed over; 0 everywhere when more than half of the values are the same.
    """
    values = np.asarray(values, dtype=float)
    known = values[np.isfinite(values)]
    distance = values - np.median(known) if len(known) else values
    spread = 1.4826 * np.median(np.abs(distance[np.isfinite(values)])) if len(known) else 0
    return distance / spread if spread else 0 * distance
