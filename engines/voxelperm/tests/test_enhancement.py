"""TFCE: against a brute-force integral, closed forms, niimath, nilearn, and the sum of PALM."""

import subprocess

import numpy as np
import pytest
from scipy import ndimage

from voxelperm import tfce
from voxelperm.neighbours import CONNECTIVITY


def brute_force(stat, mask, extent_power, height_power, connectivity):
    """The integral added up between every two neighbouring values of the image."""
    structure = ndimage.generate_binary_structure(3, CONNECTIVITY[connectivity])
    total = np.zeros(stat.shape)
    for sign in (1, -1):
        values = np.where(mask, sign * stat, 0)
        below = 0.0
        for height in np.unique(values[values > 0]):
            labels, _ = ndimage.label(values >= height, structure)
            sizes = np.bincount(labels.ravel()).astype(float) ** extent_power
            sizes[0] = 0
            power = height_power + 1
            total += sign * sizes[labels] * (height**power - below**power) / power
            below = height
    return total


def smooth_noise(shape=(24, 26, 22), seed=0):
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return 1.3 * smooth / smooth.std()


POWERS = [(0.5, 2.0), (1.0, 1.0), (0.25, 0.0), (0.5, 1.5)]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("powers", POWERS)
def test_equals_the_brute_force_integral_of_noise(connectivity, powers):
    stat = np.round(2 * smooth_noise((9, 8, 7), seed=5)) / 2  # ties and plateaus occur
    mask = smooth_noise((9, 8, 7), seed=6) > -1
    expected = brute_force(stat, mask, *powers, connectivity)
    np.testing.assert_allclose(tfce(stat, mask, *powers, connectivity), expected, atol=1e-9)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_equals_the_brute_force_integral_of_any_image(connectivity, oracle):
    hypothesis, st = oracle("hypothesis"), oracle("hypothesis.strategies")
    hnp = oracle("hypothesis.extra.numpy")

    @hypothesis.settings(max_examples=25, deadline=None)
    @hypothesis.given(data=st.data())
    def check(data):
        shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5))
        # few distinct values, so that ties and plateaus occur
        values = st.sampled_from(np.arange(-3, 3.5, 0.5))
        stat = data.draw(hnp.arrays(float, shape, elements=values))
        mask = data.draw(hnp.arrays(bool, shape))
        powers = data.draw(st.sampled_from(POWERS))
        expected = brute_force(stat, mask, *powers, connectivity)
        np.testing.assert_allclose(tfce(stat, mask, *powers, connectivity), expected, atol=1e-9)

    check()


def test_a_single_voxel_and_a_plateau_have_closed_forms():
    stat = np.zeros((5, 5, 5))
    stat[0, 0, 0] = 3
    stat[2:4, 2:4, 2:4] = -2
    enhanced = tfce(stat, np.ones((5, 5, 5), bool))
    assert enhanced[0, 0, 0] == pytest.approx(3**3 / 3)
    assert enhanced[2, 2, 2] == pytest.approx(-np.sqrt(8) * 2**3 / 3)
    assert (enhanced[stat == 0] == 0).all()


def test_agrees_with_niimath_where_its_steps_become_fine(tmp_path, oracle):
    nib, niimath = oracle("nibabel"), oracle("niimath")
    stat = np.pad(smooth_noise(), 2)  # niimath's neighbours wrap around the edge of the volume
    path = tmp_path / "t.nii.gz"
    nib.save(nib.Nifti1Image(np.maximum(stat, 0).astype(np.float32), np.eye(4)), path)
    command = [niimath.bin, path, "-tfce", "2", "0.5", "6", tmp_path / "out.nii.gz"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    theirs = nib.load(tmp_path / "out.nii.gz").get_fdata() * stat.max() / 100  # adds, no step
    ours = np.maximum(tfce(stat, np.ones(stat.shape, bool)), 0)
    compare(ours, theirs)


def test_agrees_with_nilearn_where_its_steps_become_fine(oracle):
    calculate_tfce = oracle("nilearn.mass_univariate._utils").calculate_tfce
    stat = smooth_noise(seed=1)
    structure = ndimage.generate_binary_structure(3, 1)
    n_steps = 400
    step = np.abs(stat).max() / n_steps
    theirs = calculate_tfce(stat[..., None], structure, dh=step)[..., 0] * step
    compare(tfce(stat, np.ones(stat.shape, bool)), theirs)


def test_agrees_with_the_sum_of_palm():
    """palm_tfce.m adds e(h)^E h^H dh at a hundred heights."""
    stat = np.maximum(smooth_noise(seed=7), 0)
    step, theirs = stat.max() / 100, np.zeros(stat.shape)
    for height in step * np.arange(1, 101):
        labels, _ = ndimage.label(stat >= height)
        sizes = np.bincount(labels.ravel()) * (np.arange(labels.max() + 1) > 0)
        theirs += sizes[labels] ** 0.5 * height**2 * step
    ours = tfce(stat, np.ones(stat.shape, bool))
    compare(ours, theirs)


def compare(ours, theirs):
    slope = (ours * theirs).sum() / (theirs**2).sum()
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
    assert slope == pytest.approx(1, abs=0.005)


def test_values_that_are_not_finite_are_refused():
    stat = np.zeros((3, 3, 3))
    stat[1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="finite values in the mask expected, found 1"):
        tfce(stat, np.ones((3, 3, 3), bool))


def test_shapes_that_differ_and_an_unknown_connectivity_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        tfce(np.zeros((3, 3, 3)), np.ones((3, 3, 2), bool))
    with pytest.raises(ValueError, match="6, 18 or 26 expected, found 8"):
        tfce(np.zeros((3, 3, 3)), np.ones((3, 3, 3), bool), connectivity=8)
