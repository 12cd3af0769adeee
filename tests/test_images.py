"""Grey-matter maps: what is found and paired, and what bad maps are told."""

import nibabel as nib
import numpy as np
import pytest

from analysis_lib import images, ratings
from analysis_lib.study import StudyError

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
SHAPE = (5, 6, 4)
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
        people = ratings.read_participants(study)
        return study, people, images.find_maps(study, people)

    def pairs(self):
        return images.pair_maps(*self.read())

    def problems(self):
        return images.problems(self.tiny.write())


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


def test_names_of_cat12_are_understood(scans):
    root = scans.tiny.folder / "bids"
    for i in range(1, 5):
        for visit in ("baseline", "week2"):
            save(root / f"cat12/sub-{i:02d}/ses-{visit}/mri/mwp1T1.nii", density(i))
    scans.tiny.content["imaging"]["grey_matter"] = "cat12/sub-*/ses-*/mri/mwp1*.nii"
    assert list(scans.pairs()["status"]) == ["analysed"] * 4


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


def test_study_without_imaging_has_no_maps(tiny):
    study = tiny.write()
    assert images.find_maps(study, ratings.read_participants(study)).empty
    assert images.problems(study) == []


# --- grids and values


def test_other_shape_is_refused(scans):
    save(scans.path("sub-02", "week2"), density(shape=(5, 6, 5)))
    (found,) = scans.problems()
    assert found == (
        "sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: shape (5, 6, 4) expected (as "
        "sub-01_ses-baseline_label-GM_desc-modulated_probseg.nii.gz), found (5, 6, 5). "
        "Resample the maps to one grid first; nothing is resampled here"
    )


def test_other_affine_is_refused(scans):
    moved = AFFINE.copy()
    moved[0, 3] = 1.5
    save(scans.path("sub-02", "week2"), density(), moved)
    (found,) = scans.problems()
    assert found.startswith("sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: affine [[3.")
    assert "1.5" in found.split("found")[1]
    assert "1.5" not in found.split("found")[0]


def test_flipped_image_is_refused(scans):
    save(scans.path("sub-02", "week2"), density(), np.diag([-3.0, 3, 3, 1]))
    assert "affine" in scans.problems()[0]


def test_affine_may_differ_by_rounding(scans):
    save(scans.path("sub-02", "week2"), density(), AFFINE + 1e-5)
    assert scans.problems() == []


def test_image_full_of_nan_is_refused(scans):
    save(scans.path("sub-02", "week2"), np.full(SHAPE, np.nan))
    assert scans.problems() == [
        "sub-02_ses-week2_label-GM_desc-modulated_probseg.nii.gz: "
        "finite values expected, found 100.0% NaN or infinite"
    ]


def test_single_infinite_voxel_is_refused(scans):
    data = density()
    data[0, 0, 0] = np.inf
    save(scans.path("sub-02", "week2"), data)
    assert "finite values expected, found 0.8% NaN or infinite" in scans.problems()[0]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (np.zeros(SHAPE), "values 0 to 0"),
        (density() - 0.5, "values -0.39"),
        (255 * density(), "to 229"),
        (np.stack([density(), density()], axis=-1), "shape (5, 6, 4, 2)"),
    ],
)
def test_what_is_no_grey_matter_map_is_refused(tmp_path, data, found):
    path = save(tmp_path / "map.nii.gz", data)
    with pytest.raises(StudyError, match="values from 0 to about 1") as caught:
        images.load_map(path)
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
        images.load_map(path)
    assert any("sub-02_ses-week2" in p and "readable" in p for p in scans.problems())


# --- numbers


def test_smoothing_keeps_the_sum_and_spreads_the_values(tmp_path):
    data = np.zeros((25, 25, 25))
    data[12, 12, 12] = 1
    path = save(tmp_path / "point.nii.gz", data)
    plain, smooth = images.smooth_map(path, 0), images.smooth_map(path, 8)
    assert plain.dtype == smooth.dtype == np.float32
    np.testing.assert_array_equal(plain, data.astype(np.float32))
    assert smooth.sum() == pytest.approx(1, abs=1e-3)
    # half of the maximum lies at half of the width: 4 mm, between the voxels at 3 and 6 mm
    profile = smooth[12:, 12, 12] / smooth[12, 12, 12]
    assert profile[1] == pytest.approx(2 ** -((3 / 4) ** 2), abs=0.02)
    assert profile[2] == pytest.approx(2 ** -((6 / 4) ** 2), abs=0.02)


def test_volume_is_the_sum_times_the_voxel(tmp_path):
    path = save(tmp_path / "half.nii.gz", np.full((10, 10, 10), 0.5))
    np.testing.assert_allclose(images.volumes_ml([path]), [1000 * 0.5 * 27 / 1000])


def test_mask_holds_voxels_above_the_mean_threshold():
    maps = np.array([[0.0, 0.25, 0.5], [0.25, 0.25, 0.25]]).reshape(2, 3, 1, 1)
    assert images.grey_matter_mask(maps, 0.25).ravel().tolist() == [False, False, True]


def test_mask_without_voxels_is_refused():
    with pytest.raises(ValueError, match=r"mask_threshold 0\.9 leaves no voxel"):
        images.grey_matter_mask(np.full((2, 3, 3, 3), 0.5), 0.9)


def test_homogeneity_is_the_mean_correlation_with_the_others():
    maps = np.random.default_rng(0).standard_normal((4, 50))
    expected = np.mean([np.corrcoef(maps[1], maps[i])[0, 1] for i in (0, 2, 3)])
    assert images.homogeneity(maps)["mean_correlation"][1] == pytest.approx(expected)


def test_homogeneity_finds_a_planted_outlier_and_no_other():
    rng = np.random.default_rng(0)
    common = rng.standard_normal(400)
    maps = common + 0.3 * rng.standard_normal((12, 400))
    maps[7] = np.roll(maps[7], 5)
    score = images.homogeneity(maps)["outlier_score"]
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


def test_a_map_that_is_smoothed_already_is_refused(scans):
    plain = scans.path("sub-01", "week2")
    smoothed = plain.with_name("s6mwp1sub-01_ses-week2_probseg.nii.gz")
    plain.rename(smoothed)
    assert any("a modulated map expected" in problem for problem in scans.problems())


def test_values_and_mask_come_from_the_smoothed_maps(tmp_path):
    paths = [save(tmp_path / f"{i}.nii.gz", density(i, (9, 9, 9))) for i in range(3)]
    values, mask = images.smooth_in_mask(paths, 6, 0.45)
    smoothed = np.stack([images.smooth_map(path, 6) for path in paths])
    np.testing.assert_array_equal(mask, smoothed.mean(axis=0) > 0.45)
    np.testing.assert_array_equal(values, smoothed[:, mask])
