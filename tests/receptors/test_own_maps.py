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
        (lambda d: (d > 1).astype(np.float32), "the values 0 and 1 alone, as in a mask"),
        (lambda d: np.full_like(d, 2.5), r"the same value everywhere: 2\.5"),
        (lambda d: np.negative(d), "100% of grey matter below it; was the sign changed"),
    ],
)
def test_what_is_no_map_of_densities_is_refused(density, tmp_path, change, said):
    (problem,) = found(tmp_path, change(density))
    assert problem.severity == "error"
    assert re.search(said, str(problem))


@pytest.mark.parametrize("mm", [(10, 0, 0), (0, -10, 0), (0, 0, 10), (10, 10, 10)])
def test_a_map_beside_the_brain_is_doubted(density, tmp_path, mm):
    (problem,) = found(tmp_path, density, moved(*mm))
    nearest = " x ".join(f"{9 * np.sign(n):.0f}" for n in mm)
    assert f"found them about {nearest} mm to the right, front and top; is the map in" in str(
        problem
    )
    assert problem.severity == "warning"
    assert found(tmp_path, density, moved(*np.array(mm) / 5)) == []


def test_a_mirrored_map_is_doubted(density, tmp_path):
    (problem,) = found(tmp_path, density[::-1])
    assert str(problem).startswith("sides as in the template expected, found the reverse")
    assert problem.severity == "warning"
    flipped = AFFINE @ np.diag([-1.0, 1, 1, 1])  # voxels and header the other way: the same map
    flipped[0, 3] = 90
    assert found(tmp_path, density[::-1], flipped) == []


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
    assert "as in a mask" in said["map_binary"][0]
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
        "tiny.yml: receptors (D2): maps/mine.nii.gz: a map of many values",
        "tiny.yml: receptors (mGluR5): maps/turned.nii.gz: sides as in the template",
    ]
    assert sum("maps/mine" in str(problem) for problem in errors(check(study, ["03"]))) == 1
    assert not any("maps/" in text for text in lines(check(study, ["02"])))
