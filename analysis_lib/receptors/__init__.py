"""Notebook 03: the map of change and the maps of receptors."""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "assessment": [
            "assess_contrast",  # every test of one contrast against every receptor
            "correlation_table",  # rows of receptors/correlations.tsv
            "dominance_rows",  # rows of receptors/dominance.tsv
            "false_positive_rates",
            "individual_rows",  # rows of receptors/individual.tsv
            "joint_maps",  # receptor maps that a joint model of all of them has regions for
            "others_table",  # rows of receptors/given_others.tsv
            "sensitivity_table",  # rows of receptors/sensitivity.tsv
        ],
        "correlation": [
            "gaussianise",  # rank-based inverse normal scores
            "influence",  # correlation with each receptor map without each region in turn
        ],
        "dominance_analysis": [
            "cross_validated_r",  # does the regression predict regions far from those
            "dominance",  # dominance analysis over all subsets of predictors (Budescu 1993
            "dominance_test",
        ],
        "effects": [
            "effect_map",  # effect map of a contrast
        ],
        "individual": [
            "arm_table",  # does the coupling differ between the arms?
            "improvement_table",
            "individual_coupling",  # each participant's own correlation of change
        ],
        "juspace": [
            "NULL_MAPS",
            "juspace_table",  # what JuSpace would report
        ],
        "library": [
            "are_simulated",  # whether receptor maps are stand-ins, from their table
            "combine",  # one map a receptor: the weighted mean of the z-scores of its maps
            "maps_for",  # region means of the receptor maps
            "uncovered",  # regions that each receptor map does not cover, by name of the map
        ],
        "numbers": [
            "receptor_numbers",  # numbers of notebook 03 that texts and figures quote
        ],
        "power": [
            "minimum_detectable_r",  # smallest noise-free correlation
            "power_curve",  # how often re-randomisation finds a receptor
        ],
        "reliability": [
            "split_half",  # would another half of these patients give the same effect map?
        ],
        "surrogates": [
            "moran_surrogates",  # moran spectral randomisation (Wagner & Dray 2015
            "variogram",  # smoothed variograms
            "variogram_surrogates",
        ],
    },
)
