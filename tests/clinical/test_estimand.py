"""Intercurrent events, other arms, direction of scales: stated in the study file, carried out."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.clinical import (
    contrast_table,
    find_tipping_point,
    fit_models,
    impute_scales,
    randomisation_test,
    read_trial,
    responders,
    who_took_part,
)
from analysis_lib.results.problems import StudyError
from analysis_lib.study.scores import improvement


@pytest.fixture
def noisy(tiny):
    """The tiny trial with spread; three of each arm leave treatment after week 1."""
    rng = np.random.default_rng(2)
    for table in tiny.scales.values():
        table["total"] += rng.integers(-3, 4, len(table))
    stopped = ["sub-01", "sub-02", "sub-03"]
    people = tiny.participants
    people["treatment_stopped_after"] = np.where(
        people["participant_id"].isin(stopped), "week1", "n/a"
    )
    people["stopped_because"] = ["headache", "moved", "headache", *["n/a"] * 5]
    return tiny


def scores_of(data, who, scale="HAMD-17"):
    rows = data.scores[data.scores["participant_id"].eq(who) & data.scores["scale"].eq(scale)]
    return rows.set_index("visit")["score"]


@pytest.mark.parametrize(
    ("strategy", "handled", "at_week2"),
    [
        ("hypothetical", "set aside", lambda given: np.nan),
        ("treatment_policy", "used", lambda given: given["week2"]),
        ({"composite": "worst"}, "replaced", lambda given: 52),
        ({"composite": "baseline"}, "replaced", lambda given: given["baseline"]),
        ({"composite": 30}, "replaced", lambda given: 30),
        ({"while_on_treatment": "last"}, "replaced", lambda given: given["week1"]),
    ],
)
def test_ratings_after_an_event_are_what_the_strategy_says(noisy, strategy, handled, at_week2):
    noisy.content["estimand"] = {"headache": strategy, "treatment_stopped": "treatment_policy"}
    data = read_trial(noisy.write())
    given = data.ratings[data.ratings["scale"] == "HAMD-17"]
    given = given.pivot(index="participant_id", columns="visit", values="score")
    assert scores_of(data, "sub-01")["week2"] == pytest.approx(
        at_week2(given.loc["sub-01"]), nan_ok=True
    )
    for who in ("sub-02", "sub-08"):  # another reason; no event
        pd.testing.assert_series_equal(scores_of(data, who), given.loc[who], check_names=False)
    table = data.intercurrent.set_index("event")
    assert table.loc["headache", ["n_active", "n_control"]].tolist() == [2, 0]
    assert table.loc["headache", ["ratings_active", "ratings_control"]].tolist() == [4, 0]
    assert table["handled"].tolist() == [handled, "used"]


def test_a_rating_replaced_by_a_rule_is_there_also_where_none_was_made(noisy):
    noisy.content["estimand"] = {"treatment_stopped": {"composite": "worst"}}
    table = noisy.scales["hamd17.tsv"]
    gone = table["participant_id"].eq("sub-01") & table["session_id"].eq("ses-week2")
    noisy.scales["hamd17.tsv"] = table[~gone]
    assert scores_of(read_trial(noisy.write()), "sub-01")["week2"] == 52


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("composite", "composite needs a rule: {composite: worst}"),
        ("while_on_treatment", "needs a rule: {while_on_treatment: last}"),
        ("per protocol", "treatment_policy, hypothetical, or a rule expected"),
        ({"composite": "zero"}, "estimand"),
    ],
)
def test_a_strategy_without_its_rule_is_refused(noisy, strategy, told):
    noisy.content["estimand"] = {"treatment_stopped": strategy}
    with pytest.raises(StudyError, match=told):
        noisy.write()


def test_a_strategy_for_a_reason_that_nobody_had_is_refused(noisy):
    noisy.content["estimand"] = {"rescue": "hypothetical"}
    with pytest.raises(StudyError, match=r"estimand\.rescue: treatment_stopped, or a reason in"):
        read_trial(noisy.write())


def test_those_who_stopped_are_shifted_and_a_gap_before_is_not(noisy):
    table = noisy.scales["hamd17.tsv"]
    noisy.participants.loc[2, ["treatment_stopped_after", "stopped_because"]] = "n/a"
    gap = table["participant_id"].eq("sub-05") & table["session_id"].eq("ses-week2")
    noisy.scales["hamd17.tsv"] = table[~gap]
    study = noisy.write()
    imputed = impute_scales(study, read_trial(study), 20)["HAMD-17"]
    assert imputed.outcomes.n_before.tolist() == [1, 1, 2, 2, 2, 2, 2, 2]
    found = find_tipping_point(imputed, "week2", 2.0, 1.0)
    assert found["tipping_curve"][["shifted_active", "imputed_active"]].eq(2).all(axis=None)
    found = find_tipping_point(imputed, "week2", 2.0, 1.0, "event")
    assert found["tipping_curve"]["shifted_active"].eq(1).all()
    two = found["tipping_two_way"]
    assert sorted(two["delta_control"].unique()) == [-2, -1, 0, 1, 2]
    assert len(two) == 25


def mirrored(tiny):
    """The same trial with every score x of the primary scale written as 52 - x."""
    rule = {"response": {"percent": 50, "of": "room"}, "better": "higher"}
    scale = tiny.content["scales"][0]
    scale.pop("remission_at_most")
    scale |= rule | {"remission_at_least": 45}
    table = tiny.scales["hamd17.tsv"]
    tiny.scales["hamd17.tsv"] = table.assign(total=52 - table["total"])
    return tiny


def answers(study):
    """p-values and directions of everything that is said of the primary scale."""
    data = read_trial(study)
    fits, imputed = fit_models(data.changes), impute_scales(study, data, 20)
    contrasts = contrast_table(fits, data.changes, study)
    found = {"mmrm": contrasts.loc[contrasts["scale"] == "HAMD-17", ["visit", "p", "favours"]]}
    found["risks"] = responders(study, data.participants, data.scores)
    found["risks"] = found["risks"].query("scale == 'HAMD-17'")
    found["randomisation"] = randomisation_test(data.changes, "HAMD-17", "week2", None, 99)
    found["randomisation"] = found["randomisation"][["p_randomisation"]]
    curve = find_tipping_point(imputed["HAMD-17"], "week2", 2.0, 1.0)["tipping_curve"]
    curve = curve.assign(delta=curve["delta_active"].abs()).sort_values("delta")
    found["tipping"] = curve[["delta", "shifted_active"]].reset_index(drop=True)
    gain = improvement(study, data.scores[data.scores["scale"] == "HAMD-17"], "week2")
    return found | {"gain": gain.to_frame()}, np.sign(contrasts["estimate"].iloc[0])


def test_mirrored_scores_give_the_same_p_and_favour_the_same_arm(noisy):
    lower, sign = answers(noisy.write())
    higher, mirrored_sign = answers(mirrored(noisy).write())
    assert mirrored_sign == -sign  # the raw sign stays
    for name, table in lower.items():
        pd.testing.assert_frame_equal(table, higher[name], obj=name, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "given", "better"),
    [
        ("GAF", {}, "higher"),
        ("WHO-5", {}, "higher"),
        ("MADRS", {}, "lower"),
        ("GAF", {"better": "lower"}, "lower"),
    ],
)
def test_the_direction_of_well_known_scales_is_known(tiny, name, given, better):
    scale = tiny.content["scales"][1]
    scale |= {"name": name} | given
    assert tiny.write().scales[1].better == better


def test_where_higher_is_better_response_needs_a_rule(noisy):
    study = mirrored(noisy)
    del study.content["scales"][0]["response"]
    study = study.write()
    data = read_trial(study)
    found = responders(study, data.participants, data.scores).query("scale == 'HAMD-17'")
    assert set(found["outcome"]) == {"remission"}


def test_other_arms_and_controls_are_in_the_flow_and_nowhere_else(tiny):
    extra = pd.DataFrame({"participant_id": ["sub-90", "sub-91"], "arm": ["waiting", "n/a"]})
    extra = extra.assign(age="n/a", sex="?", withdrawn_after="n/a", group=["MDD", "HC"])
    tiny.participants = pd.concat([tiny.participants.assign(group="MDD"), extra])
    table = tiny.scales["hamd17.tsv"]
    more = table[table["participant_id"] == "sub-01"].assign(participant_id="sub-90")
    tiny.scales["hamd17.tsv"] = pd.concat([table, more])
    tiny.content["arms"]["left_out"] = ["waiting"]
    tiny.content["not_randomised"] = {"group": "HC"}
    study = tiny.write()
    data = read_trial(study)
    assert set(data.scores["participant_id"]) == {f"sub-{k:02d}" for k in range(1, 9)}
    boxes = who_took_part(study, data)["consort_flow"].set_index("stage")["text"]
    assert boxes["randomised"] == "Randomised: 9; allocated to waiting, not compared here: 1"
    assert "never in the trial, not randomised (group HC): 1" in boxes["enrolment"]


def test_a_registered_outcome_that_is_another_one_is_noticed(tiny):
    tiny.content["registered"] = {"outcome": "HAMD 17", "visit": "week2"}
    assert not tiny.write().differs_from_registered
    for other in ({"outcome": "craving"}, {"outcome": "HAMD-17", "visit": "week1"}):
        tiny.content["registered"] = other
        assert tiny.write().differs_from_registered
