"""Notebook 04, and every picture that a notebook shows."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
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
