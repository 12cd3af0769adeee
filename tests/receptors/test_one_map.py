"""One map without patients, and patients without a control arm."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis_lib.receptors import assessment, inputs, numbers, slopes, together
from analysis_lib.study.contract import load_study

N_REGIONS, LABELS = 40, pd.RangeIndex(1, 41, name="label")


@pytest.fixture(scope="module")
def made():
    """Change of 12 patients, two receptor maps, surrogates and anatomy."""
    rng = np.random.default_rng(4)
    maps = pd.DataFrame(rng.normal(size=(2, N_REGIONS)), ["a/1", "b/2"], LABELS)
    change = 0.5 * maps.loc["a/1"].to_numpy() + rng.normal(size=(12, N_REGIONS))
    who = [f"sub-{k:02d}" for k in range(12)]
    return SimpleNamespace(
        change=pd.DataFrame(change, who, LABELS),
        arm=pd.Series("active", who),
        maps=maps,
        surrogates=rng.normal(size=(99, N_REGIONS)),
        anatomy=pd.DataFrame(rng.normal(size=(1, N_REGIONS)), ["depth"], LABELS),
        about=pd.DataFrame({"receptor": ["A", "B"], "tracer": "x", "n_subjects": 9}, maps.index),
    )


def assessed(made, change, contrast):
    data = (change, made.arm[change.index], made.maps, made.surrogates, made.anatomy, contrast)
    options = {"n_permutations": 99, "n_bootstrap": 99}
    return assessment.assess_contrast(*data, **options)


def test_one_map_has_the_spatial_tests_of_the_mean_map_and_none_of_patients(made):
    whole = assessed(made, made.change, "change")
    one = made.change.mean().rename("sub-00").to_frame().T.rename_axis(columns="label")
    alone = assessed(made, one, "effect")
    rows, of_patients = (
        assessment.correlation_table([result], made.about) for result in (alone, whole)
    )
    spatial = ["r", "r_anatomy", "p_spatial", "p_fwe_spatial", "p_spatial_anatomy"]
    assert rows[spatial].to_numpy() == pytest.approx(of_patients[spatial].to_numpy())
    needing = ["ci_low", "ci_high", "p_randomisation", "p_fwe", "q_fdr"]
    assert rows[needing].isna().all(axis=None)
    assert of_patients[needing].notna().all(axis=None)


def test_what_needs_patients_is_missing_beside_one_map(made):
    one = made.change.iloc[:1]
    alone = assessed(made, one, "effect")
    rivals = assessment.rival_table(alone, made.about)
    assert rivals["difference"].notna().all()
    assert rivals[["ci_low", "ci_high", "share_ahead"]].isna().all(axis=None)
    study = SimpleNamespace(effect=object())
    given = SimpleNamespace(study=study, change=one, maps=made.maps)
    coupling = together.patients(given, alone, 99, 0)
    assert (coupling.tables, coupling.scales, len(coupling.shown)) == ({}, [], 0)
    tables = {"correlations": assessment.correlation_table([alone], made.about)}
    found = numbers.receptor_numbers(tables)
    assert found["effect.a/1.p_fwe"] == (None, "correlations.tsv")


def test_the_mean_slope_of_one_group_is_a_t_test(made):
    whole = assessed(made, made.change, "change")
    found = slopes.mean_table(whole.slopes, made.about, whole.randomisation)
    test = stats.ttest_1samp(whole.slopes, 0)
    low, high = test.confidence_interval()
    assert found["t"].to_numpy() == pytest.approx(test.statistic)
    assert pytest.approx(np.array([low, high])) == found[["ci_low", "ci_high"]].to_numpy().T
    g = whole.slopes.mean(axis=0) / whole.slopes.std(axis=0, ddof=1)
    assert found["hedges_g"].to_numpy() == pytest.approx(g, rel=0.08)  # J(11) is .93
    assert found.loc[0, "p"] == pytest.approx(0.01)  # the least that 99 draws allow


def test_without_arms_improvement_is_a_plain_correlation(made):
    whole = assessed(made, made.change, "change")
    improved = np.random.default_rng(1).normal(size=12)
    found = slopes.improvement_table(
        whole.slopes, improved, made.arm, made.about, n_permutations=99
    )
    r = [stats.pearsonr(column, improved).statistic for column in whole.slopes.T]
    assert found["r"].to_numpy() == pytest.approx(r)


def test_argyelan_agrees_with_an_independent_script(tmp_path, monkeypatch):
    """Electroconvulsive therapy: 39 regions, amygdala and hippocampus grow, no receptor survives.

    An independent script gave r of .38 and .34 for two maps of 5-HT1A and .08 for D1. Everything is
    at hand: tables, atlas, densities.
    """
    from analysis_lib.datasets import fetch
    from analysis_lib.vbm.region_tests import read_region_changes

    for cache in ("COMPENDIUM_CACHE", "NEUROMAPS_DATA"):
        monkeypatch.setenv(cache, str(tmp_path / "empty"))
    fetch.fetch_study("argyelan_ect", tmp_path / "bids")
    own = load_study("argyelan_ect")
    text = own.path.read_text().replace("../raw/argyelan_ect", str(tmp_path / "bids"))
    (tmp_path / "ect.yml").write_text(text + "receptors: [5-HT1A, D1]\n")
    study = load_study(tmp_path / "ect.yml", tmp_path)
    changes = read_region_changes(study)
    assert changes.change.shape == (15, 39)
    means = changes.change.mean()
    assert means["amygdala"] == pytest.approx(2.91, abs=0.005)
    assert means["hippocampus"] == pytest.approx(2.68, abs=0.005)
    (study.derived / "vbm").mkdir(parents=True)
    from analysis_lib.results import write

    write(study.derived / "vbm", {"parcel_change.tsv": changes.tables()["parcel_change"]})
    given = inputs.read_inputs(study, tracers="all")
    draws = {"permutations": 199, "surrogates": 199, "bootstrap": 99}
    rows = assessment.correlation_table(
        together.assess_contrasts(given, draws, 0).values(), given.about
    ).set_index("annotation")
    assert "half a brain" in given.symmetry_note("centroid")
    serotonin = rows[rows["receptor"] == "5-HT1A"]["r"]
    assert sorted(serotonin) == pytest.approx([0.34, 0.38], abs=0.1)
    assert rows.loc["kaller2017/sch23390", "r"] == pytest.approx(0.08, abs=0.1)
    assert (rows["p_fwe"] > 0.05).all()
    assert (rows["p_fwe_spatial"] > 0.05).all()
