"""Notebook 02: voxel-based morphometry of change between visits."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "clusters": [
            "cluster_table",  # clusters and their peaks, with region names and every p
        ],
        "contrasts": [
            "CONTRASTS",
            "contrast_summary",  # what survived the family-wise correction, in one row
            "contrast_test",  # permutation test of one contrast on difference maps
            "improvement_test",  # where does change go with clinical improvement, within arms?
        ],
        "effects": [
            "effect_sizes",  # hedges g and percent change in every voxel
            "result_images",  # the images of one contrast by file name
            "to_image",  # put the values of a mask's voxels into an image
        ],
        "maps": [
            "smooth_in_mask",
        ],
        "numbers": [
            "vbm_numbers",  # numbers of notebook 02 that texts and figures quote
        ],
        "planted_truth": [
            "planted_change",  # planted percent change of a simulated study
            "recovery",  # compare the voxels
        ],
        "quality": [
            "adjust_for_tiv",  # account for head size: the total intracranial volume (TIV)
            "quality_table",  # volume and homogeneity of each map
            "smoothness_mm",  # smoothness of maps along x
        ],
        "regions": [
            "change_matrix",  # participants by regions again, from :func:`change_rows`
            "change_rows",  # one row a participant and region
            "check_regions",  # return regions as a list
            "region_coupling",  # correlation of regional change
            "region_means",  # mean change by arm and region with a t interval
            "region_names",  # a readable name for each grey-matter region, as in left amygdala
            "region_table",  # what each grey-matter region holds
            "regional_change",  # change of each grey-matter region's volume
        ],
    },
)
