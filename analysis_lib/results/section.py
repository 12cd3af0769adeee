"""The results of one notebook: written aside as they come, put in place together."""

import shutil
import weakref
from contextlib import contextmanager

import numpy as np
import pandas as pd

from analysis_lib.results import files, reading, writing
from analysis_lib.results.problems import StudyError

PERSON = "participant_id"  # a table with this column is about participants, one by one
UNTOLD = "the study's tables or images do not allow it; `check-study` says where"
# What computations raise on data that cannot answer: LinAlgError is a ValueError, ConvergenceError
# a RuntimeError (trialmmrm would be slow to import here).
UNANSWERED = (ValueError, ArithmeticError, RuntimeError)


class Section:
    """Results of one notebook, read by name.

    Parameters
    ----------
    study : Study
    name : str
        Folder below ``study.derived``: "clinical", "vbm", "receptors".
    """

    def __init__(self, study, name):
        self.study, self.name = study, name
        self.folder = study.result(name)  # a variant's own, or the default one

    @property
    def is_there(self) -> bool:
        """Whether the notebook has been run."""
        return self.folder.is_dir()

    @property
    def quick(self) -> bool:
        """Whether few permutations were drawn."""
        settings = self.folder / "settings.json"  # notebook 00 has none, and no quick way
        return settings.is_file() and bool(reading.read_json(settings)["quick"])

    def table(self, name) -> pd.DataFrame:
        """A table, with its types; raises as :func:`analysis_lib.results.read_table`."""
        return self._named(reading.read_table(self.path(f"{name}.tsv")), f"{name}.tsv")

    def _named(self, table, file):
        """A table that knows its result file: S1's verdicts stand beside its p-values."""
        table.attrs["result"] = f"{self.name}/{file}"
        return table

    def path(self, file):
        """Where a result file is: with those about participants, or in the notebook's folder."""
        private = self._private / file
        return private if private.is_file() else self.folder / file

    @property
    def _private(self):
        return self.folder.parent / "private" / self.name

    def has(self, name) -> bool:
        """Whether there is a table of this name."""
        return self.path(f"{name}.tsv").is_file()

    def json(self, name):
        """A JSON file's content."""
        return reading.read_json(self.folder / f"{name}.json")

    def image(self, name):
        """An image."""
        import nibabel as nib  # slow to import

        return nib.load(reading.require(self.folder / f"{name}.nii.gz"))

    def arrays(self, name) -> dict:
        """Arrays by name."""
        with np.load(reading.require(self.folder / f"{name}.npz")) as content:
            return dict(content)


class NewSection(Section):
    """Results that are being made: see :func:`begin`."""

    def __init__(self, study, name, quick):
        super().__init__(study, name)
        self.place, self._quick = study.derived / name, quick
        self.folder = files.staging_folder(self.place.parent, name)
        self._end = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.notes = []  # of what could not be computed: part, reason

    @property
    def quick(self) -> bool:
        """Whether few permutations are drawn."""
        return self._quick

    def image(self, name):
        """An image, in memory: its file moves when the results are published."""
        image = super().image(name)
        return type(image)(np.asanyarray(image.dataobj), image.affine, image.header)

    def keep(self, **contents):
        """Keep results: a DataFrame, a dict (JSON, or arrays), an image, under its name."""
        for name, content in contents.items():
            file = f"{name}{_suffix(content)}"
            apart = self.study.protected and isinstance(content, pd.DataFrame) and PERSON in content
            folder = self._private if apart else self.folder
            folder.mkdir(exist_ok=True)
            writing.write_one(folder / file, content)
            if isinstance(content, pd.DataFrame):
                self._named(content, file)

    @property
    def blocks(self):
        """Where results of blocks of draws are kept until all is published."""
        return self.study.work(self.name)["keep"]

    @property
    def _private(self):
        return super()._private if self.folder == self.place else self.folder / ".private"

    @contextmanager
    def part(self, title):
        """A part of the notebook: where the data cannot answer, the reason becomes a note."""
        try:
            yield
        except UNANSWERED as error:
            self.note(title, error)

    def note(self, title, reason):
        """Note why a part could not be computed; ``reason`` may be a dict, by scale."""
        if self.study.protected and type(reason) is StudyError:  # it quotes names and cells
            reason = UNTOLD
        reasons = reason if isinstance(reason, dict) else {"": reason}
        for scale, why in reasons.items():
            part = f"{title}, {scale}" if scale else title
            self.notes.append({"part": part, "reason": " ".join(str(why).split())})
            print(f"Not computed: {part}. {self.notes[-1]['reason']}")
        if self.notes:
            self.keep(notes=pd.DataFrame(self.notes))

    def publish(self, numbers=None, pages=None) -> None:
        """Put all that was kept in place of what an earlier run left there, and list it.

        ``numbers``, name to (value, source file), are quoted; ``pages`` go into "views".
        """
        written = self._publish_private() + writing.move(self.folder, self.place)
        self._end()  # removes the place aside
        shutil.rmtree(self.blocks, ignore_errors=True)
        self.folder = self.place
        if pages is not None:
            written += writing.write(self.place / "views", pages)
        if numbers is not None:
            writing.write_numbers(self.study, self.name, numbers)
        shown = (path for path in written if path.suffix != ".json")
        print(*(path.relative_to(self.study.derived) for path in shown), sep="\n")

    def _publish_private(self):
        """What is kept apart comes before the rest, which says that the notebook is done."""
        if not self.study.protected:
            return []
        place = super()._private
        place.parent.mkdir(exist_ok=True)
        self._private.mkdir(exist_ok=True)
        written = writing.move(self._private, place)
        self._private.rmdir()
        return written


def begin(study, name, quick=False) -> NewSection:
    """Results of a notebook that starts.

    They are read back from a place of their own until they are published: no figure can show what
    an earlier run left, and an interrupted notebook leaves the earlier results as they were.
    """
    return NewSection(study, name, quick)


def _suffix(content):
    if isinstance(content, pd.DataFrame):
        return ".tsv"
    if hasattr(content, "to_filename"):
        return ".nii.gz"
    arrays = isinstance(content, dict) and any(isinstance(v, np.ndarray) for v in content.values())
    return ".npz" if arrays else ".json"
