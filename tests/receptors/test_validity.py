"""Where tracers hold: the list, what it takes out, and the evidence for it in the maps."""

import pandas as pd
import pytest

from analysis_lib.atlas import grids, parcellation
from analysis_lib.receptors import tables, validity
from analysis_lib.results.problems import StudyError
from analysis_lib.study import catalogue

D1, D2, DAT = "kaller2017/sch23390", "alarkurtti2015/raclopride", "dukart2018/fpcit"
DASB, MOR, GABA = "savli2012/dasb", "turtonen2020/carfentanil", "dukart2018/flumazenil"
CEREBELLUM = [38, 39, 71, 72, 73]  # Neuromorphometrics' labels
LISTED = pd.read_csv(validity.LISTED, sep="\t")


@pytest.fixture(scope="module")
def atlas():
    return parcellation.load_atlas()


def densities(atlas, names, structure=None):
    labels = grids.grey_matter_labels(atlas, structure)
    return tables.bundled(atlas.name, "drop", names, labels)[0]


def test_every_row_names_a_map_and_a_source():
    assert set(LISTED["annotation"]) <= set(catalogue.library().index)
    assert not LISTED.duplicated(["annotation", "fails"]).any()
    assert LISTED["source"].str.contains(r"\d{4}").all()
    assert set(LISTED["checked"]) == {"yes", "no"}


def test_volumes_that_neuromaps_advises_against_in_the_cortex_are_those_left_out_there():
    warned = {
        name
        for name in catalogue.library().index
        if "subcortical" in catalogue.record_of(name)["meta"].get("warning", "")
    }
    assert set(LISTED.loc[LISTED["fails"] == "the cortex", "annotation"]) == warned


def test_a_reference_region_is_left_out_of_its_map_alone(atlas):
    maps = densities(atlas, [D1, GABA])
    held, words = validity.where_tracers_hold(maps, atlas)
    assert held.columns[held.loc[D1].isna()].tolist() == CEREBELLUM
    pd.testing.assert_series_equal(held.loc[GABA], maps.loc[GABA])
    assert words == [f"{D1}: not in the cerebellum (reference region; Kaller et al. 2017)"]
    assert maps.loc[D1].notna().all()  # what was given is as it was


def test_the_occipital_reference_region_is_the_eight_gyri_of_each_side(atlas):
    held, words = validity.where_tracers_hold(densities(atlas, [MOR]), atlas)
    gone = atlas.table.loc[held.columns[held.iloc[0].isna()]]
    assert gone["hemisphere"].value_counts().to_dict() == {"left": 8, "right": 8}
    assert "precuneus" not in set(gone["region"])
    assert words[0].startswith(f"{MOR}: not in the occipital cortex (reference region; Endres")
    said = validity.where_tracers_hold(densities(atlas, [DASB]), atlas)[1]
    assert said == [
        f"{DASB}: not in the cerebellum (reference region; Savli et al. 2012, not read for this)"
    ]


def test_a_map_of_few_regions_is_left_out_as_a_whole_and_named(atlas):
    held, words = validity.where_tracers_hold(densities(atlas, [D2, D1, DAT]), atlas)
    assert held.index.tolist() == [D1]
    assert words[-1] == f"left out as a whole, with fewer than half of the regions: {D2}, {DAT}"
    with pytest.raises(StudyError, match=f"{D2}: tracers of none hold .* set tracers=all"):
        validity.where_tracers_hold(densities(atlas, [D2]), atlas)


def test_a_map_of_the_subcortex_takes_part_there(atlas):
    held, _ = validity.where_tracers_hold(densities(atlas, ["5-HT4", D1], "subcortex"), atlas)
    assert held.index.tolist() == [D1]  # the name of an annotation is asked for here
    name = "beliveau2017/sb207145"
    held, words = validity.where_tracers_hold(densities(atlas, [name], "subcortex"), atlas)
    assert held.loc[name].notna().all()
    assert words == []


def test_flb457_is_left_out_of_the_striatum_of_any_atlas(atlas):
    for name in ("neuromorphometrics", "aal"):
        parcels = parcellation.load_atlas(name)
        labels = grids.grey_matter_labels(parcels, "subcortex")
        flat = pd.DataFrame(1.0, index=["smith2017/flb457"], columns=labels)
        held, _ = validity.where_tracers_hold(flat, parcels)
        gone = parcels.table.loc[labels[held.iloc[0].isna()], "region"].str.lower().unique()
        assert {"caudate", "putamen"} <= set(gone) <= {"caudate", "putamen", "accumbens area"}


def test_fp_cit_follows_the_serotonin_transporter_in_the_cortex(atlas):
    """Why DAT is not looked for there; raclopride and D1 go together below the cortex alone."""
    cortex = densities(atlas, [DAT, DASB, D2, D1], "cortex").T.corr("spearman")
    below = densities(atlas, [D2, D1], "subcortex").T.corr("spearman")
    assert cortex.loc[DAT, DASB] > 0.85
    assert cortex.loc[D2, D1] < 0.2 < 0.85 < below.loc[D2, D1]
