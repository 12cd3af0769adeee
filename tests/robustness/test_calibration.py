"""S1: null trials are null and like the study, and what is said of their p-values is right."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_study import write_study

from analysis_lib.clinical.models import fit_models
from analysis_lib.clinical.trial_data import read_trial
from analysis_lib.results.problems import NotComputed
from analysis_lib.robustness import calibration, calibration_clinical, calibration_images
from analysis_lib.study.contract import load_study
from benchmarks.controls import parametric

KEY = ("a test", "clinical/ancova.tsv", "p", None)


class Uniform:
    """A family of twelve p-values that hold their level."""

    name, words, maps, assumptions = "uniform", "made up", (), ("the same",)

    def draw(self, assumption, rng):
        return {(f"test {k}", "clinical", "p", None): rng.random() for k in range(12)}


def drawn(p):
    return calibration.Drawn("clinical", {calibration.OWN: {KEY: np.asarray(p, float)[:, None]}})


# --- rates, intervals, verdicts


@pytest.mark.parametrize(("count", "n"), [(0, 60), (31, 500), (500, 500)])
def test_limits_are_exact(count, n):
    expected = stats.binomtest(count, n).proportion_ci(1 - 0.05 / 8, "exact")
    assert calibration.interval(count, n, 0.05 / 8) == pytest.approx(expected)


def test_six_thousand_trials_are_needed_for_a_rate_of_058():
    assert calibration.detectable(6000, 0.05) == pytest.approx(0.058, abs=5e-4)
    rate = calibration.detectable(500, 0.01)
    red = [calibration.interval(x, 500, 0.01)[0] > 0.05 for x in range(501)]
    power = stats.binom.pmf(np.arange(501), 500, rate)[red].sum()
    assert power == pytest.approx(0.8)
    assert np.isnan(calibration.detectable(1, 0.01))


@pytest.mark.parametrize(
    ("small", "n", "verdict"),
    [
        (100, 2000, "holds"),
        (150, 2000, "too small"),
        (40, 2000, "conservative"),
        (70, 2000, "holds"),
    ],
)
def test_a_verdict_needs_an_interval_beside_the_level(small, n, verdict):
    (row,) = drawn([0.05] * small + [0.06] * (n - small)).rates().itertuples()
    assert (row.rate, row.verdict) == (small / n, verdict)
    assert row.ci_low < row.rate < row.ci_high


def test_a_trial_that_cannot_answer_is_not_counted():
    (row,) = drawn([0.01, np.nan, 0.5, 0.5]).rates().itertuples()
    assert (row.n_draws, row.rate) == (3, pytest.approx(1 / 3))


def test_a_test_that_no_trial_can_answer_is_left_out(monkeypatch):
    draw = Uniform.draw
    lost = ("test 3", "clinical", "p", None)
    monkeypatch.setattr(Uniform, "draw", lambda *args: draw(*args) | {lost: np.nan})
    found = calibration.calibrate(Uniform(), 10, 0).rates()
    assert len(found) == 11
    assert "test 3" not in set(found["test"])


def test_of_several_maps_the_worst_is_named():
    p = {calibration.OWN: {KEY: np.array([[0.01, 0.2], [0.04, 0.9], [0.3, 0.03], [0.01, 0.5]])}}
    (row,) = calibration.Drawn("receptors", p, ("a/1", "b/2")).rates().itertuples()
    assert (row.rate, row.worst_map, row.worst_rate) == (0.5, "a/1", 0.75)


def test_p_values_that_hold_their_level_are_hardly_ever_coloured():
    """Forty seeded runs of twelve: at most one in twenty wrong; and one that errs is found."""
    flags = 0
    for seed in range(40):
        p = np.random.default_rng(seed).random((2000, 12, 1))
        tests = {(f"test {k}", *KEY[1:]): p[:, k] for k in range(12)}
        rates = calibration.Drawn("clinical", {calibration.OWN: tests}).rates()
        flags += (rates["verdict"] != "holds").sum()
    assert flags <= 0.05 * 40 * 12
    assert drawn(np.random.default_rng(0).random(2000) / 2).rates()["verdict"].item() == "too small"


def test_only_this_design_is_judged():
    found = calibration.calibrate(Uniform(), 30, 5)
    tables = calibration.tables([found], "arm_by_time")
    assert set(tables["rates"]["verdict"]) == {"holds"}
    assert "verdict" not in tables["failing"]
    assert tables["failing"]["assumption"].unique().tolist() == ["the same"]
    own = tables["quantiles"].groupby("test")["observed"]
    assert (own.last() == 1).all()
    assert calibration.tables([], "change") == {}


def test_numbers_depend_neither_on_blocks_nor_on_their_order(monkeypatch):
    found = [calibration.calibrate(Uniform(), 7, 2, seed=3)]
    monkeypatch.setattr(calibration, "BLOCK", 3)
    found.append(calibration.calibrate(Uniform(), 7, 2, seed=3))
    for key, p in found[0].p[calibration.OWN].items():
        np.testing.assert_array_equal(p, found[1].p[calibration.OWN][key])


def test_skewed_errors_have_the_skewness_they_are_named_after():
    z = calibration.skewed(np.random.default_rng(0).standard_normal(200_000))
    assert [z.mean(), z.std(), stats.skew(z)] == pytest.approx([0, 1, 1], abs=0.03)


@pytest.mark.parametrize(("range_mm", "rate"), [(20, 0.15), (40, 0.31), (80, 0.44)])
def test_the_p_of_independent_regions_is_red_where_maps_are_smooth(range_mm, rate):
    (row,) = drawn(parametric(range_mm, 4000)).rates().itertuples()
    assert row.verdict == "too small"
    assert row.rate == pytest.approx(rate, abs=0.02)


# --- null maps


def test_null_maps_have_the_covariance_of_the_control_arm():
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((6, 6))
    arm = np.repeat(["active", "control"], [8, 20])
    change = rng.standard_normal((28, 6)) @ mixing
    change[:8] = 9 + 5 * change[:8]
    age = rng.standard_normal(28)
    columns = np.column_stack([np.ones(28), age])
    maps = calibration_images.null_maps(change, arm, columns, lambda rest: rest[:, ::-1])
    beta = np.linalg.lstsq(columns[8:], change[8:], rcond=None)[0]
    rest = change[8:] - columns[8:] @ beta
    expected = rest.T @ rest / 18
    null = np.concatenate([maps.draw(calibration.OWN, rng) for _ in range(2000)])
    np.testing.assert_allclose(np.cov(null.T), expected, atol=0.05 * expected.max())
    assert np.abs(null.mean(axis=0)).max() < 0.1
    many = [maps.draw(calibration_images.SMOOTHER, rng) for _ in range(2000)]
    smooth = np.concatenate([one[:8] for one in many])
    np.testing.assert_allclose(smooth.std(axis=0), np.sqrt(np.diag(expected)), rtol=0.05)
    assert not np.allclose(np.cov(smooth.T), expected, atol=0.3 * expected.max())
    twice = np.concatenate([maps.draw(calibration_images.ACTIVE_SD, rng)[:8] for _ in range(2000)])
    np.testing.assert_allclose(twice.std(axis=0), 2 * np.sqrt(np.diag(expected)), rtol=0.05)
    both = np.concatenate([maps.draw(calibration_images.RESPONSE, rng) for _ in range(500)])
    assert (both.std(axis=0) > 1.5 * np.sqrt(np.diag(expected))).all()


def test_a_control_arm_of_few_does_not_stand_for_all():
    change = np.random.default_rng(0).standard_normal((20, 4))
    arm = np.repeat(["active", "control"], [12, 8])
    maps = calibration_images.null_maps(change, arm, np.ones((20, 1)), lambda rest: rest)
    assert (len(maps.own.residuals), maps.own.df) == (20, 18)
    alone = calibration_images.null_maps(change, ["active"] * 20, np.ones((20, 1)), lambda r: r)
    assert alone.own.df == 19


# --- null trials


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return load_study(write_study(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def clinical(study):
    return calibration_clinical.read_clinical(study, n_permutations=99)


def test_means_are_those_that_the_model_has_without_the_arm(study, clinical):
    data = read_trial(study)
    changes = data.changes[data.changes["scale"] == study.primary_scale.name]
    fit = fit_models(changes, study)[study.primary_scale.name]
    fitted = changes.loc[fit.fitted.index].assign(fitted=fit.fitted)
    wide = fitted.pivot(index="participant_id", columns="visit", values="fitted")
    wide = wide.reindex(clinical.places["participant_id"])[list(clinical.visits)].to_numpy()
    control = (clinical.places["arm"] == "control").to_numpy()
    known = ~np.isnan(wide)
    assert known[control].sum() > 10
    np.testing.assert_allclose(
        clinical.means[control][known[control]], wide[control][known[control]]
    )
    apart = (wide - clinical.means)[~control]
    effect = fit.contrasts("arm", "control")["estimate"].to_numpy()
    apart = apart[~np.isnan(apart).any(axis=1)]
    np.testing.assert_allclose(apart, np.tile(effect, (len(apart), 1)), atol=1e-8)
    np.testing.assert_allclose(clinical.root @ clinical.root.T, fit.covariance)


def test_simulated_trials_miss_the_same_visits_in_the_same_arms(clinical):
    trial = clinical.changes(calibration.OWN, np.random.default_rng(0))
    wide = trial.pivot(index="participant_id", columns="visit", values="outcome")
    wide = wide.loc[clinical.places["participant_id"]]
    np.testing.assert_array_equal(wide.notna(), clinical.rated)
    people = trial.drop_duplicates("participant_id")
    assert sorted(people["baseline"]) == sorted(clinical.people["baseline"])
    by_place = people.set_index("participant_id")["baseline"][clinical.places["participant_id"]]
    assert by_place.tolist() != clinical.people["baseline"].tolist()  # randomised anew


@pytest.mark.parametrize(
    ("assumption", "seen", "signs"),
    [
        (calibration_clinical.AT_RANDOM, 0, (1, 1)),
        (calibration_clinical.NOT_AT_RANDOM, -1, (1, -1)),
    ],
)
def test_those_who_do_badly_are_missing_if_asked_for(clinical, assumption, seen, signs):
    arm = clinical.places["arm"].to_numpy()
    rated = np.ones(clinical.rated.shape, bool)
    rated[[np.flatnonzero(arm == one)[:3] for one in ("active", "control")], -1] = False
    trial, rng = replace(clinical, rated=rated), np.random.default_rng(1)
    gaps = {"active": [], "control": []}
    for _ in range(200):
        outcomes = rng.standard_normal(rated.shape)
        there = trial._rated(assumption, outcomes, rng)[:, -1]
        for one, own in gaps.items():
            left = (arm == one) & ~there
            assert left.sum() == 3
            own.append(outcomes[left, seen].mean() - outcomes[(arm == one) & there, seen].mean())
    for sign, own in zip(signs, gaps.values(), strict=True):
        assert sign * np.mean(own) > 0.5  # higher is worse


def test_a_draw_has_every_p_of_notebook_01(clinical):
    found = clinical.draw(calibration.OWN, np.random.default_rng(4))
    columns = {(source, column) for _, source, column, _ in found}
    assert columns == {
        ("clinical/mmrm_contrasts.tsv", "p"),
        ("clinical/ancova.tsv", "p"),
        ("clinical/randomisation.tsv", "p_randomisation"),
        ("clinical/anova.tsv", "p_gg"),
        ("clinical/responders.tsv", "p"),
    }
    p = pd.Series(found)
    assert p.between(0, 1).all()
    again = pd.Series(clinical.draw(calibration.OWN, np.random.default_rng(4)))
    pd.testing.assert_series_equal(p, again)


def test_a_study_without_the_data_is_told_so(study):
    with pytest.raises(NotComputed, match="table of regional changes expected"):
        calibration_images.read_regions(study)
    with pytest.raises(NotComputed, match="earlier notebook in vbm/ expected"):
        calibration_images.read_voxels(study)
