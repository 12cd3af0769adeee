"""Words for numbers: what the sentences say, and what they never say."""

import html
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis_lib.clinical import numbers as clinical_numbers
from analysis_lib.receptors import numbers as receptors_numbers
from analysis_lib.report import display, quoting, sentences
from analysis_lib.results import section, writing
from analysis_lib.results import words as results_words
from analysis_lib.study.contract import load_study
from analysis_lib.vbm import numbers as vbm_numbers
from analysis_lib.vbm import planted_truth

STUDY = SimpleNamespace(arm_names={"active": "rTMS", "control": "sham"}, protected=False)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.0234, "p = .023"),
        (0.001, "p = .001"),
        (0.0009999, "p < .001"),
        (0.5, "p = .500"),
        (1.0, "p > .999"),
        (0.9994, "p = .999"),
        (1e-12, "p < .001"),
        (np.nan, "p not available"),
        (None, "p not available"),
    ],
)
def test_p_has_three_decimals_and_no_leading_zero(p, expected):
    assert results_words.p_text(p) == expected


def test_smallest_possible_permutation_p_is_given_as_it_is():
    smallest = "p = .0002 (the smallest that 4,999 permutations allow)"
    assert results_words.p_text(1 / 5000, 4999) == smallest
    assert results_words.p_text(2 / 5000, 4999) == "p < .001"
    assert results_words.p_text(0.04, 4999) == "p = .040"
    assert results_words.p_text(0.01, 99) == "p = .01 (the smallest that 99 permutations allow)"


def printed(frame):
    """Rows of a printed table, as a reader sees them."""
    cells = re.findall(r"<td[^>]*>(.*?)</td>", display.table(frame, STUDY).data)
    cells = [html.unescape(cell) for cell in cells]
    return [cells[i : i + frame.shape[1]] for i in range(0, len(cells), frame.shape[1])]


def test_table_prints_counts_whole_estimates_to_two_and_p_to_three_decimals():
    frame = pd.DataFrame(
        {
            "n": [3, 4],
            "estimate": [1.234, np.nan],
            "p": [0.0004, 0.5],
            "p_gg": [np.nan, 0.04],
            "region": ["a < b", None],
        }
    )
    before = frame.copy()
    assert printed(frame) == [
        ["3", "1.23", "< .001", "–", "a < b"],
        ["4", "–", ".500", ".040", "–"],
    ]
    pd.testing.assert_frame_equal(frame, before)


def test_table_without_rows_still_prints_its_columns():
    assert "<th>p</th>" in display.table(pd.DataFrame({"n": [], "p": []}), STUDY).data


def test_table_has_heads_in_words_and_codes_in_the_studys_words():
    frame = pd.DataFrame(
        {
            "arm": ["active", "both"],
            "visit": ["week1", "all"],
            "contrast": ["arm_by_time", "control_change"],
            "analysis": ["mar", "jump_to_reference"],
            "exhaustive": [True, False],
            "n_control": [3, 4],
            "risk_difference": [0.25, np.nan],
            "ci_low": [-0.104, np.nan],
            "ci_high": [0.5, np.nan],
            "p_fwe": [0.04, 0.5],
        }
    )
    shown = html.unescape(display.table(frame, STUDY, "correlations").data)
    heads, cells = re.findall("<th>(.*?)</th>", shown), re.findall("<td.*?>(.*?)</td>", shown)
    assert dict(zip(heads, zip(cells[:9], cells[9:], strict=True), strict=True)) == {
        "Arm": ("rTMS", "both"),
        "Visit": ("week 1", "all visits, averaged"),
        "Contrast": ("Change, rTMS − sham", "Change with sham"),
        "Missing scores": ("missing at random", "jump to reference"),
        "All re-randomisations made": ("yes", "no"),
        "n, sham": ("3", "4"),
        "Risk difference, percentage points": ("25", "–"),
        "95 % CI": ("−10 to 50", "–"),
        "p, no treatment effect (family-wise)": (".040", ".500"),
    }


def test_contrasts_and_visits_as_columns_have_heads_in_words_too():
    effects = pd.DataFrame({"arm_by_time": [1.0]}, pd.Index(["left putamen"], name="region"))
    assert "<th>Change, rTMS − sham, %</th>" in display.table(effects, STUDY, index=True).data
    visits = pd.DataFrame({"week1": [1], "baseline": [2]}, [0]).rename_axis(columns="visit")
    assert "<th>baseline</th>" in display.table(visits, STUDY).data


# --- sentences


@pytest.fixture
def said(tiny, monkeypatch, tmp_path):
    """Write tables of a section, and get its sentences: one macro, or all in paragraphs."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    study = tiny.write()

    def of(name, macro=None, *arguments, **tables):
        writing.write(
            study.derived / name,
            {
                f"{table.replace('__', '.')}.tsv": pd.DataFrame(rows)
                for table, rows in tables.items()
            }
            | {"settings.json": {"quick": False}},
        )
        results = section.Section(study, name)
        if macro is None:
            return html.unescape(sentences.findings(results))
        quotes = quoting.Quotes(study, results)
        module = sentences.sentences(quotes, sentences.environment())
        return html.unescape(" ".join(str(getattr(module, macro)(*arguments)).split()))

    return of


def contrast_row(**changes):
    row = {"scale": "HAMD-17", "visit": "week2", "kind": "change", "estimate": -4.26}
    row |= {"ci_low": -7.61, "ci_high": -0.92, "p": 0.013, "hedges_g": -0.844}
    row |= {"hedges_g_raw": -0.613, "rated_active": 10, "rated_control": 8}
    row["favours"] = "active" if changes.get("estimate", -5) < 0 else "control"
    return row | {"n_active": 12, "n_control": 9} | changes


def test_n_that_were_all_rated_are_said_once(said):
    row = contrast_row(rated_active=12, rated_control=9)
    found = said("clinical", "difference", "HAMD-17", "week2", mmrm_contrasts=[row])
    assert "; n = 12 and 9, all of them rated at week 2)." in found


def test_the_sentence_on_a_difference_gives_direction_interval_p_and_n_of_each_arm(said):
    assert said("clinical", "difference", "HAMD-17", "week2", mmrm_contrasts=[contrast_row()]) == (
        "At week 2, HAMD-17 had fallen 4.3 points more with active than with sham (active − sham: "
        "−4.3 points, 95 % CI −7.6 to −0.9, p = .013; Hedges g −0.84 by the model's SD, −0.61 by "
        "the raw SD; n = 12 and 9 in the model, of whom 10 and 8 rated at week 2)."
    )


@pytest.mark.parametrize(
    ("kind", "estimate", "expected"),
    [
        ("change", -1.2, "HAMD-17 had fallen 1.2 points more with active than with sham"),
        ("change", 1.2, "HAMD-17 had fallen 1.2 points less with active than with sham"),
        ("value", -1.2, "HAMD-17 was 1.2 points lower with active than with sham"),
        ("value", 1.2, "HAMD-17 was 1.2 points higher with active than with sham"),
        ("change", 0.04, "HAMD-17 had fallen about as much with active as with sham"),
        ("value", -0.04, "HAMD-17 was about as high with active as with sham"),
    ],
)
def test_a_sentence_follows_kind_and_direction(said, kind, estimate, expected):
    row = contrast_row(kind=kind, estimate=estimate)
    assert expected in said("clinical", "difference", "HAMD-17", "week2", mmrm_contrasts=[row])


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-3, -1, "The interval excludes a difference of zero, but the size"),
        (1, 3, "The interval excludes a difference of zero, but the size"),
        (-1, 3, "compatible with no difference, and with any difference from −1.0 to 3.0 points."),
        (0, 3, "The interval includes zero: "),
    ],
)
def test_the_verdict_is_of_the_interval(said, low, high, says):
    row = contrast_row(ci_low=low, ci_high=high)
    assert says in said("clinical", "interval", "HAMD-17", "week2", mmrm_contrasts=[row])


def risk_row(**changes):
    row = {"scale": "HAMD-17", "visit": "week2", "outcome": "response"}
    row |= {"analysis": "missing_is_failure", "n_active": 12, "n_control": 9}
    row |= {"events_active": 7, "events_control": 2, "risk_difference": 0.361}
    row |= {"nnt": 1 / 0.361, "nnt_ci_low": 1 / 0.644, "nnt_ci_high": -20.0}
    row |= {"excluded_active": 0, "excluded_control": 0}
    return row | {"ci_low": -0.05, "ci_high": 0.644, "p": 0.113} | changes


def test_the_sentence_on_response_gives_each_arm_its_own_events_and_n(said):
    rows = [risk_row(), risk_row(analysis="observed", events_active=3)]
    assert said("clinical", "share", "response", "HAMD-17", "week2", responders=rows) == (
        "Response on HAMD-17 at week 2: 7 of 12 participants with active, 2 of 9 with sham "
        "(difference 36 percentage points, 95 % CI −5 to 64, p = .113; number needed to treat: "
        "NNTB 2.8, 95 % CI NNTB 1.6 to ∞ to NNTH 20.0)."
    )


def test_those_to_whom_remission_does_not_apply_are_said_to_be_left_out(said):
    row = risk_row(outcome="remission", excluded_active=2)
    found = said("clinical", "share", "remission", "HAMD-17", "week2", responders=[row])
    assert "2 and 0 participants are not counted: their baseline is missing, or already at" in found


def test_response_with_scores_imputed_stands_beside_the_counts(said):
    imputed = risk_row(analysis="multiple_imputation", risk_difference=0.42, p=0.031)
    files = {"responders": [risk_row(), imputed], "missing_patterns": [PATTERN]}
    found = said("clinical", "share", "response", "HAMD-17", "week2", **files)
    assert found.endswith(
        "With missing scores imputed as missing at random, the difference is 42 percentage points "
        "(95 % CI −5 to 64, p = .031)."
    )


def test_no_difference_is_zero_and_not_minus_zero(said):
    row = risk_row(risk_difference=-0.001)
    found = said("clinical", "share", "response", "HAMD-17", "week2", responders=[row])
    assert "difference 0 percentage points" in found


def imputed(**changes):
    row = {"scale": "HAMD-17", "visit": "week2", "estimate": -5.0, "ci_low": -9.0, "ci_high": -0.9}
    row |= {"imputed_active": 2, "imputed_control": 1, "shifted_active": 2}
    return row | {"analysis": "mar"} | changes


PATTERN = {"pattern": "10", "n_active": 1, "n_control": 0, "missingness": "monotone"}


@pytest.mark.parametrize(
    ("tip", "says"),
    [
        ({"status": "tips", "delta_interpolated": 2.38}, "The result would be lost (p = .05) if"),
        ({"status": "does not tip", "delta_before": 12.0}, "The result holds (p < .05) even if"),
        ({"status": "not significant at delta 0"}, None),
    ],
)
def test_imputations_and_the_tipping_point_are_told_in_words(said, tip, says):
    row = {"visit": "week2", "delta_before": np.nan, "delta_interpolated": np.nan} | tip
    row |= {"shifted": "missing", "shifted_active": 2}
    tables = {"imputation": [imputed(), imputed(analysis="jump_to_reference", estimate=-4.7)]}
    tables |= {"missing_patterns": [PATTERN], "tipping_point": [row]}
    found = said("clinical", "missing", "HAMD-17", "week2", **tables)
    assert "−5.0 points (95 % CI −9.0 to −0.9) if they had continued like similar" in found
    assert "−4.7 points (95 % CI −9.0 to −0.9) if they had fallen back to the mean of the" in found
    assert "the mean of the sham arm at once" in found
    assert says is None or says in found
    assert ("the 2 unrated active participants had done" in found) == (says is not None)
    assert ("points worse" in found) == (says is not None)


def test_where_nobody_is_shifted_nothing_is_said_of_robustness(said):
    tip = {"visit": "week2", "status": "does not tip", "delta_before": 12.0, "shifted": "event"}
    jump = imputed(analysis="jump_to_reference", shifted_active=0)
    tables = {"imputation": [imputed(shifted_active=0), jump], "missing_patterns": [PATTERN]}
    tables["tipping_point"] = [tip | {"delta_interpolated": np.nan, "shifted_active": 0}]
    found = said("clinical", "missing", "HAMD-17", "week2", **tables)
    assert "The result holds" not in found
    assert "mean of the sham arm" not in found
    assert "move nobody and say nothing about robustness" in found


def test_events_strategies_and_those_not_in_the_model_are_counted(said):
    event = {"event": "headache", "strategy": "treatment_policy", "handled": "used"}
    event |= {"n_active": 3, "n_control": 1, "ratings_active": 5, "ratings_control": 2}
    assert said("clinical", "events", intercurrent=[event]) == (
        "3 and 1 participants stopped treatment (headache); under the strategy *treatment "
        "policy*, 5 and 2 later ratings were used."
    )


def test_what_was_not_computed_is_told_with_its_reason(said):
    notes = {"part": ["Table 1", "Tipping point"], "reason": ["nobody", "no scores"]}
    assert said("clinical", "notes", "clinical", notes=notes) == (
        "**Not computed**: Table 1 (nobody); Tipping point (no scores)."
    )


def test_nothing_is_said_of_missing_scores_where_none_is_missing(said):
    tables = {
        "imputation": [imputed()],
        "missing_patterns": [PATTERN | {"missingness": "complete"}],
    }
    assert said("clinical", "missing", "HAMD-17", "week2", **tables) == ""


def test_the_first_finding_is_the_primary_one_and_other_scales_follow(said):
    rows = [contrast_row(scale="HAMA"), contrast_row(), contrast_row(visit="week1")]
    found = said("clinical", mmrm_contrasts=rows, responders=[risk_row()])
    first, second, third = found.split("\n\n")
    assert first.startswith("At week 2, HAMD-17 had fallen")
    assert second.startswith("At week 2, HAMA had fallen")
    assert third.endswith("In the counts, unrated participants are failures.")


def vbm_row(contrast="arm_by_time", **changes):
    row = {"contrast": contrast, "n_active": 16, "n_control": 18, "n_permutations": 4999}
    row |= {"n_voxels_fwe": 12, "smallest_p": 0.0004, "df": 32, "true_discoveries": 0.3278}
    return row | {"n_voxels_fwe_cluster": 30, "n_voxels_fwe_tfce": 20} | changes


REGIONS = {
    "region": ["left putamen", "right insula", "left amygdala"],
    "n_voxels_fwe": [10, 2, 0],
    "t": [6.1, -6.5, 4.0],
    "percent": [4.2, -3.1, 1.0],
}


PEAKS = {
    "cluster": ["1", "1a", "2", "3"],
    "region": ["Putamen", "insula", None, "brain stem"],
    "hemisphere": ["left", "right", None, "midline"],
    **{"x": [-22, 40, 0, 1], "y": [8, 2, 60, -20], "z": [0, -4, 70, -30]},
    **{"t": [6.1, -6.5, 7.0, 9.0], "percent": [5.2, -4.1, 6.0, 1.0]},
    "p_fwe_t": [0.01, 0.004, 0.02, 0.06],
}


def test_peaks_that_survive_are_those_of_the_table_of_clusters_with_their_own_change(said):
    found = said(
        "vbm", summary=[vbm_row()], arm_by_time_regions=REGIONS, arm_by_time_clusters=PEAKS
    )
    assert found == (
        "**Change, active − sham** (n = 16 active, 18 sham): 12 voxels survive family-wise "
        "correction (max-t, p < .05; smallest p = .0004). They lie in 2 of 3 grey-matter regions. "
        "Highest peaks: no region of the atlas (t = 7.0 at 0, 60, 70 mm, change of this voxel "
        "+6.0 %); right insula (t = −6.5 at 40, 2, −4 mm, change of this voxel −4.1 %); left "
        "putamen (t = 6.1 at −22, 8, 0 mm, change of this voxel +5.2 %). 30 voxels lie in clusters "
        "that survive by extent, and 20 survive by TFCE. At least 32 % of all voxels changed (95 % "
        "bound)."
    )


def test_a_bound_below_one_percent_is_not_told(said):
    rows = [vbm_row(true_discoveries=0.009, n_voxels_fwe=0)]
    assert "of all voxels changed" not in said("vbm", summary=rows)


@pytest.mark.parametrize(("p_rest", "global_"), [(0.01, True), (0.2, False)])
def test_a_set_of_regions_is_told_beside_all_others(said, p_rest, global_):
    sets = {
        "contrast": "arm_by_time",
        "region_set": ["frontal_limbic", "frontal_limbic, all others"],
        "n_regions": [12, 107],
        "true_discoveries": [0.6999, 0.5],
        "p_set": [0.002, p_rest],
    }
    found = said("vbm", summary=[vbm_row(n_voxels_fwe=0)], region_sets=sets)
    assert (
        "**The set frontal limbic** (12 regions, named beforehand), difference between the arms: "
        "at least 69 % of its voxels changed (p = .002), and at least 50 % of those in all other"
    ) in found
    assert ("therefore not confined to the set" in found) == global_


def test_no_change_is_told_of_the_contrast_and_the_bound(said):
    rows = [vbm_row("control_change", n_voxels_fwe=0), vbm_row(n_voxels_fwe=0)]
    equal = {"contrast": ["control_change"] * 2 + ["arm_by_time"] * 2, "region": list("abab")}
    equal |= {"bound": 1.5, "p_equivalence_holm": [0.01, 0.04, 0.3, 0.04]}
    between, control = said("vbm", summary=rows, equivalence=equal).split("\n\n")[-2:]
    assert "change with sham was shown to be smaller than the declared bound of 1.5 % in" in control
    assert "in 2 of 2 regions (two one-sided tests, Holm)" in control
    assert "in 1 of 2 regions" in between


def test_the_relation_to_improvement_has_the_highest_t_of_each_region(said):
    regions = {name: values for name, values in REGIONS.items() if name != "percent"}
    found = said(
        "vbm", summary=[vbm_row("improvement")], improvement_regions=regions | {"r": [0.5, -0.6, 0]}
    )
    assert "by region: right insula (voxel t = −6.5; mean of the region r = −0.60); left" in found


def test_where_nothing_survives_the_smallest_p_is_given_and_no_region(said):
    row = vbm_row("control_change", n_active=0, n_voxels_fwe=0, smallest_p=0.31)
    found = said("vbm", summary=[row], control_change_regions=REGIONS)
    assert "**Change with sham** (n = 18 sham): no voxel survives" in found
    assert "smallest p = .310)" in found
    assert "putamen" not in found


@pytest.mark.parametrize(
    ("p", "says"),
    [
        (1 / 5000, "p = .0002, the smallest that 4,999 permutations allow"),
        (1.7e-5, "p = .000017, from a tail fitted to 4,999 permutations"),
    ],
)
def test_the_smallest_p_says_what_limits_it(said, p, says):
    assert says in said("vbm", "survivors", "arm_by_time", summary=[vbm_row(smallest_p=p)])


@pytest.mark.parametrize("known", [True, False])
def test_what_survives_where_nothing_was_planted_is_called_a_false_alarm(said, monkeypatch, known):
    monkeypatch.setattr(planted_truth, "is_known", lambda study: known)
    rows = [vbm_row("control_change", n_active=0), vbm_row("active_change", n_control=0)]
    found = said("vbm", summary=rows, control_change_regions=REGIONS, active_change_regions=REGIONS)
    control, active = found.split("\n\n")[-2:]
    assert ("This is a false alarm: no change was planted in this arm." in control) == known
    assert "false alarm" not in active


def rival_row(**changes):
    row = {"contrast": "arm_by_time", "receptor": "D1", "annotation": "kaller2017"}
    row |= {"rival": "D2", "rival_annotation": "sandiego2015", "difference": 0.4}
    row |= {"ci_low": -0.1, "ci_high": 0.6, "share_ahead": 0.9, "share_first": 0.8}
    return row | changes


def receptor_tables():
    """The tables of notebook 03 with two receptors; D1 leads."""
    both = {"receptor": ["D1", "D2"], "annotation": ["kaller2017", "sandiego2015"]}
    p = {"p_fwe": [0.01, 0.9], "ci_low": [0.5, 0.1], "ci_high": [0.8, 0.5]}
    main = both | p | {"contrast": "arm_by_time", "r": [0.7, 0.3], "n_parcels": [119, 117]}
    main |= {"p_randomisation": [0.008, 0.4], "p_spatial": 0.03, "p_fwe_spatial": [0.02, 0.9]}
    main |= {"r_anatomy": 0.65, "p_spatial_anatomy": 0.07, "p_fwe_spatial_anatomy": [0.11, 0.8]}
    noise = {"reliability": 0.6, "r_noise_free": [0.9, 0.4], "noise_free_low": 0.55}
    noise |= {"noise_free_high": 1.0}
    noise |= {"region_without": "left putamen", "r_without": 0.66, "contrast": "arm_by_time"}
    other = {"r_given_others": 0.41, "p_given_others": 0.02, "contrast": "arm_by_time"}
    return {
        "correlations": pd.DataFrame(main | {"n_subjects_map": pd.array([13, 55], "Int64")}),
        "sensitivity": pd.concat(
            [
                pd.DataFrame(both | noise | {"contrast": "active_change", "reliability": 0.1}),
                pd.DataFrame(both | noise),
            ]
        ),
        "given_others": pd.DataFrame(both | other | {"p_fwe": 0.06}),
        "coupling_arm": pd.DataFrame(
            both | p | {"difference": [-0.61, 0.2], "t": [5.1, 7.3], "p": 0.004}
        ),
        "coupling_improvement": pd.DataFrame(
            both | p | {"scale": "HAMD-17", "n": 34, "r": 0.37, "p": 0.049}
        ),
        "rivals": pd.DataFrame([rival_row()]),
        "spatial_rates": pd.DataFrame(
            {
                "fits": [True, True, False],
                "anatomy_held": [False, True, True],
                "rate_single": [0.08, 0.06, 0.5],
                "rate_family": [0.09, 0.07, 0.5],
            }
        ),
        "structure_correlations": pd.concat(
            pd.DataFrame(main | {"structure": part, "r": r})
            for part, r in (("all", [0.7, 0.3]), ("cortex", [0.6, -0.65]), ("subcortex", [0.9, 0]))
        ),
    }


def test_an_interval_that_is_not_known_is_said_to_be_so_once(said):
    rows = receptor_tables()["structure_correlations"].assign(ci_low=np.nan, ci_high=np.nan)
    found = said("receptors", "by_structure", structure_correlations=rows)
    assert "over 119 regions (95 % CI not available); difference" in found


def test_findings_on_receptors_say_which_how_strong_under_which_null_and_what_is_open(said):
    shares = {"receptor": ["D1", "D2"], "total_dominance": [0.1, 0.2], "percent": [33.3, 66.7]}
    found = said("receptors", **receptor_tables(), dominance=shares | {"p_fwe": [0.3, 0.01]})
    for words in (
        "Of 2 receptor maps, **D1** (kaller2017) is the most closely correlated with the ",
        "r = 0.70 over 119 regions (95 % CI 0.50 to 0.80)",
        "difference in slope between the arms, p = .008 (family-wise p = .010); among equally "
        "smooth maps, p = .030 (family-wise p = .020)",
        "grey-matter density), r is 0.65 (among equally smooth maps p = .070, family-wise "
        "p = .110)",
        "once head anatomy is held constant: nothing singles this receptor out",
        "losing the correlation that way is not evidence of an artefact",
        "- D2 (sandiego2015): r = 0.30",
        "and about as symmetric as this one, p ≤ .05 in 8 % (one map) and 9 % (family-wise); with "
        "anatomy held constant in 6 % and 7 %.",
        "**In parts of the brain**, each with its own surrogates: in the subcortex alone, D1 "
        "(kaller2017) leads 2 maps: r = 0.90 over 119 regions",
        "In the cortex alone, D2 (sandiego2015) leads 2 maps: r = −0.65 over 117 regions (95 % CI "
        "0.10 to 0.50)",
        "p < .05: 1 of 2 for the difference in slope between the arms, 1 against equally smooth "
        "maps, 0 with anatomy held constant",
        "D1 leads its closest rival, D2 (sandiego2015), by 0.40 in |r| (95 % CI −0.10 to 0.60), "
        "and is ahead of it in 90 % of resampled trials and of all rivals at once in 80 %; the "
        "data do not decide between the two",
        "The receptor with the largest t of the difference in slope is D2 (sandiego2015, t = 7.30)",
        "reliability of the effect map is 0.60; without its noise, r would be about 0.90 (95 % CI "
        "0.55 to 1.00)",
        "Without the left putamen, the most influential region, r is 0.66",
        "With all other receptors held constant, r is 0.41 (difference in slope: p = .020, "
        "family-wise p = .060)",
        "was 0.61 lower with active than with sham (95 % CI 0.50 to 0.80",
        "correlation with improvement on HAMD-17 was 0.37",
        "shares of the explained variance are those of D2 (67 %) and D1 (33 %)",
        "not the receptor with the largest correlation: the two ways of choosing disagree",
        "equally smooth maps: 1 of 2 receptors",
        "The map of D1 is an average over 13 other people. A correlation between maps does not",
    ):
        assert words in found
    assert "named in the question" not in found  # D1 leads


def test_the_receptor_that_the_question_names_is_told_of_where_another_leads(said):
    tables = receptor_tables()
    tables["correlations"]["r"] = [-0.3, 0.7]
    found = said("receptors", correlations=tables["correlations"])
    assert "**The receptor named in the question**: D1 (kaller2017): r = −0.30" in found


def test_findings_on_receptors_claim_nothing_where_nothing_is_found(said):
    tables = receptor_tables()
    tables["correlations"] = tables["correlations"].assign(
        p_fwe=0.6, n_subjects_map=pd.array([pd.NA, pd.NA], "Int64")
    )
    tables["sensitivity"] = tables["sensitivity"].assign(r_noise_free=np.nan)
    found = said("receptors", **tables)
    assert "Neither null hypothesis is rejected: nothing here singles out a receptor" in found
    assert "no more reliable than noise" in found
    assert "other people" not in found


def test_every_pair_of_verdicts_has_words_of_its_own(said):
    pairs = [(a, b) for a in (0.01, 0.5) for b in (0.01, 0.5)]
    leads = [{"p_fwe": a, "p_fwe_spatial": 0.5, "p_fwe_spatial_anatomy": b} for a, b in pairs]
    verdicts = [said("receptors", "verdict", lead) for lead in leads]
    assert len(set(verdicts)) == 4
    assert ["is singled out" in words for words in verdicts] == [True, False, False, False]


def test_only_the_anatomy_aware_p_singles_a_receptor_out(said):
    lead = {"p_fwe": 0.01, "p_fwe_spatial": 0.01, "p_fwe_spatial_anatomy": 0.5}
    found = said("receptors", "verdict", lead)
    assert "nothing singles this receptor out" in found
    assert "not evidence of an artefact" in found


@pytest.mark.parametrize(("low", "words"), [(0.1, "the lead is clear"), (-0.1, "do not decide")])
def test_the_rival_and_the_dominance_are_told_whoever_wins(said, low, words):
    tables = receptor_tables() | {"rivals": pd.DataFrame([rival_row(ci_low=low)])}
    shares = {"receptor": ["D1", "D2"], "total_dominance": [0.2, 0.1], "percent": [66.7, 33.3]}
    found = said("receptors", **tables, dominance=shares | {"p_fwe": [0.3, 0.01]})
    assert words in found
    assert "those of D1 (67 %) and D2 (33 %)" in found
    assert "disagree" not in found


def test_a_receptor_without_rivals_is_told_so(said):
    tables = receptor_tables()
    del tables["rivals"]
    assert "no map of another receptor" in said("receptors", "rivals", **tables)


def test_what_was_not_recorded_is_said_to_be_missing(said):
    found = said("conduct")
    assert found.split("\n\n") == [
        "Adverse events were not recorded.",
        "Participants' guesses of their treatment were not recorded, so blinding cannot be "
        "assessed.",
        "Dose and adherence were not recorded.",
    ]


ITEMS = {
    "scale": "HAMD-17",
    "item": ["a", "b", "c"],
    "label": ["sleep", "mood", "weight"],
    "estimate": [-0.4, -0.9, 0.7],
    "ci_low": [-0.9, -1.5, 0.1],
    "ci_high": [0.1, -0.3, 1.3],
}


def test_items_are_counted_by_their_intervals_and_the_largest_difference_is_named(said):
    assert said("conduct", "items", item_differences=ITEMS) == (
        "**Items**: the intervals of 1 of 3 items lie below zero (favouring active) and of 1 above "
        "zero. The largest difference is that of *mood* (−0.90 points, 95 % CI −1.50 to −0.30)."
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.9, -0.1, "the fitted lines fall faster with active."),
        (0.1, 0.9, "the fitted lines fall faster with sham."),
        (-0.5, 0.5, "the interval includes equal slopes."),
    ],
)
def test_growth_curves_have_a_verdict(said, low, high, verdict):
    row = {"scale": "HAMD-17", "estimate": (low + high) / 2, "ci_low": low, "ci_high": high}
    assert said("conduct", "growth_verdict", growth=[row]) == f"For HAMD-17, {verdict}"


def test_nothing_claims_that_there_is_no_effect(said):
    null = contrast_row(estimate=-0.1, ci_low=-3, ci_high=3, p=0.9)
    found = said("clinical", mmrm_contrasts=[null], responders=[risk_row(p=1.0)])
    found += said("vbm", summary=[vbm_row(n_voxels_fwe=0, smallest_p=0.9)])
    for claim in ("no effect", "not effective", "did not", "ineffective", "equal", "same"):
        assert claim not in found.lower()


def test_findings_of_results_under_way_are_those_of_their_own_tables(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    study = tiny.write()
    writing.write(study.derived / "vbm", {"summary.tsv": pd.DataFrame([vbm_row(n_voxels_fwe=0)])})
    made = section.begin(study, "vbm", quick=True)
    row = vbm_row(n_voxels_fwe=0, smallest_p=0.5)
    made.keep(summary=pd.DataFrame([row]))
    found = sentences.findings(made)
    assert found.startswith("> **QUICK**: few permutations")
    assert "smallest p = .500" in found


# --- notation


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("week3", "week 3"),
        ("t1", "t1"),
        ("baseline", "baseline"),
        ("all", "all visits, averaged"),
        ("rated at week1: 16; no image at Day14: 2", "rated at week 1: 16; no image at Day 14: 2"),
    ],
)
def test_a_visit_has_its_number_apart(label, words):
    assert results_words.visit_words(label) == words


def test_a_minus_is_no_hyphen_and_a_hyphen_stays_one():
    words = "HAMD-17, 5-HTT: -5.0 (-9.0 to -.9), r=-0.1, sub-01, 2-sided, re-run"
    assert results_words.true_minus(words) == (
        "HAMD-17, 5-HTT: −5.0 (−9.0 to −.9), r=−0.1, sub-01, 2-sided, re-run"
    )


# --- notices


def test_simulated_data_are_called_so():
    assert sentences.notice(load_study("demo")).startswith(
        "> **SIMULATED DATA**: no patient took part"
    )
    assert sentences.notice(load_study("antidepressant")) == ""


def test_quick_run_says_that_its_p_are_not_to_be_quoted():
    found = sentences.notice(load_study("antidepressant"), quick=True)
    assert found.startswith("> **QUICK**: few permutations")
    assert sentences.notice(load_study("demo"), quick=True).count("> **") == 2


def test_it_is_said_where_receptor_densities_come_from():
    kinds = ["bundled", "volumes", "volumes", "volumes"]
    about = pd.DataFrame({"densities": kinds}, index=["a/1", "b/2", "c/3", "local/mine"])
    assert sentences.receptor_notice(about) == (
        "Receptor and transporter maps: 2 from volumes in the cache, md5 checked; 1 from regional "
        "densities in `data/receptors` (`fetch receptors` gets the volumes); 1 from files of the "
        "study."
    )


# --- numbers that texts quote


def test_every_quoted_number_has_its_source(tiny):
    study = tiny.write()
    flow = {arm: {"randomised": 18, "analysed": 17} for arm in ("active", "control")}
    ancova = pd.DataFrame(
        [contrast_row(estimate=-4.53, p=0.00123), contrast_row(scale="HAMA", p=0.00123)]
    )
    responders = pd.DataFrame(
        [
            risk_row(),
            risk_row(analysis="observed", events_active=99),
            risk_row(visit="week1", events_active=98),
        ]
    )
    tables = {"mmrm_contrasts": ancova, "responders": responders}
    results = SimpleNamespace(table=tables.get, json={"flow": flow}.get, has=tables.__contains__)
    numbers = clinical_numbers.clinical_numbers(study, results)
    assert numbers["flow.active.randomised"] == (18, "flow.json")
    assert numbers["hamd17.week2.estimate"] == (-4.53, "mmrm_contrasts.tsv")
    assert numbers["hama.week2.p"] == (0.00123, "mmrm_contrasts.tsv")
    assert numbers["hamd17.week2.response.events_active"] == (7, "responders.tsv")
    assert not [key for key in numbers if "week1" in key]


def test_numbers_of_images_and_receptors_are_named_by_contrast():
    assert vbm_numbers.vbm_numbers(pd.DataFrame([vbm_row()]))["arm_by_time.smallest_p"] == (
        0.0004,
        "summary.tsv",
    )
    found = receptors_numbers.receptor_numbers(receptor_tables())
    assert found["arm_by_time.kaller2017.r"] == (0.7, "correlations.tsv")
    assert found["sensitivity.active_change.kaller2017.reliability"] == (0.1, "sensitivity.tsv")
    assert found["coupling_arm.sandiego2015.difference"] == (0.2, "coupling_arm.tsv")


def test_a_p_from_a_fitted_tail_is_not_called_the_smallest_possible():
    assert results_words.p_text(1.7e-5, 600) == "p = .000017 (fitted tail of 600 permutations)"
    assert results_words.p_text(1 / 601, 600).endswith("(the smallest that 600 permutations allow)")


def test_the_answer_of_a_table_of_regions_leads_with_the_largest_t(tiny):
    """There are no voxels whose survival could be counted."""
    tiny.content |= {"arms": "none", "imaging": {"table": "regions.tsv", "atlas": "aal"}}
    study = tiny.write()
    rows = {"region": ["insula", "hippocampus"], "percent": [1.0, 2.7], "ci_low": [0.1, 1.2]}
    rows |= {"ci_high": [1.9, 4.2], "t": [2.0, -4.0], "p_fwe_t": [0.2, 0.01]}
    summary = {"contrast": ["change"], "n": [15], "n_permutations": [199]}
    tables = {"change_regions.tsv": pd.DataFrame(rows), "summary.tsv": pd.DataFrame(summary)}
    writing.write(study.derived / "vbm", tables)
    said = sentences.sentences(quoting.Quotes(study), sentences.environment())
    text = " ".join(str(said.answer_vbm()).split())
    assert "in the hippocampus, the region with the largest |t|" in text
    assert "1 of 2 regions survive" in text
