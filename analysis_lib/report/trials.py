"""The trials of the gallery side by side: what each one's results say of the three questions."""

import pandas as pd

from analysis_lib.results.contrasts import ACTIVE_CHANGE, CHANGE
from analysis_lib.results.section import Section
from analysis_lib.study.contract import STUDIES, load_study

SHOWN = "amygdala|hippocampus|putamen|anterior cingulate"  # regions that trials are compared in


def side_by_side(trial) -> dict:
    """Results of every study in data/studies that has any, and of ``trial``.

    Parameters
    ----------
    trial : Study

    Returns
    -------
    dict of pandas.DataFrame
        Those that any study has. symptoms: the primary scale's difference between the arms, or
        change without a control arm; regions: change by arm in a few regions; receptors: r of each
        receptor map with the main effect. Every row has study, title and data ("real" or
        "simulated"). Results of quick runs are left out.
    """
    names = sorted(path.stem for path in STUDIES.glob("*.yml"))
    others = (load_study(name, trial.place.output) for name in names if name != trial.name)
    studies = [trial, *(study for study in others if study.derived.is_dir())]
    parts = {"symptoms": _symptoms, "regions": _regions, "receptors": _receptors}
    found = {name: [(study, part(study)) for study in studies] for name, part in parts.items()}
    return {name: _joined(rows) for name, rows in found.items() if any(len(r) for _, r in rows)}


def _joined(parts):
    """The rows of all trials, each of which says whose it is."""
    rows = [(study, table) for study, table in parts if len(table)]
    keys = [(s.name, s.title, "simulated" if s.simulated else "real") for s, _ in rows]
    joined = pd.concat([table for _, table in rows], keys=keys, names=["study", "title", "data"])
    return joined.reset_index(["study", "title", "data"]).reset_index(drop=True)


def _symptoms(study):
    """One row: of the primary scale at the last visit, in points and in SD (Hedges g)."""
    results = Section(study, "clinical")
    table = "mmrm_contrasts" if study.arms else "change"
    if study.effect or results.quick or not results.has(table):
        return pd.DataFrame()
    scale, visit = study.primary_scale, study.final_visit
    rows = results.table(table)
    rows = rows[rows["scale"].eq(scale.name) & rows["visit"].eq(visit)]
    if study.arms:
        rows = rows.assign(design="arms compared", n=rows["rated_active"] + rows["rated_control"])
    else:
        size = rows["hedges_g"] / rows["mean"]
        limits = {f"g_{side}": rows[side] * size for side in ("ci_low", "ci_high")}
        rows = rows.rename(columns={"mean": "estimate"}).assign(design="one arm", **limits)
    values = ["n", "estimate", "ci_low", "ci_high", "p", "hedges_g", "g_ci_low", "g_ci_high"]
    return rows[["design", "scale", "visit", *values]]


def _regions(study):
    results = Section(study, "vbm")
    if results.quick or not results.has("region_means"):
        return pd.DataFrame()
    rows = results.table("region_means")
    rows = rows.assign(structure=rows["region"].str.lower().str.extract(f"({SHOWN})"))
    rows = rows.dropna(subset="structure")
    return rows.assign(arm=rows["arm"].astype(str).map(study.arm_names))


def _receptors(study):
    """Correlations with the change where treatment was given, or with the one map."""
    results = Section(study, "receptors")
    if results.quick or not results.has("correlations"):
        return pd.DataFrame()
    rows = results.table("correlations")
    within = {ACTIVE_CHANGE, CHANGE, *([study.main] if study.effect else [])}
    columns = ["receptor", "annotation", "n_parcels", "r", "ci_low", "ci_high", "p_fwe_spatial"]
    return rows.loc[rows["contrast"].isin(within), [*columns, "p_fwe_spatial_anatomy"]]
