"""One map's file: damage is refused, harmless oddities are read over and counted."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from analysis_lib.results.problems import StudyError
from analysis_lib.study import grids, map_file

AFFINE = nib.affines.from_matvec(np.diag([12.0, 12, 12]), [-96, -126, -84])  # a head
SHAPE = (17, 19, 15)
CORNER, MIDDLE = (0, 0, 0), (8, 9, 8)  # in air; near the origin
REPEATED = {"mtime": 0, "compresslevel": 6}


def save(path, data, affine=AFFINE):
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


@pytest.fixture
def data():
    return np.random.default_rng(0).uniform(0.1, 0.9, SHAPE).astype(np.float32)


@pytest.fixture
def packed(tmp_path):
    """Bytes of a small map, the same each time, and where to write them changed."""
    values = np.random.default_rng(1).uniform(0.1, 0.9, (8, 8, 8)).astype(np.float32)
    image = nib.Nifti1Image(values, AFFINE)
    return gzip.compress(image.to_bytes(), **REPEATED), tmp_path / "map.nii.gz"


def test_no_flipped_bit_changes_what_is_read(packed):
    content, path = packed
    path.write_bytes(content)
    right = map_file.load_map(path)
    accepted, bits = 0, range(0, 8 * len(content), 37)
    for bit in bits:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            found = map_file.load_map(path)
        except StudyError:
            continue
        accepted += 1  # in gzip's own head, a time or a system's name
        np.testing.assert_array_equal(found.get_fdata(), right.get_fdata())
    assert accepted < 0.02 * len(bits)


@pytest.mark.parametrize("missing", [1, 6, 8])
def test_bytes_that_the_end_lacks_are_noticed(packed, missing):
    content, path = packed
    path.write_bytes(content[:-missing])
    with pytest.raises(StudyError, match=r"^map\.nii\.gz: .*damaged file.*Copy it again"):
        map_file.load_map(path)


def test_a_changed_checksum_is_named_damage(packed):
    content, path = packed
    path.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    with pytest.raises(StudyError, match="damaged file or another: CRC check failed"):
        map_file.load_map(path)


def test_nan_outside_the_brain_is_read_as_0_and_counted(tmp_path, data):
    data[0] = np.nan  # as SPM writes it
    path = save(tmp_path / "map.nii.gz", data)
    read = map_file.load_map(path).get_fdata()
    assert not read[0].any()
    np.testing.assert_array_equal(read[1:], data[1:])
    assert map_file.summarise(path).oddities == {"NaN outside the brain, read as 0": 19 * 15}


def test_nan_in_the_brain_is_refused_with_its_place(tmp_path, data):
    data[CORNER], data[MIDDLE] = np.nan, np.nan
    path = save(tmp_path / "map.nii.gz", data)
    with pytest.raises(StudyError, match=r"in 1 voxel \(0\.0%\), the first at \(0, -18, 12\) mm"):
        map_file.load_map(path)


def test_infinite_values_are_refused_anywhere(tmp_path, data):
    data[CORNER] = np.inf
    with pytest.raises(StudyError, match="NaN or infinite in 1 voxel"):
        map_file.load_map(save(tmp_path / "map.nii.gz", data))


@pytest.mark.parametrize("value", [3.2, -0.02])
def test_a_stray_voxel_outside_the_brain_is_read_as_0_and_counted(tmp_path, data, value):
    data[CORNER] = value
    path = save(tmp_path / "map.nii.gz", data)
    assert map_file.load_map(path).get_fdata()[CORNER] == 0
    words = "values below -0.01 or above 3 outside the brain, read as 0"
    assert map_file.summarise(path).oddities == {words: 1}


@pytest.mark.parametrize(
    ("where", "value"), [(MIDDLE, 30), (MIDDLE, -0.02), (np.s_[0, 0, :11], 3.2)]
)
def test_stray_voxels_in_the_brain_or_many_are_refused(tmp_path, data, where, value):
    data[where] = value
    path = save(tmp_path / "map.nii.gz", data)
    with pytest.raises(StudyError, match="values from 0 to about 1 expected, found values"):
        map_file.load_map(path)


def test_one_volume_in_four_dimensions_is_read_and_several_are_not(tmp_path, data):
    path = save(tmp_path / "map.nii.gz", data[..., None])
    np.testing.assert_array_equal(map_file.load_map(path).get_fdata(), data)
    plain = save(tmp_path / "plain.nii.gz", data)
    np.testing.assert_array_equal(grids.check_grids([path, plain]), AFFINE)
    path = save(tmp_path / "two.nii.gz", np.stack([data, data], axis=-1))
    with pytest.raises(StudyError, match=r"shape \(17, 19, 15, 2\)\. Give one volume per file"):
        map_file.load_map(path)


@pytest.mark.parametrize("value", [0, 0.5])
def test_a_constant_map_is_refused(tmp_path, value):
    path = save(tmp_path / "map.nii.gz", np.full(SHAPE, value, np.float32))
    with pytest.raises(StudyError, match=f"found the same value everywhere: {value}"):
        map_file.load_map(path)


def test_axes_in_another_direction_are_turned_without_loss(tmp_path, data):
    other = AFFINE.copy()
    other[0] *= -1
    flipped = save(tmp_path / "las.nii.gz", data[::-1], other)
    plain = save(tmp_path / "ras.nii.gz", data)
    np.testing.assert_array_equal(grids.check_grids([plain, flipped]), AFFINE)
    read = map_file.load_map(flipped)
    np.testing.assert_array_equal(read.affine, AFFINE)
    np.testing.assert_array_equal(read.get_fdata(), data)
    assert map_file.summarise(flipped).written == "LAS"


@pytest.mark.parametrize(("mm", "same"), [(0.002, True), (0.02, False)])
def test_grids_may_differ_by_rounding(tmp_path, data, mm, same):
    moved = AFFINE.copy()
    moved[0, 3] += mm
    paths = [save(tmp_path / f"{i}.nii", data, a) for i, a in enumerate((AFFINE, AFFINE, moved))]
    if same:
        np.testing.assert_array_equal(grids.check_grids(paths), AFFINE)
    else:
        with pytest.raises(StudyError, match=r"2\.nii: affine"):
            grids.check_grids(paths)


def test_an_affine_that_places_nothing_is_refused(tmp_path, data):
    path = tmp_path / "map.nii"
    image = nib.Nifti1Image(data, AFFINE)
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    for axis in "xyz":
        image.header[f"srow_{axis}"] = 0
    path.write_bytes(image.header.binaryblock + bytes(4) + data.tobytes(order="F"))
    with pytest.raises(
        StudyError, match=r"a readable NIfTI image expected, found a damaged file or another: shape"
    ):
        grids.check_grids([path])


def test_the_summary_has_the_volume_and_the_centre(tmp_path):
    data = np.zeros(SHAPE, np.float32)
    data[4, 5, 6], data[CORNER] = 1, 1e-9  # two values alone would be a mask
    path = save(tmp_path / "map.nii.gz", data)
    summary = map_file.summarise(path)
    assert summary.total_ml == pytest.approx(12**3 / 1000)
    np.testing.assert_allclose(summary.centre, [-48, -66, -12])
    data[4, 5, 7] = 1
    save(path, np.r_[data, data[:1]])
    assert map_file.summarise(path).total_ml > 2  # the file has changed


def test_a_steep_voxel_in_the_brain_is_kept_and_counted(data, tmp_path):
    """Notebook 00 makes such voxels: modulation multiplies by how much registration stretched."""
    data[MIDDLE] = 3.02
    path = save(tmp_path / "steep.nii", data)
    assert map_file.load_map(path).get_fdata()[MIDDLE] == pytest.approx(3.02)
    assert map_file.summarise(path).oddities == {"values above 3 in the brain, kept": 1}
