"""Contrasts of change: against t tests and closed forms, and on blobs planted in small grids."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pingouin as pg
import pytest
import statsmodels.api as sm
from scipy import ndimage, stats

from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import inputs
from analysis_lib.study.images import beside
from analysis_lib.vbm import clusters as vbm_clusters
from analysis_lib.vbm import contrasts, quality, regions, scans
from analysis_lib.vbm import effects as vbm_effects
from voxelperm import PermutationResult

SHAPE = (16, 12, 10)
AFFINE = np.array([[3.0, 0, 0, -22.5], [0, 3, 0, -18], [0, 0, 3, -12], [0, 0, 0, 1]])
ARM = np.array(["active", "control", "active", "control", "active", "active", "control", "active"])


@pytest.fixture
def mask():
    inside = np.zeros(SHAPE, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    return inside


@pytest.fixture
def halves():
    """An atlas of three regions: left and right grey matter, and a slab of ventricle on top."""
    labels = np.zeros(SHAPE, np.int16)
    labels[:8], labels[8:] = 1, 2
    labels[:, :, 8:] = 3
    table = pd.DataFrame(
        {
            "label": [1, 2, 3],
            "name": ["L amy", "R amy", "Ventricle"],
            "region": ["Amygdala", "Amygdala", "Ventricle"],
            "hemisphere": ["left", "right", "midline"],
            "tissue": ["grey", "grey", "csf"],
        }
    )
    return parcellation.load_atlas(nib.Nifti1Image(labels, AFFINE), table)


@pytest.fixture
def maps():
    rng = np.random.default_rng(2)
    pre = rng.uniform(0.3, 0.8, (8, 40))
    return pre, pre + rng.normal(0.01, 0.05, (8, 40))


def result_of(t, mask, p=None, threshold=3.0):
    """A result with a given t map and made-up p, one for each statistic."""
    values = t[mask]
    if p is None:
        p = {}
    p = {name: p.get(name, np.ones(values.size)) for name in NAMES}
    null = dict.fromkeys(NAMES, np.arange(19.0))
    return told_apart(PermutationResult(values, 14, p, null, threshold, False))


def told_apart(result):
    """The result with what bounds of true discoveries need: 19 draws whose pivots are 0.1."""
    p = 2 * stats.t.sf(np.abs(result.t), result.df)
    return replace(result, p_uncorrected=p, pivots=np.full(19, 0.1), pivot=0.001)


NAMES = ("max_t", "cluster_extent", "cluster_mass", "tfce")


def blobs():
    """|t| up to 6: a positive cube of 27 voxels on the left, a negative one of 8 on the right."""
    t = np.zeros(SHAPE)
    t[2:5, 3:6, 3:6] = 4
    t[3, 4, 4] = 6
    t[11:13, 6:8, 4:6] = -4
    t[12, 6, 5] = -5
    return t


def mni(*voxel):
    return nib.affines.apply_affine(AFFINE, voxel)


# --- contrasts


@pytest.mark.parametrize("errors", ["equal", "unequal"])
def test_arm_by_time_is_the_two_sample_t_of_change(maps, errors):
    """Student's, and Welch's: that is what HC2 gives for two groups (MacKinnon & White 1985)."""
    change = maps[1] - maps[0]
    grid, options = np.ones((5, 4, 2), bool), {"n_permutations": 2, "errors": errors}
    result = contrasts.contrast_test("arm_by_time", change, grid, ARM, **options)
    groups = (change[ARM == "active"], change[ARM == "control"])
    expected = stats.ttest_ind(*groups, equal_var=errors == "equal")
    np.testing.assert_allclose(result.t, expected.statistic, rtol=1e-5, atol=1e-6)
    assert result.df == 6


@pytest.mark.parametrize("arm", ["active", "control"])
def test_change_within_an_arm_is_the_paired_t(maps, arm):
    pre, post = maps
    grid = np.ones((5, 4, 2), bool)
    options = {"errors": "symmetric", "n_permutations": 2}
    result = contrasts.contrast_test(f"{arm}_change", post - pre, grid, ARM, **options)
    expected = stats.ttest_rel(*(m[np.equal(ARM, arm)] for m in (post, pre)))
    np.testing.assert_allclose(result.t, expected.statistic, rtol=1e-5, atol=1e-6)


def test_unknown_contrast_lists_the_known(maps):
    grid = np.ones((5, 4, 2), bool)
    message = (
        "contrast among active_change, control_change, arm_by_time, change expected, found 'sham'"
    )
    with pytest.raises(ValueError, match=message):
        contrasts.contrast_test("sham", maps[0], grid, ARM)
    with pytest.raises(ValueError, match=message):
        vbm_effects.effect_sizes("sham", *maps, ARM)


# --- effect sizes


def test_g_between_arms_is_that_of_pingouin(maps):
    change = maps[1] - maps[0]
    g = vbm_effects.effect_sizes("arm_by_time", *maps, ARM)["g"]
    active, control = change[ARM == "active", 7], change[ARM == "control", 7]
    d = pg.compute_effsize(active, control, eftype="cohen")
    assert g[7] == pytest.approx(d * 0.868601, rel=1e-4)  # J(6) = Gamma(3) / (sqrt(3) Gamma(2.5))


def test_g_within_an_arm_is_t_over_root_n_times_j(maps):
    change = (maps[1] - maps[0])[ARM == "active"]
    found = vbm_effects.effect_sizes("active_change", *maps, ARM)
    t = stats.ttest_1samp(change, 0).statistic
    np.testing.assert_allclose(found["g"], t / np.sqrt(5) * np.sqrt(2 / np.pi))  # J(4)
    np.testing.assert_allclose(found["t"], t)


def test_tables_and_maps_within_an_arm_show_student_s_t_not_the_one_tested(mask, halves):
    rng = np.random.default_rng(0)
    pre = np.ones((12, mask.sum()))
    post = pre + rng.exponential(1, pre.shape) - 0.1
    arm = np.repeat(["active"], 12)
    effects = vbm_effects.effect_sizes("active_change", pre, post, arm)
    test = contrasts.contrast_test("active_change", post - pre, mask, arm, n_permutations=20)
    result = told_apart(test)
    t = stats.ttest_1samp(post - pre, 0).statistic
    assert np.abs(result.t / t - 1).max() > 0.1
    where = mask, AFFINE, halves
    clusters = vbm_clusters.cluster_table(result, effects, *where)
    assert np.isclose(clusters["t"].to_numpy()[:, None], t).any(axis=1).all()
    table = regions.region_table(result, effects, *where)
    assert np.isclose(table["t"].to_numpy()[:, None], t).any(axis=1).all()
    images = vbm_effects.result_images("active_change", result, effects, *where[:2])
    np.testing.assert_allclose(images["active_change_t"].get_fdata()[mask], t, rtol=1e-5)


def test_percent_is_of_the_volume_before_treatment():
    pre = np.array([[0.4, 0.5], [0.8, 0.5], [0.4, 0.0], [0.6, 0.0]])
    post = np.array([[0.5, 0.5], [0.8, 0.6], [0.3, 0.0], [0.5, 0.0]])
    arm = np.repeat(["active", "control"], 2)
    within = vbm_effects.effect_sizes("active_change", pre, post, arm)["percent"]
    np.testing.assert_allclose(within, [100 * 0.05 / 0.6, 100 * 0.05 / 0.5])
    between = vbm_effects.effect_sizes("arm_by_time", pre, post, arm)["percent"]
    np.testing.assert_allclose(between, [100 * 0.15 / 0.55, 100 * 0.05 / 0.25])


def test_effect_sizes_are_adjusted_as_t_is(maps):
    """The arm's coefficient of least squares (statsmodels); without it a third of signs differ."""
    pre, post = maps
    age = np.array([30.0, 50, 35, 41, 29, 44, 58, 38])
    found = vbm_effects.effect_sizes("arm_by_time", pre, post, ARM, age[:, None])
    design = np.column_stack([np.ones(8), ARM == "active", age])
    slope = [sm.OLS(values, design).fit().params[1] for values in (post - pre).T]
    np.testing.assert_allclose(found["percent"], 100 * np.array(slope) / pre.mean(axis=0))
    result = contrasts.contrast_test(
        "arm_by_time", post - pre, np.ones((5, 4, 2), bool), ARM, age[:, None], n_permutations=2
    )
    for effect in found.values():
        np.testing.assert_array_equal(np.sign(effect), np.sign(result.t))


def test_voxel_that_never_changes_has_no_effect():
    pre = np.full((4, 1), 0.5)
    effects = vbm_effects.effect_sizes("arm_by_time", pre, pre.copy(), ARM[:4])
    assert effects["g"] == effects["percent"] == 0


def test_effect_sizes_leave_their_input_alone(maps):
    pre, post = (m.copy() for m in maps)
    vbm_effects.effect_sizes("arm_by_time", pre, post, ARM)
    np.testing.assert_array_equal(pre, maps[0])
    np.testing.assert_array_equal(post, maps[1])


# --- images


def test_image_holds_the_values_in_the_mask_and_one_value_outside(mask):
    values = np.arange(mask.sum(), dtype=float)
    image = vbm_effects.to_image(values, mask, AFFINE, outside=1.0)
    data = image.get_fdata()
    np.testing.assert_array_equal(data[mask], values)
    assert set(data[~mask]) == {1.0}
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, AFFINE)


def test_p_is_1_and_t_0_outside_the_mask(mask):
    p = dict.fromkeys(NAMES, np.full(mask.sum(), 0.5))
    result = result_of(np.full(SHAPE, 2.0), mask, p)
    made = vbm_effects.result_images("active_change", result, {"g": result.t}, mask, AFFINE)
    assert sorted(made) == [
        f"active_change_{name}"
        for name in ("g", "p_fwe_cluster", "p_fwe_mass", "p_fwe_t", "p_fwe_tfce", "t")
    ]
    assert made["active_change_p_fwe_t"].get_fdata()[0, 0, 0] == 1
    assert made["active_change_t"].get_fdata()[0, 0, 0] == 0


# --- clusters


@pytest.fixture
def clusters(mask, halves):
    t = blobs()
    where = np.zeros(SHAPE)
    where[3, 4, 4], where[12, 6, 5] = 0.01, 0.03
    p = {
        "max_t": np.where(where > 0, where, 1)[mask],
        "cluster_extent": np.where(t > 3, 0.002, 1)[mask],
        "cluster_mass": np.where(t < -3, 0.04, 1)[mask],
        "tfce": np.where(t > 3, 0.005, 0.9)[mask],
    }
    effects = {"g": (t / 4)[mask], "percent": (10 * t)[mask]}
    return vbm_clusters.cluster_table(result_of(t, mask, p), effects, mask, AFFINE, halves)


def test_planted_blobs_are_found_with_size_peak_and_region(clusters):
    assert list(clusters["k_voxels"]) == [27, 8]
    assert list(clusters["volume_mm3"]) == [27 * 27, 8 * 27]
    np.testing.assert_allclose(clusters[["x", "y", "z"]], [mni(3, 4, 4), mni(12, 6, 5)])
    assert list(clusters["t"]) == [6, -5]
    assert list(clusters["region"]) == ["Amygdala", "Amygdala"]
    assert list(clusters["hemisphere"]) == ["left", "right"]


def test_every_value_of_a_cluster_is_that_of_its_peak(clusters):
    assert list(clusters["hedges_g"]) == [1.5, -1.25]
    assert list(clusters["percent"]) == [60, -50]
    assert list(clusters["p_fwe_t"]) == [0.01, 0.03]
    assert list(clusters["p_fwe_cluster"]) == [0.002, 1]
    assert list(clusters["p_fwe_mass"]) == [1, 0.04]
    assert list(clusters["p_fwe_tfce"]) == [0.005, 0.9]


def test_clusters_of_both_tails_have_numbers_of_their_own(clusters):
    assert clusters["cluster"].is_unique


def test_larger_negative_cluster_comes_first(mask, halves):
    t = -blobs()
    t[11:13, 6:8, 4:6] = 4
    effects = {"g": t[mask], "percent": t[mask]}
    table = vbm_clusters.cluster_table(result_of(t, mask), effects, mask, AFFINE, halves)
    assert list(table["k_voxels"]) == [27, 8]
    assert np.sign(table["t"]).tolist() == [-1, 1]
    assert list(table["cluster"]) == ["1", "2"]


def test_further_peaks_carry_a_letter_and_the_size_of_their_cluster(mask, halves):
    t = np.zeros(SHAPE)
    t[2:14, 4:6, 4:6] = 4
    t[2, 4, 4], t[13, 5, 5] = 8, 7
    t += 0.001 * np.arange(SHAPE[0])[:, None, None] * (t > 0)
    effects = {"g": t[mask], "percent": t[mask]}
    table = vbm_clusters.cluster_table(result_of(t, mask), effects, mask, AFFINE, halves)
    assert list(table["cluster"])[:2] == ["1", "1a"]
    assert set(table["k_voxels"]) == {48}
    assert table["t"].iloc[0] == pytest.approx(8.002)
    assert table["t"].iloc[1] == pytest.approx(7.013)
    assert list(table["hemisphere"])[:2] == ["left", "right"]


def test_voxels_that_share_an_edge_only_are_two_clusters(mask, halves):
    t = np.zeros(SHAPE)
    t[3, 3, 3], t[4, 4, 3] = 5, 6
    effects = {"g": t[mask], "percent": t[mask]}
    table = vbm_clusters.cluster_table(result_of(t, mask), effects, mask, AFFINE, halves)
    assert list(table["k_voxels"]) == [1, 1]


def test_no_cluster_gives_an_empty_table_with_all_columns(mask, halves):
    t = np.zeros(SHAPE)
    effects = {"g": t[mask], "percent": t[mask]}
    table = vbm_clusters.cluster_table(result_of(t, mask), effects, mask, AFFINE, halves)
    assert table.empty
    assert {"cluster", "region", "k_voxels", "x", "t", "hedges_g", "p_fwe_tfce"} < set(table)


def test_cluster_sizes_agree_with_the_permutation_test(mask, halves):
    rng = np.random.default_rng(4)
    noise = ndimage.gaussian_filter(rng.standard_normal((16, *SHAPE)), (0, 1, 1, 1))
    arm = np.repeat(["active", "control"], 8)
    result = contrasts.contrast_test(
        "arm_by_time", noise[:, mask], mask, arm, n_permutations=9, cluster_p=0.05
    )
    result = told_apart(result)
    effects = {"g": result.t, "percent": result.t}
    table = vbm_clusters.cluster_table(result, effects, mask, AFFINE, halves)
    t = vbm_effects.to_image(result.t, mask, AFFINE).get_fdata()
    sizes = []
    for tail in (t > result.cluster_threshold, t < -result.cluster_threshold):
        labels, _ = ndimage.label(tail)
        sizes += np.bincount(labels.ravel())[1:].tolist()
    main = table[~table["cluster"].str.contains("[a-z]")]
    assert sorted(main["k_voxels"]) == sorted(sizes)
    assert main["k_voxels"].is_monotonic_decreasing


def test_summary_counts_what_survives(mask):
    t = blobs()
    p = {
        "max_t": np.where(t == 6, 0.02, 1)[mask],
        "cluster_extent": np.where(t > 3, 0.01, 1)[mask],
    }
    row = contrasts.contrast_summary("active_change", result_of(t, mask, p), 5, 3, "skewed")
    assert row["errors"] == "skewed"
    assert (row["n_voxels_fwe"], row["n_voxels_fwe_cluster"]) == (1, 27)
    assert (row["smallest_p"], row["smallest_p_cluster"]) == (0.02, 0.01)
    assert (row["n_active"], row["n_control"], row["n_permutations"]) == (5, 0, 19)


# --- regions


def test_region_names_are_readable_and_of_grey_matter_only(halves):
    assert grids.region_names(halves).to_dict() == {1: "left amygdala", 2: "right amygdala"}


def test_region_table_counts_voxels_by_region(mask, halves):
    t = blobs()
    p = {"max_t": np.where(t == -5, 0.01, np.where(t < 0, 0.04, 1))[mask]}
    effects = {"g": (t / 4)[mask], "percent": (2 * t)[mask]}
    table = regions.region_table(result_of(t, mask, p), effects, mask, AFFINE, halves)
    assert list(table["region"]) == ["right amygdala", "left amygdala"]
    assert list(table["n_voxels_fwe"]) == [8, 0]
    assert list(table["n_voxels"]) == [7 * 10 * 7] * 2
    assert list(table["t"]) == [-5, 6]
    assert list(table["p_fwe_t"]) == [0.01, 1]
    np.testing.assert_allclose(table["percent"], [2 * -33 / 490, 2 * 110 / 490])
    np.testing.assert_allclose(table["hedges_g"], [-33 / 4 / 490, 110 / 4 / 490])


def test_parcel_change_is_percent_of_before_and_missing_without_grey_matter():
    pre, post = np.array([[0.5, 0.0], [0.4, 0.2]]), np.array([[0.6, 0.1], [0.3, 0.2]])
    change = regions.parcel_change(pre, post, ["a", "b"])
    np.testing.assert_allclose(change["a"], [20, -25])
    assert np.isnan(change["b"][0])
    assert change["b"][1] == 0


def test_regional_change_reads_the_maps_as_they_are(tmp_path, halves):
    paths = []
    for name, (left, right) in {"pre": (0.5, 0.4), "post": (0.6, 0.3)}.items():
        data = np.full(SHAPE, left, np.float32)
        data[8:] = right
        data[2, 2, 2:4] += [0.1, -0.1]  # the mean stays
        paths.append(tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(data, AFFINE), paths[-1])
    pairs = pd.DataFrame({"pre": [paths[0]], "post": [paths[1]]})
    change = regions.regional_change(pairs, halves)
    assert list(change) == ["left amygdala", "right amygdala"]
    np.testing.assert_allclose(change.to_numpy(), [[20, -25]], rtol=1e-5)


def test_errors_that_notebook_00_kept_are_read_beside_the_second_map(tmp_path, halves):
    pairs = pd.DataFrame({"participant_id": ["sub-2", "sub-1"], "arm": "active"})
    name = "{}_space-MNI_label-GM_desc-modulated_probseg.nii.gz"
    pairs["post"] = [tmp_path / name.format(who) for who in pairs["participant_id"]]
    for k, path in enumerate(pairs["post"]):
        data = np.full(SHAPE, 1.0 + k, np.float32)
        data[8:] = -1 - k
        nib.save(nib.Nifti1Image(data, AFFINE), beside(path, "registration_error"))
    assert beside(path, "image_sharpness").name == "sub-1_space-MNI_desc-imagesharpness_map.nii.gz"
    found = regions.regional_errors(pairs, halves)
    assert list(found) == ["registration_error"]  # the other was not kept
    np.testing.assert_array_equal(found["registration_error"], [[1, -1], [2, -2]])
    assert list(found["registration_error"]) == ["left amygdala", "right amygdala"]
    beside(path, "registration_error").unlink()
    assert regions.regional_errors(pairs, halves) == {}


def test_change_comes_back_from_its_rows(halves):
    rng = np.random.default_rng(0)
    names = grids.region_names(halves)
    change = pd.DataFrame(rng.standard_normal((3, 2)), columns=list(names))
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2", "sub-3"], "arm": ARM[:3]})
    rows = regions.change_rows(change, people)
    assert len(rows) == 6
    back = inputs.change_matrix(rows.sample(frac=1, random_state=0), names)
    assert list(back.columns) == [1, 2]
    assert list(back.index) == list(people["participant_id"])
    np.testing.assert_array_equal(back.to_numpy(), change.to_numpy())


def test_region_without_a_value_in_someone_is_left_out_of_the_matrix(halves):
    names = grids.region_names(halves)
    change = pd.DataFrame([[1.0, 2.0], [np.nan, 3.0]], columns=list(names))
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "arm": ARM[:2]})
    assert list(inputs.change_matrix(regions.change_rows(change, people), names)) == [2]


def test_rows_of_another_atlas_are_refused(halves):
    rows = pd.DataFrame({"participant_id": ["a"], "region": ["left insula"], "change": [1.0]})
    with pytest.raises(ValueError, match="regions of this atlas expected, found left insula: run"):
        inputs.change_matrix(rows, grids.region_names(halves))


def test_region_means_have_t_intervals():
    rows = pd.DataFrame({"arm": "active", "region": "left insula", "change": [1.0, 2.0, 4.5]})
    row = regions.region_means(rows).iloc[0]
    low, high = stats.t.interval(0.95, 2, 2.5, stats.sem([1, 2, 4.5]))
    assert (row["n"], row["mean"]) == (3, 2.5)
    assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_quality_table_gives_the_volume_of_each_map():
    pairs = pd.DataFrame({"participant_id": ["sub-1", "sub-2", "sub-3"], "arm": ARM[:3]})
    pairs.index = [0, 2, 5]  # others were not analysed
    values = np.random.default_rng(0).uniform(size=(3, 100))
    table = quality.quality_table(pairs, {"pre": values, "post": 2 * values}, AFFINE)
    assert list(table["session"]) == ["pre"] * 3 + ["post"] * 3
    np.testing.assert_allclose(table["volume_ml"].iloc[:3], values.sum(axis=1) * 27 / 1000)
    np.testing.assert_allclose(table["volume_ml"].iloc[3:], 2 * table["volume_ml"].iloc[:3])
    assert table["mean_correlation"].notna().all()


# --- change against improvement


@pytest.fixture
def coupled():
    """40 participants: region a differs between arms only, region b goes with improvement."""
    rng = np.random.default_rng(6)
    arm = np.repeat(["active", "control"], [22, 18])
    active = (arm == "active").astype(float)
    improvement = 8 * active + rng.standard_normal(40)
    change = pd.DataFrame(
        {
            "a": 5 * active + rng.standard_normal(40),
            "b": improvement + 0.5 * rng.standard_normal(40),
        }
    )
    return change, improvement, arm


def test_correlation_that_only_the_arms_make_vanishes(coupled):
    change, improvement, arm = coupled
    table = regions.region_coupling(change, improvement, arm).set_index("region")
    assert np.corrcoef(change["a"], improvement)[0, 1] > 0.8
    assert abs(table.loc["a", "r"]) < 0.3
    assert table.loc["b", "r"] > 0.7


def test_coupling_is_the_partial_correlation_of_pingouin(coupled):
    change, improvement, arm = coupled
    table = regions.region_coupling(change, improvement, arm).set_index("region")
    data = change.assign(improvement=improvement, active=(arm == "active").astype(float))
    for region in "ab":
        expected = pg.partial_corr(data, region, "improvement", "active").iloc[0]
        assert table.loc[region, "r"] == pytest.approx(expected["r"])
        assert table.loc[region, "p"] == pytest.approx(expected.filter(like="p").iloc[0])
        low, high = expected.filter(like="CI").iloc[0]
        assert table.loc[region, "ci_low"] == pytest.approx(low, abs=0.006)  # pingouin rounds
        assert table.loc[region, "ci_high"] == pytest.approx(high, abs=0.006)


def test_holm_corrects_over_the_regions(coupled):
    table = regions.region_coupling(*coupled).set_index("region")
    assert table.loc["b", "p_holm"] == pytest.approx(2 * table.loc["b", "p"])
    assert table.loc["a", "p_holm"] == pytest.approx(table.loc["a", "p"])


def test_participant_without_improvement_is_left_out(coupled):
    change, improvement, arm = coupled
    improvement = improvement.copy()
    improvement[[3, 30]] = np.nan
    table = regions.region_coupling(change, improvement, arm)
    known = np.isfinite(improvement)
    expected = regions.region_coupling(change[known], improvement[known], arm[known])
    assert set(table["n"]) == {38}
    np.testing.assert_allclose(table["r"], expected["r"])


def test_smoothness_is_that_of_the_residuals_in_mm():
    """Arms that differ over the whole brain, voxels of unequal sides: the noise alone counts."""
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 2.0, 2.5, 1])
    noise = rng.standard_normal((24, 30, 34, 32))
    fields = ndimage.gaussian_filter(noise, (0, *(9 / 2.3548 / affine.diagonal()[:3])), mode="wrap")
    fields[:12] += 5 * fields.std() * np.sin(np.arange(30) / 9)[:, None, None]
    people = pd.DataFrame({"arm": np.repeat(["active", "control"], 12)})
    change = fields.reshape(24, -1)
    mask = np.ones(noise.shape[1:], bool)
    maps = scans.Maps(people, 0 * change, change, mask, affine, pd.DataFrame(index=range(24)), None)
    np.testing.assert_allclose(maps.smoothness_mm, 9, rtol=0.05)
    assert maps.smoothness.resels == pytest.approx(mask.size * 15 / np.prod(maps.smoothness_mm))


def test_head_size_joins_the_covariates_or_divides_the_maps():
    maps = [np.full((2, 3), 2.0, np.float32), np.full((2, 3), 3.0, np.float32)]
    covariates = pd.DataFrame({"age": [-1.0, 1.0]}, index=["a", "b"])
    tiv = pd.Series([1000.0, 2000.0], ["a", "b"])
    same, unchanged = quality.adjust_for_tiv(maps, covariates, tiv, "none")
    assert same[0] is maps[0]
    assert unchanged is covariates
    _, wider = quality.adjust_for_tiv(maps, covariates, tiv, "covariate")
    assert list(wider["tiv"]) == [-500, 500]
    (pre, _), _ = quality.adjust_for_tiv(maps, covariates, tiv, "proportional")
    np.testing.assert_allclose(pre[:, 0], [2 / (2 / 3), 2 / (4 / 3)])


def test_head_size_that_is_not_known_or_a_wrong_word_is_refused():
    with pytest.raises(ValueError, match="tiv=covariate: a column tiv"):
        quality.adjust_for_tiv([], None, None, "covariate")
    with pytest.raises(ValueError, match="none, covariate or proportional expected, found 'icv'"):
        quality.adjust_for_tiv([], None, None, "icv")


def test_change_that_goes_with_improvement_is_a_partial_correlation_within_arms():
    rng = np.random.default_rng(3)
    arm = np.repeat(["active", "control"], 12)
    improvement = rng.standard_normal(24) + 5 * (arm == "active")
    improvement[4] = np.nan
    age = rng.standard_normal(24)
    grid = np.ones((4, 4, 4), bool)
    change = rng.standard_normal((24, 64)) + 3 * (arm == "active")[:, None]
    change[:, 0] += np.nan_to_num(improvement)
    covariates = pd.DataFrame({"age": age})
    result, effects = contrasts.improvement_test(
        change, grid, improvement, arm, covariates, n_permutations=200
    )
    frame = pd.DataFrame(
        {"x": improvement, "y": change[:, 0], "arm": arm == "active", "age": age}
    ).dropna()
    expected = pg.partial_corr(frame.astype(float), "x", "y", ["arm", "age"])
    assert effects["r"][0] == pytest.approx(expected["r"].iloc[0])
    assert result.p["max_t"][0] < 0.05
    # the arms differ by far in both, and yet no other voxel follows improvement
    assert (result.p["max_t"][1:] > 0.05).all()
