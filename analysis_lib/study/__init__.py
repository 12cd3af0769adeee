"""The study contract: the study file, tables, ratings, images, parameters, a skeleton to fill."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "conduct": [
            "read_adverse_events",  # read and check adverse_events.tsv
            "read_guesses",
            "read_protocol",  # read and check stimulation.json
            "read_stimulation",  # read and check stimulation.tsv
        ],
        "opening": [
            "open_study",  # check a notebook's parameters, read its study, choose its folder
        ],
        "participants": [
            "read_participants",  # read and check participants.tsv
        ],
        "scores": [
            "improvement_at_scan",  # fall of the primary scale's score up to the second scan
        ],
    },
)
