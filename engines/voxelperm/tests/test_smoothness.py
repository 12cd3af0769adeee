"""Smoothness of residuals: white noise smoothed by known Gaussian kernels, with effects added."""

import numpy as np
import pytest
from scipy import ndimage

from voxelperm import residual_maps, smoothness

FWHM = (3.0, 4.5, 7.0)
ARM = np.repeat([1.0, 0.0], 10)


@pytest.fixture(scope="module")
def noise():
    white = np.random.default_rng(1).standard_normal((20, 44, 44, 44))
    sigma = np.array(FWHM) / np.sqrt(8 * np.log(2))
    return ndimage.gaussian_filter(white, (0, *sigma), mode="wrap")


def test_a_known_kernel_is_found_in_a_mask_of_any_shape_whatever_the_effect_and_spread(noise):
    mask = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((44,) * 3), 6) > -0.01
    age = np.random.default_rng(3).standard_normal(20)
    maps = noise[:, mask] * (1 + ARM)[:, None]
    maps += np.outer(5 * ARM + age, np.linspace(1, 3, mask.sum())) + 4
    found = smoothness(maps, mask, ARM, age)
    np.testing.assert_allclose(found.fwhm, FWHM, rtol=0.03)
    assert found.resels == pytest.approx(mask.sum() / np.prod(FWHM), rel=0.08)
    assert (smoothness(maps, mask, np.ones(20), intercept=False).fwhm > 2 * found.fwhm).all()


def test_few_participants_give_the_same_width(noise):
    mask = np.ones((44,) * 3, bool)
    some = [smoothness(noise[i : i + 5, mask], mask, np.ones(5), None, False) for i in (0, 5, 10)]
    np.testing.assert_allclose(np.mean([s.fwhm for s in some], axis=0), FWHM, rtol=0.04)


def test_white_noise_has_hardly_any_width():
    maps = np.random.default_rng(0).standard_normal((12, 20**3))
    assert (smoothness(maps, np.ones((20,) * 3, bool), ARM[4:16]).fwhm < 1).all()


def test_voxels_without_variance_do_not_count(noise):
    mask = np.ones((44,) * 3, bool)
    maps = noise.reshape(20, -1).copy()
    maps[:, :40_000] = 0
    np.testing.assert_allclose(smoothness(maps, mask, ARM).fwhm, FWHM, rtol=0.04)


def test_residuals_are_those_of_least_squares(noise):
    maps = noise[:, :3, :3, :3].reshape(20, -1)
    columns = np.column_stack([np.ones(20), ARM, maps[:, 0] ** 2])
    expected = maps - columns @ np.linalg.lstsq(columns, maps, rcond=None)[0]
    found = np.array(list(residual_maps(maps, ARM, columns[:, 2])))
    np.testing.assert_allclose(found, expected, atol=1e-10)
