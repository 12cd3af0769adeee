"""The receptor maps of a study, by region."""

import pandas as pd

from analysis_lib.receptors.densities import means_and_facts
from analysis_lib.receptors.tables import bundled
from analysis_lib.results.problems import StudyError
from analysis_lib.study.catalogue import COLUMNS, library, missing, resolve
from analysis_lib.study.receptor_files import files_for, local_files, local_maps

NOT_GIVEN = "not given"
JOINED = ("age", "reference", "licence", "space", "res", "citation")  # texts of several maps
OTHER = "other"
SYSTEMS = {  # transmitter systems, and the receptors and transporters of each
    "dopamine": "D1 D2 DAT",
    "serotonin": "5-HT1A 5-HT1B 5-HT2A 5-HT4 5-HT6 5-HTT",
    "noradrenaline": "NET",
    "GABA": "GABAA GABAA-alpha5",
    "opioid": "MOR KOR",
    "acetylcholine": "VAChT M1 a4b2",
    "glutamate": "mGluR5 NMDA",
    "endocannabinoid": "CB1",
    "histamine": "H3",
}


def systems(receptors):
    """Transmitter system of each of a Series of receptors, categories in the order of `SYSTEMS`."""
    of = {name: system for system, names in SYSTEMS.items() for name in names.split()}
    return receptors.map(of).fillna(OTHER).astype(pd.CategoricalDtype([*SYSTEMS, OTHER]))


def _local_table(entries):
    """Rows of maps of one's own, in the columns of `library`."""
    known = {"space": "MNI152", "res": NOT_GIVEN, "default": False, "note": ""}
    rows = []
    for entry in entries:
        said = {key: value for key, value in entry.model_dump().items() if value is not None}
        texts = dict.fromkeys(("tracer", "age", "reference", "licence", "md5"), NOT_GIVEN)
        row = {**known, **texts, "n_subjects": pd.NA, **said}
        rows.append({**row, "citation": row["reference"]})
    index = pd.Index([entry.annotation for entry in entries], name="annotation")
    return pd.DataFrame(rows, index=index, columns=list(COLUMNS)).astype({"n_subjects": "Int64"})


def maps_for(study, atlas, labels, background="drop", cache=None):
    """Region means of the receptor maps that a study asks for, and the table about them.

    Published maps come from the cache or, where it lacks them, from the tables of the repository; a
    study's own from the files that it names. The table has the columns of `library` and of
    `means_and_facts`, and `densities`: "volumes" or "bundled". A map of the study's own has the
    annotation "local/<name>", and what it does not say is "not given". A `StudyError` says what
    cannot be had, or that a map of the study's own has no values in any region.
    """
    tabled, known = bundled(atlas.name, background, missing(study.receptors, cache), labels)
    parts = [(tabled, known.assign(densities="bundled"))] if len(tabled) else []
    if files := files_for(study, cache, known=tabled.index):
        means, facts = means_and_facts(files, atlas, labels, background)
        parts.append((means, facts.assign(densities="volumes")))
    maps, facts = (
        pd.concat(part).loc[resolve(study.receptors)] for part in zip(*parts, strict=True)
    )
    if empty := [name for name in local_files(study) if maps.loc[name].isna().all()]:
        place, remedy = f"{study.path.name}: receptors", "Is the file in MNI152 space?"
        text = "has values in none of the regions"
        raise StudyError([f"{place}: {name} {text}. {remedy}" for name in empty])
    about = pd.concat([library(), *([_local_table(own)] if (own := local_maps(study)) else [])])
    return maps, about.loc[maps.index].join(facts)


def uncovered(receptors):
    """Labels of regions that each receptor map does not cover, by the name of such a map."""
    gaps = receptors.isna()
    return {name: gaps.columns[row].tolist() for name, row in gaps.iterrows() if row.any()}


def combine(maps, about):
    """One map per receptor: the mean of the z-scores of its maps, weighted by numbers of people.

    Each map is z-scored over the regions that it covers (population SD), since tracers are measured
    on different scales, then averaged with the number of people behind it as its weight. That is
    what the code of Hansen et al. (2022, Nature Neuroscience 25:1569-1581, make_receptor_matrix.py)
    does for 5-HT1B (P943), D2 (FLB457) and mGluR5 (ABP688), and for VAChT (FEOBV) but for two
    weights that it leaves out. They combine maps of one and the same tracer and take a single map
    where tracers differ; here all maps of a receptor are combined, and `tracer` and `note` say
    which, with what weight.

    ``maps`` and ``about`` are as `maps_for` gives them. Receptors come in the order in which they
    first occur, one with one map as it is. A region that one of several maps does not cover is NaN
    (`uncovered` names it): a mean of the others would mix differently made values in one map. Of
    several maps the annotation is "combined/<receptor>", `n_subjects` their sum, texts are joined,
    and what belongs to one file is empty. A map whose number of people is unknown, or that is the
    same everywhere, cannot be combined.
    """
    means, rows = {}, {}
    for receptor, group in about.groupby("receptor", sort=False):
        name, own = group.index[0], maps.loc[group.index]
        if len(group) == 1:
            means[name], rows[name] = own.iloc[0], group.iloc[0]
            continue
        name, weights = f"combined/{receptor}", _weights(receptor, group["n_subjects"])
        means[name] = _z_scores(own).mul(weights, axis=0).sum(skipna=False)
        rows[name] = _combined_row(group, weights)
    combined = pd.DataFrame(means).T.rename_axis(index=maps.index.name, columns=maps.columns.name)
    table = pd.DataFrame([dict(row) for row in rows.values()], columns=list(about))
    table.index = combined.index
    return combined, table.astype(about.dtypes.to_dict())


def _weights(receptor, n_subjects):
    unknown = n_subjects.index[n_subjects.isna()]
    if len(unknown):
        raise ValueError(
            f"{receptor}: {', '.join(unknown)} cannot be weighted: the number of people is not "
            "known. Give n_subjects in the study file."
        )
    return n_subjects.astype(float) / n_subjects.sum()


def _z_scores(maps):
    spread = maps.std(axis=1, ddof=0)
    flat = maps.index[~(spread > 0)]
    if len(flat):
        raise ValueError(f"{', '.join(flat)}: the same value in every region: no z-scores.")
    return maps.sub(maps.mean(axis=1), axis=0).div(spread, axis=0)


def _combined_row(group, weights):
    """A row of the table about the maps: texts joined, what belongs to one file left out."""
    shares = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
    notes = [f"mean of z-scores, weights by number of people: {shares}", *group["note"].unique()]
    tracers = zip(group["tracer"], weights, strict=True)
    row = dict.fromkeys(group.columns) | {
        "receptor": group["receptor"].iloc[0],
        "tracer": ", ".join(f"{tracer} {weight:.2f}" for tracer, weight in tracers),
        "n_subjects": group["n_subjects"].sum(),
        "note": "; ".join(filter(None, notes)),
    }
    row |= {name: "; ".join(group[name].unique()) for name in JOINED if name in group}
    return row | {name: group[name].all() for name in group if name == "default"}
