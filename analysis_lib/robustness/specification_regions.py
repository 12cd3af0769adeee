"""Every analysis of change along one receptor: maps, regions, receptor map, statistic, model."""

from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.image import smooth_img

from analysis_lib.atlas.anatomy import regional_anatomy
from analysis_lib.atlas.grids import grey_matter_labels, labels_on_grid
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.computing import blocks
from analysis_lib.receptors.correlation import patient_slopes, slopes_given_others
from analysis_lib.receptors.effects import nuisance_columns
from analysis_lib.receptors.inputs import Inputs, read_inputs
from analysis_lib.receptors.library import combine, maps_for
from analysis_lib.receptors.nulls import spatial_test
from analysis_lib.receptors.tables import ATLASES
from analysis_lib.receptors.together import SURROGATES, leading
from analysis_lib.receptors.validity import where_tracers_hold
from analysis_lib.results.problems import CompendiumError, NotComputed, UsageError
from analysis_lib.results.section import Section
from analysis_lib.robustness.multiverse import Design, draw_flips, estimates, flipped, p_of
from analysis_lib.robustness.specification import (
    ARBITRARY,
    Curve,
    crossed,
    limits,
    offered,
)
from analysis_lib.study.head_size import total_intracranial_volume
from analysis_lib.study.map_file import load_map
from analysis_lib.study.receptor_files import local_maps
from analysis_lib.vbm.regions import parcel_change
from analysis_lib.vbm.scans import read_scans

COMBINED = "combined"
OF_MAPS, PLAIN = ["smoothing", "mask", "atlas"], ("0", "0")
OF_OUTCOME = [*OF_MAPS, "tracer", "tracer_regions", "correlation", "anatomy"]
OF_MODEL = ["covariates", "head_size", "errors"]
BLOCK = 4  # participants whose maps are smoothed in one block
GIVEN = "the study gives changes by region"


def region_curve(study, receptor="", n_draws=1000, seed=0, n_jobs=1) -> Curve:
    """Every analysis of the main contrast of patients' slopes on one receptor.

    Parameters
    ----------
    study : Study
    receptor : str
        An annotation or a receptor; empty: the map with the largest |r| in notebook 03.
    n_draws : int
        Sign flips of participants, the same in every analysis.
    seed, n_jobs : int

    Raises
    ------
    NotComputed
        The study has neither images nor changes by region, or notebook 03 has not run.
    UsageError
        No such receptor map.
    """
    if not study.has_change:
        raise NotComputed("the study has no images and no changes by region")
    if not Section(study, "receptors").is_there:
        raise NotComputed("there are no results of notebook 03: run it first")
    choice = _Choice(study, inputs := read_inputs(study), _chosen(study, inputs, receptor))
    decisions = offered("regions", _offers(choice))
    rows = crossed(decisions)
    changes = choice.changes(rows, n_jobs)
    keys = rows[OF_OUTCOME].drop_duplicates().itertuples(index=False)
    outcomes, notes = {}, {}
    for key in keys:
        try:
            outcomes[key] = choice.slopes(changes[key[:3]], *key[2:])
        except ValueError as error:
            notes[f"{key.atlas}, {key.tracer}, {key.tracer_regions}: {error}"] = None
    there = [key in outcomes for key in rows[OF_OUTCOME].itertuples(index=False)]
    rows = rows[there].reset_index(drop=True)
    flips = draw_flips(len(inputs.change), n_draws, seed)
    rows, draws = _modelled(choice, rows, outcomes, flips, n_jobs)
    apart, skipped = _apart(choice, decisions, flips, seed)
    if study.effect:  # one map: there are no signs to flip
        draws, rows = draws[:, :0], rows.assign(p=np.nan)
        apart["p"] = apart["p"].where(apart["decision"] == "null")
    return Curve("regions", rows, decisions, apart, draws, (*notes, *skipped), choice.about)


def _chosen(study, inputs, receptor):
    """The annotation that is meant."""
    known = inputs.about["receptor"]
    if not receptor:
        lead = leading(Section(study, "receptors").table("correlations"), study.main)
        receptor = lead["annotation"] if lead["annotation"] in known else lead["receptor"]
    found = known.index[(known.index == receptor) | (known == receptor)]
    if not len(found):
        listed = ", ".join([*known.unique(), *known.index])
        raise UsageError(f"receptor {receptor!r}: one of {listed} expected")
    return found[0]


@dataclass(frozen=True)
class _Choice:
    """A study, one receptor, and what analyses of it are made from."""

    study: object
    inputs: Inputs
    annotation: str

    @property
    def receptor(self):
        return self.inputs.about.loc[self.annotation, "receptor"]

    @property
    def about(self):
        """What is estimated, in words."""
        names = self.study.arm_names
        between = f", {names['active']} − {names['control']}" if self.study.arms else ""
        what = f"map ({self.study.effect.kind})" if self.study.effect else "% change"
        return f"{what} per SD of {self.receptor} density{between}"

    @property
    def brought(self):
        """Whether the study gives regions instead of images."""
        return self.study.regional or self.study.effect is not None

    @property
    def own(self):
        """Name of the study's atlas."""
        return self.inputs.parcels.name or "own"

    @cached_property
    def entries(self):
        """What the study file says of this receptor's maps."""
        chosen = self.inputs.about.index[self.inputs.about["receptor"] == self.receptor]
        local = {entry.annotation: entry for entry in local_maps(self.study)}
        return [local.get(name, name) for name in chosen]

    @cached_property
    def atlases(self):
        """By name the atlas, its maps of this receptor in the regions where tracers hold and in
        all, and head anatomy; or why an atlas cannot be used, in words."""
        found = {self.own: self._on(self.inputs.parcels)}
        if self.brought:
            return found | {"another": GIVEN}
        for name in ATLASES:
            if name not in found and not name.endswith("_both"):
                try:
                    found[name] = self._on(load_atlas(name))
                except CompendiumError:  # it may name a place of this machine
                    found[name] = f"not here: python -m analysis_lib fetch atlas {name}"
        return found

    def _on(self, parcels):
        labels = grey_matter_labels(parcels)
        study = self.study.model_copy(update={"receptors": self.entries})
        whole, about = maps_for(study, parcels, labels)
        holds = self.inputs.tracers == "valid"
        maps = {"valid": where_tracers_hold(whole, parcels)[0] if holds else whole, "all": whole}
        maps = {regions: _with_combined(some, about) for regions, some in maps.items()}
        return parcels, maps, regional_anatomy(parcels, labels)

    @cached_property
    def head_size(self):
        """TIV of participants, or why there is none, in words."""
        if self.brought:
            return GIVEN
        scans = read_scans(self.study)
        who = self.inputs.change.index
        images = scans.images[scans.images["participant_id"].isin(who)]
        try:
            size = total_intracranial_volume(self.study, scans.participants, images)
        except CompendiumError:  # it may name participants
            return "total intracranial volume is not known of all"
        return "the study has no total intracranial volume" if size is None else size.loc[who]

    def changes(self, rows, n_jobs):
        """Change by region (participants by labels) for each smoothing, mask and atlas."""
        wanted = list(rows[OF_MAPS].drop_duplicates().itertuples(index=False, name=None))
        found = {(*PLAIN, self.own): self.inputs.change}
        if missing := [key for key in wanted if key not in found]:
            atlases = {name: self.atlases[name][0] for *_, name in missing}
            found |= region_changes(self.study, atlases, missing, n_jobs)
        return {key: found[key].loc[self.inputs.change.index] for key in wanted}

    def slopes(self, change, atlas, tracer, regions, correlation, anatomy):
        """Each participant's slope."""
        _, maps, measures = self.atlases[atlas]
        if tracer not in maps[regions].index:
            raise ValueError("there is no such map")
        change = change.dropna(axis=1)
        density = maps[regions].loc[[tracer]].reindex(columns=change.columns)
        if anatomy == "ignored":
            return patient_slopes(change, density, correlation)[:, 0]
        both = pd.concat([density, measures.reindex(columns=change.columns)])
        return slopes_given_others(change, both, correlation)[:, 0]

    def design(self, covariates="study", head_size="none"):
        """The model of the slopes."""
        n, model = len(self.inputs.change), self.inputs.model
        if not self.study.arms:
            return Design(np.ones(n), np.empty((n, 0)))
        named = model["covariates"] if covariates == "study" else None
        held = [nuisance_columns(n, named, model["strata"])]
        held += [self.head_size.to_numpy()[:, None] - self.head_size.mean()] * (head_size != "none")
        active = (self.inputs.arm.loc[self.inputs.change.index] == "active").to_numpy(float)
        return Design(active, np.hstack(held))

    def errors(self, errors="unequal"):
        """Kind of errors: of a mean there is one variance."""
        return errors if self.study.arms else "equal"


def _with_combined(maps, about):
    """Maps of a receptor and, where there are several, their weighted mean."""
    if len(maps) < 2 or about.loc[maps.index, "n_subjects"].isna().any():
        return maps
    mean = combine(maps, about.loc[maps.index])[0].iloc[[0]]
    return pd.concat([maps, mean.set_axis([COMBINED])])


def _offers(choice):
    """What the study has of each decision: see `offered`."""
    study, (_, maps, anatomy) = choice.study, choice.atlases[choice.own]
    brought = GIVEN if choice.brought else {}
    tracers = [choice.annotation, *maps["valid"].index.drop(choice.annotation)]
    other_atlases = {k: v if isinstance(v, str) else "" for k, v in choice.atlases.items()}
    one_arm = {} if study.arms else "there is no control arm"
    size, labels = choice.head_size, choice.inputs.change.columns
    same = maps["valid"][labels].equals(maps["all"].loc[maps["valid"].index, labels])
    held = choice.inputs.model["covariates"] is not None
    structures = choice.inputs.parcels.table.loc[labels, "structure"]
    return {
        "smoothing": brought,
        "mask": brought,
        "atlas": other_atlases,
        "head_size": one_arm or (size if isinstance(size, str) else {}),
        "covariates": one_arm or ({} if held else "the study names no covariates"),
        "errors": one_arm,
        "tracer": dict.fromkeys(tracers, ""),
        "tracer_regions": "these tracers measure it in every region" if same else {},
        "anatomy": {} if len(anatomy) else "regions do not differ in anatomy",
        "region": dict.fromkeys(["all", *choice.inputs.regions[labels]], ""),
        "structure": {
            part: "" if structures.eq(part).any() else "no region of the atlas is there"
            for part in ("all", "cortex", "subcortex")
        },
    }


def _modelled(choice, rows, outcomes, flips, n_jobs):
    """Estimates of all analyses, with intervals and p, and the draws of each."""
    parts, places = [], []
    for (covariates, head_size, errors), own in rows.groupby(OF_MODEL, sort=False):
        y = np.column_stack([outcomes[key] for key in own[OF_OUTCOME].itertuples(index=False)])
        kept = own["label"].eq(ARBITRARY).to_numpy()
        parts.append((choice.design(covariates, head_size), y, choice.errors(errors), kept))
        places.append(own.index)
    work = choice.study.work("specifications", n_jobs)
    found = blocks.told("slopes", modelled, parts, flips, **work)
    table = pd.concat([one.set_axis(at) for (one, _), at in zip(found, places, strict=True)])
    arbitrary = [at[part[-1]] for part, at in zip(parts, places, strict=True)]
    order = np.argsort(np.concatenate(arbitrary), kind="stable")
    return rows.join(table), np.hstack([drawn for _, drawn in found])[:, order]


def modelled(part, flips):
    """Estimate, interval and p of outcomes (n, m), and the draws of those that are kept."""
    design, y, errors, kept = part
    draws = flipped(design, y, flips, errors)
    table = pd.DataFrame(limits(*estimates(design, y, errors))).assign(p=p_of(draws)[0])
    return table, draws[:, kept]


def _apart(choice, decisions, flips, seed):
    """Analyses that are made one at a time: regions left out, structures, spatial nulls."""
    inputs, name = choice.inputs, choice.annotation
    density = choice.atlases[choice.own][1]["valid"].loc[[name], inputs.change.columns]
    slopes, notes = {}, []
    for label, region in inputs.regions[inputs.change.columns].items():
        some = inputs.change.columns.drop(label)
        slopes["region", region] = patient_slopes(inputs.change[some], density[some])[:, 0]
    asked = decisions[decisions["lacking"].eq("")].set_index("decision")["option"]
    for part in asked[["structure"]][1:]:
        try:
            within = inputs.within(part)
            slopes["structure", part] = patient_slopes(within.change, within.maps.loc[[name]])[:, 0]
        except (ValueError, KeyError):
            notes.append(f"{part}: too few regions where this tracer holds")
    part = (choice.design(), np.column_stack([*slopes.values()]), choice.errors(), [])
    asked = pd.DataFrame(list(slopes), columns=["decision", "option"])
    table = asked.join(modelled(part, flips)[0])
    return pd.concat([table, _spatial(choice, len(flips), seed)], ignore_index=True), notes


def _spatial(choice, n, seed):
    """p among equally smooth maps, by kind of surrogate; the estimate is the default one."""
    inputs, name = choice.inputs, choice.annotation
    effect = inputs.effect_maps()[choice.study.main].to_numpy()
    apart = inputs.mirrored("centroid")[0]
    density = inputs.maps.loc[[name]]
    y = patient_slopes(inputs.change, density)
    row = limits(*estimates(choice.design(), y, choice.errors()))
    drawn = {null: make(effect, apart, n, seed) for null, make in SURROGATES.items()}
    p = [spatial_test(effect, density, maps).p[0] for maps in drawn.values()]
    rows = pd.DataFrame({"decision": "null", "option": list(drawn), "p": p})
    return rows.assign(**{k: v[0] for k, v in row.items()})


def region_changes(study, atlases, wanted, n_jobs=1) -> dict:
    """Change of each region, percent, from smoothed maps: each map is smoothed once per width.

    ``atlases`` by name; ``wanted`` holds (smoothing, mask, atlas) as texts: FWHM in mm, and the
    density that the mean of all smoothed maps must exceed (0: every voxel). Participants by labels.
    """
    people = read_scans(study).analysed
    pairs = list(people[["pre", "post"]].itertuples(index=False, name=None))
    parts = [pairs[k : k + BLOCK] for k in range(0, len(pairs), BLOCK)]
    work = study.work("specifications", n_jobs) | {"keep": None}  # parts name files that may change
    found = blocks.told("maps", _parcelled, parts, _places(pairs, atlases, wanted), **work)
    index = pd.Index(people["participant_id"])
    return {
        key: pd.DataFrame(
            np.concatenate([one[key] for one in found]), index, grey_matter_labels(atlases[key[2]])
        )
        for key in wanted
    }


def _places(pairs, atlases, wanted):
    """Voxels of any region, and the region of each of them (-1: none) for all that is wanted.

    Last, the number of regions by atlas.
    """
    first, paths = load_map(pairs[0][0]), [path for pair in pairs for path in pair]
    mean = sum(load_map(path).get_fdata(dtype=np.float32) / len(paths) for path in paths)
    mean, regions = nib.Nifti1Image(mean, first.affine), {}
    for name, parcels in atlases.items():
        labels = labels_on_grid(parcels, first.shape, first.affine).ravel()
        regions[name] = grey_matter_labels(parcels).get_indexer(labels).astype(np.int16)
    inside = np.flatnonzero(np.max([*regions.values()], axis=0) >= 0)
    means = {s: _smoothed(mean, s)[inside] for s in dict.fromkeys(s for s, *_ in wanted)}
    places = {
        (s, mask, name): np.where(
            (mask == "0") | (means[s] > float(mask)), regions[name][inside], -1
        )
        for s, mask, name in wanted
    }
    return inside, places, {name: len(grey_matter_labels(p)) for name, p in atlases.items()}


def _smoothed(image, fwhm):
    return smooth_img(image, float(fwhm) or None).get_fdata(dtype=np.float32).ravel()


def _parcelled(pairs, shared):
    """Change (n_pairs, n_regions) for each of what is wanted."""
    (inside, places, n), found = shared, {key: [] for key in shared[1]}
    for paths in pairs:
        images = [load_map(path) for path in paths]
        for smoothing in dict.fromkeys(s for s, *_ in places):
            maps = [_smoothed(image, smoothing)[inside] for image in images]
            for key in (key for key in places if key[0] == smoothing):
                size = n[key[2]]
                both = [np.bincount(places[key] + 1, v, size + 1)[None, 1:] for v in maps]
                found[key].append(parcel_change(*both, range(size)))
    return {key: np.concatenate(rows) for key, rows in found.items()}
