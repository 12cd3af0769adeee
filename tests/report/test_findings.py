"""Words for numbers: what the sentences say, and what they never say."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from analysis_lib.clinical import numbers as clinical_numbers
from analysis_lib.receptors import numbers as receptors_numbers
from analysis_lib.report import display, findings
from analysis_lib.results import words as results_words
from analysis_lib.study.contract import load_study
from analysis_lib.vbm import numbers as vbm_numbers

NAMES = {"active": "rTMS", "control": "sham"}


def ancova_row(**changes):
    row = {
        "scale": "HAMD-17",
        "visit": "week3",
        "kind": "change",
        "estimate": -4.53,
        "ci_low": -7.06,
        "ci_high": -2.0,
        "p": 0.00123,
        "hedges_g": -0.934,
        "n_active": 17,
        "n_control": 18,
    }
    return row | changes


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
    smallest = "p = .0002 (the smallest that 4999 permutations allow)"
    assert results_words.p_text(1 / 5000, 4999) == smallest
    assert results_words.p_text(2 / 5000, 4999) == "p < .001"
    assert results_words.p_text(0.04, 4999) == "p = .040"
    assert results_words.p_text(0.01, 99) == "p = .01 (the smallest that 99 permutations allow)"


def printed(frame):
    """Rows of a printed table, as a reader sees them."""
    cells = re.findall(r"<td[^>]*>(.*?)</td>", display.table(frame).data)
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
    assert "<th>p</th>" in display.table(pd.DataFrame({"n": [], "p": []})).data


def test_negative_change_says_that_the_score_fell_more():
    assert findings.difference_sentence(ancova_row(), NAMES) == (
        "At week 3, HAMD-17 had fallen 4.5 points more with rTMS than with sham (rTMS − sham: "
        "−4.5 points, 95 % CI −7.1 to −2.0, p = .001; Hedges g −0.93; n = 17 and 18)."
    )


@pytest.mark.parametrize(
    ("kind", "estimate", "expected"),
    [
        ("change", -1.2, "HAMD-17 had fallen 1.2 points more with rTMS than with sham"),
        ("change", 1.2, "HAMD-17 had fallen 1.2 points less with rTMS than with sham"),
        ("value", -1.2, "HAMD-17 was 1.2 points lower with rTMS than with sham"),
        ("value", 1.2, "HAMD-17 was 1.2 points higher with rTMS than with sham"),
    ],
)
def test_sentence_follows_kind_and_direction(kind, estimate, expected):
    estimate = np.float64(estimate)  # as a table has it
    row = pd.Series(ancova_row(kind=kind, estimate=estimate, ci_low=-3, ci_high=3, p=0.4))
    sentence = findings.difference_sentence(row, NAMES)
    assert expected in sentence
    assert f"rTMS − sham: {estimate} points".replace("-", "−") in sentence


@pytest.mark.parametrize("estimate", [0, 0.04, -0.04])
@pytest.mark.parametrize(
    ("kind", "finding"), [("change", "had fallen about as much"), ("value", "was about as high")]
)
def test_a_difference_printed_as_zero_has_no_direction(kind, finding, estimate):
    row = pd.Series(ancova_row(kind=kind, estimate=estimate, ci_low=-3, ci_high=3, p=0.99))
    sentence = findings.difference_sentence(row, NAMES)
    assert f"HAMD-17 {finding} with rTMS as with sham (rTMS − sham: 0.0 points" in sentence


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-3, -1, "The interval excludes a difference of zero. It is 2.0 points wide"),
        (1, 3, "The interval excludes a difference of zero. It is 2.0 points wide"),
        (-1, 3, "The interval includes a difference of zero. It is 4.0 points wide"),
        (0, 3, "The interval includes a difference of zero. It is 3.0 points wide"),
    ],
)
def test_verdict_is_of_the_interval(low, high, says):
    assert findings.interval_verdict(low, high).startswith(says)


def test_verdict_names_what_else_the_interval_allows():
    assert findings.interval_verdict(-1, 3).endswith(
        "compatible with no difference, and with any other from −1.0 to 3.0 points."
    )


def risk_row(**changes):
    row = {
        "scale": "HAMD-17",
        "visit": "week3",
        "outcome": "response",
        "analysis": "missing_is_failure",
        "n_active": 18,
        "n_control": 18,
        "events_active": 12,
        "events_control": 5,
        "risk_difference": 7 / 18,
        "ci_low": 0.06,
        "ci_high": 0.62,
        "p": 0.044,
        "nnt": 18 / 7,
    }
    return row | changes


def test_imputations_are_named_in_words():
    imputed = pd.DataFrame({"analysis": ["mar", "jump_to_reference"], "estimate": [-5.0, -4.7]})
    imputed = imputed.assign(ci_low=-9.0, ci_high=-0.9)
    said = findings.robustness_sentence({"p": 0.017}, imputed, None, {"p_randomisation": 0.014})
    assert said.endswith(
        "missing at random −5.0 (−9.0 to −0.9); jump to reference −4.7 (−9.0 to −0.9)."
    )


def test_risk_sentence_gives_counts_and_the_difference():
    assert findings.risk_sentence(risk_row(), NAMES) == (
        "Response on HAMD-17 at week 3: 12 of 18 with rTMS, 5 of 18 with sham (difference 39 "
        "percentage points, 95 % CI 6 to 62, p = .044; whoever was not rated counts as a failure)."
    )


def vbm_row(**changes):
    row = {
        "contrast": "arm_by_time",
        "n_active": 16,
        "n_control": 18,
        "n_permutations": 4999,
        "n_voxels_fwe": 12,
        "smallest_p": 0.0004,
    }
    return row | changes


REGIONS = pd.DataFrame(
    {
        "region": ["left putamen", "right insula", "left amygdala"],
        "n_voxels_fwe": [10, 2, 0],
        "t": [6.1, -6.5, 4.0],
        "percent": [4.2, -3.1, 1.0],
    }
)


def test_vbm_sentence_lists_the_regions_that_survive_by_t():
    sentence = findings.vbm_sentence(vbm_row(), REGIONS, NAMES)
    assert sentence.startswith("**Change with rTMS less change with sham**: 12 voxels with family-")
    assert "in 2 of 3 grey-matter regions" in sentence
    assert sentence.endswith("right insula (t = −6.5, −3.1 %); left putamen (t = 6.1, +4.2 %).")
    assert "amygdala" not in sentence


def test_vbm_sentence_without_survivors_gives_the_smallest_p():
    row = vbm_row(contrast="control_change", n_voxels_fwe=0, smallest_p=0.31)
    assert findings.vbm_sentence(row, REGIONS, NAMES) == (
        "**Change with sham**: no voxel survives family-wise correction (smallest p = .310)."
    )


def test_nothing_claims_that_there_is_no_effect():
    rows = [
        findings.difference_sentence(ancova_row(estimate=-0.1, ci_low=-3, ci_high=3, p=0.9), NAMES),
        findings.interval_verdict(-3, 3),
        findings.risk_sentence(risk_row(risk_difference=0, ci_low=-0.3, ci_high=0.3, p=1.0), NAMES),
        findings.vbm_sentence(vbm_row(n_voxels_fwe=0, smallest_p=0.9), REGIONS, NAMES),
    ]
    for sentence in rows:
        for claim in ("no effect", "not effective", "did not", "ineffective", "equal", "same"):
            assert claim not in sentence.lower()


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


def test_every_pair_of_receptor_verdicts_has_words():
    assert set(findings.VERDICTS) == {(a, b) for a in (True, False) for b in (True, False)}
    assert len(set(findings.VERDICTS.values())) == 4


# --- notices


def test_simulated_data_are_called_so():
    assert findings.notice(load_study("demo")).startswith(
        "> **SIMULATED DATA**: no patient took part"
    )
    assert findings.notice(load_study("antidepressant")) == ""


def test_quick_run_says_that_its_p_are_not_to_be_quoted():
    found = findings.notice(load_study("antidepressant"), quick=True)
    assert found.startswith("> **QUICK**: few permutations")
    assert findings.notice(load_study("demo"), quick=True).count("> **") == 2


def test_simulated_receptor_maps_are_called_so():
    about = pd.DataFrame({"tracer": ["sch23390", "simulated"]})
    assert findings.receptor_notice(about).startswith("> **SIMULATED RECEPTOR MAPS**")
    real = findings.receptor_notice(about.iloc[:1])
    assert real.startswith("1 receptor")
    assert "SIMULATED" not in real


def correlations():
    n = 4
    columns = ("ci_low", "ci_high", "p_randomisation", "p_spatial")
    table = pd.DataFrame({name: np.full(n, 0.25) for name in columns})
    return table.assign(
        contrast=["arm_by_time"] * 3 + ["active_change"],
        receptor=["D1", "D2", "GABAa", "NET"],
        annotation=["kaller2017", "sandiego2015", "norgaard2021", "ding2010"],
        r=[0.3, -0.6, 0.1, 0.9],
        p_fwe=[0.2, 0.04, 0.6, 0.01],
        p_fwe_spatial=[0.01, 0.02, 0.6, 0.01],
    )


def test_receptor_sentences_rank_by_size_within_the_contrast():
    found = findings.receptor_sentences(correlations(), "arm_by_time", NAMES, n_shown=2)
    assert "1. D2 (sandiego2015): r = −0.60" in found
    assert "2. D1 (kaller2017): r = 0.30" in found
    assert "NET" not in found
    assert "GABAa" not in found
    assert "Family-wise p < .05 holds for 1 of 3 maps under re-randomisation" in found
    assert "for 2 against smooth surrogates" in found


def receptor_tables():
    """The tables of notebook 03 with two receptors; D1 leads."""
    both = {"receptor": ["D1", "D2"], "annotation": ["kaller2017", "sandiego2015"]}
    p = {"p_fwe": [0.01, 0.9], "ci_low": [0.5, 0.1], "ci_high": [0.8, 0.5]}
    main = both | p | {"contrast": "arm_by_time", "r": [0.7, 0.3], "n_parcels": [119, 117]}
    main |= {"p_randomisation": [0.008, 0.4], "p_spatial": 0.03, "p_fwe_spatial": [0.2, 0.9]}
    noise = {"reliability": 0.6, "r_noise_free": [0.9, 0.4], "noise_free_low": 0.55}
    noise |= {"noise_free_high": 1.0, "r_given_density": 0.65, "p_given_density": 0.011}
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
        "coupling_arm": pd.DataFrame(both | p | {"difference": [0.61, 0.2], "p": 0.004}),
        "coupling_improvement": pd.DataFrame(both | p | {"n": 34, "r": 0.37, "p": 0.049}),
    }


KNOWN = {"n_active": 18, "n_control": 17, "detectable": 0.93, "rate": 0.094}


def test_the_receptor_paragraph_says_which_how_strong_under_which_null_and_what_is_open():
    found = findings.receptor_paragraph(receptor_tables(), "arm_by_time", NAMES, KNOWN)
    for words in (
        "Of 2 receptor maps, **D1** (kaller2017)",
        "r = 0.70 over 119 regions (95 % CI 0.50 to 0.80",
        "re-randomised p = .008 (family-wise p = .010)",
        "smooth maps p = .030 (family-wise p = .200, a test that rejects up to 9 % of unrelated",
        f"Family-wise, {findings.VERDICTS[True, False]}.",
        "reliability is 0.60; without its noise r would be about 0.90 (95 % CI 0.55 to 1.00)",
        "density held constant r is 0.65 (p = .011), with all other receptors held constant 0.41",
        "without left putamen, the region that matters most, it is 0.66",
        "0.61 higher with rTMS than with sham",
        "correlation with improvement is 0.37",
        "D2 is next (r = 0.30); the map is the mean of 13 other, healthy people",
        "with 18 and 17 patients a noise-free r of 0.93 is needed",
    ):
        assert words in found


def test_the_receptor_paragraph_claims_nothing_where_nothing_is_found():
    tables = receptor_tables()
    tables["correlations"] = tables["correlations"].assign(
        p_fwe=0.6, n_subjects_map=pd.array([pd.NA, pd.NA], "Int64")
    )
    tables["sensitivity"] = tables["sensitivity"].assign(r_noise_free=np.nan)
    known = KNOWN | {"detectable": np.nan}
    found = findings.receptor_paragraph(tables, "arm_by_time", NAMES, known)
    assert "neither null hypothesis is rejected: nothing here singles out a receptor" in found
    assert "no more reliable than noise" in found
    assert "no correlation would be found in four of five trials" in found
    assert "healthy people" not in found


def test_rates_above_what_is_tolerated_are_marked():
    assert findings.marked_rates([0.05, 0.0701, 0.12]) == [".050", ".070 *", ".120 *"]
    measured = pd.DataFrame(
        {
            "null": ["Moran"] * 4 + ["parametric"],
            "side": ["simulated", "a/1", "b/2", "18 maps, family-wise", "simulated"],
            "range_mm": 20,
            "rate": [0.05, 0.06, 0.09, 0.08, 0.3],
        }
    )
    html = display.rate_table(measured).data
    cells = [".050", ".090 *", ".080 *", ".300 *"]
    places = [html.index(cell) for cell in cells]
    assert places == sorted(places)
    assert "20 mm" in html
    assert ".060" not in html  # not the worst of the real maps


# --- numbers that texts quote


def test_every_quoted_number_has_its_source(tiny):
    study = tiny.write()
    flow = {arm: {"randomised": 18, "analysed": 17} for arm in ("active", "control")}
    ancova = pd.DataFrame([ancova_row(visit="week2"), ancova_row(scale="HAMA", visit="week2")])
    responders = pd.DataFrame(
        [
            risk_row(visit="week2"),
            risk_row(visit="week2", analysis="observed", events_active=99),
            risk_row(visit="week1", events_active=98),
        ]
    )
    numbers = clinical_numbers.clinical_numbers(study, flow, ancova, responders)
    assert numbers["flow.active.randomised"] == (18, "flow.json")
    assert numbers["hamd17.week2.estimate"] == (-4.53, "mmrm_contrasts.tsv")
    assert numbers["hama.week2.p"] == (0.00123, "mmrm_contrasts.tsv")
    assert numbers["hamd17.week2.response.events_active"] == (12, "responders.tsv")
    assert not [key for key in numbers if "week1" in key]


def test_numbers_of_images_and_receptors_are_named_by_contrast():
    assert vbm_numbers.vbm_numbers(pd.DataFrame([vbm_row()]))["arm_by_time.smallest_p"] == (
        0.0004,
        "summary.tsv",
    )
    found = receptors_numbers.receptor_numbers(receptor_tables(), 0.93)
    assert found["arm_by_time.kaller2017.r"] == (0.7, "correlations.tsv")
    assert found["sensitivity.active_change.kaller2017.reliability"] == (0.1, "sensitivity.tsv")
    assert found["coupling_arm.sandiego2015.difference"] == (0.2, "coupling_arm.tsv")
    assert found["detectable.minimum_detectable_r"] == (0.93, "settings.json")


def test_a_p_from_a_fitted_tail_is_not_called_the_smallest_possible():
    assert results_words.p_text(1.7e-5, 600) == "p = 1.7e-05 (fitted tail of 600 permutations)"
    assert results_words.p_text(1 / 601, 600).endswith("(the smallest that 600 permutations allow)")
