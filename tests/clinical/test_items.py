"""Items: alpha against pingouin, differences against the ANCOVA, the suicide item by hand."""

import numpy as np
import pandas as pd
import pingouin as pg
import pytest

from analysis_lib.clinical import item_analysis
from analysis_lib.study import items
from analysis_lib.study import scores as study_scores
from analysis_lib.study.contract import Scale

HAMD17 = Scale(name="HAMD-17", file="phenotype/hamd17.tsv", range=(0, 52), primary=True)
OTHER = Scale(name="MADRS", file="phenotype/madrs.tsv", range=(0, 60))


@pytest.fixture
def scores():
    """(40, 6), one common factor, items of unequal spread."""
    rng = np.random.default_rng(11)
    common = rng.normal(size=(40, 1))
    return np.rint(3 + common * np.linspace(0.4, 1.4, 6) + rng.normal(size=(40, 6)))


def hamd_rows(values):
    """Rows as ``scores.read_scale`` makes them, from (n_participants, n_visits, 17)."""
    n, n_visits, _ = values.shape
    visits = [f"v{i}" for i in range(n_visits)]
    table = pd.DataFrame(values.reshape(-1, 17), columns=[f"item_{k:02d}" for k in range(1, 18)])
    table["visit"] = pd.Categorical(visits * n, visits, ordered=True)
    table["participant_id"] = np.repeat([f"sub-{i:02d}" for i in range(n)], n_visits)
    table["arm"] = np.repeat(np.where(np.arange(n) % 2, "control", "active"), n_visits)
    return table.assign(scale="HAMD-17")


class Visits:
    """The part of a study that the item tables use."""

    baseline, final_visit, post_visits = "v0", "v2", ("v1", "v2")


@pytest.fixture
def rows():
    rng = np.random.default_rng(4)
    values = rng.integers(0, 3, (20, 3, 17)).astype(float)
    values[::2, 2] = np.maximum(values[::2, 2] - 1, 0)  # active patients end lower
    return hamd_rows(values)


# --- alpha


def test_alpha_and_its_interval_are_those_of_pingouin(scores):
    alpha, low, high = item_analysis.cronbach_alpha(scores)
    expected, interval = pg.cronbach_alpha(pd.DataFrame(scores))
    assert alpha == pytest.approx(expected, rel=1e-12)
    assert [low, high] == pytest.approx(interval, abs=6e-4)  # pingouin rounds to three digits


def test_alpha_of_two_items_is_the_spearman_brown_formula():
    x = np.random.default_rng(0).normal(size=(30, 1))
    pair = np.hstack([x, 0.7 * x + np.random.default_rng(1).normal(size=(30, 1))])
    pair /= pair.std(axis=0)  # equal variances
    r = np.corrcoef(pair.T)[0, 1]
    assert item_analysis.cronbach_alpha(pair)[0] == pytest.approx(2 * r / (1 + r))


def test_alpha_of_identical_items_is_1():
    column = np.arange(12.0)[:, None]
    assert item_analysis.cronbach_alpha(np.repeat(column, 4, axis=1)) == pytest.approx((1, 1, 1))


def test_feldts_interval_covers_parallel_items():
    """Population alpha of k parallel items with correlation r is k r / (1 + (k - 1) r)."""
    rng, k, r = np.random.default_rng(2), 5, 0.4
    truth = k * r / (1 + (k - 1) * r)
    n_trials, hits = 1500, 0
    for _ in range(n_trials):
        common = rng.normal(size=(18, 1))
        sample = np.sqrt(r) * common + np.sqrt(1 - r) * rng.normal(size=(18, k))
        _, low, high = item_analysis.cronbach_alpha(sample)
        hits += low <= truth <= high
    assert hits / n_trials == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / n_trials))


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (np.ones((5, 1)), "found 5 and 1 with 0 missing"),
        (np.array([[1, np.nan], [2, 3]]), "found 2 and 2 with 1 missing"),
        (np.ones((5, 3)), "found 5 participants with the same sum"),
    ],
)
def test_alpha_is_refused_where_it_is_not_defined(bad, found):
    with pytest.raises(ValueError, match=f"Cronbach's alpha: .*{found}"):
        item_analysis.cronbach_alpha(bad)


def test_alpha_table_uses_participants_with_every_item_and_says_why_it_is_missing(rows):
    rows.loc[(rows["participant_id"] == "sub-03") & (rows["visit"] == "v0"), "item_05"] = np.nan
    rows.loc[rows["visit"] == "v2", items.item_columns(rows)] = 1.0
    table = item_analysis.alpha_table(Visits, HAMD17, rows).set_index("visit")
    first = rows.loc[rows["visit"] == "v0", items.item_columns(rows)].dropna()
    assert table.loc["v0", "n"] == 19
    assert table.loc["v0", "alpha"] == pytest.approx(item_analysis.cronbach_alpha(first)[0])
    assert np.isnan(table.loc["v2", "alpha"])
    assert "the same sum" in table.loc["v2", "note"]


# --- names


def test_hamd17_items_are_named_and_add_up_to_the_scales_range():
    columns = [f"item_{k:02d}" for k in range(1, 18)]
    labels = items.item_labels(HAMD17, columns)
    assert (labels["item_01"], labels["item_03"]) == ("1 depressed mood", "3 suicide")
    assert labels["item_17"] == "17 insight"
    assert sum(top for _, top in items.HAMD17_ITEMS) == HAMD17.range[1] == 52


def test_other_scales_show_numbers_or_their_own_words():
    assert items.item_labels(OTHER, ["item_01", "item_mood"]) == {
        "item_01": "item 1",
        "item_mood": "mood",
    }
    sixteen = [f"item_{k}" for k in range(1, 17)]  # not all of HAMD-17
    assert items.item_labels(HAMD17, sixteen)["item_3"] == "item 3"


# --- differences


def test_item_means_are_those_of_the_rows(rows):
    table = item_analysis.item_means(HAMD17, rows).set_index(["item", "arm", "visit"])
    own = rows[(rows["arm"] == "active") & (rows["visit"] == "v2")]["item_07"]
    assert table.loc[("item_07", "active", "v2"), "mean"] == pytest.approx(own.mean())
    assert table.loc[("item_07", "active", "v2"), "sd"] == pytest.approx(own.std())
    assert len(table) == 17 * 2 * 3


def test_item_differences_add_up_to_the_difference_of_means_when_baselines_do_not_vary(rows):
    """Without spread at baseline the ANCOVA is a plain difference, and differences add up."""
    columns = items.item_columns(rows)
    rows.loc[rows["visit"] == "v0", columns] = 2.0
    table = item_analysis.item_differences(Visits, HAMD17, rows)
    last = rows[rows["visit"] == "v2"]
    total = last[columns].sum(axis=1).groupby(last["arm"]).mean()
    assert table["estimate"].sum() == pytest.approx(total["active"] - total["control"])


def test_item_difference_is_the_hc3_ancova_of_its_change(rows):
    wide = rows.pivot(index=["participant_id", "arm"], columns="visit", values="item_09")
    x = np.column_stack([np.ones(20), wide["v0"], wide.index.get_level_values("arm") == "active"])
    inverse = np.linalg.inv(x.T @ x)
    change = (wide["v2"] - wide["v0"]).to_numpy()
    beta = inverse @ x.T @ change
    weight = ((change - x @ beta) / (1 - np.einsum("ij,jk,ik->i", x, inverse, x))) ** 2
    se = np.sqrt((inverse @ (x.T * weight) @ x @ inverse)[2, 2])
    row = item_analysis.item_differences(Visits, HAMD17, rows).set_index("item").loc["item_09"]
    assert (row["estimate"], row["se"]) == pytest.approx((beta[2], se))
    assert "p" not in row


def test_an_item_without_an_estimate_says_why(rows):
    rows["item_02"] = 1.0
    rows["item_04"] = np.where(rows["participant_id"] == "sub-00", 1.0, 0.0)  # one differs at v0
    rows.loc[rows["visit"] == "v2", "item_04"] = np.arange(20.0) % 3
    rows.loc[rows["arm"] == "active", "item_05"] = np.nan
    table = item_analysis.item_differences(Visits, HAMD17, rows).set_index("item")
    assert "changed by the same amount" in table.loc["item_02", "note"]
    assert "one participant alone" in table.loc["item_04", "note"]
    assert "fewer than two" in table.loc["item_05", "note"]
    assert table.loc[["item_02", "item_04", "item_05"], "estimate"].isna().all()
    assert table["estimate"].notna().sum() == 14


# --- the suicide item


def test_suicide_distribution_counts_everybody_rated_once(rows):
    rows.loc[(rows["participant_id"] == "sub-02") & (rows["visit"] == "v1"), "item_03"] = np.nan
    table = item_analysis.suicide_distribution(HAMD17, rows)
    cells = table.groupby(["arm", "visit"])
    assert (cells["n"].sum() == cells["n_rated"].first()).all()
    assert cells["n"].sum()["active", "v1"] == 9
    assert list(table["points"].unique()) == [0, 1, 2, 3, 4]


def test_suicide_worsening_by_visit_and_at_any_visit():
    values = np.zeros((8, 3, 17))
    item = values[:, :, items.SUICIDE - 1]  # rows 0, 2, 4, 6 are active
    item[0] = (1, 2, 1)  # worse at v1, back at v2
    item[2] = (0, 0, 1)  # worse at v2
    item[4] = (2, np.nan, 1)
    item[1] = (0, 1, 1)
    item[3] = (np.nan, 3, 3)  # without baseline: cannot be called worse
    table = item_analysis.suicide_worsening(Visits, HAMD17, hamd_rows(values)).set_index("visit")
    events = table[["events_active", "events_control"]]
    assert events.loc["v1"].tolist() == [1, 1]
    assert events.loc["v2"].tolist() == [1, 1]
    assert events.loc["any"].tolist() == [2, 1]
    assert table.loc["any", ["n_active", "n_control"]].tolist() == [4, 3]
    assert table.loc["v1", ["n_active", "n_control"]].tolist() == [3, 3]
    assert table.loc["any", "risk_difference"] == pytest.approx(2 / 4 - 1 / 3)


def test_a_scale_without_the_suicide_item_has_empty_tables(rows):
    assert items.suicide_column(OTHER, rows) is None
    assert item_analysis.suicide_distribution(OTHER, rows).empty
    assert item_analysis.suicide_worsening(Visits, OTHER, rows).empty


def test_items_as_the_reader_gives_them(tiny):
    rng = np.random.default_rng(0)
    table = tiny.scales["hamd17.tsv"]
    points = rng.integers(0, 3, (len(table), 17))
    table[[f"item_{k:02d}" for k in range(1, 18)]] = points
    table["total"] = points.sum(axis=1)
    study = tiny.write()
    rows = study_scores.read_scale(study, study.primary_scale)
    found = item_analysis.item_differences(study, study.primary_scale, rows)
    assert found["label"].iloc[2] == "3 suicide"
    assert found["estimate"].notna().sum() >= 10
