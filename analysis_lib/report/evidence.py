"""What the report says: numbers that know where they come from, and words that depend on them.

The prose itself stands in ``template``; here is what it is filled with. A number reaches the
text only as a :class:`Quoted`, read from a result file, the manifest or the study file.
"""

import difflib
import re

import nibabel as nib
import numpy as np

from analysis_lib.report import manifest
from analysis_lib.report.quoting import Quoted, Quotes, UnknownNumber, kind_of
from analysis_lib.results import reading
from analysis_lib.results.words import printed

SCALES = {
    "hamd17": "Hamilton Depression Rating Scale",
    "hdrs": "Hamilton Depression Rating Scale",
    "hama": "Hamilton Anxiety Rating Scale",
    "hars": "Hamilton Anxiety Rating Scale",
    "madrs": "Montgomery-Åsberg Depression Rating Scale",
}
MASK = "vbm/mask.nii.gz"
TOPICS = {
    "flow": r"participants|flow|consort|ratings",
    "receptors": r"receptor|dominance|null|coupling|juspace|surrogate|correlation|scatter|influen"
    r"|slope|anatomy",
    "vbm": r"vbm|region|brain|grey|gray|voxel|cluster|volume|glass|slice",
    "clinical": r"clinical|trajector|forest|course|differ|respon|remi|score|missing|blind|tipping",
}


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

    # what is quoted

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
        mask = nib.load(self.derived / MASK)
        value = int(np.count_nonzero(mask.get_fdata()))
        return self._quote(f"{MASK}: voxels", value, "count", MASK)

    def mask_grid(self) -> Quoted:
        """Voxel size of the VBM mask, mm."""
        sizes = nib.load(self.derived / MASK).header.get_zooms()[:3]
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


def scale_words(scale) -> str:
    """A scale with its full name, where that is known."""
    known = SCALES.get(scale.key)
    return f"{known} ({scale.name})" if known else scale.name


def figure_topic(name) -> str:
    """Which part of the results a figure shows: flow, clinical, vbm, receptors or other."""
    found = (topic for topic, pattern in TOPICS.items() if re.search(pattern, name.lower()))
    return next(found, "other")


def is_panel(name, captions) -> bool:
    """Whether a figure is one panel, by itself, of another figure, whose caption has letters."""
    number = name.split("_")[0]
    lettered = {own for own, words in captions.items() if "(a)" in words.get("caption", "")}
    return name not in lettered and any(own.split("_")[0] == number for own in lettered)


def figure_words(name, captions) -> dict:
    """Label ("Figure 2", or empty), title, caption and alt of a figure, by its file's name."""
    found = re.match(r"fig(?:ure)?_?([A-Z]?\d+)[_-]?(.*)$", name, flags=re.IGNORECASE)
    label, rest = (f"Figure {found[1]}", found[2]) if found else ("", name)
    words = rest.replace("_", " ").replace("-", " ").strip().capitalize() or name
    own = captions.get(name, {})
    title = re.sub(r"^Figure \w+\s*[·:.|-]\s*", "", own.get("title") or words)
    return {
        "label": label,
        "title": title,
        "caption": own.get("caption") or "",
        "alt": own.get("alt") or f"{words}. Its numbers are in the tables of this report.",
    }
