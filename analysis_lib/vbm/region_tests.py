"""Change by region, from a table instead of images: notebook 02 without voxels."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.atlas.grids import region_names
from analysis_lib.atlas.parcellation import Atlas
from analysis_lib.atlas.region_table import read_changes
from analysis_lib.results.contrasts import CONTRASTS
from analysis_lib.results.problems import CompendiumError, Listing, Problem, StudyError
from analysis_lib.study.contract import Study
from analysis_lib.study.participants import design_columns, read_participants
from analysis_lib.vbm.contrasts import contrast_test, model_columns
from analysis_lib.vbm.discoveries import set_table
from analysis_lib.vbm.effects import effect_sizes
from analysis_lib.vbm.region_effects import equivalence, region_effects
from analysis_lib.vbm.regions import change_rows, region_means

TESTED = ("max_t", "true_discoveries")
FEWEST = 2  # participants per arm


@dataclass(frozen=True)
class RegionChanges:
    """Change of each participant in each region, as a table gave it."""

    study: Study
    people: pd.DataFrame  # participant_id, arm
    change: pd.DataFrame  # (n, n_regions), percent; columns are names of regions
    parcels: Atlas
    covariates: pd.DataFrame
    blocks: np.ndarray | None
    left_out: tuple = ()  # what of the table is not analysed, in words

    @property
    def described(self) -> str:
        """Size of the table and what is left out of it, in words."""
        lines = [f"(n_participants, n_regions) = {self.change.shape}", *map(str, self.left_out)]
        return "\n".join(lines)

    def tables(self) -> dict:
        """What notebook 03 takes: parcel_change; and region_means."""
        rows = change_rows(self.change, self.people)
        return {"parcel_change": rows, "region_means": region_means(rows)}

    def assess(self, **options) -> dict:
        """Every contrast in every region: see `assess_regions`."""
        return assess_regions(self, **options)


def read_region_changes(study) -> RegionChanges:
    """Regional changes of the participants analysed.

    Raises
    ------
    StudyError
        If the table is wrong, names people whom participants.tsv does not, or has too few.
    """
    found, people = read_changes(study), read_participants(study)
    known = people[people["excluded"].isna() & people["participant_id"].isin(found.values.index)]
    wrong = list(_wrong_people(study, found.values.index, people, known))
    if wrong:
        raise StudyError(wrong)
    who = known["participant_id"]
    change = found.values.loc[who].dropna(axis=1)
    names = region_names(found.parcels)
    gaps = found.values.columns.difference(change.columns)
    lines = [*found.problems, *_gaps(names[gaps], found.file)]
    design = design_columns(study, people, who)
    change = change.set_axis(names[change.columns], axis=1).reset_index(drop=True)
    people = known[["participant_id", "arm"]].reset_index(drop=True)
    return RegionChanges(study, people, change, found.parcels, *design, tuple(lines))


def _wrong_people(study, named, people, known):
    """Rows of nobody, and arms with hardly anyone."""
    strangers = [who for who in named if who not in set(people["participant_id"])]
    file = study.imaging.table
    if strangers:
        found = Listing(tuple(strangers))
        yield Problem(file, "participant_id", "participants of participants.tsv", found)
    arms = ("active", "control") if study.arms else ("active",)
    n = known["arm"].value_counts().reindex(arms, fill_value=0)
    if n.min() < FEWEST:
        expected = f"at least {FEWEST} analysed participants{' per arm' if study.arms else ''}"
        yield Problem(file, "", expected, ", ".join(map(str, n)))


def _gaps(names, file):
    """A warning of regions that somebody has no value for."""
    if len(names):
        found = Listing(tuple(names), "none in somebody for {}, left out")
        yield Problem(file, "", "a value of each participant", found, warning="table-gaps")


def problems(study, _participants):
    """What is wrong with who is in the table; the table itself is told elsewhere."""
    if not study.regional:
        return []
    try:
        return [one for one in read_region_changes(study).left_out if one.severity == "warning"]
    except CompendiumError as error:
        return error.problems


def assess_regions(changes, errors="unequal", errors_within="skewed", **options) -> dict:
    """Every contrast of change in every region, family-wise by the largest |t| of any region.

    Parameters
    ----------
    changes : RegionChanges
    errors, errors_within : str
        Between arms and within one: see `analysis_lib.vbm.contrasts.contrast_test`.
    **options
        For :func:`voxelperm.permutation_test`.

    Returns
    -------
    dict of pandas.DataFrame
        summary, <contrast>_regions for each contrast and, where the study file names a bound or
        sets, equivalence and region_sets.
    """
    tables, study = {}, changes.study
    for contrast in study.contrasts:
        own = errors_within if CONTRASTS[contrast].within else errors
        tables[contrast] = _assess(contrast, changes, own, options)
    files = {f"{contrast}_regions": table for contrast, (table, *_) in tables.items()}
    files["summary"] = pd.DataFrame([row for _, row, _ in tables.values()])
    if study.region_sets:
        files["region_sets"] = pd.concat([sets for *_, sets in tables.values()], ignore_index=True)
    if study.equivalence is None:
        return files
    bound = study.equivalence.percent
    shown = [c for c in study.contrasts if c == study.main or not study.arms]
    rows = [equivalence(tables[c][0], bound).assign(contrast=c, bound=bound) for c in shown]
    return files | {"equivalence": pd.concat(rows, ignore_index=True)}


def _assess(contrast, changes, errors, options):
    """Table of one contrast by region, its row of the summary, and sets of regions."""
    arm, values = changes.people["arm"].to_numpy(), changes.change.to_numpy(float)
    within = CONTRASTS[contrast].within
    rows = arm == within if within else np.ones(len(arm), bool)
    mask = np.ones((values.shape[1], 1, 1), bool)
    model = (arm, changes.covariates, changes.blocks, errors)
    result = contrast_test(contrast, values, mask, *model, statistics=TESTED, **options)
    columns = model_columns(changes.covariates, changes.blocks)
    table = region_effects(contrast, changes.change[rows], arm[rows], columns, errors)
    sizes = effect_sizes(contrast, np.zeros_like(values), values, arm, columns)
    table = table.assign(hedges_g=sizes["g"], t=sizes.get("t", result.t), p_fwe_t=result.p["max_t"])
    summary = {
        "contrast": contrast,
        "n": int(rows.sum()),
        "errors": errors,
        "df": result.df,
        "n_permutations": len(result.null_max["max_t"]),
        "n_regions": len(table),
        "n_regions_fwe": int((table["p_fwe_t"] < 0.05).sum()),
        "smallest_p": table["p_fwe_t"].min(),
    }
    sets = None
    if changes.study.region_sets:
        sets = set_table(contrast, result, changes.study.region_sets, changes.change.columns)
    return table.sort_values("p_fwe_t", kind="stable", ignore_index=True), summary, sets
