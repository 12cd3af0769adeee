"""A sentence quotes each number of its row once, beside the arm that it belongs to."""

from analysis_lib.report import findings

NAMES = {"active": "rTMS", "control": "sham coil"}


def test_the_sentence_on_response_gives_each_arm_its_own_events_and_n():
    row = {"outcome": "response", "scale": "HAMD-17", "visit": "week3", "events_active": 7}
    row |= {"n_active": 12, "events_control": 2, "n_control": 9, "risk_difference": 0.361}
    row |= {"ci_low": -0.05, "ci_high": 0.644, "p": 0.113, "analysis": "missing_is_failure"}
    said = findings.risk_sentence(row, NAMES)
    assert said.startswith("Response on HAMD-17 at week 3: ")
    assert "7 of 12 with rTMS, 2 of 9 with sham coil" in said
    assert "difference 36 percentage points, 95 % CI −5 to 64, p = .11" in said


def test_the_sentence_on_a_difference_gives_direction_interval_p_and_n_of_each_arm():
    row = {"scale": "HAMD-17", "visit": "week3", "kind": "change", "estimate": -4.26}
    row |= {"ci_low": -7.61, "ci_high": -0.92, "p": 0.013, "hedges_g": -0.84}
    row |= {"n_active": 12, "n_control": 9}
    said = findings.difference_sentence(row, NAMES)
    assert said.startswith("At week 3, HAMD-17 had fallen 4.3 points more with rTMS than with sham")
    assert "rTMS − sham coil: −4.3 points, 95 % CI −7.6 to −0.9, p = .013" in said
    assert "Hedges g −0.84; n = 12 and 9" in said
    worse = findings.difference_sentence(row | {"estimate": 4.26}, NAMES)
    assert "4.3 points less with rTMS than with sham coil" in worse
