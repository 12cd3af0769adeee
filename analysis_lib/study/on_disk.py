"""Where a study's data and results are, and by which names its participants are read."""

from dataclasses import replace
from pathlib import Path
from typing import Self

from analysis_lib.study.place import Place

MADE_MAPS = "sub-*/ses-*/anat/*_label-GM_desc-modulated_probseg.nii.gz"  # names of notebook 00


class OnDisk:
    """Folders and files of a study, and in which place (`Place`) and variant its results are."""

    @property
    def path(self) -> Path:
        """The study file."""
        return self._path

    @property
    def root(self) -> Path:
        """The BIDS folder."""
        return (self._path.parent / self.data).resolve()

    @property
    def place(self) -> Place:
        """Where results go, and what computes them."""
        return self._place

    @property
    def variant(self) -> str:
        """Name of the variant whose results these are; empty for the default ones."""
        return self._place.variant

    @property
    def real(self) -> bool:
        """Whether the data are of real participants and not public."""
        return not (self.simulated or self.public or self.effect)

    @property
    def protected(self) -> bool:
        """Whether nothing that a run writes may name a participant."""
        return self.real and not self._place.identifiable

    @property
    def names(self) -> dict[str, str]:
        """Pseudonym by participant_id, in a study that is read under pseudonyms; else empty."""
        return self._names

    def under(self, names) -> Self:
        """The same study, whose participants are read under other names."""
        other = self.model_copy()
        other._names = names
        return other

    def as_variant(self, name="") -> Self:
        """The same study with the results of a variant, or with the default ones."""
        other = self.model_copy()
        other._place = replace(self._place, variant=name)
        return other

    @property
    def variants(self) -> Path:
        """Folder of the variants, a folder each."""
        return self._place.output / "data" / "derived" / self.name / "variants"

    @property
    def derived(self) -> Path:
        """Folder for everything that the notebooks write but figures."""
        return self.variants / self.variant if self.variant else self.variants.parent

    def work(self, section, n_jobs=1) -> dict:
        """Options of :func:`analysis_lib.computing.blocks.run`: blocks are kept until published."""
        keep = self.derived / ".blocks" / section
        return {"n_jobs": n_jobs, "address": self.place.dask, "keep": keep}

    def result(self, name) -> Path:
        """A result, or a folder of results below ``derived``, that another notebook wrote.

        A variant that has the first folder of it has all of it; else the default result is meant,
        which is not computed again.
        """
        there = not self.variant or (self.derived / name.split("/")[0]).exists()
        return (self.derived if there else self.variants.parent) / name

    @property
    def private(self) -> Path:
        """Folder for what has a row or a file per participant, where the study is protected."""
        return self.derived / "private"

    @property
    def made_maps(self) -> Path:
        """Folder for the grey-matter maps that notebook 00 makes."""
        return (self.private if self.protected else self.derived) / "grey_matter"

    def own_maps(self) -> list[Path]:
        """Grey-matter maps that the study brings, sorted."""
        pattern = self.imaging.grey_matter if self.imaging else None
        return _matches(self.root, pattern) if pattern else []

    def grey_matter_maps(self) -> list[Path]:
        """Grey-matter maps, sorted: those that the study brings, else those of notebook 00."""
        places = (self.made_maps, self.as_variant().made_maps)
        made = next((folder for folder in places if folder.exists()), self.made_maps)
        return self.own_maps() or (_matches(made, MADE_MAPS) if self.imaging else [])

    def t1w_images(self) -> list[Path]:
        """T1-weighted images, sorted."""
        found = _matches(self.root, self.imaging.t1w) if self.imaging else []
        return [path for path in found if path.name.endswith((".nii", ".nii.gz"))]

    @property
    def figures(self) -> Path:
        """Folder for figures; those of a variant lie with its results."""
        if self.variant:
            return self.derived / "figures"
        return self._place.output / "figures" / self.name

    def figure_folder(self, quick) -> Path:
        """Folder for figures; those of a quick run lie apart: the demo's others are in git."""
        return self.figures / "quick" if quick else self.figures


def _matches(folder, pattern):
    """Files below a folder; hidden ones are half-written."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    return [path for path in found if not path.name.startswith(".")]
