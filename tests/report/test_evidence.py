"""Numbers of the report: how they are printed, where they come from, and what is refused."""

import re

import numpy as np
import pandas as pd
import pytest

from analysis_lib.report import embedding, manifest, quoting, sentences
from analysis_lib.results import words, writing

CONTRASTS = pd.DataFrame(
    {
        "scale": ["HAMD-17", "HAMD-17"],
        "visit": ["week1", "week2"],
        "estimate": [-1.25, -4.973629],
        "p": [0.2, 0.0004],
    }
)


@pytest.fixture
def evidence(tiny, monkeypatch, tmp_path):
    """Evidence of a study with one table, flow, settings, two numbers and a manifest."""
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    study = tiny.write()
    files = {
        "mmrm_contrasts.tsv": CONTRASTS,
        "flow.json": {"active": {"randomised": 4, "rated": {"week2": 3}}},
        "settings.json": {"permutations": 5000, "seed": 0, "quick": False},
    }
    writing.write(study.derived / "clinical", files)
    numbers = {
        "hamd17.week2.estimate": (-4.973629, "mmrm_contrasts.tsv"),
        "hama.week2.estimate": (None, "mmrm_contrasts.tsv"),
    }
    writing.write_numbers(study, "clinical", numbers)
    outputs = {"clinical/mmrm_contrasts.tsv": {"sha256": "0", "bytes": 1}}
    step = {"outputs": outputs, "parameters": {"n_permutations": 5000}, "quick": False}
    steps = {"01_clinical_outcomes": step | {"packages": {"numpy": "2.3.5"}}}
    manifest.write_manifest(study, steps, {})
    return quoting.Evidence(study)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (8765, "count", "8,765"),
        (-32, "count", "−32"),
        (-4.97, "points", "−5.0"),
        (-0.04, "points", "−0.04"),
        (-4.97, "size", "5.0"),
        (-0.838, "two", "−0.84"),
        (0.2222, "percent", "22"),
        (0.0004, "p", "p < .001"),
        (0.0170, "p", "p = .017"),
        (0.000199960008, "small_p", "p = .0002"),
        (0.00001, "small_p", "p = .00001"),
        (0.001, "plain", "0.001"),
        (0.02, "points", "0.02"),
        (-0.0, "points", "0.0"),
        (-0.3, "change", "−0.3"),
        (0.24, "change", "+0.2"),
        (-0.87, "distance", "0.87"),
        (-0.002, "percent", "0"),
        (float("nan"), "points", "not available"),
        (None, "count", "not available"),
    ],
)
def test_a_number_is_printed_by_its_kind(value, kind, expected):
    assert words.printed(value, kind) == expected


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind 'pct': one of count, points"):
        words.printed(1.0, "pct")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("clinical.hamd17.week3.estimate", -5.0, "points"),
        ("clinical.hamd17.week3.response.ci_low", 0.1, "percent"),
        ("clinical.hamd17.week3.p", 0.01, "p"),
        ("clinical.flow.active.analysed", 18, "count"),
        ("receptors.arm_by_time.kaller2017/sch23390.r", 0.8, "two"),
        ("receptors.arm_by_time.kaller2017/sch23390.ci_low", 0.7, "two"),
        ("receptors.arm_by_time.kaller2017/sch23390.p_fwe_spatial", 0.01, "p"),
        ("vbm.arm_by_time.smallest_p", 0.01, "p"),
        ("vbm/settings.json.fwhm_mm", 8.0, "plain"),
    ],
)
def test_the_kind_follows_from_the_name(key, value, kind):
    assert quoting.kind_of(key, value) == kind


def test_a_number_knows_its_value_file_and_notebook(evidence):
    quoted = evidence.number("clinical.hamd17.week2.estimate")
    assert quoted.value == -4.973629
    assert str(quoted) == "−5.0"
    assert quoted.source == "clinical/mmrm_contrasts.tsv"
    assert quoted.notebook == "01_clinical_outcomes"
    assert quoted.__html__() == f'<a class="q" href="#{quoted.anchor}">−5.0</a>'


def test_a_cell_of_a_table_is_quoted_in_the_same_way(evidence):
    quoted = evidence.cell("clinical/mmrm_contrasts.tsv", "p", scale="HAMD-17", visit="week1")
    assert (quoted.value, str(quoted)) == (0.2, "p = .200")
    assert quoted.source == "clinical/mmrm_contrasts.tsv"
    assert quoted.notebook == "01_clinical_outcomes"
    assert quoted.key == "clinical/mmrm_contrasts.tsv: p (scale HAMD-17, visit week1)"


def test_a_number_quoted_twice_has_one_place_in_the_list(evidence):
    first = evidence.number("clinical.hamd17.week2.estimate")
    second = evidence.number("clinical.hamd17.week2.estimate", "size")
    assert first.anchor == second.anchor
    assert (str(first), str(second)) == ("−5.0", "5.0")
    assert len(evidence.quoted) == 1


def test_an_unknown_number_is_refused_and_the_nearest_one_named(evidence):
    with pytest.raises(quoting.UnknownNumber, match=re.escape("did you mean 'clinical.hamd17")):
        evidence.number("clinical.hamd17.week2.estimat")


@pytest.mark.parametrize(
    ("where", "column", "found"),
    [
        ({"scale": "HAMD-17"}, "p", "found 2 rows"),
        ({"scale": "HAMA"}, "p", "found 0 rows"),
        ({"scale": "HAMD-17", "visit": "week1"}, "q", "found no such column"),
    ],
)
def test_a_cell_must_be_one_cell(evidence, where, column, found):
    with pytest.raises(quoting.UnknownNumber, match=found):
        evidence.cell("clinical/mmrm_contrasts.tsv", column, **where)


def test_a_value_in_a_json_file_and_a_version(evidence):
    assert str(evidence.entry("clinical/flow.json", "active", "rated", "week2")) == "3"
    assert str(evidence.entry("clinical/settings.json", "permutations")) == "5,000"
    assert str(evidence.version("numpy")) == "2.3.5"
    assert str(evidence.version("fortran")) == "version not recorded"
    with pytest.raises(quoting.UnknownNumber, match="active > rated > week9"):
        evidence.entry("clinical/flow.json", "active", "rated", "week9")


def test_rows_are_counted_and_the_count_says_which(evidence):
    table = "clinical/mmrm_contrasts.tsv"
    counted = evidence.count(table, below={"p": 0.05}, scale="HAMD-17")
    assert counted.value == 1
    assert counted.key == f"{table}: rows with scale HAMD-17, p < 0.05"
    assert str(evidence.count(table, above={"p": 0.05})) == "1"
    assert evidence.largest(table, "p").value == 0.2


def test_a_table_that_is_not_there_has_no_rows(evidence):
    assert not evidence.exists("vbm/summary.tsv")
    assert evidence.select("vbm/summary.tsv", contrast="arm_by_time").empty


def test_without_clinical_results_the_notebook_to_run_is_named(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="run 01_clinical_outcomes first"):
        quoting.Evidence(tiny.write())


def test_words_in_a_row():
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"


def test_an_interval_that_touches_zero_does_not_exclude_it():
    assert sentences.excludes_zero(-2, -0.1)
    assert sentences.excludes_zero(0.1, 2)
    assert not sentences.excludes_zero(-2, 0)


def test_the_smallest_p_that_permutations_allow():
    assert sentences.is_least(1 / 5001, 5000)
    assert not sentences.is_least(2 / 5001, 5000)


def test_a_figure_has_its_own_caption_else_one_from_its_name():
    own = {"figure2_vbm": {"title": "Figure 2. Change", "caption": "Seen.", "alt": "Slices."}}
    assert embedding.figure_words("figure2_vbm", own) == {
        "label": "Figure 2",
        "title": "Change",
        "caption": "Seen.",
        "alt": "Slices.",
    }
    other = embedding.figure_words("figureS1_my_curve", {})
    assert (other["label"], other["title"]) == ("Figure S1", "My curve")
    assert "My curve" in other["alt"]
    assert embedding.figure_words("sketch", {})["label"] == ""


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("figure1_clinical", "clinical"),
        ("figure2_vbm", "vbm"),
        ("figure3_regions", "vbm"),
        ("figure4_receptors", "receptors"),
        ("figure1_participants", "flow"),
        ("figure2_clinical", "clinical"),
        ("figure3_glass_brain", "vbm"),
        ("figure4_influence", "receptors"),
        ("sketch", "other"),
    ],
)
def test_figures_stand_with_the_part_of_the_results_that_they_show(name, topic):
    assert embedding.figure_topic(name) == topic


def test_the_leading_map_is_that_with_the_largest_absolute_r(evidence):
    assert sentences.receptor_maps(evidence) == []
    table = pd.DataFrame(
        {
            "contrast": ["arm_by_time", "arm_by_time", "arm_by_time", "active_change"],
            "receptor": ["A", "B", "C", "D"],
            "annotation": ["a", "b", "c", "d"],
            "r": [0.5, -0.7, np.nan, 0.9],
        }
    )
    writing.write(evidence.derived / "receptors", {"correlations.tsv": table})
    assert [row["receptor"] for row in sentences.receptor_maps(evidence)] == ["B", "A"]
