"""From T1-weighted images to maps: symmetry of the visits, volumes kept, known change, bad input.

The full chain on real images takes a minute each: benchmarks/preprocess.py runs it. Here its parts
run on small synthetic heads.
"""

import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from analysis_lib.atlas import files

ants = pytest.importorskip("ants", reason="antspyx is not installed")
pytest.importorskip("picsl_greedy", reason="picsl-greedy is not installed")

from analysis_lib.grey_matter import (  # noqa: E402 - each needs both
    alignment,
    images,
    process,
    settings,
    tissues,
)
from analysis_lib.grey_matter.change import change_between, sharpness_between  # noqa: E402 - a fixture is "change"

SETTINGS = settings.Settings(working_mm=3.0, output_mm=3.0, visit_iterations=(40, 30, 30))
FEW = replace(SETTINGS, visit_iterations=(10, 6, 3))  # for what holds after any number of steps


def _head(seed=0, shape=(60, 72, 60), mm=3.0):
    """A bright ellipsoid with blobs, as smooth as an image of that voxel size."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape) - np.reshape(np.array(shape) / 2, (3, 1, 1, 1))
    inside = (grid**2 / np.reshape([24.0**2, 29.0**2, 24.0**2], (3, 1, 1, 1))).sum(axis=0) < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    values = inside * (0.6 + 0.2 * texture / texture.std())
    values = np.clip(ndimage.gaussian_filter(values, 0.6), 0, 1)
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = -mm * np.array(shape) / 2
    return nib.Nifti1Image(values.astype(np.float32), affine), inside


def _as_ants(image):
    image.header.set_xyzt_units("mm", "sec")
    return ants.from_nibabel_nifti(image)


def _moved(image, degrees, shift, stretch=None, noise=0.004, seed=0):
    """The head turned and shifted, and stretched about a point (voxel) by a smooth field."""
    data = image.get_fdata()
    centre = np.array(data.shape) / 2
    angle = np.deg2rad(degrees)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    points = np.indices(data.shape).reshape(3, -1).T - centre
    points = points @ turn.T + centre + shift
    if stretch is not None:
        points = points + stretch(points)
    moved = ndimage.map_coordinates(data, points.T, order=3).reshape(data.shape)
    moved += np.random.default_rng(seed).normal(0, noise, data.shape)
    return nib.Nifti1Image(np.clip(moved, 0, None).astype(np.float32), image.affine)


@pytest.fixture(scope="module")
def pair():
    """Two visits: the second grew by about 12 % within 30 mm of a point, both moved a little."""
    head, inside = _head()
    point = np.array([24.0, 40.0, 30.0])

    def pull(points):
        away = points - point
        size = np.linalg.norm(away, axis=1, keepdims=True)
        return -0.037 * away * np.exp(-((size / 10) ** 4))

    with images.scratch_folder():
        first = _as_ants(_moved(head, 1.5, [0.4, -0.3, 0.2], seed=1))
        second = _as_ants(_moved(head, -1.5, [-0.4, 0.3, -0.2], pull, seed=2))
        to_visits = alignment.midpoint(first, second, SETTINGS)
    return first, second, to_visits, inside


def test_midpoint_undoes_half_of_the_movement_in_each_visit(pair):
    _, _, (to_first, to_second), _ = pair
    # the maps are each other's inverse, so that neither visit is favoured
    np.testing.assert_allclose(to_first @ to_second, np.eye(4), atol=1e-6)
    found = to_second @ np.linalg.inv(to_first)
    angle = np.rad2deg(np.arccos((np.trace(found[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(3, abs=0.15)


def test_exchanging_visits_exchanges_the_maps_and_keeps_the_grid(pair):
    first, second, (to_first, to_second), _ = pair
    with images.scratch_folder():
        again = alignment.midpoint(second, first, SETTINGS)
    np.testing.assert_allclose(again[0], to_second, atol=1e-6)
    np.testing.assert_allclose(again[1], to_first, atol=1e-6)
    one = alignment.midpoint_grid([first, second], [to_first, to_second], 3.0)
    other = alignment.midpoint_grid([second, first], again, 3.0)
    assert one.shape == other.shape
    np.testing.assert_allclose(one.origin, other.origin)


@pytest.fixture(scope="module")
def change(pair):
    first, second, to_visits, _ = pair
    with images.scratch_folder():
        grid = alignment.midpoint_grid([first, second], to_visits, 3.0)
        visits = [
            process._moved(image, grid, matrix)
            for image, matrix in zip((first, second), to_visits, strict=True)
        ]
        skull = images.image_like(grid, (process._mean(visits).numpy() > 0.2).astype(float))
        found, _ = change_between(*visits, skull, SETTINGS)
    return found, visits, skull


def test_known_growth_is_found_where_it_is_and_nowhere_else(change):
    found, _, skull = change
    percent = 100 * (np.exp(found.numpy()) - 1)
    shape = np.array(found.shape)
    # the point of growth, from the head's voxels to the midpoint grid (LPS)
    lps = (np.array([24.0, 40.0, 30.0]) - np.array([60, 72, 60]) / 2) * 3 * [-1, -1, 1]
    place = np.round((lps - found.origin) / found.spacing).astype(int)
    away = np.linalg.norm((np.indices(shape).T - place).T * 3.0, axis=0)
    grown = percent[(away < 15) & (skull.numpy() > 0)].mean()
    still = percent[(away > 55) & (skull.numpy() > 0)].mean()
    assert grown == pytest.approx(12, abs=4)
    assert abs(still) < 0.5


def test_exchanging_visits_changes_the_sign_and_nothing_else(change):
    _, visits, skull = change
    with images.scratch_folder():
        pairs = [change_between(*v, skull, FEW) for v in (visits, visits[::-1])]
    (found, error), (swapped, same) = [[part.numpy() for part in pair] for pair in pairs]
    assert np.abs(found).max() > 0.03
    np.testing.assert_array_equal(swapped, -found)
    np.testing.assert_array_equal(same, error)
    assert 0 < np.abs(error).mean() < np.abs(found).mean()


def test_the_same_visit_twice_has_not_changed(change):
    _, visits, skull = change
    with images.scratch_folder():
        found, error = change_between(visits[0], visits[0], skull, FEW)
    assert np.abs(found.numpy()).max() < 1e-6
    assert np.abs(error.numpy()).max() < 0.01


def test_sharpness_falls_by_what_a_known_blur_takes_from_noise():
    noise = np.random.default_rng(0).standard_normal((48, 48, 48)).astype("f4")
    sharp = images.ants.from_numpy(noise, spacing=(1.0,) * 3)
    blurred = images.image_like(sharp, 3 * ndimage.gaussian_filter(noise, 2.0))
    found = sharpness_between(sharp, blurred, SETTINGS).numpy()[12:-12, 12:-12, 12:-12]
    # white noise smoothed by s has a root mean squared gradient in proportion to s^(-5/2)
    own = SETTINGS.visit_blur_mm
    expected = np.log(3) - 2.5 * np.log(np.hypot(own, 2.0) / own)
    assert found.mean() == pytest.approx(expected, abs=0.05)
    assert np.abs(sharpness_between(sharp, sharp, SETTINGS).numpy()).max() == 0


def test_visits_compared_on_a_coarser_grid_give_the_same_change_on_their_own(change):
    found, visits, skull = change
    smoothing = tuple(voxels * 3 / 4.5 for voxels in SETTINGS.visit_smoothing)  # the same in mm
    coarser = replace(SETTINGS, coarse_mm=4.5, visit_radius=2, visit_smoothing=smoothing)
    with images.scratch_folder():
        again, _ = change_between(*visits, skull, coarser)
    assert again.shape == found.shape
    inside = skull.numpy() > 0
    assert np.corrcoef(found.numpy()[inside], again.numpy()[inside])[0, 1] > 0.9


BRIGHT = {"csf": 0.25, "grey": 0.55, "white": 0.75}


def _shells(radii=(5.0, 9.0, 13.0), side=32, fine=8):
    """Spheres within one another, white, grey, fluid: what each voxel holds, sampled finely."""
    steps = (np.arange(side * fine) + 0.5) / fine - side / 2 + 0.2  # centre beside a voxel's
    slabs = []
    for part in np.split(steps, side):
        away = np.sqrt(part[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2)
        count = np.searchsorted(radii, away)
        cubes = count.reshape(fine, side, fine, side, fine)
        slabs.append([(cubes == k).mean(axis=(0, 2, 4)) for k in (2, 1, 0)])
    return dict(zip(BRIGHT, np.moveaxis(slabs, 0, 1), strict=True))


def _likely(brightness, sd=0.06):
    """What a classifier by brightness alone would say, one spread for all tissues."""
    odds = {name: np.exp(-(((brightness - mean) / sd) ** 2) / 2) for name, mean in BRIGHT.items()}
    return {name: odd / sum(odds.values()) for name, odd in odds.items()}


@pytest.fixture(scope="module")
def shells():
    truth = _shells()
    inside = sum(truth.values()) > 0.99
    truth = {name: np.where(inside, share, 0) for name, share in truth.items()}
    return truth, sum(truth[name] * mean for name, mean in BRIGHT.items()), inside


def test_phantom_of_shells_has_the_volumes_of_the_formula(shells):
    truth = _shells()
    assert truth["white"].sum() == pytest.approx(4 / 3 * np.pi * 5**3, rel=1e-3)
    assert truth["grey"].sum() == pytest.approx(4 / 3 * np.pi * (9**3 - 5**3), rel=1e-3)


def test_fractions_of_mixed_voxels_are_found_where_probabilities_are_not(shells):
    truth, brightness, inside = shells
    likely = _likely(brightness)
    found = tissues.volume_fractions(brightness, likely, inside, 3.0)
    # Not exactly: by this classifier voxels of up to a third of grey matter are certainly white,
    # so that the mean of white is too low. In a sphere of five voxels that is 3 % of the volume.
    for name in BRIGHT:
        assert np.abs(found[name] - truth[name])[inside].mean() < 0.012, name
        assert found[name].sum() == pytest.approx(truth[name].sum(), rel=0.035)
    assert found["grey"].sum() == pytest.approx(truth["grey"].sum(), rel=0.01)
    wrong = np.abs(likely["grey"] - truth["grey"])[inside].mean()
    assert wrong > 3 * np.abs(found["grey"] - truth["grey"])[inside].mean()
    np.testing.assert_allclose(sum(found.values()), inside, atol=1e-12)


def test_fractions_keep_the_volume_with_noise_and_with_brighter_grey_matter_in_one_half(shells):
    truth, brightness, inside = shells
    rng = np.random.default_rng(0)
    half = np.arange(len(brightness))[:, None, None] < len(brightness) / 2
    noisy = brightness + 0.05 * half * truth["grey"] + rng.normal(0, 0.02, brightness.shape)
    found = tissues.volume_fractions(noisy, _likely(noisy), inside, 3.0)
    everywhere = tissues.volume_fractions(noisy, _likely(noisy), inside, 1e3)
    for part in (half, ~half):
        expected = (truth["grey"] * part).sum()
        assert (found["grey"] * part).sum() == pytest.approx(expected, rel=0.04)
    # one mean for the whole head mistakes the brighter half
    error, coarser = ((f["grey"] - truth["grey"])[inside] for f in (found, everywhere))
    assert np.abs(error).mean() < np.abs(coarser).mean()


def test_the_wall_of_a_ventricle_is_no_grey_matter():
    # fluid and white matter alone: their mixture is as bright as grey matter
    away = np.abs(np.arange(-10.25, 10))[:, None, None] + np.zeros((21, 9, 9))
    fluid = np.clip(5 - away + 0.5, 0, 1)
    brightness = BRIGHT["csf"] * fluid + BRIGHT["white"] * (1 - fluid)
    brightness[-1] = BRIGHT["grey"]  # a little cortex, for its mean
    likely = {"csf": fluid, "grey": np.zeros_like(fluid), "white": 1 - fluid}
    likely["grey"][-1], likely["white"][-1] = 1, 0
    found = tissues.volume_fractions(brightness, likely, np.ones(fluid.shape, bool), 3.0)
    assert found["grey"][:-2].max() == 0
    np.testing.assert_allclose(found["csf"], fluid, atol=0.02)


def test_an_image_without_one_of_the_tissues_is_no_head():
    flat, inside = np.full((6, 6, 6), 0.5), np.ones((6, 6, 6), bool)
    likely = {"csf": flat * 0, "grey": flat * 2, "white": flat * 0}
    with pytest.raises(ValueError, match="no voxel is certainly csf"):
        tissues.volume_fractions(flat, likely, inside, 2.0)


def test_modulation_keeps_the_volume():
    """A density brought to MNI152 and multiplied by the Jacobian sums to what it was."""
    head, inside = _head(mm=2.5)
    density = _as_ants(nib.Nifti1Image(inside.astype(np.float32), head.affine))
    template = _as_ants(head)
    field = np.zeros((*template.shape, 3), np.float32)
    grid = np.indices(template.shape).astype(float)
    wave = 2.0 * np.sin(2 * np.pi * grid[0] / 40)
    field[..., 1] = ndimage.gaussian_filter(wave, 2)
    matrix = np.diag([1.1, 0.95, 1.02, 1.0])
    with images.scratch_folder() as folder:
        moved = ants.from_numpy(
            field, origin=template.origin, spacing=template.spacing, has_components=True
        )
        moved.set_direction(template.direction)
        path = str(folder / "field.nii.gz")
        ants.image_write(moved, path)
        affine = process._affine_file(matrix)
        local = ants.create_jacobian_determinant_image(template, path).numpy()
        warp = process._Warp([path, affine], [], [], local * np.linalg.det(matrix[:3, :3]))
        templates = settings.Templates(None, None, template, template, {})
        found = process._modulated(density, warp, templates)
    assert found.numpy().sum() == pytest.approx(density.numpy().sum(), rel=0.01)


@pytest.mark.parametrize(
    ("change_it", "message"),
    [
        (lambda image: None, "a readable NIfTI image expected"),
        (lambda image: image.slicer[:20], "120 mm of head in each direction expected"),
        (
            lambda image: nib.Nifti1Image(np.stack([image.get_fdata()] * 2, -1), image.affine),
            "one three-dimensional volume expected, found shape",
        ),
        (
            lambda image: nib.Nifti1Image(image.get_fdata()[::2, ::2, ::2], image.affine * 2),
            "voxels of at most 3 mm",
        ),
        (
            lambda image: nib.Nifti1Image(np.full(image.shape, np.nan), image.affine),
            "finite values above 0 expected",
        ),
    ],
)
def test_what_is_no_head_is_refused_by_name(tmp_path, change_it, message):
    image = change_it(_head()[0])
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.write_bytes(b"no image") if image is None else nib.save(image, path)
    with pytest.raises(ValueError, match=message) as caught:
        alignment.read_t1w(path)
    assert path.name in str(caught.value)


def test_images_are_read_in_any_orientation_as_one(tmp_path):
    image, _ = _head()
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PSR")
        )
    )
    found = []
    for name, one in (("ras", image), ("psr", turned)):
        nib.save(one, tmp_path / f"{name}.nii.gz")
        found.append(alignment.read_t1w(tmp_path / f"{name}.nii.gz"))
    np.testing.assert_allclose(found[0].numpy(), found[1].numpy(), atol=1e-6)
    np.testing.assert_allclose(found[0].origin, found[1].origin)
    assert found[0].numpy().max() == 1


def test_a_nifti_goes_to_ants_and_back_to_the_same_place():
    image, _ = _head()
    back = process._nifti(_as_ants(image))
    np.testing.assert_allclose(back.affine, image.affine)
    np.testing.assert_allclose(back.get_fdata(), image.get_fdata())


def test_templates_that_were_not_fetched_are_named_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m analysis_lib fetch templates"):
        settings.load_templates(SETTINGS, tmp_path)


@pytest.fixture(scope="module")
def real(reference_data, tmp_path_factory):
    """Templates, and a real whole head at 3 mm."""
    cache = tmp_path_factory.mktemp("cache")
    for file in files.TEMPLATES:
        path = cache / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = reference_data / "data" / "templates" / f"{path.name}.gz"
        path.write_bytes(gzip.decompress(packed.read_bytes()))
    image = reference_data / "data" / "t1w" / "ixi10" / "IXI013-HH-1212-T1_ds.nii.gz"
    with images.scratch_folder():
        native = alignment.read_t1w(image)
        grid = alignment.midpoint_grid([native], [np.eye(4)], SETTINGS.working_mm)
        head = process._moved(native, grid, np.eye(4))
    return settings.load_templates(SETTINGS, cache), head


def test_tissue_priors_add_up_and_deep_grey_matter_leaves_the_others_less(real):
    templates, _ = real
    priors = {name: image.numpy() for name, image in templates.priors.items()}
    assert tuple(priors) == settings.TISSUES
    total = sum(priors.values())
    assert min(p.min() for p in priors.values()) >= 0
    assert total.max() < 1.001
    putamen = nib.affines.apply_affine(
        np.linalg.inv(process._nifti(templates.brain).affine), [-25, 3, 0]
    )
    there = tuple(np.round(putamen).astype(int))
    shares = {
        name: process._nifti(image).get_fdata()[there] for name, image in templates.priors.items()
    }
    assert shares["deep"] > 0.8
    assert shares["grey"] + shares["white"] < 0.2


def test_the_inside_of_a_real_skull_has_the_volume_that_another_program_found(real, reference_data):
    templates, head = real
    with images.scratch_folder():
        skull, white = tissues.inside_skull(head, SETTINGS, templates)
    volumes = pd.read_csv(reference_data / "data" / "t1w" / "ixi10" / "IXI_dlmuse.csv")
    theirs = volumes.set_index("MRID").loc["IXI013-HH-1212", "702"]
    assert skull.numpy().sum() * 27 == pytest.approx(theirs, rel=0.04)
    # white matter is likely where the image is bright
    inside = skull.numpy() > 0.5
    bright = head.numpy()[inside & (white.numpy() > 0.8)].mean()
    assert bright > 1.15 * head.numpy()[inside & (white.numpy() < 0.2)].mean()


def test_tissues_are_the_same_each_time(real):
    templates, head = real
    inside = images.image_like(head, np.zeros(head.shape))
    middle = tuple(slice(n // 2 - 8, n // 2 + 8) for n in head.shape)
    values = inside.numpy()
    values[middle] = 1
    skull = images.image_like(head, values)
    nowhere = process._Warp([], [], [], np.ones(1))  # the template is where the head is
    with images.scratch_folder():
        found = [
            tissues.segment(head, skull, nowhere, SETTINGS, templates)["grey"].numpy()
            for _ in range(2)
        ]
    assert found[0].max() > 0.5
    np.testing.assert_array_equal(*found)
