"""Every column of notebook 02's tables and every image, on a small grid whose cells are known."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from wired import assert_table

from analysis_lib.atlas import parcellation
from analysis_lib.receptors import inputs
from analysis_lib.results.contrasts import OF_CHANGE
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.vbm import clusters, contrasts, numbers, planted_truth, quality, regions
from analysis_lib.vbm import effects as vbm_effects
from voxelperm import PermutationResult

SHAPE = (12, 8, 7)
AFFINE = np.array([[-3.0, 0, 0, 16], [0, 4, 0, -14], [0, 0, 5, -13], [0, 0, 0, 1]])
NAMES = ("max_t", "cluster_extent", "cluster_mass", "tfce")
ARM = np.repeat(["active", "control"], [6, 4])


@pytest.fixture
def mask():
    inside = np.zeros(SHAPE, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    return inside


@pytest.fixture
def parcels():
    """Left and right amygdala, and a slab of ventricle on top."""
    labels = np.zeros(SHAPE, np.int16)
    labels[:6], labels[6:] = 1, 2
    labels[:, :, 5:] = 3
    table = pd.DataFrame(
        {
            "label": [1, 2, 3],
            "name": ["R amy", "L amy", "Ventricle"],
            "region": ["Amygdala", "Amygdala", "Ventricle"],
            "hemisphere": ["right", "left", "midline"],
            "tissue": ["grey", "grey", "csf"],
        }
    )
    return parcellation.load_atlas(nib.Nifti1Image(labels, AFFINE), table)


@pytest.fixture
def result(mask):
    """Two blobs of opposite sign; every p is another number but the last, at the limit."""
    t = np.zeros(SHAPE)
    t[2:4, 2:5, 2:4] = 4.0
    t[2, 3, 2] = 6.5
    t[8:10, 3:5, 3:4] = -4.5
    t[9, 4, 3] = -5.5
    rng = np.random.default_rng(3)
    p = {name: rng.uniform(0.001, 0.2, mask.sum()) for name in NAMES}
    p = {name: np.r_[values[:-1], 0.05] for name, values in p.items()}
    null = {name: np.arange(n) for name, n in zip(NAMES, (19, 29, 39, 49), strict=True)}
    return told_apart(PermutationResult(t[mask], 8, p, null, 3.0, False))


def told_apart(result):
    """The result with what bounds of true discoveries need: lambda is 0.2 at alpha = .05."""
    p = 2 * stats.t.sf(np.abs(result.t), result.df)
    return replace(result, p_uncorrected=p, pivots=np.r_[0.2, np.full(18, 0.5)], pivot=0.001)


def discovered(result, voxels):
    """Share of true discoveries, by its definition: the best of 1 - u + #{p below value u}."""
    p, m = result.p_uncorrected[voxels], len(result.p_uncorrected)
    found = (1 - u + (p < 0.2 * u / m).sum() for u in range(1, len(p) + 1))
    return max(0, *found) / len(p)


@pytest.fixture
def effects(mask):
    rng = np.random.default_rng(4)
    g, percent = rng.normal(0, 1, (2, mask.sum()))
    return {"g": g, "percent": percent}


def at(values, mask, voxel):
    grid = np.full(SHAPE, np.nan)
    grid[mask] = values
    return grid[voxel]


def test_a_peak_s_row_holds_its_place_its_effects_and_each_p(result, effects, mask, parcels):
    found = clusters.cluster_table(result, effects, mask, AFFINE, parcels)
    peaks = [(2, 3, 2), (9, 4, 3)]
    x, y, z = nib.affines.apply_affine(AFFINE, np.array(peaks)).T
    expected = {"cluster": ["1", "2"], "region": "Amygdala", "hemisphere": ["right", "left"]}
    tails = (result.t > 3, result.t < -3)
    expected |= {"k_voxels": [12, 4], "true_discoveries": [discovered(result, v) for v in tails]}
    expected |= {"volume_mm3": [720, 240], "x": x, "y": y, "z": z}
    named = {"t": result.t, "hedges_g": effects["g"], "percent": effects["percent"]}
    named |= {"p_fwe_t": result.p["max_t"], "p_fwe_cluster": result.p["cluster_extent"]}
    named |= {"p_fwe_mass": result.p["cluster_mass"], "p_fwe_tfce": result.p["tfce"]}
    expected |= {name: [at(v, mask, peak) for peak in peaks] for name, v in named.items()}
    assert_table(found, expected)
    assert found["k_voxels"].dtype == int


def test_peaks_of_a_cluster_are_8_mm_apart_unless_said_otherwise(mask, parcels):
    t = np.zeros(SHAPE)
    t[2:4, 1:5, 2] = 4.0 - 0.1 * np.arange(4)
    t[2, 1, 2], t[3, 3, 2] = 6.0, 5.0  # 3 mm and 8 mm: 8.5 mm
    made = told_apart(
        PermutationResult(t[mask], 8, {name: t[mask] for name in NAMES}, {}, 3.0, False)
    )
    effects = {"g": t[mask], "percent": t[mask]}
    found = clusters.cluster_table(made, effects, mask, AFFINE, parcels)
    assert found[["cluster", "t"]].to_numpy().tolist() == [["1", 6.0], ["1a", 5.0]]
    found = clusters.cluster_table(made, effects, mask, AFFINE, parcels, min_distance_mm=9)
    assert found["t"].tolist() == [6.0]


def test_each_cluster_s_voxels_are_counted_by_region_and_numbered_in_the_image(mask, parcels):
    t = np.zeros(SHAPE)
    t[1:3, 1:3, 1:3] = -4.0  # 8 voxels on the right
    t[4:8, 4:6, 2:5] = 5.0  # 24, half of them on the left
    t[9, 1, 4:6] = 4.0  # 2, one of them in the ventricle
    made = told_apart(PermutationResult(t[mask], 8, {}, {}, 3.0, False))
    found = clusters.cluster_regions(made, mask, AFFINE, parcels)
    right, left = ((parcels.image.get_fdata() == k)[mask].sum() for k in (1, 2))
    sides = ("left", "right", "right", "left")
    expected = {
        "cluster": list("11233"),
        "region": [*(f"{side} amygdala" for side in sides), clusters.OUTSIDE],
        "n_voxels": [12, 12, 8, 1, 1],
        "share_of_cluster": [0.5, 0.5, 1, 0.5, 0.5],
        "share_of_region": [12 / left, 12 / right, 8 / right, 1 / left, 1 / (60 * 1)],
    }
    assert_table(found, expected)
    number = clusters.numbered_clusters(made, mask)
    assert [at(number, mask, v) for v in ((4, 4, 2), (1, 1, 1), (9, 1, 4), (5, 1, 1))] == [
        1,
        2,
        3,
        0,
    ]


def test_further_peaks_are_lettered_beyond_z():
    found = clusters._lettered(np.repeat([1, 2], [30, 2]))
    assert [found[k] for k in (0, 1, 26, 27, 28, 30, 31)] == [
        *("1", "1a", "1z", "1aa", "1ab"),
        *("2", "2a"),
    ]


def test_a_region_s_row_holds_its_voxels_mean_effects_and_largest_t(result, effects, mask, parcels):
    labels = np.asarray(parcels.image.dataobj)[mask]
    rows = []
    for label, name in ((1, "right amygdala"), (2, "left amygdala")):
        own = labels == label
        p, t = result.p["max_t"][own], result.t[own]
        row = {"region": name, "n_voxels": own.sum(), "n_voxels_fwe": (p < 0.05).sum()}
        row |= {"p_fwe_t": p.min(), "hedges_g": effects["g"][own].mean()}
        row |= {"percent": effects["percent"][own].mean()}
        row |= {"true_discoveries": discovered(result, own)}
        rows.append(row | {"t": t[np.abs(t).argmax()]})
    expected = pd.DataFrame(rows).sort_values("n_voxels_fwe", ascending=False)
    found = regions.region_table(result, effects, mask, AFFINE, parcels)
    assert_table(found, expected.to_dict("list"))
    assert sorted(np.sign(found["t"])) == [-1, 1]


def test_regions_alike_in_significant_voxels_stand_by_p_and_one_at_05_is_not_significant(
    result, effects, mask, parcels
):
    p = np.full(mask.sum(), 0.5)
    labels = np.asarray(parcels.image.dataobj)[mask]
    p[np.flatnonzero(labels == 2)[0]], p[np.flatnonzero(labels == 1)[0]] = 0.05, 0.2
    made = replace(result, p=result.p | {"max_t": p})
    found = regions.region_table(made, effects, mask, AFFINE, parcels)
    assert found["n_voxels_fwe"].tolist() == [0, 0]
    assert found["region"].tolist() == ["left amygdala", "right amygdala"]


def test_a_region_of_the_midline_is_named_as_it_is(parcels):
    table = parcels.table.assign(tissue="grey")
    named = regions.region_names(replace(parcels, table=table))
    assert named.tolist() == ["right amygdala", "left amygdala", "Ventricle"]


@pytest.mark.parametrize(
    ("contrast", "n"),
    [
        ("arm_by_time", (6, 4)),
        ("active_change", (6, 0)),
        ("control_change", (0, 4)),
        ("improvement", (6, 4)),
    ],
)
def test_the_summary_of_a_contrast_counts_each_statistic_and_its_own_arms(result, contrast, n):
    p = result.p
    expected = {"contrast": contrast, "n_active": n[0], "n_control": n[1], "errors": "equal"}
    expected["df"] = 8
    expected |= {"n_permutations": 19, "threshold": 3.0}
    for ending, name in (("", "max_t"), ("_cluster", "cluster_extent"), ("_tfce", "tfce")):
        expected[f"n_voxels_fwe{ending}"] = (p[name] < 0.05).sum()
    expected["true_discoveries"] = discovered(result, slice(None))
    assert expected["true_discoveries"] > 0
    for ending, name in (("", "max_t"), ("_cluster", "cluster_extent"), ("_tfce", "tfce")):
        expected[f"smallest_p{ending}"] = p[name].min()
    found = pd.DataFrame([contrasts.contrast_summary(contrast, result, 6, 4, "equal")])
    assert_table(found, {name: [value] for name, value in expected.items()})
    quoted = numbers.vbm_numbers(found)
    names = ("n_active", "n_control", "n_permutations", "n_voxels_fwe", "smallest_p")
    assert quoted == {f"{contrast}.{k}": (found[k][0], "summary.tsv") for k in names}


def test_each_image_holds_what_its_name_says(result, effects, mask):
    images = vbm_effects.result_images("arm_by_time", result, effects, mask, AFFINE)
    expected = {"t": result.t, "g": effects["g"], "percent": effects["percent"]}
    expected |= {"p_fwe_t": result.p["max_t"], "p_fwe_cluster": result.p["cluster_extent"]}
    expected |= {"p_fwe_mass": result.p["cluster_mass"], "p_fwe_tfce": result.p["tfce"]}
    assert set(images) == {f"arm_by_time_{name}" for name in expected}
    for name, values in expected.items():
        image = images[f"arm_by_time_{name}"]
        np.testing.assert_array_equal(image.affine, AFFINE)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert image.header["descrip"] == b""
        found = image.get_fdata()
        np.testing.assert_allclose(found[mask], values, rtol=1e-6)
        assert (found[~mask] == (1 if name.startswith("p_") else 0)).all()


def change_maps(seed=5):
    """Six active and four control participants, 20 voxels; the active ones gain and vary more."""
    rng = np.random.default_rng(seed)
    pre = rng.uniform(0.4, 0.8, (10, 20)) * np.where(ARM == "active", 1, 0.7)[:, None]
    gain = np.where(ARM == "active", 0.03, -0.01)[:, None]
    noise = rng.normal(0, 1, (10, 20)) * np.where(ARM == "active", 0.02, 0.005)[:, None]
    return pre, pre + gain + noise


def j(df):
    return np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)


def test_effect_sizes_of_each_contrast_have_its_sign_and_its_own_arms_spread():
    pre, post = change_maps()
    change, active = post - pre, ARM == "active"
    sd = {a: change[active == a].std(axis=0, ddof=1) for a in (True, False)}
    mean = {a: change[active == a].mean(axis=0) for a in (True, False)}
    percent = {a: 100 * mean[a] / pre[active == a].mean(axis=0) for a in (True, False)}
    between = 100 * (mean[True] - mean[False]) / pre.mean(axis=0)
    pooled = np.sqrt((5 * sd[True] ** 2 + 3 * sd[False] ** 2) / 8)
    expected = {
        "active_change": (mean[True] / sd[True] * j(5), percent[True]),
        "control_change": (mean[False] / sd[False] * j(3), percent[False]),
        "arm_by_time": ((mean[True] - mean[False]) / pooled * j(8), between),
    }
    for contrast, (g, in_percent) in expected.items():
        found = vbm_effects.effect_sizes(contrast, pre, post, ARM)
        np.testing.assert_allclose(found["g"], g)
        np.testing.assert_allclose(found["percent"], in_percent)
    assert expected["control_change"][1].mean() < 0 < expected["active_change"][1].mean()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("contrast", OF_CHANGE)
def test_effect_sizes_are_0_where_nothing_varies_or_nothing_was_there_before(contrast):
    pre, post = change_maps()
    pre[:, 0] = post[:, 0] = 0.5
    pre[:, 1] = 0
    pre[:, 2], post[:, 2] = 0.5, np.where(ARM == "active", 0.75, 0.25)
    found = vbm_effects.effect_sizes(contrast, pre, post, ARM)
    assert found["g"][0] == found["percent"][0] == found["percent"][1] == found["g"][2] == 0
    assert abs(found["g"][1]) > 0


def test_effect_sizes_of_maps_in_single_precision_are_summed_in_double():
    pre, post = (values.astype(np.float32) for values in change_maps())
    change, active = (post - pre).astype(float), ARM == "active"
    means = [change[which].mean(axis=0) for which in (active, ~active)]
    pooled = 5 * change[active].var(axis=0, ddof=1) + 3 * change[~active].var(axis=0, ddof=1)
    found = vbm_effects.effect_sizes("arm_by_time", pre, post, ARM)
    g = (means[0] - means[1]) / np.sqrt(pooled / 8) * j(8)
    np.testing.assert_allclose(found["g"], g, rtol=1e-12)
    percent = 100 * (means[0] - means[1]) / pre.astype(float).mean(axis=0)
    np.testing.assert_allclose(found["percent"], percent, rtol=1e-12)


@pytest.mark.parametrize("contrast", OF_CHANGE)
def test_a_contrast_tests_its_own_arms_with_its_own_sign(contrast):
    pre, post = change_maps()
    change, active = post - pre, ARM == "active"
    expected = {
        "active_change": stats.ttest_1samp(change[active], 0),
        "control_change": stats.ttest_1samp(change[~active], 0),
        "arm_by_time": stats.ttest_ind(change[active], change[~active]),
    }[contrast]
    grid, options = np.ones((5, 4, 1), bool), {"n_permutations": 9, "errors": "equal"}
    found = contrasts.contrast_test(contrast, change, grid, ARM, **options)
    np.testing.assert_allclose(found.t, expected.statistic, rtol=1e-4)
    assert found.df == (expected.df[0] if np.ndim(expected.df) else expected.df)


@pytest.fixture
def asked(monkeypatch):
    """What a contrast asks of the permutation test, which is not run."""
    calls = []

    def test(change, mask, tested, nuisance=None, blocks=None, **options):
        calls.append((change, mask, tested, nuisance, blocks, options))
        return SimpleNamespace(t=np.array([3.0]), df=16)

    monkeypatch.setattr(contrasts, "permutation_test", test)
    return calls


def assert_asked(call, expected):
    assert call[-1] == expected[-1]
    for found, value in zip(call[:-1], expected[:-1], strict=True):
        assert (found is None) == (value is None)
        if value is not None:
            np.testing.assert_array_equal(found, value)
            assert np.asarray(found).dtype.kind == np.asarray(value).dtype.kind


def test_covariates_and_strata_enter_the_difference_alone(asked):
    pre, post = change_maps()
    grid, age, site = np.ones((5, 4, 1), bool), np.arange(10.0)[:, None], np.array(list("ab") * 5)
    active = ARM == "active"
    for errors in ("equal", "unequal"):
        for contrast in OF_CHANGE:
            given = (list(ARM), age, site, errors)
            contrasts.contrast_test(contrast, post - pre, grid, *given, seed=3)
    signs = {"seed": 3, "errors": "equal", "sign_flip": True}
    own = [((post - pre)[a], grid, np.ones(a.sum()), None, None, signs) for a in (active, ~active)]
    model = (post - pre, grid, active.astype(float), np.column_stack([age, site == "b"]))
    permuted = (*model, site, {"seed": 3, "errors": "equal"})
    flipped = (*model, None, {"seed": 3, "errors": "unequal"})
    skewed = [(*call[:-1], signs | {"errors": "skewed"}) for call in own]
    for call, expected in zip(asked, [*own, permuted, *skewed, flipped], strict=True):
        assert_asked(call, expected)
    for errors, told in (("skewed", "skewed"), ("symmetric", "equal")):
        contrasts.contrast_test("active_change", post - pre, grid, ARM, errors=errors, seed=3)
        assert asked[-1][-1] == signs | {"errors": told}


def test_improvement_is_exchanged_within_arm_and_stratum_with_arm_and_covariates_held(asked):
    rng = np.random.default_rng(12)
    change, improvement = rng.normal(size=(10, 20)), np.r_[np.nan, np.arange(9)]
    grid, held = np.ones((5, 4, 1), bool), pd.DataFrame({"age": range(10), "old": [True] * 10})
    site, given = [1, 2] * 5, ([None, *range(9)], list(ARM))
    active = (ARM[1:] == "active").astype(float)
    cells = np.array([f"{a}{s}" for a, s in zip(ARM[1:], site[1:], strict=True)])
    contrasts.improvement_test(change, grid, *given, held, site, "equal", seed=3)
    contrasts.improvement_test(change, grid, *given, held, site, seed=3)
    contrasts.improvement_test(change, grid, *given)
    held = np.column_stack([active, np.arange(1.0, 10), np.ones(9), np.array(site[1:]) == 2])
    model = (change[1:], grid, improvement[1:])
    assert_asked(asked[0], (*model, held, cells, {"seed": 3, "errors": "equal"}))
    assert_asked(asked[1], (*model, held, None, {"seed": 3, "errors": "unequal"}))
    assert_asked(asked[2], (*model, active[:, None], None, {"errors": "unequal"}))


def test_improvement_goes_with_change_within_the_arms_and_keeps_its_sign():
    rng = np.random.default_rng(6)
    improvement = np.r_[rng.normal(12, 3, 6), rng.normal(4, 3, 4)]
    improvement[2] = np.nan
    change = rng.normal(0, 1, (10, 12)) + np.nan_to_num(improvement)[:, None] * np.linspace(
        -1, 1, 12
    )
    grid = np.ones((4, 3, 1), bool)
    found, r = contrasts.improvement_test(change, grid, improvement, ARM, n_permutations=9)
    known = np.isfinite(improvement)
    centred = [
        values - pd.DataFrame(values).groupby(ARM[known]).transform("mean").to_numpy()
        for values in (change[known], improvement[known, None])
    ]
    expected = [stats.pearsonr(column, centred[1][:, 0])[0] for column in centred[0].T]
    np.testing.assert_allclose(r["r"], expected, rtol=1e-4)
    assert found.df == 9 - 3


def test_change_is_a_row_for_each_participant_and_region_and_comes_back_as_a_matrix():
    pre = np.array([[0.5, 0.4], [0.8, 0.2], [0.4, 0.5]])
    post = np.array([[0.6, 0.3], [0.8, 0.25], [0.3, 0.6]])
    change = regions.parcel_change(pre, post, ["left amygdala", "right amygdala"])
    who = pd.DataFrame(
        {"participant_id": ["s3", "s1", "s2"], "arm": ["active", "active", "control"]}
    )
    rows = regions.change_rows(change, who)
    expected = {"participant_id": ["s1", "s1", "s2", "s2", "s3", "s3"]}
    expected["arm"] = ["active", "active", "control", "control", "active", "active"]
    expected["region"] = ["left amygdala", "right amygdala"] * 3
    assert_table(rows, expected | {"change": [0, 25, -25, 20, 20, -25]})
    names = pd.Series(["right amygdala", "left amygdala"], index=[4, 7])
    matrix = inputs.change_matrix(rows, names)
    assert matrix.columns.tolist() == [4, 7]
    assert matrix.columns.name == "label"
    np.testing.assert_allclose(matrix, [[25, 0], [20, -25], [-25, 20]])


@pytest.mark.filterwarnings("error")
def test_a_region_without_grey_matter_before_has_no_change_and_warns_of_nothing():
    pre, post = np.array([[0.0, 0.0, 0.5]]), np.array([[0.0, 0.1, 0.6]])
    change = regions.parcel_change(pre, post, ["a", "b", "c"])
    assert change.isna().to_numpy().tolist() == [[True, True, False]]


def test_five_regions_that_the_atlas_lacks_are_named():
    rows = pd.DataFrame({"participant_id": "s", "region": list("fedcba"), "change": 0.0})
    with pytest.raises(ValueError, match=r"expected, found a, b, c, d, e: run 02_vbm again"):
        inputs.change_matrix(rows, pd.Series(["left amygdala"], index=[1]))


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("left amigdala", "left amygdala, right amygdala, left insula"),
        ("thal", "left thalamus, right thalamus"),
        ("zzz", "right amygdala, left amygdala, left insula, right insula, left thalamus"),
    ],
)
def test_a_region_that_the_atlas_lacks_is_refused_with_the_nearest(monkeypatch, asked, nearest):
    known = ["right amygdala", "left amygdala", "left insula", "right insula", "left thalamus"]
    known.append("right thalamus")
    monkeypatch.setattr(regions, "region_names", {"atlas": pd.Series(known)}.get)
    assert regions.check_regions(tuple(known), "atlas") == known
    with pytest.raises(StudyError) as caught:
        regions.check_regions(["right insula", asked], "atlas")
    expected = Problem("", "regions", "a grey-matter region of the atlas", repr(asked))
    assert caught.value.problems == [replace(expected, remedy=f"nearest: {nearest}")]


def test_the_check_tells_of_the_regions_that_a_study_names(parcels, monkeypatch):
    def load(study):
        if study.atlas != "own":
            raise StudyError(Problem("", "atlas", "an atlas", repr(study.atlas)))
        return parcels

    monkeypatch.setattr(regions, "parcels_of", load)
    study = SimpleNamespace(imaging="vbm", atlas="own", own_regions=["left amygdala"])
    study.region_sets = {"limbic": ["right amygdala"]}
    study.path = Path("studies/made.yml")
    assert regions.problems(study) == []
    study.own_regions = ["left amigdala"]
    (found,) = regions.problems(study)
    remedy = "nearest: left amygdala, right amygdala. Name regions of the atlas in the study file"
    assert found.remedy == remedy
    assert (found.file, found.place, found.found) == ("made.yml", "regions", "'left amigdala'")
    assert regions.problems(SimpleNamespace(**vars(study) | {"imaging": None})) == []
    study.own_regions, study.region_sets = [], {"limbic": ["amygdalae"]}
    assert [problem.found for problem in regions.problems(study)] == ["'amygdalae'"]
    assert regions.problems(SimpleNamespace(**vars(study) | {"atlas": "elsewhere"})) == []


def test_regional_means_have_n_mean_spread_and_a_t_interval():
    rng = np.random.default_rng(7)
    rows = pd.DataFrame({"arm": np.tile(ARM, 2), "region": np.repeat(["a", "b"], 10)})
    rows["change"] = rng.normal(2, 1, 20)
    expected = []
    for arm, region in (("active", "a"), ("control", "a"), ("active", "b"), ("control", "b")):
        own = rows.loc[(rows["arm"] == arm) & (rows["region"] == region), "change"]
        low, high = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
        row = {"arm": arm, "region": region, "n": len(own), "mean": own.mean(), "sd": own.std()}
        expected.append(row | {"ci_low": low, "ci_high": high})
    found = regions.region_means(rows)
    assert_table(found, pd.DataFrame(expected).to_dict("list"))


def test_regional_change_goes_with_improvement_within_arms():
    rng = np.random.default_rng(9)
    improvement = np.r_[rng.normal(12, 3, 6), rng.normal(4, 3, 4)]
    improvement[8] = np.nan
    known = np.isfinite(improvement)
    slopes = {"a": 0.4, "b": -0.5, "c": 0.05}
    change = pd.DataFrame(
        {k: rng.normal(0, 1, 10) + s * np.nan_to_num(improvement) for k, s in slopes.items()}
    )
    frame = change[known].assign(improvement=improvement[known])
    centred = frame - frame.groupby(ARM[known]).transform("mean")
    rows = []
    for name in slopes:
        r = stats.pearsonr(centred[name], centred["improvement"])[0]
        low, high = np.tanh(np.arctanh(r) + np.array([-1, 1]) * 1.959964 / np.sqrt(5))
        t = r * np.sqrt(6 / (1 - r**2))
        row = {"region": name, "n": 9, "r": r, "ci_low": low, "ci_high": high}
        rows.append(row | {"p": 2 * stats.t.sf(abs(t), 6)})
    p = np.array([row["p"] for row in rows])
    order = np.argsort(p)
    holm = np.empty(3)
    holm[order] = np.minimum(1, np.maximum.accumulate(p[order] * [3, 2, 1]))
    expected = pd.DataFrame(rows).assign(p_holm=holm)
    assert expected["r"].min() < 0 < expected["r"].max()
    found = regions.region_coupling(change, improvement, ARM)
    assert_table(found, expected.to_dict("list"))


def test_regions_that_somebody_s_map_lacks_are_refused_by_name():
    change = pd.DataFrame({"a": [1.0, np.nan], "b": [1.0, 2.0], "c": [np.nan, 2.0]})
    with pytest.raises(ValueError, match=r"^regions a, c: grey matter in every participant's map"):
        regions.region_coupling(change, [1.0, 2.0], ["active", "control"])


def test_where_no_region_is_named_those_that_somebody_s_map_lacks_are_left_out():
    who = [f"sub-{k}" for k in range(6)]
    rows = [(w, "active", r, float(k * (r == "a"))) for k, w in enumerate(who) for r in "ab"]
    rows = pd.DataFrame(rows, columns=["participant_id", "arm", "region", "change"])
    rows.loc[[1, 3], "change"] = np.nan  # of b
    rows["arm"] = rows["participant_id"].map(dict(zip(who, ["active", "control"] * 3, strict=True)))
    improvement = pd.Series([1.0, 3, 2, 5, 4, 6], who)
    assert regions.coupling_table(rows, [], improvement)["region"].tolist() == ["a"]


def test_quality_is_told_of_each_map_by_session():
    rng = np.random.default_rng(10)
    pairs = pd.DataFrame(
        {"participant_id": list("abcde"), "arm": [*["active"] * 3, *["control"] * 2]}
    )
    maps = {"pre": rng.uniform(0.4, 0.9, (5, 50)), "post": rng.uniform(0.2, 0.5, (5, 50))}
    rows = []
    for session, values in maps.items():
        r = np.corrcoef(values)
        mean = np.array([np.delete(r[k], k).mean() for k in range(5)])
        spread = stats.median_abs_deviation(mean) * 1.4826
        for k in range(5):
            row = {"participant_id": "abcde"[k], "arm": pairs["arm"][k], "session": session}
            row |= {"volume_ml": values[k].sum() * 0.06, "mean_correlation": mean[k]}
            rows.append(row | {"outlier_score": (np.median(mean) - mean[k]) / spread})
    found = quality.quality_table(pairs, maps, AFFINE)
    assert_table(found, pd.DataFrame(rows).to_dict("list"), rtol=1e-4)


def test_maps_in_single_precision_are_summed_in_double_and_stay_single():
    rng = np.random.default_rng(11)
    maps = {"pre": rng.uniform(0.4, 0.9, (5, 5000)).astype(np.float32)}
    pairs = pd.DataFrame({"participant_id": list("abcde"), "arm": "active"})
    volume = quality.quality_table(pairs, maps, AFFINE)["volume_ml"]
    np.testing.assert_allclose(volume, maps["pre"].astype(float).sum(axis=1) * 0.06, rtol=1e-12)
    tiv = pd.Series([1400.0, 1500, 1600, 1700, 1300])
    (divided,), _ = quality.adjust_for_tiv([maps["pre"]], pd.DataFrame(), tiv, "proportional")
    assert divided.dtype == np.float32
    np.testing.assert_allclose(divided[0], maps["pre"][0] / (1400 / 1500), rtol=1e-6)


def test_recovery_counts_true_and_false_voxels_of_the_contrast(result):
    truth = np.zeros(result.t.size)
    p = np.ones(result.t.size)
    truth[:10], truth[10:16] = 2.0, 0.5
    p[[0, 1, 2, 3, 11, 12, 20]] = 0.01
    made = told_apart(
        PermutationResult(result.t, 8, result.p | {"max_t": p}, result.null_max, 3.0, False)
    )
    expected = {"contrast": "active_change", "significant": 7, "true_voxels": 10, "true_found": 4}
    expected |= {"false_found": 1, "false_discovery_proportion": 1 / 7}
    found = planted_truth.recovery("active_change", made, truth)
    assert_table(pd.DataFrame([found]), {k: [v] for k, v in expected.items()})
    nothing = planted_truth.recovery("control_change", made, truth)
    assert [nothing[k] for k in ("true_voxels", "true_found", "false_found")] == [0, 0, 7]
