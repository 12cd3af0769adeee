"""Permutation inference over voxels: family-wise p-values of max-t, clusters and TFCE."""

from voxelperm.clusters import label_clusters
from voxelperm.collinearity import check_inflation, variance_inflation
from voxelperm.discoveries import critical_lambda, lower_bound
from voxelperm.effect_size import hedges_correction
from voxelperm.enhancement import tfce
from voxelperm.exchangeability import check_exchangeable, draw_permutations
from voxelperm.inference import PermutationResult, permutation_test
from voxelperm.maxima import STATISTICS
from voxelperm.nuisance import nuisance_basis
from voxelperm.pareto import fit_pareto
from voxelperm.residuals import Smoothness, residual_maps, smoothness
from voxelperm.tails import Tail, counts, fit_tail, p_values, survival

__all__ = [
    "STATISTICS",  # names of the four statistics
    "PermutationResult",  # what a test found
    "Smoothness",  # width and resels of residual maps
    "Tail",  # how the small p-values of a statistic were found
    "check_exchangeable",  # refuse blocks that leave nothing to permute
    "check_inflation",  # refuse or warn of collinear nuisance columns, by name
    "counts",  # how many permutations reach each observed value
    "critical_lambda",  # of the curve that bounds true discoveries
    "draw_permutations",  # permutations, sign flips, or both, within or among blocks
    "fit_pareto",  # generalised Pareto distribution, maximum likelihood
    "fit_tail",  # generalised Pareto tail of a null distribution
    "hedges_correction",  # small-sample correction of a standardised difference
    "label_clusters",  # clusters above a threshold, their sizes and masses
    "lower_bound",  # of the true discoveries in a set of voxels
    "nuisance_basis",  # orthonormal columns of the nuisance model
    "p_values",  # counted, or from a fitted tail
    "permutation_test",  # one column of a linear model, in every voxel
    "residual_maps",  # of the whole model, participant by participant
    "smoothness",  # full width at half maximum and resels, of the residuals
    "survival",  # share of exceedances above a value, under a fitted tail
    "tfce",  # enhance a statistic image
    "variance_inflation",  # of the tested column, and which columns cause it
]
__version__ = "0.1.0"
