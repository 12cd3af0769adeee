"""Whether an image lies on the template's grey matter, and the right way round."""

from functools import cache

import numpy as np
from scipy import fft, ndimage

from analysis_lib.atlas.grids import find_background, grey_matter_labels, labels_on_grid
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.results.problems import CompendiumError, MissingFile, Problem

# A grid of 3 mm, symmetric about x = 0, that holds any head in MNI space
STEP, SHAPE, ORIGIN = 3.0, (65, 79, 65), (-96.0, -132.0, -78.0)
REACH = 8  # voxels, the farthest displacement looked for
# None of the 18 default maps is displaced by a voxel; moved by 10 mm, each is by two or three.
DISPLACED = 2


def problems(study):
    """What is wrong with the files of a study's atlas; an atlas not downloaded is no problem."""
    if not study.has_change:
        return []
    try:
        atlas = load_atlas(study.atlas)
    except MissingFile:
        return []
    except CompendiumError as error:
        return [Problem(study.path.name, "atlas", text=str(found)) for found in error.problems]
    odd = [Problem(study.path.name, text=atlas.note, warning="atlas")] if atlas.note else []
    return odd if atlas.name else [*odd, *_beside(study, atlas)]


def _beside(study, atlas):
    """A warning of labels beside the template's grey matter."""
    moved = displacement(in_grey_matter(SHAPE, grid(), atlas).astype(float))
    if moved:
        expected, remedy = "labels on the template's grey matter", "Is the atlas in MNI152 space?"
        yield Problem(study.path.name, "atlas", expected, moved, remedy, warning="atlas-place")


def displacement(density):
    """How far values on the grid lie beside the template's grey matter, in words; empty if not.

    It is where their correlation with grey matter has its peak.
    """
    size = [n + REACH for n in SHAPE]  # so much wider that no shift meets the other end
    both = (fft.rfftn(values - values.mean(), size) for values in (density, grey_matter()))
    near = fft.irfftn(np.multiply(next(both), next(both).conj()), size)
    near = np.roll(near, REACH, (0, 1, 2))[(slice(2 * REACH + 1),) * 3]
    moved = np.array(np.unravel_index(near.argmax(), near.shape)) - REACH
    if np.abs(moved).max() < DISPLACED:
        return ""
    mm = " x ".join(f"{STEP * n:.0f}" for n in moved)
    return f"them about {mm} mm to the right, front and top"


def asymmetry(density):
    """r of the differences between the sides, of a map and of grey matter; 0 for a flat map."""
    sides = [(v - v[::-1])[: SHAPE[0] // 2].ravel() for v in (density, grey_matter())]
    return np.corrcoef(*sides)[0, 1] if sides[0].any() else 0.0


@cache
def grey_matter():
    """Grey matter on the grid, smoothed."""
    return ndimage.gaussian_filter(in_grey_matter(SHAPE, grid()).astype(float), 1)


def in_grey_matter(shape, affine, atlas="neuromorphometrics"):
    """Voxels of a grid that lie in grey matter of an atlas."""
    atlas = load_atlas(atlas)
    return np.isin(labels_on_grid(atlas, shape, affine), grey_matter_labels(atlas))


def grid():
    """Affine of the grid."""
    affine = np.diag([STEP, STEP, STEP, 1])
    affine[:3, 3] = ORIGIN
    return affine


def on_grid(image):
    """A map above its background on the grid, smoothed; high values cut, so that none decides."""
    data = image.get_fdata()
    outside = find_background(data)
    outside = np.nanmin(data) if outside is None else outside
    to_map = np.linalg.inv(image.affine) @ grid()
    options = {"output_shape": SHAPE, "order": 1, "mode": "constant", "cval": outside}
    filled = np.nan_to_num(data, nan=outside)
    density = ndimage.affine_transform(filled, to_map[:3, :3], to_map[:3, 3], **options) - outside
    known = density[density > 0]
    top = np.percentile(known, 90) if known.size else 1.0
    return ndimage.gaussian_filter(np.clip(density / top, 0, 1), 1)
