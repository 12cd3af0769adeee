"""Parcellations against JuSpace's parcel means, and against small images whose means are known."""

import shutil
import socket

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from analysis_lib.atlas import anatomy, files, grids, naming, parcellation, placement
from analysis_lib.atlas import distances as atlas_distances
from analysis_lib.results import problems
from analysis_lib.study import catalogue, contract

GRID = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def blocks():
    """Four regions of 2 x 2 x 2 voxels in a row along x, centred on x = 0; 2 mm voxels."""
    labels = np.repeat(np.arange(1, 5, dtype=np.int16), 2)[:, None, None].repeat(2, 1).repeat(2, 2)
    affine = GRID.copy()
    affine[0, 3] = -7
    return nib.Nifti1Image(labels, affine)


@pytest.fixture
def named_blocks(blocks):
    table = pd.DataFrame(
        {"label": [4, 1, 2, 3], "name": list("dabc"), "tissue": ["csf", "grey", "grey", "grey"]}
    )
    return parcellation.load_atlas(blocks, table)


@pytest.mark.parametrize(
    ("name", "n_labels", "n_grey"), [("neuromorphometrics", 136, 119), ("aal", 120, 120)]
)
def test_packaged_atlases_name_every_label_of_their_image(name, n_labels, n_grey):
    loaded = parcellation.load_atlas(name)
    found = np.unique(np.asarray(loaded.image.dataobj))
    assert loaded.table.index.tolist() == found[found != 0].tolist()
    assert (len(loaded.table), len(grids.grey_matter_labels(loaded))) == (n_labels, n_grey)
    assert loaded.table["name"].is_unique
    assert not loaded.table.duplicated(["region", "hemisphere"]).any()


@pytest.mark.parametrize("name", parcellation.PACKAGED)
def test_the_named_hemisphere_is_where_the_voxels_lie(name):
    table = parcellation.load_atlas(name).table
    x = atlas_distances.parcel_centroids(name, table.index)["x"]
    assert (x[table["hemisphere"] == "right"] > 0).all()
    assert (x[table["hemisphere"] == "left"] < 0).all()
    assert (x[table["hemisphere"] == "midline"].abs() < 4).all()


def test_tissue_of_neuromorphometrics_label_by_label():
    table = parcellation.load_atlas().table
    not_grey = table[table["tissue"] != "grey"].groupby("tissue")["name"].agg(sorted).to_dict()
    assert not_grey == {
        "csf": [
            "3rd_Ventricle",
            "4th_Ventricle",
            "CSF",
            "Left_Inf_Lat_Vent",
            "Left_Lateral_Ventricle",
            "Right_Inf_Lat_Vent",
            "Right_Lateral_Ventricle",
        ],
        "other": ["Brain_Stem", "Left_Ventral_DC", "Right_Ventral_DC"],
        "vessel": ["Left_vessel", "Right_vessel"],
        "white": [
            "Left_Cerebellum_White_Matter",
            "Left_Cerebral_White_Matter",
            "Optic_Chiasm",
            "Right_Cerebellum_White_Matter",
            "Right_Cerebral_White_Matter",
        ],
    }
    assert table.loc[101, "region"] == "anterior cingulate gyrus"
    assert table.loc[58, ["region", "hemisphere"]].tolist() == ["Putamen", "left"]


def test_structure_of_every_region_that_is_not_cortex():
    table = parcellation.load_atlas().table
    found = table.groupby("structure")["region"].unique().map(set).to_dict()
    assert found["subcortex"] == {
        *("Accumbens Area", "Amygdala", "Basal Forebrain", "Caudate", "Hippocampus", "Pallidum"),
        *("Putamen", "Thalamus Proper", "Ventral DC"),
    }
    assert found["cerebellum"] == {
        *("Cerebellar Vermal Lobules I-V", "Cerebellar Vermal Lobules VI-VII"),
        *("Cerebellar Vermal Lobules VIII-X", "Cerebellum Exterior", "Cerebellum White Matter"),
    }
    assert set(table.index[table["structure"] == "cortex"]) == set(table.index[table.index >= 100])
    aal = parcellation.load_atlas("aal").table
    below = aal.loc[aal["structure"] == "subcortex", "region"]
    assert set(below) == {
        *("Amygdala", "Caudate", "Hippocampus", "Pallidum", "Putamen", "Thalamus")
    }
    cerebellum = aal.loc[aal["structure"] == "cerebellum", "region"]
    assert set(cerebellum.str.split().str[0]) == {"Cerebelum", "Vermis"}


@pytest.mark.parametrize(
    ("name", "counts"), [("neuromorphometrics", (98, 16, 5)), ("aal", (82, 12, 26))]
)
def test_grey_matter_labels_of_one_structure(name, counts):
    parts = [grids.grey_matter_labels(name, structure) for structure in naming.STRUCTURES[:3]]
    assert tuple(len(part) for part in parts) == counts
    assert sorted(np.concatenate(parts)) == grids.grey_matter_labels(name).tolist()


def test_a_structure_that_the_atlas_does_not_say_is_refused(blocks):
    with pytest.raises(
        ValueError, match=r"structure 'cortex': no grey-matter region.*\(.*other 4\)"
    ):
        grids.grey_matter_labels(blocks, "cortex")
    with pytest.raises(ValueError, match="'brainstem': expected one of"):
        grids.grey_matter_labels(blocks, "brainstem")


# --- downloaded atlases


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def cache(tmp_path, monkeypatch, no_network):
    """An empty cache, and no connection."""
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def schaefer_tian(cache, reference_data):
    """The real atlas, from the cache."""
    (file,) = files.ATLASES["schaefer100_tian_s1"]
    (cache / file.name).parent.mkdir(parents=True)
    shutil.copy(reference_data / "data" / file.name, cache / file.name)
    return parcellation.load_atlas("schaefer100_tian_s1")


# Some centres of github.com/ThomasYeoLab/CBIG, Schaefer2018_100Parcels_7Networks_order_FSLMNI152_
# 1mm.Centroid_RAS.csv
PUBLISHED_CENTRES = {
    "7Networks_LH_Vis_1": (-26, -34, -17),
    "7Networks_LH_SomMot_6": (-6, -29, 70),
    "7Networks_LH_DorsAttn_FEF_1": (-26, -3, 59),
    "7Networks_LH_SalVentAttn_PFCl_1": (-30, 44, 30),
    "7Networks_LH_Limbic_TempPole_2": (-57, -33, -21),
    "7Networks_LH_Cont_Cing_1": (-4, -26, 33),
    "7Networks_LH_Default_PFC_7": (-25, 20, 51),
    "7Networks_LH_Default_pCunPCC_2": (-6, -53, 33),
    "7Networks_RH_Vis_8": (13, -86, 29),
    "7Networks_RH_SomMot_8": (6, -26, 70),
    "7Networks_RH_DorsAttn_PrCv_1": (49, 10, 27),
    "7Networks_RH_SalVentAttn_TempOccPar_2": (61, -26, 27),
    "7Networks_RH_Cont_PFCmp_1": (6, 28, 30),
    "7Networks_RH_Default_Temp_2": (51, 7, -18),
    "7Networks_RH_Default_PFCdPFCm_3": (26, 24, 50),
    "7Networks_RH_Default_pCunPCC_1": (12, -54, 14),
}


def test_schaefer_tian_names_every_label_where_it_lies(schaefer_tian):
    table = schaefer_tian.table
    found = np.unique(np.asarray(schaefer_tian.image.dataobj))
    assert table.index.tolist() == found[1:].tolist() == list(range(1, 117))
    assert not table.duplicated(["region", "hemisphere"]).any()
    centres = atlas_distances.parcel_centroids(schaefer_tian)
    assert (np.sign(centres["x"]) == table["hemisphere"].map({"left": -1, "right": 1})).all()
    by_name = table.reset_index().set_index("name")["label"]
    for name, published in PUBLISHED_CENTRES.items():
        assert (centres - np.array(published)).pow(2).sum(axis=1).idxmin() == by_name[name], name


def test_schaefer_tian_subcortex_lies_in_the_same_regions_of_another_atlas(schaefer_tian):
    labels = grids.grey_matter_labels(schaefer_tian, "subcortex")
    assert labels.tolist() == list(range(1, 17))
    theirs = np.asarray(schaefer_tian.image.dataobj).astype(int)
    other = parcellation.load_atlas()
    on_their_grid = grids.labels_on_grid(other, theirs.shape, schaefer_tian.image.affine)
    words = {
        "Hippocampus": "hippocampus",
        "Amygdala": "amygdala",
        "Thalamus Proper": "thalamus",
        "Accumbens Area": "nucleus accumbens",
        "Pallidum": "globus pallidus",
        "Putamen": "putamen",
        "Caudate": "caudate",
    }
    for label, row in other.table[other.table["region"].isin(words)].iterrows():
        inside = theirs[(on_their_grid == label) & np.isin(theirs, labels)]
        most = schaefer_tian.table.loc[np.bincount(inside).argmax()]
        assert most["region"].endswith(words[row["region"]])
        assert most["hemisphere"] == row["hemisphere"]
    y = atlas_distances.parcel_centroids(schaefer_tian, [3, 4])["y"]
    assert y[3] < y[4]  # posterior before anterior thalamus


@pytest.mark.parametrize(
    "name", [n for n in contract.ATLASES if n not in (*parcellation.PACKAGED, "dkt31_aseg")]
)
def test_an_atlas_that_is_not_in_the_cache_names_the_command_and_is_not_downloaded(name, cache):
    with pytest.raises(FileNotFoundError, match=f"analysis_lib fetch atlas {name}$") as caught:
        parcellation.load_atlas(name)
    assert str(cache) in str(caught.value)


def test_every_named_atlas_is_packaged_or_downloadable():
    assert (
        *(*parcellation.PACKAGED, *files.ATLASES, *files.NILEARN, *files.SCHAEFER),
    ) == contract.ATLASES


def test_damaged_atlas_in_the_cache_is_refused(schaefer_tian, cache):
    (file,) = files.ATLASES["schaefer100_tian_s1"]
    (cache / file.name).write_bytes(b"damaged")
    with pytest.raises(problems.FetchError, match="damaged, or another file"):
        parcellation.load_atlas("schaefer100_tian_s1")


def write_schaefer(folder, n, parcels=None):
    """Files as nilearn caches them: parcels in a row along x, left and right, 2 mm."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"Schaefer2018_{n}Parcels_7Networks_order"
    half = n // 2
    sides = [("LH", i) for i in range(1, half + 1)] + [("RH", i) for i in range(1, half + 1)]
    lines = [f"{k}\t7Networks_{s}_Vis_{i}\t1\t2\t3\t0" for k, (s, i) in enumerate(sides, 1)]
    (folder / f"{stem}.txt").write_text("\n".join(lines) + "\n")
    labels = np.r_[0, 1 : (parcels or n) + 1].astype(np.int16).reshape(-1, 1, 1)
    affine = GRID.copy()
    affine[0, 3] = -2 * half - 1
    nib.save(nib.Nifti1Image(labels, affine), folder / f"{stem}_FSLMNI152_2mm.nii.gz")


def test_schaefer_as_nilearn_caches_it(cache):
    write_schaefer(cache / "nilearn" / "schaefer_2018", 200)
    loaded = parcellation.load_atlas("schaefer200")
    assert grids.grey_matter_labels(loaded, "cortex").tolist() == list(range(1, 201))
    assert loaded.table.loc[101].tolist() == [
        *("7Networks_RH_Vis_1", "visual 1", "right", "grey", "cortex")
    ]
    x = atlas_distances.parcel_centroids(loaded)["x"]
    assert (np.sign(x) == loaded.table["hemisphere"].map({"left": -1, "right": 1})).all()
    with pytest.raises(ValueError, match=r"no grey-matter region .*: cortex 200\)"):
        grids.grey_matter_labels(loaded, "subcortex")


def test_schaefer_files_of_another_size_are_refused(cache):
    folder = cache / "nilearn" / "schaefer_2018"
    write_schaefer(folder, 100, parcels=99)
    with pytest.raises(ValueError, match=r"_2mm.nii.gz: the parcels 1 to 100 of schaefer100 exp"):
        parcellation.load_atlas("schaefer100")
    (folder / "Schaefer2018_100Parcels_7Networks_order.txt").write_text("1\tLimbic\n")
    with pytest.raises(ValueError, match=r"order.txt: the parcels .* fetch atlas schaefer100"):
        parcellation.load_atlas("schaefer100")


# --- means by parcel


def test_parcel_means_equal_juspace(reference_data):
    expected = pd.read_csv(
        reference_data / "reference" / "juspace" / "parcel_means_neuromorphometrics119.tsv",
        sep="\t",
        index_col="label",
    )
    labels = reference_data / "data" / "atlases" / "m_labels_Neuromorphometrics.nii"
    juspace = parcellation.load_atlas(labels)
    assert juspace.table.index.equals(expected.index)
    assert juspace.table.index.equals(grids.grey_matter_labels())
    for annotation in expected:
        found = grids.parcel_means(
            catalogue.locate(annotation, reference_data / "data" / "neuromaps"), juspace
        )
        assert found.index.equals(expected.index)
        np.testing.assert_allclose(found, expected[annotation], rtol=0, atol=1e-6)


def test_packaged_neuromorphometrics_gives_nearly_juspaces_means(reference_data):
    """The two label images are drawn on other grids, so single edge voxels may differ."""
    path = catalogue.locate("kaller2017/sch23390", reference_data / "data" / "neuromaps")
    labels = reference_data / "data" / "atlases" / "m_labels_Neuromorphometrics.nii"
    theirs = grids.parcel_means(path, labels)
    ours = grids.parcel_means(path)[theirs.index]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


BACKGROUNDS = {
    "hesse2017/methylreboxetine": -0.003,
    "kaller2017/sch23390": -0.003,
    "kantonen2020/carfentanil": -0.009,
    "turtonen2020/carfentanil": 0.2564325,
    "tuominen/feobv": None,
}


@pytest.mark.parametrize("annotation", catalogue.library().query("default").index)
def test_background_of_every_real_map(annotation, reference_data):
    path = catalogue.locate(annotation, reference_data / "data" / "neuromaps")
    found = grids.find_background(nib.load(path).dataobj)
    expected = BACKGROUNDS.get(annotation, 0.0)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_background_is_found_whatever_its_value_and_absent_where_none():
    noise = np.random.default_rng(1).standard_normal((30, 30, 30))
    assert grids.find_background(noise) is None
    assert grids.find_background(np.full((2, 2), np.nan)) is None
    filled = noise.copy()
    filled[:8] = -0.25
    assert grids.find_background(filled) == -0.25
    filled[:8] = np.nan
    assert grids.find_background(filled) is None


def test_drop_leaves_out_the_background_and_keep_does_not(blocks):
    data = np.arange(100.0, 132).reshape(8, 2, 2)
    data[0] = -0.009
    data[6:] = -0.009
    image = nib.Nifti1Image(data, blocks.affine)
    keep = grids.parcel_means(image, blocks)
    drop = grids.parcel_means(image, blocks, background="drop")
    half = grids.parcel_means(image, blocks, background="drop", min_coverage=0.6)
    np.testing.assert_allclose(keep, [(105.5 - 0.009) / 2, 111.5, 119.5, -0.009])
    np.testing.assert_allclose(drop, [105.5, 111.5, 119.5, np.nan])
    np.testing.assert_allclose(half, [np.nan, 111.5, 119.5, np.nan])
    assert keep.index.tolist() == [1, 2, 3, 4]


def test_nan_voxels_are_left_out_under_both_settings(blocks):
    data = np.arange(32.0).reshape(8, 2, 2)
    data[0] = np.nan
    data[4:6] = np.nan
    image = nib.Nifti1Image(data, blocks.affine)
    for background in ("keep", "drop"):
        means = grids.parcel_means(image, blocks, background)
        np.testing.assert_allclose(means, [5.5, 11.5, np.nan, 27.5])


def test_atlas_is_resampled_to_the_image_and_a_region_beyond_it_is_nan(blocks):
    affine = np.eye(4)
    affine[0, 3] = 0.25
    fine = nib.Nifti1Image(np.ones((9, 4, 4)), affine)
    means = grids.parcel_means(fine, blocks)
    np.testing.assert_allclose(means, [np.nan, np.nan, 1, 1])


def test_one_volume_in_four_dimensions_is_accepted_and_several_are_refused(blocks):
    data = np.random.default_rng(2).random((8, 2, 2, 1))
    four = nib.Nifti1Image(data, blocks.affine)
    three = nib.Nifti1Image(data[..., 0], blocks.affine)
    pd.testing.assert_series_equal(
        grids.parcel_means(four, blocks), grids.parcel_means(three, blocks)
    )
    several = nib.Nifti1Image(np.ones((8, 2, 2, 3)), blocks.affine)
    with pytest.raises(ValueError, match=r"one three-dimensional volume.*\(8, 2, 2, 3\)"):
        grids.parcel_means(several, blocks)


def test_bad_input_is_refused_with_what_was_found(blocks, tmp_path):
    empty = nib.Nifti1Image(np.full((8, 2, 2), np.nan), blocks.affine)
    path = tmp_path / "empty.nii.gz"
    nib.save(empty, path)
    with pytest.raises(ValueError, match=r"empty\.nii\.gz: no finite voxel"):
        grids.parcel_means(path, blocks)
    with pytest.raises(ValueError, match="background 'mask': expected 'keep' or 'drop'"):
        grids.parcel_means(blocks, blocks, background="mask")
    with pytest.raises(FileNotFoundError, match="'nueromorphometrics': neither a known atlas"):
        parcellation.load_atlas("nueromorphometrics")
    blurred = nib.Nifti1Image(np.full((2, 2, 2), 1.5), GRID)
    with pytest.raises(ValueError, match=r"whole numbers from 0 to 99999, found \[1.5\]"):
        parcellation.load_atlas(blurred)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"label": [0, 1, 2, 3, 4], "name": list("zabcd")},
            r"whole numbers from 1 on, found \[0\]",
        ),
        (
            {"label": [1, 2, "x", 4], "name": list("abcd")},
            r"whole numbers from 1 on, found \['x'\]",
        ),
        (
            {"label": [1, 2, 3, 4], "name": ["a", "b", "c", None]},
            r"labels \[4\] that the table does",
        ),
        (
            {"label": [1, 2, 3, 4], "name": list("aacd")},
            r"labels \[1, 2\] share a region and a hemi",
        ),
        (
            {"label": [1, 2, 3, 4], "name": list("abcd"), "structure": ["cortex", None] * 2},
            r"structure \['nan'\] unknown",
        ),
        ({"label": [1, 2, 3], "name": list("abc")}, r"holds labels \[4\] that the table does not"),
        ({"label": [1, 2, 3, 3, 4], "name": list("abcde")}, r"labels \[3\] occur more than once"),
        ({"region": [1, 2, 3, 4]}, "expected the columns label and name"),
        (
            {"label": [1, 2, 3, 4], "name": list("abcd"), "tissue": ["gray"] * 4},
            r"tissue \['gray'\] unknown",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(blocks, table, message):
    with pytest.raises(ValueError, match=message):
        parcellation.load_atlas(blocks, pd.DataFrame(table))


def test_own_atlas_with_table_file(blocks, named_blocks, tmp_path):
    image, table = tmp_path / "labels.nii.gz", tmp_path / "labels.tsv"
    nib.save(blocks, image)
    named_blocks.table.to_csv(table, sep="\t")
    loaded = parcellation.load_atlas(image, table)
    pd.testing.assert_frame_equal(loaded.table, named_blocks.table)
    assert grids.grey_matter_labels(loaded).tolist() == [1, 2, 3]
    assert loaded.table["hemisphere"].tolist() == ["left", "left", "right", "right"]


def test_own_atlas_with_the_table_beside_it(blocks, named_blocks, tmp_path):
    image = tmp_path / "atlas.v1.nii.gz"
    nib.save(blocks, image)
    assert parcellation.load_atlas(image).table["name"].tolist() == [
        f"region {i}" for i in range(1, 5)
    ]
    rows = named_blocks.table.assign(structure=["cortex", "subcortex", "cortex", "other"])
    rows.to_csv(tmp_path / "atlas.v1.tsv", sep="\t")
    loaded = parcellation.load_atlas(str(image))
    pd.testing.assert_frame_equal(loaded.table, rows)
    assert grids.grey_matter_labels(image, "cortex").tolist() == [1, 3]
    other = rows.assign(name=list("efgh"), region=list("efgh"))
    other.to_csv(tmp_path / "other.csv")
    given = parcellation.load_atlas({"image": str(image), "table": str(tmp_path / "other.csv")})
    assert given.table["name"].tolist() == list("efgh")
    with pytest.raises(FileNotFoundError, match=r"atlas table none\.tsv: no such file"):
        parcellation.load_atlas({"image": image, "table": "none.tsv"})
    (tmp_path / "atlas.v1.tsv").write_text("number\tname\n1\ta\n")
    with pytest.raises(ValueError, match=r"atlas\.v1\.tsv: expected the columns label and name"):
        parcellation.load_atlas(image)


def test_a_table_for_a_named_atlas_is_refused(named_blocks):
    for known in ("aal", named_blocks):
        with pytest.raises(ValueError, match="a table is only for your own label image"):
            parcellation.load_atlas(known, named_blocks.table)


def shared(labels=(7, 2035, 30), hemisphere=None, dtype=np.float32):
    """One label for both hippocampi, one for one side, one in the middle, as an atlas in MNI."""
    data = np.zeros((30, 10, 10), dtype)
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 3] = -29  # x from -29 to 29
    data[2:8, 2:6, 2:6] = data[22:28, 2:6, 2:6] = labels[0]
    data[2:8, 6:9, 2:6] = labels[1]
    data[13:17, 2:9, 7:9] = labels[2]
    rows = {"label": labels, "name": ["hippocampus", "only left", "vermis"]}
    if hemisphere:
        rows["hemisphere"] = hemisphere
    return parcellation.load_atlas(nib.Nifti1Image(data, affine), pd.DataFrame(rows))


def test_a_label_of_both_sides_is_split_where_the_midline_is_and_said():
    atlas = shared()
    assert atlas.table["name"].to_dict() == {
        7: "hippocampus",
        30: "vermis",
        2035: "only left",
        10007: "hippocampus",
    }
    assert atlas.table["hemisphere"].to_dict() == {
        7: "left",
        30: "midline",
        2035: "left",
        10007: "right",
    }
    x = atlas_distances.parcel_centroids(atlas)["x"]
    assert x[[7, 10007, 30]].tolist() == [-20, 20, 0]
    assert "atlas: labels of both sides (1) were split at x = 0" in atlas.note
    assert "right has 10000 more" in atlas.note


def test_a_table_that_says_midline_keeps_a_label_whole():
    atlas = shared(hemisphere=["midline", "left", "midline"])
    assert atlas.table.index.tolist() == [7, 30, 2035]
    assert atlas.note == ""


@pytest.mark.parametrize("name", ["neuromorphometrics", "aal"])
def test_labels_of_both_sides_of_real_atlases_are_told_from_midline_ones(name):
    """Both sides of each region given one number: all pairs are split, the vermis is not."""
    atlas = parcellation.load_atlas(name)
    names = grids.region_names(atlas)
    first = atlas.table.loc[names.index].groupby("region").ngroup() + 1
    lookup = np.zeros(atlas.table.index.max() + 1, np.int32)
    lookup[names.index] = first
    merged = nib.Nifti1Image(lookup[parcellation.label_array(atlas.image)], atlas.image.affine)
    sides = atlas.table.loc[names.index, "hemisphere"].value_counts()
    found = parcellation.load_atlas(merged).table["hemisphere"].value_counts()
    assert found.to_dict() == sides.to_dict()


def test_a_surface_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "lh.aparc.label.gii"
    path.write_text("")
    with pytest.raises(ValueError, match=r"label\.gii: a NIfTI image of labels .* found a surface"):
        parcellation.load_atlas(path)


def test_the_one_check_says_that_labels_were_split(tiny):
    path = tiny.folder / "atlas.nii"
    data = np.zeros((30, 10, 10), np.int16)
    data[2:8] = data[22:28] = 5
    nib.save(nib.Nifti1Image(data, shared().image.affine), path)
    tiny.content |= {"atlas": "atlas.nii"}
    tiny.content["imaging"] = {"sessions": {"pre": "baseline", "post": "week2"}}
    split, beside = placement.problems(tiny.write())  # it is a piece of no brain
    assert (split.warning, beside.warning) == ("atlas", "atlas-place")
    assert "split at x = 0" in str(split)


def test_mean_matrix_agrees_with_parcel_means(named_blocks):
    rng = np.random.default_rng(3)
    mask = rng.random((8, 2, 2)) < 0.8
    mask[2:4] = False
    maps = rng.standard_normal((5, mask.sum()))
    mask_image = nib.Nifti1Image(mask.astype(np.uint8), named_blocks.image.affine)
    found = grids.parcel_mean_matrix(maps, mask_image, named_blocks)
    assert found.columns.tolist() == [1, 2, 3]
    for row, values in enumerate(maps):
        full = np.full(mask.shape, np.nan)
        full[mask] = values
        image = nib.Nifti1Image(full, named_blocks.image.affine)
        expected = grids.parcel_means(image, named_blocks)[found.columns]
        np.testing.assert_allclose(found.loc[row], expected)
    assert found[2].isna().all()


def test_mean_matrix_refuses_maps_of_another_mask_and_holes(named_blocks):
    mask = nib.Nifti1Image(np.ones((8, 2, 2), np.uint8), named_blocks.image.affine)
    with pytest.raises(ValueError, match="maps: 31 voxels, the mask has 32"):
        grids.parcel_mean_matrix(np.ones((2, 31)), mask, named_blocks)
    maps = np.ones((3, 32))
    maps[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"rows \[1\] hold values that are not finite"):
        grids.parcel_mean_matrix(maps, mask, named_blocks)
    with pytest.raises(ValueError, match=r"labels \[9\] are not in the atlas"):
        grids.parcel_mean_matrix(np.ones((2, 32)), mask, named_blocks, labels=[1, 9])


def test_known_coordinates_are_named():
    coords = [[-26, 4, 2], [26, 4, 2], [-10, -14, 7], [-24, -22, -14], [0, -70, -24]]
    found = grids.region_at(coords)
    assert found["region"].tolist() == [
        "Putamen",
        "Putamen",
        "Thalamus Proper",
        "Hippocampus",
        "Cerebellar Vermal Lobules VI-VII",
    ]
    assert found["hemisphere"].tolist() == ["left", "right", "left", "left", "midline"]


def test_a_coordinate_too_far_from_grey_matter_is_unlabelled(named_blocks):
    # Voxel centres of region 3 end at x = 3 and y = 2; region 4 is CSF.
    coords = [[3, 6.9, 0], [3, 7.1, 0], [-100, 0, 0]]
    found = grids.region_at(coords, named_blocks, within=5)
    assert found["region"].tolist() == ["c", "unlabelled", "unlabelled"]
    assert found["hemisphere"].tolist() == ["right", "right", "left"]
    assert found["distance_mm"][0] == pytest.approx(4.9)
    assert found["label"].isna().tolist() == [False, True, True]


def test_distances_between_blocks(named_blocks):
    distances = atlas_distances.parcel_distances(named_blocks, [1, 2, 4])
    np.testing.assert_allclose(distances, [[0, 4, 12], [4, 0, 8], [12, 8, 0]])


@pytest.fixture
def shapes():
    """Five regions of scattered voxels, 1 to 700 of them, on a grid that is not isotropic."""
    labels = np.random.default_rng(5).choice(4, size=(12, 14, 15), p=[0.65, 0.2, 0.1, 0.05])
    labels[:4] *= labels[:4] == 1
    labels[11] = 0
    labels[11, 13, 14] = 5
    return parcellation.load_atlas(
        nib.Nifti1Image(labels.astype(np.int16), np.diag([2, 1.5, 3, 1.0]))
    )


def voxel_means(loaded, labels):
    """Mean distance over all pairs of voxels, region by region."""
    data = np.asarray(loaded.image.dataobj)
    coords = [np.argwhere(data == label) * np.diag(loaded.image.affine)[:3] for label in labels]
    means = np.array([[cdist(a, b).mean() for b in coords] for a in coords])
    np.fill_diagonal(means, 0)
    return means


def test_voxel_distances_are_means_over_all_pairs_of_voxels(shapes):
    labels = [5, 2, 1, 3]
    found = atlas_distances.parcel_distances(shapes, labels, "voxels", max_points=10_000)
    np.testing.assert_allclose(found, voxel_means(shapes, labels), rtol=1e-12)


def test_merged_voxels_lie_between_centroids_and_all_pairs(shapes):
    labels = [1, 2, 3, 5]
    exact = voxel_means(shapes, labels)
    centroids = atlas_distances.parcel_distances(shapes, labels)
    short = []
    for most in (1, 30, 100, 300):
        found = atlas_distances.parcel_distances(shapes, labels, "voxels", max_points=most)
        assert (found <= exact + 1e-9).all()  # Jensen's inequality, cube by cube
        assert (found >= centroids - 1e-9).all()  # and for the points that are left
        short.append((exact - found).max())
    assert short == sorted(short, reverse=True)
    one = atlas_distances.parcel_distances(shapes, labels, "voxels", max_points=1)
    np.testing.assert_allclose(one, centroids)


def test_voxel_distances_of_the_real_atlas_are_within_a_hundredth():
    labels = [30, 58, 75, 101, 137]
    found = atlas_distances.parcel_distances(labels=labels, method="voxels")
    exact = voxel_means(parcellation.load_atlas(), labels)
    np.testing.assert_allclose(found, exact, rtol=0.01)
    np.testing.assert_array_equal(found, found.T)


def test_unknown_distance_and_region_without_voxel_are_refused(blocks):
    with pytest.raises(ValueError, match=r"method 'geodesic': expected one of \('centroid'"):
        atlas_distances.parcel_distances(blocks, method="geodesic")
    table = pd.DataFrame({"label": range(1, 6), "name": list("abcde")})
    with pytest.raises(ValueError, match=r"labels \[5\] have no voxel"):
        atlas_distances.parcel_distances(parcellation.load_atlas(blocks, table), method="voxels")


def test_distances_of_the_real_atlas_are_plausible():
    labels = grids.grey_matter_labels()
    distances = pd.DataFrame(atlas_distances.parcel_distances(), index=labels, columns=labels)
    off_diagonal = distances.to_numpy()[~np.eye(len(labels), dtype=bool)]
    assert distances.loc[57, 58] == pytest.approx(52, abs=6)  # from putamen to putamen
    assert off_diagonal.min() > 5
    assert off_diagonal.max() < 180


# --- both sides, and head anatomy


@pytest.mark.parametrize(("name", "n_midline"), [("neuromorphometrics", 3), ("aal", 8)])
def test_homologues_are_the_same_region_on_the_other_side(name, n_midline):
    atlas = parcellation.load_atlas(name)
    labels = grids.grey_matter_labels(atlas)
    m, table = atlas_distances.homologues(atlas, labels), atlas.table.loc[labels]
    assert (m[m] == np.arange(len(m))).all()
    assert (table["region"].to_numpy()[m] == table["region"]).all()
    assert (m == np.arange(len(m))).sum() == n_midline
    plain = atlas_distances.parcel_distances(atlas, labels)
    found, allowed = atlas_distances.mirrored(plain, atlas, labels)
    assert allowed
    np.testing.assert_allclose(found, found[np.ix_(m, m)])
    np.testing.assert_allclose(found, (plain + plain[np.ix_(m, m)]) / 2)


def test_one_hemisphere_has_no_homologues_and_keeps_its_distances():
    atlas = parcellation.load_atlas("neuromorphometrics")
    table = atlas.table.loc[grids.grey_matter_labels(atlas)]
    left = table.index[table["hemisphere"] == "left"]
    plain = atlas_distances.parcel_distances(atlas, left)
    found, allowed = atlas_distances.mirrored(plain, atlas, left)
    assert not allowed
    assert found is plain


def test_anatomy_knows_ventricles_depth_size_and_density():
    found = anatomy.regional_anatomy("neuromorphometrics")
    assert found.shape == (4, 119)
    assert found.notna().all().all()
    table = parcellation.load_atlas("neuromorphometrics").table
    name = table["name"].reindex(found.columns)
    rows = found.T.set_index(name)
    caudate, pole = rows.loc["Right_Caudate"], rows.loc[name.str.contains("OCP").to_numpy()].iloc[0]
    assert caudate["ventricle_distance"] < 6 < 20 < pole["ventricle_distance"]
    assert pole["depth"] < 15 < 25 < caudate["depth"]
    image = parcellation.load_atlas("neuromorphometrics").image
    label = name.index[name == "Right_Caudate"][0]
    voxels = (np.asarray(image.dataobj) == label).sum()
    mm3 = voxels * np.prod(image.header.get_zooms()[:3])
    assert caudate["log_size"] == pytest.approx(np.log(mm3))
    assert rows["grey_density"].between(0.2, 1).all()


def test_ventricles_are_those_of_the_packaged_atlas_whatever_the_regions():
    own, aal = (anatomy.regional_anatomy(name) for name in ("neuromorphometrics", "aal"))
    tables = [parcellation.load_atlas(n).table["name"] for n in ("neuromorphometrics", "aal")]
    by_name = [f.T.set_index(t.reindex(f.columns)) for f, t in zip((own, aal), tables, strict=True)]
    near = by_name[0].loc["Left_Caudate"], by_name[1].loc["Caudate_L"]
    assert abs(near[0]["ventricle_distance"] - near[1]["ventricle_distance"]) < 3
