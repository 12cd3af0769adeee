"""Parcellations against JuSpace's parcel means, and against small images whose means are known."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from analysis_lib import annotations, atlas

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
    return atlas.load_atlas(blocks, table)


@pytest.mark.parametrize(
    ("name", "n_labels", "n_grey"), [("neuromorphometrics", 136, 119), ("aal", 120, 120)]
)
def test_packaged_atlases_name_every_label_of_their_image(name, n_labels, n_grey):
    loaded = atlas.load_atlas(name)
    found = np.unique(np.asarray(loaded.image.dataobj))
    assert loaded.table.index.tolist() == found[found != 0].tolist()
    assert (len(loaded.table), len(atlas.grey_matter_labels(loaded))) == (n_labels, n_grey)
    assert loaded.table["name"].is_unique
    assert not loaded.table.duplicated(["region", "hemisphere"]).any()


@pytest.mark.parametrize("name", atlas.PACKAGED)
def test_the_named_hemisphere_is_where_the_voxels_lie(name):
    table = atlas.load_atlas(name).table
    x = atlas.parcel_centroids(name, table.index)["x"]
    assert (x[table["hemisphere"] == "right"] > 0).all()
    assert (x[table["hemisphere"] == "left"] < 0).all()
    assert (x[table["hemisphere"] == "midline"].abs() < 4).all()


def test_tissue_of_neuromorphometrics_label_by_label():
    table = atlas.load_atlas().table
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


def test_parcel_means_equal_juspace(reference_data):
    expected = pd.read_csv(
        reference_data / "reference" / "juspace" / "parcel_means_neuromorphometrics119.tsv",
        sep="\t",
        index_col="label",
    )
    labels = reference_data / "data" / "atlases" / "m_labels_Neuromorphometrics.nii"
    juspace = atlas.load_atlas(labels)
    assert juspace.table.index.equals(expected.index)
    assert juspace.table.index.equals(atlas.grey_matter_labels())
    for annotation in expected:
        found = atlas.parcel_means(
            annotations.locate(annotation, reference_data / "data" / "neuromaps"), juspace
        )
        assert found.index.equals(expected.index)
        np.testing.assert_allclose(found, expected[annotation], rtol=0, atol=1e-6)


def test_packaged_neuromorphometrics_gives_nearly_juspaces_means(reference_data):
    """The two label images are drawn on other grids, so single edge voxels may differ."""
    path = annotations.locate("kaller2017/sch23390", reference_data / "data" / "neuromaps")
    labels = reference_data / "data" / "atlases" / "m_labels_Neuromorphometrics.nii"
    theirs = atlas.parcel_means(path, labels)
    ours = atlas.parcel_means(path)[theirs.index]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


BACKGROUNDS = {
    "hesse2017/methylreboxetine": -0.003,
    "kaller2017/sch23390": -0.003,
    "kantonen2020/carfentanil": -0.009,
    "turtonen2020/carfentanil": 0.2564325,
    "tuominen/feobv": None,
}


@pytest.mark.parametrize("annotation", annotations.library().index)
def test_background_of_every_real_map(annotation, reference_data):
    path = annotations.locate(annotation, reference_data / "data" / "neuromaps")
    found = atlas.find_background(nib.load(path).dataobj)
    expected = BACKGROUNDS.get(annotation, 0.0)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_background_is_found_whatever_its_value_and_absent_where_none():
    noise = np.random.default_rng(1).standard_normal((30, 30, 30))
    assert atlas.find_background(noise) is None
    assert atlas.find_background(np.full((2, 2), np.nan)) is None
    filled = noise.copy()
    filled[:8] = -0.25
    assert atlas.find_background(filled) == -0.25
    filled[:8] = np.nan
    assert atlas.find_background(filled) is None


def test_drop_leaves_out_the_background_and_keep_does_not(blocks):
    data = np.arange(100.0, 132).reshape(8, 2, 2)
    data[0] = -0.009
    data[6:] = -0.009
    image = nib.Nifti1Image(data, blocks.affine)
    keep = atlas.parcel_means(image, blocks)
    drop = atlas.parcel_means(image, blocks, background="drop")
    half = atlas.parcel_means(image, blocks, background="drop", min_coverage=0.6)
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
        means = atlas.parcel_means(image, blocks, background)
        np.testing.assert_allclose(means, [5.5, 11.5, np.nan, 27.5])


def test_atlas_is_resampled_to_the_image_and_a_region_beyond_it_is_nan(blocks):
    affine = np.eye(4)
    affine[0, 3] = 0.25
    fine = nib.Nifti1Image(np.ones((9, 4, 4)), affine)
    means = atlas.parcel_means(fine, blocks)
    np.testing.assert_allclose(means, [np.nan, np.nan, 1, 1])


def test_one_volume_in_four_dimensions_is_accepted_and_several_are_refused(blocks):
    data = np.random.default_rng(2).random((8, 2, 2, 1))
    four = nib.Nifti1Image(data, blocks.affine)
    three = nib.Nifti1Image(data[..., 0], blocks.affine)
    pd.testing.assert_series_equal(
        atlas.parcel_means(four, blocks), atlas.parcel_means(three, blocks)
    )
    several = nib.Nifti1Image(np.ones((8, 2, 2, 3)), blocks.affine)
    with pytest.raises(ValueError, match=r"one three-dimensional volume.*\(8, 2, 2, 3\)"):
        atlas.parcel_means(several, blocks)


def test_bad_input_is_refused_with_what_was_found(blocks, tmp_path):
    empty = nib.Nifti1Image(np.full((8, 2, 2), np.nan), blocks.affine)
    path = tmp_path / "empty.nii.gz"
    nib.save(empty, path)
    with pytest.raises(ValueError, match=r"empty\.nii\.gz: no finite voxel"):
        atlas.parcel_means(path, blocks)
    with pytest.raises(ValueError, match="background 'mask': expected 'keep' or 'drop'"):
        atlas.parcel_means(blocks, blocks, background="mask")
    with pytest.raises(FileNotFoundError, match="'nueromorphometrics': neither a packaged atlas"):
        atlas.load_atlas("nueromorphometrics")
    blurred = nib.Nifti1Image(np.full((2, 2, 2), 1.5), GRID)
    with pytest.raises(ValueError, match=r"whole numbers from 0 on, found \[1.5\]"):
        atlas.load_atlas(blurred)


@pytest.mark.parametrize(
    ("table", "message"),
    [
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
        atlas.load_atlas(blocks, pd.DataFrame(table))


def test_own_atlas_with_table_file(blocks, named_blocks, tmp_path):
    image, table = tmp_path / "labels.nii.gz", tmp_path / "labels.tsv"
    nib.save(blocks, image)
    named_blocks.table.to_csv(table, sep="\t")
    loaded = atlas.load_atlas(image, table)
    pd.testing.assert_frame_equal(loaded.table, named_blocks.table)
    assert atlas.grey_matter_labels(loaded).tolist() == [1, 2, 3]
    assert loaded.table["hemisphere"].tolist() == ["left", "left", "right", "right"]


def test_mean_matrix_agrees_with_parcel_means(named_blocks):
    rng = np.random.default_rng(3)
    mask = rng.random((8, 2, 2)) < 0.8
    mask[2:4] = False
    maps = rng.standard_normal((5, mask.sum()))
    mask_image = nib.Nifti1Image(mask.astype(np.uint8), named_blocks.image.affine)
    found = atlas.parcel_mean_matrix(maps, mask_image, named_blocks)
    assert found.columns.tolist() == [1, 2, 3]
    for row, values in enumerate(maps):
        full = np.full(mask.shape, np.nan)
        full[mask] = values
        image = nib.Nifti1Image(full, named_blocks.image.affine)
        expected = atlas.parcel_means(image, named_blocks)[found.columns]
        np.testing.assert_allclose(found.loc[row], expected)
    assert found[2].isna().all()


def test_mean_matrix_refuses_maps_of_another_mask_and_holes(named_blocks):
    mask = nib.Nifti1Image(np.ones((8, 2, 2), np.uint8), named_blocks.image.affine)
    with pytest.raises(ValueError, match="maps: 31 voxels, the mask has 32"):
        atlas.parcel_mean_matrix(np.ones((2, 31)), mask, named_blocks)
    maps = np.ones((3, 32))
    maps[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"rows \[1\] hold values that are not finite"):
        atlas.parcel_mean_matrix(maps, mask, named_blocks)
    with pytest.raises(ValueError, match=r"labels \[9\] are not in the atlas"):
        atlas.parcel_mean_matrix(np.ones((2, 32)), mask, named_blocks, labels=[1, 9])


def test_known_coordinates_are_named():
    coords = [[-26, 4, 2], [26, 4, 2], [-10, -14, 7], [-24, -22, -14], [0, -70, -24]]
    found = atlas.region_at(coords)
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
    found = atlas.region_at(coords, named_blocks, within=5)
    assert found["region"].tolist() == ["c", "unlabelled", "unlabelled"]
    assert found["hemisphere"].tolist() == ["right", "right", "left"]
    assert found["distance_mm"][0] == pytest.approx(4.9)
    assert found["label"].isna().tolist() == [False, True, True]


def test_distances_between_blocks(named_blocks):
    distances = atlas.parcel_distances(named_blocks, [1, 2, 4])
    np.testing.assert_allclose(distances, [[0, 4, 12], [4, 0, 8], [12, 8, 0]])


def test_distances_of_the_real_atlas_are_plausible():
    labels = atlas.grey_matter_labels()
    distances = pd.DataFrame(atlas.parcel_distances(), index=labels, columns=labels)
    off_diagonal = distances.to_numpy()[~np.eye(len(labels), dtype=bool)]
    assert distances.loc[57, 58] == pytest.approx(52, abs=6)  # from putamen to putamen
    assert off_diagonal.min() > 5
    assert off_diagonal.max() < 180
