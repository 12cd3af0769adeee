"""The study contract: what loads, what is refused, and in which words."""

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import yaml

from analysis_lib.results.environment import PROJECT
from analysis_lib.results.problems import StudyError
from analysis_lib.study import images
from analysis_lib.study.contract import LocalMap, load_study


def message(tiny):
    """What loading the changed study file says."""
    with pytest.raises(StudyError) as caught:
        tiny.write()
    return str(caught.value)


# --- what loads


@pytest.mark.parametrize(
    ("name", "scales", "has_images", "label"),
    [
        ("demo", ["HAMD-17", "HAMA"], True, "SIMULATED"),
        ("antidepressant", ["HAMD-17", "HAMA"], False, ""),
        ("sudmex_tms", ["HDRS", "HARS"], True, ""),
    ],
)
def test_studies_of_the_project_load(name, scales, has_images, label):
    study = load_study(name)
    assert study.name == name
    assert [scale.name for scale in study.scales] == scales
    assert study.primary_scale.name == scales[0]
    assert (study.imaging is not None) is has_images
    assert study.label == label
    assert study.root == PROJECT / "data" / "raw" / name


def test_visits_know_baseline_and_final(tiny):
    study = tiny.write()
    assert study.baseline == "baseline"
    assert study.post_visits == ["week1", "week2"]
    assert study.final_visit == "week2"


def test_primary_visit_need_not_be_the_last(tiny):
    tiny.content["primary_visit"] = "week1"
    assert tiny.write().final_visit == "week1"


def test_arms_have_the_names_that_readers_use(tiny):
    assert tiny.write().arm_names == {"active": "active", "control": "sham"}
    tiny.content["arms"] = {"column": "group", "active": 2, "control": 1, "active_name": "rTMS"}
    assert tiny.write().arm_names == {"active": "rTMS", "control": "1"}


def test_scale_key_has_only_letters_and_digits(tiny):
    assert [scale.key for scale in tiny.write().scales] == ["hamd17", "hama"]


def test_study_is_found_by_name_and_by_path(tiny):
    assert load_study("demo") == load_study(PROJECT / "data" / "studies" / "demo.yml")
    assert tiny.write().path == tiny.folder / "tiny.yml"


def test_data_folder_is_relative_to_the_study_file(tiny, monkeypatch):
    tiny.content |= {"data": "../elsewhere", "outside": True}
    monkeypatch.chdir("/")
    assert tiny.write().root == (tiny.folder.parent / "elsewhere").resolve()


def write_empty(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_grey_matter_maps_are_the_studys_own_or_else_those_of_notebook_00(tiny, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tiny.folder / "out"))
    assert tiny.write().grey_matter_maps() == []
    tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}}
    study = tiny.write()
    assert study.imaging.grey_matter is None
    assert study.grey_matter_maps() == []
    made = "sub-01/ses-week2/anat/sub-01_ses-week2_label-GM_desc-modulated_probseg.nii.gz"
    hidden = made.replace("sub-01_", ".sub-01_")
    write_empty(study.made_maps, made, hidden, made.replace("GM", "WM"), "figures/sub-01.png")
    assert study.grey_matter_maps() == [study.made_maps / made]
    assert study.own_maps() == []
    tiny.content["imaging"]["grey_matter"] = "maps/sub-*"
    study = tiny.write()
    assert study.grey_matter_maps() == [study.made_maps / made]
    write_empty(study.root, "maps/sub-02_b.nii", "maps/sub-01_a.nii")
    assert [path.name for path in study.grey_matter_maps()] == ["sub-01_a.nii", "sub-02_b.nii"]


def test_t1w_images_are_those_of_bids_unless_the_study_says_otherwise(tiny):
    assert tiny.write().t1w_images() == []
    tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}}
    names = [f"sub-{i}/ses-week2/anat/sub-{i}_ses-week2_T1w.nii" for i in (2, 1)]
    root = tiny.write().root
    write_empty(root, *names, f"{names[0]}.part", f"{names[0]}.gz", "raw/sub-3_T1w.nii.gz")
    found = [path.relative_to(root).as_posix() for path in tiny.write().t1w_images()]
    assert found == [names[1], names[0], f"{names[0]}.gz"]
    tiny.content["imaging"]["t1w"] = "raw/*_T1w.nii.gz"
    assert [path.name for path in tiny.write().t1w_images()] == ["sub-3_T1w.nii.gz"]


def test_results_go_below_the_project_unless_the_environment_or_an_option_says_otherwise(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.delenv("COMPENDIUM_OUTPUT", raising=False)
    study = tiny.write()
    assert study.derived == PROJECT / "data" / "derived" / "tiny"
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path / "out"))
    assert study.derived == PROJECT / "data" / "derived" / "tiny"  # settled when it was opened
    study = tiny.write()
    assert study.derived == tmp_path / "out" / "data" / "derived" / "tiny"
    assert study.figures == tmp_path / "out" / "figures" / "tiny"
    assert study.figure_folder(quick=False) == study.figures
    assert study.figure_folder(quick=True) == study.figures / "quick"
    other = load_study(study.path, output=tmp_path / "other", dask="tcp://host:8786")
    assert other.derived == tmp_path / "other" / "data" / "derived" / "tiny"
    told = {"COMPENDIUM_OUTPUT": str(tmp_path / "other"), "COMPENDIUM_DASK": "tcp://host:8786"}
    assert other.place.environment == told
    with pytest.raises(FrozenInstanceError):
        other.place.output = tmp_path


def test_a_variant_has_a_folder_of_its_own_and_takes_what_it_lacks_from_the_default(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tmp_path))
    default = tiny.write()
    variant = load_study(default.path, variant="fwhm_mm=4")
    folder = tmp_path / "data" / "derived" / "tiny" / "variants" / "fwhm_mm=4"
    assert (variant.derived, variant.figures) == (folder, folder / "figures")
    write_empty(default.derived, "vbm/summary.tsv", "clinical/means.tsv")
    write_empty(folder, "vbm/summary.tsv")
    assert variant.result("vbm/summary.tsv") == folder / "vbm/summary.tsv"
    assert variant.result("vbm/other.tsv") == folder / "vbm/other.tsv"  # of one run or the other
    assert variant.result("clinical") == default.derived / "clinical"
    assert default.result("vbm") == default.derived / "vbm"
    again = variant.as_variant()
    assert (again.derived, again.variant) == (default.derived, "")
    assert variant.variant == "fwhm_mm=4"


def test_a_variant_reads_the_default_grey_matter_maps_until_it_has_its_own(tiny, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tiny.folder / "out"))
    tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}}
    default = tiny.write()
    variant = default.as_variant("output_mm=3")
    made = "sub-01/ses-week2/anat/sub-01_ses-week2_label-GM_desc-modulated_probseg.nii.gz"
    write_empty(default.made_maps, made)
    assert variant.grey_matter_maps() == [default.made_maps / made]
    below = Path("grey_matter") / made
    assert images.below_root(variant, default.made_maps / made) == below
    write_empty(variant.made_maps, made)
    assert variant.grey_matter_maps() == [variant.made_maps / made]
    assert images.below_root(variant, variant.made_maps / made) == below


def test_loaded_study_cannot_be_changed(tiny):
    study = tiny.write()
    with pytest.raises(ValueError, match="frozen"):
        study.primary_visit = "week1"


# --- what is refused


def test_unknown_key_gets_a_suggestion(tiny):
    tiny.content["covariate"] = ["age"]
    assert message(tiny) == "tiny.yml: unknown key 'covariate'; did you mean 'covariates'?"


def test_unknown_key_of_a_scale_names_which_scale(tiny):
    tiny.content["scales"][1]["colum"] = "total"
    assert message(tiny) == "tiny.yml: unknown key 'scales.1.colum'; did you mean 'column'?"


def test_unknown_key_like_no_other_lists_the_known(tiny):
    tiny.content["arms"]["zzz"] = 1
    found = message(tiny)
    assert found.startswith("tiny.yml: unknown key 'arms.zzz'; known: column, active, control")


def test_missing_key_is_named(tiny):
    del tiny.content["arms"]["column"]
    assert message(tiny) == "tiny.yml: key 'arms.column' is missing"


def test_value_of_the_wrong_type_is_shown(tiny):
    tiny.content["visits"]["week1"] = "one"
    found = message(tiny)
    assert found.startswith("tiny.yml: visits.week1: ")
    assert found.endswith(", found 'one'")


@pytest.mark.parametrize(("primary", "n"), [((False, False), 0), ((True, True), 2)])
def test_exactly_one_scale_is_primary(tiny, primary, n):
    for scale, value in zip(tiny.content["scales"], primary, strict=True):
        scale["primary"] = value
    assert message(tiny) == f"tiny.yml: scales: exactly one must say primary: true, found {n}"


def test_scales_have_different_names(tiny):
    tiny.content["scales"][1]["name"] = "hamd 17"
    assert "2 scales share the name 'hamd17': names must differ" in message(tiny)


@pytest.mark.parametrize("visit", ["week9", "baseline"])
def test_primary_visit_is_a_visit_after_baseline(tiny, visit):
    tiny.content["primary_visit"] = visit
    expected = f"primary_visit: '{visit}' is not a visit after baseline (baseline, week1, week2)"
    assert message(tiny) == f"tiny.yml: {expected}"


@pytest.mark.parametrize("when", ["pre", "post"])
def test_imaging_session_is_a_visit(tiny, when):
    sessions = {"pre": "baseline", "post": "week2"} | {when: "week9"}
    tiny.content["imaging"] = {"sessions": sessions, "grey_matter": "*.nii.gz"}
    assert message(tiny) == (
        f"tiny.yml: imaging.sessions.{when}: 'week9' is not among the visits "
        "(baseline, week1, week2)"
    )


@pytest.mark.parametrize("key", ["t1w", "grey_matter"])
@pytest.mark.parametrize("pattern", ["/maps/*.nii", ""])
def test_images_lie_below_the_data_folder(tiny, key, pattern):
    tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}, key: pattern}
    expected = "a pattern of files below the data folder expected"
    assert message(tiny) == f"tiny.yml: imaging.{key}: {expected}, found {pattern!r}"


def test_imaging_sessions_differ(tiny):
    sessions = {"pre": "week1", "post": "week1"}
    tiny.content["imaging"] = {"sessions": sessions, "grey_matter": "*.nii.gz"}
    assert message(tiny) == "tiny.yml: imaging.sessions: pre and post are the same visit"


@pytest.mark.parametrize("weeks", [[0, 2, 1], [0, 1, 1], [1, 2, 3]])
def test_weeks_start_at_0_and_increase(tiny, weeks):
    tiny.content["visits"] = dict(zip(["baseline", "week1", "week2"], weeks, strict=True))
    found = [float(week) for week in weeks]
    assert f"visits: weeks must start at 0 and increase, found {found}" in message(tiny)


def test_one_visit_is_not_enough(tiny):
    tiny.content["visits"] = {"baseline": 0}
    assert "a baseline and at least one later visit are needed, found 1" in message(tiny)


def test_arms_differ(tiny):
    tiny.content["arms"]["control"] = "active"
    assert message(tiny) == "tiny.yml: arms: active and control are both 'active': name two arms"


def test_range_of_a_scale_goes_from_low_to_high(tiny):
    tiny.content["scales"][1]["range"] = [56, 0]
    assert "range of HAMA is [56, 0]: low before high" in message(tiny)


def test_remission_lies_within_the_range(tiny):
    tiny.content["scales"][0]["remission_at_most"] = 70
    assert "remission_at_most of HAMD-17 is 70, outside its range" in message(tiny)


def test_receptors_are_names_and_files_of_ones_own(tiny):
    own = {"receptor": "mGluR5", "file": "maps/mglur5.nii.gz", "n_subjects": 12, "age": 33}
    tiny.content["receptors"] = ["default", "NMDA", own]
    *names, loaded = tiny.write().receptors
    assert names == ["default", "NMDA"]
    assert loaded == LocalMap(**own | {"age": "33"})
    assert loaded.annotation == "local/mglur5"
    for name in ("default", "all", "D1", "kaller2017/sch23390"):
        tiny.content["receptors"] = name
        assert tiny.write().receptors == name


@pytest.mark.parametrize(
    ("receptors", "expected"),
    [
        ([], "receptors: name at least one map, or leave the key out"),
        ("", "receptors: name at least one map, or leave the key out"),
        ({"receptor": "D1"}, "receptors: Input should be a valid list, found {'receptor': 'D1'}"),
        (["D1", 2], "receptors.1: Input should be a valid string, found 2"),
        ([{"receptor": "D1"}], "key 'receptors.0.file' is missing"),
        (
            [{"receptor": "D1", "file": "a.nii", "tracr": "x"}],
            "unknown key 'receptors.0.tracr'; did you mean 'tracer'?",
        ),
        (
            [{"receptor": "D1", "file": "a.nii", "n_subjects": 0}],
            "receptors.0.n_subjects: Input should be greater than 0, found 0",
        ),
        (
            [{"receptor": "D1", "file": "a.img"}],
            "receptors.0: file of D1 is 'a.img': a NIfTI file (.nii, .nii.gz) expected",
        ),
        ([{"receptor": "D1", "file": "a.nii", "md5": "c0ffee"}], "receptors.0.md5: String should"),
        (
            [{"receptor": "D1", "file": "x/a.nii"}, {"receptor": "D2", "file": "y/a.nii.gz"}],
            "receptors: 2 files would be called local/a: file names must differ",
        ),
    ],
)
def test_receptors_that_are_refused(tiny, receptors, expected):
    tiny.content["receptors"] = receptors
    assert message(tiny).startswith(f"tiny.yml: {expected}")


def test_atlas_is_a_known_name_or_files_beside_the_study_file(tiny):
    assert tiny.write().atlas == "neuromorphometrics"
    tiny.content["atlas"] = "schaefer400"
    assert tiny.write().atlas == "schaefer400"
    (tiny.folder / "mine").mkdir()
    for name in ("labels.nii.gz", "names.tsv"):
        (tiny.folder / "mine" / name).touch()
    image, table = (str(tiny.folder / "mine" / name) for name in ("labels.nii.gz", "names.tsv"))
    tiny.content["atlas"] = "mine/labels.nii.gz"
    assert tiny.write().atlas == image
    tiny.content["atlas"] = {"image": "mine/labels.nii.gz", "table": "mine/names.tsv"}
    assert tiny.write().atlas == {"image": image, "table": table}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("nueromorphometrics", "no known name, and no file at .*; did you mean 'neuromorph"),
        ("schaefer150", "no known name, and no file at .*; did you mean 'schaefer"),
        (
            "x.nii",
            r"no known name, and no file at .*x\.nii; known names: neuromorphometrics, aal",
        ),
        ({"image": "tiny.yml", "table": "b.tsv"}, r"no table file at .*b\.tsv; correct the path"),
        ({"image": "tiny.yml", "names": "b.tsv"}, r"\{image: path, table: path\} expected, found"),
        ({"table": "b.tsv"}, r"\{image: path, table: path\} expected, found"),
        (3, "a name, the path of a label image, or .* expected, found 3"),
    ],
)
def test_atlas_that_is_refused(tiny, given, expected):
    tiny.content["atlas"] = given
    tiny.content["tilte"] = "told at once"
    problems = message(tiny).splitlines()
    assert len(problems) == 2
    assert any(re.match(f"tiny.yml: atlas: .*{expected}", problem) for problem in problems)


def test_all_problems_of_the_keys_are_told_at_once(tiny):
    del tiny.content["title"]
    tiny.content["covariate"] = []
    tiny.content["scales"][0]["range"] = [52, 0]
    with pytest.raises(StudyError) as caught:
        tiny.write()
    told = str(caught.value)
    assert len(caught.value.problems) == 3
    assert all(part in told for part in ("'title' is missing", "'covariate'", "[52, 0]"))


def test_all_inconsistencies_are_told_at_once(tiny):
    tiny.content["primary_visit"] = "week9"
    tiny.content["scales"][0]["primary"] = False
    tiny.content["receptors"] = []
    found = message(tiny)
    assert all(part in found for part in ("primary_visit", "primary: true", "receptors"))


def test_unknown_study_lists_the_known():
    with pytest.raises(StudyError, match="no such study") as caught:
        load_study("demmo")
    assert str(caught.value) == (
        "demmo: no such study. Give the path of a study file, or one of: "
        "antidepressant, argyelan_ect, argyelan_rtms, claus2020, demo, ds003007, ds005917, "
        "enigma_mdd, sudmex_tms"
    )


def test_broken_yaml_is_named(tmp_path):
    path = tmp_path / "broken.yml"
    path.write_text("arms: {column: arm\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"(?s)^broken\.yml: not valid YAML: .*line 2"):
        load_study(path)


def test_tab_in_yaml_is_told_in_one_line(tmp_path):
    path = tmp_path / "broken.yml"
    path.write_text("arms:\n\tcolumn: arm\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"^broken\.yml: .*line 2.*spaces, not with tabs$"):
        load_study(path)


def test_file_without_keys_is_refused(tmp_path):
    path = tmp_path / "list.yml"
    path.write_text(yaml.safe_dump(["demo"]), encoding="utf-8")
    with pytest.raises(StudyError, match=r"list\.yml: keys and values expected, found list"):
        load_study(path)


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yml"
    path.write_text("name: a\nname: b\n", encoding="utf-8")
    with pytest.raises(StudyError, match="key 'name' is given twice"):
        load_study(path)


def test_labels_are_text_also_where_yaml_takes_them_for_something_else(tiny):
    tiny.write()
    path = tiny.folder / "labels.yml"
    path.write_text(
        "name: labels\ntitle: Labels\ndata: raw\n"
        "arms: {column: arm, active: 01, control: no}\n"
        "visits: {010: 0, 2: 1, 08: 2}\nprimary_visit: 2\nother_sessions: [007]\n"
        "scales:\n  - {name: HAMD-17, file: a.tsv, range: [0, 52], primary: true}\n"
    )
    study = load_study(path)
    assert (study.arms.active, study.arms.control) == ("01", "no")
    assert study.visits == {"010": 0, "2": 1, "08": 2}
    assert (study.baseline, study.final_visit, study.other_sessions) == ("010", "2", ["007"])
