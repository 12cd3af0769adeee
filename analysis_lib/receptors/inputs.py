"""What notebook 03 and its appendix work on: regional change, and the receptor maps."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from analysis_lib.atlas.anatomy import regional_anatomy
from analysis_lib.atlas.distances import homologues, mirrored, parcel_distances
from analysis_lib.atlas.grids import grey_matter_labels, parcel_means, region_names
from analysis_lib.atlas.naming import BOTH
from analysis_lib.atlas.parcellation import Atlas
from analysis_lib.atlas.region_table import parcels_of, read_effect
from analysis_lib.receptors.calibration import spatial_rates
from analysis_lib.receptors.correlation import gaussianise
from analysis_lib.receptors.densities import MIN_COVERAGE
from analysis_lib.receptors.effects import effect_map
from analysis_lib.receptors.library import maps_for, systems, uncovered
from analysis_lib.receptors.validity import where_tracers_hold
from analysis_lib.results.problems import CompendiumError, Problem, StudyError, caught
from analysis_lib.results.section import Section
from analysis_lib.study.catalogue import skipped
from analysis_lib.study.contract import Study
from analysis_lib.study.image_file import read_image
from analysis_lib.study.images import ERROR_MAPS
from analysis_lib.study.participants import design_columns, read_participants

FEWEST = 10  # regions, below which a spatial null has too few sign patterns


@dataclass(frozen=True)
class Inputs:
    """Regional change of each participant, and the density of each receptor by region."""

    study: Study
    parcels: Atlas
    change: pd.DataFrame  # (n_participants, n_regions), percent; columns are labels
    arm: pd.Series  # by participant_id
    maps: pd.DataFrame  # (n_receptor_maps, n_regions)
    about: pd.DataFrame  # table of the receptor maps
    model: dict  # covariates and strata, for the difference between the arms
    gaps: dict = field(default_factory=dict)  # labels that a map does not cover, by annotation
    left_out: list = field(default_factory=list)  # regions and maps where tracers fail, in words
    whole: tuple = ()  # maps and their table before tracers were looked at
    tracers: str = "valid"
    errors: pd.Series | None = None  # standard error of one map's value, by label
    suspects: dict = field(default_factory=dict)  # as change: what notebook 00 kept of its errors

    @property
    def regions(self) -> pd.Series:
        """Name of each grey-matter region by label."""
        return region_names(self.parcels)

    @property
    def described(self) -> str:
        """Size of both tables, in words, and what is known of one map's noise."""
        rows = "n_maps" if self.study.effect else "n_participants"
        said = f"({rows}, n_regions) = {self.change.shape}; "
        said += f"(n_receptor_maps, n_regions) = {self.maps.shape}"
        if self.errors is None:
            return said
        share = 1 - np.square(self.errors).mean() / self.change.iloc[0].var()
        return f"{said}\nreliability of the map by its standard errors: {max(share, 0):.2f}"

    @property
    def densities(self) -> str:
        """Where those of published maps come from: volumes in the cache, or bundled tables."""
        return "bundled" if (self.about["densities"] == "bundled").any() else "volumes"

    def distances(self, method) -> np.ndarray:
        """Distances between the regions, mm: see `parcel_distances`."""
        return parcel_distances(self.parcels, self.change.columns, method)

    def mirrored(self, method) -> tuple:
        """The same made alike on both sides, for surrogates, and whether the atlas allowed it."""
        return mirrored(self.distances(method), self.parcels, self.change.columns)

    def symmetry_note(self, method) -> str:
        """Whether surrogates are as symmetric as the effect map, in words."""
        if self.parcels.table["hemisphere"].eq(BOTH).any():
            return "both sides are one in this table: distances are those within half a brain"
        if self.mirrored(method)[1]:
            return "surrogates are as symmetric as the effect map: distances are mirrored"
        return (
            "this atlas has no homologous regions: distances are plain, surrogates are less "
            "symmetric than the effect map, and p among equally smooth maps can be too small"
        )

    def spatial_rates(self, effect, null) -> pd.DataFrame:
        """Measured false-positive rates of spatial p-values: see `calibration.spatial_rates`."""
        pairs = homologues(self.parcels, self.change.columns)
        return spatial_rates(effect.to_numpy(), pairs, null)

    @cached_property
    def anatomy(self) -> pd.DataFrame:
        """Head anatomy of each region: see `regional_anatomy`."""
        return regional_anatomy(self.parcels, self.change.columns)

    def effect_maps(self) -> pd.DataFrame:
        """Effect map of each contrast, percent: regions by contrasts."""
        maps = {c: effect_map(self.change, self.arm, c, **self.model) for c in self.study.contrasts}
        return pd.DataFrame(maps, index=self.regions[self.change.columns].rename("region"))

    def suspect_maps(self, contrast) -> pd.DataFrame:
        """The effect that a contrast would show of errors instead of change, by region."""
        maps = {
            measure: effect_map(values.loc[self.change.index], self.arm, contrast, **self.model)
            for measure, values in self.suspects.items()
        }
        return pd.DataFrame(maps, index=self.change.columns, dtype=float).T

    def map_table(self) -> pd.DataFrame:
        """The receptor maps and where each comes from, by annotation."""
        table = self.about.assign(n_parcels=self.maps.notna().sum(axis=1))
        table = table.assign(system=systems(table["receptor"])).sort_values("system", kind="stable")
        table["system"] = table["system"].astype(str)
        table["background_value"] = [f"{value:.3g}" for value in table["background_value"]]
        columns = ["system", "receptor", "tracer", "n_subjects", "age", "voxel_mm"]
        return table[[*columns, "background_value", "n_parcels", "reference"]]

    def map_notes(self) -> str:
        """What is odd about maps, the regions that a map does not cover, and where tracers fail."""
        noted = self.about[self.about["note"] != ""].groupby("note").groups
        lines = [f"{', '.join(names)}: {note}" for note, names in noted.items()]
        for name, labels in self.gaps.items():
            lines.append(f"{name} does not cover {len(labels)}: {', '.join(self.regions[labels])}")
        return "\n".join([*lines, *self.left_out])

    def scatter_table(self, annotation) -> pd.DataFrame:
        """Change in the main contrast and density of one map by region."""
        effect, density = self.effect_maps()[self.study.main], self.maps.loc[annotation]
        points = pd.DataFrame({"region": effect.index, "density": density.to_numpy()})
        points = points.assign(percent=effect.to_numpy()).dropna().reset_index(drop=True)
        points["x_value"] = gaussianise(points["density"].to_numpy())
        points["y_value"] = gaussianise(points["percent"].to_numpy())
        return points.assign(receptor=self.about.loc[annotation, "receptor"], annotation=annotation)

    def within(self, structure) -> "Inputs":
        """The same in one part of grey matter: which maps hold is decided anew by its regions."""
        labels = self.change.columns.intersection(grey_matter_labels(self.parcels, structure))
        part = replace(self, change=self.change[labels], maps=self.whole[0][labels])
        return part.where_tracers_hold()

    def where_tracers_hold(self) -> "Inputs":
        """The same without regions and maps where tracers fail, if that is asked for."""
        maps, left_out = self.maps, []
        if self.tracers == "valid":
            maps, left_out = where_tracers_hold(maps, self.parcels)
        about, gaps = self.whole[1].loc[maps.index], uncovered(self.maps.loc[maps.index])
        left_out += skipped(self.study.receptors)
        return replace(self, maps=maps, about=about, gaps=gaps, left_out=left_out)


def read_inputs(study, structure="all", background="drop", tracers="valid") -> Inputs:
    """Regional change, written by notebook 02, and the receptor maps that the study asks for.

    Parameters
    ----------
    study : Study
    structure : str
        "all", or the part of grey matter whose regions take part.
    background : {"drop", "keep"}
        Voxels of a receptor map outside its field of view: see `maps_for`.
    tracers : {"valid", "all"}
        Each map in the regions where its tracer measures the receptor, or in all regions.
    """
    parcels = parcels_of(study)
    read = _effect(study, parcels) if study.effect else _changes(study, parcels)
    change, arm, errors, suspects = read
    chosen = grey_matter_labels(parcels, None if structure == "all" else structure)
    change = change[change.columns.intersection(chosen)]
    whole = maps_for(study, parcels, change.columns, background=background)
    people = (arm.loc[change.index], *whole, _design(study, change.index))
    errors = None if errors is None else errors[change.columns]
    suspects = {name: values[change.columns] for name, values in suspects.items()}
    options = {"whole": whole, "tracers": tracers, "errors": errors, "suspects": suspects}
    return Inputs(study, parcels, change, *people, **options).where_tracers_hold()


def _changes(study, parcels):
    """Change of each participant by region, the arms, and errors by region where known."""
    rows = Section(study, "vbm").table("parcel_change")
    arm = rows.drop_duplicates("participant_id").set_index("participant_id")["arm"]
    names = region_names(parcels)
    known = [measure for measure in ERROR_MAPS if measure in rows]
    suspects = {measure: change_matrix(rows, names, measure) for measure in known}
    change = change_matrix(rows, names)
    whole = [c for c in change if all(c in some for some in suspects.values())]
    return change[whole], arm, None, suspects


def _effect(study, parcels):
    """One map by region, as if of one participant; and its standard errors, where known."""
    if study.effect.is_table:
        rows = read_effect(study).values
        values, errors = rows.iloc[0], rows.iloc[1] if len(rows) > 1 else None
    else:
        image, errors = read_image(study.path.parent / study.effect.file), None
        values = parcel_means(image, parcels, "drop", MIN_COVERAGE)
        values = values[grey_matter_labels(parcels)]
    values = values.dropna()
    if values.nunique() < FEWEST:
        expected = f"a map with {FEWEST} different values in regions of the atlas at least"
        raise StudyError(Problem(study.effect.file, "", expected, f"{values.nunique()}"))
    change = values.rename(study.name).to_frame().T.rename_axis(columns="label")
    return change, pd.Series("active", change.index), errors, {}


def _design(study, who):
    if study.effect:
        return {"covariates": None, "strata": None}
    covariates, strata = design_columns(study, read_participants(study), who)
    return {"covariates": covariates if covariates.shape[1] else None, "strata": strata}


def problems(study):
    """Whether enough regions remain for a comparison; unreadable files are told elsewhere."""
    if not study.has_change:
        return []
    try:
        parcels = parcels_of(study)
    except CompendiumError:
        return []
    if study.effect:
        return caught(_effect, study, parcels)
    n = len(grey_matter_labels(parcels))
    if n >= FEWEST:
        return []
    expected, found = f"at least {FEWEST} regions of grey matter", f"{n}"
    remedy = "notebook 02 needs no more: run it alone (--only 02)"
    return [Problem(study.path.name, "atlas", expected, found, remedy)]


def change_matrix(rows, names, column="change"):
    """Participants by regions again (percent, by label), from rows of vbm/parcel_change.tsv.

    ``names`` are region names by label. Regions without a value in some participant (no grey matter
    there) are left out; a region that the atlas does not have is refused.
    """
    unknown = sorted(set(rows["region"]) - set(names))
    if unknown:
        raise ValueError(
            f"parcel_change.tsv: regions of this atlas expected, found {', '.join(unknown[:5])}: "
            "run 02_vbm again with this study's atlas"
        )
    label = rows["region"].map(pd.Series(names.index, index=names))
    wide = rows.assign(label=label).pivot(index="participant_id", columns="label", values=column)
    return wide.dropna(axis=1)
