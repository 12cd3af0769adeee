"""The mapping, import.yml: which column is what. A person edits it; then it alone decides."""

import re
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from analysis_lib.results.files import read_text
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.yaml_reading import parse_yaml

FILE = "import.yml"
OPEN = "?"  # ends what was guessed and is to be confirmed

Word = Annotated[str, Field(coerce_numbers_to_str=True)]
Words = Annotated[list[Word], BeforeValidator(lambda v: v if isinstance(v, list) else [v])]


def _listed(value):
    """Numbers from "0, 1, 2" or a list."""
    return value.split(",") if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Strict):
    """Columns of one scale: names, in which {visit} and {item} stand for what varies."""

    total: Word | None = None
    items: Word | None = None
    baseline: Word | None = None  # a column with the baseline score in every row


class TableMap(_Strict):
    """Which column of a table is what."""

    participant: Word | None = None  # None: a participant per row, numbered
    visit: Word | None = None  # None: in the names of columns; that of the participant: behind it
    participants: dict[str, Word] = {}  # column of participants.tsv: column of this file
    values: dict[str, dict[Word, Word]] = {}  # column of participants.tsv: {code: word}
    scales: dict[str, Columns] = {}
    regions: Literal["percent_change", "amounts"] | None = None  # all columns not named elsewhere
    left_out: dict[str, Words] = {}  # reason: columns


class ArmsMap(_Strict):
    """Column of participants.tsv and its values."""

    column: Word = "arm"
    active: Word
    control: Word
    left_out: list[Word] = []


class Mapping(_Strict):
    """All that `import-study` does with some files."""

    name: Annotated[Word, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    tables: dict[str, TableMap]
    missing: list[Word] = []
    visits: dict[Annotated[Word, Field(pattern=r"^[A-Za-z0-9]+$")], Words]
    weeks: Annotated[list[float], BeforeValidator(_listed)]
    arms: Literal["none"] | ArmsMap
    scales: dict[str, dict[str, Any]] = {}
    primary: Word | None = None  # None: the only one
    imaging: dict[str, Any] = {}
    study: dict[str, Any] = {}


LINES = ("name", "title", "missing", "weeks", "arms", "primary", "imaging")  # keys in one line
ABOUT = {  # above each key of import.yml
    "name": "Names the folders of results: lower-case letters, digits, - and _.",
    "title": "For headings.",
    "tables": "Which column of each file is what. {visit} and {item} stand for what varies in\n"
    "names of columns. participants: column of participants.tsv: column of the file. What\n"
    "stands under left_out is not copied; to copy it, name it under participants or scales.",
    "missing": "Codes of missing values, beside empty cells, NA, n/a, NaN, null, . and -.",
    "visits": "Name of each visit, and how the files write it; the first is the baseline. A code\n"
    "that depends on the arm is written: day2: [d2 if drug, p2 if placebo].",
    "weeks": "Week of each visit, in their order.",
    "arms": "Column of participants.tsv and its values; or the word none, without a control arm.\n"
    "left_out: further arms, counted in the flow and nowhere else.",
    "scales": "What the study file says of each scale: range, remission_at_most, better, ...",
    "primary": "The scale of the primary outcome: the one that was registered.",
    "imaging": "Regional change: the atlas of the regions, and the visits before and after.",
    "study": "Further keys of the study file (data/README.md), copied as they are.",
}
ASKED = {  # what to answer, by the beginning of a place
    "weeks": "weeks since baseline of the visits",
    "arms.active": "which arm is the active one",
    "arms.control": "which arm is the control",
    "arms": "the column of the arms, or none",
    "primary": "which scale is the primary outcome",
    "visits": "which codes belong to this visit (if it depends on the arm: [CODE if ARM, ...])",
    "scales": "lowest and highest total possible",
    "imaging": "the visit of the images",
    "tables": "which column it is",
}


COLUMNS = "columns of a scale, as in {HAMD-17: {total: COLUMN}},"


class OpenQuestions(StudyError):
    """A mapping that is not complete; ``questions`` has place, guess and words of each."""

    path, questions = None, ()


def text_of(content) -> str:
    """A mapping as the text of import.yml."""
    head = (
        "# How import-study reads these files. What ends in ? was guessed: delete the ?, or\n"
        "# correct it. Then run the same command again: from now on, this file alone decides.\n"
    )
    parts = []
    for key, value in content.items():
        about = "".join(f"# {line}\n" for line in ABOUT[key].split("\n"))
        parts.append(f"\n{about}{key}:{_yaml(value, key in LINES)}")
    return head + "".join(parts)


def _yaml(value, line):
    """A value behind its key: in the same line, or below."""
    options = {"sort_keys": False, "allow_unicode": True}
    if line or not value:
        return (
            f" {yaml.safe_dump([value], **options, default_flow_style=True, width=10**6)[1:-2]}\n"
        )
    text = yaml.safe_dump(value, **options, default_flow_style=None, width=96)
    return "\n" + textwrap.indent(text, "  ")


def read_mapping(path) -> Mapping:
    """Read import.yml; `OpenQuestions` for all that is still to be answered."""
    text = read_text(path)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise StudyError(Problem(FILE, text=f"not valid YAML: {error}")) from None
    questions = open_questions(text)
    if questions:
        error = OpenQuestions([_asked(question) for question in questions])
        error.path, error.questions = path, questions
        raise error
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        raise StudyError([_wrong(e) for e in error.errors()]) from None


def _asked(question):
    guess, key = question["guess"], question["key"]
    where = f"line {question['line']}, {question['place']}"
    if not guess:
        return Problem(FILE, where, question["words"], "?", f"write {key}: ...")
    remedy = f"if it is right, write {key}: {guess}"
    return Problem(FILE, where, text=f"{question['words']}? Guessed: {guess}", remedy=remedy)


def _wrong(error):
    where = ".".join(map(str, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    return Problem(FILE, where, text=f"{message}, found {error['input']!r:.100}")


def open_questions(text) -> list[dict]:
    """Each value that ends in ?: its place, line, span in the text, and the guess."""
    found, root = [], yaml.compose(text)
    named = {
        key.value: [k.value for k, _ in value.value]
        for key, value in root.value
        if isinstance(value, yaml.MappingNode)
    }
    for place, node in _scalars(root):
        if place[0] in ("title", "study", "missing") or "left_out" in place[:-1]:
            continue
        if node.value.endswith(OPEN):
            dotted = ".".join(place)
            words = next(w for key, w in ASKED.items() if dotted.startswith(key))
            words = COLUMNS if place[-1] == "scales" else words
            words += f" ({', '.join(named['visits'])})" if dotted == "weeks" else ""
            found.append(
                {
                    "place": dotted,
                    "key": next(p for p in reversed(place) if not p.isdecimal()),
                    "line": node.start_mark.line + 1,
                    "span": (node.start_mark.index, node.end_mark.index),
                    "guess": node.value.removesuffix(OPEN).strip(),
                    "words": words,
                }
            )
    return found


def _scalars(node, place=()):
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for k, value in enumerate(node.value):
            yield from _scalars(value, (*place, str(k)))
    elif isinstance(node, yaml.ScalarNode):
        yield place, node


def answered(text, answers) -> str:
    """The text with an answer in the place of each open question."""
    pairs = zip(open_questions(text), answers, strict=True)
    for question, answer in sorted(pairs, key=lambda pair: -pair[0]["span"][0]):
        start, end = question["span"]
        quoted = yaml.safe_dump([str(answer)], default_flow_style=True, allow_unicode=True)
        text = text[:start] + quoted.strip()[1:-1] + text[end:]
    return text


def slug(text) -> str:
    """A text as the name of a study."""
    return re.sub(r"[^a-z0-9_-]+", "_", Path(text).name.lower()).strip("_-") or "my_trial"
