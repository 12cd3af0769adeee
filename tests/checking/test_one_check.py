"""The one check: what it lists, for which notebooks, and that no kernel starts before it."""

import nibabel as nib
import numpy as np
import pytest
from conftest import grey_matter, lines

from analysis_lib.checking import check, errors
from analysis_lib.checking.one_check import CHECKS, concerns, warnings_of
from analysis_lib.pipeline import steps
from analysis_lib.results.problems import StudyError, warning_words

MAPS = "derivatives/vbm/sub-*/ses-*/anat/*_label-GM_desc-modulated_probseg.nii.gz"


class Scanned:
    """A valid trial with a map of each participant before and after treatment."""

    def __init__(self, tiny):
        self.tiny, self.root = tiny, tiny.folder / "bids"
        for k, table in enumerate(tiny.scales.values()):  # spread, so that a model can be fitted
            table["total"] += np.random.default_rng(k).integers(-3, 4, len(table))
        sessions = {"pre": "baseline", "post": "week2"}
        tiny.content["imaging"] = {"sessions": sessions, "grey_matter": MAPS}
        for who in tiny.participants["participant_id"]:
            for visit in sessions.values():
                self.write_map(who, visit)

    def write_map(self, who, visit, value=None):
        folder = self.root / f"derivatives/vbm/{who}/ses-{visit}/anat"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{who}_ses-{visit}_label-GM_desc-modulated_probseg.nii.gz"
        nib.save(grey_matter(who, visit, value=value), path)
        return path

    def found(self, numbers=()):
        """Lines of what the check finds for some notebooks."""
        return lines(check(self.tiny.write(), numbers))


@pytest.fixture
def scanned(tiny):
    """A trial with images, to be broken: see :class:`Scanned`."""
    return Scanned(tiny)


def test_sound_study_has_no_problems(scanned):
    assert scanned.found() == []


def test_every_problem_is_listed_once_with_its_parts(scanned):
    scanned.tiny.participants.loc[0, "arm"] = "verum"
    scanned.tiny.scales["hama.tsv"].loc[3, "total"] = 99
    scanned.write_map("sub-02", "week2", value=np.nan)
    scanned.tiny.content["regions"] = ["left middle frontal gyros"]
    scanned.tiny.content["receptors"] = ["D9"]
    found = check(scanned.tiny.write())
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
    "participants": ("00 01 02 03", lambda s: s.tiny.participants.loc.__setitem__((0, "arm"), "x")),
    "score": ("01 02 03", lambda s: s.tiny.scales["hamd17.tsv"].loc.__setitem__((0, "total"), 99)),
    "scale": ("01", lambda s: s.tiny.scales["hama.tsv"].loc.__setitem__((0, "total"), 99)),
    "guess": ("01", lambda s: s.tiny.participants.insert(1, "guess", "perhaps")),
    "pair": ("01 02 03", lambda s: s.write_map("sub-02", "week2").unlink()),
    "image": ("02 03", lambda s: s.write_map("sub-02", "week2").write_bytes(b"broken")),
    "receptor": ("03", lambda s: s.tiny.content.update(receptors=["D9"])),
    "region": ("02", lambda s: s.tiny.content.update(regions=["left nowhere"])),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_problem_concerns_the_notebooks_that_read_the_file(scanned, kind):
    concerned, spoil = BROKEN[kind]
    spoil(scanned)
    assert len(scanned.found()) == 1
    told = [number for number in ("00", "01", "02", "03", "04") if scanned.found([number])]
    assert told == concerned.split()


def test_maps_that_notebook_00_is_still_to_make_are_not_asked_for(scanned, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(scanned.tiny.folder / "out"))
    scanned.tiny.content["imaging"].pop("grey_matter")
    study = scanned.tiny.write()
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
    found = check(scanned.tiny.write())
    assert [problem.severity for problem in found] == ["warning"]
    assert errors(found) == []
    assert not found[0].accepted
    of_02 = {"head-size": {"count": 1, "accepted": True}}
    scanned.tiny.content["accept"] = ["head-size"]
    found = concerns(scanned.tiny.write())
    assert [problem.accepted for problem in found] == [True]
    assert [warnings_of(step, found) for step in ("01", "02")] == [{}, of_02]
    said = warning_words(of_02)
    assert said.startswith(
        "WARNED: head sizes of one participant that differ between sessions (1, ac"
    )
    assert warning_words({}) == ""


def test_only_a_known_warning_can_be_accepted(scanned):
    scanned.tiny.content["accept"] = ["head_size"]
    with pytest.raises(StudyError, match=r"accept.*'head-size'"):
        scanned.tiny.write()


def test_checks_are_of_notebooks_that_there_are():
    known = {step.number for step in steps.STEPS}
    assert {number for one in CHECKS for number in one.steps.split()} <= known
