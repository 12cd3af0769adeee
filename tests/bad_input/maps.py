"""Spoilt maps of one's own: receptor densities, an effect, and atlases."""

import functools

import nibabel as nib
import numpy as np

from analysis_lib.atlas.grids import labels_on_grid, region_names
from analysis_lib.atlas.parcellation import load_atlas
from bad_input.frame import Case
from bad_input.images import OF_MAPS, flipped, other, scanned

AFFINE = nib.affines.from_matvec(np.diag([6.0, 6, 6]), [-90, -126, -72])  # symmetric about x = 0
SHAPE = (31, 37, 31)
FLAT = other(srow_z=0)


def moved(*mm):
    return nib.affines.from_matvec(AFFINE[:3, :3], AFFINE[:3, 3] + mm)


@functools.cache
def labels():
    """Grey matter of the packaged atlas, by label, 0 elsewhere."""
    atlas = load_atlas()
    found = labels_on_grid(atlas, SHAPE, AFFINE)
    return np.where(np.isin(found, region_names(atlas).index), found, 0).astype(np.int16)


@functools.cache
def density():
    """A density that differs from region to region, noisy, 0 outside grey matter."""
    rng = np.random.default_rng(5)
    level = rng.gamma(2, size=labels().max() + 1) + 0.2
    level[0] = 0
    return (level[labels()] * rng.uniform(0.05, 1, SHAPE)).astype(np.float32)


def save(path, data, affine=AFFINE, spoil=None, codes=True):
    image = nib.Nifti1Image(data, affine if np.isfinite(affine).all() else AFFINE)
    if not codes:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nib.save(image, path)
    if spoil:
        path.write_bytes(spoil(path.read_bytes()))


def receptor(function=np.copy, affine=AFFINE, **more):
    """The trial with a receptor map of its own."""

    def spoil(trial):
        save(trial.folder / "mine.nii.gz", function(density()), affine, **more)
        trial.content["receptors"] = [{"receptor": "D2", "file": "mine.nii.gz"}]
        trial.numbers = OF_MAPS

    return spoil


def effect(function=np.copy, affine=AFFINE, **more):
    """One map and no participants: an effect of either sign in grey matter."""

    def spoil(trial):
        data = (density() - density().mean()) * (labels() > 0)
        save(trial.folder / "t.nii.gz", function(data), affine, **more)
        of_map(trial, file="t.nii.gz")

    return spoil


def of_map(trial, **given):
    trial.content = {"name": "tiny", "title": "One map", "effect": {"kind": "t", **given}}


def table(function):
    """One map as a table of region values, in the rows that a function makes of sound ones."""

    def spoil(trial):
        names = region_names(load_atlas())
        rows = [f"{name}\t{k % 7 - 3 + k / 100:.2f}" for k, name in enumerate(names)]
        text = "\n".join(function(["region\tvalue", *rows]))
        (trial.folder / "t.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
        of_map(trial, file="t.tsv")

    return spoil


def atlas(function=np.copy, affine=AFFINE, rows=None, spoil=None, **content):
    """The trial with maps and an atlas of its own, and what its table says."""

    def change(trial):
        scanned(trial)
        save(trial.folder / "atlas.nii.gz", function(labels()), affine, spoil)
        if rows is not None:
            text = rows if isinstance(rows, bytes) else "\n".join(rows).encode()
            (trial.folder / "atlas.tsv").write_bytes(text)
        trial.content |= {"atlas": "atlas.nii.gz", "regions": []} | content

    return change


def named(known=load_atlas):
    """Rows of the packaged atlas's grey matter, as a table of one's own."""
    rows = known().table.loc[region_names(known()).index]
    columns = ["name", "region", "hemisphere", "tissue", "structure"]
    return ["\t".join(["label", *columns])] + [
        "\t".join([str(label), *row[columns]]) for label, row in rows.iterrows()
    ]


def exchanged(rows):
    swap = {"left": "right", "right": "left"}
    return ["\t".join(swap.get(cell, cell) for cell in row.split("\t")) for row in rows]


def shared(data):
    """Both sides of each region under the number of the left one."""
    table = load_atlas().table
    lookup = np.arange(data.max() + 1)
    for _, rows in table.groupby("region"):
        lookup[[label for label in rows.index if label < len(lookup)]] = rows.index.min()
    return lookup[data].astype(np.int16)


def some(values, share):
    """The highest share of the values that are not 0, the others 0."""
    return np.where(values >= np.quantile(values[values > 0], 1 - share), values, 0)


def left_only(values):
    return np.where(np.arange(len(values))[:, None, None] < 15, values, 0)


def surface(trial):
    scanned(trial)
    (trial.folder / "lh.aparc.gii").write_text("")
    trial.content["atlas"] = "lh.aparc.gii"


MINE = "mine.nii.gz"
RECEPTORS = [
    Case("a sound receptor map", receptor(), severity="accepted"),
    Case(
        "a receptor map of four dimensions", receptor(lambda d: d[..., None]), severity="accepted"
    ),
    Case("a background below 0", receptor(lambda d: d - 0.003), severity="accepted"),
    Case("NaN around it", receptor(lambda d: np.where(d > 0, d, np.nan)), severity="accepted"),
    Case(
        "a receptor map cut in half", receptor(spoil=lambda b: b[: len(b) // 2]), (MINE, "damaged")
    ),
    Case("a receptor map without its end", receptor(spoil=lambda b: b[:-4]), (MINE, "damaged")),
    Case(
        "a flipped bit of a receptor map",
        receptor(spoil=lambda b: flipped(b, 99_999)),
        (MINE, "damaged"),
    ),
    Case("a text for a receptor map", receptor(spoil=lambda b: b"text"), (MINE, "readable NIfTI")),
    Case(
        "a receptor map in an identity affine", receptor(affine=np.eye(4)), (MINE, "place in MNI")
    ),
    Case("a receptor map without a place", receptor(codes=False), (MINE, "place in MNI")),
    Case("a flat receptor map", receptor(spoil=FLAT), (MINE, "affine")),
    Case("a receptor map of zeros", receptor(np.zeros_like), (MINE, "everywhere")),
    Case("a receptor map of NaN", receptor(lambda d: d * np.nan), (MINE, "not one finite value")),
    Case("zeros and ones", receptor(lambda d: (d > 1).astype("f4")), (MINE, "0 and 1 alone")),
    Case("two volumes of receptors", receptor(lambda d: np.stack([d, d], -1)), (MINE, "shape")),
    Case("a negated receptor map", receptor(np.negative), (MINE, "below it", "sign")),
    Case(
        "a thresholded receptor map",
        receptor(lambda d: some(d, 0.5)),
        (MINE, "thresholded"),
        "warned",
    ),
    Case("a receptor map of one side", receptor(left_only), (MINE, "of one side"), "warned"),
    Case("a mirrored receptor map", receptor(lambda d: d[::-1]), (MINE, "the reverse"), "warned"),
    Case(
        "a receptor map 10 mm off", receptor(affine=moved(0, 10, 0)), (MINE, "9 x 0 mm"), "warned"
    ),
    Case("a receptor map 60 mm off", receptor(affine=moved(60, 0, 0)), (MINE, "MNI152"), "warned"),
    Case("a receptor map elsewhere", receptor(affine=moved(0, 0, 900)), (MINE, "none", "MNI152")),
]
EFFECTS = [
    Case("a sound effect", effect(), severity="accepted"),
    Case("a damaged effect", effect(spoil=lambda b: b[:-9]), ("t.nii.gz", "damaged")),
    Case("an effect in an identity affine", effect(affine=np.eye(4)), ("t.nii.gz", "place in MNI")),
    Case("an effect of zeros", effect(np.zeros_like), ("t.nii.gz", "everywhere")),
    Case("an effect of NaN", effect(lambda d: d * np.nan), ("t.nii.gz", "not one finite value")),
    Case(
        "a binary effect", effect(lambda d: (d > 0.2).astype("f4")), ("t.nii.gz", "0 and 1 alone")
    ),
    Case("two effects", effect(lambda d: np.stack([d, d], -1)), ("t.nii.gz", "shape")),
    Case("clusters alone", effect(lambda d: some(d, 0.2)), ("t.nii.gz", "thresholded"), "warned"),
    Case("an effect 10 mm off", effect(affine=moved(0, 0, 10)), ("t.nii.gz", "MNI152"), "warned"),
    Case("an effect elsewhere", effect(affine=moved(0, 0, 900)), ("t.nii.gz", "regions")),
    Case(
        "an effect on a surface",
        lambda t: of_map(t, file="lh.func.gii"),
        ("lh.func.gii", "surface"),
    ),
    Case("an effect that is not there", lambda t: of_map(t, file="no.nii"), ("tiny.yml", "no.nii")),
    Case("a sound table", table(list), severity="accepted"),
    Case("a table of two regions", table(lambda r: r[:3]), ("t.tsv", "regions")),
    Case("a region twice", table(lambda r: [*r, r[1]]), ("t.tsv", "regions")),
    Case(
        "values that are words",
        table(lambda r: [x.replace(".", ",") for x in r]),
        ("t.tsv", "finite numbers"),
    ),
    Case(
        "one value for all",
        table(lambda r: [r[0], *(x.split("\t")[0] + "\t1" for x in r[1:])]),
        ("10 different values", "1"),
    ),
    Case(
        "an infinite value",
        table(lambda r: [*r[:-1], r[-1].split("\t")[0] + "\tinf"]),
        ("t.tsv", "finite"),
    ),
    Case("no table", table(lambda r: []), ("t.tsv", "table")),
    Case(
        "a table of other columns", table(lambda r: ["area\tt", *r[1:]]), ("t.tsv", "region, value")
    ),
]
ATLASES = [
    Case("a sound atlas", atlas(rows=named()), severity="accepted"),
    Case("an atlas without a table", atlas(), ("split at x = 0",), "warned"),
    Case("labels of floats", atlas(lambda d: d.astype("f4"), rows=named()), severity="accepted"),
    Case("labels far apart", atlas(lambda d: 37 * d.astype("i4")), ("split at x",), "warned"),
    Case("labels between two", atlas(lambda d: d + 0.5), ("atlas", "whole numbers")),
    Case("negative labels", atlas(np.negative), ("atlas", "whole numbers")),
    Case("labels of both sides", atlas(shared), ("split at x = 0",), "warned"),
    Case("an atlas of the left", atlas(left_only), severity="accepted"),
    Case("rows of labels without voxels", atlas(left_only, rows=named()), severity="accepted"),
    Case("an atlas of zeros", atlas(np.zeros_like), ("atlas", "0 in every voxel")),
    Case("a mask for an atlas", atlas(lambda d: (d > 0).astype("i2")), ("atlas", "10 regions")),
    Case("an atlas of two volumes", atlas(lambda d: np.stack([d, d], -1)), ("atlas", "shape")),
    Case("an atlas cut in half", atlas(spoil=lambda b: b[: len(b) // 2]), ("atlas", "damaged")),
    Case(
        "a flipped bit of an atlas", atlas(spoil=lambda b: flipped(b, 20_003)), ("atlas", "damaged")
    ),
    Case("an atlas in an identity affine", atlas(affine=np.eye(4)), ("atlas", "place in MNI")),
    Case("a flat atlas", atlas(spoil=FLAT), ("atlas", "affine")),
    Case("an atlas 10 mm off", atlas(affine=moved(0, 10, 0)), ("atlas", "9 x 0 mm"), "warned"),
    Case("a piece 10 mm off", atlas(left_only, moved(0, 10, 0)), ("atlas", "MNI152"), "warned"),
    Case("an atlas 60 mm off", atlas(affine=moved(60, 0, 0)), ("atlas", "MNI152"), "warned"),
    Case("a mirrored atlas", atlas(lambda d: d[::-1], rows=named()), ("atlas", "mirrored")),
    Case("sides exchanged in the table", atlas(rows=exchanged(named())), ("atlas", "mirrored")),
    Case("a table that lacks labels", atlas(rows=named()[:50]), ("atlas", "does not name")),
    Case("a table in Latin-1", atlas(rows=b"label\tname\n1\tn\xfacleo\n"), ("atlas", "UTF-8")),
    Case("an empty table", atlas(rows=b""), ("atlas", "table")),
    Case(
        "a table of other names", atlas(rows=["number\tname", "1\ta"]), ("atlas", "label and name")
    ),
    Case("regions of another atlas", atlas(regions=["left hippocampus"]), ("regions", "nearest")),
    Case("an atlas on a surface", surface, ("atlas", "surface")),
]


CASES = [*RECEPTORS, *EFFECTS, *ATLASES]
