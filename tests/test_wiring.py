"""The cells of notebooks 01 to 04 on a small trial: each arm, sign, visit and contrast is right."""

import gzip
import re
import zipfile
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import unquote

import IPython.display
import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from bs4 import BeautifulSoup
from conftest import show as show_text
from nilearn.image import smooth_img
from scipy import special, stats
from small_study import (
    AFFINE,
    DATE,
    FALL,
    HOME,
    IN_FILES,
    RECEPTORS,
    Recorder,
    attended,
    blocks,
    centres,
    participants,
    pattern,
    read_raw,
    run_cells,
    scores,
    write_study,
)

import analysis_lib.figures
from analysis_lib.atlas.grids import labels_on_grid, region_names
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.clinical.models import mean_table
from analysis_lib.figures import catalogue, composites, views
from analysis_lib.figures.palette import ACCENT, BANDS, COLOURS
from analysis_lib.figures.views import View
from analysis_lib.pipeline import freshness, running
from analysis_lib.pipeline.plan import make_plan
from analysis_lib.receptors import library
from analysis_lib.receptors.correlation import slopes_given_others
from analysis_lib.receptors.dominance_analysis import dominance
from analysis_lib.receptors.library import combine
from analysis_lib.receptors.slopes import slope_test
from analysis_lib.report import crate, export, findings
from analysis_lib.report.page import write_report
from analysis_lib.results import reading
from analysis_lib.results.problems import NotShareable, PipelineError
from analysis_lib.robustness.specification_regions import region_changes
from analysis_lib.study.contract import load_study
from analysis_lib.vbm.scans import read_scans
from voxelperm import draw_permutations

ARMS = {"verum": "active", "placebo": "control"}
CONTRASTS = ("active_change", "control_change", "arm_by_time")
VIEWS = ("effect_view", "slice_view", "region_view")


def record(patch, module, names, gives=None):
    """Put recorders in the place of functions of a package."""
    seen = {name: Recorder(getattr(module, name), gives) for name in names}
    for name, recorder in seen.items():
        patch.setattr(module, name, recorder)
    return {name: recorder.calls for name, recorder in seen.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The small trial as files, and where its results will be."""
    folder = tmp_path_factory.mktemp("small") / HOME
    study = str(write_study(folder))
    with pytest.MonkeyPatch.context() as patch, mpl.rc_context({"backend": "Agg"}):
        patch.setenv("COMPENDIUM_OUTPUT", str(folder))
        patch.setattr(IPython.display, "display", show_text)
        derived = folder / "data/derived/small/variants/wired"  # other parameters for each notebook
        yield SimpleNamespace(folder=folder, derived=derived, study=study)
    plt.close("all")


def run_shown(place, name, **parameters):
    """Variables of a notebook, the panels that it shows and the views: none is drawn."""
    panels = {}

    def show(results, name, **options):
        panels.setdefault(name, []).append(catalogue.CATALOGUE[name](results, **options))
        shown = panels[name][-1]  # of a picture, an executed notebook holds these words
        return f"{shown.title}. {shown.caption} {shown.alt}"

    told = {"study": place.study, "variant": place.derived.name} | parameters
    told |= {} if name == "S0_trial_conduct" else {"seed": 5}  # it draws nothing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis_lib.figures, "panel", show)
        seen = record(patch, views, VIEWS, View("title", "alt", "<html>", 9, 9))
        variables = run_cells(name, **told)
    return SimpleNamespace(variables=variables, panels=panels, views=seen, **vars(place))


@pytest.fixture(scope="module")
def ran01(place):
    options = {"n_imputations": 40, "largest_delta": 40.0, "delta_step": 4.0}
    return run_shown(place, "01_clinical_outcomes", n_permutations=99, **options)


@pytest.fixture(scope="module")
def ran_s0(place):
    return run_shown(place, "S0_trial_conduct")


@pytest.fixture(scope="module")
def ran02(place):
    return run_shown(place, "02_vbm", n_jobs=1, n_permutations=99)


@pytest.fixture(scope="module")
def ran03(place, ran02):
    options = {"n_permutations": 99, "n_surrogates": 120, "n_bootstrap": 150}
    return run_shown(place, "03_receptor_correlation", **options)


SMALL = {"n_trials": 10, "n_maps": 10, "n_broken": 1, "n_permutations": 99}  # of S1


@pytest.fixture(scope="module")
def ran_appendix(place, ran03):
    """S1 to S4, by number."""
    draws = {"n_draws": 99, "n_imputations": 20}
    return {
        "S2": run_shown(place, "S2_specification_curve", **draws),
        "S1": run_shown(place, "S1_calibration", n_jobs=1, **SMALL),
        "S3": run_shown(place, "S3_power", n_power_trials=10, multiples=[2], n_jobs=1),
        "S4": run_shown(place, "S4_juspace", n_permutations=99),
    }


@pytest.fixture(scope="module")
def ran04(place, ran01, ran03, ran_appendix):
    """Panels are kept by figure and by page, not composed."""
    empty, single, pages, draw = plt.figure(figsize=(1, 1)), {}, {}, composites._draw

    def keep(results, name, title, panels, blocks, apart=None, pages_=None):
        single.setdefault(name.split("_")[0], panels | (apart or {}))
        pages[name] = panels
        return draw(results, name, title, panels, blocks, apart, pages_)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composites, "_draw", keep)
        for name in ("compose", "alone"):
            patch.setattr(composites, name, lambda *args: empty)
        variables = run_cells("04_figures", study=place.study, variant=place.derived.name)
    return SimpleNamespace(variables=variables, single=single, pages=pages, **vars(place))


def table(ran, name):
    private = ran.derived / "private" / name
    return reading.read_table(private if private.is_file() else ran.derived / name)


@pytest.fixture(scope="module")
def people():
    """Those not excluded, with their arm in the library's words."""
    rows = participants()
    rows = rows[rows["eligible"] == "yes"]
    return rows.assign(arm=rows["group"].map(ARMS)).set_index("participant_id")


@pytest.fixture(scope="module")
def ratings(people):
    """Scores by participant (rows), scale and visit (columns), from the raw tables."""
    tables = {}
    for key, name in (("hamd17", "HAMD-17"), ("hama", "HAMA")):
        rows = scores(participants(), key).replace("n/a", np.nan)
        rows["total"] = rows["total"].astype(float)
        tables[name] = rows.pivot(index="participant_id", columns="session_id", values="total")
        tables[name].columns = tables[name].columns.str.removeprefix("ses-")
    return pd.concat(tables, axis=1).reindex(people.index)


# --- 01


def test_differences_between_arms_have_the_planted_sign_on_each_scale(ran01):
    rows = table(ran01, "clinical/mmrm_contrasts.tsv").set_index(["scale", "visit"])
    assert rows.loc[("HAMD-17", "week3"), "ci_high"] < -3
    assert rows.loc[("HAMA", "week3"), "ci_low"] > 3
    assert (rows["n_active"] == 12).all()
    assert (rows["n_control"] == 8).all()
    later = rows.drop("all", level="visit")["estimate"].unstack()
    assert (later["week3"].abs() > later["week1"].abs()).all()


def test_means_by_arm_and_visit_are_those_of_the_raw_tables(ran01, people, ratings):
    found = table(ran01, "clinical/means.tsv").set_index(["scale", "arm", "visit"])
    long = ratings.groupby(people["arm"]).agg(["count", "mean", "std"])
    for scale, arm, visit in found.index:
        row, own = found.loc[(scale, arm, visit)], long.loc[arm, (scale, visit)]
        assert [row["n"], row["mean"], row["sd"]] == pytest.approx(own.tolist())
    written = table(ran01, "clinical/scores.tsv").dropna(subset=["score"])
    assert len(written) == ratings.notna().sum().sum()


def changes(ratings, people, scale, visit):
    frame = pd.DataFrame({"b": ratings[scale, "baseline"], "y": ratings[scale, visit]})
    frame["y"] -= frame["b"]
    frame["active"] = (people["arm"] == "active").astype(float)
    return frame.dropna()


def test_the_primary_scale_and_visit_are_the_ones_re_randomised(ran01, people, ratings):
    frame = changes(ratings, people, "HAMD-17", "week3")
    fit = smf.ols("y ~ b + active", frame).fit(cov_type="HC3", use_t=True)
    row = table(ran01, "clinical/randomisation.tsv").iloc[0]
    assert (row["scale"], row["visit"], row["n_permutations"]) == ("HAMD-17", "week3", 99)
    assert row["estimate"] == pytest.approx(fit.params["active"])
    assert row["t"] == pytest.approx(fit.tvalues["active"])
    assert (row["n_active"], row["n_control"]) == (10, 8)
    ancova = table(ran01, "clinical/ancova.tsv").set_index(["scale", "visit"])
    assert ancova.loc[("HAMD-17", "week3"), "estimate"] == pytest.approx(row["estimate"])
    hama = smf.ols("y ~ b + active", changes(ratings, people, "HAMA", "week1")).fit()
    assert ancova.loc[("HAMA", "week1"), "estimate"] == pytest.approx(hama.params["active"])


def test_table_1_and_the_flow_are_of_the_right_arm(ran01, people, ratings):
    rows = table(ran01, "clinical/baseline.tsv").set_index("variable")
    for name, values in (("tiv", people["tiv"]), ("HAMA at baseline", ratings["HAMA", "baseline"])):
        for arm, own in values.groupby(people["arm"]):
            assert rows.loc[name, arm] == f"{own.mean():.1f} ({own.std():.1f})"
    flow = reading.read_json(ran01.derived / "clinical" / "flow.json")
    assert [flow[arm]["randomised"] for arm in ARMS.values()] == [13, 9]
    assert [flow[arm]["analysed"] for arm in ARMS.values()] == [12, 8]
    assert [flow[arm]["scanned_twice"] for arm in ARMS.values()] == [10, 8]
    excluded = [flow[arm]["excluded"] for arm in ARMS.values()]
    assert excluded == [{"eligible": ["a participant"]}, {}]  # protected
    boxes = table(ran01, "clinical/consort_flow.tsv").set_index(["stage", "arm"])
    assert boxes.loc[("excluded", "active"), "n"] == 1
    assert "Allocated to rTMS: 13" in boxes.loc[("allocated", "active"), "text"]
    assert "Allocated to sham coil: 9" in boxes.loc[("allocated", "control"), "text"]


def test_missing_scores_are_imputed_for_each_scale_under_its_own_name(ran01):
    rows = table(ran01, "clinical/imputation.tsv")
    final = rows[rows["visit"] == "week3"].pivot(
        index="scale", columns="analysis", values="estimate"
    )
    assert (final.loc["HAMD-17"] < -3).all()
    assert (final.loc["HAMA"] > 3).all()
    assert (rows["n_imputations"] == 40).all()
    mmrm = table(ran01, "clinical/mmrm_contrasts.tsv").set_index(["scale", "visit"])["estimate"]
    for scale in ("HAMD-17", "HAMA"):
        assert final.loc[scale, "mar"] == pytest.approx(mmrm[scale, "week3"], abs=1)
    assert abs(final.loc["HAMD-17", "jump_to_reference"]) < abs(final.loc["HAMD-17", "mar"])


def test_the_tipping_point_makes_the_primary_result_worse_and_not_better(ran01):
    curve, tip = (table(ran01, f"clinical/tipping_{n}.tsv") for n in ("curve", "point"))
    assert curve["delta_active"].tolist() == list(range(0, 41, 4))
    assert curve["p"].is_monotonic_increasing
    mar = table(ran01, "clinical/imputation.tsv").set_index(["scale", "analysis", "visit"])
    assert curve["estimate"][0] == pytest.approx(mar.loc[("HAMD-17", "mar", "week3"), "estimate"])
    assert tip["status"].tolist() == ["tips"]
    assert 0 < tip["delta_before"][0] < tip["delta_interpolated"][0] < tip["delta_tips"][0]
    drawn = ran01.panels["tipping_point"][0].draw.keywords
    assert drawn["tip"] == pytest.approx(tip["delta_interpolated"][0])


def test_responders_are_counted_from_the_raw_scores(ran01, people, ratings):
    rows = table(ran01, "clinical/responders.tsv")
    rows = rows.set_index(["scale", "visit", "outcome", "analysis"])
    for scale, visit in (("HAMD-17", "week3"), ("HAMA", "week1")):
        fell = ratings[scale, visit] <= ratings[scale, "baseline"] / 2
        row = rows.loc[(scale, visit, "response", "missing_is_failure")]
        for arm in ARMS.values():
            assert row[f"events_{arm}"] == fell[people["arm"] == arm].sum()
            assert row[f"n_{arm}"] == (people["arm"] == arm).sum()
    numbers = reading.read_json(ran01.derived / "numbers.json")
    key = "clinical.hamd17.week3.response.risk_difference"
    row = rows.loc[("HAMD-17", "week3", "response", "missing_is_failure")]
    assert numbers[key]["value"] == pytest.approx(row["risk_difference"])


def test_guesses_events_and_doses_are_those_of_each_arm(ran_s0, people):
    blinding = table(ran_s0, "conduct/blinding.tsv").set_index("arm")
    right = people["guess"] == people["group"]
    events = read_raw(ran_s0.folder, "adverse_events.tsv")
    harms = table(ran_s0, "conduct/adverse_events.tsv").set_index("term").loc["any event"]
    sessions = read_raw(ran_s0.folder, "stimulation.tsv")
    received = sessions["participant_id"].value_counts()
    adherence = table(ran_s0, "conduct/adherence.tsv").set_index(["arm", "measure"])
    dose = table(ran_s0, "conduct/dose.tsv").set_index("participant_id")
    for arm, own in people.groupby("arm"):
        assert blinding.loc[arm, "n_correct"] == right[own.index].sum()
        assert harms[f"participants_{arm}"] == events["participant_id"].isin(own.index).sum()
        mean = received[own.index].mean()
        assert adherence.loc[(arm, "sessions received"), "mean"] == pytest.approx(mean)
    assert (dose["sessions"] == received[dose.index]).all()


def test_optional_tables_of_items_are_written_under_their_own_names(ran_s0):
    for name in ("alpha", "item_differences", "item_means", "suicide_item", "suicide_worsening"):
        written = table(ran_s0, f"conduct/{name}.tsv")
        assert list(written) == list(ran_s0.variables["by_item"][name])
        assert set(written["scale"]) == {"HAMD-17"}
    assert table(ran_s0, "conduct/alpha.tsv")["n"].tolist() == [21, 18]


def test_settings_and_tables_of_01_say_how_they_were_made(ran01, ran_s0):
    settings = reading.read_json(ran01.derived / "clinical" / "settings.json")
    assert settings == {"permutations": 99, "imputations": 40, "seed": 5, "quick": False}
    made = {"clinical/mmrm_means": mean_table(ran01.variables["fits"])}
    made |= {"clinical/anova": ran01.variables["anova"]}
    made |= {"conduct/growth": ran_s0.variables["growth"]}
    for name, expected in made.items():
        written = table(ran01, f"{name}.tsv")
        pd.testing.assert_frame_equal(
            written.astype(str), reading_of(expected), check_dtype=False, obj=name
        )
    settings = reading.read_json(ran_s0.derived / "conduct" / "settings.json")
    assert settings == {"planned_sessions": 4, "quick": False}


def reading_of(made):
    """A table as text, numbers with the digits that are written."""
    shown = made.reset_index(drop=True).copy()
    for name in shown.select_dtypes("float"):
        shown[name] = [float(f"{value:.10g}") for value in shown[name]]
    return shown.astype(str)


def test_the_first_sentence_of_01_is_about_the_primary_scale_at_the_final_visit(ran01):
    found = [p for p in findings(ran01.variables["found"]).split("\n\n") if p[0] != ">"]
    first, *rest = found
    assert "HAMD-17" in first
    assert "week 3" in first
    assert "HAMA" not in first
    assert any("HAMA" in paragraph for paragraph in rest)
    rows = table(ran01, "clinical/mmrm_contrasts.tsv").set_index(["scale", "visit"])
    assert f"{abs(rows.loc[('HAMD-17', 'week3'), 'estimate']):.1f}" in first


def test_each_panel_of_01_gets_the_rows_of_its_own_scale_arm_and_analysis(ran01, ran_s0):
    names = {"active": "rTMS", "control": "sham coil"}
    assert {panel.title for panel in ran01.panels["course"]} == {"HAMA", "HAMD-17"}
    for panel in ran01.panels["course"]:
        drawn = panel.draw.keywords
        for part in ("individuals", "means", "counts"):
            assert set(drawn[part]["scale"]) == {panel.title}
    (response,) = ran01.panels["response"]
    rows = response.draw.keywords["rows"]
    assert set(rows["scale"]) == {"HAMD-17"}
    assert set(rows["visit"].astype(str)) == {"week3"}
    assert set(rows["analysis"]) == {"missing_is_failure"}
    drawn = ran01.panels["differences"][0].draw.keywords
    assert drawn["primary"] == ("HAMD-17", "week3")
    assert drawn["names"] == names
    assert ran01.panels["ratings"][0].draw.keywords["visits"] == ["week1", "week3"]
    drawn = ran_s0.panels["stimulation"][0].draw.keywords
    assert (drawn["planned"], drawn["names"]) == (4, names)
    boxes = ran01.panels["flow"][0].draw.keywords["boxes"]
    assert (
        "received treatment: 1"
        in boxes.set_index(["stage", "arm"]).loc[("allocated", "active"), "text"]
    )


# --- 02


@pytest.fixture(scope="module")
def smoothed(ran02, people):
    """Smoothed maps of those scanned twice, before and after, and their arm, from the files."""
    who = [p for p in people.index if pd.isna(people.loc[p, "withdrawn_after"])]
    arm = people.loc[who, "arm"].to_numpy()
    mask = nib.load(ran02.derived / "vbm" / "mask.nii.gz").get_fdata() > 0

    raw = ran02.folder / "bids" / "derivatives"

    def read(visit, fwhm):
        images = [
            next((raw / p.replace("sub-", IN_FILES) / f"ses-{visit}").rglob("*.nii.gz"))
            for p in who
        ]
        return np.array([smooth_img(i, fwhm).get_fdata(dtype=np.float32)[mask] for i in images])

    maps = {fwhm: [read(v, fwhm) for v in ("baseline", "week3")] for fwhm in (8, None)}
    return SimpleNamespace(who=who, arm=arm, mask=mask, maps=maps[8], raw=maps[None])


def image(ran, name, mask):
    return nib.load(ran.derived / "vbm" / f"{name}.nii.gz").get_fdata()[mask]


def welch(change, active):
    return stats.ttest_ind(change[active], change[~active], equal_var=False).statistic


def test_t_maps_are_t_tests_of_after_minus_before_in_the_right_arm(ran02, smoothed):
    pre, post = smoothed.maps
    change, active = post.astype(float) - pre, smoothed.arm == "active"
    expected = {
        "active_change": stats.ttest_1samp(change[active], 0).statistic,
        "control_change": stats.ttest_1samp(change[~active], 0).statistic,
        "arm_by_time": welch(change, active),
    }
    for contrast, t in expected.items():
        np.testing.assert_allclose(image(ran02, f"{contrast}_t", smoothed.mask), t, rtol=1e-3)
    percent = {c: image(ran02, f"{c}_percent", smoothed.mask).mean() for c in CONTRASTS}
    assert percent["control_change"] < -0.5 < 0.5 < percent["active_change"]
    assert percent["arm_by_time"] > percent["active_change"]


def test_family_wise_p_is_that_of_the_largest_t_of_residuals_with_random_signs(ran02, smoothed):
    pre, post = smoothed.maps
    change, active = post.astype(float) - pre, smoothed.arm == "active"
    drawn, _ = draw_permutations(99, len(change), active.astype(float), sign_flip=True, seed=5)
    observed = np.abs(welch(change, active))
    residuals = change - change.mean(axis=0)  # one factor for all: t does not change with it
    flipped = (np.sign(row)[:, None] * residuals for row in drawn)
    largest = np.array([np.abs(welch(values, active)).max() for values in flipped])
    p = (1 + (largest[:, None] >= observed - 1e-6).sum(axis=0)) / 100
    found = image(ran02, "arm_by_time_p_fwe_t", smoothed.mask)
    np.testing.assert_allclose(found, p, atol=0.0101)
    assert np.mean(np.abs(found - p) > 1e-6) < 0.02
    assert 0.2 < (found < 0.05).mean() < 0.95


def test_each_p_image_is_of_its_own_statistic_and_contrast(ran02, smoothed):
    names = {"max_t": "t", "cluster_extent": "cluster", "cluster_mass": "mass", "tfce": "tfce"}
    tests = ran02.variables["tests"]
    assert list(tests) == [*CONTRASTS, "improvement"]
    for contrast, test in tests.items():
        for statistic, name in names.items():
            found = image(ran02, f"{contrast}_p_fwe_{name}", smoothed.mask)
            np.testing.assert_allclose(found, test.result.p[statistic], rtol=1e-6)
    assert not np.allclose(test.result.p["cluster_extent"], test.result.p["max_t"])


def test_change_by_region_is_of_the_unsmoothed_maps_and_keeps_its_participant(ran02, smoothed):
    labels, names = blocks()
    inside = labels[smoothed.mask]
    pre, post = (
        np.array([[row[inside == k].mean() for k in names["label"]] for row in maps])
        for maps in smoothed.raw
    )
    expected = pd.DataFrame(100 * (post - pre) / pre, smoothed.who)
    expected.columns = names["hemisphere"] + " " + names["region"]
    rows = table(ran02, "vbm/parcel_change.tsv")
    found = rows.pivot(index="participant_id", columns="region", values="change")
    np.testing.assert_allclose(found, expected[found.columns], rtol=1e-3, atol=1e-4)
    arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"]
    assert arm.to_dict() == dict(zip(smoothed.who, smoothed.arm, strict=True))
    means = table(ran02, "vbm/region_means.tsv").set_index(["arm", "region"])
    for which in ARMS.values():
        own = found[arm == which].mean()
        np.testing.assert_allclose(means.loc[which, "mean"][own.index], own, rtol=1e-6)


def test_the_summary_counts_the_scanned_of_its_contrast_and_is_quoted(ran02):
    rows = table(ran02, "vbm/summary.tsv").set_index("contrast")
    counts = rows[["n_active", "n_control"]].T.to_dict("list")
    assert counts == {
        "active_change": [10, 0],
        "control_change": [0, 8],
        "arm_by_time": [10, 8],
        "improvement": [10, 8],
    }
    assert rows["df"].to_dict() == {
        "active_change": 9,
        "control_change": 7,
        "arm_by_time": 16,
        "improvement": 15,
    }
    numbers = reading.read_json(ran02.derived / "numbers.json")
    for contrast in rows.index:
        for name in ("n_active", "n_control", "n_voxels_fwe", "smallest_p"):
            assert numbers[f"vbm.{contrast}.{name}"]["value"] == rows.loc[contrast, name]


def test_tables_of_clusters_and_regions_are_of_their_own_contrast(ran02):
    for contrast, sign in (("active_change", 1), ("control_change", -1), ("arm_by_time", 1)):
        clusters = table(ran02, f"vbm/{contrast}_clusters.tsv")
        regions = table(ran02, f"vbm/{contrast}_regions.tsv")
        assert np.sign(clusters["t"][0]) == sign
        assert np.sign(regions["percent"].mean()) == sign
        where = nib.affines.apply_affine(np.linalg.inv(AFFINE), clusters[["x", "y", "z"]])
        for name, column in (("t", "t"), ("p_fwe_tfce", "p_fwe_tfce"), ("g", "hedges_g")):
            grid = nib.load(ran02.derived / "vbm" / f"{contrast}_{name}.nii.gz").get_fdata()
            at_peaks = grid[tuple(where.round().astype(int).T)]
            np.testing.assert_allclose(clusters[column], at_peaks, rtol=1e-5)
    assert list(table(ran02, "vbm/improvement_regions.tsv"))[-3:] == ["r", "true_discoveries", "t"]


def test_more_volume_goes_with_more_improvement_where_that_was_planted(ran02, people, ratings):
    rows = table(ran02, "vbm/region_clinical.tsv").set_index("region")
    assert list(rows.index) == ["left area 7", "right area 12"]
    assert set(rows["scale"]) == {"HAMD-17"}
    change = table(ran02, "vbm/parcel_change.tsv")
    change = change[change["region"] == "right area 12"].set_index("participant_id")["change"]
    improved = ratings["HAMD-17", "baseline"] - ratings["HAMD-17", "week3"]
    frame = pd.DataFrame({"change": change, "improved": improved.reindex(change.index)})
    centred = frame - frame.groupby(people["arm"].reindex(change.index)).transform("mean")
    assert rows.loc["right area 12", "r"] == pytest.approx(centred.corr().iloc[0, 1], rel=1e-4)
    assert rows.loc["right area 12", "ci_low"] > 0
    r = nib.load(ran02.derived / "vbm" / "improvement_r.nii.gz").get_fdata()
    assert r[r != 0].mean() > 0.2


def test_quality_is_of_each_session_s_own_maps(ran02, smoothed):
    rows = table(ran02, "vbm/quality.tsv").set_index(["session", "participant_id"])["volume_ml"]
    for session, maps in zip(("pre", "post"), smoothed.maps, strict=True):
        volume = maps.sum(axis=1) * 12**3 / 1000
        np.testing.assert_allclose(rows[session][smoothed.who], volume, rtol=1e-5)


def test_each_picture_of_02_is_of_the_contrast_in_its_title(ran02, smoothed):
    titles = ("Change with rTMS", "Change with sham coil", "Change, rTMS − sham coil")
    for panel, contrast, title in zip(ran02.panels["slices"], CONTRASTS, titles, strict=True):
        drawn = panel.draw.keywords["image"].get_fdata()[smoothed.mask]
        np.testing.assert_allclose(drawn, image(ran02, f"{contrast}_t", smoothed.mask))
        assert panel.title.startswith(title)
    calls = ran02.views["effect_view"]
    for call, contrast, title in zip(calls, CONTRASTS, titles, strict=True):
        shown, p = call["effect"], call["p_image"]
        expected = image(ran02, f"{contrast}_percent", smoothed.mask)
        np.testing.assert_allclose(shown.get_fdata()[smoothed.mask], expected)
        expected = image(ran02, f"{contrast}_p_fwe_t", smoothed.mask)
        np.testing.assert_allclose(p.get_fdata()[smoothed.mask], expected)
        assert call["title"] == title
    (regions,) = ran02.panels["regions"]
    assert regions.draw.keywords["regions"] == ["left area 7", "right area 12"]
    assert regions.draw.keywords["names"] == {"active": "rTMS", "control": "sham coil"}
    said = findings(ran02.variables["found"]).split("\n\n")
    said = [paragraph for paragraph in said if not paragraph.startswith(">")]  # no notice
    first = (titles[2], *titles[:2])  # the main contrast leads
    assert [title in text for title, text in zip(first, said, strict=False)] == [True] * 3


def test_the_mosaic_shows_the_mean_and_the_maps_least_like_the_others(ran02, smoothed):
    (mosaic,) = ran02.panels["mosaic"]
    mean, mask, *least = mosaic.draw.keywords["images"]
    both = np.concatenate(smoothed.maps)
    np.testing.assert_allclose(mean.get_fdata()[smoothed.mask], both.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(mask.get_fdata(), smoothed.mask)
    rows = table(ran02, "vbm/quality.tsv").nlargest(4, "outlier_score")
    for found, row in zip(least, rows.itertuples(), strict=True):
        raw = smoothed.raw[row.session == "post"][smoothed.who.index(row.participant_id)]
        np.testing.assert_allclose(found.get_fdata()[smoothed.mask], raw, rtol=1e-5)
    assert mosaic.draw.keywords["titles"][2:] == rows["session"].tolist()  # and no name


def test_what_is_left_out_of_02_is_named_and_the_rest_counted(ran02):
    scans = ran02.variables["scans"]
    assert scans.left_out["participant_id"].tolist() == ["sub-03", "sub-04", "sub-15"]
    assert scans.left_out["arm"].tolist() == ["rTMS", "rTMS", "sham coil"]
    assert scans.counted == "18 with both maps: 10 rTMS, 8 sham coil"


# --- 03


def normal_scores(x):
    return special.ndtri((stats.rankdata(x) - 0.375) / (len(x) + 0.25))


@pytest.fixture(scope="module")
def effects(ran03):
    """Effect maps by region in the order of labels, and the receptors' densities."""
    labels, names = blocks()
    rows = table(ran03, "vbm/parcel_change.tsv")
    wide = rows.pivot(index=["participant_id", "arm"], columns="region", values="change")
    means = wide.groupby("arm").mean()[names["hemisphere"] + " " + names["region"]]
    found = {"active_change": means.loc["active"], "control_change": means.loc["control"]}
    found["arm_by_time"] = found["active_change"] - found["control_change"]
    densities = {f"local/{f[:-7]}": pattern(s, labels) for f, (_, _, s) in RECEPTORS.items()}
    return found, densities


def test_correlations_are_those_of_normal_scores_of_each_contrast_and_map(ran03, effects):
    rows = table(ran03, "receptors/correlations.tsv").set_index(["contrast", "annotation"])
    for contrast, effect in effects[0].items():
        for annotation, density in effects[1].items():
            r = np.corrcoef(normal_scores(effect), normal_scores(density))[0, 1]
            assert rows.loc[(contrast, annotation), "r"] == pytest.approx(r, abs=1e-6)
    lead = rows["r"].abs().groupby("contrast").idxmax()
    assert [annotation for _, annotation in lead] == ["local/d1"] * 3
    signs = [np.sign(rows.loc[(contrast, "local/d1"), "r"]) for contrast in CONTRASTS]
    assert signs == [1, -1, 1]
    people = rows["n_subjects_map"]["arm_by_time"].to_dict()
    assert people == {f"local/{f[:-7]}": n for f, (_, n, _) in RECEPTORS.items()}


def test_p_values_are_those_of_the_null_draws_of_their_own_name(ran03):
    rows = table(ran03, "receptors/correlations.tsv")
    nulls = np.load(ran03.derived / "receptors" / "nulls.npz")
    for contrast, own in rows.groupby("contrast"):
        own = own.assign(t=ran03.variables["assessed"][contrast].randomisation.t)
        for which, statistic, p, corrected in (
            ("randomisation", "t", "p_randomisation", "p_fwe"),
            ("spatial", "r", "p_spatial", "p_fwe_spatial"),
            ("spatial_anatomy", "r_anatomy", "p_spatial_anatomy", "p_fwe_spatial_anatomy"),
        ):
            size = np.abs(nulls[f"{which}_{contrast}"].astype(float))
            r = own[statistic].abs().to_numpy() * (1 - 1e-5)
            expected = (1 + (size >= r).sum(axis=0)) / (1 + len(size))
            np.testing.assert_allclose(own[p], expected)
            largest = size.max(axis=1)[:, None]
            expected = (1 + (largest >= r).sum(axis=0)) / (1 + len(size))
            np.testing.assert_allclose(own[corrected], expected)
    assert len(nulls["randomisation_arm_by_time"]) == 99
    assert len(nulls["spatial_arm_by_time"]) == 120
    for p, corrected in (("p_randomisation", "p_fwe"), ("p_spatial", "p_fwe_spatial")):
        assert (rows[corrected] >= rows[p]).all()
        assert (rows[corrected] > rows[p]).any()


def test_the_scatter_is_of_the_leading_receptor_and_the_difference_between_arms(ran03, effects):
    points = table(ran03, "receptors/scatter.tsv").set_index("region")
    assert set(points["annotation"]) == {"local/d1"}
    assert set(points["receptor"]) == {"D1"}
    effect, density = effects[0]["arm_by_time"], effects[1]["local/d1"]
    np.testing.assert_allclose(points["percent"], effect[points.index], rtol=1e-6)
    np.testing.assert_allclose(points["density"], density, rtol=1e-5)
    np.testing.assert_allclose(points["x_value"], normal_scores(density), atol=1e-6)
    np.testing.assert_allclose(points["y_value"], normal_scores(effect), atol=1e-6)
    places = centres(blocks()[0])
    assert [call["diverging"] for call in ran03.views["slice_view"]] == [True, False]
    balls = ran03.views["region_view"][0]["regions"].set_index("region")
    np.testing.assert_allclose(balls.loc[effect.index, ["x", "y", "z"]], places, atol=1e-6)
    for call, values in zip(ran03.views["slice_view"], (effect, density), strict=True):
        shown = next(v for v in call.values() if hasattr(v, "get_fdata"))
        voxels = nib.affines.apply_affine(np.linalg.inv(shown.affine), places).round().astype(int)
        np.testing.assert_allclose(shown.get_fdata()[tuple(voxels.T)], values, rtol=1e-5)


def test_sensitivity_is_told_of_each_contrast_under_its_own_name(ran03):
    rows = table(ran03, "receptors/sensitivity.tsv").set_index(["contrast", "annotation"])
    r = table(ran03, "receptors/correlations.tsv").set_index(["contrast", "annotation"])["r"]
    np.testing.assert_allclose(rows["r"][r.index], r)
    for contrast in CONTRASTS:
        expected = ran03.variables["assessed"][contrast].intervals.reliability
        np.testing.assert_allclose(rows.loc[contrast, "reliability"], expected)


def test_combined_maps_weigh_each_tracer_by_its_people(ran03):
    rows = table(ran03, "receptors/combined.tsv").set_index("receptor")
    assert rows.loc["D2", "tracer"] == "flb 0.75, rac 0.25"
    assert rows["n_subjects"].to_dict() == {"D1": 13, "D2": 40, "5-HTT": 18, "MOR": 39}
    others = table(ran03, "receptors/given_others.tsv")
    assert set(others["contrast"]) == {"arm_by_time"}
    assert others["receptor"].tolist() == ["D1", "D2", "5-HTT", "MOR"]


def is_multiple(p, n):
    return np.allclose(np.asarray(p) * n, np.round(np.asarray(p) * n), atol=1e-6)


def test_dominance_counts_surrogates_and_the_others_count_flips(ran03):
    rows = table(ran03, "receptors/dominance.tsv").set_index("receptor")
    assert rows["total_dominance"].idxmax() == "D1"
    assert is_multiple(rows["p"], 121)
    assert not is_multiple(rows["p"], 100)
    others = table(ran03, "receptors/given_others.tsv")
    assert is_multiple(others["p_given_others"], 100)
    total = rows["total_dominance"].sum()
    said = ran03.variables["joint"].described
    assert said.startswith(f"4 receptors, 60 regions: adjusted R² {total:.2f}, p = ")


def test_p_beside_the_others_are_of_slopes_in_one_regression(ran03):
    inputs, others = ran03.variables["inputs"], table(ran03, "receptors/given_others.tsv")
    combined, _ = combine(inputs.maps, inputs.about)
    slopes = slopes_given_others(inputs.change, combined.loc[others["annotation"]])
    test = slope_test(slopes, inputs.arm, n_permutations=99, seed=5, **inputs.model)
    np.testing.assert_allclose(others["p_given_others"], test.p)


def test_dominance_is_of_the_normal_scores_that_r_is_of(ran03, effects):
    outcome = normal_scores(effects[0]["arm_by_time"])
    combined, _ = combine(ran03.variables["inputs"].maps, ran03.variables["inputs"].about)
    x = pd.DataFrame({name: normal_scores(row) for name, row in combined.T.items()})
    found = table(ran03, "receptors/dominance.tsv").set_index("annotation")["total_dominance"]
    np.testing.assert_allclose(dominance(x, outcome).total[found.index], found, rtol=1e-5)


def test_anatomy_and_rivals_are_told_of_every_contrast(ran03):
    rows = table(ran03, "receptors/anatomy.tsv").set_index(["contrast", "measure"])
    known, empty = rows.dropna(), rows[rows["r"].isna()]
    assert len(known) == 9  # the cubes are of one size
    assert empty.index.tolist() == [
        (contrast, name)
        for contrast in CONTRASTS
        for name in ("registration_error", "image_sharpness")
    ]
    anatomy = ran03.variables["inputs"].anatomy
    effect = ran03.variables["assessed"]["active_change"].effect
    r = np.corrcoef(normal_scores(anatomy.loc["depth"]), normal_scores(effect))[0, 1]
    assert rows.loc[("active_change", "depth"), "r"] == pytest.approx(r, abs=1e-6)
    rivals = table(ran03, "receptors/rivals.tsv")
    assert set(rivals["contrast"]) == set(CONTRASTS)
    assert set(rivals["annotation"]) == {"local/d1"}
    assert "local/d1" not in set(rivals["rival_annotation"])
    assert "**Its rivals**: D1 leads" in findings(ran03.variables["found"])


def test_where_all_regions_are_of_one_structure_there_is_no_second_analysis(ran03):
    rows = table(ran03, "receptors/structure_correlations.tsv")
    assert set(rows["structure"]) == {"all"}
    whole = table(ran03, "receptors/correlations.tsv").set_index(["contrast", "annotation"])
    rows = rows.set_index(["contrast", "annotation"]).loc[whole.index]
    pd.testing.assert_frame_equal(rows[whole.columns], whole)


def test_coupling_of_each_participant_is_higher_in_the_active_arm(ran03, people):
    rows = table(ran03, "receptors/individual.tsv")
    arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"]
    assert arm.to_dict() == people["arm"][arm.index].to_dict()
    slope = rows[rows["annotation"] == "local/d1"].groupby("arm")["slope"].mean()
    by_arm = table(ran03, "receptors/coupling_arm.tsv").set_index("annotation").loc["local/d1"]
    assert [by_arm["n_active"], by_arm["n_control"]] == [10, 8]
    assert by_arm["mean_active"] == pytest.approx(slope["active"])
    assert by_arm["mean_control"] == pytest.approx(slope["control"])
    assert by_arm["ci_low"] > 0


def test_patients_whose_change_follows_d1_more_improve_more(ran03, people, ratings):
    rows = table(ran03, "receptors/individual.tsv")
    slope = rows[rows["annotation"] == "local/d1"].set_index("participant_id")["slope"]
    improved = ratings["HAMD-17", "baseline"] - ratings["HAMD-17", "week3"]
    frame = pd.DataFrame({"slope": slope, "improved": improved.reindex(slope.index)})
    centred = frame - frame.groupby(people["arm"].reindex(slope.index)).transform("mean")
    found = table(ran03, "receptors/coupling_improvement.tsv")
    assert found["scale"].iloc[0] == "HAMD-17"
    found = found[found["scale"] == "HAMD-17"].set_index("annotation")["r"]
    assert found["local/d1"] == pytest.approx(centred.corr().iloc[0, 1], rel=1e-6)
    assert found["local/d1"] > 0.3


def test_what_03_quotes_are_cells_of_its_tables(ran03):
    numbers = reading.read_json(ran03.derived / "numbers.json")
    rows = table(ran03, "receptors/correlations.tsv").set_index(["contrast", "annotation"])
    for name in ("r", "p_fwe", "p_spatial", "p_randomisation", "p_fwe_spatial", "ci_low"):
        for contrast in CONTRASTS:
            quoted = numbers[f"receptors.{contrast}.local/d1.{name}"]
            assert quoted["value"] == pytest.approx(rows.loc[(contrast, "local/d1"), name])
            assert quoted["source"] == "receptors/correlations.tsv"
    settings = reading.read_json(ran03.derived / "receptors" / "settings.json")
    assert settings | {"permutations": 99, "surrogates": 120, "bootstrap": 150} == settings
    assert settings["densities"] == "volumes"


def test_each_picture_of_03_gets_the_draws_and_the_contrast_of_its_title(ran03):
    rows = table(ran03, "receptors/correlations.tsv")
    titles = {"arm_by_time": "Change, rTMS − sham coil", "active_change": "Change with rTMS"}
    shown = {panel.title: panel.draw.keywords for panel in ran03.panels["correlations"]}
    assert len(shown) == 2
    for contrast, title in titles.items():
        own = rows[rows["contrast"] == contrast]
        found = shown[f"Receptor maps in order of r: {title}"]["rows"]
        np.testing.assert_allclose(found["r"], own["r"])
    (nulls,) = ran03.panels["nulls"]
    lead = rows[(rows["contrast"] == "arm_by_time") & (rows["receptor"] == "D1")]
    observed = {"spatial": lead["r"].iloc[0], "spatial_anatomy": lead["r_anatomy"].iloc[0]}
    assert nulls.draw.keywords["observed"] == pytest.approx(observed)
    assert nulls.title.startswith("D1")
    assert {"scatter", "influence", "dominance", "anatomy", "slopes", "improvement"} <= set(
        ran03.panels
    )
    assert "**D1** (local/d1)" in findings(ran03.variables["found"])


def test_03_names_the_regions_that_a_map_does_not_cover(ran03):
    inputs = ran03.variables["inputs"]
    assert inputs.described.endswith("(n_receptor_maps, n_regions) = (5, 60)")
    gap = inputs.maps.copy()
    gap.loc["local/d1", gap.columns[[0, 3]]] = np.nan
    names = inputs.regions[gap.columns[[0, 3]]]
    said = replace(inputs, maps=gap, gaps=library.uncovered(gap)).map_notes()
    assert f"local/d1 does not cover 2: {', '.join(names)}" in said
    assert replace(inputs, maps=gap).map_table().loc["local/d1", "n_parcels"] == 58


# --- S1, S3, S4


SIMULATED = {  # family: tests, contrasts
    "clinical": (8, 1),
    "voxels": (4, 3),
    "receptors": (7, 3),
}


def test_rates_are_the_shares_of_the_trials_that_were_drawn(ran_appendix, ran03):
    rates = table(ran03, "calibration/rates.tsv")
    drawn = {one.family: one for one in ran_appendix["S1"].variables["drawn"]}
    assert list(drawn) == list(SIMULATED)
    assert rates.groupby("family").size().to_dict() == {f: a * b for f, (a, b) in SIMULATED.items()}
    for row in rates.itertuples():
        contrast = row.contrast if isinstance(row.contrast, str) else None
        p = drawn[row.family].p["this design"][row.test, row.source, row.column, contrast]
        share = (p <= 0.05 + 1e-9).mean(axis=0)
        assert (row.n_draws, row.rate) == (10, pytest.approx(share.mean()))
        level = 0.05 / np.prod(SIMULATED[row.family])
        low, high = stats.beta.ppf([level / 2, 1 - level / 2], [10 * row.rate, 10 * row.rate + 1],
                                   [11 - 10 * row.rate, 10 - 10 * row.rate])  # fmt: skip
        np.testing.assert_allclose(
            [row.ci_low, row.ci_high], np.nan_to_num([low, high], nan=[0, 1])
        )
        assert row.worst_rate == pytest.approx(share.max()) or len(share) == 1
        assert row.verdict == "holds" or row.ci_low > 0.05 or row.ci_high < 0.05
        assert row.detectable > 0.4
    assert set(rates["worst_map"].dropna()) <= set(
        table(ran03, "receptors/correlations.tsv")["annotation"]
    )


def test_what_fails_is_listed_without_a_verdict(ran_appendix, ran03):
    rows = table(ran03, "calibration/failing.tsv")
    counted = rows.groupby("family")["assumption"].nunique().to_dict()
    assert counted == {"clinical": 4, "voxels": 4, "receptors": 8}  # areas are of one size
    assert set(rows["n_draws"]) == {1}
    drawn = {one.family: one for one in ran_appendix["S1"].variables["drawn"]}
    for row in rows[rows["family"] == "voxels"].itertuples():
        p = drawn["voxels"].p[row.assumption][row.test, row.source, row.column, row.contrast]
        assert row.rate == (p <= 0.05 + 1e-9).mean()
        assert row.ci_low <= row.rate <= row.ci_high


def test_curves_are_shares_at_every_level(ran_appendix, ran03):
    rows = table(ran03, "calibration/quantiles.tsv")
    drawn = {one.family: one for one in ran_appendix["S1"].variables["drawn"]}
    for (family, test), own in rows.groupby(["family", "test"]):
        (key,) = [
            k
            for k in drawn[family].p["this design"]
            if k[0] == test and k[3] in (None, "arm_by_time")
        ]
        assert own[["source", "column"]].drop_duplicates().to_numpy().tolist() == [list(key[1:3])]
        p = drawn[family].p["this design"][key].ravel()
        expected = [(p <= level + 1e-9).mean() for level in own["nominal"]]
        np.testing.assert_allclose(own["observed"], expected)
        assert set(own["n_draws"]) == {10}
    panels = ran_appendix["S1"].panels["quantiles"]
    for panel, family in zip(panels, SIMULATED, strict=True):
        assert panel.title.endswith(family)
        assert set(panel.draw.keywords["quantiles"]["family"]) == {family}
    settings = reading.read_json(ran03.derived / "calibration" / "settings.json")
    sizes = {"trials": 10, "maps": 10, "broken": 1, "permutations": 99, "seed": 5, "quick": False}
    assert settings == sizes


def test_what_the_trial_can_see_and_what_others_found_are_of_its_own_arms(ran_appendix, ran03):
    curves = table(ran03, "power/power.tsv").groupby(["question", "multiple"], observed=True)
    own = curves[["n_active", "n_control"]].first()
    assert own.loc[("clinical", 1)].tolist() == [12, 8]  # rated after baseline
    for question in ("voxels", "receptor"):
        assert own.loc[(question, 1)].tolist() == [10, 8]
        assert own.loc[(question, 2)].tolist() == [20, 16]
    seen = table(ran03, "power/seen.tsv").set_index(["question", "setting"])
    assert seen.index[0] == ("clinical", "HAMD-17, week 3")
    sensitivity = table(ran03, "receptors/sensitivity.tsv").set_index("contrast")["reliability"]
    found = seen.loc[("receptor", "this map"), "reliability"]
    assert found == pytest.approx(np.clip(sensitivity["arm_by_time"].iloc[0], 0.05, 0.95))
    assert reading.read_json(ran03.derived / "power" / "settings.json")["power_trials"] == 10
    needed = table(ran03, "power/needed.tsv").set_index(["question", "treatment"])
    assert {"an antidepressant", "ECT", "ketamine"} == set(needed.loc["clinical"].index)
    shown = ran_appendix["S3"].panels["power"]
    assert [panel.title for panel in shown] == [
        f"Power: {question}" for question in ("clinical", "voxels", "receptor")
    ]
    assert shown[0].draw.keywords["rows"]["line"].unique().tolist() == ["12 + 8", "24 + 16"]
    assert shown[2].draw.keywords["rows"]["multiple"].unique().tolist() == [1]


def test_regional_change_of_s2_is_that_of_02_or_of_smoothed_maps_in_the_mask(ran02):
    study = ran02.variables["trial"]
    parcels, pairs = load_atlas(study.atlas), read_scans(study).analysed
    wanted = [("0", "0", "own"), ("6", "0.2", "own")]
    plain, smoothed = region_changes(study, {"own": parcels}, wanted).values()
    rows = table(ran02, "vbm/parcel_change.tsv")
    expected = rows.pivot(index="participant_id", columns="region", values="change")
    names = region_names(parcels)[plain.columns]
    np.testing.assert_allclose(plain.loc[expected.index], expected[names], rtol=1e-4)
    maps = [
        np.stack([smooth_img(path, 6).get_fdata(dtype=np.float32) for path in pairs[session]])
        for session in ("pre", "post")
    ]
    mask = np.concatenate(maps).mean(axis=0) > 0.2
    labels = labels_on_grid(parcels, mask.shape, nib.load(pairs["pre"].iloc[0]).affine)
    for label in smoothed.columns[:3]:
        pre, post = (some[:, mask & (labels == label)].sum(axis=1) for some in maps)
        np.testing.assert_allclose(smoothed[label], 100 * (post - pre) / pre, rtol=1e-3, atol=1e-3)


def test_by_default_choices_the_curves_hold_what_01_and_03_found(ran_appendix, ran01, ran03):
    rows = table(ran03, "specifications/regions_specifications.tsv").set_index("place")
    chosen = {"atlas": "own", "tracer": "local/d1", "tracer_regions": "valid", "smoothing": "0"}
    chosen |= {"mask": "0", "head_size": "none", "covariates": "study", "errors": "unequal"}
    chosen |= {"correlation": "gaussianised", "anatomy": "ignored"}
    own = rows[(rows[[*chosen]] == pd.Series(chosen)).all(axis=1)]
    arm = table(ran03, "receptors/coupling_arm.tsv").set_index("annotation").loc["local/d1"]
    assert len(own) == 1
    for name, other in (("estimate", "difference"), ("ci_low", "ci_low"), ("ci_high", "ci_high")):
        assert own[name].iloc[0] == pytest.approx(arm[other])
    assert own["label"].iloc[0] == "arbitrary"
    rows = table(ran03, "specifications/symptoms_specifications.tsv")
    chosen = {"model": "MMRM", "covariance": "unstructured", "covariates": "model"}
    chosen |= {"baseline": "adjusted", "missing": "observed"}
    own = rows[(rows[[*chosen]] == pd.Series(chosen)).all(axis=1)]
    contrasts = table(ran01, "clinical/mmrm_contrasts.tsv").set_index(["scale", "visit"])
    for name in ("estimate", "ci_low", "ci_high", "p"):
        assert own[name].tolist() == pytest.approx([contrasts.loc[("HAMD-17", "week3"), name]])
    ancova = table(ran01, "clinical/ancova.tsv").set_index(["scale", "visit"])
    own = rows[rows["model"].eq("ANCOVA") & rows["errors"].eq("unequal")]
    own = own[own["missing"].eq("observed") & own["baseline"].eq("adjusted")]
    own = own[own["covariates"] == "model"]
    for name in ("estimate", "ci_low", "ci_high", "p"):
        assert own[name].tolist() == pytest.approx([ancova.loc[("HAMD-17", "week3"), name]])
    apart = table(ran03, "specifications/apart.tsv").set_index(["decision", "option"])
    assert apart.loc[("scale", "HAMA"), "p"] == pytest.approx(contrasts.loc[("HAMA", "week3"), "p"])
    average = contrasts.loc[("HAMD-17", "all"), "estimate"]
    assert apart.loc[("visit", "all"), "estimate"] == pytest.approx(average)
    panels = ran_appendix["S2"].panels["choices"]
    assert [len(panel.draw.keywords["rows"]) for panel in panels] == [
        len(table(ran03, f"specifications/{family}_specifications.tsv"))
        for family in ("regions", "symptoms")
    ]


def test_juspace_keeps_the_background_in_its_means(ran_appendix, ran03, effects, people):
    rows = table(ran03, "juspace/juspace.tsv").set_index(["contrast", "annotation"])
    labels, names = blocks()
    change = table(ran03, "vbm/parcel_change.tsv")
    wide = change.pivot(index=["arm", "participant_id"], columns="region", values="change")
    wide = wide[names["hemisphere"] + " " + names["region"]]
    active, control = wide.loc["active"], wide.loc["control"]
    d = (active.mean() - control.mean()) / np.sqrt((active.var() + control.var()) / 2)
    data = nib.load(ran03.folder / "d1.nii.gz").get_fdata()
    kept = [data[labels == k].mean() for k in names["label"]]
    r = np.corrcoef(d, kept)[0, 1]
    assert rows.loc[("arm_by_time", "local/d1"), "r"] == pytest.approx(r, abs=1e-6)
    assert abs(r - np.corrcoef(d, effects[1]["local/d1"])[0, 1]) > 1e-3


# --- 04


def draw(ran, figure, panel):
    """A panel of notebook 04 on Axes of its own."""
    _, ax = plt.subplots()
    ran.single[figure][panel].draw(ax)
    return ax


def lines(ax, colour, marker="o"):
    """Data of the lines of a colour that have a marker."""
    return [
        line.get_xydata()
        for line in ax.lines
        if line.get_color() == colour and line.get_marker() == marker
    ]


@pytest.mark.parametrize(("key", "scale"), [("hamd17", "HAMD-17"), ("hama", "HAMA")])
def test_the_course_of_each_arm_is_drawn_in_its_own_colour(ran04, key, scale):
    ax = draw(ran04, "figure2", key)
    means = table(ran04, "clinical/mmrm_means.tsv")
    means = means[means["scale"] == scale]
    for arm, colour in COLOURS.items():
        own = means[means["arm"] == arm].sort_values("visit")["mean"]
        drawn = [xy for xy in lines(ax, colour) if len(xy) == 2]
        np.testing.assert_allclose(drawn[0][:, 1], own)
    slope = {arm: means[means["arm"] == arm]["mean"].min() for arm in COLOURS}
    assert (slope["active"] < slope["control"]) == (scale == "HAMD-17")
    plt.close(ax.figure)


def test_differences_are_drawn_in_the_order_of_the_table_and_the_primary_one_is_filled(ran04):
    ax = draw(ran04, "figure2", "differences")
    rows = table(ran04, "clinical/mmrm_contrasts.tsv")
    drawn = [line for line in ax.lines if line.get_marker() == "s"]
    np.testing.assert_allclose([line.get_xdata()[0] for line in drawn], rows["estimate"])
    filled = [line.get_markerfacecolor() == "black" for line in drawn]
    assert filled == (rows["scale"].eq("HAMD-17") & rows["visit"].eq("week3")).tolist()
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], rows[["ci_low", "ci_high"]])
    assert "left of zero favours rTMS" in ax.get_xlabel().replace("\n", " ")
    plt.close(ax.figure)


def test_bars_of_response_are_each_arms_share_in_its_colour(ran04):
    ax = draw(ran04, "figure2", "response")
    rows = table(ran04, "clinical/responders.tsv")
    rows = rows[rows["scale"].eq("HAMD-17") & rows["visit"].eq("week3")]
    rows = rows[rows["analysis"] == "missing_is_failure"]
    for arm, colour in COLOURS.items():
        bars = [b for b in ax.patches if mpl.colors.same_color(b.get_facecolor(), colour)]
        share = 100 * rows[f"events_{arm}"] / rows[f"n_{arm}"]
        np.testing.assert_allclose([bar.get_height() for bar in bars], share)
    texts = {text.get_text() for text in ax.texts}
    for row in rows.itertuples():
        assert f"{row.events_active:.0f}/{row.n_active}" in texts
        assert f"{row.events_control:.0f}/{row.n_control}" in texts
    plt.close(ax.figure)


def test_the_tipping_point_is_drawn_where_the_table_has_it(ran04):
    ax = draw(ran04, "figure2", "tipping_point")
    tip = table(ran04, "clinical/tipping_point.tsv")["delta_interpolated"][0]
    drawn = [line for line in ax.lines if line.get_color() == ACCENT]
    assert drawn[0].get_xdata()[0] == pytest.approx(tip)
    plt.close(ax.figure)


def test_the_flow_and_the_missing_ratings_name_each_arms_counts(ran04):
    ax = draw(ran04, "figure1", "ratings")
    patterns = table(ran04, "clinical/missing_patterns.tsv")
    shown = [text.get_text() for text in ax.texts]
    assert shown == [str(n) for arm in COLOURS for n in patterns[f"n_{arm}"]]
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["week 1", "week 3", "n, rTMS", "n, sham coil"]
    plt.close(ax.figure)


def test_change_by_region_is_drawn_in_the_colour_of_the_arm(ran04):
    ax = draw(ran04, "figure3", "regions")
    means = table(ran04, "vbm/region_means.tsv").set_index(["arm", "region"])["mean"]
    regions = ["left area 7", "right area 12"]
    for arm, colour in COLOURS.items():
        drawn = lines(ax, colour, "D")[0]
        np.testing.assert_allclose(drawn[:, 0], means[arm][regions])
        assert np.diff(ax.transData.transform(drawn)[:, 1]) < 0  # from the top
    assert [t.get_text() for t in ax.get_yticklabels()] == regions
    plt.close(ax.figure)


def test_brain_panels_are_of_the_contrast_in_their_title(ran04, smoothed):
    for which, page in (("slices", "slices"), ("glass", "glass_brain")):
        for contrast, panel in ran04.pages[f"figure3_{page}"].items():
            words = panel.draw.keywords
            t = words["image"].get_fdata()[smoothed.mask]
            np.testing.assert_allclose(t, image(ran04, f"{contrast}_t", smoothed.mask))
            p = words["outline" if which == "slices" else "p_image"].get_fdata()[smoothed.mask]
            np.testing.assert_allclose(p, image(ran04, f"{contrast}_p_fwe_t", smoothed.mask))
    n = {"active_change": "n = 10)", "control_change": "n = 8)", "arm_by_time": "n = 10 + 8)"}
    for contrast, text in n.items():
        assert text in ran04.pages["figure3_slices"][contrast].title
    main = ran04.pages["figure3_grey_matter"]
    assert main["slices"] is ran04.pages["figure3_slices"]["arm_by_time"]
    assert main["glass"] is ran04.pages["figure3_glass_brain"]["arm_by_time"]


def test_receptors_are_drawn_in_order_of_r_with_their_intervals_and_bands(ran04):
    ax = draw(ran04, "figure4", "correlations")
    rows = table(ran04, "receptors/correlations.tsv")
    rows = rows[rows["contrast"] == "arm_by_time"].reset_index(drop=True).sort_values("r")
    labels = [text.get_text() for text in ax.get_yticklabels()]
    for label, row in zip(labels, rows.itertuples(), strict=True):
        assert label.startswith(f"{row.receptor}  {row.annotation}")
    points = np.concatenate([li.get_xydata() for li in ax.lines if li.get_marker() == "o"])
    points = points[np.argsort(points[:, 1])]
    np.testing.assert_allclose(points[:, 0], rows["r"])
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose([s[:, 0] for s in segments], rows[["ci_low", "ci_high"]])
    nulls = np.load(ran04.derived / "receptors" / "nulls.npz")
    for which, colour in BANDS.items():
        bars = [b for b in ax.patches if mpl.colors.same_color(b.get_facecolor(), colour)]
        limits = np.quantile(nulls[f"{which}_arm_by_time"], [0.025, 0.975], axis=0)[:, rows.index]
        np.testing.assert_allclose([b.get_x() for b in bars], limits[0], rtol=1e-4)
        np.testing.assert_allclose([b.get_x() + b.get_width() for b in bars], limits[1], rtol=1e-4)
    plt.close(ax.figure)


def test_the_other_receptor_panels_show_the_leading_receptor(ran04):
    rows = table(ran04, "receptors/correlations.tsv")
    lead = rows[(rows["contrast"] == "arm_by_time") & (rows["receptor"] == "D1")].iloc[0]
    nulls = np.load(ran04.derived / "receptors" / "nulls.npz")
    words = ran04.single["figure4"]["nulls"].draw.keywords
    observed = {"spatial": lead["r"], "spatial_anatomy": lead["r_anatomy"]}
    assert words["observed"] == pytest.approx(observed)
    for which, draws in words["draws"].items():
        np.testing.assert_allclose(draws, nulls[f"{which}_arm_by_time"][:, 0])
    ax = draw(ran04, "figure4", "dominance")
    assert ax.yaxis_inverted()  # the largest share on top
    shares = table(ran04, "receptors/dominance.tsv")
    shares = shares.sort_values("total_dominance", ascending=False)
    assert [t.get_text() for t in ax.get_yticklabels()] == shares["receptor"].tolist()
    np.testing.assert_allclose([b.get_width() for b in ax.patches], shares["total_dominance"])
    plt.close(ax.figure)
    ax = draw(ran04, "figure4", "influence")
    sensitivity = table(ran04, "receptors/sensitivity.tsv")
    own = sensitivity[sensitivity["contrast"] == "arm_by_time"]
    own = own.sort_values("r", key=abs, ascending=False)
    for marker, column in (("D", "r"), ("o", "r_without")):
        drawn = next(line for line in ax.lines if line.get_marker() == marker)
        np.testing.assert_allclose(drawn.get_xdata(), own[column])
    plt.close(ax.figure)
    title = ran04.single["figure4"]["scatter"].title
    assert title == f"D1, 60 regions, r = {lead['r']:.2f}"


def test_captions_quote_the_tables_of_their_own_figure(ran04):
    written = reading.read_json(ran04.derived / "figures" / "captions.json")
    assert set(written) == {f"figure{k}_{n}" for k, n in FIGURES.items()} | set(SEPARATE)
    rows = table(ran04, "clinical/mmrm_contrasts.tsv").set_index(["scale", "visit"])
    primary = rows.loc[("HAMD-17", "week3")]
    assert f"−{abs(primary['estimate']):.1f}" in written["figure2_clinical"]["alt"]
    assert "D1" in written["figure4_receptors"]["alt"]
    brain = written["figure3_grey_matter"]
    assert "rTMS − sham coil" in brain["caption"] + brain["alt"]


FIGURES = {1: "participants", 2: "clinical", 3: "grey_matter", 4: "receptors"}
SEPARATE = (
    *("figure1_flow", "figure1_ratings", "figure2_hamd17", "figure2_hama"),
    *("figure2_differences", "figure2_response", "figure2_tipping_point"),
    *("figure3_regions", "figure3_slices", "figure3_glass_brain"),
    *(f"figure4_{n}" for n in ("correlations", "scatter", "dominance", "nulls", "influence")),
    *("figure4_anatomy", "figure4_slopes"),
)


COVERED = {
    "clinical": "ancova anova baseline consort_flow imputation intercurrent means missing_patterns "
    "mmrm_contrasts mmrm_means pattern_visits randomisation responders scores tipping_curve "
    "tipping_point tipping_two_way totals",
    "conduct": "adherence adverse_events alpha blinding chipchase_checklist consort_checklist dose "
    "factors growth harms_checklist influence item_differences item_means residuals suicide_item "
    "suicide_worsening tidier_checklist",
    "vbm": "active_change_clusters active_change_cluster_regions active_change_regions "
    "arm_by_time_clusters arm_by_time_cluster_regions arm_by_time_regions control_change_clusters "
    "control_change_cluster_regions control_change_regions design diagnostics improvement_regions "
    "null_rates parcel_change quality region_clinical region_means summary variance_by_region",
    "receptors": "anatomy combined correlations coupling_arm coupling_improvement dominance "
    "given_others individual rivals scatter sensitivity spatial_rates structure_correlations",
    "calibration": "failing notes quantiles rates",
    "specifications": "apart decisions joint regions_specifications symptoms_specifications "
    "variance",
    "power": "needed power seen",
    "juspace": "juspace options patients_juspace",
}


def test_every_table_that_the_notebooks_write_has_its_columns_tested(ran04, ran_s0):
    """A new table belongs here once each of its columns has a test: see ``wired``."""
    for folder, names in COVERED.items():
        found = {path.stem for path in ran04.derived.glob(f"**/{folder}/*.tsv")}
        assert found == set(names.split()), folder


# --- what may be shared


@pytest.fixture(scope="module")
def shared(ran01, ran02, ran03, ran04, ran_s0):
    """The wired study with all that a run adds: executed notebooks, manifest, report, crate."""
    study = load_study(ran04.study).as_variant(ran04.derived.name)
    plan = make_plan(study)
    now = running.Run(plan, running.Quiet())
    for step, ran in zip(plan.steps[1:], (ran01, ran02, ran03, ran04, ran_s0), strict=True):
        executed = study.derived / "notebooks" / f"{step.notebook}.ipynb"
        executed.parent.mkdir(exist_ok=True)
        content = nbformat.read(plan.path(step), as_version=4)
        told = [f"study = {ran.study!r}", ran.variables["_printed"]]
        outputs = [nbformat.v4.new_output("stream", text="\n".join(told))]
        content.cells = [*content.cells, nbformat.v4.new_code_cell("pass", outputs=outputs)]
        nbformat.write(content, executed)
        running._clear(study, executed, None)
        files = [path for name in step.writes for path in freshness.results_of(study, name)]
        outcome = running.Outcome(step, "run")
        running._record(now, step, plan.signature(step), outcome, now.started, [*files, executed])
    write_report(study, coming=(running.CRATE,))
    crate.write_crate(study)
    return study


def test_no_planted_secret_is_in_any_output(shared):
    raw = "".join(p.read_text() for p in shared.root.rglob("*.tsv")) + str(shared.root)
    secrets = ("Wolkenstein", "5550123", "Hagedornbusch", DATE, HOME, "MUC80")
    assert all(word in raw for word in secrets)
    paths = [path for path in shared.derived.rglob("*") if path.is_file()]
    assert {"manifest.json", "ro-crate-metadata.json", "index.html"} <= {p.name for p in paths}
    for path in paths:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        content += path.name.encode()
        assert not [w for w in secrets if w.encode() in content], path.name
    printed = (shared.derived / "notebooks" / "02_vbm.ipynb").read_text(encoding="utf-8")
    assert "no image at week 3: other" in printed  # the reason was there to be told


def test_tables_about_participants_lie_apart(shared):
    for path in shared.derived.rglob("*.tsv"):
        assert ("participant_id" in pd.read_csv(path, sep="\t")) == ("private" in path.parts)


def test_the_manifest_names_images_by_pseudonym_and_checksum(shared):
    manifest = reading.read_json(shared.derived / "manifest.json")
    assert manifest["protected"] is True
    inputs = manifest["steps"]["02_vbm"]["inputs"]
    images = [name for name in inputs if name.startswith("{data}") and name.endswith(".nii.gz")]
    assert len(images) == 39
    assert all(re.fullmatch(r"{data}/sub-\d\d/[0-9a-f]{12}\.nii\.gz", name) for name in images)
    assert "{data}/phenotype/hamd17.tsv" in inputs


def test_serious_harms_are_counted_though_their_words_are_not_shown(shared):
    rows = reading.read_table(shared.derived / "conduct" / "adverse_events.tsv")
    assert rows.loc[rows["group"] == "term", "term"].tolist() == ["headache", "other"]
    serious = rows[rows["group"] == "serious"].iloc[0]
    assert serious["participants_active"] + serious["participants_control"] == 1


def test_links_of_the_report_lead_to_files_in_the_pack(shared, tmp_path):
    with zipfile.ZipFile(export.export(shared, tmp_path / "pack.zip")) as pack:
        names = pack.namelist()
        pack.extractall(tmp_path / "unpacked")
    assert not [name for name in names if "private" in name or "/." in name]
    (index,) = (tmp_path / "unpacked").rglob("index.html")
    soup = BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser")
    links = {unquote(a["href"].split("#")[0]) for a in soup.select("a[href]")}
    links = {link for link in links if link and "://" not in link}
    assert len(links) > 40
    assert not [link for link in links if not (index.parent / link).is_file()]


def test_a_pack_with_a_secret_is_refused_and_the_secret_not_told(shared, tmp_path):
    path = shared.derived / "clinical" / "note.json"
    path.write_text('{"said by": "wolkenstein", "who": "sub-MUC8003", "is": "sub-03"}')
    try:
        with pytest.raises(NotShareable, match=r"clinical/note\.json: nothing about") as refused:
            export.export(shared, tmp_path / "pack.zip")
    finally:
        path.unlink()
    told = str(refused.value)
    assert "1 names or numbers from free text, 2 participant_id" in told  # with and without sub-
    assert "1 pseudonyms" in told
    assert "olkenstein" not in told
    assert not (tmp_path / "pack.zip").exists()


def test_results_that_name_participants_are_not_mixed_with_others(shared, tmp_path):
    named = load_study(shared.path, identifiable=True).as_variant(shared.variant)
    with pytest.raises(PipelineError, match=r"identifiable expected, found .*pseudonyms"):
        running.refuse_other_protection(named)
    manifest = shared.derived / "manifest.json"
    before = manifest.read_text(encoding="utf-8")
    manifest.write_text(before.replace('"protected": true', '"protected": false'), encoding="utf-8")
    try:
        with pytest.raises(NotShareable, match="that may name participants"):
            export.export(shared, tmp_path / "pack.zip")
    finally:
        manifest.write_text(before, encoding="utf-8")


def test_the_small_trial_is_what_it_says():
    people = participants()
    assert people["group"].value_counts().to_dict() == {"verum": 13, "placebo": 9}
    left = people[people["withdrawn_after"].notna()]
    assert left["group"].value_counts().to_dict() == {"verum": 2, "placebo": 1}
    assert [len(attended(row)) for row in left.itertuples()] == [2, 2, 1]
    assert FALL["hamd17"]["verum"] > FALL["hamd17"]["placebo"]
    assert AFFINE[0, 0] == 12
