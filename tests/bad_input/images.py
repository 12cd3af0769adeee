"""Spoilt images: files, headers, values, and maps against one another and the template."""

import functools
import gzip

import nibabel as nib
import numpy as np
from conftest import write_head
from scipy.ndimage import gaussian_filter

from analysis_lib.atlas.template import grey_matter_template
from bad_input.frame import Case

AFFINE = nib.affines.from_matvec(np.diag([8.0, 8, 8]), [-80, -120, -72])
SHAPE = (21, 25, 20)
WHO, VISIT = "sub-02", "week2"
NAME = "sub-02_ses-week2"


def moved(*mm):
    """The affine of an image that lies elsewhere."""
    return nib.affines.from_matvec(AFFINE[:3, :3], AFFINE[:3, 3] + mm)


OF_MAPS, OF_HEADS = ("02", "03"), ("00",)  # notebooks: what concerns no image need not be checked
PLAIN = np.diag([3.0, 3, 3, 1])


def scanned(trial):
    """The trial with small random maps, for the notebooks of images."""
    trial.numbers = OF_MAPS
    return trial.scan()


# --- one file of the small trial


def file(change):
    """One map's bytes as a function makes them."""

    def spoil(trial):
        path = scanned(trial).map_path(WHO, VISIT)
        path.write_bytes(change(path.read_bytes()))

    return spoil


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def other(**fields):
    """A function that gives a packed image other fields in its header."""

    def change(packed):
        content = bytearray(gzip.decompress(packed))
        dtype = nib.Nifti1Header.template_dtype
        about = np.frombuffer(content, dtype, 1).copy()
        for name, value in fields.items():
            about[name] = value
        content[: dtype.itemsize] = about.tobytes()
        return gzip.compress(bytes(content))

    return change


def header(**fields):
    """One map's header with other fields, as a damaged file or another program has it."""
    return file(other(**fields))


def values(change, affine=PLAIN, everywhere=False):
    """One map, or all, with other values or another affine."""

    def spoil(trial):
        scanned(trial)
        people = trial.participants["participant_id"] if everywhere else [WHO]
        for who in people:
            for visit in ("baseline", "week2") if everywhere else [VISIT]:
                path = trial.map_path(who, visit)
                data = np.asarray(nib.load(path).dataobj)
                nib.save(nib.Nifti1Image(change(data), affine), path)

    return spoil


def one_voxel(value):
    def change(data):
        data[0, 0, 0] = value
        return data

    return values(change)


# --- maps that resemble the template


@functools.cache
def template():
    image = grey_matter_template(1)
    start = np.rint(AFFINE[:3, 3] - image.affine[:3, 3]).astype(int)
    smooth = gaussian_filter(image.get_fdata(), 3)
    return smooth[tuple(np.s_[s : s + 8 * n : 8] for s, n in zip(start, SHAPE, strict=True))]


def brains(people, visits):
    """Grey matter by participant and visit: the template, times their own."""
    rng, maps = np.random.default_rng(0), {}
    for who in people:
        size = rng.normal(0.7, 0.07)
        own = size * template() * (1 + gaussian_filter(rng.normal(0, 1, SHAPE), 1))
        for visit in visits:
            maps[who, visit] = (own * (1 + rng.normal(0, 0.01, SHAPE))).clip(0)
    return maps


def brain(change=None, affine=AFFINE, dtype=np.float32):
    """The trial with a brain for each map, some changed in place by a function of all of them."""

    def spoil(trial):
        maps = brains(scanned(trial).participants["participant_id"], ("baseline", "week2"))
        if change:
            change(maps)
        for key, data in maps.items():
            image = nib.Nifti1Image(data.astype(np.float32), affine)
            image.set_data_dtype(dtype)
            nib.save(image, trial.map_path(*key))

    return spoil


def exchange(*keys):
    def change(maps):
        maps[keys[0]], maps[keys[1]] = maps[keys[1]], maps[keys[0]]

    return brain(change)


def each(function, who=None, visit=None):
    """Maps of one participant or visit, or all, as a function makes them."""

    def change(maps):
        for key in maps:
            if who in (None, key[0]) and visit in (None, key[1]):
                maps[key] = function(maps[key])

    return brain(change)


def copied(source, rounded=0.0):
    """One participant's second map is another one, but for rounding."""

    def change(maps):
        data = maps[source].copy()
        maps[WHO, VISIT] = np.round(data / rounded) * rounded if rounded else data

    return brain(change)


def unlike(data):
    return np.roll(data, 1, axis=0) * np.random.default_rng(5).uniform(0.5, 1.5, SHAPE)


# --- T1-weighted images


def heads(change=None):
    """A trial with T1-weighted images, the second of sub-02 changed or made by a function."""

    def spoil(trial):
        sessions = {"pre": "baseline", "post": "week2"}
        trial.content["imaging"], trial.numbers = {"sessions": sessions}, OF_HEADS
        for who in trial.participants["participant_id"]:
            for visit in sessions.values():
                write_head(trial.root / f"{who}/ses-{visit}/anat/{who}_ses-{visit}_T1w.nii.gz")
        if change:
            path = trial.root / f"{WHO}/ses-{VISIT}/anat/{NAME}_T1w.nii.gz"
            path.write_bytes(change(path.read_bytes()))

    return spoil


def head(function, voxel=3.0):
    """The same with other values in that image."""

    def change(packed):
        image = nib.Nifti1Image.from_bytes(gzip.decompress(packed))
        data = function(np.asarray(image.dataobj))
        return gzip.compress(nib.Nifti1Image(data, np.diag([voxel, voxel, voxel, 1])).to_bytes())

    return heads(change)


def same_head(trial):
    heads()(trial)
    first, second = (
        trial.root / f"{WHO}/ses-{visit}/anat/{WHO}_ses-{visit}_T1w.nii.gz"
        for visit in ("baseline", VISIT)
    )
    second.write_bytes(first.read_bytes())


FILES = [
    Case("one bit flipped", file(lambda b: flipped(b, 8 * 120 + 3)), (NAME, "damaged", "Copy")),
    Case("the last byte missing", file(lambda b: b[:-1]), (NAME, "damaged")),
    Case("six bytes missing", file(lambda b: b[:-6]), (NAME, "damaged")),
    Case("half a file", file(lambda b: b[: len(b) // 2]), (NAME, "damaged")),
    Case("another checksum", file(lambda b: flipped(b, 8 * (len(b) - 8))), (NAME, "damaged")),
    Case("an empty file", file(lambda b: b""), (NAME, "readable NIfTI")),
    Case("a text", file(lambda b: b"no image"), (NAME, "readable NIfTI")),
    Case("a packed text", file(lambda b: gzip.compress(b"no image")), (NAME, "readable NIfTI")),
    Case("not packed", file(gzip.decompress), (NAME, "readable NIfTI")),
    Case("packed twice", file(gzip.compress), (NAME, "readable NIfTI")),
    Case("garbage behind it", file(lambda b: b + b"garbage"), (NAME, "damaged")),
]
HEADERS = [
    Case("a negative size", header(dim=[3, -4, 5, 6, 1, 1, 1, 1]), (NAME, "readable NIfTI")),
    Case("no voxel", header(dim=[3, 0, 5, 6, 1, 1, 1, 1]), (NAME, "shape")),
    Case("one dimension", header(dim=[1, 120, 1, 1, 1, 1, 1, 1]), (NAME, "shape")),
    Case("larger than the file", header(dim=[3, 9999, 9999, 9999, 1, 1, 1, 1]), (NAME, "readable")),
    Case("an unknown type", header(datatype=3), (NAME, "readable NIfTI")),
    Case("colours", header(datatype=128, bitpix=24), (NAME, "readable NIfTI")),
    Case("an affine of 0", header(srow_x=0, srow_y=0, srow_z=0), (NAME, "affine")),
    Case("an affine of NaN", header(srow_x=np.nan), (NAME, "affine")),
    Case("an infinite affine", header(srow_y=np.inf), (NAME, "affine")),
    Case("a flat affine", header(srow_z=0), (NAME, "affine")),
    Case("no place in space", header(sform_code=0, qform_code=0), (NAME, "place in MNI")),
    Case("an identity affine", values(lambda d: d, np.eye(4)), (NAME, "place in MNI")),
    Case("identity affines", values(lambda d: d, np.eye(4), True), (NAME, "place in MNI")),
    Case("another voxel size", values(lambda d: d, np.diag([2.0, 2, 2, 1])), (NAME, "affine")),
    Case("another shape", values(lambda d: d[:3]), (NAME, "shape")),
    Case("two volumes", values(lambda d: np.stack([d, d], -1)), (NAME, "shape")),
    Case("one volume of four dimensions", values(lambda d: d[..., None]), severity="accepted"),
    Case("axes exchanged", values(lambda d: d, PLAIN[[1, 0, 2, 3]]), (NAME, "shape")),
]
VALUES = [
    Case("constant", values(lambda d: np.full_like(d, 0.5)), (NAME, "same value everywhere: 0.5")),
    Case("all 0", values(np.zeros_like), (NAME, "same value everywhere: 0")),
    Case("all NaN", values(lambda d: d * np.nan), (NAME, "NaN")),
    Case("a mask", values(lambda d: (d > 0.5).astype("f4")), (NAME, "0 and 1 alone")),
    Case("negated", values(np.negative), (NAME, "0 to about 1")),
    Case("percent", values(lambda d: 100 * d), (NAME, "other units")),
    Case("0 to 255", values(lambda d: (255 * d).astype("u1")), (NAME, "other units")),
    Case("one infinite voxel", one_voxel(np.inf), (NAME, "infinite in 1 voxel")),
    Case("one NaN in the brain", one_voxel(np.nan), (NAME, "NaN or infinite in 1 voxel")),
]
BRAINS = [
    Case("sound brains", brain(), severity="accepted"),
    Case("brains in 16 bits", brain(dtype=np.int16), severity="accepted"),
    Case(
        "exchanged participants",
        exchange((WHO, VISIT), ("sub-05", VISIT)),
        (WHO, "sub-05"),
        "warned",
    ),
    Case("a map as before", copied((WHO, "baseline")), ("sub-02_ses-baseline", NAME)),
    Case("a stranger's map", copied(("sub-05", VISIT)), (NAME, "sub-05_ses-week2")),
    Case("a rounded map as before", copied((WHO, "baseline"), 1e-3), ("same values", NAME)),
    Case("mirrored", each(lambda d: d[::-1], WHO, VISIT), (WHO, "mirrored")),
    Case("back to front", each(lambda d: d[:, ::-1], WHO, VISIT), (NAME, "with y reversed")),
    Case("upside down", each(lambda d: d[..., ::-1], WHO, VISIT), (NAME, "with z reversed")),
    Case("all upside down", each(lambda d: d[..., ::-1]), ("with z reversed",)),
    Case(
        "one map moved",
        each(lambda d: np.roll(d, 1, 1), WHO, VISIT),
        (NAME, "mm along y"),
        "warned",
    ),
    Case("all 10 mm off", brain(affine=moved(0, 10, 0)), ("along",), "warned"),
    Case("all 60 mm off", brain(affine=moved(0, 0, 60)), ("MNI space",)),
    Case("no brain", each(lambda d: np.random.default_rng(3).permuted(d)), ("r = ",), "warned"),
    Case("times 1.3 after", each(lambda d: 1.3 * d, WHO, VISIT), (WHO, "at most 8%"), "warned"),
    Case("a tenth less after", each(lambda d: 0.9 * d, WHO, VISIT), (WHO, "at most 8%"), "warned"),
    Case("a twentieth more", each(lambda d: 1.04 * d, WHO, VISIT), severity="accepted"),
    Case("twice the volume", each(lambda d: 2 * d), ("300 to 1000 ml",), "warned"),
    Case(
        "unmodulated",
        each(lambda d: 0.7 * d / d.sum() * template().sum()),
        ("modulated",),
        "warned",
    ),
    Case("unlike all others", each(unlike, "sub-06"), ("sub-06", "outlier score"), "warned"),
]
HEADS = [
    Case("sound heads", heads(), severity="accepted"),
    Case("half a T1w image", heads(lambda b: b[: len(b) // 2]), (f"{NAME}_T1w", "damaged")),
    Case("a flipped bit of a T1w image", heads(lambda b: flipped(b, 99_999)), ("T1w", "damaged")),
    Case("a text for a T1w image", heads(lambda b: b"no image"), (f"{NAME}_T1w", "readable NIfTI")),
    Case("a constant T1w image", head(np.ones_like), (f"{NAME}_T1w", "same value everywhere")),
    Case("a negated T1w image", head(lambda d: -d.astype("f4")), (f"{NAME}_T1w", "above 0")),
    Case(
        "NaN in a T1w image", head(lambda d: np.where(d > 9, d, np.nan)), ("T1w", "finite values")
    ),
    Case("a run of volumes", head(lambda d: np.stack([d, d], -1)), (f"{NAME}_T1w", "shape")),
    Case("a part of a head", head(lambda d: d[:20]), (f"{NAME}_T1w", "120 mm of head")),
    Case("coarse voxels", head(lambda d: d, 5.0), (f"{NAME}_T1w", "voxels of at most 3 mm")),
    Case("the T1w image of before", same_head, ("ses-baseline_T1w", "ses-week2_T1w")),
]
CASES = [*FILES, *HEADERS, *VALUES, *BRAINS, *HEADS]
