"""Surrogates against brainspace and brainsmash, and against what each method keeps."""

import numpy as np
import pytest
from brainsmash.mapgen.base import Base
from scipy import stats
from scipy.spatial.distance import cdist

from analysis_lib.atlas import distances, grids, parcellation
from analysis_lib.receptors import correlation, nulls
from analysis_lib.receptors import surrogates as receptors_surrogates

XYZ = np.array([[0, 0, 0], [10, 3, 0], [4, 12, 5], [-7, 6, 9], [2, -8, 11.0]])
VALUES = np.array([1.2, -0.4, 2.5, 0.3, -1.6])
# brainspace 0.3.0, MoranRandomization(procedure="singleton", tol=1e-6) on 1 / distance with ones on
# the diagonal, as neuromaps calls it: the 2^4 surrogates that exist for five points.
BRAINSPACE = [
    [-1.1035, -0.0852, -0.8894, 2.3293, 1.7488],
    [-0.9942, -0.0746, -0.9967, 2.3850, 1.6806],
    [-0.9459, 1.7705, 1.1929, 1.5799, -1.5973],
    [-0.8367, 1.7812, 1.0855, 1.6355, -1.6656],
    [-0.5093, 1.1894, -1.5927, 0.4443, 2.4682],
    [-0.4000, 1.2000, -1.7000, 0.5000, 2.4000],
    [-0.3517, 3.0451, 0.4896, -0.3051, -0.8779],
    [-0.2424, 3.0558, 0.3823, -0.2495, -0.9461],
    [1.0424, -2.2558, 0.4177, 1.0495, 1.7461],
    [1.1517, -2.2451, 0.3104, 1.1051, 1.6779],
    [1.2000, -0.4000, 2.5000, 0.3000, -1.6000],
    [1.3093, -0.3894, 2.3927, 0.3557, -1.6682],
    [1.6367, -0.9812, -0.2855, -0.8355, 2.4656],
    [1.7459, -0.9705, -0.3929, -0.7799, 2.3973],
    [1.7942, 0.8746, 1.7967, -1.5850, -0.8806],
    [1.9035, 0.8852, 1.6894, -1.5293, -0.9488],
]


@pytest.fixture(scope="module")
def cloud():
    """Sixty points in a 100 mm cube, their distances, and a smooth map with heavy tails."""
    rng = np.random.default_rng(7)
    points = rng.uniform(0, 100, (60, 3))
    distances = cdist(points, points)
    values = np.exp(points[:, 0] / 25 + 0.2 * rng.standard_normal(60))
    return distances, values


def morans_i(maps, distances):
    """Moran's I of maps (n_maps, n_parcels) or of one, under weights 1 / distance: (n_maps,)."""
    deviation = np.atleast_2d(maps) - np.mean(maps, axis=-1, keepdims=True)
    i, j = np.triu_indices(len(distances), k=1)
    weights = 1 / distances[i, j]
    products = (weights * deviation[:, i] * deviation[:, j]).sum(axis=1)
    return len(distances) / weights.sum() * products / (deviation**2).sum(axis=1)


def test_surrogates_are_those_of_brainspace():
    found = receptors_surrogates.moran_surrogates(
        VALUES, cdist(XYZ, XYZ), 400, seed=0, gaussianise=False
    )
    found = np.unique(np.round(found, 6), axis=0)
    assert found.shape == (16, 5)
    np.testing.assert_allclose(found, BRAINSPACE, atol=2e-4)


@pytest.fixture(scope="module")
def real_regions():
    """Labels, homologues and mirrored distances of the 119 regions of neuromorphometrics."""
    parcels = parcellation.load_atlas("neuromorphometrics")
    labels = grids.grey_matter_labels(parcels)
    plain = distances.parcel_distances(parcels, labels)
    mirrored, allowed = distances.mirrored(plain, parcels, labels)
    assert allowed
    return distances.homologues(parcels, labels), plain, mirrored


@pytest.mark.parametrize("gaussianise", [True, False])
def test_surrogates_of_a_symmetric_map_stay_symmetric_on_119_regions(real_regions, gaussianise):
    homologue, plain, mirrored = real_regions
    values = np.random.default_rng(9).normal(size=119)
    values = values + values[homologue]
    options = {"n": 50, "seed": 0, "gaussianise": gaussianise}
    found = receptors_surrogates.moran_surrogates(values, mirrored, **options)
    np.testing.assert_allclose(found, found[:, homologue], atol=1e-8)
    lopsided = receptors_surrogates.moran_surrogates(values, plain, **options)
    assert np.abs(lopsided - lopsided[:, homologue]).max() > 1


def test_mean_variance_and_morans_i_are_kept_and_the_seed_repeats(cloud):
    distances, values = cloud
    found = receptors_surrogates.moran_surrogates(values, distances, 50, 3, gaussianise=False)
    np.testing.assert_allclose(found.mean(axis=1), values.mean())
    np.testing.assert_allclose(found.std(axis=1), values.std())
    observed = morans_i(values, distances)
    np.testing.assert_allclose(morans_i(found, distances), np.repeat(observed, 50))
    again = receptors_surrogates.moran_surrogates(values, distances, 50, 3, gaussianise=False)
    np.testing.assert_array_equal(found, again)
    assert (
        found != receptors_surrogates.moran_surrogates(values, distances, 50, 4, gaussianise=False)
    ).any()


def test_eigenvectors_are_orthonormal_centred_and_ordered_from_smooth_to_rough(cloud):
    distances, _ = cloud
    vectors = receptors_surrogates.moran_eigenvectors(distances)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(59), atol=1e-10)
    np.testing.assert_allclose(vectors.sum(axis=0), 0, atol=1e-10)
    assert (np.diff(morans_i(vectors.T, distances)) < 1e-12).all()


def test_surrogates_of_normal_scores_are_as_smooth_as_these_and_not_ranked_again(cloud):
    distances, values = cloud
    scores = correlation.gaussianise(values)
    found, of_scores = (
        receptors_surrogates.moran_surrogates(x, distances, 20, 1, gaussianise)
        for x, gaussianise in ((values, True), (scores, False))
    )
    np.testing.assert_allclose(found, of_scores, atol=1e-6)
    np.testing.assert_allclose(morans_i(found, distances), morans_i(scores, distances)[0], 1e-4)


def test_surrogates_of_a_smooth_map_are_smooth_and_of_noise_are_not(cloud):
    distances, values = cloud
    noise = np.random.default_rng(1).standard_normal(60)
    smooth, rough = (
        morans_i(receptors_surrogates.moran_surrogates(x, distances, 200, 2), distances).mean()
        for x in (values, noise)
    )
    assert smooth > 0.8 * morans_i(correlation.gaussianise(values), distances)[0] > 0.1
    assert abs(rough) < 0.05


def test_parcels_without_a_value_take_no_part(cloud):
    distances, values = cloud
    holed = values.copy()
    holed[[4, 30]] = np.nan
    found = receptors_surrogates.moran_surrogates(holed, distances, 10, 5)
    kept = ~np.isnan(holed)
    assert np.isnan(found[:, ~kept]).all()
    alone = receptors_surrogates.moran_surrogates(
        values[kept], distances[np.ix_(kept, kept)], 10, 5
    )
    np.testing.assert_array_equal(found[:, kept], alone)


def test_bad_input_is_refused(cloud):
    distances, values = cloud
    with pytest.raises(ValueError, match=r"shape \(60, 60\), expected \(59, 59\)"):
        receptors_surrogates.moran_surrogates(values[1:], distances, 5, 0)
    twins = distances.copy()
    twins[0, 1] = twins[1, 0] = 0
    with pytest.raises(ValueError, match="must be positive and finite"):
        receptors_surrogates.moran_surrogates(values, twins, 5, 0)
    with pytest.raises(ValueError, match="must be symmetric"):
        receptors_surrogates.moran_surrogates(values, distances + np.tri(60), 5, 0)


def test_spatial_p_is_near_its_level_where_the_parametric_one_is_not(cloud):
    """300 pairs of unrelated smooth maps with heavy tails."""
    distances, _ = cloud
    rng = np.random.default_rng(21)
    smooth = np.linalg.cholesky(np.exp(-distances / 60) + 1e-9 * np.eye(60))
    rejected, parametric = 0, 0
    for seed in range(300):
        effect, other = np.exp(smooth @ rng.standard_normal((60, 2))).T
        surrogates = receptors_surrogates.moran_surrogates(effect, distances, 99, seed)
        found = nulls.spatial_test(effect, other, surrogates)
        rejected += found.p[0] <= 0.05
        parametric += nulls.parametric_p(found.r[0], 60) <= 0.05
    assert rejected <= stats.binom.ppf(0.999, 300, 0.07)
    assert parametric > 60


# --- variogram-matched surrogates ---


@pytest.fixture(scope="module")
def smooth_map(cloud):
    """Normal scores of the cloud's map, and of another that they are correlated with."""
    distances, values = cloud
    other = np.linalg.cholesky(np.exp(-distances / 50) + 1e-9 * np.eye(60))
    other = other @ np.random.default_rng(9).standard_normal(60)
    return correlation.gaussianise(values), correlation.gaussianise(other)


def misfit(surrogates, target, distances):
    """Mean squared log ratio of each surrogate's variogram to the target's."""
    _, expected = receptors_surrogates.variogram(target, distances)
    _, found = receptors_surrogates.variogram(surrogates, distances)
    return (np.log(found / expected) ** 2).mean(axis=1)


@pytest.mark.parametrize("resample", [True, False])
def test_variogram_surrogates_are_distributed_like_those_of_brainsmash(cloud, smooth_map, resample):
    """Same misfit of variograms, same null of a correlation: two-sample tests, 1,000 of each."""
    distances, (values, other) = cloud[0], smooth_map
    theirs = Base(values, distances, resample=resample, seed=1)(1000, batch_size=100)
    ours = receptors_surrogates.variogram_surrogates(
        values, distances, 1000, 1, gaussianise=resample
    )
    for statistic in (
        lambda maps: misfit(maps, values, distances),
        lambda maps: correlation.correlate(maps, other, "pearson")[:, 0],
        lambda maps: morans_i(maps, distances),
        lambda maps: maps.std(axis=1).round(12),
    ):
        assert stats.ks_2samp(statistic(ours), statistic(theirs)).pvalue > 0.01
    spread = [correlation.correlate(m, other, "pearson").std() for m in (ours, theirs)]
    assert abs(np.log(spread[0] / spread[1])) < 3 * np.sqrt(1 / 1000)


def test_variogram_is_that_of_brainsmash(cloud, smooth_map):
    distances, (values, _) = cloud[0], smooth_map
    theirs, lags = Base(values, distances).compute_smooth_variogram(values, return_h=True)
    found_lags, found = receptors_surrogates.variogram(values, distances)
    np.testing.assert_allclose(found_lags, lags)
    np.testing.assert_allclose(found[0], theirs)


def test_variogram_surrogates_fit_better_than_shuffles(cloud, smooth_map):
    distances, (values, _) = cloud[0], smooth_map
    shuffled = np.random.default_rng(0).permuted(np.tile(values, (200, 1)), axis=1)
    found = receptors_surrogates.variogram_surrogates(values, distances, 200, 0, gaussianise=False)
    _, target = receptors_surrogates.variogram(values, distances)
    error = [
        ((receptors_surrogates.variogram(m, distances)[1] - target) ** 2).sum(1)
        for m in (found, shuffled)
    ]
    assert np.median(error[0]) < 0.3 * np.median(error[1])


def test_gaussianised_variogram_surrogates_permute_the_normal_scores(cloud):
    distances, values = cloud
    found = receptors_surrogates.variogram_surrogates(values, distances, 20, 1)
    scores = np.sort(correlation.gaussianise(values))
    np.testing.assert_allclose(np.sort(found, axis=1), np.tile(scores, (20, 1)), atol=1e-12)
    plain = receptors_surrogates.variogram_surrogates(values, distances, 20, 1, gaussianise=False)
    np.testing.assert_allclose(plain.mean(axis=1), values.mean())


def test_variogram_seed_repeats_and_units_do_not_matter(cloud):
    distances, values = cloud
    found = receptors_surrogates.variogram_surrogates(values, distances, 130, 3)
    np.testing.assert_array_equal(
        found, receptors_surrogates.variogram_surrogates(values, distances, 130, 3)
    )
    assert (found != receptors_surrogates.variogram_surrogates(values, distances, 130, 4)).any()
    assert len(np.unique(found, axis=0)) == 130
    rescaled = receptors_surrogates.variogram_surrogates(5 * values, distances / 10, 130, 3)
    np.testing.assert_allclose(rescaled, found, atol=1e-12)


def test_variogram_surrogates_leave_out_parcels_without_a_value(cloud):
    distances, values = cloud
    holed = values.copy()
    holed[[4, 30]] = np.nan
    found = receptors_surrogates.variogram_surrogates(holed, distances, 10, 5)
    kept = ~np.isnan(holed)
    assert np.isnan(found[:, ~kept]).all()
    alone = receptors_surrogates.variogram_surrogates(
        values[kept], distances[np.ix_(kept, kept)], 10, 5
    )
    np.testing.assert_array_equal(found[:, kept], alone)


def test_variogram_surrogates_refuse_bad_input(cloud):
    distances, values = cloud
    make = receptors_surrogates.variogram_surrogates
    with pytest.raises(ValueError, match=r"shape \(60, 60\), expected \(59, 59\)"):
        make(values[1:], distances, 5, 0)
    with pytest.raises(ValueError, match="one value in every parcel"):
        make(np.ones(60), distances, 5, 0)
    with pytest.raises(ValueError, match="9 parcels: at least 10 expected"):
        make(values[:9], distances[:9, :9], 5, 0)
    with pytest.raises(ValueError, match="fewer than three distances lie below percentile 25"):
        make(values, np.ones((60, 60)) - np.eye(60), 5, 0)


def test_variogram_p_is_near_its_level(cloud):
    """200 pairs of unrelated smooth maps."""
    distances, _ = cloud
    rng = np.random.default_rng(22)
    smooth = np.linalg.cholesky(np.exp(-distances / 60) + 1e-9 * np.eye(60))
    p, parametric = [], []
    for seed in range(200):
        effect, other = np.exp(smooth @ rng.standard_normal((60, 2))).T
        surrogates = receptors_surrogates.variogram_surrogates(effect, distances, 99, seed)
        found = nulls.spatial_test(effect, other, surrogates)
        p.append(found.p[0])
        parametric.append(nulls.parametric_p(found.r[0], 60))
    assert np.sum(np.array(p) <= 0.05) <= stats.binom.ppf(0.999, 200, 0.07)
    assert np.sum(np.array(parametric) <= 0.05) > 40
