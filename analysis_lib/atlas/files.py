"""Files of atlases and templates: where they come from, and where the cache keeps them."""

from dataclasses import dataclass

from analysis_lib.results.environment import PROJECT, cache_folder
from analysis_lib.results.hashing import file_hash
from analysis_lib.results.problems import FetchError, MissingFile

PUBLIC = "https://raw.githubusercontent.com"
BUNDLED = PROJECT / "data" / "public"  # what the licence lets this repository hold


@dataclass(frozen=True)
class PublicFile:
    """A file that anyone may download."""

    name: str  # path below the cache folder
    home: str  # path below the base address: owner/repository/commit/path
    sha256: str

    def address(self, base):
        """Where the file is, from the base address; a file elsewhere has its own."""
        return self.home if "://" in self.home else f"{base}/{self.home}"


def is_bundled(file):
    """Whether this repository holds a public file."""
    return (BUNDLED / file.name).is_file()


def place(file, cache=None):
    """Where a public file lies, or will: in this repository, else in the cache."""
    return BUNDLED / file.name if is_bundled(file) else cache_folder(cache) / file.name


_SUBCORTEX = "yetianmed/subcortex/5f353a86a230a04c5cf9bc138dc8c26af416675b"

_SCHAEFER_TIAN = (
    "Schaefer2018_100Parcels_7Networks_order_Tian_Subcortex_S1_MNI152NLin6Asym_2mm.nii.gz"
)
ATLASES = {
    "schaefer100_tian_s1": (
        PublicFile(
            f"atlases/{_SCHAEFER_TIAN}",
            f"{_SUBCORTEX}/Group-Parcellation/3T/Cortex-Subcortex/MNIvolumetric/{_SCHAEFER_TIAN}",
            "c569d92097f389e6f98ae379b75c9d26c2a48b9056fa4cbea9fc3c08e0d32ba0",
        ),
    ),
}
DKT31_ASEG = "OASIS-TRT-20_jointfusion_DKT31_CMA_labels_in_MNI152_v2.nii.gz"
ATLASES["dkt31_aseg"] = (
    PublicFile(
        f"atlases/{DKT31_ASEG}",
        f"http://media.mindboggle.info/data/cache/atlases/{DKT31_ASEG}",
        "73ff2bc35e9309fde34521e4e60a0fffa494a8e283ac209613af25023797626a",
    ),
)
_SPM = "spm/spm12/f6948fff302fa4d4b80c9c67bb9ddf282b68d0a5"
TEMPLATES = (  # for brain extraction: a whole head, and the space inside its skull
    PublicFile(
        "templates/avg152T1.nii",
        f"{_SPM}/canonical/avg152T1.nii",
        "213557a43d4387243c51bf208b3a672ae2eb68091f7ffe47c28a9f69d9e3d9fd",
    ),
    PublicFile(
        "templates/mask_ICV.nii",
        f"{_SPM}/tpm/mask_ICV.nii",
        "9dff365151d5678eaba9d6be48b019fbd4e0e31d524b06da7310ea1acb4155b1",
    ),
)
NILEARN = {  # name: nilearn's function, its options; kept in the cache as an image and a table
    "harvard_oxford": (
        "fetch_atlas_harvard_oxford",
        {"atlas_name": "cortl-maxprob-thr25-2mm"},
    ),
    "harvard_oxford_subcortex": (
        "fetch_atlas_harvard_oxford",
        {"atlas_name": "sub-maxprob-thr25-2mm"},
    ),
    "aal3": ("fetch_atlas_aal", {"version": "3v2"}),
    "destrieux": ("fetch_atlas_destrieux_2009", {"lateralized": True}),
}
SCHAEFER = {f"schaefer{n}": n for n in range(100, 1001, 100)}  # through nilearn; parcels


def cached_atlas(name, cache=None):
    """Files of a downloadable atlas in the cache, as ``datasets.fetch.fetch_atlas`` returns them.

    Raises
    ------
    MissingFile
        If the cache lacks one: nothing is downloaded; the message names the command that does.
    FetchError
        If the name is unknown or a file is damaged.
    """
    paths = atlas_paths(name, cache)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise MissingFile(
            f"atlas {name}: {missing[0]} is not in the cache, and a run downloads nothing. "
            f"Get it: python -m analysis_lib fetch atlas {name}"
        )
    for file in ATLASES.get(name, ()):
        is_cached(cache_folder(cache), file, PUBLIC)
    return paths


def atlas_paths(name, cache=None):
    """Where the cache keeps the files of a downloadable atlas, there or not; image first."""
    if name in ATLASES:
        return [place(file, cache) for file in ATLASES[name]]
    if name in NILEARN:
        folder = cache_folder(cache) / "atlases"
        return [folder / f"{name}.nii.gz", folder / f"{name}.tsv"]
    if name not in SCHAEFER:
        known = ", ".join([*ATLASES, *NILEARN, *SCHAEFER])
        raise FetchError(f"{name}: no such atlas to download. Known: {known}")
    stem = f"Schaefer2018_{SCHAEFER[name]}Parcels_7Networks_order"
    folder = cache_folder(cache) / "nilearn" / "schaefer_2018"
    return [folder / f"{stem}_FSLMNI152_2mm.nii.gz", folder / f"{stem}.txt"]


def cached_templates(cache=None):
    """Templates in the cache; a damaged file is a `FetchError`.

    Nothing is downloaded: for a file that it lacks, `MissingFile` names the command that does.
    """
    folder = cache_folder(cache)
    missing = [folder / f.name for f in TEMPLATES if not is_cached(folder, f, PUBLIC)]
    if missing:
        raise MissingFile(
            f"templates for brain extraction: {missing[0]} is not in the cache, and a run "
            "downloads nothing. Get it: python -m analysis_lib fetch templates"
        )
    return [folder / file.name for file in TEMPLATES]


def is_cached(cache, file, base):
    """Whether a file is here, and the right one; FetchError if it is another."""
    path = place(file, cache)
    if not path.exists():
        return False
    found = file_hash(path)
    if found != file.sha256:
        raise FetchError(
            f"{path}: damaged, or another file: sha256 {file.sha256} expected, found {found}. "
            f"Delete it and run again: it is then downloaded from {file.address(base)}"
        )
    return True
