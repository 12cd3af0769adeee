"""Images between ANTs, SimpleITK and greedy: converted, masked, registered."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from analysis_lib.grey_matter.itk import Greedy3D, SimpleITK, ants


def read_matrix(path):
    """An affine file of ITK's as one matrix: A (x - c) + c + t."""
    transform = ants.read_transform(path)
    numbers, centre = np.array(transform.parameters), np.array(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return matrix


def coarsened(image, settings):
    """As coarse as what is compared."""
    return ants.resample_image(image, (settings.compared_mm,) * 3, interp_type=0)


def to_itk(image):
    """For greedy: the same voxels at the same place."""
    found = SimpleITK.GetImageFromArray(image.numpy().T)
    found.SetSpacing(image.spacing)
    found.SetOrigin(image.origin)
    found.SetDirection(np.array(image.direction).ravel())
    return found


def greedy_registration(fixed, moving, more, iterations, radius, smoothing, **images):
    """A deformation of `fixed` towards `moving`, in the result as "warp"."""
    window, levels = "x".join([str(radius)] * 3), "x".join(map(str, iterations))
    step, whole = smoothing
    greedy = Greedy3D()
    greedy.execute(
        f"-i fixed moving {more} -m NCC {window} -n {levels} -s {step}vox {whole}vox "
        # by default greedy adds random noise to images and rounds to a tenth of a voxel
        "-noise 0 -wp 0 -o warp -threads 1 -V 0",
        fixed=to_itk(fixed),
        moving=to_itk(moving),
        warp=None,
        **images,
    )
    return greedy


@contextmanager
def scratch_folder():
    """ANTs leaves its transforms in the temporary folder: one that goes away afterwards."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="midpoint-") as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def image_like(image, values):
    """Values on the grid of an image."""
    return image.new_image_like(np.ascontiguousarray(values, dtype=np.float32))


def as_mask(skull):
    """The inside of a skull as 0 and 1."""
    return ants.threshold_image(skull, 0.5, 2)


def with_margin(skull, margin_mm):
    """The brain and what is kept around it when an image is cropped."""
    return ants.iMath(as_mask(skull), "MD", round(margin_mm / skull.spacing[0]))
