"""Grey-matter maps: what is found and paired, and what bad maps are told.

Other programs' files are tiny, in each program's own layout and names. The XML follows the
structure of CAT12's reports: numbers below the root, and the same elements with words in its help.
"""

import json

import nibabel as nib
import numpy as np
import pytest
from conftest import image_lines, lines

from analysis_lib.results.problems import StudyError
from analysis_lib.study import grids, head_size, images, map_file, participants
from analysis_lib.vbm import maps as vbm_maps

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (5, 6, 4)
MNI = np.array([[36.0, 0, 0, -72], [0, 36, 0, -110], [0, 0, 36, -45], [0, 0, 0, 1]])  # a head
NAME = "derivatives/vbm/{who}/ses-{visit}/anat/{who}_ses-{visit}_label-GM_{desc}probseg.nii.gz"
GLOB = "derivatives/vbm/sub-*/ses-*/anat/*probseg.nii.gz"


def save(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), affine), path)
    return path


def density(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape)


class Scans:
    """The tiny trial with maps of four participants at two sessions."""

    def __init__(self, tiny):
        self.tiny = tiny
        tiny.participants = tiny.participants.iloc[:4]
        for name, table in tiny.scales.items():
            tiny.scales[name] = table.iloc[:12]
        sessions = {"pre": "baseline", "post": "week2"}
        tiny.content["imaging"] = {"sessions": sessions, "grey_matter": GLOB}
        for i in range(1, 5):
            for visit in sessions.values():
                save(self.path(f"sub-{i:02d}", visit), density(i))

    def path(self, who, visit, desc="desc-modulated_"):
        return self.tiny.folder / "bids" / NAME.format(who=who, visit=visit, desc=desc)

    def read(self):
        study = self.tiny.write()
        people = participants.read_participants(study)
        return study, people, images.find_maps(study, people)

    def pairs(self):
        return images.pair_maps(*self.read())

    def problems(self):
        return image_lines(self.tiny.write())

    def all(self):
        return [(f"sub-{i:02d}", visit) for i in range(1, 5) for visit in ("baseline", "week2")]

    def sidecar(self, who, visit, about):
        path = self.path(who, visit).with_suffix("").with_suffix(".json")
        path.write_text(json.dumps(about))
        return path

    def tiv(self):
        return head_size.total_intracranial_volume(*self.read())

    def move(self, name, glob):
        """Put every map where another program puts it; gives folder and image name of each."""
        root = self.tiny.folder / "bids"
        self.tiny.content["imaging"]["grey_matter"] = glob
        for who in self.tiny.participants["participant_id"]:
            for visit in ("baseline", "week2"):
                stem = f"{who}_ses-{visit}_T1w"
                path = root / name.format(who=who, visit=visit, stem=stem)
                path.parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.load(self.path(who, visit)), path)
                yield path.parent, stem


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def cat12_report(tiv):
    return f"""<?xml version="1.0" encoding="utf-8"?>
<S>
   <filedata><fname>T1w</fname></filedata>
   <help>
      <subjectmeasures><vol_TIV>total intracranial volume (GM+WM+CSF)</vol_TIV></subjectmeasures>
   </help>
   <subjectmeasures>
      <vol_abs_CGW>[300 650 450 0 0]</vol_abs_CGW>
      <vol_TIV>{tiv}</vol_TIV>
   </subjectmeasures>
   <subjectratings><vol_TIV>1.2</vol_TIV></subjectratings>
</S>
"""


CAT12 = "derivatives/CAT12.9/{who}/ses-{visit}/anat/mri/mwp1{stem}.nii"
CAT12_GLOB = "derivatives/CAT12.9/sub-*/ses-*/anat/mri/mwp1*.nii"


@pytest.fixture
def scans(tiny):
    return Scans(tiny)


# --- find and pair


def test_maps_are_found_and_paired(scans):
    pairs = scans.pairs()
    assert list(pairs["status"]) == ["analysed"] * 4
    assert list(pairs["arm"]) == ["active", "control"] * 2
    for row in pairs.itertuples():
        assert row.pre == scans.path(row.participant_id, "baseline")
        assert row.post == scans.path(row.participant_id, "week2")
    assert scans.problems() == []


@pytest.mark.parametrize(
    "name",
    [
        "cat12/{who}/ses-{visit}/mri/mwp1T1.nii",
        CAT12,
        "derivatives/CAT12.9/{who}/ses-{visit}/anat/mwp1{stem}.nii",  # CAT12's own BIDS layout
        "cat12/{who}/ses-{visit}/mri/mwp1r{stem}.nii",  # longitudinal
        "cat12/{who}/ses-{visit}/mri/mwmwp1r{stem}.nii",  # longitudinal, large changes
        "spm/{who}/ses-{visit}/anat/mwc1{stem}.nii",
        "derivatives/deepmriprep/{who}/ses-{visit}/anat/mri/mwp1{stem}.nii.gz",
        "deepmriprep/{stem}/mwp1{stem}.nii.gz",
        "deepmriprep/mwp1/{stem}.nii.gz",
        "cat12/{who}/ses-{visit}/mri/mwp1ru{stem}.nii",
        "t1prep/{who}/ses-{visit}/{stem}_space-MNI152NLin2009cAsym-nonlinear-modulated_"
        "label-GM_probseg.nii.gz",
        "t1prep/{who}/ses-{visit}/{stem}_space-MNI152NLin2009cAsym-nonlinear-modulated-modulated_"
        "desc-long_label-GM_probseg.nii",
        "analyses-2026/{who}/ses-{visit}/mwp1T1.nii",  # "ses-2026" is no session
    ],
)
def test_maps_of_other_programs_are_read_as_they_are(scans, name):
    list(scans.move(name, name.format(who="sub-*", visit="*", stem="*")))
    assert list(scans.pairs()["status"]) == ["analysed"] * 4
    assert scans.problems() == []


@pytest.mark.parametrize(
    "name", ["s6mwp1T1.nii", "smwc1T1.nii", "s6mwmwp1rT1.nii", "s8mwp1.nii.gz"]
)
def test_smoothed_map_is_refused_with_the_reason(scans, name):
    save(scans.tiny.folder / "bids/cat12/sub-01/ses-week2/mri" / name, density())
    scans.tiny.content["imaging"] |= {"grey_matter": "cat12/sub-*/ses-*/mri/*.nii*"}
    scans.tiny.content["imaging"]["accept_unmodulated"] = True  # that does not help
    assert scans.problems() == [
        f"cat12/sub-01/ses-week2/mri/{name}: a modulated map expected (desc-modulated, mwp1 or "
        "mwc1 in its name), found a smoothed one. Smoothing is a parameter of notebook 02: give "
        "the map before it"
    ]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (
            "mwp1avg_sub-01_ses-week2_T1w.nii",
            "CAT12's average over a participant's sessions, which",
        ),
        ("m0wp1sub-01_ses-week2_T1w.nii", "modulated for the non-linear part only (m0wp1)"),
        ("mwp2sub-01_ses-week2_T1w.nii", "another tissue than grey matter"),
        ("mwc3sub-01_ses-week2_T1w.nii", "another tissue than grey matter"),
        ("sub-01_ses-week2_label-WM_desc-modulated_probseg.nii", "another tissue than grey matter"),
        (
            "sub-01_ses-week2_space-T1w_label-GM_desc-modulated_probseg.nii",
            "a map in MNI space expected (space-MNI..., or w in CAT12's and SPM's prefix), found",
        ),
    ],
)
def test_other_outputs_that_a_glob_catches_are_refused_with_the_reason(scans, name, found):
    list(scans.move(CAT12, CAT12_GLOB.replace("mwp1", "")))
    folder = scans.tiny.folder / "bids/derivatives/CAT12.9/sub-01/ses-week2/anat/mri"
    save(folder / name, density())
    problem = scans.problems()[0]
    assert problem.startswith(f"derivatives/CAT12.9/sub-01/ses-week2/anat/mri/{name}: a m")
    assert found in problem


def test_native_maps_are_refused_even_when_unmodulated_ones_are_asked_for(scans):
    list(scans.move("mri/p1{stem}.nii", "mri/p1*.nii"))
    scans.tiny.content["imaging"]["accept_unmodulated"] = True
    found = scans.problems()
    assert len(found) == 8
    assert "mri/p1sub-01_ses-baseline_T1w.nii: a map in MNI space expected" in found[0]


def test_maps_of_fmriprep_are_refused_until_asked_for(scans):
    name = "fmriprep/{who}/ses-{visit}/anat/{who}_ses-{visit}_space-MNI152NLin2009cAsym_label-GM_"
    list(scans.move(name + "probseg.nii.gz", "fmriprep/sub-*/ses-*/anat/*_label-GM_probseg.nii.gz"))
    found = scans.problems()
    assert len(found) == 8
    assert "Without modulation a map holds the share of tissue, not its volume" in found[0]
    assert "fMRIPrep and sMRIPrep write no modulated maps" in found[0]
    scans.tiny.content["imaging"]["accept_unmodulated"] = True
    assert scans.problems() == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mwp1sub-01_T1w.nii", "mwp1"),
        ("mwp1usub-01_T1w.nii", "mwp1u"),
        ("mwp1rsub-01_T1w.nii", "mwp1r"),
        ("mwp1rusub-01_T1w.nii", "mwp1ru"),
        ("mwmwp1rsub-01_T1w.nii", "mwmwp1r"),
        ("mwmwp1rusub-01_T1w.nii", "mwmwp1ru"),
        ("mwp1rT1.nii", "mwp1r"),
        ("mwp1retest.nii", "mwp1"),
        ("mwc1sub-01_T1w.nii", "mwc1"),
        ("sub-01_space-M-nonlinear-modulated_label-GM_probseg.nii", "nonlinear-modulated"),
        (
            "sub-01_space-M-nonlinear-modulated_desc-long_label-GM_probseg.nii",
            "nonlinear-modulated_desc-long",
        ),
        (
            "sub-01_space-M-nonlinear-modulated-modulated_label-GM_probseg.nii",
            "nonlinear-modulated-modulated",
        ),
        ("sub-01_space-M-nonlinear_label-GM_probseg.nii", "unmodulated"),
        ("wp1sub-01_T1w.nii", "unmodulated"),
    ],
)
def test_kinds_of_maps_are_told_apart_by_their_whole_prefix(tmp_path, name, kind):
    assert images.kind_of(tmp_path / name) == kind


def test_maps_of_two_pipelines_are_not_mixed(scans):
    list(scans.move(CAT12, CAT12_GLOB))
    single = (
        scans.tiny.folder
        / "bids"
        / CAT12.format(who="sub-02", visit="week2", stem="sub-02_ses-week2_T1w")
    )
    single.rename(single.with_name("mwp1rsub-02_ses-week2_T1w.nii"))
    (found,) = scans.problems()
    assert found == (
        "grey-matter maps of one kind expected, found 7 mwp1, 1 mwp1r (mwp1r: "
        "mwp1rsub-02_ses-week2_T1w.nii). Each program and each of its pipelines measures in its "
        "own way: process all images alike, or narrow imaging.grey_matter"
    )


def test_path_that_contradicts_itself_is_refused(scans):
    path = scans.path("sub-01", "week2")
    path.rename(path.with_name(path.name.replace("ses-week2", "ses-baseline")))
    (found,) = scans.problems()
    assert found.endswith("expected in the path, found week2 and baseline")


def test_path_without_a_session_is_told_so(scans):
    save(scans.tiny.folder / "bids/mri/mwp1sub-01_T1w.nii", density())
    scans.tiny.content["imaging"]["grey_matter"] = "mri/mwp1*.nii"
    (found,) = scans.problems()
    assert found.endswith("ses-week2 expected in the path, found no ses- in it")


def test_participant_and_session_may_be_in_the_file_name_alone(scans):
    root = scans.tiny.folder / "bids"
    for i in range(1, 5):
        for visit in ("baseline", "week2"):
            save(root / f"mri/mwp1sub-{i:02d}_ses-{visit}_T1w.nii", density(i))
    scans.tiny.content["imaging"]["grey_matter"] = "mri/mwp1*.nii"
    assert list(scans.pairs()["status"]) == ["analysed"] * 4


def test_unmodulated_map_is_refused_with_the_reason(scans):
    scans.path("sub-01", "week2").rename(scans.path("sub-01", "week2", desc=""))
    (found,) = scans.problems()
    where = "derivatives/vbm/sub-01/ses-week2/anat/sub-01_ses-week2_label-GM_probseg.nii.gz"
    assert found.startswith(f"{where}: a modulated map expected (desc-modulated, mwp1 or mwc1 in")
    assert "normalisation has removed the change that VBM looks for" in found
    assert found.endswith("Say accept_unmodulated: true under imaging to use it all the same")


def test_unmodulated_map_is_taken_when_the_study_asks_for_it(scans):
    scans.path("sub-01", "week2").rename(scans.path("sub-01", "week2", desc=""))
    scans.tiny.content["imaging"]["accept_unmodulated"] = True
    assert list(scans.pairs()["status"]) == ["analysed"] * 4


@pytest.mark.parametrize("name", ["wp1T1.nii", "wc1T1.nii", "p1T1.nii"])
def test_unmodulated_names_of_cat12_and_spm_are_refused(scans, name):
    save(scans.tiny.folder / "bids/cat12/sub-01/ses-week2" / name, density())
    scans.tiny.content["imaging"]["grey_matter"] = "cat12/sub-*/ses-*/*.nii"
    assert "a modulated map expected" in scans.problems()[0]


def test_map_of_a_stranger_is_refused(scans):
    save(scans.path("sub-99", "week2"), density())
    (found,) = scans.problems()
    assert found.endswith(": a participant of participants.tsv expected, found sub-99")


def test_map_of_an_unknown_session_is_refused(scans):
    save(scans.path("sub-01", "week9"), density())
    (found,) = scans.problems()
    assert found.endswith(
        ": one of ses-baseline, ses-week1, ses-week2 expected in the path, found week9"
    )


def test_map_of_a_visit_between_is_left_out(scans):
    save(scans.path("sub-01", "week1"), density())
    assert set(scans.read()[2]["visit"]) == {"baseline", "week2"}


def test_two_maps_of_one_session_are_refused_once(scans):
    twin = scans.path("sub-01", "week2", desc="run-2_desc-modulated_")
    save(twin, density())
    (found,) = scans.problems()
    assert found.startswith("sub-01, ses-week2: one grey-matter map expected, found sub-01_ses-")
    assert twin.name in found


def test_one_session_without_withdrawal_is_refused(scans):
    scans.path("sub-03", "week2").unlink()
    (found,) = scans.problems()
    assert found.startswith(
        "sub-03: maps of ses-baseline and ses-week2 expected, found ses-baseline only. "
        "If the participant withdrew before ses-week2, say so in withdrawn_after of "
    )


def test_missing_first_session_is_told_the_right_way_round(scans):
    scans.path("sub-03", "baseline").unlink()
    (found,) = scans.problems()
    assert found.startswith("sub-03: maps of ses-")
    assert "found ses-week2 only" in found


def test_withdrawn_participant_is_named_and_left_out(scans):
    scans.path("sub-03", "week2").unlink()
    scans.tiny.participants.loc[2, "withdrawn_after"] = "week1"
    pairs = scans.pairs().set_index("participant_id")
    assert pairs.loc["sub-03", "status"] == "no image at week2"
    assert (pairs["status"] == "analysed").sum() == 3
    assert scans.problems() == []


def test_participant_never_scanned_is_named(scans):
    for visit in ("baseline", "week2"):
        scans.path("sub-03", visit).unlink()
    pairs = scans.pairs().set_index("participant_id")
    assert pairs.loc["sub-03", "status"] == "no images"


def test_excluded_participant_is_in_no_pair(scans):
    scans.tiny.participants["drop"] = [0, 1, 0, 0]
    scans.tiny.content["exclude"] = {"drop": 1}
    assert list(scans.pairs()["participant_id"]) == ["sub-01", "sub-03", "sub-04"]


def test_study_that_waits_for_its_images_has_no_problems(scans):
    for i in range(1, 5):
        for visit in ("baseline", "week2"):
            scans.path(f"sub-{i:02d}", visit).unlink()
    assert scans.problems() == []
    assert set(scans.pairs()["status"]) == {"no images"}


def test_maps_where_the_study_file_does_not_look_are_told_with_a_pattern(scans):
    list(scans.move(CAT12, GLOB))
    for who, visit in scans.all():
        scans.path(who, visit).unlink()
    (found,) = scans.problems()
    assert found == (
        f"tiny.yml: imaging.grey_matter: maps at {GLOB} expected, found none there and 8 "
        "elsewhere, as derivatives/CAT12.9/sub-01/ses-baseline/anat/mri/"
        "mwp1sub-01_ses-baseline_T1w.nii. "
        f"Say grey_matter: {CAT12_GLOB}"
    )
    scans.tiny.content["imaging"]["grey_matter"] = CAT12_GLOB
    assert scans.problems() == []


def test_folder_with_a_capital_is_not_passed_over(scans):
    folder = scans.path("sub-02", "week2").parents[2]
    folder.rename(folder.with_name("Sub-02"))
    (found,) = scans.problems()
    assert found.startswith("derivatives/vbm/Sub-02/ses-baseline/anat/sub-02_ses-baseline_")
    assert found.endswith("small letters expected in the path. Rename it and 1 more")


def test_study_without_imaging_has_no_maps(tiny):
    study = tiny.write()
    assert images.find_maps(study, participants.read_participants(study)).empty
    assert image_lines(study) == []


# --- T1-weighted images


T1W = "{who}/ses-{visit}/anat/{who}_ses-{visit}_{more}T1w.nii.gz"


@pytest.fixture
def heads(scans):
    """The tiny trial with T1w images instead of maps."""
    for who, visit in scans.all():
        scans.path(who, visit).unlink()
        write(scans.tiny.folder / "bids" / T1W.format(who=who, visit=visit, more=""), "")
    return scans


def head(heads, who, visit, more=""):
    return heads.tiny.folder / "bids" / T1W.format(who=who, visit=visit, more=more)


def test_t1w_images_of_the_two_sessions_are_found(heads):
    write(head(heads, "sub-01", "week1"), "")  # between the two
    study = heads.tiny.write()
    found = images.find_t1w(study, participants.read_participants(study))
    rows = list(found[["participant_id", "visit"]].itertuples(index=False, name=None))
    assert rows == heads.all()
    assert heads.problems() == []


def test_wrong_t1w_images_are_listed_together(heads):
    write(head(heads, "sub-09", "week2"), "")
    write(head(heads, "sub-02", "week5"), "")
    write(head(heads, "sub-03", "week2", "run-2_"), "")
    assert heads.problems() == [
        "sub-02/ses-week5/anat/sub-02_ses-week5_T1w.nii.gz: one of ses-baseline, ses-week1, "
        "ses-week2 expected in the path, found week5",
        "sub-09/ses-week2/anat/sub-09_ses-week2_T1w.nii.gz: a participant of participants.tsv "
        "expected, found sub-09",
        "sub-03, ses-week2: one T1w image expected, found sub-03_ses-week2_T1w.nii.gz, "
        "sub-03_ses-week2_run-2_T1w.nii.gz. Narrow imaging.t1w to one",
    ]


def test_t1w_image_without_a_session_is_refused(heads):
    heads.tiny.content["imaging"]["t1w"] = "sub-*/anat/*_T1w.nii"
    write(heads.tiny.folder / "bids/sub-01/anat/sub-01_T1w.nii", "")
    (found,) = heads.problems()
    assert found.endswith("expected in the path, found no ses- in it")


def test_unpaired_t1w_image_is_a_problem_unless_maps_are_there(heads):
    head(heads, "sub-04", "week2").unlink()
    (found,) = heads.problems()
    assert found.startswith(
        "sub-04: T1w images of ses-baseline and ses-week2 expected, found ses-b"
    )
    for who, visit in heads.all():
        save(heads.path(who, visit), density())
    assert heads.problems() == []


# --- grids and values


def test_other_shape_is_refused(scans):
    save(scans.path("sub-02", "week2"), density(shape=(5, 6, 5)))
    (found,) = scans.problems()
    assert found == (
        "sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: shape (5, 6, 4) expected (as "
        "sub-01_ses-baseline_label-GM_desc-modulated_probseg.nii.gz), found (5, 6, 5). "
        "Resample the maps to one grid first; nothing is resampled here"
    )


def test_odd_map_is_named_alone_though_it_is_the_first(scans):
    save(scans.path("sub-01", "baseline"), density(shape=(5, 6, 5)))
    (found,) = scans.problems()
    assert found.startswith("sub-01_ses-baseline_label-GM_desc-modulated_probseg.nii.gz: shape ")


def test_grids_are_checked_though_a_name_is_wrong(scans):
    path = scans.path("sub-02", "week2")
    path.rename(path.with_name("s6mwp1_probseg.nii.gz"))
    save(scans.path("sub-03", "week2"), density(shape=(5, 6, 5)))
    name, grid = scans.problems()
    assert "found a smoothed one" in name
    assert grid.startswith("sub-03_ses-week2")


def test_images_are_checked_though_participants_have_problems(scans):
    scans.tiny.participants.loc[0, "participant_id"] = "Sub-01"
    scans.tiny.participants.loc[1, "withdrawn_after"] = "Week 1"
    scans.path("sub-02", "week2").unlink()  # excused, though the visit cannot be told
    assert scans.problems() == []
    scans.path("sub-03", "week2").unlink()
    (found,) = scans.problems()
    assert found.startswith("sub-03: maps of ses-baseline and ses-week2 expected")


def test_other_affine_is_refused(scans):
    moved = AFFINE.copy()
    moved[0, 3] = 1.5
    save(scans.path("sub-02", "week2"), density(), moved)
    (found,) = scans.problems()
    assert found.startswith("sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: affine [[3.")
    assert "1.5" in found.split("found")[1]
    assert "1.5" not in found.split("found")[0]


def test_image_on_the_other_side_is_refused(scans):
    save(scans.path("sub-02", "week2"), density(), np.diag([-3.0, 3, 3, 1]))  # x from -12 to 0
    assert "affine" in scans.problems()[0]


def test_affine_may_differ_by_rounding(scans):
    save(scans.path("sub-02", "week2"), density(), AFFINE + 1e-5)
    assert scans.problems() == []


def test_image_full_of_nan_is_refused(scans):
    save(scans.path("sub-02", "week2"), np.full(SHAPE, np.nan))
    (found,) = scans.problems()
    assert found == (
        "sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: finite values in the brain (NaN "
        "is read as 0 outside it) expected, found NaN or infinite in 120 voxels (100.0%), the "
        "first at (0, 0, 0) mm. Did a step before fail there? Make it again"
    )


def test_single_infinite_voxel_is_refused(scans):
    data = density()
    data[0, 0, 0] = np.inf
    save(scans.path("sub-02", "week2"), data)
    assert (
        "found NaN or infinite in 1 voxel (0.8%), the first at (0, 0, 0) mm" in scans.problems()[0]
    )


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (density() - 0.5, "values -0.39"),
        (255 * density(), "to 229"),
    ],
)
def test_what_is_no_grey_matter_map_is_refused(tmp_path, data, found):
    path = save(tmp_path / "map.nii.gz", data)
    with pytest.raises(StudyError, match="values from 0 to about 1") as caught:
        map_file.load_map(path)
    assert found in str(caught.value)
    assert str(caught.value).startswith("map.nii.gz: a three-dimensional grey-matter map")


def test_file_that_is_no_image_is_named(scans):
    scans.path("sub-02", "week2").write_bytes(b"no image")
    (found,) = scans.problems()
    assert found.startswith("sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: ")
    assert "a readable NIfTI image expected" in found


def test_truncated_image_is_named(scans):
    path = scans.path("sub-02", "week2")
    save(path, density(shape=(20, 20, 20)))
    save(scans.path("sub-01", "baseline"), density(shape=(20, 20, 20)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StudyError, match=r"sub-02_ses-week2.*a readable NIfTI image expected"):
        map_file.load_map(path)
    assert any("sub-02_ses-week2" in p and "readable" in p for p in scans.problems())


# --- where the brain lies


def test_map_where_mni_space_has_its_brain_is_right(scans):
    for i, (who, visit) in enumerate(scans.all()):
        save(scans.path(who, visit), density(i), MNI)
    assert scans.problems() == []


def test_grid_that_begins_at_the_origin_is_not_in_mni_space(scans):
    for i, (who, visit) in enumerate(scans.all()):
        save(scans.path(who, visit), density(i), np.diag([36.0, 36, 36, 1]))
    found = scans.problems()
    assert found[0] == (
        "sub-01_ses-baseline_label-GM_desc-modulated_probseg.nii.gz: a grid that holds the brain "
        "in MNI space (x -60 to 60, y -90 to 60, z -30 to 60 mm) expected, found x 0 to 144, "
        "y 0 to 180, z 0 to 108 mm. Is it in the participant's own space? Give the normalised map"
    )


def test_oblique_grid_is_not_in_mni_space(tmp_path):
    turned = MNI.copy()
    turned[:2, :2] = 36 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    path = save(tmp_path / "native.nii.gz", density(), turned)
    with pytest.raises(
        StudyError, match=r"native\.nii\.gz: axes along those of MNI space expected"
    ):
        grids.check_grids([path])


def test_grid_with_x_from_right_to_left_is_in_mni_space(tmp_path):
    flipped = MNI.copy()
    flipped[0] = [-36, 0, 0, 72]
    path = save(tmp_path / "las.nii.gz", density(), flipped)
    plain = nib.affines.from_matvec(np.diag([36, 36, 36]), [-72, -110, -45])
    np.testing.assert_array_equal(grids.check_grids([path]), plain)


@pytest.mark.parametrize(
    ("shape", "voxel", "origin"),
    [
        ((113, 137, 113), [-1.5, 1.5, 1.5], [84, -120, -72]),  # CAT12, deepmriprep
        ((121, 145, 121), [-1.5, 1.5, 1.5], [90, -126, -72]),  # SPM
        ((193, 229, 193), [1, 1, 1], [-96, -132, -78]),  # fMRIPrep, MNI152NLin2009cAsym
    ],
)
def test_grids_of_the_programs_are_in_mni_space(tmp_path, shape, voxel, origin):
    affine = nib.affines.from_matvec(np.diag(voxel), origin)
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), tmp_path / "map.nii")
    found = grids.check_grids([tmp_path / "map.nii"])
    np.testing.assert_array_equal(np.diag(found), np.abs(np.diag(affine)))
    np.testing.assert_array_equal(found[:3, 3], [-abs(origin[0]), *origin[1:]])


def test_grey_matter_far_from_its_place_is_found(scans):
    for i, (who, visit) in enumerate(scans.all()):
        save(scans.path(who, visit), density(i), MNI)
    low = np.zeros(SHAPE)
    low[2, 2, 0], low[2, 2, 1] = 0.8, 1e-9  # hardly more than one voxel, at 0, -38, -45 mm
    save(scans.path("sub-02", "week2"), low, MNI)
    (found,) = scans.problems()
    assert found.startswith(
        "sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: the centre of grey matter within "
        "25 mm of (0, -23, 5) expected, as in MNI space, found (0, -38, -45)."
    )


# --- total intracranial volume


def test_tiv_column_of_participants_comes_first(scans):
    scans.tiny.participants["tiv"] = [1500, 1400, 1300, 1200]
    for folder, stem in scans.move(CAT12, CAT12_GLOB):
        write(folder.parent / f"report/cat_{stem}.xml", cat12_report(1600))
    tiv = scans.tiv()
    assert tiv.to_dict() == {"sub-01": 1500, "sub-02": 1400, "sub-03": 1300, "sub-04": 1200}
    assert tiv.attrs == {"source": "column tiv of participants.tsv", "problems": []}


@pytest.mark.parametrize(
    ("name", "report"),
    [
        (CAT12, "../report/cat_{stem}.xml"),
        (CAT12.replace("/mri/", "/"), "cat_{stem}.xml"),
        (CAT12.replace("mwp1", "mwp1r"), "../report/cat_r{stem}.xml"),
        (CAT12.replace("mwp1", "mwmwp1r"), "../report/cat_r{stem}.xml"),
    ],
)
def test_tiv_is_read_from_reports_of_cat12_and_averaged_over_sessions(scans, name, report):
    glob = name.format(who="sub-*", visit="*", stem="*")
    for i, (folder, stem) in enumerate(scans.move(name, glob)):
        write(folder / report.format(stem=stem), cat12_report(1400.5 + 10 * i))
    tiv = scans.tiv()
    np.testing.assert_allclose(tiv, [1405.5, 1425.5, 1445.5, 1465.5])
    assert list(tiv.index) == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert tiv.attrs == {"source": "CAT12's reports (vol_TIV)", "problems": []}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("derivatives/deepmriprep/{who}/ses-{visit}/anat/mri/mwp1{stem}.nii.gz", "../label/tiv"),
        ("deepmriprep/{stem}/mwp1{stem}.nii.gz", "tiv"),
        ("deepmriprep/mwp1/{stem}.nii.gz", "../tiv/"),
    ],
)
def test_tiv_is_read_from_tables_of_deepmriprep(scans, name, table):
    for folder, stem in scans.move(name, name.format(who="sub-*", visit="*", stem="*")):
        write(folder / f"{table}{stem}.csv", "tiv_cm3\n1512.25\n")
    tiv = scans.tiv()
    assert list(tiv) == [1512.25] * 4
    assert tiv.attrs["source"] == "deepmriprep's tables (tiv_cm3)"


def test_tiv_is_read_from_sidecars_of_this_project(scans):
    for i, (who, visit) in enumerate(scans.all()):
        scans.sidecar(who, visit, {"TIV_ml": 1400 + 10 * (i // 2), "SkullStripped": True})
    tiv = scans.tiv()
    assert list(tiv) == [1400, 1410, 1420, 1430]
    assert tiv.attrs["source"] == "JSON files beside the maps (TIV_ml)"


def test_tiv_that_nobody_has_is_none(scans):
    scans.sidecar("sub-01", "week2", {"SkullStripped": True})
    scans.tiny.participants["tiv"] = "n/a"
    assert scans.tiv() is None


def test_tiv_is_looked_up_for_the_scanned_and_not_excluded_alone(scans):
    for who, visit in scans.all():
        scans.sidecar(who, visit, {"TIV_ml": 1400})
    for visit in ("baseline", "week2"):
        scans.path("sub-03", visit).unlink()
        scans.path("sub-04", visit).with_suffix("").with_suffix(".json").unlink()
    scans.tiny.participants["drop"] = [0, 0, 0, 1]
    scans.tiny.content["exclude"] = {"drop": 1}
    assert list(scans.tiv().index) == ["sub-01", "sub-02"]


def test_tiv_that_differs_between_sessions_is_averaged_and_reported(scans):
    for who, visit in scans.all():
        scans.sidecar(who, visit, {"TIV_ml": 1400})
    scans.sidecar("sub-02", "week2", {"TIV_ml": 1466})  # 4.6 % of the mean
    scans.sidecar("sub-03", "week2", {"TIV_ml": 1480})  # 5.6 %
    tiv = scans.tiv()
    assert list(tiv) == [1400, 1433, 1440, 1400]
    problem = (
        "sub-03: total intracranial volumes within 5% of each other expected, found 1400 ml "
        "(ses-baseline), 1480 ml (ses-week2) in JSON files beside the maps (TIV_ml). A head keeps "
        "its size: look at both segmentations"
    )
    assert lines(tiv.attrs["problems"]) == [problem]
    assert scans.problems() == [problem]


def test_participants_without_tiv_are_named(scans):
    folders = list(scans.move(CAT12, CAT12_GLOB))
    for folder, stem in folders[:-1]:
        write(folder.parent / f"report/cat_{stem}.xml", cat12_report(1500))
    with pytest.raises(StudyError) as caught:
        scans.tiv()
    assert str(caught.value) == (
        "total intracranial volume: for every participant from CAT12's reports (vol_TIV) expected, "
        "found sub-04, ses-week2: none. Complete them, or give all of them in column tiv of "
        "participants.tsv"
    )
    assert scans.problems() == []  # a gap matters to those alone who adjust for head size


def test_tiv_column_with_a_gap_names_the_participant(scans):
    scans.tiny.participants["tiv"] = [1500, "n/a", 1300, 1200]
    with pytest.raises(
        StudyError, match=r"column tiv of participants\.tsv expected, found sub-02: "
    ):
        scans.tiv()


def test_mixed_sources_of_tiv_are_refused(scans):
    folders = list(scans.move(CAT12, CAT12_GLOB))
    for folder, stem in folders[:6]:
        write(folder.parent / f"report/cat_{stem}.xml", cat12_report(1500))
    for folder, stem in folders[6:]:
        write(folder / f"mwp1{stem}.json", json.dumps({"TIV_ml": 1500}))
    with pytest.raises(StudyError) as caught:
        scans.tiv()
    assert (
        "from CAT12's reports (vol_TIV) expected, found sub-04, ses-baseline: from JSON files "
        "beside the maps (TIV_ml); sub-04, ses-week2: from JSON files"
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (cat12_report(1500)[:300], "a report of CAT12 (XML) expected, found: "),
        ("<S><QAS/></S>", "an element subjectmeasures/vol_TIV expected, found none."),
        (
            cat12_report("NaN"),
            "a total intracranial volume of 500 to 2500 ml expected, found 'NaN'",
        ),
        (cat12_report(1.5), "a total intracranial volume of 500 to 2500 ml expected, found '1.5'"),
        (cat12_report(""), "a total intracranial volume of 500 to 2500 ml expected, found ''"),
    ],
)
def test_report_that_holds_no_tiv_is_named(scans, text, found):
    for folder, stem in scans.move(CAT12, CAT12_GLOB):
        write(folder.parent / f"report/cat_{stem}.xml", cat12_report(1500))
    where = "derivatives/CAT12.9/sub-04/ses-week2/anat/report/cat_sub-04_ses-week2_T1w.xml"
    write(scans.tiny.folder / "bids" / where, text)
    with pytest.raises(StudyError) as caught:
        scans.tiv()
    assert str(caught.value).startswith(f"{where}: {found}")
    assert scans.problems() == lines(caught.value.problems)


@pytest.mark.parametrize("text", ["", "tiv_cm3\n", "0\n1512.25\n", "a,b\n1,2\n"])
def test_table_of_deepmriprep_in_another_form_is_named(scans, text):
    name = "deepmriprep/{stem}/mwp1{stem}.nii.gz"
    for folder, stem in scans.move(name, name.format(stem="*")):
        write(folder / f"tiv{stem}.csv", text)
    with pytest.raises(
        StudyError, match=r"T1w\.csv: a header tiv_cm3 and one value expected, found"
    ):
        scans.tiv()


@pytest.mark.parametrize(
    ("about", "found"),
    [
        ('{"TIV_ml": ', "a JSON file expected, found "),
        ('{"TIV_ml": "big"}', "volume of 500 to 2500 ml expected, found 'big'"),
        ('{"TIV_ml": [1500, 1500]}', "volume of 500 to 2500 ml expected, found [1500, 1500]"),
        ('{"TIV_ml": 1500000}', "volume of 500 to 2500 ml expected, found 1500000"),
    ],
)
def test_sidecar_that_holds_no_tiv_is_named(scans, about, found):
    scans.sidecar("sub-02", "week2", {}).write_text(about)
    (problem,) = scans.problems()
    where = "derivatives/vbm/sub-02/ses-week2/anat/sub-02_ses-week2_label-GM_desc-modulated_probseg"
    assert problem.startswith(f"{where}.json: ")
    assert found in problem


@pytest.mark.parametrize(("value", "shown"), [("big", "big"), (1.4, "1.4"), (1.4e6, "1400000.0")])
def test_tiv_column_in_other_units_is_refused(scans, value, shown):
    scans.tiny.participants["tiv"] = [1500, value, 1300, 1200]
    with pytest.raises(StudyError) as caught:
        scans.tiv()
    assert str(caught.value) == (
        "participants.tsv: tiv: a total intracranial volume of 500 to 2500 ml expected, found "
        f"sub-02: {shown}"
    )


# --- numbers


def test_smoothing_keeps_the_sum_and_spreads_the_values(tmp_path):
    data = np.zeros((25, 25, 25))
    data[12, 12, 12], data[0, 0, 0] = 1, 1e-9  # two values alone would be a mask
    path = save(tmp_path / "point.nii.gz", data)
    plain, smooth = vbm_maps.smooth_map(path, 0), vbm_maps.smooth_map(path, 8)
    assert plain.dtype == smooth.dtype == np.float32
    np.testing.assert_array_equal(plain, data.astype(np.float32))
    assert smooth.sum() == pytest.approx(1, abs=1e-3)
    # half of the maximum lies at half of the width: 4 mm, between the voxels at 3 and 6 mm
    profile = smooth[12:, 12, 12] / smooth[12, 12, 12]
    assert profile[1] == pytest.approx(2 ** -((3 / 4) ** 2), abs=0.02)
    assert profile[2] == pytest.approx(2 ** -((6 / 4) ** 2), abs=0.02)


def test_mask_holds_voxels_above_the_mean_threshold():
    maps = np.array([[0.0, 0.25, 0.5], [0.25, 0.25, 0.25]]).reshape(2, 3, 1, 1)
    assert vbm_maps.grey_matter_mask(maps, 0.25).ravel().tolist() == [False, False, True]


def test_mask_without_voxels_is_refused():
    with pytest.raises(ValueError, match=r"mask_threshold 0\.9 leaves no voxel"):
        vbm_maps.grey_matter_mask(np.full((2, 3, 3, 3), 0.5), 0.9)


def test_homogeneity_is_the_mean_correlation_with_the_others():
    maps = np.random.default_rng(0).standard_normal((4, 50))
    expected = np.mean([np.corrcoef(maps[1], maps[i])[0, 1] for i in (0, 2, 3)])
    assert vbm_maps.homogeneity(maps)["mean_correlation"][1] == pytest.approx(expected)


def test_robust_z_is_in_standard_deviations_and_ignores_what_is_far_off():
    values = np.random.default_rng(3).normal(20, 5, 20_001)
    z = grids.robust_z([*values, 1e9, np.nan])
    assert np.std(z[:-2]) == pytest.approx(1, abs=0.03)
    assert z[-2] > 1e8
    assert np.isnan(z[-1])
    assert np.median(z[:-1]) == pytest.approx(0, abs=1e-3)
    assert not grids.robust_z([1, 1, 1, 5]).any()  # no spread to measure it by


def test_homogeneity_finds_a_planted_outlier_and_no_other():
    rng = np.random.default_rng(0)
    common = rng.standard_normal(400)
    maps = common + 0.3 * rng.standard_normal((12, 400))
    maps[7] = np.roll(maps[7], 5)
    score = vbm_maps.homogeneity(maps)["outlier_score"]
    assert score[7] > 10
    assert score.drop(7).max() < 4


def test_a_reason_in_words_explains_a_missing_scan(scans):
    scans.path("sub-02", "week2").unlink()
    scans.tiny.participants["image_missing"] = ["n/a", "scanner broke", "n/a", "n/a"]
    pairs = scans.pairs().set_index("participant_id")
    assert pairs.loc["sub-02", "status"] == "no image at week2: scanner broke"


def test_withdrawal_after_the_second_session_does_not_excuse_a_missing_map(scans):
    scans.path("sub-03", "week2").unlink()
    scans.tiny.participants.loc[2, "withdrawn_after"] = "week2"
    (found,) = scans.problems()
    assert found.startswith("sub-03: maps of ses-baseline and ses-week2 expected")


def test_withdrawal_does_not_excuse_a_missing_first_map(scans):
    scans.path("sub-03", "baseline").unlink()
    scans.tiny.participants.loc[2, "withdrawn_after"] = "week1"
    (found,) = scans.problems()
    assert "found ses-week2 only" in found


def test_values_and_mask_come_from_the_smoothed_maps(tmp_path):
    paths = [save(tmp_path / f"{i}.nii.gz", density(i, (9, 9, 9))) for i in range(3)]
    values, mask = vbm_maps.smooth_in_mask(paths, 6, 0.45)
    smoothed = np.stack([vbm_maps.smooth_map(path, 6) for path in paths])
    np.testing.assert_array_equal(mask, smoothed.mean(axis=0) > 0.45)
    np.testing.assert_array_equal(values, smoothed[:, mask])
