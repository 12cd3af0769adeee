"""Problems as lines, and the one error that carries them."""

import pickle

import pytest
from conftest import lines

from analysis_lib.datasets.downloads import DownloadError
from analysis_lib.report.quoting import UnknownNumber
from analysis_lib.results import problems
from analysis_lib.results.problems import CompendiumError, Listing, Problem, StudyError

BASES = {
    problems.StudyError: ValueError,
    problems.MissingFile: FileNotFoundError,
    problems.MissingMap: FileNotFoundError,
    problems.WrongFile: ValueError,
    problems.WrongMap: ValueError,
    problems.FetchError: RuntimeError,
    problems.FetchFailed: RuntimeError,
    DownloadError: RuntimeError,
    UnknownNumber: LookupError,
    problems.UsageError: problems.PipelineError,
}


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (
            Problem("a.tsv", "age", "a number", "'x'", "Correct it"),
            "a.tsv: age: a number expected, found 'x'. Correct it",
        ),
        (
            Problem("a.tsv", "", "a number", "'x'", "did you mean 3?"),
            "a.tsv: a number expected, found 'x'; did you mean 3?",
        ),
        (Problem("a", "", "x expected in the path", "y"), "a: x expected in the path, found y"),
        (Problem("a.yml", text="not valid YAML"), "a.yml: not valid YAML"),
        (
            Problem(place="sub-01", expected="two maps", found="one"),
            "sub-01: two maps expected, fou",
        ),
        (Problem(text="no file", remedy="Get it"), "no file. Get it"),
    ],
)
def test_problem_is_one_line(problem, line):
    assert str(problem).startswith(line)


def test_list_is_cut_at_five_unless_the_whole_is_asked_for():
    names = Listing(tuple("abcdefg"), "none of {}", between="; ")
    problem = Problem("a.tsv", "", "rows", names)
    assert str(problem).endswith("found none of a; b; c; d; e and 2 more")
    assert str(problem.whole()).endswith("found none of a; b; c; d; e; f; g")
    assert str(Listing(tuple("abcde"))) == "a, b, c, d, e"


def test_text_becomes_a_problem_and_none_comes_twice():
    error = StudyError(["row 3: bad", "row 4: worse", "row 3: bad"])
    assert error.problems == [Problem(text="row 3: bad"), Problem(text="row 4: worse")]
    assert str(error) == "row 3: bad\nrow 4: worse"
    assert error._render_traceback_() == ["StudyError: row 3: bad", "StudyError: row 4: worse"]
    assert lines(StudyError("one line").problems) == ["one line"]


@pytest.mark.parametrize("kind", BASES)
def test_every_error_is_the_one_type_keeps_its_base_and_travels(kind):
    error = pickle.loads(pickle.dumps(kind([Problem("a.tsv", "", "rows", "none"), "more"])))
    assert isinstance(error, CompendiumError)
    assert isinstance(error, BASES[kind])
    assert str(error) == "a.tsv: rows expected, found none\nmore"
    assert error.exit_status == (2 if kind is problems.UsageError else 1)
    assert kind.__name__ in problems.kinds()
