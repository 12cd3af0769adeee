"""Numbers of results, as sentences quote them: printed in a notebook, links in the report."""

import difflib
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis_lib.report import manifest
from analysis_lib.results import reading
from analysis_lib.results.problems import CompendiumError
from analysis_lib.results.section import Section
from analysis_lib.results.words import in_markdown, printed

MASK = "vbm/mask.nii.gz"
# By the end of a number's name: how it is printed; the first that fits.
KINDS = (
    (r"(response|remission)\.(risk_difference|ci_low|ci_high)$", "percent"),
    (r"(^|[._])(p|p_\w+|q_fdr|smallest_p\w*)$", "p"),
    (r"^receptors\b.*\b(r|r_\w+|reliability|difference|ci_low|ci_high|noise_free_\w+)$", "two"),
    (r"(^|[._])(minimum_detectable_r|hedges_g|g_ci_low|g_ci_high|r)$", "two"),
    (r"(^|[._])(estimate|ci_low|ci_high|mean|sd|x_mean)$", "points"),
    (r"(^|[._])(n|n_\w+|events_\w+|randomised|analysed|k_voxels)$", "count"),
)


class UnknownNumber(CompendiumError, LookupError):
    """The text asks for a number that no result holds."""


@dataclass(frozen=True)
class Quoted:
    """A number as the text prints it, and where it comes from."""

    anchor: str  # of its row in the list of quoted numbers
    key: str  # its name in numbers.json, or the place in another file, in words
    value: object  # exactly as it was read
    text: str  # as it is printed
    source: str  # file, relative to the study's results; "{study}" is the study file
    notebook: str | None  # which wrote that file

    @property
    def exact(self) -> str:
        """The value with all its digits, a whole number without decimals, as in the tables."""
        whole = isinstance(self.value, float) and self.value.is_integer()
        return f"{self.value:.0f}" if whole else str(self.value)

    def __str__(self):
        return self.text

    def __html__(self):
        text, link = in_markdown(self.text), Markup('<a class="q" href="#{}">{}</a>')
        return link.format(self.anchor, text) if self.anchor else text  # no link in a notebook


def kind_of(key, value) -> str:
    """How a number is printed when the text does not say: by the end of its name."""
    if isinstance(value, str | bool):
        return "text"
    otherwise = "count" if isinstance(value, int) else "plain"
    return next((kind for pattern, kind in KINDS if re.search(pattern, key)), otherwise)


class Quotes:
    """Results of a study, or of one being made, quoted by the name of a file and a place in it."""

    def __init__(self, study, results=None):
        self.study, self._results, self._tables = study, results, {}

    def path(self, file):
        """Where a result file is: "clinical/flow.json"."""
        section, _, name = file.rpartition("/")
        if self._results is not None and section == self._results.name:
            return self._results.path(name)
        private = self.study.private / file
        return private if self.study.protected and private.is_file() else self.study.derived / file

    def is_private(self, file) -> bool:
        """Whether a result file is about single participants, and lies apart."""
        return self.study.protected and self.path(file).is_relative_to(self.study.private)

    def exists(self, *files) -> bool:
        """Whether result files are there."""
        return all(self.path(file).is_file() for file in files)

    def table(self, file):
        """A result table, read once."""
        if file not in self._tables:
            self._tables[file] = reading.read_table(self.path(file))
        return self._tables[file]

    def json(self, file):
        """A result of kind JSON; empty where it is not there."""
        return reading.read_json(self.path(file)) if self.exists(file) else {}

    def select(self, file, above=None, below=None, **where):
        """Rows of a result table with these values, or values above or below limits, if any."""
        if not self.exists(file):
            return pd.DataFrame()
        rows = self.table(file)
        for column, wanted in where.items():
            rows = rows[rows[column] == wanted]
        for column, limit in (above or {}).items():
            rows = rows[rows[column] > limit]
        for column, limit in (below or {}).items():
            rows = rows[rows[column] < limit]
        return rows

    def cell(self, file, column, kind=None, **where) -> Quoted:
        """A cell of a result table: values of other columns choose exactly one row."""
        rows = self.select(file, **where)
        which = ", ".join(f"{name} {value}" for name, value in where.items())
        key = f"{file}: {column}" + (f" ({which})" if which else "")
        if len(rows) != 1 or column not in rows:
            found = f"{len(rows)} rows" if column in rows or rows.empty else "no such column"
            raise UnknownNumber(f"{key}: one row expected, found {found}")
        value = rows[column].iloc[0]
        value = value.item() if hasattr(value, "item") else value
        return self._quote(key, value, kind or kind_of(f"{file}.{column}", value), file)

    def count(self, file, above=None, below=None, **where) -> Quoted:
        """How many rows `select` gives."""
        parts = [f"{name} {value}" for name, value in where.items()]
        parts += [f"{name} > {value}" for name, value in (above or {}).items()]
        parts += [f"{name} < {value}" for name, value in (below or {}).items()]
        key = f"{file}: rows" + (f" with {', '.join(parts)}" if parts else "")
        return self._quote(key, len(self.select(file, above, below, **where)), "count", file)

    def largest(self, file, column, kind=None, which="largest") -> Quoted:
        """The largest value of a column; the smallest, where ``which`` says so."""
        value = float(self.table(file)[column].agg("max" if which == "largest" else "min"))
        key = f"{file}: {which} {column}"
        return self._quote(key, value, kind or kind_of(f"{file}.{column}", value), file)

    def entry(self, file, *path, kind=None) -> Quoted:
        """A value in a JSON file, by its keys."""
        value = self.json(file)
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                raise UnknownNumber(f"{file} has no {' > '.join(map(str, path))}") from None
        key = f"{file}: {' > '.join(map(str, path))}"
        return self._quote(key, value, kind or kind_of(f"{file}.{path[-1]}", value), file)

    def of_study(self, place, value, kind=None) -> Quoted:
        """A value of the study file."""
        kind = kind or ("plain" if isinstance(value, int | float) else "text")
        return self._quote(f"study file: {place}", value, kind, "{study}")

    def row(self, file, **where):
        """A row of a table, whose cells are quoted by their column."""
        return Row(self, file, where)

    def _quote(self, key, value, kind, source):
        return Quoted("", key, value, printed(value, kind or kind_of(key, value)), source, None)


@dataclass(frozen=True)
class Row:
    """A row of a result table: ``row["p"]``, ``row("estimate", "size")``, ``row.value("p")``."""

    quotes: Quotes
    file: str
    where: dict

    def __call__(self, column, kind=None):
        return self.quotes.cell(self.file, column, kind, **self.where)

    __getitem__ = __call__

    def value(self, column):
        """A cell to decide a wording by; it is not printed."""
        return self.quotes.select(self.file, **self.where)[column].iloc[0]


class Evidence(Quotes):
    """The results of a study, as its report quotes them; ``quoted`` remembers what was quoted."""

    def __init__(self, study):
        needed = ("mmrm_contrasts.tsv", "flow.json", "settings.json") if study.arms else ()
        for name in needed:
            reading.require(study.derived / "clinical" / name)
        super().__init__(study)
        self.derived = study.derived
        self.numbers = reading.read_json(study.derived / "numbers.json")
        self.manifest = manifest.read_manifest(study)
        self.quoted = {}

    def notebook_of(self, file) -> str | None:
        """Which notebook wrote a file, or others of its folder, by the manifest."""
        made = {name: step.get("outputs", {}) for name, step in self.manifest["steps"].items()}
        for name, outputs in made.items():
            if file in outputs:
                return name
        folder = f"{file.split('/')[0]}/"
        near = (name for name in made if any(path.startswith(folder) for path in made[name]))
        return next(near, None) if "/" in file else None

    def number(self, key, kind=None) -> Quoted:
        """A number of numbers.json; for a name that is not there, the nearest one is told."""
        if key not in self.numbers:
            near = difflib.get_close_matches(key, self.numbers, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownNumber(f"numbers.json of {self.study.name} has no {key!r}{hint}")
        entry = self.numbers[key]
        return self._quote(key, entry["value"], kind, entry["source"])

    def mask_voxels(self) -> Quoted:
        """How many voxels the VBM mask holds."""
        value = int(np.count_nonzero(Section(self.study, "vbm").image("mask").get_fdata()))
        return self._quote(f"{MASK}: voxels", value, "count", MASK)

    def mask_grid(self) -> Quoted:
        """Voxel size of the VBM mask, mm."""
        sizes = Section(self.study, "vbm").image("mask").header.get_zooms()[:3]
        value = " × ".join(f"{size:.3g}" for size in sizes)
        return self._quote(f"{MASK}: voxel size", value, "text", MASK)

    def version(self, package) -> Quoted:
        """Version of a package that the notebooks ran with, by the manifest."""
        found = {
            step["packages"][package]
            for step in self.manifest["steps"].values()
            if package in step.get("packages", {})
        }
        words = " and ".join(sorted(found)) or "version not recorded"
        return self._quote(f"version of {package}", words, "text", "manifest.json")

    def _quote(self, key, value, kind, source):
        notebook = self.notebook_of(source) if source not in ("manifest.json", "{study}") else None
        words = printed(value, kind or kind_of(key, value))
        anchor = self.quoted[key].anchor if key in self.quoted else f"n{len(self.quoted) + 1}"
        quoted = Quoted(anchor, key, value, words, source, notebook)
        self.quoted.setdefault(key, quoted)
        return quoted
