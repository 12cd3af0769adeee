"""Decisions, the analyses that follow from them, and what the estimate depends on."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.results.problems import NotComputed
from analysis_lib.robustness import specification as spec
from analysis_lib.robustness.multiverse import estimates
from analysis_lib.robustness.specification_symptoms import contrast_design
from trialmmrm import fit_mmrm

LABELS = {spec.DEFAULT, spec.ARBITRARY, spec.UNCERTAIN, spec.ANOTHER}


def test_every_decision_has_one_default_which_comes_first_and_every_option_a_reason():
    table = pd.read_csv(spec.TABLE, sep="\t", keep_default_na=False)
    assert set(table["label"]) == LABELS
    assert table["reason"].str.len().min() > 3
    for _, own in table.groupby(["family", "decision"]):
        assert own["label"].tolist().index(spec.DEFAULT) == 0
        assert own["label"].eq(spec.DEFAULT).sum() == 1


OFFERS = {
    "smoothing": "the study gives changes by region",
    "mask": "the study gives changes by region",
    "atlas": {"own": "", "aal": "", "other": "not here"},
    "tracer": {"a": "", "b": ""},
    "head_size": "no volume",
    "region": {"all": "", "left": "", "right": ""},
}


def test_options_that_a_study_lacks_drop_out_and_are_told():
    decisions = spec.offered("regions", OFFERS)
    lacking = decisions[decisions["lacking"] != ""]
    assert set(lacking["decision"]) == {"smoothing", "mask", "atlas", "head_size"}
    assert lacking.loc[lacking["decision"] == "atlas", "option"].tolist() == ["other"]
    rows = spec.crossed(decisions)
    # covariates, errors, atlas, tracer, regions of the tracer, correlation, anatomy
    assert len(rows) == 2 * 2 * 2 * 2 * 2 * 3 * 2
    assert rows["smoothing"].eq("0").all()
    assert set(rows["atlas"]) == {"own", "aal"}
    assert not {"region", "structure", "null"} & set(rows)


def test_an_analysis_is_arbitrary_only_if_all_its_choices_are():
    rows = spec.crossed(spec.offered("regions", OFFERS))
    doubt = rows["errors"].eq("equal") | rows["tracer_regions"].eq("all")
    doubt |= rows["correlation"].eq("pearson") | rows["anatomy"].eq("adjusted")
    assert rows["label"].eq(spec.UNCERTAIN).tolist() == doubt.tolist()
    assert rows["label"].iloc[0] == spec.ARBITRARY  # the default


def curve(estimate, draws=None):
    """A curve over the offers above, with made-up estimates."""
    decisions = spec.offered("regions", OFFERS)
    rows = spec.crossed(decisions)
    rows = rows.assign(estimate=estimate(rows), ci_low=0.0, ci_high=1.0, p=0.5)
    apart = pd.DataFrame({"decision": "region", "option": ["left", "right"], "estimate": [1.0, 3]})
    draws = np.empty((0, 0)) if draws is None else draws(rows)
    return spec.Curve("regions", rows, decisions, apart, draws, ("one",))


def test_shares_of_variance_are_those_of_an_analysis_of_variance():
    tested = curve(lambda rows: 3.0 * rows["anatomy"].eq("adjusted") + rows["atlas"].eq("aal"))
    shares = spec.variance_by_decision(tested).set_index("decision")["share"]
    assert shares["anatomy"] == pytest.approx(0.9)  # 3^2 of 3^2 + 1
    assert shares["atlas"] == pytest.approx(0.1)
    assert shares["correlation"] == pytest.approx(0)
    assert shares["region"] == pytest.approx(1 / 2.5)  # variances of 1, 3 and of the curve
    assert shares.index[0] == "anatomy"


class Notes(list):
    def note(self, title, reason):
        self.append((title, reason))

    @property
    def notes(self):
        return [{"reason": "why"}]


def test_joint_tests_are_of_arbitrary_analyses_alone():
    rng = np.random.default_rng(1)

    def draws(rows):
        drawn = rng.standard_normal((99, rows["label"].eq(spec.ARBITRARY).sum()))
        drawn[0] = 9
        return drawn

    found, notes = curve(lambda rows: np.arange(len(rows), 0, -1.0), draws), Notes()
    tables = spec.curve_tables(notes, [found])
    rows, joint = tables["regions_specifications"], tables["joint"].iloc[0]
    arbitrary = rows["label"] == spec.ARBITRARY
    assert joint["n_specifications"] == arbitrary.sum() == joint["n_true"] == 16
    assert rows["p_adjusted"].notna().tolist() == arbitrary.tolist()
    assert joint["median"] == rows.loc[arbitrary, "estimate"].median()
    assert rows["estimate"].is_monotonic_increasing
    assert rows["place"].tolist() == list(range(1, len(rows) + 1))
    counted = tables["decisions"].set_index(["decision", "option"])["n_specifications"]
    assert counted["atlas", "aal"] == len(rows) / 2
    assert notes == [("An analysis (regions)", "one")]


def test_of_one_map_there_is_a_curve_and_no_joint_test():
    tables = spec.curve_tables(Notes(), [curve(lambda rows: np.arange(len(rows)) + 0.5)])
    assert tables["joint"].empty
    assert tables["regions_specifications"]["p_adjusted"].isna().all()
    with pytest.raises(NotComputed, match="no analysis could be made: why"):
        spec.curve_tables(Notes(), [])


def test_a_contrast_of_a_mixed_model_is_one_coefficient_of_its_whitened_rows():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame({"who": np.repeat(np.arange(24), 3), "visit": [1, 2, 3] * 24})
    rows["arm"] = np.where(rows["who"] % 2, "active", "control")
    rows["y"] = rng.standard_normal(72) + np.repeat(rng.standard_normal(24), 3)
    rows.loc[[4, 11], "y"] = np.nan
    fit = fit_mmrm(rows, "y ~ arm*visit", "who", "visit")
    x, y, who = fit.whitened()
    weights = fit.difference_weights("arm", "control")[2]
    design = contrast_design(x, weights, who)
    table = fit.contrasts("arm", "control").iloc[2]
    assert estimates(design, y[:, None])[0][0] == pytest.approx(table["estimate"])
    _, left = design.parts()
    se = np.sqrt(weights @ fit.vcov_unadjusted.to_numpy() @ weights)
    assert 1 / np.linalg.norm(left) == pytest.approx(se)
    assert design.subject.max() == 23
