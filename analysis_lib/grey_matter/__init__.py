"""Notebook 00: from T1-weighted images to grey-matter maps (extra `preprocess`)."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "batch": [
            "ants_method",  # processing by :mod:`analysis_lib.grey_matter.process`
            "plan",  # compare what is there with images, settings and code
            "run",  # process the participants of a batch
            "scans",  # T1w images of each participant that the study does not exclude
        ],
        "map_quality": [
            "quality",  # volumes of each image, and how unlike the others it is
        ],
    },
)
