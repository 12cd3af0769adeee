"""Appendix S1 to S3: how far results can be believed: calibration, choices, power."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "calibration": [
            "calibrate",  # draw the p-values of a family from trials without an effect
            "tables",  # how often each is at most .05
        ],
        "calibration_clinical": [
            "read_clinical",  # the family of notebook 01
        ],
        "calibration_images": [
            "read_receptors",  # the family of notebook 03
            "read_regions",  # the family of notebook 02 for a table of regions
            "read_voxels",  # the family of notebook 02
        ],
        "power": [
            "power_tables",  # what this trial can see, and what real effects would take
        ],
        "power_clinical": [
            "clinical_power",  # of the primary contrast, by true difference and size
        ],
        "power_receptors": [
            "receptor_power",  # of the receptor test, by noise-free r and reliability
        ],
        "power_voxels": [
            "voxel_power",  # of the voxel maps, by effect size, extent and size
        ],
        "specification": [
            "curve_tables",  # every analysis, joint inference, variance by decision
        ],
        "specification_regions": [
            "region_curve",  # every analysis of change along one receptor
        ],
        "specification_symptoms": [
            "symptom_curve",  # every analysis of the primary scale
        ],
    },
)
