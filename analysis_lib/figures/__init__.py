"""Notebook 04, and every picture that a notebook shows."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "appearance": [
            "figure",  # A figure and its Axes (always a two-dimensional array)
            "mark",  # write on a figure
        ],
        "catalogue": [
            "panel",  # one figure, with its caption, from the tables kept so far
        ],
        "composites": [
            "clinical",  # Figure 2
            "grey_matter",  # Figure 3
            "participants",  # Figure 1
            "receptors",  # Figure 4
            "save",  # write figures and captions.json
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
