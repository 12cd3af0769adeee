"""Studies without a control arm, with a table of regions, or with one map and no participants."""

import pytest
import yaml

from analysis_lib.checking import check
from analysis_lib.pipeline import steps
from analysis_lib.results.problems import StudyError
from analysis_lib.study import one_map
from analysis_lib.study.contract import load_study


def loaded(folder, **content):
    """A study of one map, with other keys."""
    path = folder / "one.yml"
    given = {"name": "one", "title": "One map", "effect": {"file": "a.tsv", "kind": "d"}} | content
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return load_study(path)


def test_one_map_needs_no_participants_and_has_one_contrast(tmp_path):
    study = loaded(tmp_path)
    assert (study.contrasts, study.main, study.arms) == (("effect",), "effect", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"covariates": ["age"]}, "covariates: one map has no participants; leave the key out"),
        ({"effect": {"file": "a.gii", "kind": "t"}}, "does not say to which region of a volume"),
        ({"effect": {"file": "a.nii", "kind": "t", "se": "se"}}, "se is a column of a table"),
        (
            {"effect": {"file": "a.tsv", "kind": "z"}},
            "Input should be 't', 'd', 'beta' or 'percent'",
        ),
    ],
)
def test_what_one_map_cannot_have_is_refused(tmp_path, content, message):
    with pytest.raises(StudyError, match=message):
        loaded(tmp_path, **content)


def test_one_map_runs_03_and_04_and_the_run_says_why_no_other(tmp_path):
    study = loaded(tmp_path)
    fitting = [step for step in steps.select(steps.STEPS, []) if step.fits(study)]
    found = {step.notebook: steps.blocked(step, study) for step in fitting}
    assert [name for name, why in found.items() if not why] == [
        "03_receptor_correlation",
        "04_figures",
    ]
    assert steps.blocked_note(fitting, study) == "00, 01 and 02 are skipped: one map, no patients"


def test_no_arms_is_one_contrast_and_01_courses(tiny):
    del tiny.participants["arm"]
    tiny.content["arms"] = "none"
    study = tiny.write()
    assert check(study) == []
    assert study.contrasts == ("change",)
    fitting = [step.notebook for step in steps.STEPS if step.fits(study)]
    assert "01_courses" in fitting
    assert "01_clinical_outcomes" not in fitting


def test_a_table_of_regions_takes_its_sessions_and_atlas(tiny):
    tiny.content["imaging"] = {"table": "regions.tsv", "atlas": "aal"}
    study = tiny.write()
    assert (study.atlas, study.regional) == ("aal", True)
    assert (study.imaging.sessions.pre, study.imaging.sessions.post) == ("baseline", "week2")
    fitting = [step for step in steps.STEPS if step.fits(study)]
    assert "02_regions" in [step.notebook for step in fitting if not steps.blocked(step, study)]
    assert "02_vbm" not in [step.notebook for step in fitting]


TABLE = "Structure,d_icv,se_icv,pobs\nLhippo,-0.1,0.03,0.01\nRhippo,-0.2,0.03,0.01\n"


def test_compare_map_writes_a_study_of_the_columns_that_can_be_meant(tmp_path):
    source = tmp_path / "Some Map.csv"
    source.write_text(TABLE)
    none = dict.fromkeys(("region", "value", "se", "n"))
    path = one_map.write_study(source, tmp_path, None, "d", "aal", none)
    effect = load_study(path).effect
    assert path.name == "some_map.yml"
    assert (effect.region, effect.value, effect.se) == ("Structure", "d_icv", "se_icv")
    assert one_map.write_study(source, tmp_path, None, "d", "aal", none) == path
    with pytest.raises(StudyError, match="another study file is there"):
        one_map.write_study(source, tmp_path, None, "t", "aal", none)


def test_compare_map_asks_where_two_columns_can_be_meant(tmp_path):
    source = tmp_path / "two.csv"
    source.write_text("region,first,second\na,1,2\nb,3,4\n")
    none = dict.fromkeys(("region", "value", "se", "n"))
    with pytest.raises(StudyError, match=r"found first, second; say which: --value COLUMN"):
        one_map.write_study(source, tmp_path, None, "d", "aal", none)


def test_a_table_that_is_not_there_is_a_problem(tmp_path):
    assert any("effect.file: a file expected" in str(p) for p in check(loaded(tmp_path)))
