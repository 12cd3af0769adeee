"""The gallery side by side: rows of each study's own results, none of a study without any."""

import pandas as pd
import pytest
import yaml

from analysis_lib.report import trials
from analysis_lib.results import write
from analysis_lib.study.contract import load_study

SCALES = [{"name": "HAMD-17", "file": "hamd.tsv", "range": [0, 52], "primary": True}]
VISITS = {"baseline": 0, "week2": 2, "week4": 4}


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    """Three study files: two arms and results, one arm and results, no results."""
    monkeypatch.setattr(trials, "STUDIES", tmp_path)
    arms = {"column": "arm", "active": "a", "control": "b", "active_name": "drug"}
    for name, own in {"two": arms, "one": "none", "never": arms}.items():
        content = {"name": name, "title": f"Trial {name}", "data": ".", "arms": own}
        content |= {"visits": VISITS, "scales": SCALES, "simulated": name == "two"}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content))
    studies = [load_study(tmp_path / f"{name}.yml", tmp_path) for name in ("two", "one")]
    monkeypatch.setattr(
        trials, "load_study", lambda name, output: load_study(tmp_path / f"{name}.yml", output)
    )
    return studies


def of_two_arms():
    rows = pd.DataFrame({"scale": ["HAMA", "HAMD-17", "HAMD-17"]})
    rows["visit"] = ["week4", "week2", "week4"]
    numbers = {"estimate": -3.0, "ci_low": -6.0, "ci_high": 0.1, "p": 0.06, "hedges_g": -0.5}
    numbers |= {"g_ci_low": -1.0, "g_ci_high": 0.02, "rated_active": 17, "rated_control": 16}
    return rows.assign(**numbers)


def test_rows_are_those_of_each_primary_outcome(gallery):
    two, one = gallery
    table = of_two_arms()
    table.loc[2, "estimate"] = -4.0
    write(two.derived / "clinical", {"mmrm_contrasts.tsv": table})
    change = {"scale": ["HAMD-17"], "visit": ["week4"], "n": [9], "mean": [-8.0], "ci_low": [-12.0]}
    change |= {"ci_high": [-4.0], "p": [0.002], "hedges_g": [-1.6]}
    write(one.derived / "clinical", {"change.tsv": pd.DataFrame(change)})
    means = {"arm": ["active", "control"], "region": ["left Amygdala", "right insula"]}
    means |= {"n": 8, "mean": [2.5, 1.0], "sd": 2.0, "ci_low": [1.0, 0.0], "ci_high": [4.0, 2.0]}
    write(two.derived / "vbm", {"region_means.tsv": pd.DataFrame(means)})
    found = trials.side_by_side(one)
    rows = found["symptoms"].set_index("study")
    assert list(rows.index) == ["one", "two"]
    assert rows.loc["two", ["design", "data", "n", "estimate"]].tolist() == [
        *("arms compared", "simulated", 33, -4.0)
    ]
    assert rows.loc["one", ["design", "data", "n", "estimate"]].tolist() == [
        *("one arm", "real", 9, -8.0)
    ]
    assert rows.loc["one", ["g_ci_low", "g_ci_high"]].tolist() == pytest.approx([-2.4, -0.8])
    regions = found["regions"][["study", "arm", "structure"]]
    assert regions.to_numpy().tolist() == [["two", "drug", "amygdala"]]
    assert "receptors" not in found


def test_results_of_a_quick_run_are_left_out(gallery):
    two, one = gallery
    tables = {"mmrm_contrasts.tsv": of_two_arms(), "settings.json": {"quick": True}}
    write(two.derived / "clinical", tables)
    assert trials.side_by_side(one) == {}
