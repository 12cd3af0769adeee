"""Whether images lie on one grid, in a place where a head can be."""

import zlib

import nibabel as nib
import numpy as np

from analysis_lib.results.problems import Problem, StudyError

HIGHEST = 3.0  # a map with modulated density above this is not grey matter
# The core of grey matter in MNI space, mm, and its centre (nilearn's template: 0, -23, 5)
BRAIN_MM = {"x": (-60, 60), "y": (-90, 60), "z": (-30, 60)}

# What nibabel raises for a file that is not an image, or is damaged or truncated.
UNREADABLE = (nib.filebasedimages.ImageFileError, OSError, EOFError, zlib.error)


def check_grids(paths):
    """Check that images share one grid that covers the brain in MNI space: its affine (4, 4).

    The grid that most of them have, or that of the first, is the one the others must have. Headers
    alone are read: a map in a participant's own space can pass, if its origin happens to lie where
    that of MNI space does. A `StudyError` names every image of another shape or affine, or says
    that the grid is oblique, or as large as a head and yet leaves out a part of the brain.
    """
    grids, found = [], []
    for path in paths:
        try:
            image = nib.load(path)
        except UNREADABLE as error:
            found.append(_unreadable(path, error))
            continue
        grids.append((path.name, image.shape, image.affine))
    first = _most_common(grids)
    for name, shape, affine in grids:
        if shape != first[1]:
            found.append(_other_grid(name, "shape", first[0], first[1], shape))
        elif not np.allclose(affine, first[2], atol=1e-3):
            expected, got = (_affine_text(a) for a in (first[2], affine))
            found.append(_other_grid(name, "affine", first[0], expected, got))
    found += _placement_problems(*first) if first else []
    if found:
        raise StudyError(found)
    return first[2]


def _most_common(grids):
    """The first image of the grid that most images have: an odd one is then named alone."""
    keys = [(shape, tuple(affine.round(3).ravel() + 0.0)) for _, shape, affine in grids]
    return (
        max(zip(keys, grids, strict=True), key=lambda pair: keys.count(pair[0]))[1]
        if keys
        else None
    )


def _placement_problems(name, shape, affine):
    """Whether a grid can be one of MNI space: axes along its axes, the brain within."""
    hint = "Is it in the participant's own space? Give the normalised map"
    steps = np.abs(affine[:3, :3])
    if (np.sort(steps, axis=0)[:2] > 0.01 * steps.max(axis=0)).any():
        found = f"affine {_affine_text(affine)}"
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


def _unreadable(path, error):
    return Problem(path.name, text=f"a readable NIfTI image expected, found: {error}")


def _other_grid(name, what, reference, expected, got):
    remedy = "Resample the maps to one grid first; nothing is resampled here"
    return Problem(name, "", f"{what} {expected} expected (as {reference})", str(got), remedy)


def _affine_text(affine):
    return np.array2string(affine[:3], precision=3, suppress_small=True).replace("\n", "")


def load_map(path):
    """Read one grey-matter map, three-dimensional, float32, and check its values.

    A file that cannot be read, and NaN, infinite, negative or impossibly high values, or nothing
    but 0, are a `StudyError`.
    """
    try:
        image = nib.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise StudyError(_unreadable(path, error)) from None
    bad = 1 - np.isfinite(data).mean()
    if bad:
        raise StudyError(Problem(path.name, "", "finite values", f"{bad:.1%} NaN or infinite"))
    low, high = data.min(), data.max()
    if data.ndim != 3 or low < -0.01 or high > HIGHEST or high == 0:
        expected = "a three-dimensional grey-matter map with values from 0 to about 1"
        found = f"shape {data.shape}, values {low:.3g} to {high:.3g}"
        raise StudyError(Problem(path.name, "", expected, found))
    return nib.Nifti1Image(data, image.affine)


def robust_z(values):
    """Distance (n,) from the median in robust SDs (1.4826 x median absolute deviation).

    NaN is passed over; 0 everywhere when more than half of the values are the same.
    """
    values = np.asarray(values, dtype=float)
    known = values[np.isfinite(values)]
    distance = values - np.median(known) if len(known) else values
    spread = 1.4826 * np.median(np.abs(distance[np.isfinite(values)])) if len(known) else 0
    return distance / spread if spread else 0 * distance
