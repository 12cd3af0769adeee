"""Clinical outcomes: against closed forms, other software, published examples, raw files."""

import numpy as np
import pandas as pd
import pingouin as pg
import pytest
import statsmodels.formula.api as smf
from scipy import special, stats

from analysis_lib.clinical import baseline as clinical_baseline
from analysis_lib.clinical import flow as clinical_flow
from analysis_lib.clinical import outcomes, risks
from analysis_lib.datasets import fetch
from analysis_lib.study import participants
from analysis_lib.study import scores as study_scores
from analysis_lib.study.contract import STUDIES, load_study


def changes_of(baseline, outcome, active, scale="HAMD-17", kind="change"):
    """A table as ``scores.with_baseline`` makes it."""
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in range(len(baseline))],
            "arm": np.where(active, "active", "control"),
            "scale": scale,
            "visit": "week2",
            "kind": kind,
            "baseline": baseline,
            "outcome": outcome,
        }
    )


@pytest.fixture
def trial_data():
    rng = np.random.default_rng(3)
    active = np.repeat([True, False], [14, 11])
    baseline = rng.normal(25, 4, 25)
    outcome = -6 - 4 * active + 0.4 * (baseline - 25) + rng.normal(0, 2 + 3 * active)
    return baseline, outcome, active


def ratings_of(wide, arm, scale="HAMD-17"):
    """Tidy scores from (n, n_visits) and arms."""
    frame = pd.DataFrame(wide, columns=[f"v{i}" for i in range(np.shape(wide)[1])])
    frame["participant_id"] = [f"sub-{i:02d}" for i in range(len(frame))]
    frame["arm"] = arm
    long = frame.melt(["participant_id", "arm"], var_name="visit", value_name="score")
    visits = sorted(long["visit"].unique())
    return long.assign(
        scale=scale,
        week=long["visit"].str[1:].astype(float),
        visit=pd.Categorical(long["visit"], visits, ordered=True),
    )


# --- ANCOVA


def test_ancova_is_least_squares_with_the_hc3_sandwich(trial_data):
    baseline, outcome, active = trial_data
    x = np.column_stack([np.ones(25), baseline, active])
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ outcome
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    scaled = (outcome - x @ beta) / (1 - leverage)
    se = np.sqrt((inverse @ (x.T * scaled**2) @ x @ inverse)[2, 2])
    row = outcomes.ancova(changes_of(*trial_data)).iloc[0]
    assert row["estimate"] == pytest.approx(beta[2])
    assert row["se"] == pytest.approx(se)
    assert row["df"] == 22
    assert row["t"] == pytest.approx(beta[2] / se)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(beta[2] / se), 22))
    margin = stats.t.ppf(0.975, 22) * se
    assert row["ci_low"] == pytest.approx(beta[2] - margin)
    assert row["ci_high"] == pytest.approx(beta[2] + margin)


def test_ancova_estimate_is_that_of_pingouin(trial_data):
    table = changes_of(*trial_data)
    ours = outcomes.ancova(table).iloc[0]["estimate"]
    theirs = pg.linear_regression(
        table.assign(x=table["arm"].eq("active").astype(float))[["baseline", "x"]],
        table["outcome"],
    )
    assert ours == pytest.approx(theirs.set_index("names").loc["x", "coef"])


def test_negative_estimate_favours_active(trial_data):
    row = outcomes.ancova(changes_of(*trial_data)).iloc[0]
    assert row["estimate"] < 0
    assert row["hedges_g_raw"] < 0
    assert (row["n_active"], row["n_control"]) == (14, 11)
    assert row["contrast"] == "active - control"


def test_with_baseline_in_the_model_change_and_value_have_the_same_effect(trial_data):
    baseline, change, active = trial_data
    a = outcomes.ancova(changes_of(baseline, change, active)).iloc[0]
    b = outcomes.ancova(changes_of(baseline, change + baseline, active, kind="value")).iloc[0]
    assert b["kind"] == "value"
    for name in ("estimate", "se", "p"):
        assert a[name] == pytest.approx(b[name])


def test_hedges_g_without_baseline_difference_is_that_of_pingouin(trial_data):
    _, outcome, active = trial_data
    # Without relation to baseline the adjusted difference is the plain one.
    baseline = np.concatenate([np.tile([20.0, 30.0], 7), [25.0], np.tile([20.0, 30.0], 5)])
    outcome = outcome.copy()
    for arm in (active, ~active):
        x = baseline[arm] - baseline[arm].mean()
        outcome[arm] -= x * (x @ outcome[arm]) / (x @ x)
    row = outcomes.ancova(changes_of(baseline, outcome, active)).iloc[0]
    approximate = pg.compute_effsize(outcome[active], outcome[~active], eftype="hedges")
    exact = approximate / (1 - 3 / (4 * 25 - 9)) * outcomes.hedges_correction(23)
    assert row["hedges_g_raw"] == pytest.approx(exact)
    assert row["g_raw_ci_low"] < exact < row["g_raw_ci_high"]


def test_participant_without_outcome_or_baseline_is_not_counted(trial_data):
    table = changes_of(*trial_data)
    table.loc[0, "outcome"] = np.nan
    table.loc[24, "baseline"] = np.nan
    row = outcomes.ancova(table).iloc[0]
    assert (row["n_active"], row["n_control"]) == (13, 10)
    full = outcomes.ancova(table.drop(index=[0, 24])).iloc[0]
    assert row["estimate"] == pytest.approx(full["estimate"])


@pytest.mark.parametrize("first", [0, 1])
def test_visit_with_fewer_than_two_participants_in_an_arm_has_no_row(trial_data, first):
    table = changes_of(*trial_data)
    late = table.assign(visit="week3")
    late.loc[first:13, "outcome"] = np.nan
    rows = outcomes.ancova(pd.concat([table, late]))
    assert list(rows["visit"]) == ["week2"]


def test_each_scale_and_visit_has_its_row(tiny):
    for table in tiny.scales.values():
        table["total"] += np.random.default_rng(0).integers(0, 3, len(table))
    study = tiny.write()
    rows = outcomes.ancova(study_scores.with_baseline(study, study_scores.read_ratings(study)))
    assert [*zip(rows["scale"], rows["visit"], strict=True)] == [
        (scale, visit) for scale in ("HAMD-17", "HAMA") for visit in ("week1", "week2")
    ]


@pytest.mark.parametrize(
    ("df", "j"),
    [(2, 1 / np.sqrt(np.pi)), (3, np.sqrt(np.pi / 6)), (4, np.sqrt(2 / np.pi)), (10, 0.9227)],
)
def test_hedges_correction_has_its_known_values(df, j):
    assert outcomes.hedges_correction(df) == pytest.approx(j, abs=5e-5)


def test_hedges_correction_is_the_gamma_ratio_and_its_approximation():
    exact = special.gamma(7) / (np.sqrt(7) * special.gamma(6.5))
    assert outcomes.hedges_correction(14) == pytest.approx(exact)
    assert outcomes.hedges_correction(34) == pytest.approx(1 - 3 / (4 * 34 - 1), abs=1e-4)
    assert outcomes.hedges_correction(1e5) == pytest.approx(1, abs=1e-5)


# --- repeated-measures ANOVA


def test_anova_gives_what_r_gives_for_a_shared_data_set():
    data = pg.read_dataset("mixed_anova")  # its documented values are of R's afex and JAMOVI
    wide = data.pivot(index=["Subject", "Group"], columns="Time", values="Scores")
    arm = np.where(wide.index.get_level_values("Group") == "Meditation", "active", "control")
    table = outcomes.rm_anova(ratings_of(wide.to_numpy(), arm)).set_index("effect")
    table = table.loc[["arm", "time", "arm x time"]]
    np.testing.assert_allclose(table["F"], [5.05171, 4.02739, 2.72800], atol=5e-6)
    np.testing.assert_allclose(table["partial_eta2"], [0.08012, 0.06493, 0.04492], atol=5e-6)
    np.testing.assert_allclose(table["epsilon_gg"].iloc[1:], 0.99812, atol=5e-6)
    np.testing.assert_allclose(table["p_gg"].iloc[1:], [0.02044, 0.06966], atol=6e-6)
    assert list(table["df1"]) == [1, 2, 2]
    assert list(table["df2"]) == [58, 116, 116]
    assert set(table["n"]) == {60}


def correlated_scores(n=(13, 9), seed=5):
    """Four visits whose variance grows (far from spherical), arms of unequal size."""
    rng = np.random.default_rng(seed)
    arm = np.repeat(["active", "control"], n)
    walk = np.cumsum(rng.normal(0, [1, 1, 3, 5], (sum(n), 4)), axis=1)
    fall = np.outer(arm == "active", [0, 2, 3, 4])
    return 25 + walk - fall, arm


def test_epsilon_is_that_of_the_covariance_pooled_within_arms():
    wide, arm = correlated_scores()
    pooled = sum((sum(arm == a) - 1) * np.cov(wide[arm == a].T) for a in ("active", "control"))
    centring = np.eye(4) - 0.25
    c = centring @ pooled @ centring
    epsilon = np.trace(c) ** 2 / (3 * np.trace(c @ c))
    row = outcomes.rm_anova(ratings_of(wide, arm)).set_index("effect").loc["arm x time"]
    assert row["epsilon_gg"] == pytest.approx(epsilon)
    assert epsilon < 0.7
    assert row["p_gg"] == pytest.approx(stats.f.sf(row["F"], 3 * epsilon, 60 * epsilon))


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")  # the formula's dummies
def test_interaction_is_the_loss_when_it_is_left_out_of_a_linear_model():
    wide, arm = correlated_scores()
    long = ratings_of(wide, arm).rename(columns={"participant_id": "who"})
    long["visit"] = long["visit"].astype(str)
    full = smf.ols("score ~ C(who) + C(visit) * C(arm)", long).fit()
    reduced = smf.ols("score ~ C(who) + C(visit)", long).fit()
    table = outcomes.rm_anova(ratings_of(wide, arm)).set_index("effect")
    expected = (reduced.ssr - full.ssr) / 3 / (full.ssr / 60)
    assert table.loc["arm x time", "F"] == pytest.approx(expected)
    assert table.loc["arm x time", "p"] == pytest.approx(stats.f.sf(expected, 3, 60))


def test_arm_effect_is_the_t_test_of_participant_means():
    wide, arm = correlated_scores()
    t, p = stats.ttest_ind(*(wide[arm == a].mean(axis=1) for a in ("active", "control")))
    row = outcomes.rm_anova(ratings_of(wide, arm)).set_index("effect").loc["arm"]
    assert row["F"] == pytest.approx(t**2)
    assert row["p"] == pytest.approx(p)
    assert np.isnan(row["epsilon_gg"])
    assert np.isnan(row["p_gg"])


def test_with_two_visits_the_interaction_is_the_t_test_of_change():
    wide, arm = correlated_scores()
    wide = wide[:, [0, 3]]
    change = wide[:, 1] - wide[:, 0]
    t, p = stats.ttest_ind(change[arm == "active"], change[arm == "control"])
    row = outcomes.rm_anova(ratings_of(wide, arm)).set_index("effect").loc["arm x time"]
    assert row["F"] == pytest.approx(t**2)
    assert row["p"] == row["p_gg"] == pytest.approx(p)
    assert row["epsilon_gg"] == 1


def test_anova_takes_participants_with_every_visit_only():
    wide, arm = correlated_scores()
    wide[[0, 20], [1, 3]] = np.nan
    whole = ~np.isnan(wide).any(axis=1)
    with_gaps = outcomes.rm_anova(ratings_of(wide, arm))
    assert set(with_gaps["n"]) == {20}
    complete = outcomes.rm_anova(ratings_of(wide[whole], arm[whole]))
    np.testing.assert_allclose(with_gaps["F"], complete["F"])


def test_visit_that_nobody_was_rated_at_is_no_reason_to_drop_everyone():
    wide, arm = correlated_scores()
    wide[:, 0] = np.nan
    table = outcomes.rm_anova(ratings_of(wide, arm))
    assert set(table["n"]) == {22}
    assert list(table["df1"]) == [1, 2, 2]


def test_scale_with_nothing_to_compare_has_no_rows():
    wide, arm = correlated_scores()
    once, few = wide.copy(), wide.copy()
    once[:, 1:] = np.nan
    few[1:13, 2] = np.nan  # one complete participant in the active arm
    for scores in (once, few):
        both = [ratings_of(wide, arm), ratings_of(scores, arm, "HAMA")]
        table = outcomes.rm_anova(pd.concat(both, ignore_index=True))
        assert set(table["scale"]) == {"HAMD-17"}
        assert table["F"].dtype == float
        alone = outcomes.rm_anova(both[1])
        assert alone.empty
        assert list(alone) == list(table)


# --- response and remission


def scored(tiny, active, control):
    """Write the primary scale as baseline and week2 of each participant; n/a where None."""
    tiny.content["visits"] = {"baseline": 0, "week2": 2}
    tiny.content["scales"] = tiny.content["scales"][:1]
    pairs = [pair for both in zip(active, control, strict=True) for pair in both]
    rows = [
        {"participant_id": f"sub-{i + 1:02d}", "session_id": f"ses-{visit}", "total": score}
        for i, pair in enumerate(pairs)
        for visit, score in zip(("baseline", "week2"), pair, strict=True)
        if score is not None
    ]
    tiny.scales = {"hamd17.tsv": pd.DataFrame(rows)}
    study = tiny.write()
    people = participants.read_participants(study)
    table = risks.responders(study, people, study_scores.read_ratings(study, people))
    return table.set_index(["outcome", "analysis"])


def test_response_is_a_fall_of_half_and_remission_a_score_at_the_cut_off(tiny):
    table = scored(
        tiny,
        active=[(20, 10), (20, 11), (30, 7), (14, 7)],
        control=[(20, 20), (40, 20), (20, 8), (13, 7)],
    )
    response = table.loc[("response", "missing_is_failure")]
    assert (response["events_active"], response["events_control"]) == (3, 2)
    remission = table.loc[("remission", "missing_is_failure")]
    assert (remission["events_active"], remission["events_control"]) == (2, 1)
    assert (response["n_active"], response["n_control"]) == (4, 4)
    assert response["risk_difference"] == pytest.approx(0.25)


def test_missing_outcome_is_a_failure_or_left_out(tiny):
    table = scored(
        tiny,
        active=[(20, 5), (20, None), (20, None), (20, 19)],
        control=[(20, 5), (20, 19), (20, 19), (20, None)],
    )
    failure, observed = (
        table.loc[("response", name)] for name in ("missing_is_failure", "observed")
    )
    assert (failure["n_active"], failure["n_control"]) == (4, 4)
    assert (observed["n_active"], observed["n_control"]) == (2, 3)
    for row in (failure, observed):
        assert (row["events_active"], row["events_control"]) == (1, 1)
    assert observed["risk_difference"] == pytest.approx(1 / 2 - 1 / 3)


def test_participants_to_whom_the_outcome_does_not_apply_are_counted(tiny):
    table = scored(
        tiny,
        active=[(0, 0), (6, 3), (20, 5), (None, 3)],
        control=[(20, 5), (20, 19), (7, 3), (20, 19)],
    )
    response = table.loc[("response", "missing_is_failure")]
    assert (response["n_active"], response["excluded_active"]) == (2, 2)
    assert (response["n_control"], response["excluded_control"]) == (4, 0)
    remission = table.loc[("remission", "missing_is_failure")]
    assert (remission["n_active"], remission["excluded_active"]) == (1, 3)
    assert (remission["n_control"], remission["excluded_control"]) == (3, 1)
    assert remission["events_active"] == 1


def test_outcome_that_applies_to_nobody_in_an_arm_is_missing_not_an_error(tiny):
    table = scored(
        tiny,
        active=[(5, 2)] * 4,
        control=[(20, 5), (20, 19), (7, 3), (20, 19)],
    )
    row = table.loc[("remission", "observed")]
    assert (row["n_active"], row["excluded_active"]) == (0, 4)
    assert np.isnan([row[k] for k in ("risk_difference", "ci_low", "ci_high", "p", "nnt")]).all()


def test_visit_at_which_a_scale_was_not_rated_has_no_row(tiny):
    table = tiny.scales["hama.tsv"]
    tiny.scales["hama.tsv"] = table[table["session_id"] != "ses-week1"]
    study = tiny.write()
    people = participants.read_participants(study)
    found = risks.responders(study, people, study_scores.read_ratings(study, people))
    hama = found[found["scale"] == "HAMA"]
    assert set(hama["visit"]) == {"week2"}


def test_outcomes_follow_the_order_of_the_visits(tiny):
    tiny.content["visits"] = {"start": 0, "week9": 9, "week10": 10}
    names = dict(zip(["baseline", "week1", "week2"], tiny.content["visits"], strict=True))
    for table in tiny.scales.values():
        table["session_id"] = [f"ses-{names[s.removeprefix('ses-')]}" for s in table["session_id"]]
    study = tiny.write()
    people = participants.read_participants(study)
    found = risks.responders(study, people, study_scores.read_ratings(study, people))
    assert list(found["visit"].unique()) == ["week9", "week10"]


def test_scale_without_baseline_has_no_response(tiny):
    table = tiny.scales["hama.tsv"]
    tiny.scales["hama.tsv"] = table[table["session_id"] != "ses-baseline"]
    study = tiny.write()
    people = participants.read_participants(study)
    table = risks.responders(study, people, study_scores.read_ratings(study, people))
    assert set(table["scale"]) == {"HAMD-17"}


# --- Table 1, means, flow


def test_standardised_differences_have_their_closed_forms(tiny):
    study = tiny.write()
    people = participants.read_participants(study)
    table = clinical_baseline.baseline_table(
        study, people, study_scores.read_ratings(study, people)
    )
    table = table.set_index("variable")
    active, control = np.array([30, 35, 28, 60]), np.array([41, 52, 47, 33])
    spread = np.sqrt((active.var(ddof=1) + control.var(ddof=1)) / 2)
    found = table["standardised_mean_difference"]
    assert found["age"] == pytest.approx((active.mean() - control.mean()) / spread)
    assert table.loc["age", "active"] == f"{active.mean():.1f} ({active.std(ddof=1):.1f})"
    assert found["sex: F"] == 0
    assert table.loc["sex: F", "control"] == "2 (50%)"
    # baseline of sub-01 to sub-08 is 24 to 31: arms alternate, so active is one point lower
    assert found["HAMD-17 at baseline"] == pytest.approx(-1 / np.std([0, 2, 4, 6], ddof=1))
    assert "p" not in table


def test_standardised_difference_of_proportions(tiny):
    tiny.participants["sex"] = ["F", "M", "F", "M", "F", "F", "M", "M"]
    study = tiny.write()
    people = participants.read_participants(study)
    table = clinical_baseline.baseline_table(
        study, people, study_scores.read_ratings(study, people)
    )
    row = table.set_index("variable").loc["sex: F"]
    assert row["standardised_mean_difference"] == pytest.approx(0.5 / np.sqrt(3 / 16))
    assert (row["active"], row["control"]) == ("3 (75%)", "1 (25%)")


def test_visit_means_have_t_intervals(tiny):
    study = tiny.write()
    scores = study_scores.read_ratings(study)
    row = outcomes.visit_means(scores).set_index(["scale", "arm", "visit"])
    row = row.loc[("HAMD-17", "active", "week2")]
    values = np.array([14, 16, 18, 20])
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (row["n"], row["mean"], row["week"]) == (4, 17, 2)
    assert row["ci_low"] == pytest.approx(low)
    assert row["ci_high"] == pytest.approx(high)


def test_visit_means_leave_out_who_was_not_rated(tiny):
    tiny.scales["hamd17.tsv"].loc[2, "total"] = "n/a"
    study = tiny.write()
    table = outcomes.visit_means(study_scores.read_ratings(study))
    row = table.set_index(["scale", "arm", "visit"]).loc[("HAMD-17", "active", "week2")]
    assert (row["n"], row["mean"]) == (3, 18)


def test_flow_counts_each_participant_with_the_reason(tiny):
    tiny.content["exclude"] = {"exclusion": 1}
    tiny.participants["exclusion"] = [1, 0, 0, 0, 0, 0, 0, 0]
    tiny.participants.loc[2, "withdrawn_after"] = "baseline"
    tiny.participants.loc[1, "withdrawn_after"] = "week1"
    table = tiny.scales["hamd17.tsv"]
    gone = (table["participant_id"] == "sub-03") & (table["session_id"] != "ses-baseline")
    gone |= (table["participant_id"] == "sub-02") & (table["session_id"] == "ses-week2")
    tiny.scales["hamd17.tsv"] = table[~gone]
    study = tiny.write()
    people = participants.read_participants(study)
    flow = clinical_flow.participant_flow(study, people, study_scores.read_ratings(study, people))
    assert flow["active"] == {
        "randomised": 4,
        "excluded": {"exclusion": ["sub-01"]},
        "withdrew": {"baseline": ["sub-03"]},
        "rated": {"baseline": 3, "week1": 2, "week2": 2},
        "analysed": 2,
        "not_analysed": {"no rating after baseline": 1},
    }
    assert flow["control"] == {
        "randomised": 4,
        "excluded": {},
        "withdrew": {"week1": ["sub-02"]},
        "rated": {"baseline": 4, "week1": 4, "week2": 3},
        "analysed": 4,
        "not_analysed": {},
    }


def test_flow_counts_scans_when_there_are_any(tiny):
    study = tiny.write()
    people = participants.read_participants(study)
    status = ["analysed"] * 7 + ["no image at week2"]
    pairs = people[["participant_id", "arm"]].assign(status=status)
    flow = clinical_flow.participant_flow(
        study, people, study_scores.read_ratings(study, people), pairs
    )
    assert flow["active"]["scanned_twice"] == 4
    assert flow["control"]["scanned_twice"] == 3
    assert flow["control"]["not_scanned_twice"] == {"no image at week2": ["sub-08"]}


# --- the public trials


@pytest.fixture(scope="module")
def public(reference_data, tmp_path_factory):
    """Study, participants and scores of a public trial, from its real files."""

    def read(name):
        folder = tmp_path_factory.mktemp(name)
        (folder / "studies").mkdir()
        path = folder / "studies" / f"{name}.yml"
        path.write_text((STUDIES / f"{name}.yml").read_text(encoding="utf-8"), encoding="utf-8")
        study = load_study(path)
        fetch.fetch_study(name, study.root, cache=reference_data / "data" / "trials")
        people = participants.read_participants(study)
        return study, people, study_scores.read_ratings(study, people)

    return read


def means_by_visit(scores, scale):
    table = outcomes.visit_means(scores)
    table = table[table["scale"] == scale].assign(visit=table["visit"].astype(str))
    return table.set_index(["arm", "visit"])[["mean", "n"]].sort_index()


def test_antidepressant_trial_agrees_with_its_raw_file(public, reference_data):
    study, people, scores = public("antidepressant")
    assert people["arm"].value_counts().to_dict() == {"control": 88, "active": 84}
    raw = pd.read_csv(reference_data / "data/trials/antidepressant/antidepressant_data.csv")
    raw["arm"] = raw["THERAPY"].map({"DRUG": "active", "PLACEBO": "control"})
    raw["visit"] = raw["VISIT"].map({4: "week1", 5: "week2", 6: "week4", 7: "week6"})
    for scale, column in (("HAMD-17", "HAMDTL17"), ("HAMA", "HAMATOTL")):
        expected = raw.groupby(["arm", "visit"])[column].agg(mean="mean", n="count")
        found = means_by_visit(scores, scale).drop("baseline", level="visit", errors="ignore")
        pd.testing.assert_frame_equal(found, expected.sort_index(), check_dtype=False)
    changes = study_scores.with_baseline(study, scores)
    kinds = changes.groupby("scale")["kind"].unique()
    assert list(kinds["HAMD-17"]) == ["change"]
    assert list(kinds["HAMA"]) == ["value"]
    table = outcomes.ancova(changes)
    assert len(table) == 8
    last = raw[raw["visit"] == "week6"]
    fit = smf.ols("CHANGE ~ BASVAL + C(THERAPY, Treatment('PLACEBO'))", last).fit(cov_type="HC3")
    row = table[(table["scale"] == "HAMD-17") & (table["visit"] == "week6")].iloc[0]
    assert row["estimate"] == pytest.approx(fit.params.filter(like="THERAPY").iloc[0])
    assert row["se"] == pytest.approx(fit.bse.filter(like="THERAPY").iloc[0])
    assert (row["n_active"], row["n_control"]) == tuple(
        last["arm"].value_counts()[["active", "control"]]
    )


def test_response_in_the_antidepressant_trial_agrees_with_its_raw_file(public, reference_data):
    study, people, scores = public("antidepressant")
    table = risks.responders(study, people, scores)
    assert set(table["scale"]) == {"HAMD-17"}
    raw = pd.read_csv(reference_data / "data/trials/antidepressant/antidepressant_data.csv")
    last = raw[raw["VISIT"] == 7]
    halved = (last["HAMDTL17"] <= last["BASVAL"] / 2).groupby(last["THERAPY"]).sum()
    row = table.set_index(["visit", "outcome", "analysis"])
    row = row.loc[("week6", "response", "missing_is_failure")]
    assert (row["events_active"], row["events_control"]) == (halved["DRUG"], halved["PLACEBO"])
    assert (row["n_active"], row["n_control"]) == (84, 88)


def test_sudmex_trial_agrees_with_its_raw_file(public, reference_data):
    study, people, scores = public("sudmex_tms")
    raw = pd.read_csv(reference_data / "data/trials/sudmex_tms/data2w.csv")
    raw["arm"] = raw["group"].map({"ACTIVE": "active", "SHAM": "control"})
    raw["visit"] = raw["stage"].str.lower()
    who = raw.groupby("arm")["rid"].nunique()
    assert (who["active"], who["control"]) == (24, 20)
    flow = clinical_flow.participant_flow(study, people, scores)
    assert [flow[arm]["randomised"] for arm in ("active", "control")] == [27, 23]
    assert [flow[arm]["analysed"] for arm in ("active", "control")] == [24, 20]
    assert all(flow[arm]["not_analysed"] == {"never rated": 3} for arm in flow)
    for scale, column in (("HDRS", "hdrs_tot"), ("HARS", "hars_tot")):
        expected = raw.groupby(["arm", "visit"])[column].agg(mean="mean", n="count")
        found = means_by_visit(scores, scale)
        pd.testing.assert_frame_equal(found, expected.sort_index(), check_dtype=False)
    table = outcomes.ancova(study_scores.with_baseline(study, scores))
    wide = raw.pivot(index=["rid", "group"], columns="stage", values="hdrs_tot").reset_index()
    fit = smf.ols("I(T1 - T0) ~ T0 + C(group, Treatment('SHAM'))", wide.dropna()).fit()
    assert table.iloc[0]["estimate"] == pytest.approx(fit.params.filter(like="group").iloc[0])
    responders = risks.responders(study, people, scores)
    rows = responders[responders["analysis"] == "missing_is_failure"]
    assert (rows["n_active"] + rows["excluded_active"] == 27).all()
    assert (rows["n_control"] + rows["excluded_control"] == 23).all()
