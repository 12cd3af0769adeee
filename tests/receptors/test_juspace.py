"""JuSpace mode against plain loops over its rules, closed forms, enumeration and real maps."""

import itertools

import nibabel as nib
import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.spatial.distance import cdist

from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import correlation, juspace
from analysis_lib.receptors import nulls as receptors_nulls
from analysis_lib.results.contrasts import OF_CHANGE
from analysis_lib.study import catalogue

D1, SMOOTH = "kaller2017/sch23390", "kantonen2020/carfentanil"
FOUR = (D1, "alarkurtti2015/raclopride", "dukart2018/fpcit", "dukart2018/flumazenil")


@pytest.fixture(scope="module")
def trial():
    """Percent change of 9 active and 7 control participants in 24 parcels, their arms, two maps."""
    rng = np.random.default_rng(7)
    arm = np.array(["active", "control"] * 7 + ["active"] * 2)
    return rng.normal(0.4, 1, (16, 24)), arm, rng.gamma(2, size=(2, 24))


@pytest.fixture(scope="module")
def cubes():
    """Labels 1 to 24: cubes of 3 mm in three rows; odd ones on the right, even ones mirror them."""
    labels = np.zeros((16, 18, 12), np.int16)
    for k, (x, y, z) in enumerate(itertools.product(range(2), range(3), range(2))):
        corner = np.array([1 + 3 * x, 1 + 5 * y, 1 + 5 * z])
        here = tuple(slice(c, c + 3) for c in corner)
        labels[here] = 2 * k + 1
        labels[16 - corner[0] - 3 : 16 - corner[0], here[1], here[2]] = 2 * k + 2
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[0, 3] = 22.5
    return nib.Nifti1Image(labels, affine)


@pytest.fixture(scope="module")
def places(cubes):
    return juspace.geometry(cubes)


def _smooth_map(places):
    """Values that rise along the coordinates of the half, nearly the same on both sides."""
    height = pd.Series(places.coordinates @ [1.0, 0.6, 0.2], index=places.half)
    return height.to_numpy()[places.source] + 0.01 * np.arange(len(places.labels))


# --- effect map and correlation ---


def test_effect_is_cohens_d_by_the_formula(trial):
    change, arm, _ = trial
    a, c = change[arm == "active"], change[arm == "control"]
    expected = {
        "active_change": a.mean(0) / a.std(0, ddof=1),
        "control_change": c.mean(0) / c.std(0, ddof=1),
        "arm_by_time": (a.mean(0) - c.mean(0)) / np.sqrt((a.var(0, ddof=1) + c.var(0, ddof=1)) / 2),
    }
    for contrast, d in expected.items():
        np.testing.assert_allclose(juspace.effect(change, arm, contrast), d)
    np.testing.assert_allclose(juspace.effect(change, arm, "active_change", "mean"), a.mean(0))
    t, _ = stats.ttest_ind(a, c)  # arms of 9 and 7: Student's pooled variance is another one
    assert np.abs(expected["arm_by_time"] - t * np.sqrt(1 / 9 + 1 / 7)).max() > 1e-3


def test_effect_refuses_an_unknown_contrast(trial):
    with pytest.raises(ValueError, match="contrast 'arm_by_week' is unknown"):
        juspace.effect(*trial[:2], contrast="arm_by_week")


def test_a_parcel_without_variation_is_named_and_one_without_voxels_stays_nan(trial):
    change, arm, _ = trial
    change = change.copy()
    change[:, 3] = np.nan
    assert np.flatnonzero(np.isnan(juspace.effect(change, arm))).tolist() == [3]
    change[:, 5] = 1.5
    for contrast in OF_CHANGE:
        with pytest.raises(ValueError, match=r"columns \[5\] hold one value"):
            juspace.effect(change, arm, contrast)


def test_correlate_is_pearson_with_fisher_z(trial):
    change, _, maps = trial
    r, z = juspace.correlate(change[:3], maps)
    assert r[1, 0] == pytest.approx(stats.pearsonr(change[1], maps[0])[0])
    np.testing.assert_allclose(z, np.log((1 + r) / (1 - r)) / 2)


# --- geometry and null maps ---


def test_geometry_of_cubes(cubes, places):
    assert places.half.tolist() == list(range(1, 24, 2))
    assert places.labels[places.source == 0].tolist() == [1, 2]
    np.testing.assert_array_equal(places.half[places.source], np.repeat(places.half, 2))
    # A cube's profiles are flat: its first column is the peak. The lowest two slices are not seen.
    np.testing.assert_array_equal(
        places.coordinates[[0, 1, 11]], [[1, 1, 2], [1, 1, 6], [4, 11, 6]]
    )
    assert juspace.geometry(cubes, [1, 4]).half.tolist() == [1]
    assert juspace.geometry(cubes, [1, 4]).source.tolist() == [0, -1]


def test_a_parcel_over_the_midline_is_in_the_half_and_the_peak_is_no_centroid(cubes):
    labels = np.asarray(cubes.dataobj).copy()
    labels[7, 1, 3] = 14  # one voxel of a left parcel on the right side
    labels[1:4, 9, 9] = 13  # a thin tail of a right parcel; its bulk is elsewhere
    places = juspace.geometry(nib.Nifti1Image(labels, cubes.affine))
    assert places.half.tolist() == [1, 3, 5, 7, 9, 11, 13, 14, *range(15, 24, 2)]
    mirror = dict(zip(places.labels, places.half[places.source], strict=True))
    assert (mirror[13], mirror[14]) == (13, 13)
    spread, plain = places.coordinates[6], juspace.geometry(cubes).coordinates[6]
    np.testing.assert_array_equal(spread, plain)


def test_geometry_refuses_another_axis_and_absent_labels(cubes):
    turned = nib.Nifti1Image(np.asarray(cubes.dataobj), cubes.affine[[1, 0, 2, 3]])
    with pytest.raises(ValueError, match="first axis left-right expected, found 'P'"):
        juspace.geometry(turned)
    with pytest.raises(ValueError, match=r"labels \[99\]"):
        juspace.geometry(cubes, [1, 2, 99])


def test_autocorrelation_is_numpys_over_all_pairs_each_with_itself(places):
    maps = np.random.default_rng(1).gamma(2, size=(2, 24))
    maps[1, [0, 5]] = np.nan
    rows = places.labels.get_indexer(places.half)
    for found, values in zip(juspace.autocorrelation(maps, places), maps[:, rows], strict=True):
        kept = ~np.isnan(values)
        apart = np.abs(values[kept][:, None] - values[kept])
        distances = cdist(places.coordinates[kept], places.coordinates[kept])
        assert found == pytest.approx(np.corrcoef(distances.ravel(), apart.ravel())[0, 1])
    maps[:, rows[2:]] = np.nan
    with pytest.raises(ValueError, match="covers 2 parcels of the half"):
        juspace.autocorrelation(maps[:1], places)


def test_without_autocorrelation_parcels_of_both_sides_are_shuffled(places):
    values = np.where(np.isin(np.arange(24), [4, 5]), 1, 0.001 * np.arange(24))  # one peak, amid
    values[20] = np.nan
    assert juspace.autocorrelation(values, places)[0] < 0
    made = juspace.null_maps(values, places, 30, 2)
    np.testing.assert_array_equal(np.sort(made, axis=1), np.tile(np.sort(values), (30, 1)))
    assert np.isnan(made[:, 20]).all()
    assert np.ptp(made[:, 0]) > 0
    np.testing.assert_array_equal(made, juspace.null_maps(values, places, 30, 2))


def _smoothed_by_hand(shuffled, target, coordinates):
    """One null half by the rule, one step after another."""
    distances = cdist(coordinates, coordinates)

    def amount(x):
        return np.corrcoef(distances.ravel(), np.abs(x[:, None] - x).ravel())[0, 1]

    made, variance = shuffled, 1
    while amount(made) < target and variance < 1000:
        variance += 1
        made = np.empty_like(shuffled)
        for i, row in enumerate(distances):
            weights = stats.norm.pdf(row, scale=np.sqrt(variance))
            made[i] = np.average(shuffled, weights=weights)
    made = made - made.min()
    return made * np.ptp(shuffled) / made.max() + shuffled.min(), variance


def test_with_autocorrelation_null_maps_follow_the_rule_step_by_step(places):
    values = _smooth_map(places) + 8 * np.random.default_rng(0).standard_normal(24)
    target = juspace.autocorrelation(values, places)[0]
    assert target > 0.15
    made = juspace.null_maps(values, places, 6, 5)
    half = values[places.labels.get_indexer(places.half)]
    shuffles = np.random.default_rng(5).permuted(np.tile(half, (6, 1)), axis=1)
    steps = []
    for found, shuffled in zip(made, shuffles, strict=True):
        expected, variance = _smoothed_by_hand(shuffled, target, places.coordinates)
        np.testing.assert_allclose(found, expected[places.source])
        steps.append(variance)
    assert min(steps) == 1  # smooth enough as it was
    assert max(steps) > 2


def test_a_mirrored_null_lacks_what_the_map_lacks(places):
    values = _smooth_map(places)
    values[[0, 7]] = np.nan  # parcel 1, the source of 1 and 2; and parcel 8, a mirror image
    made = juspace.null_maps(values, places, 5, 0)
    lost = np.isnan(made).all(axis=0)
    assert np.flatnonzero(lost).tolist() == [0, 1, 7]
    assert np.isfinite(made[:, ~lost]).all()


@pytest.fixture(scope="module")
def real_places(reference_data):
    """Geometry of JuSpace's own label image."""
    return juspace.geometry(reference_data / "data" / "atlases" / "m_labels_Neuromorphometrics.nii")


def test_juspace_does_not_adjust_for_d1(reference_data, real_places):
    """Of JuSpace's own label image and parcel means; an opioid receptor map is one it adjusts."""
    folder = reference_data / "reference" / "juspace"
    means = pd.read_csv(
        folder / "parcel_means_neuromorphometrics119.tsv", sep="\t", index_col="label"
    )
    assert (len(real_places.labels), len(real_places.half)) == (119, 64)
    found = juspace.autocorrelation(means.loc[real_places.labels, list(FOUR)].T, real_places)
    np.testing.assert_allclose(found, [-0.0315, -0.1000, -0.0805, -0.0502], atol=1e-4)
    path = catalogue.locate("kantonen2020/carfentanil", reference_data / "data" / "neuromaps")
    opioid = grids.parcel_means(path)[real_places.labels]
    assert juspace.autocorrelation(opioid, real_places)[0] == pytest.approx(0.212, abs=2e-3)


def test_packaged_label_image_has_the_half_and_the_mirror_images_of_juspaces(real_places):
    packaged = juspace.geometry()
    assert packaged.half.equals(real_places.half)
    np.testing.assert_array_equal(packaged.source, real_places.source)
    table = parcellation.load_atlas().table
    assert (table.loc[packaged.half, "hemisphere"] == "left").sum() == 3  # over the midline
    mirrored = table.loc[packaged.half[packaged.source], "region"]
    assert mirrored.tolist() == table.loc[packaged.labels, "region"].tolist()


# --- p-values ---


def _fisher(r):
    return np.arctanh(r)


@pytest.mark.parametrize(("n_parcels", "rate"), [(119, 0.0525), (20, 0.0676), (10, 0.0927)])
def test_z_against_r_rejects_as_often_as_the_docstring_says(n_parcels, rate):
    """Closed form, and the share of 4000 unrelated maps with its Monte-Carlo error."""
    t = stats.t.isf(0.025, n_parcels - 2)
    critical = t / np.sqrt(n_parcels - 2 + t**2)
    assert receptors_nulls.parametric_p(np.tanh(critical), n_parcels) == pytest.approx(
        rate, abs=1e-4
    )
    rng = np.random.default_rng(3)
    null, r = (
        correlation.correlate(rng.standard_normal((k, n_parcels)), rng.random(n_parcels), "pearson")
        for k in (9999, 4000)
    )
    error = np.sqrt(rate * (1 - rate) * (1 / 4000 + 1 / 9999))
    for observed, expected in ((r, 0.05), (_fisher(r), rate)):
        share = np.mean(juspace.exact_p(observed[:, 0], null) <= 0.05)
        assert share == pytest.approx(expected, abs=4 * error)


def test_from_r_of_076_on_z_leaves_no_null_map_to_compare_with():
    null = np.linspace(-0.999, 0.999, 99)[:, None]
    assert juspace.exact_p(_fisher(0.762), null) == pytest.approx(0.01)
    assert juspace.exact_p(0.762, null) > 0.2


@pytest.mark.parametrize(("n_active", "n_control", "moved"), [(18, 18, 9), (9, 7, 4), (24, 20, 11)])
def test_balanced_relabelling_exchanges_half_of_each_arm(n_active, n_control, moved):
    active = np.random.default_rng(0).permutation(np.arange(n_active + n_control) < n_active)
    labels, exhaustive = juspace._labellings(active, "balanced", 50, np.random.default_rng(1))
    assert not exhaustive
    assert (labels.sum(axis=1) == n_active).all()
    assert (labels[:, ~active].sum(axis=1) == moved).all()
    assert len(np.unique(labels, axis=0)) == 50
    signs, _ = juspace._signs(n_active, "balanced", 50, np.random.default_rng(1))
    assert ((signs == 1).sum(axis=1) == n_active // 2).all()


def test_free_relabelling_equals_enumeration_of_cohens_d(trial):
    change, arm, maps = trial
    change, arm = change[:8], arm[:8]  # four in each arm
    found = juspace.relabel_test(change, arm, maps, scheme="free", n_permutations=100)
    within = juspace.relabel_test(change, arm, maps, "active_change", "free", n_permutations=15)
    chosen = itertools.combinations(range(8), 4)
    every = [juspace.effect(change, np.isin(np.arange(8), some)) for some in chosen]
    members = change[arm == "active"]
    signed = [members * np.array(s)[:, None] for s in itertools.product((1, -1), repeat=4)]
    flipped = [x.mean(axis=0) / x.std(axis=0, ddof=1) for x in signed]
    for test, effects in ((found, every), (within, flipped)):
        assert test.exhaustive
        r = np.abs(correlation.correlate(effects, maps, "pearson"))
        np.testing.assert_allclose(test.p, (r >= np.abs(test.r) - 1e-9).mean(axis=0))


def test_balanced_relabelling_forgets_the_difference_between_arms(trial):
    """Its null of the mean difference has the variance within arms alone: a z in place of a t."""
    change, arm, _ = trial
    change, active = change[:12], arm[:12] == "active"  # six in each arm
    labels, _ = juspace._labellings(active, "balanced", 20000, np.random.default_rng(0))
    weights = (2 * labels - 1) / 6
    null = weights @ change
    np.testing.assert_allclose(weights @ (change + 10 * active[:, None]), null, atol=1e-12)
    pooled = (change[active].var(0, ddof=1) + change[~active].var(0, ddof=1)) / 2
    np.testing.assert_allclose(null.var(axis=0), 2 * pooled / 6, rtol=0.05)


@pytest.mark.parametrize(("contrast", "rate"), [("arm_by_time", 0.058), ("active_change", 0.067)])
def test_balanced_relabelling_rejects_too_often_at_18_and_18(contrast, rate):
    """9,000 null trials, new relabellings for every 150: the rates that the docstring gives."""
    rng = np.random.default_rng(9)
    rejected = np.concatenate([_null_rejections(contrast, rng) for _ in range(60)], axis=1)
    error = np.sqrt(0.05 * 0.95 / rejected.shape[1])
    balanced, free = rejected.mean(axis=1)
    assert free == pytest.approx(0.05, abs=4 * error)
    assert balanced == pytest.approx(rate, abs=4 * error)
    excess = rejected[0].astype(float) - rejected[1]
    assert excess.mean() > 2 * excess.std() / np.sqrt(excess.size)


def _null_rejections(contrast, rng, n_trials=150, n_parcels=5):
    """Whether p <= .05 in trials without effect, by JuSpace's scheme and by the free one."""
    change, active = rng.standard_normal((36, n_trials * n_parcels)), np.arange(36) < 18
    receptor = rng.gamma(2, size=n_parcels)
    rejected = []
    for scheme in ("balanced", "free"):
        if contrast == "arm_by_time":
            labels, _ = juspace._labellings(active, scheme, 99, rng)
            maps = juspace._d_between(change, np.vstack([active, labels]))
        else:
            signs, _ = juspace._signs(18, scheme, 99, rng)
            maps = juspace._d_within(change[:18], np.vstack([np.ones(18), signs]))
        r = correlation.correlate(maps.reshape(-1, n_parcels), receptor, "pearson")
        r = r.reshape(100, n_trials)
        rejected.append(juspace.exact_p(r[0], r[1:]) <= 0.05)
    return np.array(rejected)


def test_table_has_every_p_and_says_what_juspace_does(trial, cubes, places):
    change, arm, _ = trial
    labels = places.labels
    peak = np.where(np.isin(np.arange(24), [4, 5]), 1, 0.001 * np.arange(24))
    maps = pd.DataFrame(
        [peak, _smooth_map(places), peak[::-1]],
        index=[D1, "kantonen2020/carfentanil", "tuominen/feobv"],
        columns=labels,
    )
    maps.loc["tuominen/feobv", 3] = np.nan
    change = pd.DataFrame(change, columns=labels)
    about = catalogue.library()
    arguments = (change, arm, maps, about, OF_CHANGE, 99, 3, cubes)
    table = juspace.juspace_table(*arguments)
    first = [
        "contrast",
        "receptor",
        "annotation",
        "n_parcels",
        "r",
        "z",
        "autocorrelation",
        "adjusts",
    ]
    assert list(table.columns[:8]) == first
    assert table["contrast"].tolist() == np.repeat(OF_CHANGE, 3).tolist()
    assert table["receptor"].tolist() == ["D1", "MOR", "VAChT"] * 3
    assert table["n_parcels"].tolist() == [24, 24, 23] * 3
    assert table["adjusts"].tolist() == [False, True, False] * 3
    assert (table["adjusts"] == (table["autocorrelation"] > 0)).all()
    effect = juspace.effect(change, arm, "control_change")
    row = table.iloc[5]
    kept = maps.columns != 3
    assert row["r"] == pytest.approx(stats.pearsonr(effect[kept], maps.iloc[2][kept])[0])
    assert row["z"] == pytest.approx(np.arctanh(row["r"]))
    assert (table["p_shuffle_fwe"] >= table["p_shuffle"]).all()
    assert (table["p_relabel_fwe"] >= table["p_relabel"]).all()
    pd.testing.assert_frame_equal(table, juspace.juspace_table(*arguments))
    with pytest.raises(ValueError, match=r"different labels \(only in one of them: \[24\]"):
        juspace.juspace_table(change.drop(columns=24), *arguments[1:])


def _by_pingouin(image, receptor, grey, statistic, adjusted):
    """r of one option by pingouin."""
    frame = pd.DataFrame({"image": image, "map": receptor, "grey": grey}).dropna()
    if not adjusted:
        return pingouin.corr(frame["image"], frame["map"], method=statistic)["r"].iloc[0]
    return pingouin.partial_corr(frame, "image", "map", "grey", method=statistic)["r"].iloc[0]


def test_options_are_those_correlations_and_regressions_with_a_p_of_mean_images_alone(
    trial, cubes, places
):
    change, arm, _ = trial
    rng = np.random.default_rng(8)
    change, grey = pd.DataFrame(change, columns=places.labels), rng.uniform(size=24)
    maps = pd.DataFrame(
        [rng.gamma(2, size=24), 1e4 * _smooth_map(places)], [D1, SMOOTH], columns=places.labels
    )
    about = catalogue.library()
    table = juspace.options_table(change, arm, maps, about, grey, 99, 3, cubes)
    assert len(table) == 5 * 3 * 2 * 2
    assert table["receptor"].tolist() == ["D1", "MOR"] * 30
    nulls = {name: juspace.null_maps(maps.loc[name], places, 99, 3) for name in maps.index}
    for row in table.itertuples():
        image = juspace.effect(change, arm, row.contrast, row.image)
        if row.statistic == "regression":
            given = [grey] if row.adjusted else []
            design = np.column_stack([np.ones(24), *maps.to_numpy(), *given])
            fit = sm.OLS(image, design).fit().params[1 + maps.index.get_loc(row.annotation)]
            assert row.value == pytest.approx(fit)
            assert np.isnan(row.p_juspace_r)
        else:
            of = (maps.loc[row.annotation].to_numpy(), grey, row.statistic, row.adjusted)
            r = _by_pingouin(image, *of)
            assert row.value == pytest.approx(np.arctanh(r))
        assert np.isnan(row.p_juspace) == (row.image == "cohens_d")
        if row.image == "mean" and row.statistic == "pearson" and not row.adjusted:
            null = [stats.pearsonr(image, made)[0] for made in nulls[row.annotation]]
            assert row.p_juspace == pytest.approx(juspace.exact_p(np.arctanh(r), null))
            assert row.p_juspace_r == pytest.approx(juspace.exact_p(r, null))
    own = table[(table["image"] == "mean") & table["adjusted"]].set_index("statistic")
    own = own[(own["annotation"] == SMOOTH) & (own["contrast"] == "active_change")]
    image = juspace.effect(change, arm, "active_change", "mean")
    drawn = [
        sm.OLS(image, np.column_stack([np.ones(24), a, b, grey])).fit().params[2]
        for a, b in zip(nulls[D1], nulls[SMOOTH], strict=True)
    ]
    expected = juspace.exact_p(own.loc["regression", "value"], drawn)
    assert own.loc["regression", "p_juspace"] == pytest.approx(expected)
    null = [_by_pingouin(image, made, grey, "spearman", True) for made in nulls[SMOOTH]]
    expected = juspace.exact_p(own.loc["spearman", "value"], null)
    assert own.loc["spearman", "p_juspace"] == pytest.approx(expected)


def test_each_participant_has_a_z_with_each_map(trial, places):
    change, arm, _ = trial
    maps = pd.DataFrame([np.arange(24.0), _smooth_map(places)], [D1, SMOOTH])
    who = [f"sub-{k}" for k in range(len(change))]
    change, arm = pd.DataFrame(change, index=who), pd.Series(arm, index=who)
    rows = juspace.patients_table(change, arm, maps, catalogue.library())
    assert rows.columns.tolist() == ["participant_id", "arm", "receptor", "annotation", "z"]
    assert len(rows) == 2 * len(who)
    row = rows.iloc[-1]
    assert row[:4].tolist() == [who[-1], arm.iloc[-1], "MOR", SMOOTH]
    r = stats.pearsonr(change.loc[who[-1]], maps.loc[SMOOTH])[0]
    assert row["z"] == pytest.approx(np.arctanh(r))
