"""Appendix S1 to S3: how far results can be believed: calibration, choices, power."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
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
