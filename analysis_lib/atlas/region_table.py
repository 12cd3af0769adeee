"""Tables with a value per region: their names, as other programs write them, found in an atlas."""

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pandas as pd

from analysis_lib.atlas.grids import grey_matter_labels
from analysis_lib.atlas.naming import BOTH, side_and_region
from analysis_lib.atlas.parcellation import Atlas, label_array, load_atlas
from analysis_lib.results.problems import Listing, Problem, StudyError, caught
from analysis_lib.study.tables import (
    duplicate_problems,
    number_column,
    read_any_table,
    read_tsv,
    table_problems,
)

PERCENT = (-100, 1000)  # a change that can be
FEWEST = 10  # regions: with fewer, no spatial null means anything
LEAST_SHARE = 0.5  # of the names that an atlas must have: else it is another atlas
ALIASES = {"cerebellumcortex": "cerebellumexterior", "thalamus": "thalamusproper"}
ALIASES |= {other: name for name, other in ALIASES.items()}


@dataclass(frozen=True)
class Placed:
    """Values by label of an atlas, which has both sides in one where the names say no side."""

    values: pd.DataFrame  # (n_rows, n_regions)
    parcels: Atlas
    left_out: tuple = ()  # names that are no grey-matter region of the atlas
    file: str = ""  # that the values are from

    @property
    def problems(self):
        """A warning that names what is left out."""
        if self.left_out:
            found = Listing(self.left_out, "{}, left out")
            expected = "names of grey-matter regions of the atlas"
            yield Problem(self.file, "", expected, found, warning="table-names")


def placed(table, atlas, file="") -> Placed:
    """Columns of a table as regions of an atlas.

    Parameters
    ----------
    table : pandas.DataFrame
        (n_rows, n_names); columns as FreeSurfer, ENIGMA or the atlas itself write them: "left
        hippocampus", "Left-Hippocampus", "ctx-lh-insula", "Lhippo", "Hippocampus".
    atlas : str, path, mapping or Atlas
    file : str
        That the table is from, for messages.

    Returns
    -------
    Placed

    Raises
    ------
    StudyError
        If fewer than ten regions, or than half of the names, are in the atlas; if a region is named
        twice; or if some names say a side and others mean both sides.
    """
    twice = tuple(map(str, table.columns[table.columns.duplicated()]))
    if twice:
        found = Listing(twice, "{} again")
        raise StudyError(Problem(file, "regions", "one column or row per region", found))
    parcels = load_atlas(atlas)
    rows = _known(parcels)
    found = {name: _label(name, rows) for name in table}
    known = {name: label for name, label in found.items() if label}
    wrong = list(_refusals(found, known))
    if wrong:
        raise StudyError(replace(one, file=file) for one in wrong)
    if any(side == BOTH for side, _ in known.values()):
        parcels = folded(parcels)
    values = table[list(known)].set_axis([label for _, label in known.values()], axis=1)
    values = values.sort_index(axis=1).rename_axis(columns="label")
    return Placed(values, parcels, tuple(map(str, table.columns.difference(list(known)))), file)


def _refusals(found, known):
    """What is wrong with the names as a whole."""
    labels = pd.Series({name: label for name, (_, label) in known.items()}, dtype=float)
    if len(known) < max(FEWEST, LEAST_SHARE * len(found)):
        lacking = Listing(tuple(str(name) for name in found if name not in known), "not {}")
        yield Problem(
            "",
            "regions",
            f"names of grey-matter regions of the atlas, {FEWEST} and half of them at least",
            lacking,
            "name the atlas that the table was made with",
        )
    twice = labels.index[labels.duplicated(keep=False)]
    if len(twice):
        found = Listing(tuple(twice), "{} for one")
        yield Problem("", "regions", "one column or row per region", found)
    sides = {side for side, _ in known.values()}
    if BOTH in sides and sides & {"left", "right"}:
        expected = "either a side in every name of a region that has two, or in none"
        yield Problem("", "regions", expected, "both kinds")


def _known(parcels):
    """Rows of grey-matter regions that have a voxel, with the letters of each name."""
    rows = parcels.table.loc[grey_matter_labels(parcels)]
    rows = rows[rows.index.isin(np.unique(label_array(parcels.image)))]
    return rows.assign(key=[side_and_region(region)[0][1] for region in rows["region"]])


def _label(name, rows):
    """Side and label that a name means, None for a name that is no region of grey matter."""
    exact = rows.index[rows["name"] == name]
    if len(exact) == 1:
        return rows.loc[exact[0], "hemisphere"], int(exact[0])
    for side, key in side_and_region(str(name)):
        same = _matching(key, rows)
        here = same[same["hemisphere"] == side] if side else same
        if len(here) == 1 and (side or here["hemisphere"].iloc[0] not in ("left", "right")):
            return here["hemisphere"].iloc[0], int(here.index[0])
        if not side and set(here["hemisphere"]) == {"left", "right"} and len(here) == 2:
            return BOTH, int(here.index[here["hemisphere"] == "left"][0])
    return None


def _matching(key, rows):
    """Rows of this name, or of its other name; of regions below the cortex, its beginning."""
    for one in (key, ALIASES.get(key)):
        if rows["key"].eq(one).any():
            return rows[rows["key"] == one]
    return rows[
        rows["key"].str.startswith(key) & rows["structure"].eq("subcortex") & (len(key) > 2)
    ]


def folded(parcels) -> Atlas:
    """An atlas whose regions are on both sides: right has the label of left, and no row."""
    table = parcels.table
    right = table[table["hemisphere"] == "right"]
    left = table[table["hemisphere"] == "left"]
    of_left = pd.Series(left.index, index=left["region"])
    pairs = pd.Series(of_left.reindex(right["region"]).to_numpy(), right.index).dropna().astype(int)
    labels = label_array(parcels.image)
    lookup = np.arange(labels.max() + 1)
    lookup[pairs.index[pairs.index <= labels.max()]] = pairs[pairs.index <= labels.max()]
    table = table.drop(index=pairs.index)
    table.loc[pairs, "hemisphere"] = BOTH
    image = nib.Nifti1Image(lookup[labels].astype(np.int32), parcels.image.affine)
    name = parcels.name and f"{parcels.name}_both"
    return replace(parcels, image=image, table=table, name=name)


def read_changes(study) -> Placed:
    """Regional change of each participant, percent, from the table that the study file names."""
    table = read_tsv(study, study.imaging.table, ["participant_id"]).reset_index(drop=True)
    found = placed(table.drop(columns="participant_id"), study.atlas, study.imaging.table)
    kept = table.columns.difference(["participant_id", *found.left_out])
    columns = {name: number_column(*PERCENT) for name in kept}
    table, wrong = table_problems(table, columns, kept)
    wrong += duplicate_problems(table, ["participant_id"])
    if wrong:
        raise StudyError(wrong)
    values = found.values.apply(pd.to_numeric).set_axis(table["participant_id"])
    return replace(found, values=values)


def read_effect(study) -> Placed:
    """One row: the values of a table of region values, and with ``se`` a second one."""
    effect, path = study.effect, study.path.parent / study.effect.file
    if not path.is_file():
        raise StudyError(Problem(study.path.name, "effect.file", "a file", f"none at {path}"))
    table = read_any_table(path)
    wanted = [effect.region, effect.value, *([effect.se] if effect.se else [])]
    lacking = [name for name in wanted if name not in table]
    if lacking:
        found, remedy = Listing(tuple(map(str, table))), "name them: region, value, se"
        expected = f"columns {', '.join(lacking)}"
        raise StudyError(Problem(path.name, "", expected, found, remedy))
    rows = table.dropna(subset=[effect.region]).set_index(effect.region)[wanted[1:]].T
    numbers = rows.apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() & rows.notna()) | np.isinf(numbers)
    if effect.se:
        wrong.loc[effect.se] |= numbers.loc[effect.se] <= 0
    if wrong.any(axis=None):
        cells = rows.T[wrong.T].stack().items()
        found = Listing(tuple(f"{region}, {column}: {cell}" for (region, column), cell in cells))
        expected = "finite numbers (standard errors above 0)"
        raise StudyError(Problem(path.name, "", expected, found, "Missing is written n/a"))
    return placed(numbers, study.atlas, effect.file)


def parcels_of(study) -> Atlas:
    """The study's atlas, both sides in one where its table of regions says no side."""
    if study.effect and study.effect.is_table:
        return read_effect(study).parcels
    return read_changes(study).parcels if study.regional else load_atlas(study.atlas)


def problems(study):
    """What is wrong with a table of regions; warnings name what is left out of it."""
    read = read_changes if study.regional else read_effect
    if not (study.regional or (study.effect and study.effect.is_table)):
        return []
    return caught(read, study) or list(read(study).problems)
