"""Notebook 04, and every picture that a notebook shows."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "appearance": [
            "COLUMN",
            "PAGE",
            "brain_figure",  # A figure for brain slices
            "contrast_title",  # A contrast in the study's words
            "figure",  # A figure and its Axes (always a two-dimensional array)
            "mark",  # write on a figure
            "warnings_of",  # what a figure has to say of its numbers
        ],
        "brain": [
            "plot_glass",
            "plot_region_change",  # change by region and arm
            "plot_slices",  # axial slices of a map on the MNI template
        ],
        "clinical": [
            "plot_course",  # every participant's course
            "plot_differences",  # difference between arms
            "plot_forest",  # estimates with intervals, a row each, and a line at zero
            "plot_items",  # difference between arms in each item's change, with its interval
            "plot_risks",  # share of participants
            "plot_tipping",  # estimate over what is added to imputed outcomes
            "plot_trajectories",  # individual scores over weeks
            "since_baseline",  # scores as change since each participant's own baseline (week 0)
        ],
        "conduct": [
            "consort_figure",  # A figure as high as its boxes need, and its Axes, for
            "consort_height",  # height that the boxes of a flow diagram need, inches
            "plot_consort",  # flow diagram of a trial
            "plot_missing",  # patterns of missing ratings
            "plot_stimulation",  # treatment sessions received by each participant
        ],
        "descriptions": [
            "describe_brain",  # what `brain.plot_slices` or `brain.plot_glass` shows
            "describe_correlations",  # what `receptors.plot_correlations` shows, of ``n_all`` maps
            "describe_course",  # what `clinical.plot_course` shows
            "describe_differences",  # what `clinical.plot_differences` shows
            "describe_dominance",  # what `receptors.plot_dominance` shows
            "describe_flow",  # what `conduct.plot_consort` shows
            "describe_missing",  # what `conduct.plot_missing` shows
            "describe_nulls",  # what `receptors.plot_nulls` shows
            "describe_regions",  # what `brain.plot_region_change` shows
            "describe_risks",  # what `clinical.plot_risks` shows
            "describe_scatter",  # what `receptors.plot_scatter` shows
            "describe_tipping",  # what `clinical.plot_tipping` shows
            "describe_without",  # what `receptors.plot_without` shows
        ],
        "maps": [
            "plot_head_size",  # grey-matter volume over head size
            "plot_homogeneity",  # outlier score of each map, those above the threshold named
            "plot_mosaic",  # three axial slices of each map, one Axes a map, on one grey scale
            "plot_template_fit",  # outlier score of each image over its resemblance to the template
            "plot_volumes",  # grey-matter volume of each participant before and after treatment
        ],
        "palette": [
            "BANDS",
            "COLOURS",
        ],
        "panels": [
            "Panel",  # one drawing and what is said of it
            "alone",  # A figure of one panel: :func:`compose` with its own size
            "captions",  # title, caption and text alternative of a figure, from those of its panels
            "compose",  # A figure of several panels
        ],
        "receptors": [
            "central",  # limits of the central share of null draws, by map
            "plot_correlations",
            "plot_dominance",  # share of the explained variance of each receptor
            "plot_influence",  # r of some receptors without each region in turn
            "plot_null",  # A null distribution of r with the observed r
            "plot_nulls",  # both null distributions of one receptor's r, with the observed r
            "plot_power",  # power of the re-randomisation test over the noise-free correlation
            "plot_receptors",  # correlation with each receptor and its interval
            "plot_scatter",  # effect map against receptor map
            "plot_variograms",  # variogram of a map and the band of its surrogates
            "plot_without",
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
