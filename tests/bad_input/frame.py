"""A case of bad input, and the sound small trial that it spoils."""

from collections.abc import Callable
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from conftest import TinyTrial, grey_matter

from analysis_lib.checking import check
from analysis_lib.pipeline.variant_runs import make_plans
from analysis_lib.results.problems import CompendiumError, Problem
from analysis_lib.study.contract import load_study

MAPS = "derivatives/vbm/sub-*/ses-*/anat/*_label-GM_desc-modulated_probseg.nii.gz"


@dataclass(frozen=True)
class Case:
    """One way to spoil the sound trial, and what the check has to say of it.

    ``words`` stand in one line of the check, in any order. ``severity`` is refused, warned or
    accepted; of what is accepted nothing is said at all.
    """

    name: str
    spoil: Callable = field(repr=False)  # changes a SmallTrial in place
    words: tuple[str, ...] = ()
    severity: str = "refused"


class SmallTrial(TinyTrial):
    """A sound trial of eight participants; see TinyTrial for what is in memory.

    ``edit`` changes the bytes of a file after all is written; ``given`` are parameters of a run;
    ``numbers`` are those of the notebooks to run, all if none is named.
    """

    def __init__(self, folder):
        super().__init__(folder)
        self.root, self.edits, self.given, self.numbers = folder / "bids", [], {}, ()
        for k, table in enumerate(self.scales.values()):  # spread, so that a model can be fitted
            table["total"] += np.random.default_rng(k).integers(-3, 4, len(table))

    def scan(self):
        """Give each participant a map before and after treatment; return the trial."""
        sessions = {"pre": "baseline", "post": "week2"}
        self.content["imaging"] = {"sessions": sessions, "grey_matter": MAPS}
        for who in self.participants["participant_id"]:
            for visit in sessions.values():
                self.write_map(who, visit)
        return self

    def map_path(self, who, visit):
        """File of a participant's map."""
        name = f"{who}_ses-{visit}_label-GM_desc-modulated_probseg.nii.gz"
        return self.root / f"derivatives/vbm/{who}/ses-{visit}/anat/{name}"

    def write_map(self, who, visit, value=None):
        """Write a participant's map, or one of a single value; return its path."""
        path = self.map_path(who, visit)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(grey_matter(who, visit, value=value), path)
        return path

    def edit(self, name, change):
        """Replace a file's bytes (tiny.yml, bids/participants.tsv) by what a function makes."""
        self.edits.append((self.folder / name, change))

    def write(self):
        """Write all, spoil the bytes, and load the study."""
        path = self.write_files()
        for spoilt, change in self.edits:
            spoilt.parent.mkdir(parents=True, exist_ok=True)
            spoilt.write_bytes(change(spoilt.read_bytes() if spoilt.exists() else b""))
        return load_study(path)

    def found(self, numbers=None) -> list[Problem]:
        """What loading, parameters and check say, as `check-study` and `run_all.py` do."""
        try:
            study = self.write()
            make_plans(study, overrides=[f"{name}={value}" for name, value in self.given.items()])
            return check(study, self.numbers if numbers is None else numbers)
        except CompendiumError as error:
            return error.problems
