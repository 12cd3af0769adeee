"""Notebook 02: voxel-based morphometry of change between visits."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "contrasts": [
            "contrast_test",  # permutation test of one contrast on difference maps
        ],
        "diagnostics": [
            "diagnose",  # spread and skewness of change, covariates tied to the arm
        ],
        "numbers": [
            "vbm_numbers",  # numbers of notebook 02 that texts and figures quote
        ],
        "region_tests": [
            "read_region_changes",  # regional changes that a table gives instead of images
        ],
        "regions": [
            "check_regions",  # return regions as a list
            "coupling_table",  # does regional change go with clinical change, within arms?
            "regional_tables",  # change of each region by participant, and its means by arm
        ],
        "scans": [
            "read_scans",  # find the maps of a study, pair them and check their grids
            "smooth",  # smoothed maps, the voxels with enough grey matter
        ],
        "tested": [
            "assess_contrasts",  # every contrast of change, tested by permutation
            "assess_improvement",  # where change correlates with clinical improvement, within arms
            "recovery_table",  # how much of a planted change was found
            "result_files",  # images and tables of each contrast, to be kept
        ],
    },
)
