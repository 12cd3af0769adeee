"""What a study file may read: its own folders, and what it names on purpose."""

import shutil

import pytest

from analysis_lib.results.problems import StudyError
from analysis_lib.study.contract import load_study


def refused(tiny, place):
    with pytest.raises(StudyError, match=rf"tiny\.yml: {place}: a path inside .*outside: true"):
        tiny.write()
    tiny.content["outside"] = True
    return tiny.write()


@pytest.fixture
def beyond(tiny):
    """A folder beside that of the study."""
    folder = tiny.folder.parent / f"{tiny.folder.name}-beyond"
    folder.mkdir()
    return folder


def test_a_scale_above_the_study_is_refused_unless_it_is_meant(tiny):
    tiny.content["scales"][1]["file"] = "../../hama.tsv"
    refused(tiny, r"scales \(HAMA\)")


def test_an_absolute_receptor_map_is_refused_unless_it_is_meant(tiny, beyond):
    own = {"receptor": "D1", "file": str(beyond / "d1.nii.gz")}
    tiny.content["receptors"] = ["MOR", own]
    refused(tiny, "receptors")


def test_an_atlas_elsewhere_is_refused_unless_it_is_meant(tiny, beyond):
    (beyond / "atlas.nii.gz").write_bytes(b"")
    tiny.content["atlas"] = str(beyond / "atlas.nii.gz")
    refused(tiny, "atlas")


def test_a_link_counts_by_where_it_leads(tiny, beyond):
    study = tiny.write()
    for name in ("participants.tsv", "phenotype/hama.tsv"):
        (study.root / name).rename(beyond / "table.tsv")
        (study.root / name).symlink_to(beyond / "table.tsv")
        with pytest.raises(StudyError, match=r"found .*-beyond/table\.tsv"):
            load_study(study.path)
        shutil.move(beyond / "table.tsv", study.root / name)
    assert load_study(study.path).root == study.root


def test_an_image_behind_a_linked_folder_is_refused(tiny, beyond):
    tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}}
    study = tiny.write()
    (beyond / "ses-baseline" / "anat").mkdir(parents=True)
    (beyond / "ses-baseline" / "anat" / "sub-01_T1w.nii.gz").write_bytes(b"")
    (study.root / "sub-01").symlink_to(beyond)
    with pytest.raises(StudyError, match="sub-01_T1w"):
        load_study(study.path)


def test_an_absolute_data_folder_is_named_on_purpose(tiny, beyond):
    tiny.content["data"] = str(beyond / "bids")
    assert tiny.write().root == (beyond / "bids").resolve()
    tiny.content["data"] = f"../{beyond.name}/bids"
    refused(tiny, "data")


def test_studies_and_raw_may_lie_side_by_side(tiny):
    study = tiny.write()
    (tiny.folder / "studies").mkdir()
    moved = tiny.folder / "studies" / "tiny.yml"
    moved.write_text(study.path.read_text("utf-8").replace("data: bids", "data: ../bids"), "utf-8")
    assert load_study(moved).root == study.root
