"""Receptor library and its files, against neuromaps' own metadata and real maps."""

import hashlib
import shutil

import neuromaps.datasets.utils as neuromaps_utils
import nibabel as nib
import numpy as np
import pytest

from analysis_lib import annotations

D1 = "kaller2017/sch23390"
FEOBV = "tuominen/feobv"


@pytest.fixture
def real_cache(reference_data, monkeypatch):
    folder = reference_data / "data" / "neuromaps"
    monkeypatch.setenv("NEUROMAPS_DATA", str(folder))
    return folder


def test_library_agrees_with_neuromaps_own_metadata():
    entries = {
        f"{entry['annot']['source']}/{entry['annot']['desc']}": entry
        for entry in neuromaps_utils.NEUROMAPS_META["annotations"]
        if entry["annot"]["space"] == "MNI152"
    }
    for annotation, row in annotations.library().iterrows():
        entry = entries[annotation]
        about = entry["full_desc"].lower().replace("-", "")
        assert row["receptor"].lower().replace("-", "") in about
        assert row["n_subjects"] == entry["demographics"]["N"]
        assert row["res"] == entry["annot"]["res"]
        assert bool(row["note"]) == ("subcortical" in entry.get("warning", ""))
        year = row["reference"][-4:]
        assert any(year in item["citation"] for item in entry["refs"]["primary"])


def test_every_map_of_the_library_is_found_and_whole(real_cache):
    found = {name: annotations.locate(name) for name in annotations.resolve("default")}
    assert len(set(found.values())) == 18
    assert all(path.is_relative_to(real_cache) for path in found.values())
    assert annotations.missing() == []


def test_cache_folder_follows_neuromaps_rule(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMAPS_DATA", str(tmp_path / "maps"))
    assert not (annotations.cache_folder()).exists()
    assert str(annotations.cache_folder()) == neuromaps_utils.get_data_dir()
    monkeypatch.delenv("NEUROMAPS_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert annotations.cache_folder() == tmp_path / "neuromaps-data"
    assert str(annotations.cache_folder()) == neuromaps_utils.get_data_dir()


def test_absent_map_names_the_command_and_creates_nothing(tmp_path):
    cache = tmp_path / "empty"
    with pytest.raises(
        annotations.MissingMap, match=f"{D1} is not at .*{annotations.FETCH_COMMAND}"
    ):
        annotations.locate(D1, cache)
    assert annotations.missing([D1, FEOBV], cache) == [D1, FEOBV]
    assert not cache.exists()


def test_wrong_file_is_named_with_both_checksums(tmp_path):
    record = annotations._record(D1)
    path = annotations._path(record, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a brain")
    with pytest.raises(annotations.WrongMap, match="expected md5") as caught:
        annotations.locate(D1, tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert f"expected md5 {record['checksum']}" in message
    assert f"found {hashlib.md5(b'not a brain').hexdigest()}" in message
    assert "remove it, then run python -m analysis_lib fetch receptors" in message
    assert path.read_bytes() == b"not a brain"


def test_unknown_annotation_lists_near_ones():
    with pytest.raises(ValueError, match="'kaller2017/sch23380' is unknown; near: kaller2017/sch2"):
        annotations.resolve(["kaller2017/sch23380"])
    with pytest.raises(ValueError, match="named twice: tuominen/feobv"):
        annotations.resolve([FEOBV, FEOBV])


def _publish(real_cache, damaged=False):
    """A stand-in for neuromaps' download that copies the real file."""

    def fetch_annotation(record, folder):
        target = annotations._path(record, folder)
        target.parent.mkdir(parents=True)
        shutil.copy(annotations._path(record, real_cache), target)
        if damaged:
            target.write_bytes(target.read_bytes()[:-1])

    return fetch_annotation


def test_fetch_gets_only_what_is_missing(real_cache, tmp_path, monkeypatch):
    asked = []
    copy = _publish(real_cache)
    monkeypatch.setattr(
        annotations,
        "_fetch_annotation",
        lambda record, folder: (asked.append(record["desc"]), copy(record, folder)),
    )
    first = annotations.fetch([D1], tmp_path, progress=False)
    before = first[D1].stat().st_mtime_ns
    both = annotations.fetch([D1, FEOBV], tmp_path, progress=False)
    assert asked == ["sch23390", "feobv"]
    assert both == {name: annotations.locate(name, tmp_path) for name in (D1, FEOBV)}
    assert both[D1].stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["annotations"]


def test_a_damaged_download_never_enters_the_cache(real_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "_fetch_annotation", _publish(real_cache, damaged=True))
    with pytest.raises(annotations.WrongMap, match=r"sch23390.*expected md5"):
        annotations.fetch([D1], tmp_path, progress=False)
    assert annotations.missing([D1], tmp_path) == [D1]
    assert not list(tmp_path.rglob("*.nii.gz"))


def test_offline_fetch_names_the_annotation_and_keeps_what_was_there(tmp_path, monkeypatch):
    def offline(record, folder):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(annotations, "_fetch_annotation", offline)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(annotations.FetchFailed, match=f"{D1} could not be downloaded .*no route"):
        annotations.fetch([D1], tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_neuromaps_itself_puts_the_file_where_it_is_looked_for(real_cache, tmp_path, monkeypatch):
    """Only the transfer is replaced: `fetch_annotation` is neuromaps' own."""
    original = annotations.locate(FEOBV)

    def transfer(url, folder, **_):
        folder.mkdir(parents=True)
        return shutil.copy(original, folder / "part")

    monkeypatch.setattr("neuromaps.datasets.annotations._fetch_file", transfer)
    path = annotations.fetch([FEOBV], tmp_path, progress=False)[FEOBV]
    assert path.relative_to(tmp_path) == original.relative_to(real_cache)
    assert path.read_bytes() == original.read_bytes()


def test_parcellated_library_ranks_regions_as_pharmacology_does(real_cache):
    maps = annotations.parcellate([D1, "dukart2018/fpcit", "beliveau2017/cumi101"])
    assert maps.shape == (3, 119)
    top = maps.rank(axis=1, ascending=False)
    striatum = [23, 30, 36, 37, 57, 58]
    assert (top.loc[D1, striatum] <= 6).all()
    assert (top.loc["dukart2018/fpcit", striatum] <= 8).all()  # the pallidum is among them
    assert annotations.uncovered(maps) == {"beliveau2017/cumi101": [36, 37]}


def test_simulated_maps_say_so_and_are_smooth_and_repeatable():
    weights = nib.Nifti1Image(np.ones((20, 24, 20), np.float32), np.diag([6.0, 6, 6, 1]))
    maps = annotations.simulated_maps(weights, seed=3)
    table = annotations.simulated_library()
    assert list(maps) == table.index.tolist()
    assert maps["simulated/D1"] is weights
    assert table["receptor"].str.startswith("simulated: ").all()
    assert set(table.columns) == set(annotations.library().columns)
    field = maps["simulated/DAT"].get_fdata()
    again = annotations.simulated_maps(weights, seed=3)["simulated/DAT"].get_fdata()
    np.testing.assert_array_equal(field, again)
    neighbours = np.corrcoef(field[1:].ravel(), field[:-1].ravel())[0, 1]
    assert neighbours > 0.9
    assert field.min() > 0
