"""What maps hold, against one another and the template: each fault is planted in sound maps."""

import nibabel as nib
import numpy as np
import pytest
from bad_input.images import AFFINE, SHAPE, brains

from analysis_lib.study import participants
from analysis_lib.vbm import content

GLOB = "derivatives/sub-*/ses-*/mwp1*.nii"


class Trial:
    """The tiny trial with two maps of each of eight participants: template times their own."""

    def __init__(self, tiny):
        self.tiny = tiny
        sessions = {"pre": "baseline", "post": "week2"}
        tiny.content["imaging"] = {"sessions": sessions, "grey_matter": GLOB}
        self.maps = brains(tiny.participants["participant_id"], sessions.values())

    def change(self, who, visit, function):
        self.maps[who, visit] = function(self.maps[who, visit])

    def problems(self, affines=()):
        for (who, visit), data in self.maps.items():
            path = self.tiny.folder / f"bids/derivatives/{who}/ses-{visit}/mwp1{who}_{visit}.nii"
            path.parent.mkdir(parents=True, exist_ok=True)
            affine = dict(affines).get((who, visit), AFFINE)
            nib.save(nib.Nifti1Image(data.astype("f4"), affine), path)
        study = self.tiny.write()
        return content.problems(study, participants.read_participants(study))

    def told(self, **more):
        found = self.problems(**more)
        return [(p.severity, p.file or p.place, str(p.found or p.text)) for p in found]


@pytest.fixture
def trial(tiny):
    return Trial(tiny)


def test_sound_maps_have_no_problems(trial):
    assert trial.told() == []


def test_exchanged_participants_are_both_named(trial):
    first, second = ("sub-02", "week2"), ("sub-05", "week2")
    trial.maps[first], trial.maps[second] = trial.maps[second], trial.maps[first]
    ((severity, who, found),) = trial.told()
    assert (severity, who) == ("warning", "sub-02 and sub-05")
    assert found.endswith("with the second map of sub-05")


def test_a_strangers_map_in_one_place_is_told_of_its_participant(trial):
    noisy = trial.maps["sub-05", "week2"] * np.random.default_rng(9).normal(1, 0.05, SHAPE)
    trial.change("sub-02", "week2", lambda m: noisy)
    told = trial.told()
    assert [one[:2] for one in told if one[1].startswith("sub-")] == [("warning", "sub-02")]


@pytest.mark.parametrize(
    "twin", [("sub-02", "baseline"), ("sub-05", "week2")], ids=["pre is post", "two participants"]
)
def test_the_same_values_twice_are_refused(trial, twin):
    trial.maps["sub-02", "week2"] = trial.maps[twin].copy()
    errors = [(name, found) for severity, name, found in trial.told() if severity == "error"]
    names = {f"mwp1{who}_{visit}.nii" for who, visit in (twin, ("sub-02", "week2"))}
    ((name, found),) = errors
    assert {name, found.split()[-1]} == names
    assert found.startswith("the same values in every voxel as")


@pytest.mark.parametrize(("axes", "name"), [(1, "y"), (2, "z"), ((1, 2), "y and z")])
def test_a_map_upside_down_or_back_to_front_is_refused(trial, axes, name):
    trial.change("sub-03", "baseline", lambda m: np.flip(m, axes))
    severity, file, found = next(one for one in trial.told() if one[0] == "error")
    assert (severity, file) == ("error", "mwp1sub-03_baseline.nii")
    assert f"with {name} reversed, in mwp1sub-03" in found


def test_a_mirrored_map_is_refused_though_the_template_is_symmetric(trial):
    trial.change("sub-03", "baseline", lambda m: m[::-1])
    errors = [one for one in trial.told() if one[0] == "error"]
    assert [(who, "mirrored" in found) for _, who, found in errors] == [("sub-03", True)]


@pytest.mark.parametrize(("factor", "told"), [(1.3, "+30%"), (0.9, "-10%"), (1.05, None)])
def test_a_total_that_changes_too_much_is_told(trial, factor, told):
    trial.maps["sub-04", "week2"] = factor * trial.maps["sub-04", "baseline"]
    found = [(s, who, words[-5:-1]) for s, who, words in trial.told()]
    assert found == ([("warning", "sub-04", told)] if told else [])


def test_a_total_that_no_brain_has_is_told_of_each_map(trial):
    for key in trial.maps:
        trial.change(*key, lambda m: 2 * m)
    told = trial.told()
    assert len(told) == 16
    assert all(severity == "warning" and found.endswith(" ml") for severity, _, found in told)


def test_a_map_unlike_the_others_is_told_with_its_score(trial):
    noise = np.random.default_rng(5).uniform(0.5, 1.5, SHAPE)
    for visit in ("baseline", "week2"):
        trial.change("sub-06", visit, lambda m: np.roll(m, 1, axis=0) * noise)
    assert {(one.file, one.severity) for one in trial.problems() if "outlier" in one.expected} == {
        (f"mwp1sub-06_{visit}.nii", "warning") for visit in ("baseline", "week2")
    }


def test_what_is_read_over_is_counted_by_kind(trial):
    for visit in ("baseline", "week2"):
        trial.maps["sub-01", visit][0] = np.nan
    trial.change("sub-02", "week2", lambda m: m[::-1])
    left, moved = AFFINE.copy(), AFFINE.copy()
    left[0], moved[0, 3] = [-8, 0, 0, 80], AFFINE[0, 3] + 0.002
    affines = {("sub-02", "week2"): left, ("sub-07", "week2"): moved}
    told = [text for _, place, text in trial.told(affines=affines.items())]
    assert told == [
        "NaN outside the brain, read as 0 in 2 of 16 maps: mwp1sub-01_baseline.nii (500 voxels), "
        "mwp1sub-01_week2.nii (500 voxels)",
        "axes turned to those of the others (RAS) without interpolation in 1 of 16 maps: "
        "mwp1sub-02_week2.nii (LAS)",
        "grid a little off, taken for the others' in 1 of 16 maps: mwp1sub-07_week2.nii (0.002 mm)",
    ]


def test_one_against_seven_is_refused_before_anything_is_computed(trial):
    for who in ("sub-03", "sub-05", "sub-07"):
        for visit in ("baseline", "week2"):
            del trial.maps[who, visit]
    ((severity, _, found),) = trial.told()
    assert (severity, found) == ("error", "1 active, 4 sham")
