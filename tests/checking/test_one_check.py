"""The one check: what it lists, for which notebooks, and that no kernel starts before it."""

import numpy as np
import pytest
from bad_input.frame import SmallTrial
from conftest import lines

from analysis_lib.checking import check, errors
from analysis_lib.checking.one_check import CHECKS, concerns, warnings_of
from analysis_lib.pipeline import steps
from analysis_lib.results.problems import StudyError, warning_words


@pytest.fixture
def scanned(tmp_path):
    """A sound trial with images, to be broken: see `bad_input.frame.SmallTrial`."""
    return SmallTrial(tmp_path).scan()


def test_sound_study_has_no_problems(scanned):
    assert lines(scanned.found()) == []


def test_every_problem_is_listed_once_with_its_parts(scanned):
    scanned.participants.loc[0, "arm"] = "verum"
    scanned.scales["hama.tsv"].loc[3, "total"] = 99
    scanned.write_map("sub-02", "week2", value=np.nan)
    scanned.content["regions"] = ["left middle frontal gyros"]
    scanned.content["receptors"] = ["D9"]
    found = check(scanned.write())
    parts = [(problem.file, problem.place, problem.severity) for problem in found]
    assert parts == [
        ("participants.tsv", "arm", "error"),
        ("phenotype/hama.tsv", "total", "error"),
        ("sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz", "", "error"),
        ("tiny.yml", "receptors", "error"),
        ("tiny.yml", "regions", "error"),
    ]
    assert found[1].expected == "a number from 0 to 56"
    assert str(found[1].found) == "row 5 (sub-02, ses-baseline): 99"
    assert "nearest: left middle frontal gyrus" in found[4].remedy


BROKEN = {
    "participants": ("00 01 02 03", lambda s: s.participants.loc.__setitem__((0, "arm"), "x")),
    "score": ("01 02 03", lambda s: s.scales["hamd17.tsv"].loc.__setitem__((0, "total"), 99)),
    "scale": ("01", lambda s: s.scales["hama.tsv"].loc.__setitem__((0, "total"), 99)),
    "guess": ("01", lambda s: s.participants.insert(1, "guess", "perhaps")),
    "pair": ("01 02 03", lambda s: s.write_map("sub-02", "week2").unlink()),
    "image": ("02 03", lambda s: s.write_map("sub-02", "week2").write_bytes(b"broken")),
    "receptor": ("03", lambda s: s.content.update(receptors=["D9"])),
    "region": ("02", lambda s: s.content.update(regions=["left nowhere"])),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_problem_concerns_the_notebooks_that_read_the_file(scanned, kind):
    concerned, spoil = BROKEN[kind]
    spoil(scanned)
    assert len(scanned.found()) == 1
    told = [number for number in ("00", "01", "02", "03", "04") if scanned.found([number])]
    assert told == concerned.split()


def test_maps_that_notebook_00_is_still_to_make_are_not_asked_for(scanned, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(scanned.folder / "out"))
    scanned.content["imaging"].pop("grey_matter")
    study = scanned.write()
    half = study.made_maps / "sub-01/ses-baseline/anat"
    half.mkdir(parents=True)
    made = half / "sub-01_ses-baseline_label-GM_desc-modulated_probseg.nii.gz"
    made.write_bytes(b"half a map")
    assert [p.place or p.file for p in check(study, ["02"])] == ["sub-01", made.name]
    assert check(study, ["00", "02"]) == []


def test_head_size_that_differs_is_a_warning(scanned):
    for visit, volume in (("baseline", 1400), ("week2", 1600)):
        path = scanned.write_map("sub-01", visit)
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        sidecar.write_text(f'{{"TIV_ml": {volume}}}')
    found = check(scanned.write())
    assert [problem.severity for problem in found] == ["warning"]
    assert errors(found) == []
    assert not found[0].accepted
    of_02 = {"head-size": {"count": 1, "accepted": True}}
    scanned.content["accept"] = ["head-size"]
    found = concerns(scanned.write())
    assert [problem.accepted for problem in found] == [True]
    assert [warnings_of(step, found) for step in ("01", "02")] == [{}, of_02]
    said = warning_words(of_02)
    assert said.startswith(
        "WARNED: head sizes of one participant that differ between sessions (1, ac"
    )
    assert warning_words({}) == ""


def test_only_a_known_warning_can_be_accepted(scanned):
    scanned.content["accept"] = ["head_size"]
    with pytest.raises(StudyError, match=r"accept.*'head-size'"):
        scanned.write()


def test_checks_are_of_notebooks_that_there_are():
    known = {step.number for step in steps.STEPS}
    assert {number for one in CHECKS for number in one.steps.split()} <= known
