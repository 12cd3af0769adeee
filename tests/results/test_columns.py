"""The registry of columns: what is written has its types, and comes back with them."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_lib.results import columns, reading, writing

AWKWARD = (
    *("011", "01", "1", "1.0", "1e5", "0x1F", "1_000", "true", "True", "FALSE", "yes"),
    *("NA", "NaN", "nan", "null", "None", "N/A", "n/a ", "NULL", "inf", "-inf", "<NA>", "#N/A"),
    *(
        "",
        " ",
        "  both ends ",
        '"',
        '"quoted"',
        "a;b",
        "a,b",
        "#",
        "Зрение",
        "脳",
        "é",
        "−1",
        "\ufeff",
    ),
)


def written(folder, table, name="table.tsv"):
    writing.write(folder, {name: table})
    return folder / name


# --- the registry


def test_the_registry_describes_each_column_once_in_words():
    known = columns.registry()
    assert len(known) > 150
    for name, about in known.items():
        assert about.type in columns.TYPES, name
        assert len(about.description) > 4, name
        assert about.unit is None or about.unit not in about.description.split(", "), name
        assert about.head, name
        assert "_" not in about.head, name


def test_a_name_that_one_file_uses_otherwise_is_described_so():
    for file, unit in (("vbm_clusters.tsv", "mm"), ("individual.tsv", None)):
        assert columns.describe(file, ["z"])["z"].unit == unit


def test_heads_have_the_studys_words_and_what_a_file_means():
    names = {"active": "rTMS", "control": "sham"}
    assert columns.head("n_control", names) == "n, sham"
    assert columns.head("percent", names) == "Change, %"
    assert columns.head("percent", names, "arm_by_time_regions") == "Mean change of the region, %"
    assert columns.head("colour", names) == "colour"


def test_every_name_for_one_file_is_a_column_of_its_own_too():
    known = columns.registry()
    assert {name.split(".")[1] for name in known if "." in name} <= set(known)


def test_the_sidecar_has_units_where_there_are_any(tmp_path):
    path = written(tmp_path / "a", pd.DataFrame({"n": [3], "volume_ml": [1.5], "adjusts": [True]}))
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "n": {"Description": "number of participants"},
        "volume_ml": {"Description": "total grey-matter volume", "Units": "ml"},
        "adjusts": {"Description": columns.registry()["adjusts"].description},
    }


# --- there and back


@st.composite
def registry_tables(draw):
    """Tables of some columns of the registry, with values that each type allows."""
    names = draw(st.lists(st.sampled_from(sorted(columns.registry())), min_size=1, max_size=5))
    names = [name for name in dict.fromkeys(name.split(".")[-1] for name in names)]
    n = draw(st.integers(0, 5))
    cells = {name: draw(st.lists(values_of(name), min_size=n, max_size=n)) for name in names}
    return pd.DataFrame({name: pd.Series(own, dtype=object) for name, own in cells.items()})


def values_of(name):
    """Values of a column, among them a missing one, as a strategy."""
    any_text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")))
    words = st.sampled_from(AWKWARD) | any_text.filter(lambda text: text != "n/a")
    whole = st.integers(-(2**53), 2**53)
    kinds = {
        "text": words,
        "category": words,
        "integer": whole | whole.map(np.int64),
        "number": st.floats(-1e300, 1e300, allow_nan=False)
        | st.sampled_from([np.inf, -np.inf])
        | st.integers(-(10**6), 10**6),
        "boolean": st.booleans() | st.booleans().map(np.bool_),
    }
    return kinds[columns.registry()[name].type] | st.none()


def as_written(value):
    """A value to the ten digits that a table has."""
    return float(f"{value:.10g}")


@given(registry_tables())
@settings(max_examples=75, deadline=None, derandomize=True)
def test_a_table_comes_back_with_its_types_and_then_as_the_same_bytes(table):
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "a", table)
        back = reading.read_table(path)
        assert written(Path(folder) / "b", back).read_bytes() == path.read_bytes()
    assert list(back) == list(table)
    for name in table:
        kind, missing = columns.registry()[name].type, table[name].isna()
        assert back[name].isna().tolist() == missing.tolist()
        some = "float64", "boolean", "str"
        full = {"integer": "int64", "number": "float64", "boolean": "bool"}.get(kind, "str")
        assert str(back[name].dtype) in ({full} if not missing.any() else some)
        expected = [as_written(v) if kind == "number" else v for v in table[name][~missing]]
        assert back[name][~missing].tolist() == expected


@pytest.mark.parametrize("name", ["arm", "visit", "region", "pattern"])
def test_labels_that_look_like_something_else_stay_text(tmp_path, name):
    path = written(tmp_path / "a", pd.DataFrame({name: AWKWARD}))
    assert reading.read_table(path)[name].tolist() == list(AWKWARD)


def test_a_label_finds_its_number_again_after_a_file(tmp_path):
    visits = {"01": 0.0, "02": 1.0, "10": 2.0}
    path = written(tmp_path / "a", pd.DataFrame({"visit": list(visits)}))
    assert reading.read_table(path)["visit"].map(visits).tolist() == [0, 1, 2]


def test_whole_numbers_with_gaps_are_written_whole(tmp_path):
    path = written(tmp_path / "a", pd.DataFrame({"n": [12345678901.0, np.nan]}))
    assert path.read_text() == "n\n12345678901\nn/a\n"
    assert reading.read_table(path)["n"].dtype == "float64"


def test_infinite_numbers_come_back_and_nan_is_missing(tmp_path):
    path = written(tmp_path / "a", pd.DataFrame({"t": [np.inf, -np.inf, np.nan, -0.0]}))
    assert path.read_text() == "t\ninf\n-inf\nn/a\n-0\n"
    np.testing.assert_array_equal(reading.read_table(path)["t"], [np.inf, -np.inf, np.nan, 0])


def test_a_table_without_rows_keeps_its_types(tmp_path):
    path = written(tmp_path / "a", pd.DataFrame(columns=["visit", "n", "t", "adjusts"]))
    kinds = [str(kind) for kind in reading.read_table(path).dtypes]
    assert kinds == ["str", "int64", "float64", "bool"]


# --- refusals


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("visit", 1, "visit, row 3: text of one line, without tabs, other than 'n/a' expected, "),
        ("visit", "n/a", "visit, row 3: text .* expected, found 'n/a'"),
        ("region", "a\tb", r"region, row 3: text .* expected, found 'a\\tb'"),
        ("region", "a\nb", r"region, row 3: text .* expected, found 'a\\nb'"),
        ("region", "a\u2028b", "region, row 3: text .* expected, found"),
        ("n", 2.5, "n, row 3: a whole number expected, found 2.5"),
        ("n", np.inf, "n, row 3: a whole number expected, found inf"),
        ("n", "3", "n, row 3: a whole number expected, found '3'"),
        ("n", True, "n, row 3: a whole number expected, found True"),
        ("n", 2**63, "n, row 3: a whole number expected, found 9223372036854775808"),
        ("t", "2", "t, row 3: a number expected, found '2'"),
        ("t", 1j, "t, row 3: a number expected, found 1j"),
        ("adjusts", 1, "adjusts, row 3: True or False expected, found 1"),
        ("adjusts", "True", "adjusts, row 3: True or False expected, found 'True'"),
    ],
)
def test_a_value_of_another_type_is_not_written(tmp_path, column, value, expected):
    table = pd.DataFrame({column: pd.Series([None, value], dtype=object)})
    with pytest.raises(ValueError, match=f"^a.tsv: {expected}"):
        writing.write(tmp_path / "a", {"a.tsv": table})
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "n\n1\n2.5\n3.5\n",
            "a.tsv: n, row 3: a whole number expected, found '2.5' (and in",
        ),
        ("n\ninf\n", "a.tsv: n, row 2: a whole number expected, found 'inf'"),
        ("t\n\n", "a.tsv: t, row 2: a number expected, found ''"),
        ("t\nNA\n", "a.tsv: t, row 2: a number expected, found 'NA'"),
        ("adjusts\ntrue\n", "a.tsv: adjusts, row 2: True or False expected, found 'true'"),
        ("colour\nred\n", "a.tsv: columns of columns.tsv expected, found colour. Describe each"),
        ("n\tn\n1\t2\n", "a.tsv: columns of columns.tsv expected, found n.1."),
    ],
)
def test_a_file_of_another_type_is_not_read(tmp_path, content, expected):
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        reading.read_table(tmp_path / "a.tsv")


def test_an_unknown_or_doubled_column_is_not_written(tmp_path):
    unknown = pd.DataFrame({"arm": ["a"], "colour": [1], 3: [1]})
    with pytest.raises(ValueError, match="expected, found colour, 3"):
        writing.write(tmp_path / "a", {"a.tsv": unknown})
    doubled = pd.DataFrame([[1, 2]], columns=["n", "n"])
    with pytest.raises(ValueError, match="each column once expected, found two of n"):
        writing.write(tmp_path / "a", {"a.tsv": doubled})
