"""Regional densities of the receptor maps, as the repository holds them in ``data/receptors``.

Numbers by region stand in for volumes that the cache lacks, on the atlases listed here.
``python -m analysis_lib.receptors.tables`` makes them anew from the volumes.
"""

import pandas as pd

from analysis_lib.atlas import grids
from analysis_lib.atlas.parcellation import load_atlas
from analysis_lib.atlas.region_table import folded
from analysis_lib.receptors.densities import means_and_facts
from analysis_lib.results.environment import PROJECT
from analysis_lib.study.catalogue import library, locate, resolve

FOLDER = PROJECT / "data" / "receptors"
ATLASES = ("neuromorphometrics", "aal", "schaefer100_tian_s1", "dkt31_aseg", "dkt31_aseg_both")
ENDINGS = {"drop": "", "keep": "_background_kept"}  # background of the maps: see parcel_means
DIGITS = 9  # significant ones; a rounded density keeps its rank
ABOUT = ["receptor", "tracer", "n_subjects", "age", "reference", "licence", "md5", "citation"]


def table_path(atlas, background="drop", folder=FOLDER):
    """Where the densities on an atlas lie."""
    return folder / f"{atlas}{ENDINGS[background]}.tsv"


def bundled(atlas, background, annotations, labels):
    """Densities (annotations by labels) from the tables, and facts about the files behind them.

    A map or an atlas that has no table has no row.
    """
    path = table_path(atlas, background)
    if atlas not in ATLASES or not path.is_file():
        return pd.DataFrame(columns=labels), pd.DataFrame()
    maps = pd.read_csv(path, sep="\t", index_col="label").drop(columns="region").T
    held = [name for name in annotations if name in maps.index]
    maps = maps.loc[held].reindex(columns=labels).astype(float)
    options = {"sep": "\t", "index_col": "annotation", "dtype": {"voxel_mm": str}}
    about = pd.read_csv(FOLDER / "maps.tsv", **options).loc[held]
    facts = about.drop(columns=ABOUT).astype({"n_volumes": "Int64"})
    return maps.rename_axis(index="annotation", columns="label"), facts


def make_tables(folder=FOLDER, cache=None, atlases=ATLASES):
    """Write all tables from the volumes in the cache: densities by atlas, facts in ``maps.tsv``."""
    files = {name: locate(name, cache) for name in resolve("default")}
    options = {"sep": "\t", "float_format": f"%.{DIGITS}g", "lineterminator": "\n", "na_rep": "n/a"}
    for name in atlases:
        atlas = load_atlas(name.removesuffix("_both"))
        atlas = folded(atlas) if name.endswith("_both") else atlas  # both sides of a region in one
        names = grids.region_names(atlas)
        for background in ENDINGS:
            maps, facts = means_and_facts(files, atlas, names.index, background)
            table = maps.T.rename_axis(columns=None)
            table.insert(0, "region", names)
            table.to_csv(table_path(atlas.name, background, folder), **options)
    library().loc[facts.index, ABOUT].join(facts).to_csv(folder / "maps.tsv", **options)


if __name__ == "__main__":
    make_tables()
