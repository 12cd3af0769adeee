"""Result files: whole or not at all, described, the same bytes each time."""

import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis_lib.results import reading, writing

TABLE = pd.DataFrame({"arm": ["active", "control"], "n": [3, 4], "mean": [1.25, np.nan]})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def image():
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    return nib.Nifti1Image(data, np.eye(4))


def figure():
    fig, ax = plt.subplots(figsize=(1, 1))
    ax.plot([0, 1], [1, 0])
    plt.close(fig)
    return fig


# --- what is written


def test_table_gets_a_sidecar_that_describes_each_column(tmp_path):
    written = writing.write(tmp_path / "clinical", {"means.tsv": TABLE})
    assert [path.name for path in written] == ["means.json", "means.tsv"]
    sidecar = json.loads((tmp_path / "clinical/means.json").read_text())
    assert list(sidecar) == ["arm", "n", "mean"]
    assert sidecar["arm"]["Description"] == "trial arm: active or control"


def test_missing_is_written_as_in_bids_and_read_back(tmp_path):
    writing.write(tmp_path / "clinical", {"means.tsv": TABLE})
    text = (tmp_path / "clinical/means.tsv").read_text()
    assert text == "arm\tn\tmean\nactive\t3\t1.25\ncontrol\t4\tn/a\n"
    pd.testing.assert_frame_equal(reading.read_table(tmp_path / "clinical/means.tsv"), TABLE)


def test_words_that_pandas_takes_for_missing_are_kept(tmp_path):
    table = pd.DataFrame({"region": ["NA", "None", "null"], "t": [1.5, 2.0, 3.0]})
    writing.write(tmp_path / "vbm", {"a.tsv": table})
    pd.testing.assert_frame_equal(reading.read_table(tmp_path / "vbm/a.tsv"), table)


def test_every_kind_of_content_comes_back(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    folder = tmp_path / "vbm"
    content = {
        "list.json": [1, 2.5, None],
        "dict.json": {"a": np.int64(3), 2: [np.float64("nan"), (True, np.inf)]},
        "array.npy": array,
        "arrays.npz": {"a": array, "b": array[0]},
        "map.nii.gz": image(),
        "words.md": "µ and –\n",
        "fig": figure(),
    }
    writing.write(folder, content)
    assert reading.read_json(folder / "list.json") == [1, 2.5, None]
    assert reading.read_json(folder / "dict.json") == {"a": 3, "2": [None, [True, None]]}
    np.testing.assert_array_equal(np.load(folder / "array.npy"), array)
    np.testing.assert_array_equal(np.load(folder / "arrays.npz")["b"], array[0])
    np.testing.assert_array_equal(nib.load(folder / "map.nii.gz").get_fdata(), image().get_fdata())
    assert (folder / "words.md").read_text(encoding="utf-8") == "µ and –\n"
    assert (folder / "fig.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "fig.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize(
    ("make", "files"),
    [
        (lambda: {"map.nii.gz": image()}, ["map.nii.gz"]),
        (lambda: {"fig": figure()}, ["fig.pdf", "fig.png"]),
        (lambda: {"a.npz": {"a": np.arange(9.0)}}, ["a.npz"]),
    ],
)
def test_same_content_gives_the_same_bytes(tmp_path, make, files, monkeypatch):
    writing.write(tmp_path / "a", make())
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)  # another day
    writing.write(tmp_path / "b", make())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def drawn(shift=0.0):
    fig = figure()
    fig.axes[0].plot([0, 1], [shift, 1])
    return fig


def test_a_figure_that_differs_by_no_more_than_rounding_stays_and_is_dated_anew(tmp_path):
    folder = tmp_path / "figures"
    png, pdf = folder / "fig.png", folder / "fig.pdf"
    writing.write(folder, {"fig": drawn()})
    with Image.open(png) as image:
        pixels = np.asarray(image).astype(int)
    pixels[:9, :9, :3] -= 2  # white ones: what two machines can differ by
    Image.fromarray(pixels.astype(np.uint8)).save(png)
    committed = png.read_bytes(), pdf.read_bytes()
    for path in (png, pdf):
        os.utime(path, (1e9, 1e9))
    writing.write(folder, {"fig": drawn()})
    assert (png.read_bytes(), pdf.read_bytes()) == committed
    assert min(png.stat().st_mtime, pdf.stat().st_mtime) > 1e9  # the run has written them


@pytest.mark.parametrize("damage", [lambda path: path.write_text("no PNG"), Path.unlink])
def test_a_figure_that_differs_takes_the_place_of_the_other(tmp_path, damage):
    folder = tmp_path / "figures"
    writing.write(folder, {"fig": drawn()})
    before = [(folder / name).read_bytes() for name in ("fig.png", "fig.pdf")]
    writing.write(folder, {"fig": drawn(shift=0.05)})
    after = [(folder / name).read_bytes() for name in ("fig.png", "fig.pdf")]
    assert all(a != b for a, b in zip(after, before, strict=True))
    damage(folder / "fig.png")
    writing.write(folder, {"fig": drawn(shift=0.05)})
    assert [(folder / name).read_bytes() for name in ("fig.png", "fig.pdf")] == after


# --- whole or not at all


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"b.tsv": TABLE.assign(secret=1)}, r"b\.tsv: columns of .* found secret"),
        ({"b.bin": object()}, r"b\.bin: no way to write a object"),
    ],
)
def test_content_that_fails_leaves_everything_as_it_was(tmp_path, bad, message):
    folder = tmp_path / "clinical"
    writing.write(folder, {"a.tsv": TABLE})
    before = (folder / "a.tsv").read_bytes()
    with pytest.raises(ValueError, match=message):
        writing.write(folder, {"a.tsv": TABLE.assign(n=9), **bad})
    assert names(tmp_path) == ["clinical"]
    assert names(folder) == ["a.json", "a.tsv"]
    assert (folder / "a.tsv").read_bytes() == before


def test_first_write_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="no way to write"):
        writing.write(tmp_path / "clinical", {"a.tsv": TABLE, "b": object()})
    assert names(tmp_path) == []


def test_files_of_an_earlier_run_are_removed(tmp_path):
    writing.write(tmp_path / "vbm", {"old.json": [1], "kept.json": [1]})
    writing.write(tmp_path / "vbm", {"kept.json": [2]})
    assert names(tmp_path / "vbm") == ["kept.json"]
    assert reading.read_json(tmp_path / "vbm/kept.json") == [2]


def test_other_files_stay_when_asked(tmp_path):
    writing.write(tmp_path / "vbm", {"old.json": [1]})
    writing.write(tmp_path / "vbm", {"new.json": [2]}, keep_others=True)
    assert names(tmp_path / "vbm") == ["new.json", "old.json"]


# --- numbers.json


@pytest.fixture
def study(tiny, monkeypatch):
    monkeypatch.setenv("COMPENDIUM_OUTPUT", str(tiny.folder / "out"))
    return tiny.write()


def test_numbers_name_their_source(study):
    path = writing.write_numbers(study, "vbm", {"n": (np.int64(34), "summary.tsv")})
    assert path == study.derived / "numbers.json"
    assert reading.read_json(path) == {"vbm.n": {"value": 34, "source": "vbm/summary.tsv"}}


def test_numbers_of_a_section_replace_its_own_and_leave_the_others(study):
    writing.write_numbers(study, "clinical", {"a": (1, "a.tsv"), "b": (2, "b.tsv")})
    writing.write_numbers(study, "vbm", {"a": (3, "a.tsv")})
    path = writing.write_numbers(study, "clinical", {"b": (np.nan, "b.tsv")})
    found = {key: item["value"] for key, item in reading.read_json(path).items()}
    assert found == {"clinical.b": None, "vbm.a": 3}


def test_numbers_leave_the_folders_of_results_alone(study):
    writing.write(study.derived / "clinical", {"a.json": [1]})
    writing.write_numbers(study, "clinical", {"a": (1, "a.json")})
    assert names(study.derived) == ["clinical", "numbers.json"]


# --- reading


@pytest.mark.parametrize(
    ("section", "notebook"),
    [
        ("clinical", "01_clinical_outcomes"),
        ("vbm", "02_vbm"),
        ("receptors", "03_receptor_correlation"),
        ("other", "an earlier notebook"),
    ],
)
def test_absent_result_names_the_notebook_to_run(tmp_path, section, notebook):
    path = tmp_path / section / "a.tsv"
    for read in (reading.read_table, reading.read_json):
        with pytest.raises(FileNotFoundError) as caught:
            read(path)
        assert str(caught.value) == (
            f"{section}/a.tsv expected in {tmp_path}, found none: run {notebook} first"
        )
