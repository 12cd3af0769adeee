"""Refits: the same numbers as a fit of the table that the drawn participants would make."""

import numpy as np
import pandas as pd
import pytest

from trialmmrm import Refits, fit_mmrm

FORMULA = "y ~ base*visit + arm*visit"


@pytest.fixture(scope="module")
def rows():
    rng, n = np.random.default_rng(0), 24
    table = pd.DataFrame({"who": np.repeat(np.arange(n), 3), "visit": ["v1", "v2", "v3"] * n})
    table["arm"] = np.where(table["who"] % 3 > 0, "b", "a")
    table["base"] = rng.normal(size=n)[table["who"]]
    table["y"] = rng.normal(size=n)[table["who"]] + rng.normal(size=3 * n)
    return table[(table["who"] % 5 > 0) | (table["visit"] != "v3")].reset_index(drop=True)


def test_drawn_participants_are_fitted_as_their_table_is(rows):
    fit = fit_mmrm(rows, FORMULA, "who", "visit")
    model, rng = Refits(fit, "arm", "a"), np.random.default_rng(1)
    assert model.arms.tolist() == rows.drop_duplicates("who")["arm"].tolist()
    assert model.rated.sum() == len(rows)
    people = rng.integers(24, size=40)
    outcomes = rng.normal(size=(40, 3))
    drawn = [rows[rows["who"] == who].assign(who=k) for k, who in enumerate(people)]
    table = pd.concat(drawn, ignore_index=True)
    table["y"] = outcomes[table["who"], table["visit"].str[1].astype(int) - 1]
    expected = fit_mmrm(table, FORMULA, "who", "visit").contrasts("arm", "a").set_index("visit")
    found = model.test(people, outcomes, "v3")
    np.testing.assert_allclose(found, expected.loc["v3", ["estimate", "se", "df"]].astype(float))


def test_a_difference_moves_the_estimate_and_nothing_else(rows):
    model = Refits(fit_mmrm(rows, FORMULA, "who", "visit"), "arm", "a")
    people, outcomes = np.arange(24), np.random.default_rng(2).normal(size=(24, 3))
    moved = outcomes + np.where(model.arms == "b", 1.0, 0)[:, None] * [0.3, -2.0, 0.7]
    before, after = (model.test(people, one, "v3") for one in (outcomes, moved))
    np.testing.assert_allclose(after - before, [0.7, 0, 0], atol=1e-6)
    np.testing.assert_allclose(model.test(people, -outcomes, "v3"), before * [-1, 1, 1], rtol=1e-6)


def test_participants_who_cannot_answer_give_nothing(rows):
    model = Refits(fit_mmrm(rows, FORMULA, "who", "visit"), "arm", "a")
    alone = np.flatnonzero(model.arms == "b")
    assert np.isnan(model.test(alone, np.ones((len(alone), 3)), "v3")).all()
