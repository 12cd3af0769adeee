"""Receptor maps of one's own: each fault is named before a run, and good maps pass."""

import re

import nibabel as nib
import numpy as np
import pytest
from conftest import lines

from analysis_lib.atlas.grids import grey_matter_labels, labels_on_grid
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.checking import check, errors
from analysis_lib.receptors import own_maps
from analysis_lib.study import catalogue

AFFINE = np.diag([3.0, 3, 3, 1])
AFFINE[:3, 3] = [-90, -126, -72]  # symmetric: x from -90 to 90
SHAPE = (61, 73, 61)
SMALL = ["kaller2017/sch23390", "alarkurtti2015/raclopride", "savli2012/dasb", "fazio2016/madam"]


def moved(*mm):
    affine = AFFINE.copy()
    affine[:3, 3] += mm
    return affine


def some(values, share):
    """The highest share of the values that are not 0, the others 0."""
    return np.where(values >= np.quantile(values[values > 0], 1 - share), values, 0)


@pytest.fixture(scope="module")
def density():
    """A density in grey matter that differs from region to region, noisy, 0 outside."""
    atlas, rng = load_atlas(), np.random.default_rng(5)
    labels = labels_on_grid(atlas, SHAPE, AFFINE)
    level = np.zeros(labels.max() + 1)
    grey = grey_matter_labels(atlas)
    level[grey] = rng.gamma(2, size=len(grey)) + 0.2
    values = level[labels]
    return np.where(values > 0, values * rng.uniform(0.05, 1, SHAPE), 0).astype(np.float32)


def found(folder, data, affine=AFFINE):
    path = folder / "map.nii.gz"
    nib.save(nib.Nifti1Image(data, affine), path)
    return own_maps.of_file(path)


def test_a_density_passes_with_and_without_a_fourth_dimension(density, tmp_path):
    assert found(tmp_path, density) == []
    assert found(tmp_path, density[..., None]) == []
    assert found(tmp_path, density - 0.003) == []  # another background
    assert found(tmp_path, np.where(density > 0, density, np.nan)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: (d > 1).astype(np.float32), "the values 0 and 1 alone; that is a mask"),
        (lambda d: np.zeros_like(d), r"\[0\.\] everywhere"),
        (lambda d: np.full_like(d, 2.5), r"\[2\.5\] everywhere"),
        (lambda d: np.full_like(d, np.nan), "not one finite value"),
        (lambda d: np.stack([d, d], axis=3), "one volume of densities expected, found 2 volumes"),
    ],
)
def test_what_is_no_map_of_densities_is_refused(density, tmp_path, change, said):
    (problem,) = found(tmp_path, change(density))
    assert problem.severity == "error"
    assert re.search(said, str(problem))


def test_a_file_without_a_place_in_space_is_refused(density, tmp_path):
    (problem,) = found(tmp_path, density, np.eye(4))
    assert str(problem).startswith("a place in MNI space expected, found an identity affine; save")
    assert problem.severity == "error"


def test_a_truncated_file_is_refused(density, tmp_path):
    found(tmp_path, density)
    path = tmp_path / "map.nii.gz"
    path.write_bytes(path.read_bytes()[:20_000])
    (problem,) = own_maps.of_file(path)
    assert str(problem).startswith("a whole NIfTI file expected, found ")
    path.write_bytes(b"no image")
    assert "copy or download the file again" in str(own_maps.of_file(path)[0])


@pytest.mark.parametrize("mm", [(10, 0, 0), (0, -10, 0), (0, 0, 10), (10, 10, 10)])
def test_a_map_beside_the_brain_is_doubted(density, tmp_path, mm):
    (problem,) = found(tmp_path, density, moved(*mm))
    nearest = " x ".join(f"{9 * np.sign(n):.0f}" for n in mm)
    assert f"found it about {nearest} mm to the right, front and top; is the map in" in str(problem)
    assert problem.severity == "warning"
    assert found(tmp_path, density, moved(*np.array(mm) / 5)) == []


def test_a_mirrored_map_is_doubted(density, tmp_path):
    (problem,) = found(tmp_path, density[::-1])
    assert str(problem).startswith("sides as in the template expected, found the reverse")
    assert problem.severity == "warning"
    flipped = AFFINE @ np.diag([-1.0, 1, 1, 1])  # voxels and header the other way: the same map
    flipped[0, 3] = 90
    assert found(tmp_path, density[::-1], flipped) == []


def test_a_thresholded_map_is_doubted(density, tmp_path):
    (problem,) = found(tmp_path, some(density, 0.5))
    assert re.search(r"found none in \d+% of a side, and none below 2\d% of the high", str(problem))
    assert "is the map thresholded" in str(problem)
    assert problem.severity == "warning"


def test_a_map_of_one_side_is_doubted(density, tmp_path):
    left = np.where(np.arange(61)[:, None, None] < 30, density, 0)
    assert "found none in 100% of a side" in str(found(tmp_path, left)[0])


@pytest.mark.parametrize("name", SMALL)
def test_published_maps_pass_and_their_mirror_images_do_not(reference_data, tmp_path, name):
    path = catalogue.locate(name, reference_data / "data" / "neuromaps")
    assert own_maps.of_file(path) == []
    image = nib.load(path)
    affine = np.diag([-1.0, 1, 1, 1]) @ image.affine
    texts = lines(found(tmp_path, np.asarray(image.dataobj), affine))
    assert len(texts) == 1
    assert "found the reverse" in texts[0]


def test_the_cases_at_hand_are_named(reference_data):
    folder = reference_data / "cases" / "maps"
    said = {
        name: lines(own_maps.of_file(folder / f"{name}.nii.gz"))
        for name in ("map_binary", "shift10")
    }
    assert "that is a mask" in said["map_binary"][0]
    assert "9 x 9 x 9 mm" in said["shift10"][0]


def test_the_one_check_names_the_entry_before_03_runs(tiny, density):
    (tiny.folder / "maps").mkdir()
    for name, data in {"mine": (density > 1).astype(np.float32), "turned": density[::-1]}.items():
        nib.save(nib.Nifti1Image(data, AFFINE), tiny.folder / "maps" / f"{name}.nii.gz")
    tiny.content["receptors"] = [
        {"receptor": "D2", "file": "maps/mine.nii.gz"},
        {"receptor": "mGluR5", "file": "maps/turned.nii.gz"},
        {"receptor": "NET", "file": "maps/absent.nii.gz"},  # named once, as absent
    ]
    study = tiny.write()
    of_maps = [text for text in lines(check(study, ["03"])) if "maps/" in text]
    assert [text.split(" expected")[0] for text in of_maps[1:]] == [
        "tiny.yml: receptors (D2): maps/mine.nii.gz: densities",
        "tiny.yml: receptors (mGluR5): maps/turned.nii.gz: sides as in the template",
    ]
    assert sum("maps/mine" in str(problem) for problem in errors(check(study, ["03"]))) == 1
    assert not any("maps/" in text for text in lines(check(study, ["02"])))
