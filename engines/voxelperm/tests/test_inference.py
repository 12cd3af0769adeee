"""Inference with equal errors: against statsmodels, nilearn, and exact enumeration."""

import functools
import itertools
import signal
import threading
import tracemalloc

import joblib
import numpy as np
import pytest
from scipy import ndimage, stats

import voxelperm
from voxelperm import STATISTICS

permutation_test = functools.partial(voxelperm.permutation_test, errors="equal")


def smooth_noise(n, shape=(9, 10, 8), sigma=1.2, seed=0):
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.standard_normal((n, *shape)), (0, sigma, sigma, sigma))
    mask = np.zeros(shape, bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return maps[:, mask] / maps.std(), mask


@pytest.fixture
def design():
    rng = np.random.default_rng(1)
    arm = np.repeat([1.0, 0.0], 9)
    covariates = rng.standard_normal((18, 2))
    maps, mask = smooth_noise(18)
    maps = maps + np.outer(covariates[:, 0], np.ones(maps.shape[1]))
    maps[:, :60] += 2 * arm[:, None]
    return maps, mask, arm, covariates


def test_t_is_that_of_statsmodels(design, oracle):
    sm = oracle("statsmodels.api")
    maps, mask, arm, covariates = design
    result = permutation_test(maps, mask, arm, covariates, n_permutations=2)
    model = sm.OLS(maps[:, 17], sm.add_constant(np.column_stack([arm, covariates]))).fit()
    assert result.t[17] == pytest.approx(model.tvalues[1], rel=1e-4)
    assert result.df == model.df_resid


def test_t_of_a_mean_is_the_one_sample_t(design):
    maps, mask, _, _ = design
    result = permutation_test(maps, mask, np.ones(18), sign_flip=True, n_permutations=2)
    np.testing.assert_allclose(result.t, stats.ttest_1samp(maps, 0).statistic, rtol=1e-4)


def nilearn_chunk_rng(random_state):
    """The generator that nilearn's one job uses: its seed is drawn from ``random_state``."""
    seed = np.random.RandomState(random_state).randint(1, np.iinfo(np.int32).max - 1)
    return np.random.RandomState(seed)


def nilearn_orders(n_permutations, n, random_state):
    """nilearn shuffles the rows of its design, each time those of the time before."""
    rng, rows, orders = nilearn_chunk_rng(random_state), np.arange(n), []
    for _ in range(n_permutations):
        rows = rows[rng.permutation(n)]
        orders.append(np.argsort(rows) + 1)  # its design moves, our maps do
    return np.array(orders)


def nilearn_flips(n_permutations, n, random_state):
    """nilearn flips signs of the maps, each time those of the time before."""
    rng = nilearn_chunk_rng(random_state)
    signs = [rng.randint(2, size=(n, 1))[:, 0] * 2 - 1 for _ in range(n_permutations)]
    return np.cumprod(signs, axis=0) * np.arange(1, n + 1)


@pytest.mark.parametrize("sign_flip", [False, True])
def test_p_equals_nilearn_on_the_same_permutations(design, sign_flip, oracle):
    nib, mass_univariate = oracle("nibabel"), oracle("nilearn.mass_univariate")
    maps, mask, arm, covariates = design
    mask_image = nib.Nifti1Image(mask.astype("int8"), np.eye(4))
    masker = oracle("nilearn.maskers").NiftiMasker(mask_image)
    n = 300
    tested = np.ones(18) if sign_flip else arm
    make = nilearn_flips if sign_flip else nilearn_orders
    rows = make(n, 18, random_state=4)
    ours = permutation_test(
        maps, mask, tested, covariates, sign_flip=sign_flip, permutations=rows, cluster_p=0.01
    )
    theirs = mass_univariate.permuted_ols(
        tested[:, None],
        maps,
        covariates,  # no constant column: with one, nilearn flips signs instead
        n_perm=n,
        two_sided_test=True,
        random_state=4,
        n_jobs=1,
        masker=masker.fit(),
        threshold=0.01,
        output_type="dict",
    )
    np.testing.assert_allclose(ours.t, theirs["t"][0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.null_max["max_t"], theirs["h0_max_t"][0], rtol=1e-4)
    np.testing.assert_allclose(ours.null_max["cluster_mass"], theirs["h0_max_mass"][0], rtol=1e-3)
    np.testing.assert_array_equal(ours.null_max["cluster_extent"], theirs["h0_max_size"][0])
    np.testing.assert_allclose(ours.p["max_t"], 10.0 ** -theirs["logp_max_t"][0], rtol=1e-12)
    for statistic, name in (("cluster_extent", "size"), ("cluster_mass", "mass")):
        # nilearn's cluster p is count / n, kept within 1 / n and 1 - 1 / n; ours adds 1 to both
        count = np.round(ours.p[statistic] * (1 + n) - 1)
        p = np.clip(count / n, 1 / n, 1 - 1 / n)
        np.testing.assert_allclose(p, 10.0 ** -theirs[f"logp_max_{name}"][0], rtol=1e-12)
    assert ours.p["cluster_mass"].min() < 0.05
    assert len(np.unique(ours.p["max_t"])) > 30


def test_every_relabelling_of_four_and_four_is_made_once():
    maps, mask = smooth_noise(8, (5, 5, 5), seed=3)
    arm = np.repeat([1, 0], 4)
    result = permutation_test(maps, mask, arm, statistics=["max_t"])
    assert result.exhaustive
    assert len(result.null_max["max_t"]) == 69
    best = []
    for chosen in itertools.combinations(range(8), 4):
        first = np.isin(np.arange(8), chosen)
        best.append(np.abs(stats.ttest_ind(maps[first], maps[~first]).statistic).max())
    exact = np.mean(np.array(best) >= np.abs(result.t).max() * (1 - 1e-6))
    assert result.p["max_t"].min() == pytest.approx(exact)


def test_numbers_do_not_depend_on_the_number_of_processes(design):
    maps, mask, arm, covariates = design
    one = permutation_test(maps, mask, arm, covariates, n_permutations=120, seed=5)
    two = permutation_test(maps, mask, arm, covariates, n_permutations=120, seed=5, n_jobs=2)
    for name in one.p:
        np.testing.assert_array_equal(one.null_max[name], two.null_max[name])


def test_explicit_permutations_carry_signs():
    maps, mask = smooth_noise(6, (4, 4, 4), seed=2)
    flips = np.array([[1, -2, 3, -4, 5, 6], [-1, -2, -3, -4, -5, -6]])
    result = permutation_test(maps, mask, np.ones(6), sign_flip=True, permutations=flips)
    flipped = maps * np.sign(flips[0])[:, None]
    expected = np.abs(stats.ttest_1samp(flipped, 0).statistic).max()
    assert result.null_max["max_t"][0] == pytest.approx(expected, rel=1e-4)
    assert result.null_max["max_t"][1] == pytest.approx(np.abs(result.t).max(), rel=1e-5)


def test_every_statistic_rejects_at_the_stated_rate():
    arm = np.repeat([1, 0], 8)
    age = np.random.default_rng(0).standard_normal(16)
    rejected = dict.fromkeys(STATISTICS, 0)
    for seed in range(120):
        maps, mask = smooth_noise(16, (8, 8, 8), seed=seed)
        p = permutation_test(maps, mask, arm, age, n_permutations=99, cluster_p=0.05).p
        for name in STATISTICS:
            rejected[name] += p[name].min() <= 0.05
    # 99.9 % of a binomial(120, .05) lies within 1 to 15
    assert all(0 < count <= 15 for count in rejected.values()), rejected


def test_a_tested_column_inside_the_nuisance_is_refused(design):
    maps, mask, arm, _ = design
    with pytest.raises(ValueError, match="nothing is left to test"):
        permutation_test(maps, mask, arm, nuisance=1 - arm)


def test_blocks_that_leave_nothing_to_exchange_are_refused(design):
    maps, mask, arm, _ = design
    with pytest.raises(ValueError, match='2 blocks with exchange="within" leave every value'):
        permutation_test(maps, mask, arm, blocks=arm)
    with pytest.raises(ValueError, match='9 blocks with exchange="whole" leave every value'):
        permutation_test(maps, mask, arm, blocks=np.tile(np.arange(9), 2), exchange="whole")


def test_whole_pairs_exchanged_equal_enumeration():
    maps, mask = smooth_noise(12, (4, 4, 4), seed=6)
    pairs, arm = np.repeat(np.arange(6), 2), np.repeat([1, 0], 6)
    result = permutation_test(maps, mask, arm, blocks=pairs, exchange="whole", statistics=["max_t"])
    largest = []
    for active in itertools.combinations(range(6), 3):
        first = np.isin(pairs, active)
        largest.append(np.abs(stats.ttest_ind(maps[first], maps[~first]).statistic).max())
    assert result.exhaustive
    assert len(result.null_max["max_t"]) == 19
    exact = np.mean(np.array(largest) >= np.abs(result.t).max() * (1 - 1e-6))
    assert result.p["max_t"].min() == pytest.approx(exact)


def test_labels_permuted_and_signs_flipped_equal_enumeration():
    maps, mask = smooth_noise(6, (4, 4, 4), seed=7)
    arm = np.repeat([1.0, 0.0], 3)
    result = permutation_test(
        maps, mask, arm, sign_flip="both", n_permutations=2000, statistics=["max_t"]
    )
    residuals = maps - maps.mean(axis=0)  # Freedman-Lane: the nuisance is the constant
    largest = []
    for active in itertools.combinations(range(6), 3):
        labels = np.isin(np.arange(6), active).astype(float)
        for signs in itertools.product([1, -1], repeat=6):
            y = residuals * np.array(signs)[:, None]
            largest.append(np.abs(stats.ttest_ind(y[labels == 1], y[labels == 0])[0]).max())
    assert result.exhaustive
    assert len(result.null_max["max_t"]) == 20 * 64 - 1
    exact = np.mean(np.array(largest) >= np.abs(result.t).max() * (1 - 1e-6))
    assert result.p["max_t"].min() == pytest.approx(exact)


def test_explicit_flips_of_a_model_with_a_constant_equal_least_squares():
    maps, mask = smooth_noise(8, (4, 4, 4), seed=8)
    arm = np.repeat([1.0, 0.0], 4)
    row = np.array([3, -1, 2, -4, 5, 8, -7, 6])
    result = permutation_test(maps, mask, arm, permutations=row[None], statistics=["max_t"])
    residuals = maps - maps.mean(axis=0)
    placed = residuals[np.abs(row) - 1] * np.sign(row)[:, None]
    expected = np.abs(stats.ttest_ind(placed[:4], placed[4:]).statistic).max()
    assert result.null_max["max_t"][0] == pytest.approx(expected, rel=1e-4)


def test_rows_that_are_no_permutation_are_refused(design):
    maps, mask, arm, _ = design
    rows = np.tile(np.arange(1, 19), (3, 1))
    rows[1, 0] = 2
    with pytest.raises(ValueError, match="found another row first at 1"):
        permutation_test(maps, mask, arm, permutations=rows)
    with pytest.raises(ValueError, match=r"shape \(n_permutations, 18\) expected"):
        permutation_test(maps, mask, arm, permutations=rows[:, :17])


def test_maps_that_are_not_finite_are_refused(design):
    maps, mask, arm, _ = design
    maps = maps.copy()
    maps[3, 11] = np.nan
    with pytest.raises(ValueError, match="found 1 voxels with values that are not"):
        permutation_test(maps, mask, arm, n_permutations=2)


def test_a_smoothed_variance_is_that_of_a_weighted_mean(design, oracle):
    sm = oracle("statsmodels.api")
    maps, mask, arm, covariates = design
    result = permutation_test(
        maps, mask, arm, covariates, n_permutations=3, variance_fwhm=(3, 3, 2), seed=2
    )
    model = sm.OLS(maps, sm.add_constant(np.column_stack([arm, covariates])))
    beta, variance = model.fit().params[1], np.zeros(maps.shape[1])
    residuals = maps - model.exog @ np.linalg.pinv(model.exog) @ maps
    variance = (residuals**2).sum(axis=0) / result.df
    where = np.argwhere(mask)
    apart = (where[:, None] - where) * np.sqrt(8 * np.log(2)) / np.array([3, 3, 2])
    weight = np.exp(-0.5 * (apart**2).sum(axis=-1))
    weight[(np.abs(apart) > 4.3).any(axis=-1)] = 0  # scipy's kernel ends at 4 sigma
    smooth = weight @ variance / weight.sum(axis=1)
    error = np.sqrt(smooth * np.linalg.inv(model.exog.T @ model.exog)[1, 1])
    np.testing.assert_allclose(result.t, beta / error, rtol=2e-3)


def test_a_smoothed_variance_permutes_as_the_observed_one_does(design):
    maps, mask, arm, covariates = design
    rows = np.vstack([np.arange(18), np.random.default_rng(0).permutation(18)]) + 1
    options = {"variance_fwhm": 2.5, "cluster_p": 0.05}
    result = permutation_test(maps, mask, arm, covariates, permutations=rows, **options)
    assert result.null_max["max_t"][0] == pytest.approx(np.abs(result.t).max(), rel=1e-4)
    assert result.p["tfce"].min() == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="variance_fwhm above 0"):
        permutation_test(maps, mask, arm, n_permutations=2, variance_fwhm=0)


@pytest.mark.parametrize("variance_fwhm", [None, 2.0])
def test_voxels_that_do_not_vary_change_no_other(design, variance_fwhm):
    maps, mask, arm, covariates = design
    maps = 1e-3 * maps
    maps[:, 100:150] = 0.2
    rows = np.arange(1, 19)[None]
    result = permutation_test(
        maps, mask, arm, covariates, permutations=rows, variance_fwhm=variance_fwhm
    )
    assert (result.t[100:150] == 0).all()
    assert result.null_max["max_t"][0] == pytest.approx(np.abs(result.t).max(), rel=1e-4)
    bigger = permutation_test(
        1e3 * maps, mask, arm, covariates, permutations=rows, variance_fwhm=variance_fwhm
    )
    np.testing.assert_allclose(result.t, bigger.t, rtol=1e-6)


@pytest.mark.parametrize("variance_fwhm", [None, 2.0])
def test_memory_stays_within_its_bound_and_numbers_do_not_change(variance_fwhm):
    maps, mask = smooth_noise(12, (34, 34, 30), seed=1)
    arm = np.repeat([1.0, 0.0], 6)
    options = {"n_permutations": 40, "n_jobs": 2, "variance_fwhm": variance_fwhm}
    free, peak = permutation_test(maps, mask, arm, **options), []
    for bound in (13, 9):
        tracemalloc.start()
        bounded = permutation_test(maps, mask, arm, max_memory_mb=bound, **options)
        peak.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        assert peak[-1] <= bound
        for name in STATISTICS:
            np.testing.assert_array_equal(free.null_max[name], bounded.null_max[name])
            np.testing.assert_array_equal(free.p[name], bounded.p[name])
    assert peak[1] < peak[0]
    with pytest.raises(
        ValueError, match=r"max_memory_mb of at least \d+ expected, found 2: 12 maps"
    ):
        permutation_test(maps, mask, arm, max_memory_mb=2, **options)


def test_progress_is_told_from_the_calling_thread(design):
    maps, mask, arm, _ = design
    told = []

    def progress(done, total):
        told.append((done, total, threading.current_thread() is threading.main_thread()))

    permutation_test(maps, mask, arm, n_permutations=40, n_jobs=2, progress=progress)
    assert told == [(16, 40, True), (32, 40, True), (40, 40, True)]


def test_an_interruption_stops_the_work_and_says_how_much_was_done(design, interruptible):
    maps, mask, arm, covariates = design
    told = []

    def progress(done, total):
        told.append(done)
        if done == 32:
            signal.raise_signal(signal.SIGINT)

    options = {"n_permutations": 100_000, "n_jobs": 2}
    with pytest.raises(KeyboardInterrupt, match="stopped after 32 of 100000 permutations"):
        permutation_test(maps, mask, arm, covariates, **options, progress=progress)
    assert told == [16, 32]


def test_processes_give_the_numbers_of_threads(design):
    maps, mask, arm, covariates = design
    options = {"n_permutations": 60, "n_jobs": 2, "seed": 3}
    threads = permutation_test(maps, mask, arm, covariates, **options)
    with joblib.parallel_config(backend="loky"):
        processes = permutation_test(maps, mask, arm, covariates, **options)
    for name in STATISTICS:
        np.testing.assert_array_equal(threads.null_max[name], processes.null_max[name])


def test_the_result_says_which_tail_each_statistic_has(design):
    maps, mask, arm, covariates = design
    options = {"n_permutations": 999, "tail": "gpd", "statistics": ["max_t", "cluster_extent"]}
    counted = permutation_test(maps, mask, arm, covariates, **options | {"tail": "counts"})
    fitted = permutation_test(maps, mask, arm, covariates, **options)
    assert counted.tail["max_t"].kind == "counts"
    assert fitted.tail["max_t"].kind == "gpd"
    few = counted.p["max_t"] < 0.01
    np.testing.assert_array_equal(fitted.p["max_t"][~few], counted.p["max_t"][~few])
    assert fitted.p["max_t"].min() < 1 / 1000
    with pytest.raises(ValueError, match='tail "counts" or "gpd" expected'):
        permutation_test(maps, mask, arm, tail="gumbel")


def test_t_map_is_that_of_nilearns_second_level_model(design, oracle):
    nib, pd = oracle("nibabel"), oracle("pandas")
    SecondLevelModel = oracle("nilearn.glm.second_level").SecondLevelModel
    maps, mask, arm, covariates = design
    mask_image = nib.Nifti1Image(mask.astype(np.uint8), np.eye(4))
    images = []
    for row in maps:
        volume = np.zeros(mask.shape)
        volume[mask] = row
        images.append(nib.Nifti1Image(volume, np.eye(4)))
    columns = {"arm": arm, "constant": 1.0, "a": covariates[:, 0], "b": covariates[:, 1]}
    model = SecondLevelModel(mask_img=mask_image).fit(images, design_matrix=pd.DataFrame(columns))
    theirs = model.compute_contrast("arm", output_type="stat").get_fdata()[mask]
    ours = permutation_test(maps, mask, arm, covariates, n_permutations=2)
    np.testing.assert_allclose(ours.t, theirs, rtol=1e-5)
