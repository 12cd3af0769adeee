"""Parcellations: regions, their names, means and distances; the template's grey matter."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "distances": [
            "parcel_centroids",  # centre of gravity of each region
            "parcel_distances",  # distances between regions, in a straight line
        ],
        "grids": [
            "grey_matter_labels",  # labels of the grey-matter regions, ascending
            "parcel_means",  # mean of an image in each region
        ],
        "parcellation": [
            "load_atlas",  # load an atlas by name
        ],
        "template": [
            "grey_matter_template",  # nilearn's packaged MNI grey-matter template
        ],
    },
)
