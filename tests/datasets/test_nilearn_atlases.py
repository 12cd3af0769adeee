"""Atlases that nilearn fetches, kept as a label image and a table; its functions are stand-ins."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn import datasets as nilearn_datasets

from analysis_lib.atlas import grids
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.datasets import fetch
from analysis_lib.results.problems import FetchError, MissingFile

KINDS = {  # what each fetcher is called with, and some of its names: label, name, side, structure
    "harvard_oxford": (
        "fetch_atlas_harvard_oxford",
        {"atlas_name": "cortl-maxprob-thr25-2mm"},
        [(1, "Left Frontal Pole", "left", "cortex"), (2, "Right Frontal Pole", "right", "cortex")],
    ),
    "harvard_oxford_subcortex": (
        "fetch_atlas_harvard_oxford",
        {"atlas_name": "sub-maxprob-thr25-2mm"},
        [
            (4, "Left Thalamus", "left", "subcortex"),
            (8, "Brain-Stem", "midline", None),
            (12, "Right Cerebral White Matter", "right", None),
        ],
    ),
    "aal3": (
        "fetch_atlas_aal",
        {"version": "3v2"},
        [
            (1, "Precentral_L", "left", "cortex"),
            (42, "Hippocampus_R", "right", "subcortex"),
            (121, "Thal_AV_L", "left", "subcortex"),
            (113, "Vermis_1_2", "midline", "cerebellum"),
        ],
    ),
    "destrieux": (
        "fetch_atlas_destrieux_2009",
        {"lateralized": True},
        [
            (1, "L G_and_S_frontomargin", "left", "cortex"),
            (42, "L Medial_wall", "left", None),
            (76, "R G_and_S_frontomargin", "right", "cortex"),
        ],
    ),
}


def fetched(monkeypatch, function, names):
    """Put a stand-in for nilearn's function; give the list of what it is called with."""
    labels = np.zeros((20, 20, 20), np.float32)
    for k, (label, _, side, _) in enumerate(names):
        labels[k if side == "left" else 19 - k] = label
    affine = np.diag([4.0, 4, 4, 1])
    affine[0, 3] = -38  # x of the first slice; the last is at 38
    image = nib.Nifti1Image(labels, affine)
    lut = pd.DataFrame(
        {
            "index": [0, *(row[0] for row in names)],
            "name": ["Background", *(row[1] for row in names)],
        }
    )
    calls = []

    def stand_in(data_dir, verbose, **options):
        calls.append(options)
        return SimpleNamespace(maps=image, lut=lut)

    monkeypatch.setattr(nilearn_datasets, function, stand_in)
    return calls


@pytest.mark.parametrize("name", KINDS)
def test_an_atlas_of_nilearn_is_kept_and_loaded_by_name(name, tmp_path, monkeypatch):
    function, options, names = KINDS[name]
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path))
    with pytest.raises(MissingFile, match=f"fetch atlas {name}"):
        load_atlas(name)
    calls = fetched(monkeypatch, function, names)
    fetch.fetch_atlas(name)
    fetch.fetch_atlas(name)  # in the cache: not asked for again
    assert calls == [options]
    atlas = load_atlas(name)
    assert atlas.name == name
    grey = grids.grey_matter_labels(atlas)
    for label, written, side, structure in names:
        row = atlas.table.loc[label]
        assert (row["name"], row["hemisphere"]) == (written, side)
        assert (label in grey) == (structure is not None)
        assert structure in (None, row["structure"])


def test_a_download_that_fails_says_where_files_can_be_put(tmp_path, monkeypatch):
    def offline(**_):
        raise OSError("no network")

    monkeypatch.setattr(nilearn_datasets, "fetch_atlas_aal", offline)
    with pytest.raises(FetchError, match=r"aal3: download failed .*aal3\.nii\.gz") as found:
        fetch.fetch_atlas("aal3", tmp_path)
    assert str(tmp_path) in str(found.value)
