"""Parcellations: regions, their names, means and distances; the template's grey matter."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "grids": [
            "parcel_means",  # mean of an image in each region
        ],
        "parcellation": [
            "load_atlas",  # load an atlas by name
        ],
    },
)
