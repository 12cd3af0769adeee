"""Cortex, subcortex and all regions side by side, on made-up change of real regions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import calibration, correlation, structures, tables, together
from analysis_lib.receptors.inputs import Inputs
from analysis_lib.receptors.library import systems
from analysis_lib.study import catalogue
from analysis_lib.study.contract import load_study

DRAWS = {"permutations": 99, "surrogates": 99, "bootstrap": 20}
D1, DAT, MOR = "kaller2017/sch23390", "dukart2018/fpcit", "kantonen2020/carfentanil"
SEROTONIN = "beliveau2017/sb207145"


@pytest.fixture(scope="module")
def inputs():
    """Eight people whose change follows D1 below the cortex and 5-HT1A in it."""
    atlas = parcellation.load_atlas()
    labels = grids.grey_matter_labels(atlas)
    names = [MOR, D1, DAT, "savli2012/way100635", SEROTONIN]
    maps = tables.bundled(atlas.name, "drop", names, labels)[0]
    scores = pd.DataFrame(correlation.gaussianise(maps), maps.index, maps.columns).fillna(0)
    below = atlas.table.loc[labels, "structure"].eq("subcortex")
    planted = scores.loc[D1].where(below, scores.loc["savli2012/way100635"])
    noise = np.random.default_rng(4).normal(size=(8, len(labels)))
    change = pd.DataFrame(noise + np.repeat([[1], [0]], 4, axis=0) * planted.to_numpy() * 2)
    change.columns = labels
    arm, about = pd.Series(["active"] * 4 + ["control"] * 4), catalogue.library().loc[names]
    model = {"covariates": None, "strata": None}
    whole = (load_study(), atlas, change, arm, maps, about, model)
    return Inputs(*whole, whole=(maps, about)).where_tracers_hold()


@pytest.fixture(scope="module")
def assessed(inputs):
    return together.assess_contrasts(inputs, DRAWS, 3)


def test_errors_of_images_are_compared_by_the_contrast_that_change_is(inputs, assessed):
    kept = {"image_sharpness": inputs.change[::-1] * 2}  # rows in another order
    read, own = replace(inputs, suspects=kept), inputs.effect_maps()
    for contrast in own:
        found = read.suspect_maps(contrast).loc["image_sharpness"]
        np.testing.assert_allclose(found, 2 * own[contrast])
    assert inputs.suspect_maps(contrast).shape == (0, inputs.change.shape[1])
    table = together.anatomy_rows(read, assessed).set_index(["contrast", "measure"])
    assert np.allclose(table.xs("image_sharpness", level="measure")["r"], 1)
    assert table.xs("registration_error", level="measure")["r"].isna().all()


@pytest.fixture(scope="module")
def rows(inputs, assessed):
    return structures.by_structure(inputs, assessed, DRAWS, 3)


def test_maps_take_part_where_their_tracers_hold_in_half_of_the_structure(rows):
    main = rows[rows["contrast"] == "arm_by_time"]
    maps = main.groupby("structure", sort=False)["annotation"].agg(list)
    assert maps.index.tolist() == ["all", "cortex", "subcortex"]
    assert maps["all"] == maps["cortex"] == [D1, "savli2012/way100635", MOR]
    assert maps["subcortex"] == [D1, "savli2012/way100635", SEROTONIN, MOR]  # by system
    assert main["system"].unique().tolist() == ["dopamine", "serotonin", "opioid"]
    sizes = main.groupby("structure")["n_parcels"].max()
    assert sizes.to_dict() == {"all": 114, "cortex": 98, "subcortex": 16}


def test_each_structure_has_its_own_r_and_its_own_nulls(inputs, rows):
    main = rows[rows["contrast"] == "arm_by_time"].set_index(["structure", "annotation"])
    assert main["r"].abs().groupby("structure").idxmax()["subcortex"][1] == D1
    assert main["r"].abs().groupby("structure").idxmax()["cortex"][1] == "savli2012/way100635"
    part = inputs.within("subcortex")
    alone = together.assess_contrasts(part, DRAWS, 3)["arm_by_time"]
    assert alone.surrogates.shape == (99, 16)
    effect = part.effect_maps()["arm_by_time"]
    r = correlation.correlate(effect, part.maps)[0]
    np.testing.assert_allclose(main.loc["subcortex"].loc[part.maps.index, "r"], r)
    found = main.loc["subcortex"].loc[part.maps.index]
    np.testing.assert_array_equal(found["p_fwe_spatial_anatomy"], alone.spatial_anatomy.p_fwe)


def test_one_structure_alone_has_no_parts(inputs):
    part = inputs.within("subcortex")
    assessed = together.assess_contrasts(part, DRAWS, 3)
    rows = structures.by_structure(part, assessed, DRAWS, 3, "subcortex")
    assert set(rows["structure"]) == {"subcortex"}


def test_every_published_receptor_belongs_to_a_system():
    assert "other" not in set(systems(catalogue.library()["receptor"]))
    assert systems(pd.Series(["own"])).tolist() == ["other"]


def test_rates_are_those_measured_for_maps_about_as_symmetric(inputs):
    rng, m = np.random.default_rng(5), np.r_[3:6, 0:3, 6]  # three pairs and one region by itself
    even = np.r_[np.tile(rng.normal(size=3), 2), 0]
    found = calibration.spatial_rates(even, m, "moran")
    assert found["symmetry"].unique() == pytest.approx(1)
    assert found.loc[found["fits"], "noise"].tolist() == ["VBM-like, homotopic 0.9"] * 2
    measured = pd.read_csv(calibration.MEASURED, sep="\t")
    sides = {"rate_single": "simulated", "rate_family": "18 maps, family-wise"}
    for row in found.itertuples():
        null = "Moran" + ", anatomy held constant" * row.anatomy_held
        rows = measured[(measured["null"] == null) & (measured["noise"] == row.noise)]
        for column, side in sides.items():
            rate = rows.loc[rows["side"] == side, "rate"].item()
            assert getattr(row, column) == pytest.approx(rate)
    alone = calibration.spatial_rates(even, np.arange(7), "variogram")
    assert set(alone.loc[alone["fits"], "noise"]) == {"VBM-like, homotopic 0"}
    assert set(alone["symmetry"]) == {0}
    rates = inputs.spatial_rates(inputs.effect_maps()["arm_by_time"], "moran")
    assert len(rates) == 10
    assert 0.2 < rates["symmetry"].iloc[0] < 1
