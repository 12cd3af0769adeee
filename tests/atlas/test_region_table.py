"""Names of regions, as other programs write them, found in an atlas."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from analysis_lib.atlas import distances, grids, parcellation, region_table
from analysis_lib.atlas.naming import dkt31_aseg_table, side_and_region
from analysis_lib.results.problems import StudyError

NAMES = ["Hippocampus", "Amygdala", "Caudate", "Putamen", "Pallidum", "Thalamus Proper"]


def values(names):
    """One row, a value per name."""
    return pd.DataFrame([np.arange(len(names), dtype=float)], columns=names)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Left-Hippocampus", ("left", "hippocampus")),
        ("hippocampus_R", ("right", "hippocampus")),
        ("ctx-lh-insula", ("left", "insula")),
        ("ctx.insula", (None, "insula")),
        ("R_bankssts", ("right", "bankssts")),
        ("left middle frontal gyrus", ("left", "middlefrontalgyrus")),
        ("lingual", (None, "lingual")),
    ],
)
def test_a_name_tells_side_and_region(name, expected):
    assert side_and_region(name) == [expected]


def test_a_letter_stuck_to_the_name_is_a_side_only_if_the_whole_is_no_region():
    assert side_and_region("Lhippo") == [(None, "lhippo"), ("left", "hippo")]


@pytest.mark.parametrize("atlas", ["neuromorphometrics", "aal"])
@pytest.mark.parametrize("column", ["region_names", "name"])
def test_an_atlas_finds_all_its_own_names(atlas, column):
    parcels = parcellation.load_atlas(atlas)
    names = grids.region_names(parcels)
    names = names if column == "region_names" else parcels.table.loc[names.index, "name"]
    found = region_table.placed(values(list(names)), parcels)
    assert found.values.columns.tolist() == names.index.tolist()
    assert found.left_out == ()


def test_names_of_freesurfer_and_enigma_are_found_and_others_listed():
    freesurfer = [
        f"{side}-{name.replace(' ', '-')}" for side in ("Left", "Right") for name in NAMES
    ]
    found = region_table.placed(values([*freesurfer, "EstimatedTotalIntraCranialVol"]), "aal")
    assert found.left_out == ("EstimatedTotalIntraCranialVol",)
    assert found.values.shape == (1, 12)
    enigma = [side + name[:4].lower() for side in "LR" for name in NAMES]
    again = region_table.placed(values(enigma), "neuromorphometrics")
    named = again.parcels.table.loc[again.values.columns]
    by_name = dict(zip(named["hemisphere"] + named["region"], again.values.iloc[0], strict=True))
    assert by_name["leftHippocampus"] == 0
    assert by_name["rightThalamus Proper"] == 11


def fold():
    """Neuromorphometrics with both sides in one."""
    parcels = parcellation.load_atlas("neuromorphometrics")
    lateral = parcels.table[parcels.table["hemisphere"] == "left"]
    return parcels, region_table.placed(
        values(list(lateral.query("tissue == 'grey'")["region"])), parcels
    )


def test_names_without_a_side_mean_both_sides_in_one():
    parcels, found = fold()
    table = found.parcels.table
    assert set(table.loc[found.values.columns, "hemisphere"]) == {"both"}
    left = parcels.table.query("name == 'Left_Hippocampus'").index[0]
    right = parcels.table.query("name == 'Right_Hippocampus'").index[0]
    before, after = (parcellation.label_array(a.image) for a in (parcels, found.parcels))
    assert np.count_nonzero(after == left) == np.isin(before, (left, right)).sum()
    assert right not in table.index
    assert grids.region_names(found.parcels)[left] == "hippocampus"


@pytest.mark.parametrize("method", ["centroid", "voxels"])
def test_distances_of_both_sides_in_one_are_those_within_half_a_brain(method):
    parcels, found = fold()
    labels = found.values.columns
    halves = distances.parcel_distances(parcels, labels, method)  # the left side alone
    folded = distances.parcel_distances(found.parcels, labels, method)
    assert np.abs(folded - halves).mean() < 1.5  # mm; sides differ by little
    assert distances.parcel_centroids(found.parcels, labels)["x"].max() < 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "c"], "names of grey-matter regions of the atlas"),
        ([*(f"left {n}" for n in NAMES), *NAMES], "either a side in every name"),
    ],
)
def test_tables_that_fit_no_atlas_are_refused(names, message):
    with pytest.raises(StudyError, match=message):
        region_table.placed(values(names), "neuromorphometrics")


def test_a_region_named_twice_is_refused():
    names = [f"{s}-{n}" for s in ("Left", "Right") for n in NAMES]
    with pytest.raises(StudyError, match="one column or row per region"):
        region_table.placed(values([*names, "lh-hippocampus"]), "aal")


def test_a_region_without_a_voxel_is_left_out():
    labels = np.zeros((12, 4, 4), np.int16)
    labels[:, 0, 0] = range(1, 13)
    rows = pd.DataFrame({"label": range(1, 14), "name": [f"area{k}" for k in range(1, 14)]})
    rows["hemisphere"] = "midline"
    atlas = parcellation.load_atlas(nib.Nifti1Image(labels, np.eye(4)), rows)
    found = region_table.placed(values(list(rows["name"])), atlas)
    assert found.left_out == ("area13",)


def test_dkt_has_31_regions_of_cortex_on_each_side():
    table = dkt31_aseg_table()
    counts = table.groupby(["structure", "hemisphere"]).size()
    assert counts["cortex"].to_dict() == {"left": 31, "right": 31}
    assert counts["subcortex"].to_dict() == {"left": 8, "right": 8}
    assert table.loc[[1035, 2002, 17, 54], "name"].tolist() == [
        *("left insula", "right caudal anterior cingulate", "left hippocampus", "right amygdala")
    ]
