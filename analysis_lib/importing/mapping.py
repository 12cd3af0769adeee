"""The mapping, import.yml: which column is what. A person edits it; then it alone decides."""

import re
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from analysis_lib.importing import names
from analysis_lib.results.files import read_text
from analysis_lib.results.problems import Problem, StudyError
from analysis_lib.study.contract import Arms, Label, Word
from analysis_lib.study.yaml_reading import parse_yaml

FILE = "import.yml"
OPEN = "?"  # ends what was guessed and is to be confirmed
LINES = ("name", "title", "missing", "weeks", "arms", "primary", "imaging")  # keys in one line
WORDS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
HEAD = """\
# How import-study reads these files. What ends in ? was guessed: delete the ?, or
# correct it. Then run the same command again: from now on, this file alone decides.
"""

_split = BeforeValidator(lambda v: v.split(",") if isinstance(v, str) else v)
Words = Annotated[list[Word], BeforeValidator(lambda v: v if isinstance(v, list) else [v])]


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


class ArmsMap(Arms):
    """Arms as the study file has them, by default in the column "arm" of participants.tsv."""

    column: Word = "arm"


class Mapping(_Strict):
    """All that `import-study` does with some files."""

    name: Annotated[Word, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    tables: dict[str, TableMap]
    missing: list[Word] = []
    visits: dict[Label, Words]
    weeks: Annotated[list[float], _split]
    arms: Literal["none"] | ArmsMap
    scales: dict[str, dict[str, Any]] = {}
    primary: Word | None = None  # None: the only one
    imaging: dict[str, Any] = {}
    study: dict[str, Any] = {}

    @property
    def own_scales(self) -> list[str]:
        """The scales that tables have, in their order."""
        return list(dict.fromkeys(s for part in self.tables.values() for s in part.scales))

    @property
    def codes(self) -> list[tuple[str, str, str]]:
        """Visit, code and arm ("" for every arm) of each way in which a visit is written."""
        pairs = [(v, text.partition(" if ")) for v, codes in self.visits.items() for text in codes]
        return [(visit, code.strip(), arm.strip()) for visit, (code, _, arm) in pairs]

    def about(self, scale) -> dict:
        """Keys of a scale in the study file."""
        keys = names.scale_keys(scale) | self.scales.get(scale, {})
        if isinstance(keys.get("range"), str):
            keys["range"] = [float(number) for number in keys["range"].split(",")]
        return keys

    def matching(self, pattern, columns) -> dict:
        """Code of the visit and item of each column that fits a pattern, by column."""
        codes = sorted({code for _, code, _ in self.codes}, key=len, reverse=True)
        regex = names.as_regex(pattern, "|".join(map(re.escape, codes)) or "(?!)")
        found = {column: re.fullmatch(regex, column) for column in columns}
        return {column: match.groupdict() for column, match in found.items() if match}


class OpenQuestions(StudyError):
    """A mapping that is not complete; ``questions`` has place, guess and words of each."""

    path, questions = None, ()


def text_of(content) -> str:
    """A mapping as the text of import.yml."""
    parts = [HEAD]
    for key, value in content.items():
        parts += ["\n", textwrap.indent(WORDS["about"][key], "# "), f"\n{key}:{_yaml(key, value)}"]
    return "".join(parts)


def _yaml(key, value):
    """A value behind its key: in the same line, or below."""
    options = {"sort_keys": False, "allow_unicode": True}
    if key in LINES or not value:
        line = yaml.safe_dump([value], **options, default_flow_style=True, width=10**6)
        return f" {line[1:-2]}\n"
    text = yaml.safe_dump(value, **options, default_flow_style=None, width=96)
    return "\n" + textwrap.indent(text, "  ")


def read_mapping(path) -> Mapping:
    """Read import.yml; `OpenQuestions` for all that is still to be answered."""
    text = read_text(path)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise StudyError(Problem(FILE, text=f"not valid YAML: {error}")) from None
    if questions := open_questions(text):
        error = OpenQuestions([_asked(question) for question in questions])
        error.path, error.questions = path, questions
        raise error
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        raise StudyError(map(_wrong, error.errors())) from None


def _wrong(error):
    where, found = ".".join(map(str, error["loc"])), f"found {error['input']!r:.100}"
    return Problem(FILE, where, text=f"{error['msg'].removeprefix('Value error, ')}, {found}")


def _asked(question):
    guess, key = question["guess"], question["key"]
    where = f"line {question['line']}, {question['place']}"
    if not guess:
        return Problem(FILE, where, question["words"], "?", f"write {key}: ...")
    remedy = f"if it is right, write {key}: {guess}"
    return Problem(FILE, where, text=f"{question['words']}? Guessed: {guess}", remedy=remedy)


def open_questions(text) -> list[dict]:
    """Each value that ends in ?: its place, line, span in the text, the guess, what is asked."""
    found = []
    for place, node in _scalars(yaml.compose(text)):
        aside = place[:1] in (("title",), ("study",), ("missing",)) or "left_out" in place[:-1]
        if aside or not node.value.endswith(OPEN):
            continue
        asked = WORDS["asked"]
        words = asked.get(f"{place[0]}.{place[-1]}") or asked.get(place[0], "a value")
        visits = f" ({', '.join(yaml.safe_load(text)['visits'])})" if place == ("weeks",) else ""
        question = {
            "place": ".".join(place),
            "key": next(part for part in reversed(place) if not part.isdecimal()),
            "line": node.start_mark.line + 1,
            "span": (node.start_mark.index, node.end_mark.index),
            "guess": node.value.removesuffix(OPEN).strip(),
            "words": words + visits,
        }
        found.append(question)
    return found


def _scalars(node, place=()):
    """Every value below a node, with its place."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for k, value in enumerate(node.value):
            yield from _scalars(value, (*place, str(k)))
    elif node is not None:
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
