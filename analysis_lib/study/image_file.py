"""A NIfTI file, read to its end: what is damaged, or says no place in space, is refused."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from analysis_lib.results.problems import Problem, StudyError

COARSEST, SMALLEST = 3.0, 120  # mm: a larger voxel holds too many tissues to be segmented
CHUNK = 2**20  # bytes, read at once beyond what the header promises
# What nibabel, numpy and zlib raise for a file that is not an image, or is damaged or truncated.
UNREADABLE = (
    *(nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, zlib.error),
    *(OSError, EOFError, ValueError, TypeError, OverflowError, MemoryError),
)


def open_image(path, placed=True):
    """A NIfTI file of which the header alone is read.

    A `StudyError` has a file that is no NIfTI image, a header by which there is no voxel, or
    nothing lies anywhere, and, where images are to be ``placed`` in MNI space, one that does not
    say where they lie.
    """
    try:
        image = nib.load(path)
        shape, affine = image.shape, image.affine
    except (*UNREADABLE, AttributeError) as error:  # a surface has no shape
        raise StudyError(unreadable(path, error)) from None
    if len(shape) < 3 or min(shape) < 1 or not np.isfinite(affine).all() or not _invertible(affine):
        raise StudyError(unreadable(path, f"shape {shape}, affine {affine_text(affine)}"))
    if placed and not _says_where(image):
        remedy = "Save the image again with the affine of MNI152 space"
        found = "an identity affine, or none"
        raise StudyError(Problem(Path(path).name, "", "a place in MNI space", found, remedy))
    return image


def read_image(path, placed=True):
    """An image of one volume, float32, three-dimensional, from a file that was read to its end.

    Gzip's checksum stands there, and tells damage anywhere before it.
    """
    image = open_image(path, placed)
    try:
        whole = _unzipped(path, image) if Path(path).suffix == ".gz" else image
        data = np.asarray(whole.dataobj, dtype=np.float32)
    except UNREADABLE as error:
        raise StudyError(unreadable(path, error)) from None
    if data.size != np.prod(data.shape[:3]):
        expected, remedy = "one three-dimensional volume", "Give one volume per file"
        raise StudyError(Problem(Path(path).name, "", expected, f"shape {data.shape}", remedy))
    found = nib.Nifti1Image(data.reshape(data.shape[:3]), image.affine)
    found.set_filename(path)
    return found


def read_head(path):
    """A T1-weighted image of a head, refused where its voxels, size or values are of no head."""
    image = read_image(path, placed=False)
    data, voxel = image.get_fdata(dtype=np.float32), nib.affines.voxel_sizes(image.affine)
    extent = voxel * data.shape
    expected, found = "a T1w image", few_values(data)
    if voxel.max() > COARSEST or extent.min() < SMALLEST:
        expected = f"voxels of at most {COARSEST:g} mm and {SMALLEST} mm of head in each direction"
        found = f"voxels of {voxel.round(2).tolist()} and {extent.round().tolist()} mm"
    elif not np.isfinite(data).all() or data.max() <= 0:
        expected, found = "finite values above 0", "none or NaN"
    if found:
        raise StudyError(Problem(Path(path).name, "", expected, found, "Is it another image?"))
    return image


def _unzipped(path, image):
    """The same image from what was packed: no more is kept than its header promises."""
    voxels = np.prod(image.shape, dtype=object)  # of any size
    size = image.dataobj.offset + image.get_data_dtype().itemsize * voxels
    with gzip.open(path) as file:
        content = file.read(size)
        while file.read(CHUNK):
            pass
    return type(image).from_bytes(content)


def unreadable(path, error):
    """The problem with a file that is not an image, or not a whole one."""
    name, said = Path(path).name, " ".join(str(error).split())
    said = said.replace(str(path), name)  # a line is shared, a folder is private
    text = f"a readable NIfTI image expected, found a damaged file or another: {said}"
    return Problem(name, text=text, remedy="Copy it again from its source")


def _invertible(affine):
    return abs(np.linalg.det(affine[:3, :3])) > np.finfo(np.float32).eps


def _says_where(image):
    """Whether a header places its voxels: an identity is what programs write for none."""
    named = [image.header[name] for name in ("sform_code", "qform_code") if name in image.header]
    return (not named or any(named)) and not np.allclose(image.affine, np.eye(4))


def few_values(data):
    """Words for values of which there are none, one, or two alone; empty for any other data."""
    known = data[np.isfinite(data)]
    low, high = (known.min(), known.max()) if known.size else (np.nan, np.nan)
    if not known.size or low == high:
        return f"the same value everywhere: {low:g}" if known.size else "not one finite value"
    alone = ((known == low) | (known == high)).all()
    return f"the values {low:g} and {high:g} alone, as in a mask" if alone else ""


def affine_text(affine):
    """The first three rows of an affine, on one line."""
    return np.array2string(affine[:3], precision=3, suppress_small=True).replace("\n", "")
