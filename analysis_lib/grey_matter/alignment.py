"""Two visits brought to their midpoint."""

import nibabel as nib
import numpy as np
from scipy.linalg import expm, logm

from analysis_lib.grey_matter.images import image_like, read_matrix
from analysis_lib.grey_matter.itk import ants
from analysis_lib.study.image_file import read_head


def read_t1w(path):
    """A T1-weighted image, nearest to RAS orientation, its values from 0 to 1."""
    image = read_head(path)
    data = np.clip(image.get_fdata(dtype=np.float32), 0, None)
    head = nib.as_closest_canonical(nib.Nifti1Image(data, image.affine))
    head.header.set_xyzt_units("mm", "sec")
    return scaled(ants.from_nibabel_nifti(head))


def scaled(image, top=0.999):
    """Values from 0 to 1, the brightest thousandth cut: fat and vessels would rule otherwise."""
    values = image.numpy()
    high = np.quantile(values[values > 0], top)
    return image_like(image, np.clip(values, 0, high) / high)


def midpoint(first, second, settings):
    """Rigid maps from a halfway space (points, LPS, mm) to each of two images: two (4, 4).

    The images are registered both ways, and the two answers averaged as logarithms of matrices, so
    that exchanging the images exchanges the maps and changes nothing else.
    """
    there, back = (
        np.real(logm(_rigid(*pair, settings))) for pair in ((first, second), (second, first))
    )
    half = (there - back) / 4
    return [expm(-half), expm(half)]


def _rigid(fixed, moving, settings):
    """Matrix (4, 4) that takes points of `fixed` to points of `moving`."""
    found = ants.registration(
        fixed,
        moving,
        type_of_transform="Rigid",
        aff_iterations=settings.affine_iterations,
    )
    return read_matrix(found["fwdtransforms"][0])


def midpoint_grid(images, to_images, spacing):
    """An empty image that holds all of some images, seen from the halfway space of `midpoint`.

    It has voxels of ``spacing`` mm, and is the same for images in another order.
    """
    corners = np.vstack(
        [_corners(image) @ np.linalg.inv(m).T for image, m in zip(images, to_images, strict=True)]
    )[:, :3]
    low = np.floor(corners.min(axis=0))
    shape = np.ceil((corners.max(axis=0) - low) / spacing).astype(int) + 1
    return ants.make_image(
        tuple(shape.tolist()),
        voxval=0,
        spacing=(float(spacing),) * 3,
        origin=tuple(low.tolist()),
        direction=np.eye(3),
    )


def _corners(image):
    """The eight corners, LPS, mm, homogeneous (8, 4)."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(3, -1).T
    points = np.array(image.origin) + (ends * image.spacing) @ np.array(image.direction).T
    return np.column_stack([points, np.ones(8)])
