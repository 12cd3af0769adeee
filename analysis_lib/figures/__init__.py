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
        "catalogue": [
            "panel",  # one figure of the catalogue, with its caption
        ],
        "composites": [
            "clinical",  # Figure 2
            "grey_matter",  # Figure 3
            "participants",  # Figure 1
            "receptors",  # Figure 4
            "save",  # write figures and captions.json
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
            "plot_template_fit",  # outlier score of each image over its resemblance to the template
        ],
        "segmentation": [
            "segmentation_picture",  # A picture of what became of one image
        ],
        "views": [
            "effect_views",  # each contrast's change, in slices to click through
            "files",  # content of a folder of views, for ``writing.write``
            "receptor_views",  # the change and its leading receptor, to turn and to click through
        ],
    },
)
