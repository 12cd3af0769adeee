"""What the report says: numbers that know where they come from, and words that depend on them.

The prose itself stands in ``template``; here is what it is filled with. A number reaches the
text only as a :class:`Quoted`, read from a result file, the manifest or the study file.
"""

import difflib
import re
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from analysis_lib.report import manifest
from analysis_lib.results import reading
from analysis_lib.results import words as results_words
from analysis_lib.results.problems import CompendiumError

# By the end of a number's name: how it is printed; the first that fits.
KINDS = (
    (r"(response|remission)\.(risk_difference|ci_low|ci_high)$", "percent"),
    (r"(^|[._])(p|p_\w+|q_fdr|smallest_p\w*)$", "p"),
    (r"^receptors\b.*\b(r|r_\w+|reliability|difference|ci_low|ci_high|noise_free_\w+)$", "two"),
    (r"(^|[._])(minimum_detectable_r|hedges_g|g_ci_low|g_ci_high|r)$", "two"),
    (r"(^|[._])(estimate|ci_low|ci_high|mean|sd|x_mean)$", "points"),
    (r"(^|[._])(n|n_\w+|events_\w+|randomised|analysed|k_voxels)$", "count"),
)
COVARIANCES = {
    "us": "unstructured (each visit with its own variance, each pair of visits with its own "
    "correlation)",
    "toeph": "heterogeneous Toeplitz",
    "csh": "heterogeneous compound symmetry",
    "cs": "compound symmetry",
}
SCALES = {
    "hamd17": "Hamilton Depression Rating Scale",
    "hdrs": "Hamilton Depression Rating Scale",
    "hama": "Hamilton Anxiety Rating Scale",
    "hars": "Hamilton Anxiety Rating Scale",
    "madrs": "Montgomery-Åsberg Depression Rating Scale",
}
IMPUTATIONS = {
    "mar": "if they had gone on like similar patients of their own arm (missing at random)",
    "jump_to_reference": "if they had fallen back to the control arm's mean at once",
    "copy_reference": "if they had been like the control arm from the start",
    "copy_increments": "if they had kept their benefit and then changed like the control arm",
}
CORRELATIONS = {
    "gaussianised": "Pearson's correlation after both maps were turned into normal scores by rank",
    "spearman": "Spearman's rank correlation",
    "pearson": "Pearson's correlation",
}
SURROGATES = {
    "moran": "Moran spectral randomisation",
    "variogram": "variogram matching",
}
CONTRASTS = {
    "arm_by_time": "the change with {active} less the change with {control}",
    "active_change": "the change with {active}",
    "control_change": "the change with {control}",
    "improvement": "the relation of change to clinical improvement, within arms",
}
FIGURES = {
    "clinical": (
        "Scores over time, and differences between the arms",
        "Scores of every participant (thin lines) with observed means and 95 % confidence "
        "intervals; adjusted differences between the arms at each visit; and the share of "
        "participants who respond or remit at the last visit, whoever was not rated counting as "
        "failure.",
        "Line plots of each scale by arm and visit, a forest plot of the differences between the "
        "arms with their confidence intervals, and bars of response and remission by arm. The "
        "numbers are in the tables of the differences between arms and of response.",
    ),
    "vbm": (
        "Where grey-matter volume changed",
        "Maps of t on axial slices of the MNI brain, shown where a voxel survives family-wise "
        "correction. Nothing drawn means that no voxel does.",
        "Axial brain slices with coloured t values for each contrast. The peaks, their regions, "
        "coordinates and effect sizes are in the table of clusters.",
    ),
    "regions": (
        "Volume change by region",
        "Change of each participant's grey-matter volume in the study's regions of interest, "
        "with the mean of each arm and its 95 % confidence interval.",
        "Dot plot of percent volume change by region and arm, each dot one participant, with the "
        "arms' means and confidence intervals.",
    ),
    "receptors": (
        "Correlation with receptor maps",
        "Correlation of the effect map with every receptor map (intervals: patients resampled); "
        "for the leading map, its two null distributions and the regions behind the correlation.",
        "Dot plot of correlations with confidence intervals by receptor map, histograms of the "
        "two null distributions with the observed correlation marked, and a scatter plot of "
        "regions. The numbers are in the table of receptor correlations.",
    ),
}
MASK = "vbm/mask.nii.gz"
TOPICS = {
    "flow": r"participants|flow|consort|ratings",
    "receptors": r"receptor|dominance|null|coupling|juspace|surrogate|correlation|scatter|influen",
    "vbm": r"vbm|region|brain|grey|gray|voxel|cluster|volume|glass|slice",
    "clinical": r"clinical|trajector|forest|course|differ|respon|remi|score|missing|blind|tipping",
}


class UnknownNumber(CompendiumError, LookupError):
    """The text asks for a number that no result holds."""


@dataclass(frozen=True)
class Quoted:
    """A number as the text prints it, and where it comes from.

    Parameters
    ----------
    anchor : str
        Of its row in the list of quoted numbers.
    key : str
        Its name in numbers.json, or the place in another file, in words.
    value : object
        Exactly as it was read.
    text : str
        As it is printed.
    source : str
        File, relative to the study's results; "{study}" is the study file.
    notebook : str or None
        Which notebook wrote that file.
    """

    anchor: str
    key: str
    value: object
    text: str
    source: str
    notebook: str | None

    @property
    def exact(self) -> str:
        """The value with all its digits, a whole number without decimals, as in the tables."""
        whole = isinstance(self.value, float) and self.value.is_integer()
        return f"{self.value:.0f}" if whole else str(self.value)

    def __str__(self):
        return self.text

    def __html__(self):
        return Markup('<a class="q" href="#{}">{}</a>').format(self.anchor, escape(self.text))


# --- how a number is printed --------------------------------------------------------------------


def printed(value, kind) -> str:
    """A number as the report prints it; a minus is a minus sign, not a hyphen.

    Parameters
    ----------
    value : float, int, str, bool or None
    kind : str
        "count", "points" (one decimal, two where one would say 0), "size" (one decimal, without
        sign), "two" (decimals), "percent" (of a proportion), "p", "small_p" (a permutation p, as
        it is), "plain" or "text".

    Raises
    ------
    ValueError
        If the kind is not one of these.
    """
    if value is None or (kind != "text" and not isinstance(value, str) and pd.isna(value)):
        return "not available"
    formats = {
        "count": lambda v: _signed(v, ",.0f"),
        "points": lambda v: _signed(v, ".2f" if 0 < abs(v) < 0.05 else ".1f"),
        "size": lambda v: f"{abs(v):.1f}",
        "two": lambda v: _signed(v, ".2f"),
        "percent": lambda v: _signed(100 * v, ".0f"),
        "p": results_words.p_text,
        "small_p": _small_p,
        "plain": lambda v: _signed(v, ".4g"),
        "text": str,
    }
    if kind not in formats:
        raise ValueError(f"kind {kind!r}: one of {', '.join(formats)} expected")
    return formats[kind](value)


def _signed(value, form):
    shown = format(value, form)
    if not re.search("[1-9]", shown):
        shown = shown.removeprefix("-")
    return shown.replace("-", "−")


def _small_p(p):
    if p >= 0.001:
        return results_words.p_text(p)
    return f"p = {np.format_float_positional(p, precision=1, fractional=False)}".replace(
        "0.", ".", 1
    )


def kind_of(key, value) -> str:
    """How a number is printed when the text does not say: by the end of its name."""
    if isinstance(value, str | bool):
        return "text"
    for pattern, kind in KINDS:
        if re.search(pattern, key):
            return kind
    return "count" if isinstance(value, int) else "plain"


# --- where numbers come from --------------------------------------------------------------------


class Evidence:
    """The results of a study, as its report quotes them.

    What is quoted is remembered in ``quoted``, in the order of the text.

    Parameters
    ----------
    study : Study

    Raises
    ------
    FileNotFoundError
        If the study has no clinical results yet; the message names the notebook to run.
    """

    def __init__(self, study):
        clinical = study.derived / "clinical"
        for name in ("mmrm_contrasts.tsv", "flow.json", "settings.json"):
            reading.require(clinical / name)
        self.study = study
        self.derived = study.derived
        self.numbers = reading.read_json(study.derived / "numbers.json")
        self.manifest = manifest.read_manifest(study)
        self.quoted = {}
        self._tables = {}

    # what is there

    def has(self, *keys) -> bool:
        """Whether numbers.json holds a value for every key."""
        return all(self.numbers.get(key, {}).get("value") is not None for key in keys)

    def exists(self, *files) -> bool:
        """Whether result files are there."""
        return all((self.derived / file).is_file() for file in files)

    def value(self, key):
        """A number to decide a wording by; it is not printed."""
        return self._entry(key)["value"]

    def table(self, file):
        """A result table, read once."""
        if file not in self._tables:
            self._tables[file] = reading.read_table(self.derived / file)
        return self._tables[file]

    def json(self, file):
        """A result of kind JSON; empty where it is not there."""
        return reading.read_json(self.derived / file) if self.exists(file) else {}

    def select(self, file, **where):
        """Rows of a result table with these values; none where the table is not there."""
        if not self.exists(file):
            return pd.DataFrame()
        rows = self.table(file)
        for column, wanted in where.items():
            rows = rows[rows[column] == wanted]
        return rows

    def notebook_of(self, file) -> str | None:
        """Which notebook wrote a file, by the manifest."""
        steps = self.manifest["steps"]
        exact = [name for name, step in steps.items() if file in step.get("outputs", {})]
        folder = f"{file.split('/')[0]}/" if "/" in file else None
        near = [
            name
            for name, step in steps.items()
            if folder and any(path.startswith(folder) for path in step.get("outputs", {}))
        ]
        return (exact or near or [None])[0]

    # what is quoted

    def number(self, key, kind=None) -> Quoted:
        """A number of numbers.json.

        Raises
        ------
        UnknownNumber
            If there is none of that name; the message names the nearest one.
        """
        entry = self._entry(key)
        return self._quote(key, entry["value"], kind, entry["source"])

    def cell(self, file, column, kind=None, **where) -> Quoted:
        """A cell of a result table: the row is chosen by values of other columns.

        Raises
        ------
        UnknownNumber
            If not exactly one row fits, or there is no such column.
        """
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
        """How many rows of a result table have these values.

        Parameters
        ----------
        file : str
        above, below : dict, optional
            Column to a limit that its value is above or below.
        **where
            Column to value.
        """
        rows = self.select(file, **where)
        for column, limit in (above or {}).items():
            rows = rows[rows[column] > limit]
        for column, limit in (below or {}).items():
            rows = rows[rows[column] < limit]
        parts = [f"{name} {value}" for name, value in where.items()]
        parts += [f"{name} > {value}" for name, value in (above or {}).items()]
        parts += [f"{name} < {value}" for name, value in (below or {}).items()]
        key = f"{file}: rows" + (f" with {', '.join(parts)}" if parts else "")
        return self._quote(key, len(rows), "count", file)

    def largest(self, file, column, kind=None) -> Quoted:
        """The largest value of a column."""
        value = float(self.table(file)[column].max())
        key = f"{file}: largest {column}"
        return self._quote(key, value, kind or kind_of(f"{file}.{column}", value), file)

    def mask_voxels(self) -> Quoted:
        """How many voxels the VBM mask holds."""
        mask = nib.load(self.derived / MASK)
        value = int(np.count_nonzero(mask.get_fdata()))
        return self._quote(f"{MASK}: voxels", value, "count", MASK)

    def mask_grid(self) -> Quoted:
        """Voxel size of the VBM mask, mm."""
        sizes = nib.load(self.derived / MASK).header.get_zooms()[:3]
        value = " × ".join(f"{size:.3g}" for size in sizes)
        return self._quote(f"{MASK}: voxel size", value, "text", MASK)

    def entry(self, file, *path, kind=None) -> Quoted:
        """A value in a JSON file, by its keys.

        Raises
        ------
        UnknownNumber
            If there is none.
        """
        value = self.json(file)
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                raise UnknownNumber(f"{file} has no {' > '.join(map(str, path))}") from None
        key = f"{file}: {' > '.join(map(str, path))}"
        return self._quote(key, value, kind or kind_of(f"{file}.{path[-1]}", value), file)

    def parameter(self, notebook, name, kind=None) -> Quoted:
        """A parameter that a notebook was run with, by the manifest."""
        used = self.manifest["steps"].get(notebook, {}).get("parameters", {})
        if name not in used:
            known = ", ".join(used) or "none"
            raise UnknownNumber(f"manifest.json: {notebook} has no parameter {name!r} ({known})")
        return self._quote(f"parameter {name} of {notebook}", used[name], kind, "manifest.json")

    def version(self, package) -> Quoted:
        """Version of a package that the notebooks ran with, by the manifest."""
        found = {
            step["packages"][package]
            for step in self.manifest["steps"].values()
            if package in step.get("packages", {})
        }
        words = " and ".join(sorted(found)) or "version not recorded"
        return self._quote(f"version of {package}", words, "text", "manifest.json")

    def of_study(self, place, value, kind=None) -> Quoted:
        """A value of the study file."""
        return self._quote(f"study file: {place}", value, kind or "plain", "{study}")

    def _entry(self, key):
        if key not in self.numbers:
            near = difflib.get_close_matches(key, self.numbers, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownNumber(f"numbers.json of {self.study.name} has no {key!r}{hint}")
        return self.numbers[key]

    def _quote(self, key, value, kind, source):
        notebook = self.notebook_of(source) if source not in ("manifest.json", "{study}") else None
        if source == "manifest.json" and key.startswith("parameter "):
            notebook = key.rsplit(" of ", 1)[1]
        words = printed(value, kind or kind_of(key, value))
        known = self.quoted.get(key)
        anchor = known.anchor if known else f"n{len(self.quoted) + 1}"
        quoted = Quoted(anchor, key, value, words, source, notebook)
        self.quoted.setdefault(key, quoted)
        return quoted


# --- words --------------------------------------------------------------------------------------


def listed(words) -> str:
    """Words in a row: "a, b and c"."""
    words = [str(word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def scale_words(scale) -> str:
    """A scale with its full name, where that is known."""
    known = SCALES.get(scale.key)
    return f"{known} ({scale.name})" if known else scale.name


def contrast_words(contrast, names) -> str:
    """A contrast of the images in the study's words."""
    return CONTRASTS.get(contrast, contrast.replace("_", " ")).format(**names)


def excludes_zero(low, high) -> bool:
    """Whether an interval leaves zero out."""
    return low > 0 or high < 0


def leading_map(evidence, contrast="arm_by_time"):
    """The receptor map with the largest |r|: a row of receptors/correlations.tsv, or None."""
    rows = evidence.select("receptors/correlations.tsv", contrast=contrast)
    rows = rows if rows.empty else rows.dropna(subset=["r"])
    return None if rows.empty else rows.loc[rows["r"].abs().idxmax()].to_dict()


def leading_regions(evidence, contrast="arm_by_time", n=4):
    """Regions with surviving voxels, by |t|: rows of vbm/<contrast>_regions.tsv."""
    rows = evidence.select(f"vbm/{contrast}_regions.tsv")
    if rows.empty:
        return []
    rows = rows[rows["n_voxels_fwe"] > 0].sort_values("t", key=abs, ascending=False)
    return rows.head(n).to_dict("records")


def is_least(p, n_permutations) -> bool:
    """Whether a p is the smallest that its permutations allow."""
    return p <= 1.5 / (1 + n_permutations)


# --- figures ------------------------------------------------------------------------------------


def figure_topic(name) -> str:
    """Which part of the results a figure shows: flow, clinical, vbm, receptors or other."""
    for topic, pattern in TOPICS.items():
        if re.search(pattern, name.lower()):
            return topic
    return "other"


def is_panel(name, captions) -> bool:
    """Whether a figure is one panel of another figure of that number, by itself.

    Captions of figures that have panels name them by letters.
    """
    number = name.split("_")[0]
    lettered = {own for own, words in captions.items() if "(a)" in words.get("caption", "")}
    return name not in lettered and any(own.split("_")[0] == number for own in lettered)


def figure_words(name, captions) -> dict:
    """Label, title, caption and alternative text of a figure.

    Parameters
    ----------
    name : str
        File name without suffix: figure2_vbm.
    captions : dict
        Content of ``captions.json`` beside the figures: name to title, caption, alt. What it lacks
        is taken from :data:`FIGURES`, and where that has none, from the name.

    Returns
    -------
    dict of str
        label ("Figure 2", or empty), title, caption, alt.
    """
    found = re.match(r"fig(?:ure)?_?([A-Z]?\d+)[_-]?(.*)$", name, flags=re.IGNORECASE)
    label, rest = (f"Figure {found[1]}", found[2]) if found else ("", name)
    words = rest.replace("_", " ").replace("-", " ").strip().capitalize() or name
    plain = (words, "", f"Figure: {words}. The numbers behind it are in the tables of this report.")
    title, caption, alt = FIGURES.get(rest, plain)
    own = captions.get(name, {})
    title = re.sub(r"^Figure \w+\s*[·:.|-]\s*", "", own.get("title") or title)
    return {
        "label": label,
        "title": title,
        "caption": own.get("caption") or caption,
        "alt": own.get("alt") or alt,
    }
