"""Bundled regional densities: the numbers that the volumes give."""

import shutil

import numpy as np
import pandas as pd
import pytest

from analysis_lib.atlas import grids, parcellation
from analysis_lib.pipeline import steps
from analysis_lib.receptors import densities, library, tables
from analysis_lib.results.problems import StudyError
from analysis_lib.study import catalogue
from analysis_lib.study.contract import load_study

PACKAGED = ("neuromorphometrics", "aal")
ONE_OF_EACH_GRID = ["kaller2017/sch23390", "turtonen2020/carfentanil", "tuominen/feobv"]


@pytest.fixture
def schaefer_tian(reference_data, tmp_path, monkeypatch):
    """The downloadable atlas, in a cache of its own."""
    name = "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1_MNI152NLin6Asym_2mm.nii.gz"
    (tmp_path / "atlases").mkdir()
    shutil.copy(reference_data / "data" / "atlases" / name, tmp_path / "atlases" / name)
    monkeypatch.setenv("COMPENDIUM_CACHE", str(tmp_path))
    return parcellation.load_atlas("schaefer100_tian_s1")


def on_disk(atlas, background="drop"):
    return pd.read_csv(tables.table_path(atlas, background), sep="\t", index_col="label")


@pytest.mark.parametrize("atlas", tables.ATLASES)
def test_columns_are_the_default_maps(atlas):
    for background in tables.ENDINGS:
        assert list(on_disk(atlas, background)) == ["region", *catalogue.resolve("default")]


@pytest.mark.parametrize("atlas", PACKAGED)
def test_rows_are_the_grey_matter_regions(atlas):
    names = grids.region_names(parcellation.load_atlas(atlas))
    pd.testing.assert_series_equal(on_disk(atlas)["region"], names, check_names=False)


def test_maps_are_those_that_neuromaps_lists_and_each_has_a_licence():
    about = pd.read_csv(tables.FOLDER / "maps.tsv", sep="\t", index_col="annotation", dtype=str)
    known = catalogue.library().loc[catalogue.resolve("default")]
    for column in ("md5", "licence", "tracer", "age", "reference"):
        assert about[column].tolist() == known[column].tolist()
    assert about["licence"].str.startswith("CC BY-NC-SA 4.0").all()


@pytest.mark.parametrize("background", tables.ENDINGS)
def test_volumes_give_the_same_densities(reference_data, background):
    """All maps on the demo's atlas, computed anew."""
    cache = reference_data / "data" / "neuromaps"
    found = densities.parcellate(cache=cache, background=background)
    expected = on_disk("neuromorphometrics", background).drop(columns="region").T
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert found.rank(axis=1).equals(expected.rank(axis=1))


def test_other_atlases_give_the_same_densities(reference_data, schaefer_tian):
    options = {"cache": reference_data / "data" / "neuromaps"}
    for atlas in (parcellation.load_atlas("aal"), schaefer_tian):
        found = densities.parcellate(ONE_OF_EACH_GRID, atlas, **options)
        expected = on_disk(atlas.name)[ONE_OF_EACH_GRID].T
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_tables_are_written_as_they_are_read(reference_data, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "resolve", lambda _: ONE_OF_EACH_GRID)
    tables.make_tables(tmp_path, reference_data / "data" / "neuromaps", ["aal"])
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    made = pd.read_csv(tmp_path / "aal.tsv", sep="\t", index_col="label")
    pd.testing.assert_frame_equal(made, on_disk("aal")[list(made)], rtol=1e-8)


def test_tables_of_the_study_s_atlas_are_inputs_of_a_run(tiny):
    names = {path.name for path in steps.bundled_densities(tiny.write())}
    of_atlas = {"neuromorphometrics.tsv", "neuromorphometrics_background_kept.tsv"}
    assert names == of_atlas | {"maps.tsv"}
    tiny.content["atlas"] = "aal.nii"
    (tiny.folder / "aal.nii").write_text("")
    assert steps.bundled_densities(tiny.write()) == []


def test_without_volumes_the_demo_has_the_same_maps(reference_data, tmp_path):
    study, parcels = load_study("demo"), parcellation.load_atlas()
    labels = grids.grey_matter_labels(parcels)
    bare, about = library.maps_for(study, parcels, labels, cache=tmp_path / "none")
    full, known = library.maps_for(study, parcels, labels, cache=reference_data / "data/neuromaps")
    pd.testing.assert_frame_equal(bare, full, rtol=1e-8)
    assert (about.pop("densities") == "bundled").all()
    assert (known.pop("densities") == "volumes").all()
    pd.testing.assert_frame_equal(about, known, rtol=1e-7)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("atlas", "receptors", "command"),
    [
        ("aal", "mGluR5", "fetch receptors --all-maps"),
        ("of one's own", "default", "fetch receptors"),
    ],
)
def test_maps_without_a_table_need_the_volumes(tiny, tmp_path, atlas, receptors, command):
    tiny.content["receptors"] = receptors
    parcels = parcellation.load_atlas("aal")
    if atlas != "aal":
        parcels = parcellation.load_atlas(parcels.image)
    with pytest.raises(StudyError, match=f"Get them: python -m analysis_lib {command}$"):
        library.maps_for(tiny.write(), parcels, parcels.table.index, cache=tmp_path / "none")
