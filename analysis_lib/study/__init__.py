"""The study contract: the study file, tables, ratings, images, parameters, a skeleton to fill."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "conduct": [
            "read_adverse_events",  # read and check adverse_events.tsv
            "read_guesses",
            "read_stimulation",  # read and check stimulation.tsv
        ],
        "grids": [
            "check_grids",
            "load_map",  # read one grey-matter map and check its values
        ],
        "head_size": [
            "total_intracranial_volume",  # total intracranial volume (TIV) of each participant
        ],
        "images": [
            "find_maps",  # find the grey-matter maps of a study's two imaging sessions
            "pair_maps",  # bring the two maps, or T1w images, of each participant together
        ],
        "opening": [
            "open_study",  # check a notebook's parameters, read its study, choose its folder
        ],
        "participants": [
            "design_columns",  # covariates and randomisation strata of some participants
            "randomisation_blocks",  # stratum of each participant
            "read_participants",  # read and check participants.tsv
        ],
        "scores": [
            "baseline_scores",  # baseline of everybody who has one, with or without later scores
            "improvement",  # fall of a scale's score from baseline to a visit
            "read_ratings",  # read every scale of a study
            "read_scale",  # read and check the scores of one scale
            "with_baseline",  # put each participant's baseline beside the later scores
        ],
    },
)
