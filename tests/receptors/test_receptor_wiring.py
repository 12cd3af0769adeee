"""Every column of notebook 03's tables, against enumeration on few participants and regions."""

import functools
import itertools
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from wired import assert_table

from analysis_lib.atlas import parcellation
from analysis_lib.receptors import (
    assessment,
    dominance_analysis,
    intervals,
    juspace,
    library,
    nulls,
    numbers,
)
from analysis_lib.receptors import slopes as slopes_test
from analysis_lib.receptors.correlation import patient_slopes, slopes_given_others

ARM = np.repeat(["active", "control"], [5, 4])
LABELS = [3, 5, 8, 9, *range(21, 41)]
ABOUT = pd.DataFrame(
    {
        "receptor": ["D1", "D2", "DAT", "MOR"],
        "tracer": ["sch", "flb", "fpcit", "carfentanil"],
        "n_subjects": [13, 55, 174, 204],
    },
    index=["a/1", "b/2", "c/3", "d/4"],
)


@pytest.fixture(scope="module")
def data():
    """Change of five active and four control participants, four maps, one with a gap."""
    rng = np.random.default_rng(12)
    maps = pd.DataFrame(rng.gamma(2, size=(4, 24)), index=ABOUT.index, columns=LABELS)
    active = (ARM == "active")[:, None]
    planted = 1.1 * maps.loc["a/1"].to_numpy() - 0.8 * maps.loc["c/3"].to_numpy()
    change = rng.normal(0.1, 1, (9, 24)) * np.where(active, 1.6, 0.8) + active * planted
    maps.loc["b/2", 8] = np.nan
    return pd.DataFrame(change, columns=LABELS), maps, rng.normal(size=(60, 24))


def scores(x):
    return special.ndtri((stats.rankdata(x) - 0.375) / (len(x) + 0.25))


def pearson(x, y):
    return np.corrcoef(x, y)[0, 1]


def left_over(values, *columns):
    """Residuals of least squares on an intercept and columns."""
    x = np.column_stack([np.ones(len(values)), *columns])
    return values - x @ np.linalg.pinv(x) @ values


def correlation(effect, receptor, scores_of=scores):
    """Pearson's r of normal scores over the regions that the receptor map covers."""
    known = ~np.isnan(receptor)
    return pearson(scores_of(effect[known]), scores(receptor[known]))


def of_surrogate(surrogate, receptor):
    """The same of a surrogate, which is not ranked again."""
    return correlation(surrogate, receptor, np.asarray)


def effect_of(change, contrast):
    """The effect map of a contrast."""
    means = {arm: change.to_numpy()[arm == ARM].mean(axis=0) for arm in ("active", "control")}
    if contrast == "arm_by_time":
        return means["active"] - means["control"]
    return means[contrast.removesuffix("_change")]


def two_sided(values, room=1e-9):
    """p of the first row of (draws, maps) among all of them, and by the largest of each row."""
    size = np.abs(values)
    bound = size[0] * (1 - room)
    return (size >= bound).mean(axis=0), (size.max(axis=1)[:, None] >= bound).mean(axis=0)


def against_surrogates(observed, drawn):
    return two_sided(np.vstack([observed, drawn]))


def each_map(effects, maps, statistic=correlation):
    return np.array([[statistic(e, m) for m in maps.to_numpy()] for e in effects])


ANATOMY = np.random.default_rng(13).uniform(size=(2, 24))


def assessed(data, contrast, seed):
    """All results of a contrast; its intervals are made up, each limit another number."""
    change, maps, surrogates = data
    result = assessment.assess_contrast(
        change, ARM, maps, surrogates, ANATOMY, contrast, n_permutations=600, n_bootstrap=20
    )
    rng = np.random.default_rng(seed)
    made = replace(
        result.intervals,
        expected=rng.uniform(-1, 1, (4, 2)),
        noise_free_r=rng.uniform(-1, 1, 4),
        noise_free=rng.uniform(-1, 1, (4, 2)),
        reliability=rng.uniform(),
    )
    return replace(result, intervals=made)


CONTRASTS = ("arm_by_time", "active_change", "control_change")


def hc2(values):
    """Welch's t of active against control participants: HC2's, of two means, (n_maps,)."""
    return stats.ttest_ind(values[ARM == "active"], values[ARM == "control"], equal_var=False)[0]


def drawn_t(slopes, contrast):
    """t of the data, first, and of every flip of signs: residuals between arms, values within."""
    if contrast == "arm_by_time":
        left = (slopes - slopes.mean(axis=0)) / np.sqrt(1 - 1 / 9)
        signs = list(itertools.product([1, -1], repeat=9))[1:]
        return np.array([hc2(slopes), *(hc2(np.array(s)[:, None] * left) for s in signs)])
    own = slopes[contrast.removesuffix("_change") == ARM]
    signs = itertools.product([1, -1], repeat=len(own))
    return np.array([stats.ttest_1samp(np.array(s)[:, None] * own, 0)[0] for s in signs])


def test_each_column_of_the_correlations_is_enumerated(data):
    change, maps, surrogates = data
    results = [assessed(data, contrast, k) for k, contrast in enumerate(CONTRASTS)]
    tables = []
    for contrast, result in zip(CONTRASTS, results, strict=True):
        effect = effect_of(change, contrast)[None]
        r, given_anatomy = each_map(effect, maps)[0], each_map(effect, maps, beyond_anatomy)[0]
        n = np.array([24, 23, 24, 24])
        p, p_fwe = two_sided(drawn_t(patient_slopes(change, maps), contrast), 1e-4)
        p_spatial, p_fwe_spatial = against_surrogates(r, each_map(surrogates, maps, of_surrogate))
        drawn = each_map(surrogates, maps, functools.partial(beyond_anatomy, scores_of=np.asarray))
        anatomy = against_surrogates(given_anatomy, drawn)
        t = r * np.sqrt((n - 2) / (1 - r**2))
        rows = {"contrast": contrast, "receptor": ABOUT["receptor"], "annotation": ABOUT.index}
        rows |= {"tracer": ABOUT["tracer"], "n_subjects_map": ABOUT["n_subjects"], "n_parcels": n}
        rows |= {"statistic": "gaussianised", "r": r, "ci_low": result.intervals.expected[:, 0]}
        rows |= {"ci_high": result.intervals.expected[:, 1], "r_anatomy": given_anatomy}
        rows |= {"p_parametric": 2 * stats.t.sf(np.abs(t), n - 2), "p_spatial": p_spatial}
        rows |= {"p_fwe_spatial": p_fwe_spatial, "p_spatial_anatomy": anatomy[0]}
        rows |= {"p_fwe_spatial_anatomy": anatomy[1], "p_randomisation": p, "p_fwe": p_fwe}
        tables.append(pd.DataFrame(rows | {"q_fdr": stats.false_discovery_control(p)}))
    expected = pd.concat(tables)
    found = assessment.correlation_table(results, ABOUT)
    assert_table(found, expected.to_dict("list"))
    assert (found["p_fwe"] > found["p_randomisation"]).any()
    assert (found["p_fwe_spatial"] > found["p_spatial"]).any()
    signs = np.sign(found.loc[found["contrast"] == "arm_by_time", "r"])
    assert [signs[0], signs[2]] == [1, -1]


@pytest.mark.parametrize("said", [False, True])
def test_a_contrast_hands_its_model_its_draws_and_its_seed_to_every_test(data, monkeypatch, said):
    change, maps, surrogates = data
    asked = {}
    monkeypatch.setattr(slopes_test, "slope_test", lambda *_, **o: asked.update(slopes=o))
    monkeypatch.setattr(intervals, "bootstrap_intervals", lambda *_, **o: asked.update(bootstrap=o))
    model = {"contrast": "arm_by_time", "covariates": None, "strata": None, "seed": 0}
    draws, method = {"n_permutations": 5000, "n_bootstrap": 2000}, "gaussianised"
    options = {}
    if said:
        age = np.arange(9.0)[:, None] ** 2
        model |= {"contrast": "active_change", "covariates": age, "strata": list("aabbaabba")}
        draws, method = {"n_permutations": 7, "n_bootstrap": 3}, "pearson"
        options = model | {"seed": 5, "method": method} | draws
        model["seed"] = 5
    result = assessment.assess_contrast(change, ARM, maps, surrogates, ANATOMY, **options)
    assert asked["slopes"] == model | {"n_permutations": draws["n_permutations"]}
    expected = model | {"n_bootstrap": draws["n_bootstrap"], "method": method}
    assert asked["bootstrap"] == expected
    assert result.contrast == result.effect.name == model["contrast"]
    r = (pearson if said else correlation)(result.effect.to_numpy(), maps.loc["a/1"].to_numpy())
    assert result.method == method
    assert result.spatial.r[0] == pytest.approx(r)
    np.testing.assert_allclose(result.slopes, patient_slopes(change, maps, method))


def beyond_anatomy(effect, receptor, scores_of=scores):
    """Correlation that is left when anatomy is held constant, from residuals."""
    known = ~np.isnan(receptor)
    held = [scores(row)[known] for row in ANATOMY]
    if not known.all():  # scores are taken anew over the regions that the map covers
        held = [scores(row) for row in np.array(held)]
    sides = scores_of(effect[known]), scores(receptor[known])
    return pearson(*(left_over(side, *held) for side in sides))


def most_influential(effect, maps):
    """The region without which each r moves most, and r without it."""
    for receptor in maps.to_numpy():
        r = correlation(effect, receptor)
        without = [correlation(np.delete(effect, k), np.delete(receptor, k)) for k in range(24)]
        k = int(np.argmax(np.abs(np.array(without) - r)))
        yield k, without[k]


REGIONS = pd.Series([f"region {label}" for label in LABELS], index=LABELS)


def test_each_column_of_the_sensitivity_is_enumerated(data):
    change, maps, surrogates = data
    result = assessed(data, "arm_by_time", 7)
    effect = effect_of(change, "arm_by_time")
    moved = list(most_influential(effect, maps))
    expected = {"contrast": "arm_by_time", "receptor": ABOUT["receptor"]}
    expected |= {"annotation": ABOUT.index, "r": each_map(effect[None], maps)[0]}
    made = result.intervals
    expected |= {"r_noise_free": made.noise_free_r, "noise_free_low": made.noise_free[:, 0]}
    expected |= {"noise_free_high": made.noise_free[:, 1], "reliability": made.reliability}
    expected["region_without"] = [f"region {LABELS[k]}" for k, _ in moved]
    expected["r_without"] = [without for _, without in moved]
    expected["critical_r_spatial"] = np.sort(
        np.abs(each_map(surrogates, maps, of_surrogate)), axis=0
    )[-3]
    found = assessment.sensitivity_table(result, maps, ABOUT, REGIONS)
    assert_table(found, expected)


def others_constant(effects, maps, scores=scores, scores_of=None):
    """Partial correlations from the inverse of the correlation matrix of effect and all maps."""
    covered = maps.notna().all().to_numpy()
    z = [scores(m[covered]) for m in maps.to_numpy()]
    for effect in effects:
        inverse = np.linalg.inv(np.corrcoef([(scores_of or scores)(effect[covered]), *z]))
        yield -inverse[0, 1:] / np.sqrt(inverse[0, 0] * np.diag(inverse)[1:])


def test_each_column_of_what_is_left_beside_the_others_is_enumerated(data):
    change, maps, surrogates = data
    effects = effect_of(change, "arm_by_time")[None]
    partial = next(others_constant(effects, maps))
    drawn = np.array(list(others_constant(surrogates, maps, scores_of=np.asarray)))
    slopes = slopes_given_others(change, maps)
    p, p_fwe = two_sided(drawn_t(slopes, "arm_by_time"), 1e-4)
    expected = {"contrast": "arm_by_time", "receptor": ABOUT["receptor"]}
    expected |= {"annotation": ABOUT.index, "n_parcels": 23, "r": each_map(effects, maps)[0]}
    expected |= {"r_given_others": partial, "p_given_others": p, "p_fwe": p_fwe}
    expected["p_spatial_given_others"] = against_surrogates(partial, drawn)[0]
    test = slopes_test.slope_test(slopes, ARM, n_permutations=600)
    found = assessment.others_table(assessed(data, "arm_by_time", 8), maps, ABOUT, test)
    assert_table(found, expected)


def test_the_sensitivity_of_a_contrast_is_told_by_its_own_method(data):
    change, maps, _ = data
    result = replace(assessed(data, "arm_by_time", 7), method="pearson")
    found = assessment.sensitivity_table(result, maps, ABOUT, REGIONS)
    effect, d1 = effect_of(change, "arm_by_time"), maps.loc["a/1"].to_numpy()
    place = LABELS.index(int(found["region_without"][0].removeprefix("region ")))
    without = pearson(np.delete(effect, place), np.delete(d1, place))
    assert found["r_without"][0] == pytest.approx(without)


def test_what_is_left_beside_the_others_is_correlated_as_the_contrast_was(data):
    change, maps, _ = data
    result = replace(assessed(data, "arm_by_time", 8), method="pearson")
    found = assessment.others_table(result, maps, ABOUT, result.randomisation)
    effects = effect_of(change, "arm_by_time")[None]
    partial = next(others_constant(effects, maps, scores=np.asarray))
    np.testing.assert_allclose(found["r_given_others"], partial)
    d1 = maps.loc["a/1"].to_numpy()
    assert found["r"][0] == pytest.approx(pearson(effects[0], d1))


def joint(n_regions, effect_gap=(), map_gap=()):
    """Annotations kept of four maps that follow the effect the less the later they come."""
    rng = np.random.default_rng(20)
    effect = pd.Series(rng.normal(size=n_regions))
    noise = rng.normal(size=(4, n_regions)) * [[0.1], [0.5], [3], [6]]
    maps = pd.DataFrame(effect.to_numpy() + noise, index=ABOUT.index)
    effect[[*effect_gap]], maps.loc["a/1", [*map_gap]] = np.nan, np.nan
    result = SimpleNamespace(effect=effect, method="pearson")
    return assessment.joint_maps(result, maps, "d/4").index.tolist()


@pytest.mark.parametrize(
    ("regions", "kept"),
    [((20,), 4), ((19,), 3), ((21, [0], [1]), 3), ((22, [0], [1]), 4), ((4,), 2)],
)
def test_a_joint_model_has_five_regions_for_each_map_counted_where_all_are_known(regions, kept):
    assert joint(*regions) == [*ABOUT.index[: kept - 1], "d/4"]


def test_a_joint_model_keeps_the_maps_that_lead_by_the_contrast_s_own_method():
    effect = pd.Series(np.arange(10.0))
    outlying = np.r_[-30, 4, 0, 2, 7, 5, 1, 3, 6, 30]  # follows by value, not by rank
    maps = pd.DataFrame(
        [outlying, np.arange(10) ** 12.0, np.arange(10.0)[::-1] % 7], ABOUT.index[:3]
    )
    r = np.array([[pearson(effect, m), stats.spearmanr(effect, m)[0]] for m in maps.to_numpy()])
    assert np.abs(r[:2]).argmax(axis=0).tolist() == [0, 1]
    for method, first in (("pearson", "a/1"), ("spearman", "b/2")):
        result = SimpleNamespace(effect=effect, method=method)
        assert assessment.joint_maps(result, maps, "c/3").index.tolist() == [first, "c/3"]


def test_individual_rows_belong_to_participant_arm_and_map():
    z = np.arange(8.0).reshape(2, 4)
    arm = pd.Series(["control", "active"], index=["sub-7", "sub-2"])
    expected = {"participant_id": ["sub-7", "sub-2"] * 4, "arm": ["control", "active"] * 4}
    expected["receptor"] = np.repeat(ABOUT["receptor"], 2)
    expected["annotation"] = np.repeat(ABOUT.index, 2)
    expected["slope"] = [10, 14, 11, 15, 12, 16, 13, 17]
    expected["z"] = [0, 4, 1, 5, 2, 6, 3, 7]
    assert_table(assessment.participant_rows(arm, ABOUT, slope=z + 10, z=z), expected)


def made_test(seed):
    rng = np.random.default_rng(seed)
    total = pd.Series([0.3, 0.1, 0.05, 0.15], ABOUT.index, name="total_dominance")
    observed = dominance_analysis.Dominance(total, 0.7, 0.6)
    p, p_fwe = (pd.Series(rng.uniform(size=4), ABOUT.index) for _ in range(2))
    return dominance_analysis.DominanceTest(observed, 0.5, p, p_fwe, None, None)


def test_dominance_rows_hold_total_share_and_both_p():
    smooth = made_test(1)
    expected = {"receptor": ABOUT["receptor"], "annotation": ABOUT.index}
    expected |= {"total_dominance": [0.3, 0.1, 0.05, 0.15]}
    expected |= {"percent": [50, 100 / 6, 100 / 12, 25], "p": smooth.p, "p_fwe": smooth.p_fwe}
    assert_table(assessment.dominance_rows(smooth, ABOUT), expected)


@pytest.fixture(scope="module")
def coupling():
    rng = np.random.default_rng(14)
    z = rng.normal(0, 0.3, (9, 4)) * np.where(ARM == "active", 1.5, 0.7)[:, None]
    return z + (ARM == "active")[:, None] * [0.9, -0.5, 0.1, 0.0]


def test_each_column_of_the_coupling_by_arm_is_welchs_t_with_every_flip(coupling):
    active, t = ARM == "active", drawn_t(coupling, "arm_by_time")
    p, p_fwe = two_sided(t, 1e-4)
    parts = coupling[active], coupling[~active]
    pooled = np.sqrt((4 * parts[0].var(axis=0, ddof=1) + 3 * parts[1].var(axis=0, ddof=1)) / 7)
    difference = parts[0].mean(axis=0) - parts[1].mean(axis=0)
    margin = stats.t.isf(0.025, 7) * np.abs(difference / t[0])
    correction = np.exp(special.gammaln(3.5) - special.gammaln(3)) / np.sqrt(3.5)
    expected = {"receptor": ABOUT["receptor"], "annotation": ABOUT.index, "n_active": 5}
    expected |= {"n_control": 4, "mean_active": parts[0].mean(axis=0)}
    expected |= {"mean_control": parts[1].mean(axis=0), "difference": difference}
    expected |= {"ci_low": difference - margin, "ci_high": difference + margin, "t": t[0], "df": 7}
    expected |= {"hedges_g": difference / pooled * correction, "p": p, "p_fwe": p_fwe}
    test = slopes_test.slope_test(coupling, ARM, n_permutations=600)
    assert_table(slopes_test.arm_table(coupling, ARM, ABOUT, test), expected)
    assert (p_fwe > p).any()


def test_each_column_of_the_coupling_with_improvement_is_enumerated(coupling):
    rng = np.random.default_rng(15)
    improvement = 10 + 6 * coupling[:, 0] - 8 * coupling[:, 2] + rng.normal(0, 2, 9)
    improvement[4] = np.nan
    known, arm = np.isfinite(improvement), ARM[np.isfinite(improvement)]
    x, y = (
        pd.DataFrame(v).sub(pd.DataFrame(v).groupby(arm).transform("mean")).to_numpy()
        for v in (improvement[known], coupling[known])
    )
    orders = itertools.product(
        itertools.permutations(range(4)), itertools.permutations(range(4, 8))
    )
    rows = [x[[*a, *b], 0] for a, b in orders]
    r = np.array([[pearson(row, y[:, k]) for k in range(4)] for row in rows])
    t = r * np.sqrt(5 / (1 - r**2))
    p, p_fwe = two_sided(t)
    low, high = (np.tanh(np.arctanh(r[0]) + s * 1.959964 / np.sqrt(4)) for s in (-1, 1))
    expected = {"receptor": ABOUT["receptor"], "annotation": ABOUT.index, "n": 8, "r": r[0]}
    expected |= {"ci_low": low, "ci_high": high, "p": p, "p_fwe": p_fwe}
    found = slopes_test.improvement_table(coupling, improvement, ARM, ABOUT)
    assert_table(found, expected)
    assert found["r"].min() < 0 < found["r"].max()


SITES = np.tile(["A", "B"], 6)
HALVES = np.repeat(["active", "control"], 6)


@pytest.fixture(scope="module")
def stratified():
    """Coupling of three participants in each of four cells; arm and site shift it."""
    rng = np.random.default_rng(22)
    shift = 2.0 * (HALVES == "active") + 3.0 * (SITES == "B")
    z = rng.normal(0, 1, (12, 4)) + shift[:, None]
    return z, rng.normal(0, 1, 12) + shift + 0.7 * z[:, 0]


def test_coupling_with_improvement_is_exchanged_within_arm_and_stratum(stratified):
    z, improvement = stratified
    held = HALVES == "active", SITES == "B"
    left, y = left_over(improvement, *held), left_over(z, *held)
    cells = list(pd.Series(range(12)).groupby([HALVES, SITES]).indices.values())
    orders = itertools.product(*(itertools.permutations(cell) for cell in cells))
    at = np.concatenate(cells)
    r = np.array([[pearson(left[np.concatenate(o)], column[at]) for column in y.T] for o in orders])
    found = slopes_test.improvement_table(z, improvement, HALVES, ABOUT, strata=SITES)
    assert_same(found, r)
    np.testing.assert_allclose(found["r"], r[0])


def assert_same(found, drawn):
    p, p_fwe = two_sided(drawn)
    np.testing.assert_allclose(found["p"], p)
    np.testing.assert_allclose(found["p_fwe"], p_fwe)


def test_coupling_with_improvement_beside_a_covariate_is_freedman_and_lanes():
    """Residuals exchanged within arms, and the whole model fitted to each of 576 orders."""
    rng = np.random.default_rng(23)
    arm, age = np.repeat(["active", "control"], 4), rng.normal(40, 9, 8)
    improvement = rng.normal(0, 1, 8) + age / 5
    z = rng.normal(0, 0.5, (8, 4)) + age[:, None] / 9 + improvement[:, None] * [0.8, 0, 0, -0.5]
    x = np.column_stack([improvement, np.ones(8), arm == "active", age])
    left = left_over(z, arm == "active", age)
    orders = itertools.product(
        itertools.permutations(range(4)), itertools.permutations(range(4, 8))
    )
    inverse, t = np.linalg.pinv(x), []
    for a, b in orders:
        y = left[[*a, *b]]
        spread = np.sqrt(((y - x @ (inverse @ y)) ** 2).sum(axis=0) / 4)
        t.append((inverse @ y)[0] / spread)
    found = slopes_test.improvement_table(z, improvement, arm, ABOUT, age[:, None])
    assert_same(found, np.array(t))
    assert found["p"].min() < 0.1 < found["p"].max()


# --- JuSpace


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
    return parcellation.load_atlas(nib.Nifti1Image(labels, affine))


def cohens_d(change, contrast):
    parts = change[ARM == "active"], change[ARM == "control"]
    if contrast == "arm_by_time":
        spread = np.sqrt((parts[0].var(axis=0, ddof=1) + parts[1].var(axis=0, ddof=1)) / 2)
        return (parts[0].mean(axis=0) - parts[1].mean(axis=0)) / spread
    own = parts[contrast == "control_change"]
    return own.mean(axis=0) / own.std(axis=0, ddof=1)


def counted(observed, null):
    return (1 + (np.abs(null) >= np.abs(observed) - 1e-10).sum(axis=0)) / (1 + len(null))


def juspace_columns(change, maps, contrast, cubes):
    """Every column of a contrast; shuffles and null maps as the module draws them."""
    places = juspace.geometry(cubes, maps.columns)
    amount = juspace.autocorrelation(maps, places)
    d = cohens_d(change.to_numpy(), contrast)
    r = np.array([pearson(d, m) for m in maps.to_numpy()])
    shuffles = juspace._shuffled(d, 99, np.random.default_rng(3))
    shuffled = np.array([[pearson(s, m) for m in maps.to_numpy()] for s in shuffles])
    balanced, free = (
        juspace.relabel_test(change, ARM, maps, contrast, scheme, 99, 3)
        for scheme in ("balanced", "free")
    )
    rows = {"contrast": contrast, "receptor": ABOUT["receptor"], "annotation": ABOUT.index}
    rows |= {"n_parcels": 24, "r": r, "z": np.arctanh(r), "autocorrelation": amount}
    rows |= {"adjusts": amount > 0, "p_shuffle": counted(r, shuffled)}
    rows["p_shuffle_fwe"] = counted(r, np.abs(shuffled).max(axis=1)[:, None])
    rows |= {"p_relabel_juspace": balanced.p, "p_relabel": free.p, "p_relabel_fwe": free.p_fwe}
    old = nulls.randomisation_test(change, ARM, maps, contrast, n_permutations=99, seed=3)
    rows["p_group_r"] = old.p
    return pd.DataFrame(rows)


def test_each_column_of_juspace_is_what_its_name_says(cubes):
    rng = np.random.default_rng(16)
    labels = list(range(1, 25))
    maps = pd.DataFrame(rng.gamma(2, size=(4, 24)), index=ABOUT.index, columns=labels)
    peaks = np.arange(24) // 2 == 2, np.arange(24) // 2 == 8  # in the middle: the ends are alike
    maps.loc["b/2"] = 5.0 * peaks[0] - 4.0 * peaks[1] + rng.normal(0, 0.1, 24)
    maps.loc["d/4"] = np.repeat(np.arange(12) ** 2, 2) + rng.normal(0, 3, 24)
    active = (ARM == "active")[:, None]
    change = rng.normal(0.2, 1, (9, 24)) + 0.6 * active * (maps.loc["a/1"].to_numpy() - 1)
    change = pd.DataFrame(change, columns=labels)
    contrasts = ("control_change", "arm_by_time")
    expected = pd.concat([juspace_columns(change, maps, c, cubes) for c in contrasts])
    assert expected["adjusts"].nunique() == 2
    options = {"n_permutations": 99, "seed": 3, "atlas": cubes}
    found = juspace.juspace_table(change, ARM, maps, ABOUT, contrasts, **options)
    assert_table(found, expected.to_dict("list"))


# --- rates, combined maps, quoted numbers


def test_maps_of_one_receptor_are_weighed_by_their_own_number_of_people():
    rng = np.random.default_rng(19)
    maps = pd.DataFrame(rng.gamma(2, size=(3, 6)), index=["a/1", "b/2", "c/3"])
    about = pd.DataFrame(
        {
            "receptor": ["D2", "D1", "D2"],
            "tracer": ["flb", "sch", "rac"],
            "n_subjects": [30, 13, 10],
        },
        index=maps.index,
    ).assign(note=["", "", "scanned twice"])
    combined, table = library.combine(maps, about)
    z = stats.zscore(maps.to_numpy(), axis=1)
    np.testing.assert_allclose(combined.loc["combined/D2"], 0.75 * z[0] + 0.25 * z[2])
    weights = "mean of z-scores, weights by number of people: a/1 0.75, c/3 0.25; scanned twice"
    expected = {"annotation": ["combined/D2", "b/2"], "receptor": ["D2", "D1"]}
    expected |= {"tracer": ["flb 0.75, rac 0.25", "sch"], "n_subjects": [40, 13]}
    columns = ["receptor", "tracer", "n_subjects", "note"]
    written = table[columns].rename_axis("annotation").reset_index()
    assert_table(written, expected | {"note": [weights, ""]})


QUOTED = {
    "correlations": "r ci_low ci_high n_parcels p_randomisation p_fwe p_spatial p_fwe_spatial "
    "n_subjects_map r_anatomy p_spatial_anatomy p_fwe_spatial_anatomy",
    "sensitivity": "reliability r_noise_free noise_free_low noise_free_high r_without",
    "rivals": "difference ci_low ci_high share_ahead share_first",
    "given_others": "r_given_others p_given_others p_fwe",
    "coupling_arm": "difference ci_low ci_high p p_fwe",
    "coupling_improvement": "n r ci_low ci_high p",
}


def test_quoted_numbers_are_the_cells_that_their_names_say():
    value, tables, expected = itertools.count(0.5), {}, {}
    for name, columns in QUOTED.items():
        rows = {"annotation": ["a/1", "b/2"]}
        if name == "rivals":
            rows = {"annotation": "z/9", "rival_annotation": ["a/1", "b/2"]}
        if not name.startswith("coupling"):
            rows["contrast"] = "arm_by_time"
        rows |= {c: [next(value), next(value)] for c in columns.split()}
        tables[name] = pd.DataFrame(rows)
        for k, annotation in enumerate(["a/1", "b/2"]):
            first = "" if name == "correlations" else f"{name}."
            first += "arm_by_time." if "contrast" in rows else ""
            for c in columns.split():
                expected[f"{first}{annotation}.{c}"] = (rows[c][k], f"{name}.tsv")
    primary = tables["coupling_improvement"].assign(scale="HAMD-17")
    secondary = primary.assign(scale="HAMA", r=9.0)
    tables["coupling_improvement"] = pd.concat([primary, secondary])
    found = numbers.receptor_numbers(tables)
    assert found == expected


def test_a_cell_without_a_number_is_quoted_as_none():
    rows = {"annotation": ["a/1"], "difference": 0.5, "ci_low": np.nan, "ci_high": 1.5}
    table = pd.DataFrame(rows | {"p": [0.1], "p_fwe": [0.2]})
    empty = ("correlations", "sensitivity", "rivals", "given_others", "coupling_improvement")
    tables = dict.fromkeys(empty, pd.DataFrame()) | {"coupling_arm": table}
    found = numbers.receptor_numbers(tables)
    assert found["coupling_arm.a/1.ci_low"] == (None, "coupling_arm.tsv")
