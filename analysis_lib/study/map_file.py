"""One grey-matter map: its file read to the end, its values checked, and a coarse summary of it."""

import functools
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.image_file import few_values, read_image

LOWEST, HIGHEST = -0.01, 3.0  # a map with modulated density beyond these is not grey matter
STEEPEST = 10.0  # of a few voxels in the brain, where registration stretched much
STRAY = 10  # voxels beyond LOWEST and HIGHEST that a map may have
BLOCK_MM = 8  # side of the cubes whose means stand for a map


@dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of a map to compare it with others."""

    blocks: np.ndarray  # means of cubes of 8 mm (n_blocks,): the same cubes for maps on one grid
    mirrored: list  # the same with left and right exchanged: at x = 0, and amid the grid
    total_ml: float  # grey matter: the sum of the values times the volume of a voxel
    centre: np.ndarray  # of gravity, mm
    grid: tuple  # shape and affine, axes along x, y and z
    written: str  # orientation of the file's own axes ("LAS")
    oddities: dict  # what was read over, in words: number of voxels


def load_map(path):
    """Read one grey-matter map, three-dimensional, float32, axes along x, y and z (RAS).

    Axes in another order or direction are turned without interpolation. NaN outside the brain,
    as SPM writes it, and up to 10 values there that cannot be a density are read as 0. A
    `StudyError` has a file that cannot be read to its end, several volumes, the same value
    everywhere, and other NaN, infinite, negative or impossibly high values.
    """
    return _read(path)[0]


def summarise(path) -> Summary:
    """Summary of a map; its file is read once as long as it stays the same."""
    about = path.stat()
    return _summary(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=512)
def _summary(path, *version):
    image, written, oddities = _read(path)
    data, affine = image.get_fdata(dtype=np.float32), image.affine
    sums = [data.sum(axis=tuple({0, 1, 2} - {axis}), dtype=float) for axis in range(3)]
    voxel = [np.average(np.arange(len(along)), weights=along) for along in sums]
    return Summary(
        block_means(data, affine),
        [block_means(other, affine) for other in (_mirrored(data, affine), data[::-1])],
        sums[0].sum() * abs(np.linalg.det(affine[:3, :3])) / 1000,
        nib.affines.apply_affine(affine, voxel),
        (data.shape, affine),
        written,
        oddities,
    )


def block_means(data, affine):
    """Means of cubes of 8 mm that hold a voxel, (n_blocks,), float32."""
    number, counts = _blocks(data.shape, affine.tobytes())
    kept = counts > 0
    sums = np.bincount(number, data.ravel(), len(counts))
    return (sums[kept] / counts[kept]).astype(np.float32)


@functools.lru_cache(maxsize=2)
def _blocks(shape, affine):
    """Number of each voxel's cube, and voxels in each."""
    affine = np.frombuffer(affine).reshape(4, 4)
    mm = [affine[axis, 3] + affine[axis, axis] * np.arange(n) for axis, n in enumerate(shape)]
    cells = [np.floor(along / BLOCK_MM + 0.5).astype(int) for along in mm]
    cells = [along - along.min() for along in cells]
    number = np.ravel_multi_index(np.ix_(*cells), [along.max() + 1 for along in cells]).ravel()
    return number, np.bincount(number)


def _mirrored(data, affine):
    """Values at the same places of the other hemisphere, linearly interpolated along x."""
    n = len(data)
    place = np.clip(-2 * affine[0, 3] / affine[0, 0] - np.arange(n), 0, n - 1)
    low = np.floor(place).astype(int)
    weight = (place - low).astype(np.float32)[:, None, None]
    return (1 - weight) * data[low] + weight * data[np.minimum(low + 1, n - 1)]


def _read(path):
    """A map, the orientation of its file, and what was read over."""
    image = read_image(path)
    written = "".join(nib.aff2axcodes(image.affine))
    image = nib.as_closest_canonical(image)
    data, oddities = _mended(path, image.get_fdata(dtype=np.float32), image.affine)
    return nib.Nifti1Image(data, image.affine), written, oddities


def _mended(path, data, affine):
    """Values with harmless ones that cannot be a density read as 0, and how many there were."""
    missing, beyond = ~np.isfinite(data), (data < LOWEST) | (data > HIGHEST)
    oddities = {}
    if missing.any():
        inside = missing & _in_brain(missing, affine) | np.isinf(data)
        if inside.any():
            raise StudyError(_not_finite(path, inside, affine))
        oddities["NaN outside the brain, read as 0"] = int(missing.sum())
    if beyond.any():
        inside = beyond & _in_brain(beyond, affine)
        steep = inside & (data > HIGHEST) & (data <= STEEPEST)
        if beyond.sum() > STRAY or (inside & ~steep).any():
            raise StudyError(_out_of_range(path, beyond, data, affine))
        beyond &= ~steep
        words = f"values below {LOWEST:g} or above {HIGHEST:g} outside the brain, read as 0"
        found = {words: beyond, f"values above {HIGHEST:g} in the brain, kept": steep}
        oddities |= {words: int(n.sum()) for words, n in found.items() if n.any()}
    data = np.where(missing | beyond, np.float32(0), data) if oddities else data
    if found := few_values(data):
        raise StudyError(Problem(path.name, "", "a grey-matter map", found, "Make the map again"))
    return data, oddities


def _in_brain(voxels, affine):
    """Those of some voxels that lie in the brain of MNI space, as an array like theirs."""
    brain, place = _brain()
    index = np.argwhere(voxels)
    mm = nib.affines.apply_affine(affine, index)
    there = np.rint(nib.affines.apply_affine(np.linalg.inv(place), mm)).astype(int)
    known = ((there >= 0) & (there < brain.shape)).all(axis=1)
    inside = np.zeros(voxels.shape, bool)
    inside[tuple(index[known].T)] = brain[tuple(there[known].T)]
    return inside


@functools.cache
def _brain():
    """Mask and affine of the brain in MNI space, from nilearn's package."""
    from nilearn.datasets import load_mni152_brain_mask  # slow to import

    image = load_mni152_brain_mask(resolution=2)
    return image.get_fdata() > 0, image.affine


def _counted(voxels, affine):
    """How many voxels, and where the first lies."""
    mm = nib.affines.apply_affine(affine, np.argwhere(voxels)[0])
    place = ", ".join(f"{c:.0f}" for c in mm)
    n = int(voxels.sum())
    return f"{n} voxel{'s' * (n > 1)} ({n / voxels.size:.1%}), the first at ({place}) mm"


def _not_finite(path, voxels, affine):
    expected = "finite values in the brain (NaN is read as 0 outside it)"
    found = f"NaN or infinite in {_counted(voxels, affine)}"
    return Problem(path.name, "", expected, found, "Did a step before fail there? Make it again")


def _out_of_range(path, voxels, data, affine):
    expected = "a three-dimensional grey-matter map with values from 0 to about 1"
    low, high = np.nanmin(data), np.nanmax(data)
    found = f"values {low:.3g} to {high:.3g}, beyond {LOWEST:g} to {HIGHEST:g} in "
    remedy = "Is it another image, or in other units (percent, 0 to 255)?"
    return Problem(path.name, "", expected, found + _counted(voxels, affine), remedy)
