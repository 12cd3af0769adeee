"""Notebook 04, and every picture that a notebook shows."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "appearance": [
            "brain_figure",  # A figure for brain slices
            "contrast_title",  # A contrast in the study's words
            "figure",  # A figure and its Axes (always a two-dimensional array)
            "mark",  # write on a figure
        ],
        "composites": [
            "clinical",  # Figure 2
            "grey_matter",  # Figure 3
            "participants",  # Figure 1
            "receptors",  # Figure 4
            "save",  # write figures and captions.json
        ],
        "draw_brain": [
            "plot_region_change",  # change by region and arm
            "plot_slices",  # axial slices of a map on the MNI template
        ],
        "draw_clinical": [
            "plot_forest",  # estimates with intervals, a row each, and a line at zero
            "plot_items",  # difference between arms in each item's change, with its interval
            "plot_risks",  # share of participants
            "plot_tipping",  # estimate over what is added to imputed outcomes
            "plot_trajectories",  # individual scores over weeks
        ],
        "draw_conduct": [
            "consort_figure",  # A figure as high as its boxes need, and its Axes, for
            "plot_consort",  # flow diagram of a trial
            "plot_missing",  # patterns of missing ratings
            "plot_stimulation",  # treatment sessions received by each participant
        ],
        "draw_maps": [
            "plot_head_size",  # grey-matter volume over head size
            "plot_homogeneity",  # outlier score of each map, those above the threshold named
            "plot_mosaic",  # three axial slices of each map, one Axes a map, on one grey scale
            "plot_template_fit",  # outlier score of each image over its resemblance to the template
            "plot_volumes",  # grey-matter volume of each participant before and after treatment
        ],
        "draw_receptors": [
            "plot_dominance",  # share of the explained variance of each receptor
            "plot_influence",  # r of some receptors without each region in turn
            "plot_null",  # A null distribution of r with the observed r
            "plot_power",  # power of the re-randomisation test over the noise-free correlation
            "plot_receptors",  # correlation with each receptor and its interval
            "plot_scatter",  # effect map against receptor map
            "plot_variograms",  # variogram of a map and the band of its surrogates
        ],
        "segmentation": [
            "segmentation_picture",  # A picture of what became of one image
        ],
        "views": [
            "effect_view",  # slices of an effect map to click through
            "files",  # content of a folder of views, for ``writing.write``
            "marked",  # A title that begins with SIMULATED, and QUICK, where that is so
            "region_image",  # A map in which every voxel of a region holds the region's value
            "region_view",  # regions as balls in a glass brain to be turned
            "slice_view",  # slices of a map on the MNI template: a click moves the cut in all three
        ],
    },
)
